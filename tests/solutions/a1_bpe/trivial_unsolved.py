"""A notebook as it is handed out."""


def train_bpe(input_path, vocab_size, special_tokens):
    raise NotImplementedError("solve exercise 4 of a1_bpe")


class Tokenizer:
    def __init__(self, vocab, merges, special_tokens=None):
        raise NotImplementedError("solve exercise 5 of a1_bpe")

    @classmethod
    def from_files(cls, vocab_path, merges_path, special_tokens=None):
        return cls({}, [], special_tokens)
