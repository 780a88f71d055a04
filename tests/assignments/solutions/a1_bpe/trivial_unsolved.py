"""A notebook as it is handed out."""


def train_bpe(input_path, vocab_size, special_tokens):
    raise NotImplementedError("this exercise is not solved yet")


class Tokenizer:
    def __init__(self, vocab, merges, special_tokens=None):
        raise NotImplementedError("this exercise is not solved yet")

    @classmethod
    def from_files(cls, vocab_path, merges_path, special_tokens=None):
        return cls({}, [], special_tokens)
