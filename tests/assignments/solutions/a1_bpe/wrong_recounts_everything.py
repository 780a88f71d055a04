"""Written whole: right, but counts all pairs of all words anew for each merge.

fails: train.does_not_recount_everything, train.does_not_scan_all_words
names: as much as counting all pairs again
"""

from _base import *


def train_bpe(input_path, vocab_size, special_tokens):
    Training().check(vocab_size, special_tokens)
    with open(input_path, "rb") as file:
        text = file.read().decode("utf-8", errors="replace")
    words = Counter(tuple(bytes([b]) for b in piece.encode()) for piece in pretokenize(text, special_tokens))
    vocab = dict(enumerate([*(name.encode() for name in special_tokens), *(bytes([b]) for b in range(256))]))
    merges = []
    while len(vocab) < vocab_size and (counts := count_pairs(words)):
        pair = max(counts, key=lambda pair: (counts[pair], pair))
        words = {merge_pair(word, pair): times for word, times in words.items()}
        vocab[len(vocab)] = pair[0] + pair[1]
        merges.append(pair)
    return vocab, merges
