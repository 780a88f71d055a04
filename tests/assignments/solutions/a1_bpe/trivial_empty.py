"""Returns empty values of the right types."""


def train_bpe(input_path, vocab_size, special_tokens):
    return {}, []


class Tokenizer:
    def __init__(self, vocab, merges, special_tokens=None):
        pass

    @classmethod
    def from_files(cls, vocab_path, merges_path, special_tokens=None):
        return cls({}, [])

    def encode(self, text):
        return []

    def encode_iterable(self, iterable):
        yield from ()

    def decode(self, ids):
        return ""
