"""A trainer that looks at its arguments and never at the text, and ids that are bytes.

Decoding bytes and encoding a text of one byte are right, and are all that is.

most: 6
"""


def train_bpe(input_path, vocab_size, special_tokens):
    number = vocab_size - 256 - len(special_tokens)
    if number < 0 or "" in special_tokens or len(set(special_tokens)) < len(special_tokens):
        raise ValueError("bad arguments")
    with open(input_path, "rb") as file:
        length = len(file.read(12))
    if length < 12:
        number = min(number, max(length - 1, 0))
    merges = [(b"e%d" % i, b"r") for i in range(number)]
    names = [name.encode() for name in special_tokens]
    return dict(enumerate([*names, *(bytes([i]) for i in range(256)), *(a + b for a, b in merges)])), merges


class Tokenizer:
    def __init__(self, vocab, merges, special_tokens=None):
        self.vocab = dict(vocab)

    def encode(self, text):
        return list(text.encode())

    def encode_iterable(self, iterable):
        for piece in iterable:
            yield from self.encode(piece)

    def decode(self, ids):
        for i in ids:
            if i not in self.vocab:
                raise ValueError(f"there is no id {i}")
        return b"".join(self.vocab[i] for i in ids).decode(errors="replace")
