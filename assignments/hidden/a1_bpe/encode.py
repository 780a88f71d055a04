"""What `encode` asks for: merges by rank inside pre-tokens, ids of the vocabulary, and time that grows as the text.

One file, though a long one: each of its ten checks meets one difficulty, and stands below its inputs.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from string import ascii_letters, ascii_lowercase

from cs336lite.course.answers import ask, either, fits, list_of
from cs336lite.course.spec import Fail, StudentError, check, drawn, expect

from .asking import (
    IDS,
    NO_PLAIN_WORD,
    NO_RETRY,
    PLAIN_MERGES,
    PLAIN_TEXTS,
    as_text,
    encoded,
    explained,
    judge_encoding,
    judge_ids,
    spelling,
    with_or_without,
)
from .definition import ABSENT, ENCODER, RIGHT, Encoder, Pair, Word, bytes_of_a_piece, printable, vocab_of
from .drivers import drive_encoding
from .inputs import BY_RANK, draw, letters, random_name, small_language, text_and_its_merges
from .mistakes_in_encoding import (
    ASSUMED_IDS,
    BYTES_ONLY,
    ENCODE_ASCII,
    ENCODE_FROM_THE_RIGHT,
    ENCODE_ONLY_FIRST,
    ENCODE_WHOLE,
    HIGHEST_RANK,
    LEFTMOST_PAIR,
    LONGEST_MATCH,
    RANK,
    step_by_step,
)


def known_first(piece: str, merges: list[Pair]) -> Word:
    return (piece.encode(),) if piece.encode() in {a + b for a, b in merges} else bytes_of_a_piece(piece, merges)


LOWEST_ID = Encoder(
    order=lambda merges, ids: sorted(merges, key=lambda pair: ids[b"".join(pair)]),
    merge=step_by_step(lambda places, ranks: places[ranks.index(min(ranks))]),
)
ENCODE_LOOKED_UP = Encoder(merge=known_first)
NO_COMMENTS = Encoder(order=lambda merges, ids: [pair for pair in merges if not pair[0].startswith(b"#")])


def drive_files(student, vocab_path, merges_path, special_tokens, texts):
    import operator

    open_files = getattr(student.Tokenizer, "from_files", None)
    if open_files is None:
        return None
    tokenizer = (
        open_files(vocab_path, merges_path, special_tokens) if special_tokens else open_files(vocab_path, merges_path)
    )
    if not hasattr(tokenizer, "encode"):
        return tokenizer is None
    answers = []
    for text in texts:
        ids = tokenizer.encode(text)
        ids = list(ids) if hasattr(ids, "__iter__") else [None]
        answers.append([operator.index(i) if hasattr(i, "__index__") else None for i in ids])
    return answers


def drive_nothing_special(student, vocab, merges, texts):
    """The ids of each text without special tokens: not given, None, and an empty list."""
    import json
    import operator

    vocab = {int(i): token.encode("latin-1") for i, token in json.loads(vocab).items()}
    answers = []
    for given in [(), (None,), ([],)]:
        tokenizer = student.Tokenizer(dict(vocab), merges, *given)
        answers.append([[operator.index(i) for i in tokenizer.encode(text)] for text in texts])
    return answers


def learnt(rng: random.Random, number_of_letters: int = 5, number: int = 24) -> tuple[list[str], list[Pair]]:
    """Words of a small language and merges learnt from them, all with different results."""

    def make() -> tuple[list[str], list[Pair]]:
        words = small_language(rng, number_of_letters, 60)
        return words, list(RIGHT.merges(" ".join(words).encode(), number))

    return draw(make, lambda made: len({a + b for a, b in made[1]}) == number)


@drawn
def words_of_many_merges(rng) -> list[tuple[list[Pair], list[str]]]:
    def make() -> tuple[list[Pair], list[str]]:
        words, merges = learnt(rng, 4)
        alphabet, vocab = sorted(set("".join(words))), vocab_of(merges)

        def plain(word: str) -> bool:  # without the difficulties of runs
            encoders = (ENCODER, ENCODE_FROM_THE_RIGHT, ENCODE_ONLY_FIRST)
            ids = [[e.encode(vocab, merges, text) for text in (word, f" {word}")] for e in encoders]
            return all(one == ids[0] for one in ids)

        def word() -> str:
            return draw(lambda: "".join(rng.choices(alphabet, k=rng.randint(3, 12))), plain)

        return merges, [" ".join(word() for _ in range(8)) for _ in range(4)]

    def good(made: tuple[list[Pair], list[str]]) -> bool:  # each misconception gives ids of its own
        merges, texts = made
        encoders = (ENCODER, LONGEST_MATCH, LEFTMOST_PAIR, HIGHEST_RANK, BYTES_ONLY)
        ids = [[encoder.encode(vocab_of(merges), merges, text) for text in texts] for encoder in encoders]
        return all(one != other for i, one in enumerate(ids) for other in ids[:i])

    return [draw(make, good) for _ in range(2)]


@check("encode", points=2, title="merges apply in order of rank")
def merges_apply_by_rank(student, rng):
    message = f"the ids are not those of the merges: {RANK}, each everywhere it fits"
    for merges, texts in words_of_many_merges(rng):
        vocab = vocab_of(merges)
        judge_encoding(student, vocab, merges, texts, message)


@check("encode", points=1, title="merges stay inside pre-tokens")
def stays_inside_pre_tokens(student, rng):
    a, b, c = letters(rng, 3)
    (digit, *number), mark = rng.sample("0123456789", 5), rng.choice("!#%&*+:;=?@~")
    merges = [
        (x.encode(), y.encode())
        for x, y in [(a, " "), (b, digit), (c, mark), (" ", " "), (" ", b), ("'", "s"), (c, "'")]
    ]
    merges += [(b"'", b"S"), (number[2].encode(), number[3].encode())]
    texts = [f"{a} {b}{digit} {c}{mark}", f"{a}   {b} {c}'s", f"{b}{digit}{digit}{b}{mark}{c}  "]
    texts += [f"{c}'S {''.join(number)}"]
    rng.shuffle(texts)
    vocab = vocab_of(merges)
    message = "words beside spaces, digits and punctuation get wrong ids: cut with the same pattern as in training"
    judge_encoding(student, vocab, merges, texts, message)


@check("encode", points=1, title="long runs of one character")
def runs_of_one_character(student, rng):
    one = rng.choice(ascii_lowercase).encode()
    merges = [(one, one), (one * 2, one * 2)]
    other = rng.choice("äöüßéñ")
    merges += [(other.encode()[:1], other.encode()[1:]), (other.encode(), other.encode())]
    vocab = vocab_of(merges)
    texts = [one.decode() * n for n in (3, 5, 7, rng.randint(8, 60), rng.randint(900, 1500))]
    texts += [other * n for n in (3, rng.randint(60, 120))]
    judge_encoding(
        student, vocab, merges, texts, "runs of one character go wrong: merge from left to right, without overlap"
    )


def timed_encoding(student, merges: list[Pair], vocab: dict[int, bytes], text: str) -> float:
    """The processor time of encoding a text, believed only with ids that spell it and are as few."""

    def ask_timed(names: list[str] | None) -> float:
        answer, seconds = student.timed(drive_encoding, as_text(vocab), merges, names, [text])
        (ids,) = fits(answer, list_of(IDS, 1))
        (right,) = BY_RANK.encode_all(vocab, merges, [text])  # which merge comes first is not judged here
        expect(spelling(ids, vocab) == text.encode() and 10 * len(ids) <= 11 * len(right), UNTIMED)
        return seconds

    try:
        return ask_timed(None)
    except (Fail, StudentError) as error:
        if isinstance(error, StudentError) and error.kind in NO_RETRY:
            raise
        return ask_timed([ABSENT])


UNTIMED = "the time is measured when the ids of a long text are right, and they are not yet"


def grows(times: Callable[[int], float], small: int, large: int, most: float) -> bool:
    """Whether the least of a few times for a large input is more than ``most`` times that for a small one."""
    least = {small: float("inf"), large: float("inf")}
    for rounds in range(5):
        for size in (small, large):
            least[size] = min(least[size], times(size))
        ratio = least[large] / max(least[small], 1e-6)
        if ratio < most or (rounds > 0 and ratio > 1.4 * most):
            break
    return ratio >= most


def grows_plainly(times: Callable[[int], float], small: int, large: int, most: float) -> bool:
    """Whether it `grows` beyond doubt: twice by far, and with times that no disturbance makes."""
    for _ in range(2):
        seconds = times(large)
        if seconds < LONG or seconds < 1.4 * most * times(small):
            return False
    return True


LONG = 0.1  # seconds: to encode a short text takes some thousandths


@check(
    "encode",
    points=1,
    title="encoding costs what the text is long, not its square nor the number of merges",
    seconds=120,
)
def costs_what_the_text_is_long(student, rng):
    def run(length: int) -> float:
        one = rng.choice(ascii_lowercase).encode()
        merges = [(one, one), (one * 2, one * 2)]
        return timed_encoding(student, merges, vocab_of(merges), one.decode() * length)

    quadratic = "four times as long a run of one character takes far more than four times as long: look only at what a merge changes"
    # linear: 4 times as long, quadratic: 16 times, which shows in a short text already where that takes long
    expect(not grows_plainly(run, 500, 2_000, 9), quadratic)
    expect(not grows(run, 2_000, 8_000, 9), quadratic)
    merges, words = merges_of_many_letters(rng)

    def encode_with(number: int) -> float:  # what a few words cost, most of it to make the tokenizer, does not count
        vocab = vocab_of(merges[:number])
        few, many = " ".join(rng.sample(words, 10)), " ".join(rng.sample(words, 300))
        once = [timed_encoding(student, merges[:number], vocab, text) for text in (few, many)]
        return max(once[1] - once[0], 0.002)

    all_merges = (
        "with more merges each word takes longer, also by merges that it does not hold: look up the pairs of the word"
    )
    expect(not grows(encode_with, 500, len(merges), 5), all_merges)


@drawn
def merges_of_many_letters(rng) -> tuple[list[Pair], list[str]]:
    """Thousands of merges, and words of random letters to which few of them apply."""
    twos = rng.sample([(a, b) for a in ascii_lowercase for b in ascii_lowercase], 500)
    threes = [(a + b, c) for a, b in twos for c in ascii_lowercase]
    merges = [*twos, *rng.sample(threes, 4_400)]
    unique = {a + b: (a.encode(), b.encode()) for a, b in merges}
    return list(unique.values()), ["".join(rng.choices(ascii_lowercase, k=8)) for _ in range(500)]


INGREDIENTS = (
    *(
        "the",
        "Straße",
        "naïve",
        "e\u0301",
        "日本語",
        "汉字，",
        "。",
        "Привет",
        "עברית",
        "हिन्दी",
        "ﬁ",
        "Å",
        "１２",
        "½",
        "x²",
    ),
    *(
        "🙂",
        "👩‍👩‍👧",
        "🇨🇭",
        "\r\n",
        "\r",
        "\n\n",
        "\t",
        "\u00a0",
        "\u2003",
        "\x00",
        "\ufeff",
        "\ufffd",
        "  ",
        " ",
        " ",
        "'ll",
        "…",
    ),
)

FIXED = ["a\r\nb\r\n", "".join(INGREDIENTS)]


@drawn
def many_scripts(rng) -> tuple[list[Pair], list[str]]:
    """Texts in which no merge fits across the border of two pre-tokens: that is asked elsewhere."""

    def make() -> tuple[list[Pair], list[str]]:
        sample = "".join(rng.choices(INGREDIENTS, k=400))
        merges = RIGHT.merges(sample.encode(), 30)
        merges = list({a + b: (a, b) for a, b in reversed(merges)}.values())[::-1]
        return merges, ["".join(rng.choices(INGREDIENTS, k=40)) for _ in range(6)] + FIXED

    def good(made: tuple[list[Pair], list[str]]) -> bool:
        merges, texts = made
        ids = [encoder.encode_all(vocab_of(merges), merges, texts) for encoder in (ENCODER, ENCODE_WHOLE, ENCODE_ASCII)]
        return ids[0] == ids[1] != ids[2]

    return draw(make, good)


@check("encode", points=1, title="text of every script, emoji and line ends")
def text_of_every_script(student, rng):
    merges, texts = many_scripts(rng)
    vocab = vocab_of(merges)
    problem = "encode raised an exception for text that is not plain ASCII: encode the UTF-8 bytes of each pre-token"
    problems = dict.fromkeys(
        ["KeyError", "UnicodeEncodeError", "UnicodeDecodeError", "ValueError", "IndexError"], problem
    )
    lost = "the ids do not spell the text: text that is not plain ASCII, or white space, is lost or changed"
    ends = "line ends were changed: every character of the text must be encoded as it is"
    ascii_only = "text of many scripts gets wrong ids: the regex module knows the letters (\\p{L}) and digits (\\p{N}) of all of them"

    def judge(names: list[str]) -> None:
        plain = vocab_of(PLAIN_MERGES)
        answers = encoded(student, plain, PLAIN_MERGES, names or None, PLAIN_TEXTS)
        judge_ids(answers, plain, PLAIN_MERGES, PLAIN_TEXTS, NO_PLAIN_WORD)
        answers = encoded(student, vocab, merges, names or None, texts, problems)
        for ids, text in zip(answers, texts, strict=True):
            expect(set(ids) <= set(vocab), "encode returned ids that the vocabulary lacks")
            whole = spelling(ids, vocab)
            expect(whole != text.replace("\r\n", "\n").replace("\r", "\n").encode() or "\r" not in text, ends)
            expect(whole == text.encode(), lost)
        judge_ids(answers, vocab, merges, texts, ascii_only)

    with_or_without(judge)


@drawn
def a_shuffled_vocabulary(rng) -> tuple[list[str], list[Pair], dict[int, bytes]]:
    def make():
        merges, words = [], []
        names = letters(rng, 18)
        for x, y, z in zip(names[0::3], names[1::3], names[2::3], strict=True):
            # the pair on the left has the lower rank
            merges += [(x.encode(), y.encode()), (y.encode(), z.encode())]
            words += [x + y + z, y + z, x + y]
        rng.shuffle(words)
        ids = rng.sample(range(257 + len(merges)), 257 + len(merges))
        return words, merges, dict(zip(ids, vocab_of(merges).values(), strict=True))

    def good(made) -> bool:
        words, merges, vocab = made
        right = ENCODER.encode(vocab, merges, " ".join(words))
        return all(e.encode(vocab, merges, " ".join(words)) != right for e in (ASSUMED_IDS, LOWEST_ID))

    return draw(make, good)


@check("encode", points=1, title="ids come from the vocabulary, whatever its order")
def ids_come_from_the_vocabulary(student, rng):
    words, merges, vocab = a_shuffled_vocabulary(rng)
    texts = [" ".join(words[:9]), " ".join(words)]
    message = "ids are computed (byte value, 256 + rank): look every token up in the vocabulary that was given"
    by_id = [(LOWEST_ID, f"merges are ordered by their ids in the vocabulary: {RANK} in the list of merges")]
    otherwise = (
        "in a vocabulary in another order the ids are wrong: look each token up, and apply merges in the list's order"
    )
    problems = {"KeyError": message, "IndexError": message}
    judge_encoding(student, vocab, merges, texts, otherwise, wrong=by_id, problems=problems)


@check("encode", points=1, title="only merges make tokens")
def only_merges_make_tokens(student, rng):
    a, b, c, d = letters(rng, 4)
    merges = [(b, c), (a, b), (a + b, c), (c, d)]  # b c comes first, so that a b c is never one token
    merges = [(x.encode(), y.encode()) for x, y in merges]
    texts = [a + b + c, f"{a}{b}{c} {b}{c}", a + b + c + a]
    message = "a word that stands in the vocabulary as a whole was looked up there: only its merges make tokens"
    otherwise = f"words that stand in the vocabulary as a whole get wrong ids: {RANK}"
    wrong = [(ENCODE_LOOKED_UP, message), (LEFTMOST_PAIR, otherwise), (LONGEST_MATCH, otherwise)]
    judge_encoding(student, vocab_of(merges), merges, texts, otherwise, wrong=wrong)


@check("encode", points=1, title="no text, one character, no special tokens")
def nothing_at_all(student, rng):
    character = rng.choice(ascii_letters)
    vocab, merges, texts = vocab_of(PLAIN_MERGES), PLAIN_MERGES, ["", character, " ", "now now"]
    problem = "encode raised an exception for a very short text: an empty text has no ids, and a single byte no pair"
    kinds = ["ValueError", "IndexError", "KeyError", "TypeError", "StopIteration", "RuntimeError"]

    def judge(names: list[str]) -> None:
        judge_ids(encoded(student, vocab, merges, names or None, texts[3:]), vocab, merges, texts[3:], NO_PLAIN_WORD)
        answers = encoded(student, vocab, merges, names or None, texts, dict.fromkeys(kinds, problem))
        expect(answers[0] == [], "an empty text must give an empty list")
        expect(answers[1:3] == [[ord(character)], [32]], "a text of one byte must give the id of this byte")

    with_or_without(judge)
    none = "without special tokens encode goes wrong: they may be left out, None, or an empty list, and then nothing is cut"
    kinds += ["AttributeError", "error", "PatternError"]
    try:
        given = ask(student, list_of(list_of(IDS, 4), 3), drive_nothing_special, as_text(vocab), merges, texts)
    except StudentError as error:
        raise explained(error, dict.fromkeys(kinds, none)) from error
    expect(all(answers == ENCODER.encode_all(vocab, merges, texts) for answers in given), none)


@check("encode", points=0.5, title="from_files reads GPT-2's vocab.json and merges.txt")
def reads_gpt2_files(student, rng):
    a, b, c = letters(rng, 3)
    name = random_name(rng)
    merges = [(b"#", b"#"), (b" ", a.encode()), (a.encode(), b.encode()), (b" " + a.encode(), b.encode())]
    merges += [("é".encode()[:1], "é".encode()[1:]), (b"\n", b"\n"), (b"##", b"!")]
    ids = rng.sample(range(257 + len(merges)), 257 + len(merges))
    ids[256:-1] = sorted(ids[256:-1])  # merges in order of rank
    vocab = dict(zip(ids, vocab_of(merges, [name]).values(), strict=True))
    as_json = json.dumps({printable(token): i for i, token in vocab.items()}, ensure_ascii=rng.random() < 0.5)
    lines = ["#version: 0.2", *(f"{printable(x)} {printable(y)}" for x, y in merges)]
    paths = student.file(as_json.encode()), student.file(("\n".join(lines) + "\n").encode())
    texts = [f"{a}{b} {a}{b}{c}é é\n\n", f"## {a} ##!{b}", f" {c}é字{a}{b}\r\n"]
    problem = (
        "the files could not be read: vocab.json maps strings of GPT-2's characters to ids, merges.txt holds two such "
        "strings a line, and each of the 256 bytes has a character of its own"
    )
    kinds = ["KeyError", "ValueError", "JSONDecodeError", "UnicodeDecodeError", "IndexError", "AttributeError"]
    wrong = [(NO_COMMENTS, "merges that begin with # were skipped: only the first line, #version, is no merge")]
    message = "a tokenizer read from GPT-2's files gives wrong ids: turn every character back into its byte, and keep the merges in order"

    def judge(names: list[str], texts: list[str], message: str) -> None:
        judge_ids(encoded(student, vocab, merges, names, texts), vocab, merges, texts, ALREADY, names)
        form = either(list_of(IDS, len(texts)), type(None), bool)
        try:
            answers = ask(student, form, drive_files, *paths, names, texts)
        except StudentError as error:
            raise explained(error, dict.fromkeys(kinds, problem)) from error
        expect(answers is not None, "`Tokenizer.from_files` is not defined")
        expect(answers is not True, "`Tokenizer.from_files` returned None: it must return the tokenizer")
        expect(answers is not False, "`Tokenizer.from_files` returned no tokenizer: what comes back has no `encode`")
        expect(all(type(i) is int for ids in answers for i in ids), "encode must return a list of ints")
        judge_ids(answers, vocab, merges, texts, message, names, wrong)

    try:
        judge([], texts, message)
    except (Fail, StudentError):
        judge([name], texts, message)
        needed = "from_files fails without special tokens: like the tokenizer's own, they may be left out"
        expect(not encoded_rightly(student, vocab, merges, [], texts), needed)
    text = [f"{a}{name}{b}"]
    if encoded_rightly(student, vocab, merges, [name], text):
        judge([name], text, "special tokens given to from_files were not used")


ALREADY = "this is judged when a tokenizer with the same vocabulary and merges gives the right ids, and it does not yet"


def encoded_rightly(student, vocab, merges, names: list[str], texts: list[str]) -> bool:
    """Whether special tokens are solved: what else is asked of them is asked of those only who have come there."""
    try:
        return encoded(student, vocab, merges, names, texts) == ENCODER.encode_all(vocab, merges, texts, names)
    except (Fail, StudentError):
        return False


@check("encode", points=17.5, title="together: an ordinary text is encoded")
def an_ordinary_text_is_encoded(student, rng):
    merges, texts = text_and_its_merges(rng)
    message = "the ids of an ordinary text are not the right ones yet: the checks of single difficulties say why"
    judge_encoding(student, vocab_of(merges), merges, texts, message)
