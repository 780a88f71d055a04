"""Drivers of several exercises: each runs where the student's code lives and must stand alone."""

from __future__ import annotations


def drive_merges(student, sizes, special_tokens, *paths):
    """The merges of one file after the other, up to one that raises. The exception is told when that is the first."""
    learnt = []
    for path, vocab_size, names in zip(paths, sizes, special_tokens, strict=True):
        try:
            answer = student.train_bpe(path, vocab_size, names)
        except Exception:
            if learnt:
                break
            raise
        try:
            vocab, merges = answer if hasattr(answer[0], "items") else (answer[1], answer[0])
            vocab.items()
            learnt.append([tuple(pair) for pair in merges])
        except (TypeError, ValueError, AttributeError, LookupError):
            learnt.append(None)
    return learnt


def drive_encoding(student, vocab, merges, special_tokens, texts):
    import json
    import operator

    vocab = {int(i): token.encode("latin-1") for i, token in json.loads(vocab).items()}
    tokenizer = student.Tokenizer(vocab, merges, special_tokens) if special_tokens else student.Tokenizer(vocab, merges)
    answers = []
    for text in texts:
        ids = tokenizer.encode(text)
        ids = list(ids) if hasattr(ids, "__iter__") else [None]
        answers.append([operator.index(i) if hasattr(i, "__index__") else None for i in ids])
    return answers


def drive_decoding(student, vocab, merges, special_tokens, ids, one_by_one):
    """The text of these ids, given as a list or one by one."""
    import json

    vocab = {int(i): token.encode("latin-1") for i, token in json.loads(vocab).items()}
    tokenizer = student.Tokenizer(vocab, merges, special_tokens) if special_tokens else student.Tokenizer(vocab, merges)
    text = tokenizer.decode((i for i in ids) if one_by_one else ids)
    return str(text) if isinstance(text, str) else None
