"""Checks and hints of the exercises in lecture 01. Nothing here is graded: try as often as you like."""

from cs336lite.course.show import expect_equal
from cs336lite.course.spec import check, expect

HINTS = {
    "utf8_length": [
        "Write down the code points at which one more byte is needed: they stand under the staircase above, in hexadecimal.",
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
    found = student.run(run_length, [ord(c) for c in "Aя中🙂"])
    expect(None not in found, "it returned None: is a `return` missing?")
    expect(all(isinstance(length, int) for length in found), "return how many bytes there are, a whole number")
    expect(found != [1, 3, 4, 4], "80, 800 and 10000 are hexadecimal: write 0x80, 0x800, 0x10000")
    expect(found != [1, 2, 2, 3], "the number alone would fit, but some bits of each byte say where a character begins")
    expect_equal(found, [1, 2, 3, 4], "A, я, 中 and 🙂 take one byte more each")


@check("utf8_length", title="on both sides of each border")
def borders(student, rng):
    for border in (0x80, 0x800, 0x10000):
        found = student.run(run_length, [border - 1, border])
        wanted = [len(chr(border - 1).encode()), len(chr(border).encode())]
        expect(
            found != [wanted[0]] * 2,
            f"0x{border:X} takes {wanted[1]} bytes, yours says {wanted[0]}: is it a border, with >= and not >?",
        )
        expect(
            found != [wanted[1]] * 2,
            f"0x{border - 1:X} takes {wanted[0]}, yours says {wanted[1]}: the border is 0x{border:X}",
        )
        expect_equal(found, wanted, f"the lengths of 0x{border - 1:X} and 0x{border:X}")


def run_best_pair(student, counts):
    return student.best_pair(dict(counts))


@check("best_pair", title="the most frequent pair")
def most_frequent(student, rng):
    best = student.run(run_best_pair, {("l", "o"): 2, ("o", "w"): 5, ("w", "e"): 3})
    expect(best is not None, "it returned None: is a `return` missing?")
    expect(best != 5, "that is the count; return the pair that has it")
    expect(best != (("o", "w"), 5), "return the pair alone, without its count")
    expect(best != ["o", "w"], "a pair is a tuple: return the key as it stands in counts")
    expect(best != ("w", "e"), "that is the greatest pair; the count comes first, the pair only decides a tie")
    expect(best != ("l", "o"), "that is the rarest pair")
    expect_equal(best, ("o", "w"), "the pair with the highest count is another one")


@check("best_pair", title="of equal counts the greatest pair")
def ties(student, rng):
    best = student.run(run_best_pair, {("e", "s"): 4, ("s", "t"): 4, ("a", "b"): 4, ("z", "z"): 1})
    expect(
        best != ("e", "s"),
        "three pairs stand equally often, and you took the first; the greatest wins, here ('s', 't')",
    )
    expect(best != ("a", "b"), "three pairs stand equally often: take the greatest of them, ('s', 't')")
    expect_equal(best, ("s", "t"), "the tie is not settled by the pair")
    best = student.run(run_best_pair, {("a", "b"): 3, ("a", "c"): 3})
    expect_equal(best, ("a", "c"), "where the first parts are equal, the second parts decide")
    best = student.run(run_best_pair, {("ab", "c"): 3, ("a", "bz"): 3})
    expect_equal(best, ("ab", "c"), "pairs are compared part by part, 'a' before 'ab', and not as one joined text")


@check("best_pair", title="pairs of bytes as well")
def of_bytes(student, rng):
    best = student.run(run_best_pair, {(b"t", b"h"): 3, (b"\xe4", b"\xb8"): 3, (b"a", b"n"): 3})
    expect_equal(
        best, (b"\xe4", b"\xb8"), "the greatest of three pairs of bytes begins with 0xE4, which is more than t"
    )


def run_spell(student, text, merges):
    tokens = student.spell(text, merges)
    return tokens if isinstance(tokens, (str, bytes)) else list(tokens)


def expect_tokens(found, wanted, message):
    expect(not isinstance(found, (str, bytes)), "return the list of tokens, not the text joined again")
    expect(not any(isinstance(token, int) for token in found), "a token is a bytes object: begin with to_bytes(text)")
    expect(not any(isinstance(token, str) for token in found), "a token is bytes, not text: begin with to_bytes(text)")
    expect_equal(found, wanted, message)


@check("spell", title="merges apply in the order in which they were learned")
def in_order(student, rng):
    found = student.run(run_spell, "abc", [(b"b", b"c"), (b"a", b"b")])
    why = "b c was learned before a b, so it is joined first, wherever it stands and however long the token is"
    expect(found != [b"ab", b"c"], why)
    expect(found != [b"a", b"b", b"c"], "nothing was joined: join returns a new list, so keep what it returns")
    expect_tokens(found, [b"a", b"bc"], "the tokens of abc after the merges b c and a b")
    found = student.run(run_spell, "abc", [(b"b", b"c"), (b"a", b"b"), (b"a", b"bc")])
    expect(found != [b"a", b"bc"], "a later merge was left out: go through all of them")
    expect_tokens(found, [b"abc"], "the first merge makes bc, the third a bc")


@check("spell", title="bytes, and all places of a pair")
def all_places(student, rng):
    expect_tokens(student.run(run_spell, "abab", [(b"a", b"b")]), [b"ab", b"ab"], "the pair a b stands twice in abab")
    expect_tokens(student.run(run_spell, "中", []), [b"\xe4", b"\xb8", b"\xad"], "without merges 中 is its three bytes")
    expect_tokens(student.run(run_spell, "", [(b"a", b"b")]), [], "an empty text has no tokens")


def run_group(student, number):
    groups = student.group_digits(number)
    return groups if isinstance(groups, str) else list(groups)


@check("group_digits", title="threes from the right")
def from_the_right(student, rng):
    found = student.run(run_group, "12345678")
    expect(not isinstance(found, str), "return a list of groups, not one text")
    expect(not any(isinstance(group, int) for group in found), "a group is a text of digits, such as '345', no number")
    expect(found != ["123", "456", "78"], "that is from the left, as GPT-4 cuts; begin at the right end")
    expect(found != ["678", "345", "12"], "the groups are right; give them in the order in which they are read")
    expect(found != ["21", "543", "876"], "the digits of each group are turned round")
    expect(found != ["345", "678"], "the two digits in front are lost")
    expect_equal(found, ["12", "345", "678"], "12,345,678 is 12, 345 and 678")


@check("group_digits", title="no empty group, no digit lost")
def no_empty_group(student, rng):
    found = student.run(run_group, "123456")
    expect("" not in found, "123456 has no digit left over, and an empty group came out")
    expect_equal(found, ["123", "456"], "123456 is 123 and 456")
    expect_equal(student.run(run_group, "7"), ["7"], "one digit is one group")
    expect_equal(student.run(run_group, "0012"), ["0", "012"], "0012 is 0 and 012, for zeros in front are digits too")


def run_stream(student, tokens):
    """(what came out, characters that had come out when each token was asked for)."""
    made, before = [], []

    def arriving():
        for token in tokens:
            before.append(sum(map(len, made)))
            yield token

    found = student.stream(arriving())
    if isinstance(found, (str, bytes)):
        return found, before
    for piece in found:
        made.append(piece)
    return made, before


def streamed(student, tokens):
    found, before = student.run(run_stream, tokens)
    expect(
        not isinstance(found, (str, bytes)), "it returned one text and ended there: `yield` a piece after each token"
    )
    expect(all(isinstance(piece, str) for piece in found), "yield text: decode the bytes")
    return "".join(found), before


@check("stream", title="a character in two tokens")
def two_tokens(student, rng):
    text, _ = streamed(student, [b"a", b"\xe4\xb8", b"\xad", b"b"])
    expect("\ufffd" not in text, "U+FFFD came out of a character whose bytes lay in two tokens: hold them back")
    expect(text != "ab", "中 is lost, because its bytes lay in two tokens: hold them back until they are whole")
    expect(text != "a", "only the first token came out: `yield`, where `return` ends the function")
    expect_equal(text, "a中b", "the pieces joined are not the text")


@check("stream", title="as soon as it can be known")
def soon(student, rng):
    _, before = streamed(student, [b"a", b"b", b"\xf0\x9f", b"\x99\x82"])
    expect(before[1:3] != [0, 0], "nothing came out before the last token was read: `yield` after each token")
    expect_equal(before[1:3], [1, 2], "characters that came out after the first and the second token")
    _, before = streamed(student, [b"a\xe4", b"\xb8\xad"])
    expect(before[1] > 0, "in the token a + 0xE4 the a is whole: yield it, and hold back 0xE4 alone")


@check("stream", title="a text that breaks off")
def broken_off(student, rng):
    text, _ = streamed(student, [b"a", b"\xe4\xb8"])
    expect(text != "a", "the last two bytes never became a character and are lost: show them as U+FFFD")
    expect_equal(text, "a\ufffd", "what never becomes whole is one U+FFFD at the end")
