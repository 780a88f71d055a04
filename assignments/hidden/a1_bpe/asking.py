"""Asking for merges, ids and texts, and naming the misconception that gives the same answer."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from cs336lite.course.answers import anything, ask, either, list_of
from cs336lite.course.spec import Fail, StudentError, drawn, expect

from .definition import ABSENT, ENCODER, RIGHT, Encoder, Pair, Trainer, Word, count, merge, vocab_of
from .drivers import drive_decoding, drive_encoding, drive_merges
from .inputs import (
    agree,
    borders_with_frequent_pairs,
    differ,
    draw,
    frequent_pairs,
    letters,
    ordinary_text,
    ordinary_words,
    pairs_that_share_letters,
    scattered,
    small_language,
)
from .mistakes_in_encoding import OF_ENCODING
from .mistakes_in_training import OF_TRAINING, ONCE_PER_WORD, REPLACING, SMALLEST, TIES, UNWEIGHTED, WHOLE

MERGES = list_of(anything, least=0)  # pairs of what, `expect_pairs` says
IDS = list_of(either(int, type(None)), least=0)  # None for what is no integer
NO_RETRY = ("Missing", "Unsolved", "TimeLimit", "MemoryLimit", "Died")

SHAPE = "train_bpe must return two things: a dict from id to bytes, and a list of pairs of bytes"
UNTRAINED = "this is judged when the first merges of a plain text are right, and they are not yet"
TOO_FEW = "there are pairs to merge, but not as many merges came back as vocab_size allows"
UNENCODED = "this is judged when the bytes of the ids are the text, and they are not yet"
NOT_THE_TEXT = "the ids do not spell the text: joined, the bytes of their tokens are another text"
MORE = 4  # merges asked for beyond those that are looked at: how many come back has a check of its own


def with_or_without(judge: Callable[[list[str]], None]) -> None:
    """Judge with a special token that no text holds, and if that fails with none: one of the two must be right.

    Whoever stumbles over an empty list, or has not come to special tokens yet, loses the points of that alone.
    """
    try:
        return judge([ABSENT])
    except (Fail, StudentError) as first:
        if not isinstance(first, StudentError) or first.kind not in NO_RETRY[2:]:
            try:
                return judge([])
            except (Fail, StudentError):
                pass
        raise


def explained(error: StudentError, problems: dict[str, str] | None) -> Exception:
    """An exception that betrays a misconception (by its type's name) as a message; any other as it is."""
    return Fail(problems[error.kind]) if problems and error.kind in problems else error


def learnt_merges(student, jobs: list[tuple[bytes, int, list[str]]], problems=None) -> Iterator[list[Pair]]:
    """The student's merges for each file, vocab_size and special tokens, of the right types.

    The vocabulary stays there: to send it takes longer than to learn it. ``problems`` explains exceptions, but not
    those of the first file: code that always fails is told that it fails, and no more.
    """
    jobs = [(student.file(data), vocab_size, names) for data, vocab_size, names in jobs]
    first = len(jobs)
    while jobs:
        paths, sizes, special_tokens = map(list, zip(*jobs, strict=True))
        form = list_of(either(MERGES, type(None)), most=len(jobs))
        try:
            answers = ask(student, form, drive_merges, sizes, special_tokens, *paths)
        except StudentError as error:
            raise explained(error, problems if len(jobs) < first else None) from error
        for merges in answers:
            expect(merges is not None, SHAPE)
            expect_pairs(merges)
            yield merges
        jobs = jobs[len(answers) :]  # asked once more, the next job tells why it failed


def expect_pairs(merges: list) -> None:
    expect(
        all(type(pair) is tuple and len(pair) == 2 and {*map(type, pair)} == {bytes} for pair in merges),
        "merges must be a list of pairs of bytes objects, such as (b'a', b'b'): not ids, not str",
    )


@dataclass(frozen=True)
class Lesson:
    """A file to learn ``number`` merges from, and what to say when they are others than the definition's.

    ``wrong`` are misconceptions to be tried before the usual ones, ``otherwise`` is said when none explains the merges.
    ``names`` None stands for a special token that the file does not hold. ``explained`` False says no more than
    ``otherwise``: the file only shows whether another difficulty is met.
    """

    data: bytes
    number: int
    otherwise: str
    names: Sequence[str] | None = None
    wrong: Sequence[tuple[Trainer, str]] = ()
    explained: bool = True


def judge_merges(student, rng, *lessons: Lesson, problems: dict[str, str] | None = None) -> None:
    """Compare the merges of each lesson with the definition's; name the misconception that explains a difference.

    A plain text comes first: what is wrong there is said, and nothing else.
    """
    lessons, confirmed = (Lesson(frequent_pairs(rng), 6, UNTRAINED), *lessons), confirmation(student, rng)
    beside = [lesson_beside_merges(rng), *pairs_that_share_letters(rng)]

    def judge(absent: list[str]) -> None:
        named = [replace(one, names=absent if one.names is None else one.names) for one in lessons]
        jobs = [(one.data, 256 + len(one.names) + one.number + MORE, list(one.names)) for one in named]
        for lesson, merges in zip(named, learnt_merges(student, jobs, problems), strict=True):
            judge_lesson(lesson, tuple(merges[: lesson.number]), confirmed, lambda: goes_wrong_beside(student, beside))

    with_or_without(judge)


BESIDE = (
    "in plain words of letters the first merge is right, and later ones go wrong: a merge joins two tokens and no "
    "more; then the pairs beside it must lose the word's count, and the new pairs gain it, once for each place"
)


@drawn
def lesson_beside_merges(rng) -> bytes:
    """Words of letters in which no pair stands twice, each often: only what a merge does to its neighbours is difficult."""

    def make() -> bytes:
        alphabet = letters(rng, 7)
        words = ["".join(rng.sample(alphabet, rng.randint(4, 7))) for _ in range(40)]
        return scattered(rng, rng.choices(words, [1 / (i + 1) for i in range(40)], k=400))

    def good(data: bytes) -> bool:
        neutral = (SMALLEST, ONCE_PER_WORD, REPLACING, WHOLE)
        return agree(data, BESIDE_MERGES, *neutral) and differ(data, 1, UNWEIGHTED)

    return draw(make, good)


BESIDE_MERGES = 6


def goes_wrong_beside(student, texts: list[bytes]) -> bool:
    """Whether of plain words the first merge is learnt, and not all of the next ones are."""
    for names in ([ABSENT], []):
        numbers = [BESIDE_MERGES, *[3] * (len(texts) - 1)]
        jobs = [(data, 256 + len(names) + number, names) for data, number in zip(texts, numbers, strict=True)]
        with suppress(StudentError, Fail):
            for (data, _, _), number, merges in zip(jobs, numbers, learnt_merges(student, jobs), strict=True):
                right = RIGHT.merges(data, number)
                if merges[:1] == [right[0]] and len(merges) == number and tuple(merges) != right:
                    return True
            return False
    return False


@drawn
def text_of_everything(rng) -> bytes:
    """A text with all that training can get wrong."""
    words = [word.replace("e", rng.choice(["e", "e", "é"])) for word in small_language(rng, 6, 60)]
    words += [letter * rng.randint(3, 7) for letter in letters(rng, 8)]
    lines = [ordinary_text(rng, ordinary_words(rng, 30), 12), " ".join(words * 2), " ".join(rng.choices(words, k=80))]
    return "\r\n".join(lines).encode()


CONFIRMED = 60  # merges


def alike(merges: Sequence[Pair], others: Sequence[Pair]) -> tuple[int, int]:
    """How many merges two trainers have made alike before the first that is another one, and how many in all."""
    both = min(len(merges), len(others))
    other = (i for i in range(both) if merges[i] != others[i])
    return next(other, both), len({*merges} & {*others})


Explanations = list[tuple[Trainer, str]]


def confirmation(student, rng) -> Callable[[Explanations, Sequence[str]], str]:
    """Of misconceptions that explain some merges, the message of the one that best explains another text, too; or "".

    A few merges of one file may be those of a misconception by chance: then none explains the other text better than
    having no misconception does. Where it does not show, or nothing is learned, there is nothing to say against the first.
    """
    data, answers = text_of_everything(rng), {}

    def confirmed(found: Explanations, names: Sequence[str]) -> str:
        names = tuple(names)
        if names not in answers:
            answers[names] = ()
            try:
                (answers[names],) = learnt_merges(student, [(data, 256 + len(names) + CONFIRMED, list(names))])
            except StudentError as error:
                answers[names] = () if error.kind in NO_RETRY else None
            except Fail:
                pass
        if answers[names] is None:
            return ""  # code that raises is not explained by a misconception that does not
        right = RIGHT.merges(data, CONFIRMED, names)
        fits = [(alike(answers[names], one.merges(data, CONFIRMED, names)), message) for one, message in found]
        best, message = max(fits, key=lambda pair: pair[0])
        shows = found[0][0].merges(data, CONFIRMED, names) != right
        return message if not shows or not answers[names] or best > alike(answers[names], right) else ""

    return confirmed


def judge_lesson(
    lesson: Lesson, merges: tuple[Pair, ...], confirmed: Callable[..., str], beside: Callable[[], bool]
) -> None:
    task = lesson.data, lesson.number, tuple(lesson.names)
    right = RIGHT.merges(*task)
    if merges == right:
        return
    expect(lesson.explained, lesson.otherwise)
    expect(len(merges) >= len(right), TOO_FEW)
    turned = tuple((second, first) for first, second in right)
    expect(merges != turned, "the two tokens of each merge are exchanged: the left one comes first")
    found = [(one, message) for one, message in [*lesson.wrong, *OF_TRAINING] if merges == one.merges(*task)]
    if found and (message := confirmed(found, lesson.names)):
        raise Fail(message)
    expect(lesson.otherwise == UNTRAINED or not beside(), BESIDE)
    # only ties are wrong where each merge, after all before it, joins one of the most frequent pairs
    expect(frequent_choices(RIGHT.words(*task[0::2]), merges) < len(merges), f"ties are broken wrongly: {TIES}")
    raise Fail(lesson.otherwise)


def frequent_choices(words: dict[Word, int], merges: Sequence[Pair]) -> int:
    """How many of these merges, each made in its turn, join a pair that is one of the most frequent."""
    found = 0
    for pair in merges:
        counts = count(words)
        found += counts.get(pair) == max(counts.values(), default=0)
        words = {merge(word, pair): times for word, times in words.items()}
    return found


def as_text(vocab: dict[int, bytes]) -> str:
    """A vocabulary in the form in which drivers get it, which takes less time to send than a dict of bytes."""
    return json.dumps({i: token.decode("latin-1") for i, token in vocab.items()})


PLAIN_MERGES = [(b"n", b"o"), (b"no", b"w")]
PLAIN_TEXTS = ["now on"]
IDLE_MERGES = [(b"\x01", b"\x02")]  # apply to no text of ours; an empty list may be taken for an untrained tokenizer
NO_PLAIN_WORD = "this is judged when an ordinary word is encoded rightly, and it is not yet"


def encoded(student, vocab, merges, special_tokens, texts: list[str], problems=None) -> list[list[int]]:
    form = list_of(IDS, len(texts))
    try:
        answers = ask(student, form, drive_encoding, as_text(vocab), merges, special_tokens, texts)
    except StudentError as error:
        if problems and error.kind in problems:  # only where an ordinary word is encoded
            plain = as_text(vocab_of(PLAIN_MERGES, [ABSENT]))
            ask(student, list_of(IDS, 1), drive_encoding, plain, PLAIN_MERGES, None, ["now on"])
        raise explained(error, problems) from error
    expect(all(type(i) is int for ids in answers for i in ids), "encode must return a list of ints")
    return answers


def judge_ids(
    answers: list[list[int]],
    vocab: dict[int, bytes],
    merges: list[Pair],
    texts: list[str],
    otherwise: str,
    special_tokens: list[str] | None = None,
    wrong: list[tuple[Encoder, str]] | None = None,
) -> None:
    """Compare ids with the definition's; name the misconception that explains all of them."""
    if answers == ENCODER.encode_all(vocab, merges, texts, special_tokens):
        return
    for encoder, message in [*(wrong or []), *OF_ENCODING]:
        if answers == encoder.encode_all(vocab, merges, texts, special_tokens):
            raise Fail(message)
    if not special_tokens:
        spelt = all(spelling(ids, vocab) == text.encode() for ids, text in zip(answers, texts, strict=True))
        expect(spelt, NOT_THE_TEXT)
    raise Fail(otherwise)


def spelling(ids: list[int], vocab: dict[int, bytes]) -> bytes | None:
    """The bytes of these ids; None when the vocabulary lacks one."""
    return b"".join(map(vocab.__getitem__, ids)) if vocab.keys() >= {*ids} else None


def judge_encoding(student, vocab, merges, texts: list[str], otherwise: str, *, wrong=None, problems=None) -> None:
    """Encode texts without special tokens, with a tokenizer that may have one; first an ordinary word."""
    plain = vocab_of(PLAIN_MERGES)

    def judge(names: list[str]) -> None:
        answers = encoded(student, plain, PLAIN_MERGES, names or None, PLAIN_TEXTS)
        judge_ids(answers, plain, PLAIN_MERGES, PLAIN_TEXTS, NO_PLAIN_WORD)
        answers = encoded(student, vocab, merges, names or None, texts, problems)
        judge_ids(answers, vocab, merges, texts, otherwise, None, wrong)

    with_or_without(judge)


def plain_borders(rng) -> Lesson:
    """Words with a space in front: who does not cut there hears of that, and of nothing else."""
    message = "a text of words with the space in front gives wrong merges: does a pre-token keep that space, and end before the next?"
    return Lesson(borders_with_frequent_pairs(rng), 3, message)


def decoded(student, vocab, merges, special_tokens, ids: list[int], problems=None, one_by_one=False) -> str | None:
    """What decode returns; None when that is no str."""
    form = either(str, type(None))
    try:
        return ask(student, form, drive_decoding, as_text(vocab), merges, special_tokens, ids, one_by_one)
    except StudentError as error:
        raise explained(error, problems) from error
