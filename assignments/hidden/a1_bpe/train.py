"""What `train` asks for: merges in the right order, ids, sizes, refusals. Its time is judged in `train_speed`.

One file, though a long one: each of its 11 checks meets one difficulty, and stands below its inputs.
"""

from __future__ import annotations

from collections.abc import Sequence
from string import ascii_lowercase

from cs336lite.course.answers import anything, ask, dict_of, either, list_of
from cs336lite.course.spec import Fail, StudentError, check, drawn, expect, known_kind

from .asking import (
    MERGES,
    MORE,
    SHAPE,
    UNTRAINED,
    Lesson,
    expect_pairs,
    explained,
    frequent_choices,
    judge_merges,
    learnt_merges,
    with_or_without,
)
from .definition import ABSENT, RIGHT, Pair
from .inputs import (
    agree,
    differ,
    draw,
    frequent_pairs,
    letters,
    names_in_no_order,
    ordinary_text,
    ordinary_words,
    planted,
    random_name,
    scattered,
    small_language,
)
from .mistakes_in_training import (
    FIRST_SEEN,
    FROM_THE_RIGHT,
    GREATEST_DECODED,
    GREATEST_IDS,
    GREATEST_IGNORING,
    GREATEST_INVERTED,
    GREATEST_JOINED,
    GREATEST_PRINTABLE,
    GREATEST_WRITTEN,
    LAST_SEEN,
    NOTHING_NEW,
    OF_TRAINING,
    ONCE_PER_WORD,
    ONLY_FIRST,
    OVERLAPPING,
    REPLACING,
    SMALLEST,
    SPACES,
    SPECIALS_AS_TEXT,
    SPECIALS_REMOVED,
    STALE,
    UNWEIGHTED,
    WHOLE,
    WITHOUT_OVERLAP,
    named,
)


def drive_training(student, path, vocab_size, special_tokens):
    answer = student.train_bpe(path, vocab_size, special_tokens)
    try:
        vocab, merges = answer if hasattr(answer[0], "items") else (answer[1], answer[0])
        turned = vocab is not answer[0]
        return {i: token for i, token in vocab.items()}, [tuple(pair) for pair in merges], turned
    except (TypeError, ValueError, AttributeError, LookupError):
        return None


def drive_refusal(student, path, vocab_size, special_tokens):
    try:
        student.train_bpe(path, vocab_size, special_tokens)
    except NotImplementedError:
        raise
    except ValueError:
        return "ValueError"
    except Exception as error:
        return type(error).__name__
    return "nothing"


def drive_training_twice(student, path, vocab_size, special_tokens):
    """Two answers, one after the other, and the list of special tokens after that."""
    answers = []
    for _ in range(2):
        answer = student.train_bpe(path, vocab_size, special_tokens)
        try:
            vocab, merges = answer if hasattr(answer[0], "items") else (answer[1], answer[0])
            answers.append(({i: token for i, token in vocab.items()}, [tuple(pair) for pair in merges]))
        except (TypeError, ValueError, AttributeError, LookupError):
            return None
    return answers, list(special_tokens)


VOCAB = dict_of(anything, anything, least=0)  # its types are judged by one check, with a message of its own


def trained(student, data: bytes, vocab_size: int, special_tokens: list[str], problems=None):
    """The student's ``(vocab, merges, whether they came in the other order)``, of the right types."""
    form = either([VOCAB, MERGES, bool], type(None))
    try:
        answer = ask(student, form, drive_training, student.file(data), vocab_size, special_tokens)
    except StudentError as error:
        raise explained(error, problems) from error
    expect(answer is not None, SHAPE)
    expect_pairs(answer[1])
    return answer


def expect_learning(merges: Sequence[Pair], data: bytes, number: int, names: Sequence[str] = ()) -> None:
    """Fail unless most of the first ``number`` merges are right, or all are those of a known misconception.

    What is asked beside the merges (sizes, ids, what is refused, …) says something only of who learns from the text.
    """
    task, found = (data, number, tuple(names)), tuple(merges[:number])
    right = RIGHT.merges(*task)
    if 2 * len({*found} & {*right}) <= len(right):
        expect(any(found == trainer.merges(*task) for trainer, _ in OF_TRAINING), UNTRAINED)


@drawn
def ties(rng) -> list[bytes]:
    """Ties of letters, of a merged token, of tokens that join differently, of a space, of letters of two bytes."""
    neutral = (WHOLE, UNWEIGHTED, ONCE_PER_WORD)
    simple = [SMALLEST, FIRST_SEEN, LAST_SEEN]

    def single() -> bytes:
        names = letters(rng, 8)
        return scattered(rng, planted(rng, {a + b: 15 for a, b in zip(names[:4], names[4:], strict=True)}))

    def merged() -> bytes:  # the token merged later has the greater id and the smaller bytes
        low, high = sorted(letters(rng, 2, "bcdefghijklmnopqrstuvwxy"))
        a, b, c, d = letters(rng, 4, "".join(sorted(set(ascii_lowercase) - {low, high})))
        return scattered(rng, planted(rng, {high + a: 24, low + b: 18, high + a + c: 12, low + b + d: 12}))

    def begins() -> bytes:  # (b"ab", b"c") is greater than (b"a", b"d"): `ab` is, which begins with `a`
        low, middle, high = sorted(letters(rng, 3))
        first = rng.choice(sorted(set(ascii_lowercase) - {low, middle, high}))
        return scattered(rng, planted(rng, {first + high: 20, first + high + low: 12, first + middle: 12}))

    def joined() -> bytes:  # and even where b"abc" is smaller than b"ad"
        low, middle, high = sorted(letters(rng, 3))
        first = rng.choice(sorted(set(ascii_lowercase) - {low, middle, high}))
        return scattered(rng, planted(rng, {first + low: 20, first + low + middle: 12, first + high: 12}))

    def spaced() -> bytes:  # a space is a small byte, but a late character in GPT-2's printable alphabet
        a, b, c = letters(rng, 3)
        words = planted(rng, {a + b: 15}, bare=c)
        words += [" " + word[1:] for word in planted(rng, {c: 15}, bare=a + b)]
        rng.shuffle(words)
        return scattered(rng, words)

    def high() -> bytes:  # letters of two bytes, and of one
        return scattered(rng, planted(rng, {rng.choice("àâçèéêëî"): 15, rng.choice("жзийклмн"): 15, "xy"[::-1]: 15}))

    def all_differ(data: bytes) -> bool:
        trainers = (RIGHT, GREATEST_WRITTEN, GREATEST_DECODED, GREATEST_IGNORING)
        return len({trainer.merges(data, 3) for trainer in trainers}) == len(trainers)

    return [
        draw(single, lambda d: agree(d, 4, *neutral) and differ(d, 4, *simple)),
        draw(merged, lambda d: agree(d, 4, *neutral, STALE) and differ(d, 4, SMALLEST, GREATEST_IDS)),
        draw(
            begins,
            lambda d: agree(d, 3, *neutral, STALE, GREATEST_JOINED) and differ(d, 3, SMALLEST, GREATEST_INVERTED),
        ),
        draw(joined, lambda d: agree(d, 3, *neutral, STALE) and differ(d, 3, SMALLEST, GREATEST_JOINED)),
        draw(spaced, lambda d: agree(d, 2, *neutral) and differ(d, 2, GREATEST_PRINTABLE)),
        draw(high, lambda d: agree(d, 3, *neutral, STALE) and all_differ(d)),
    ]


@check("train", points=2, title="ties go to the greatest pair of byte strings")
def ties_go_to_the_greatest_pair(student, rng):
    likely = [[], named(GREATEST_IDS), named(GREATEST_INVERTED), named(GREATEST_JOINED), named(GREATEST_PRINTABLE)]
    likely.append([*named(GREATEST_WRITTEN), *named(GREATEST_DECODED), *named(GREATEST_IGNORING)])
    message = "a text with pairs that are equally frequent gives wrong merges"
    tasks = zip(ties(rng), (4, 4, 3, 3, 2, 3), likely, strict=True)
    judge_merges(student, rng, *(Lesson(data, number, message, wrong=wrong) for data, number, wrong in tasks))


@check("train", points=1, title="ids: special tokens, then the 256 bytes, then merges in order")
def ids_are_in_order(student, rng):
    names = sorted({random_name(rng) for _ in range(4)}, key=len, reverse=True)[: rng.randint(2, 3)]
    data = frequent_pairs(rng) + names[0].encode()
    vocab, merges, turned = trained(student, data, 256 + len(names) + 6, names)
    expect(len(merges) > 0, "there are pairs to merge, but no merges came back")
    expect_learning(merges, data, min(6, len(merges)), names)
    expect(not turned, "the merges came first: train_bpe returns the vocabulary, then the merges")
    expect(
        all(type(i) is int for i in vocab), "the vocabulary must map ids to bytes: its keys are ints, its values bytes"
    )
    expect(all(type(t) is bytes for t in vocab.values()), "the values of the vocabulary must be bytes objects")
    specials = [name.encode() for name in names]
    singles = [bytes([byte]) for byte in range(256)]
    joined = [left + right for left, right in merges]
    if vocab == dict(enumerate([*specials, *singles, *joined])):
        return
    for tokens, message in [
        ([*singles, *specials, *joined], "special tokens come after the bytes: they take the first ids"),
        ([*singles, *joined, *specials], "special tokens come last: they take the first ids"),
        ([*singles, *joined], "special tokens are missing from the vocabulary: they take the first ids"),
        ([*specials, *joined, *singles], "merges come before the bytes: first special tokens, then bytes, then merges"),
        ([*specials, *singles], "merged tokens are missing from the vocabulary"),
        (
            [*sorted(specials), *singles, *joined],
            "special tokens were sorted: they take ids in the order in which they are given",
        ),
    ]:
        expect(vocab != dict(enumerate(tokens)), message)
    ids = "the ids of the vocabulary are not 0, 1, 2, … without a gap"
    expect(set(vocab) == set(range(len(vocab))), ids)
    raise Fail("the vocabulary is not special tokens in the order given, then bytes 0 to 255, then merges in order")


@check("train", points=2, title="vocab_size counts special tokens and bytes too")
def vocab_size_is_the_whole_size(student, rng):
    names = sorted({random_name(rng) for _ in range(4)})[:3]
    data, number = frequent_pairs(rng), rng.randint(5, 9)
    jobs = [(data, 256 + len(names) + number, names), (data, 256 + 1 + number + 2, [ABSENT]), (data, 256 + 3, names)]
    merges, others, none = learnt_merges(student, jobs)
    expect(len(merges) > 0, "there are pairs to merge, but no merges came back")
    expect_learning(merges, data, min(5, len(merges)), names)
    sizes = len(merges) - number, len(others) - number - 2
    expect(sizes != (3, 1), "special tokens were not counted: the vocabulary is larger than vocab_size")
    expect(sizes != (-1, -1), "one merge is missing: the vocabulary must reach vocab_size, not vocab_size - 1")
    expect(sizes != (1, 1), "there is one merge too many: the vocabulary must end at vocab_size")
    expect(max(sizes) <= 0, "too many merges: vocab_size counts the special tokens and the 256 bytes too")
    expect(min(sizes) >= 0, "too few merges: vocab_size - 256 - number of special tokens were possible")
    expect(none == [], "the smallest vocabulary, 256 bytes and the special tokens, has no merges")


@check("train", points=1, title="an empty list of special tokens is allowed")
def no_special_tokens_are_needed(student, rng):
    data = frequent_pairs(rng)
    jobs = [(data, 256 + 1 + 6 + MORE, [ABSENT]), (data, 256 + 6 + MORE, [])]
    message = (
        "with an empty list of special tokens training raises an exception: then nothing is cut; what is done with an empty "
        "pattern, or with the first or the least of no tokens?"
    )
    kinds = ["IndexError", "ValueError", "TypeError", "error", "PatternError", "AttributeError", "KeyError"]
    answers = []
    for merges, names in zip(learnt_merges(student, jobs, dict.fromkeys(kinds, message)), ([ABSENT], []), strict=True):
        answers.append(merges[:6])
        if names:
            expect_learning(merges, data, 6, names)
    wrong = "with an empty list of special tokens other merges come out: then the text must not be cut at all"
    expect(answers[0] == answers[1], wrong)


@check("train", points=1, title="training ends when no pair is left, and an empty file is no error")
def stops_when_no_pair_is_left(student, rng):
    number = rng.randint(5, 9)  # the first merge begins with the greatest letter, and has a neighbour on its left
    word = draw(lambda: "".join(letters(rng, number)), lambda word: 0 < word.index(max(word)) < number - 1)
    files = [(word.encode(), len(word) - 1), (b"", 0), (word[0].encode(), 0)]
    problem = "training raised an exception when no pair was left: it must end there with a smaller vocabulary"
    kinds = ["ValueError", "IndexError", "KeyError", "StopIteration", "TypeError", "RuntimeError", "AttributeError"]
    problems, plain = dict.fromkeys(kinds, problem), frequent_pairs(rng)

    def judge(names: list[str]) -> None:
        (first,) = learnt_merges(student, [(plain, 256 + len(names) + 6 + MORE, names)])
        expect_learning(first, plain, 6, names)
        if files[0][1] > 1:  # what fails before the end is no failure at the end
            trained(student, files[0][0], 256 + len(names) + files[0][1] - 1, names)
        for data, number in files:
            vocab, merges, _ = trained(student, data, 256 + 40, names, problems)
            pairs = frequent_choices(RIGHT.words(data), merges)
            gone = "pairs are merged that no longer stand anywhere: end when no pair is left"
            expect(pairs == len(merges) or pairs < number, gone)
            expect(
                pairs == len(merges), "a merge joins two tokens that the merges before it have not left side by side"
            )
            expect(number == 0 or len(merges) > 0, "a pair that occurs once is a pair too: go on until no pair is left")
            expect(len(merges) == number, "training must go on until every word is one token, and end there")
            expect(
                len(vocab) == 256 + len(names) + number,
                "the vocabulary holds special tokens, the 256 bytes and one token for each merge, even for an empty file",
            )

    with_or_without(judge)


def judge_refusals(student, rng, *jobs: tuple[int, list[str], str]) -> None:
    """Each vocab_size and list of special tokens must be refused, by a trainer that learns when they are good."""
    data, names = frequent_pairs(rng), sorted({random_name(rng) for _ in range(8)})[:2]
    (merges,) = learnt_merges(student, [(data, 256 + 2 + 6 + MORE, names)])
    expect(len(merges) > 0, "there are pairs to merge, but no merges came back")
    expect_learning(merges, data, min(6, len(merges)), names)
    path = student.file(data)
    for size, names, what in jobs:
        outcome = ask(student, str, drive_refusal, path, size, names)
        expect(outcome != "nothing", f"{what} was accepted: raise a ValueError that says what is wrong")
        expect(
            outcome == "ValueError", f"{what} raised {known_kind(outcome)}: raise a ValueError that says what is wrong"
        )


@check("train", points=0.5, title="a vocab_size that is too small is refused with a ValueError")
def small_sizes_are_refused(student, rng):
    names = sorted({random_name(rng) for _ in range(8)})[:3]
    below = (rng.randint(1, 200), names[:1], "a vocab_size below 256")
    small = "a vocab_size below 256 + number of special tokens"
    judge_refusals(student, rng, below, (255 + 3, names, small), (256, names[:1], small))


@check("train", points=0.5, title="a special token that is given twice is refused with a ValueError")
def double_tokens_are_refused(student, rng):
    one, two = sorted({random_name(rng) for _ in range(8)})[:2]
    judge_refusals(student, rng, (300, [one, two, one], "a special token that is given twice"))


@check("train", points=0.5, title="an empty special token is refused with a ValueError")
def empty_tokens_are_refused(student, rng):
    judge_refusals(student, rng, (300, [random_name(rng), ""], "an empty special token"))


@drawn
def frequent_pairs_and_a_language(rng) -> bytes:
    def make() -> bytes:
        return frequent_pairs(rng) + " ".join(small_language(rng, 3, 6)).encode()

    return draw(make, lambda d: agree(d, 6, SMALLEST, WHOLE, UNWEIGHTED))


@check("train", points=1, title="arguments are left unchanged, and a second call gives the same answer")
def arguments_are_left_unchanged(student, rng):
    names = names_in_no_order(rng)
    data = frequent_pairs_and_a_language(rng)
    form = either([list_of([VOCAB, MERGES], 2), list_of(str, least=0)], type(None))
    answer = ask(student, form, drive_training_twice, student.file(data), 256 + len(names) + 16, list(names))
    expect(answer is not None, SHAPE)
    (first, second), after = answer
    for vocab, merges in (first, second):
        expect_pairs(merges)
        simple = {*map(type, [*vocab, *vocab.values()])} <= {int, bytes, str}
        expect(simple, "the vocabulary must map ids to bytes: its keys are ints, its values bytes")
    expect(len(first[1]) > 0, "there are pairs to merge, but no merges came back")
    expect_learning(first[1], data, min(6, len(first[1])), names)
    expect(
        after == names, "the list special_tokens was changed by train_bpe: work on a copy, sorted(…) instead of .sort()"
    )
    again = "a second call with the same arguments gives another answer: something is kept between calls"
    expect(first == second, again)


@drawn
def small_languages(rng) -> list[bytes]:
    """Files in which each misconception of importance goes wrong somewhere."""
    wrong = [WHOLE, SPACES, UNWEIGHTED, ONCE_PER_WORD, WITHOUT_OVERLAP, STALE, FROM_THE_RIGHT, ONLY_FIRST, REPLACING]
    wrong += [SMALLEST, FIRST_SEEN, LAST_SEEN, GREATEST_IDS, GREATEST_JOINED, GREATEST_PRINTABLE]

    def make() -> list[bytes]:
        files = []
        for number_of_letters in (3, 5, 8):
            words = small_language(rng, number_of_letters, 30)
            words = rng.choices(words, weights=[1 / (i + 1) for i in range(len(words))], k=120)
            files.append(" ".join(words).encode())
        return files

    def good(files: list[bytes]) -> bool:
        right = [RIGHT.merges(data, 25) for data in files]
        return all(any(t.merges(data, 25) != merges for data, merges in zip(files, right, strict=True)) for t in wrong)

    return draw(make, good)


@drawn
def text_without_ties(rng) -> bytes:
    """Ordinary text, of which the first merges are of pairs that are all more frequent than the others."""

    def make() -> bytes:
        return ordinary_text(rng, ordinary_words(rng), 500).encode()

    def good(data: bytes) -> bool:
        neutral = (SMALLEST, ONCE_PER_WORD, WITHOUT_OVERLAP, FROM_THE_RIGHT, ONLY_FIRST, OVERLAPPING, REPLACING)
        wrong = (UNWEIGHTED, STALE, NOTHING_NEW)
        return agree(data, 20, *neutral) and differ(data, 20, *wrong)

    return draw(make, good)


NOT_YET = "the checks of single difficulties say why; if all of them pass, compare your merges one by one with the slow trainer's"


@check("train", points=15.5, title="together: an ordinary text is learned")
def an_ordinary_text_is_learned(student, rng):
    message = f"the merges of an ordinary text are not the right ones yet: {NOT_YET}"
    judge_merges(student, rng, Lesson(text_without_ties(rng), 20, message))


@drawn
def documents_with_ties(rng) -> bytes:
    """Ordinary text in many short documents, each with a special token behind it."""

    def make() -> bytes:
        lexicon = ordinary_words(rng)
        documents = [ordinary_text(rng, lexicon, rng.randint(1, 4)) for _ in range(70)]
        return "".join(document + ABSENT + "\n" for document in documents).encode()

    def good(data: bytes) -> bool:
        names = (ABSENT,)
        return agree(data, 100, SPECIALS_REMOVED, special_tokens=names) and differ(
            data, 100, SPECIALS_AS_TEXT, SMALLEST, special_tokens=names
        )

    return draw(make, good)


@drawn
def random_words(rng) -> bytes:
    """Words of twenty letters, for a run of merges long enough to meet every disorder of a queue."""
    words = small_language(rng, 20, 220)
    return " ".join(rng.choices(words, weights=[1 / (i + 1) for i in range(len(words))], k=900)).encode()


@check("train", points=4, title="together: long runs on documents and on random words, with ties")
def long_runs_agree(student, rng):
    documents = f"a long run on documents goes wrong: {NOT_YET}"
    words = f"a run of many merges on random words goes wrong: {NOT_YET}"
    judge_merges(
        student,
        rng,
        Lesson(documents_with_ties(rng), 100, documents, [ABSENT]),
        *(Lesson(data, 25, words) for data in small_languages(rng)),
        Lesson(random_words(rng), 200, words),
    )
