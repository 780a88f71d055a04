"""What `special_tokens` asks for: cuts at names, the leftmost and there the longest, in training and in encoding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from string import ascii_letters, ascii_lowercase

import regex

from cs336lite.course.answers import ask, list_of
from cs336lite.course.spec import Fail, StudentError, check, drawn, expect

from .asking import (
    IDLE_MERGES,
    IDS,
    NO_PLAIN_WORD,
    PLAIN_MERGES,
    PLAIN_TEXTS,
    Lesson,
    as_text,
    decoded,
    encoded,
    judge_encoding,
    judge_ids,
    judge_merges,
    plain_borders,
)
from .definition import ABSENT, ENCODER, PATTERN, RIGHT, SEPARATORS, Encoder, Trainer, cut, vocab_of
from .inputs import agree, differ, draw, letters, names_in_no_order, planted, random_name, scattered
from .mistakes_in_training import SMALLEST, SPECIALS_AS_TEXT, SPECIALS_REMOVED, UNWEIGHTED


def cut_in_the_pattern(text: str, names: list[str]) -> list[str]:
    """Special tokens are one more alternative of the pattern, which finds them only where a pre-token begins."""
    parts = [""]
    for piece in regex.findall("|".join([*map(regex.escape, sorted(names, key=len, reverse=True)), PATTERN]), text):
        if piece in names:
            parts += [piece, ""]
        else:
            parts[-1] += piece
    return parts


def cut_by_patterns(text: str, names: list[str]) -> list[str]:
    """Special tokens are used as regular expressions."""
    try:
        return regex.split("(" + "|".join(f"(?:{name})" for name in names) + ")", text)
    except regex.error:
        return [text]


STRIPPED = replace(RIGHT, texts=lambda text, names: [part.strip() for part in cut(text, names)[0::2]])
FIRST_LISTED = replace(RIGHT, texts=lambda text, names: cut_by_order(text, names)[0::2])
AS_PATTERNS = replace(RIGHT, texts=lambda text, names: cut_by_patterns(text, names)[0::2])
IN_THE_PATTERN = replace(RIGHT, texts=lambda text, names: cut_in_the_pattern(text, names)[0::2])


def cut_by_order(text: str, names: list[str]) -> list[str]:
    """The leftmost special token, but of several that begin there the one that comes first in the list."""
    if not names:
        return [text]
    return regex.split("(" + "|".join(regex.escape(name) for name in names) + ")", text)


def cut_one_after_another(text: str, names: list[str]) -> list[str]:
    """All of the longest special token first, wherever it stands, then the next."""
    parts = [text]
    for name in sorted(names, key=len, reverse=True):
        parts = [new for i, part in enumerate(parts) for new in ([part] if i % 2 else cut(part, [name]))]
    return parts


PLAIN = Encoder(cut=lambda text, names: [text])
LISTED = Encoder(cut=cut_by_order)
ONE_AFTER_ANOTHER = Encoder(cut=cut_one_after_another)
ENCODE_AS_PATTERNS = Encoder(cut=cut_by_patterns)
ENCODE_IN_THE_PATTERN = Encoder(cut=cut_in_the_pattern)
SECOND_ONLY = Encoder(cut=lambda text, names: cut(text, names[1:2]))
SORTED_SPECIALS = Encoder(number_specials=sorted)


def drive_arguments(student, vocab, merges, special_tokens, text):
    """What a tokenizer makes of its arguments, and the ids that it gives for a text."""
    import json
    import operator

    vocab = {int(i): token.encode("latin-1") for i, token in json.loads(vocab).items()}
    ids = student.Tokenizer(vocab, merges, special_tokens).encode(text)
    return [operator.index(i) for i in ids], list(vocab.items()), [tuple(pair) for pair in merges], list(special_tokens)


@drawn
def letters_beside_special_tokens(rng) -> tuple[list[str], bytes]:
    def make():
        names = sorted({random_name(rng) for _ in range(12)})
        a, b, p, q = letters(rng, 4, "ghjkqvwxz")
        rare = [letter for letter in ascii_letters if letter not in {a, b, p, q}]
        parts = []
        for _ in range(40):
            parts.append(rng.choice(rare) + a + rng.choice(names) + b + rng.choice(rare) + rng.choice(SEPARATORS))
        parts += [word + rng.choice(SEPARATORS) for word in planted(rng, {p + q: 24})]
        rng.shuffle(parts)
        return names, "".join(parts).encode()

    def good(made) -> bool:
        names, data = made
        return agree(data, 1, SMALLEST, UNWEIGHTED, special_tokens=tuple(names)) and differ(
            data, 1, SPECIALS_REMOVED, special_tokens=tuple(names)
        )

    return draw(make, good)


def frequent_name(
    rng, names: Sequence[str], wrong: Sequence[Trainer], before: Sequence[str] = "QXZ", inside: str = ""
) -> bytes:
    """A file in which the last of these special tokens stands often, beside words that are learned; ``inside`` is one."""
    letters_of_names = "".join(names)

    def make() -> bytes:
        p, q, r, s = letters(rng, 4, "".join(sorted(set(ascii_lowercase) - set(letters_of_names))))
        hot = {p + q: 18, r + s: 12} | ({inside: 25} if inside else {})
        words = planted(rng, hot, bare="".join(filter(str.isascii, letters_of_names)))
        words += [rng.choice(before) + names[-1] for _ in range(40)]
        rng.shuffle(words)
        return scattered(rng, words)

    def good(data: bytes) -> bool:
        task = data, 2
        return agree(*task, SMALLEST, UNWEIGHTED, special_tokens=tuple(names)) and differ(
            *task, *wrong, special_tokens=tuple(names)
        )

    return draw(make, good)


@drawn
def frequent_special_tokens(rng) -> list[tuple[list[str], bytes]]:
    """The usual special token, and another one."""
    name = random_name(rng)
    return [([known], frequent_name(rng, [known], [SPECIALS_AS_TEXT])) for known in (ABSENT, name)]


@drawn
def white_space_beside_special_tokens(rng) -> tuple[list[str], bytes]:
    """A file of many parts that begin with a space, behind which the same letter stands."""
    name = random_name(rng)

    def make() -> bytes:
        a, p, q = letters(rng, 3, "".join(sorted(set(ascii_lowercase) - set(name))))
        rare = [letter for letter in ascii_letters if letter not in name + a + p + q]
        parts = [f"{name} {a}{x}{y}" for x, y in rng.sample([(x, y) for x in rare for y in rare], 30)]
        words = planted(rng, {p + q: 18}, bare=name + a)
        return ("".join(word + rng.choice("\n\t") for word in words) + "".join(parts)).encode()

    def good(data: bytes) -> bool:
        names = (name,)
        return agree(data, 2, SMALLEST, UNWEIGHTED, special_tokens=names) and differ(
            data, 2, STRIPPED, special_tokens=names
        )

    return [name], draw(make, good)


AS_TEXT = "special tokens are counted in training: cut the text at them first, and count only what lies between"
SWALLOWED = "a special token behind punctuation is not found: cut the text at special tokens before the pattern sees it"


@check("special_tokens", points=2.5, title="training cuts the text at special tokens, and does not count them")
def training_cuts_the_text(student, rng):
    beside, data = letters_beside_special_tokens(rng)
    removed = "special tokens were removed, but the text was not cut: what stands left and right of one must not merge"
    others = "special tokens other than <|endoftext|> are treated as text in training: cut at those that are given"
    message = "a text with special tokens gives wrong merges: cut it at them before anything is counted"
    likely = [(SPECIALS_AS_TEXT, AS_TEXT), (IN_THE_PATTERN, SWALLOWED), (SPECIALS_REMOVED, removed)]
    (usual, its_data), (names, other_data) = frequent_special_tokens(rng)
    judge_merges(
        student,
        rng,
        Lesson(its_data, 2, message, usual, likely),
        Lesson(other_data, 2, message, names, [(SPECIALS_AS_TEXT, others), *likely]),
        Lesson(data, 1, message, beside, likely),
    )
    try:
        judge_merges(student, rng, plain_borders(rng))
    except (Fail, StudentError):
        return  # the space in front of a word is lost everywhere, for which another check takes points
    names, data = white_space_beside_special_tokens(rng)
    lost = "white space beside special tokens is lost: it is text, too, and a space belongs to the word behind it"
    judge_merges(student, rng, Lesson(data, 2, message, names, [(STRIPPED, lost), *likely]))


@drawn
def difficult_names(rng) -> list[tuple[list[str], bytes]]:
    """Names that are patterns, of which one begins another, behind punctuation, in other letters than ASCII."""
    name, middle = random_name(rng), "".join(letters(rng, 2))
    longer = name + "".join(letters(rng, 3)) + ">"
    pattern = rng.choice([f"[{middle}]", f"<|{middle}|>", f"{middle}+*", f"(?:{middle}.?)"])
    foreign = "<" + "".join(rng.sample("äöüéèñçжзи字典", 5)) + ">"
    marked = f"<|{middle}|>"
    return [
        ([marked], frequent_name(rng, [marked], [IN_THE_PATTERN], "!?;")),
        ([pattern], frequent_name(rng, [pattern], [AS_PATTERNS], inside=middle)),
        ([name, longer], frequent_name(rng, [name, longer], [FIRST_LISTED])),
        ([foreign], frequent_name(rng, [foreign], [SPECIALS_AS_TEXT])),
    ]


@check("special_tokens", points=0.5, title="in training, too, names are literal, the longest first, and of any letters")
def training_finds_any_name(student, rng):
    patterns = "special tokens are used as regular expressions in training: escape their names, they mean themselves"
    listed = "the shorter of two special tokens was taken where the longer one stands: leftmost, then longest"
    tasks = [
        ("a special token behind punctuation is not cut out in training", [(IN_THE_PATTERN, SWALLOWED)]),
        ("a special token whose name holds signs such as | or [ is not cut out in training", [(AS_PATTERNS, patterns)]),
        ("of two special tokens at one place not the longest is cut out in training", [(FIRST_LISTED, listed)]),
        ("a special token with letters beyond ASCII is not cut out in training", []),
    ]
    lessons = zip(difficult_names(rng), tasks, strict=True)
    problems = dict.fromkeys(["error", "PatternError"], patterns)
    judge_merges(
        student,
        rng,
        *(Lesson(data, 2, message, names, likely) for (names, data), (message, likely) in lessons),
        problems=problems,
    )


AS_EXPRESSIONS = "special tokens are used as regular expressions: escape their names"


def usual_token_is_found(student) -> None:
    """Words with the usual special token between them are encoded; else nothing is said of what is more difficult."""
    texts, vocab = ["now", f"now{ABSENT}now", f"{ABSENT}{ABSENT} now\n{ABSENT}"], vocab_of(PLAIN_MERGES)
    (word,) = encoded(student, vocab, PLAIN_MERGES, [ABSENT], texts[:1])
    judge_ids([word], vocab, PLAIN_MERGES, texts[:1], NO_PLAIN_WORD)
    failed = "encode fails on a text that holds <|endoftext|>: find the name as it stands, escaped, and give its one id"
    problems = dict.fromkeys(["error", "PatternError", "KeyError", "IndexError", "TypeError", "ValueError"], failed)
    answers = encoded(student, vocab, PLAIN_MERGES, [ABSENT], texts, problems)
    (known,), new = ENCODER.encode(vocab, [], ABSENT, [ABSENT]), len(vocab)
    anew = [[new if i == known else i for i in ids] for ids in ENCODER.encode_all(vocab, PLAIN_MERGES, texts, [ABSENT])]
    expect(answers != anew, "a special token that the vocabulary holds is given a new id: it keeps the one that it has")
    plain = (PLAIN, "special tokens are encoded as ordinary text: each is one id")
    wrong = [(ENCODE_AS_PATTERNS, AS_EXPRESSIONS), plain]
    judge_ids(answers, vocab, PLAIN_MERGES, texts, "a text with <|endoftext|> gets wrong ids", [ABSENT], wrong)


@check("special_tokens", points=1, title="the names of special tokens are taken literally")
def names_are_literal(student, rng):
    middle = "".join(letters(rng, 4))
    names = [f"<|{middle}|>", f"[{middle}]", f"{middle}.*", f"({middle}", "\\d", f"${middle}^"]
    rng.shuffle(names)
    vocab, plain = (
        vocab_of(IDLE_MERGES, names),
        [(PLAIN, "special tokens are encoded as ordinary text: each is one id")],
    )
    pieces = [*names, middle, middle[0], "7", "$", "|", f"{middle}xy"]
    texts = ["".join(rng.choices(pieces, k=14)) for _ in range(4)] + ["".join(names)]
    behind = [f"a!{names[0]} ?{names[0]}b", f"x.{names[0]}"]
    usual_token_is_found(student)
    problems = dict.fromkeys(["error", "PatternError"], AS_EXPRESSIONS)
    swallowed = [(ENCODE_IN_THE_PATTERN, SWALLOWED), (ENCODE_AS_PATTERNS, AS_EXPRESSIONS), *plain]
    answers = encoded(student, vocab, IDLE_MERGES, names, behind, problems)
    judge_ids(
        answers, vocab, IDLE_MERGES, behind, "behind punctuation a special token gets wrong ids", names, swallowed
    )
    message = "special tokens are used as regular expressions: escape their names, they mean themselves"
    problems = dict.fromkeys(["error", "PatternError", "KeyError", "TypeError"], message)
    answers = encoded(student, vocab, IDLE_MERGES, names, texts, problems)
    judge_ids(answers, vocab, IDLE_MERGES, texts, message, names, swallowed)


@check("special_tokens", points=1, title="overlapping special tokens: leftmost, then longest")
def leftmost_then_longest(student, rng):
    usual_token_is_found(student)
    name, inner = random_name(rng), "".join(letters(rng, 3))
    left, right = f"@{inner}=", f"={inner[::-1]}@@@"
    wrong = [
        (ENCODE_IN_THE_PATTERN, SWALLOWED),
        (PLAIN, "special tokens are encoded as ordinary text: each is one id"),
        (
            LISTED,
            "a shorter special token was taken where a longer one stands: leftmost, then longest, whatever their order",
        ),
        (
            ONE_AFTER_ANOTHER,
            "a longer special token further right was preferred: the leftmost comes first, then the longest",
        ),
    ]
    message = (
        "special tokens that overlap are matched wrongly: the leftmost first, and of those that begin there the longest"
    )
    texts = [
        f"{name}{name}",
        f"{inner}{name}{name}{name} {inner}",
        f"x{left}{right[1:]} {right}",
        name[:-1] + left + name,
    ]
    listed = [name, left, right, name + name]
    vocab = vocab_of(IDLE_MERGES, listed)
    apart, names = [f"{inner} {left} {inner}", f"{inner} {right}"], [left, right]
    answers = encoded(student, vocab, IDLE_MERGES, names, apart)
    judge_ids(
        answers, vocab, IDLE_MERGES, apart, "a text with special tokens of other names gets wrong ids", names, wrong
    )
    for names in (listed, rng.sample(listed, len(listed))):
        answers = encoded(student, vocab, IDLE_MERGES, names, texts)
        judge_ids(answers, vocab, IDLE_MERGES, texts, message, names, wrong)


@check("special_tokens", points=1, title="a special token that the vocabulary lacks gets the next free id")
def missing_ones_get_the_next_free_ids(student, rng):
    usual_token_is_found(student)
    names = sorted({random_name(rng) for _ in range(9)})
    rng.shuffle(names)
    known, first, second = names[0], names[1][:-1] + "aa>", names[2][:-1] + "b>"
    a, b = letters(rng, 2)
    merges = [(a.encode(), b.encode())]
    vocab = vocab_of(merges, [known])
    given = [first, known, second]  # the second one is the one that the vocabulary holds
    texts = [f"{a}{b}{first}{known}{second}{a}", f"{second}{first}"]
    message = "a special token that the vocabulary lacks must be added with the next free id, in the order given"
    problems = dict.fromkeys(["KeyError", "ValueError", "IndexError"], message)
    answers = encoded(student, vocab, merges, given, texts, problems)
    wrong = [
        (PLAIN, "special tokens are encoded as ordinary text: each is one id"),
        (SECOND_ONLY, "a special token that the vocabulary lacks is not recognised"),
        (SORTED_SPECIALS, f"ids were given in sorted order: {message}"),
    ]
    judge_ids(answers, vocab, merges, texts, message, given, wrong)
    ids = [len(vocab), len(vocab) - 1, len(vocab) + 1]
    text = decoded(student, vocab, merges, given, ids, problems)
    expect(text is not None, "decode must return a str")
    expect(text == first + known + second, "decode does not give special tokens back, or not those that were added")


@check("special_tokens", points=1, title="the tokenizer leaves its arguments as they are")
def tokenizer_leaves_its_arguments(student, rng):
    names = names_in_no_order(rng)
    vocab = vocab_of(PLAIN_MERGES, names[1:])
    form = [IDS, list_of([int, bytes], least=0), list_of([bytes, bytes], least=0), list_of(str, least=0)]
    plain = vocab_of(PLAIN_MERGES)
    judge_encoding(student, plain, PLAIN_MERGES, PLAIN_TEXTS, NO_PLAIN_WORD)
    _, entries, merges, after = ask(student, form, drive_arguments, as_text(vocab), PLAIN_MERGES, names, "now")
    expect(after == names, "the tokenizer changed the list special_tokens that it was given: work on a copy")
    expect(
        dict(entries) == vocab and len(entries) == len(vocab),
        "the tokenizer changed the vocabulary that it was given: copy it",
    )
    expect(merges == PLAIN_MERGES, "the tokenizer changed the list of merges that it was given: work on a copy")
