"""Raises ValueError whatever it is asked."""


def train_bpe(input_path, vocab_size, special_tokens):
    raise ValueError(f"{vocab_size} {special_tokens}")


class Tokenizer:
    def __init__(self, vocab, merges, special_tokens=None):
        pass

    @classmethod
    def from_files(cls, vocab_path, merges_path, special_tokens=None):
        return cls({}, [])

    def encode(self, text):
        raise ValueError(text)

    def encode_iterable(self, iterable):
        raise ValueError(iterable)

    def decode(self, ids):
        raise ValueError(f"unknown ids {ids}")
