"""Checks and hints of the exercises in lecture 01. Nothing here is graded: try as often as you like."""

from cs336lite.course.show import expect_equal
from cs336lite.course.spec import check, expect

HINTS = {
    "utf8_length": [
        "Write down the code points at which one more byte is needed: they stand under the picture, in hexadecimal.",
        "UTF-8 has 7 free bits in one byte, 11 in two, 16 in three. So one more byte begins at 2**7, 2**11 and 2**16.",
        "Compare with the three borders: below 0x80 return 1, below 0x800 return 2, below 0x10000 return 3, else 4.",
    ],
    "best_pair": [
        "`max` takes a key: a function that says what is compared. By what is a pair to be judged?",
        "First by its count. Where counts are equal, by the pair itself. A tuple compares its first part, then its second.",
        "max(counts, key=lambda pair: (what counts first, what decides a tie)).",
    ],
    "spell": [
        "Training made its merges in an order. Encoding repeats them in the same order: what was joined first is joined first.",
        "You have `join(word, pair)`. Begin with the single bytes of the text and go through the merges.",
        "word = to_bytes(text); for each pair of merges: word = join(word, pair); return word.",
    ],
    "group_digits": [
        "How many digits are left over in front when you take threes from the right? What is that for 6 digits?",
        "len(number) % 3 digits stand in front of the first whole group. An empty group must not come out.",
        "Take first = len(number) % 3. The answer is [number[:first]] if first is not 0, and then number[i : i + 3] for "
        "i from first in steps of 3.",
    ],
    "stream": [
        "What must you keep when the bytes so far end in the middle of a character?",
        "Keep bytes that cannot be decoded yet and put the next token behind them. Python has this ready: "
        "codecs.getincrementaldecoder.",
        'decoder = codecs.getincrementaldecoder("utf-8")(errors="replace"); yield decoder.decode(token) for each token, and '
        'at the end decoder.decode(b"", final=True), which shows what never became whole.',
    ],
}


def run_length(student, code_points):
    return [student.utf8_length(code_point) for code_point in code_points]


@check("utf8_length", title="letters of four scripts")
def scripts(student, rng):
    expect_equal(
        student.run(run_length, [ord(c) for c in "Aя中🙂"]), [1, 2, 3, 4], "A, я, 中 and 🙂 take other lengths"
    )


@check("utf8_length", title="on both sides of each border")
def borders(student, rng):
    found = student.run(run_length, [0x7F, 0x80, 0x7FF, 0x800, 0xFFFF, 0x10000])
    expect(found[0] == 1 and found[1] == 2, "0x7F is the last code point of one byte, 0x80 the first of two")
    expect(found[2] == 2 and found[3] == 3, "0x7FF is the last code point of two bytes, 0x800 the first of three")
    expect(found[4] == 3 and found[5] == 4, "0xFFFF is the last code point of three bytes, 0x10000 the first of four")


def run_best_pair(student, counts):
    return student.best_pair(dict(counts))


@check("best_pair", title="the most frequent pair")
def most_frequent(student, rng):
    best = student.run(run_best_pair, {("l", "o"): 2, ("o", "w"): 5, ("w", "e"): 3})
    expect(best != 5, "that is the count; return the pair that has it")
    expect_equal(best, ("o", "w"), "the pair with the highest count is another one")


@check("best_pair", title="of equal counts the greatest pair")
def ties(student, rng):
    best = student.run(run_best_pair, {("s", "t"): 4, ("e", "s"): 4, ("a", "b"): 1})
    expect(best != ("e", "s"), "e s and s t stand equally often: the greatest pair wins, and 's' comes after 'e'")
    expect_equal(best, ("s", "t"), "the tie is not settled by the pair")
    expect_equal(
        student.run(run_best_pair, {("z", "z"): 1, ("a", "b"): 2}), ("a", "b"), "the count comes before the pair"
    )


@check("best_pair", title="pairs of bytes as well")
def of_bytes(student, rng):
    best = student.run(run_best_pair, {(b"\xe4", b"\xb8"): 3, (b"t", b"h"): 3})
    expect_equal(best, (b"\xe4", b"\xb8"), "bytes compare by their numbers, 0xE4 is greater than t")


def run_spell(student, text, merges):
    return list(student.spell(text, merges))


@check("spell", title="merges apply in the order in which they were learned")
def in_order(student, rng):
    merges = [(b"b", b"c"), (b"a", b"b"), (b"a", b"bc")]
    found = student.run(run_spell, "abc", merges)
    expect(
        found != [b"ab", b"c"], "from left to right a b would be first, but training joined b c first: go by the merges"
    )
    expect_equal(found, [b"abc"], "abc becomes a + bc by the first merge, and one token by the third")


@check("spell", title="bytes, and all places of a pair")
def all_places(student, rng):
    expect_equal(student.run(run_spell, "abab", [(b"a", b"b")]), [b"ab", b"ab"], "the pair a b stands twice in abab")
    expect_equal(student.run(run_spell, "中", []), [b"\xe4", b"\xb8", b"\xad"], "without merges 中 is its three bytes")
    expect_equal(student.run(run_spell, "", [(b"a", b"b")]), [], "an empty text has no tokens")


def run_group(student, number):
    return list(student.group_digits(number))


@check("group_digits", title="threes from the right")
def from_the_right(student, rng):
    found = student.run(run_group, "12345678")
    expect(found != ["123", "456", "78"], "that is from the left, as GPT-4 cuts; begin at the right end")
    expect_equal(found, ["12", "345", "678"], "12,345,678 is 12, 345 and 678")


@check("group_digits", title="no empty group")
def no_empty_group(student, rng):
    found = student.run(run_group, "123456")
    expect("" not in found, "123456 has no digit left over, and an empty group came out")
    expect_equal(found, ["123", "456"], "123456 is 123 and 456")
    expect_equal(student.run(run_group, "7"), ["7"], "one digit is one group")


def run_stream(student, tokens):
    return list(student.stream(iter(tokens)))


@check("stream", title="a character in two tokens")
def two_tokens(student, rng):
    pieces = student.run(run_stream, [b"a", b"\xe4\xb8", b"\xad", b"b"])
    expect(
        "\ufffd" not in "".join(pieces), "U+FFFD came out of a character whose bytes lay in two tokens: hold them back"
    )
    expect_equal("".join(pieces), "a中b", "the pieces joined are not the text")


@check("stream", title="as soon as it can be known")
def soon(student, rng):
    pieces = student.run(run_stream, [b"a", b"b", b"\xf0\x9f", b"\x99\x82"])
    expect(
        len([piece for piece in pieces if piece]) == 3,
        "yield after each token what is whole by then, not all at the end",
    )


@check("stream", title="a text that breaks off")
def broken_off(student, rng):
    pieces = student.run(run_stream, [b"a", b"\xe4\xb8"])
    expect("".join(pieces) != "a", "the last two bytes never became a character and are lost: show them as U+FFFD")
    expect_equal("".join(pieces), "a\ufffd", "what never becomes whole is one U+FFFD at the end")
