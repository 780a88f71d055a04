"""Returns nothing at all."""


def train_bpe(input_path, vocab_size, special_tokens):
    pass


class Tokenizer:
    def __init__(self, vocab, merges, special_tokens=None):
        pass

    @classmethod
    def from_files(cls, vocab_path, merges_path, special_tokens=None):
        return cls({}, [])

    def encode(self, text):
        pass

    def encode_iterable(self, iterable):
        pass

    def decode(self, ids):
        pass
