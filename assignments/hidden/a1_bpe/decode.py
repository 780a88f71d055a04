"""What `decode` asks for: bytes joined before they are decoded, and what cannot be."""

from __future__ import annotations

from string import ascii_letters

from cs336lite.course.answers import ask, list_of
from cs336lite.course.spec import check, expect, known_kind

from .asking import IDLE_MERGES, as_text, decoded
from .definition import ENCODER, vocab_of
from .inputs import letters, text_and_its_merges


def drive_unknown_ids(student, vocab, merges, unknown):
    """What becomes of each of the unknown ids among known ones: a kind of error and its text."""
    import json

    vocab = {int(i): token.encode("latin-1") for i, token in json.loads(vocab).items()}
    tokenizer = student.Tokenizer(vocab, merges)
    answers = []
    for i in unknown:
        try:
            tokenizer.decode([65, i, 66])
            answers.append(("nothing", ""))
        except NotImplementedError:
            raise
        except ValueError as error:
            answers.append(("ValueError", str(error)))
        except Exception as error:
            answers.append((type(error).__name__, ""))
    return answers


def decode_plainly(student, rng) -> dict[int, bytes]:
    """A vocabulary, with which plain letters are decoded rightly; else what is asked beside that is not judged."""
    vocab, word = vocab_of(IDLE_MERGES), "".join(letters(rng, 6))
    answer = decoded(student, vocab, IDLE_MERGES, None, list(word.encode()))
    expect(answer is not None, "decode must return a str")
    expect(answer == word, "decode does not give the text of plain letters back")
    return vocab


@check("decode", points=1, title="bytes are joined before they are decoded", seconds=5)
def joins_bytes_before_decoding(student, rng):
    vocab = decode_plainly(student, rng)
    text = "".join(rng.choices("日本語汉字тест🙂😀éßñ", k=12)) + rng.choice(ascii_letters)
    message = (
        "a character whose bytes lie in several tokens is lost: join the bytes of all ids first, then decode them once"
    )
    answer = decoded(student, vocab, IDLE_MERGES, None, list(text.encode()), {"UnicodeDecodeError": message})
    expect(answer is not None, "decode must return a str")
    expect(answer == text, message)


@check("decode", points=1, title="bytes that are not UTF-8 become U+FFFD", seconds=5)
def invalid_utf8_is_replaced(student, rng):
    vocab = decode_plainly(student, rng)
    data = b""
    for _ in range(6):
        data += rng.choice(ascii_letters).encode() + bytes([rng.choice([*range(0x80, 0xC0), *range(0xF8, 0x100)])])
    message = "bytes that are not UTF-8 must become U+FFFD: decode with errors='replace'"
    answer = decoded(student, vocab, IDLE_MERGES, None, list(data), {"UnicodeDecodeError": message})
    expect(answer is not None, "decode must return a str")
    expect(answer != data.decode(errors="ignore"), f"bytes were dropped: {message}")
    expect(answer == data.decode(errors="replace"), message)


@check("decode", points=1, title="ids may come one by one", seconds=5)
def ids_may_come_one_by_one(student, rng):
    vocab, word = decode_plainly(student, rng), "".join(letters(rng, 9))
    message = "ids may be any iterable, also one that can be gone through only once: make a list of them first"
    problems = dict.fromkeys(["TypeError", "AttributeError", "IndexError", "ValueError"], message)
    answer = decoded(student, vocab, IDLE_MERGES, None, list(word.encode()), problems, one_by_one=True)
    expect(answer == word, message)


@check("decode", points=0.5, title="an unknown id is a ValueError that names it", seconds=5)
def unknown_id_is_named(student, rng):
    vocab = decode_plainly(student, rng)
    asked = [len(vocab), rng.randint(10**5, 10**6), -1]
    answers = ask(student, list_of([str, str], len(asked)), drive_unknown_ids, as_text(vocab), IDLE_MERGES, asked)
    for unknown, (kind, text) in zip(asked, answers, strict=True):
        expect(kind != "nothing", "an id that the vocabulary lacks was accepted: raise a ValueError that names it")
        expect(kind == "ValueError", f"an unknown id raised {known_kind(kind)}: raise a ValueError that names the id")
        expect(str(unknown) in text, "the ValueError for an unknown id must name the id in its text")


@check("decode", points=2.5, title="together: an ordinary text comes back")
def an_ordinary_text_comes_back(student, rng):
    merges, texts = text_and_its_merges(rng)
    merges += [(letter.encode()[:1], letter.encode()[1:]) for letter in "éüж"]
    vocab = vocab_of(merges)
    for text in [*texts, " Größe".replace("ö", "ü").replace("ß", "é") + "жñ " + texts[0][:40]]:
        (ids,) = ENCODER.encode_all(vocab, merges, [text])
        answer = decoded(student, vocab, merges, None, ids)
        expect(answer is not None, "decode must return a str")
        expect(answer == text, "the ids of an ordinary text do not give this text back")
