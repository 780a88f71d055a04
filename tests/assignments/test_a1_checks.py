"""What is special to the checks of a1_bpe; its catalogue is judged in `test_catalogue`."""

import random
from dataclasses import replace
from pathlib import Path

import catalogue
import pytest
from catalogue import defined, judge, parts, solutions, spec
from helpers import run

from cs336lite.course.spec import Fail, LocalStudent, drawn

A1 = "a1_bpe"
HIDDEN, PUBLIC = spec(A1, "hidden"), spec(A1, "public")
RIGHT, WRONG, TRIVIAL = (solutions(A1, kind) for kind in ("right", "wrong", "trivial"))


TIMED = ("train.does_not_recount_everything", "train.does_not_scan_all_words", "encode.costs_what_the_text_is_long")


def by_name(found):
    return [pytest.param(solution, id=solution.name) for solution in found]


def test_some_right_solutions_define_the_small_functions():
    names = {"pretokenize", "count_pairs", "merge_pair"}
    assert sum(names <= catalogue.namespace(one.source, one.name).keys() for one in RIGHT) >= 2


def test_inputs_follow_the_seed_alone():
    """The same seed asks the same questions; another seed asks others in every check that judges answers."""
    quick = [one for one in HIDDEN if one.id not in TIMED]
    first, again, other = (judge(quick, RIGHT[0], seed).sent for seed in (1, 1, 2))
    kept = [[item for item in sent if isinstance(item, bytes)] for sent in (first, again, other)]
    assert kept[0] == kept[1]
    assert len(set(kept[0]) & set(kept[2])) <= 2  # the empty file, and a file of one letter at most


# ---------------------------------------------------------------------------------------------------------------------
# The growth check by itself: what it costs to learn is measured, so its verdict must not hang on the machine


class Timed:
    """Answers rightly, with fixed times instead of measured ones."""

    def __init__(self, per_recount, per_merge, noise=(), reading=0.05, slow_few=0.0):
        self.per_recount, self.per_merge, self.noise = per_recount, per_merge, list(noise)
        self.reading, self.slow_few = reading, slow_few
        self.files = []
        self.train = catalogue.namespace(RIGHT[0].source, RIGHT[0].name)["train_bpe"]
        self.local = LocalStudent({})

    def file(self, data):
        assert data not in self.files, "the same file is timed twice"
        self.files.append(data)
        return self.local.file(data)

    def yardstick(self, driver, *args):
        assert driver.__name__ == "drive_recount"
        return 0.05 + args[1] * self.per_recount + self.extra()

    def timed(self, driver, sizes, special_tokens, path):
        ((size,), (names,)) = sizes, special_tokens
        seconds = self.reading + (size - 257) * self.per_merge + (self.slow_few if size < 290 else 0)
        return [self.train(path, size, names)[1]], seconds + self.extra()

    def extra(self):
        return self.noise.pop(0) if self.noise else 0.0


def growth_of(student):
    growth = next(one for one in HIDDEN if one.id == "train.does_not_recount_everything")
    try:
        growth.function(student, random.Random(0))
    finally:
        student.local.close()


@pytest.mark.parametrize(
    ("per_merge", "noise", "passes"),
    [
        (0.0, (), True),
        (0.7, (), True),  # goes through all words
        (0.7, (0, 0, 0, 30, 5, 0, 0, 9), True),  # a busy machine during two rounds
        (0.7, (30, 0, 9, 0, 0, 0, 20), True),
        (1.2, (), False),  # counts everything again
        (1.2, (0, 20, 0, 0, 0, 9, 0, 0), False),
        (1.2, (0, 0, 0, 0, 40, 0, 0), False),
        (50.0, (), False),
    ],
)
def test_growth_is_judged_by_the_ratio(per_merge, noise, passes):
    student = Timed(1.0, per_merge, noise)
    if passes:
        growth_of(student)
    else:
        with pytest.raises(Fail, match="counting all pairs again"):
            growth_of(student)


def test_a_slow_start_does_not_count_and_a_slowed_one_does_not_help():
    growth_of(Timed(1.0, 0.1, reading=20))
    with pytest.raises(Fail, match="counting all pairs again"):
        growth_of(Timed(1.0, 1.2, slow_few=40))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda merges: merges[::-1], "first merges of a plain text"),
        (lambda merges: [(b"a", b"b")] * len(merges), "first merges of a plain text"),
        (lambda merges: merges[:-2], "not as many merges"),
    ],
)
def test_a_time_is_believed_only_with_the_merges_of_its_file(change, message):
    student = Timed(1.0, 0.1)
    right = student.train
    student.train = lambda *args: (None, change(right(*args)[1]))
    with pytest.raises(Fail, match=message):
        growth_of(student)


class TimedEncoding:
    """Encodes rightly, in a time that is a function of the letters, or of the merges where the text has words."""

    def __init__(self, of_letters):
        self.of_letters = of_letters
        self.local = LocalStudent(catalogue.namespace(RIGHT[0].source, RIGHT[0].name))
        self.asked = []

    def timed(self, driver, vocab, merges, special_tokens, texts):
        answer = self.local.run(driver, vocab, merges, special_tokens, texts)
        if " " in texts[0]:
            return answer, 0.01 * len(texts[0])
        self.asked.append(len(texts[0]))
        return answer, self.of_letters(len(texts[0]))


@pytest.mark.parametrize(
    ("of_letters", "longest", "passes"),
    [
        (lambda letters: 1e-6 * letters, 8_000, True),
        (lambda letters: 1e-2 * letters, 8_000, True),  # slow, but in proportion
        (lambda letters: 1e-7 * letters**2, 2_000, False),  # 0.4 s for 2,000: no need to wait for 8,000
        (lambda letters: 1e-9 * letters**2, 8_000, False),  # too quick to be sure of, with so few
        (lambda letters: 0.2 + 1e-7 * letters**2, 8_000, False),  # a slow start hides it there
    ],
)
def test_a_square_is_seen_in_a_short_text_where_that_takes_long(of_letters, longest, passes):
    growth = next(one for one in HIDDEN if one.id == "encode.costs_what_the_text_is_long")
    student = TimedEncoding(of_letters)
    if passes:
        growth.function(student, random.Random(0))
    else:
        with pytest.raises(Fail, match="far more than four times"):
            growth.function(student, random.Random(0))
    assert max(student.asked) == longest


# ---------------------------------------------------------------------------------------------------------------------
# A class is judged with one seed: what follows from it is worked out once


@pytest.fixture
def slow_work(monkeypatch):
    """The calls of everything slow: the trainer, the encoder, and the search for inputs."""
    calls = []

    def count(owner, name):
        slow = getattr(owner, name)

        def counting(*args):
            calls.append(name)
            return slow(*args)

        monkeypatch.setattr(owner, name, counting)

    count(defined(HIDDEN).Trainer, "learn")
    count(defined(HIDDEN).Encoder, "encode")
    for part in parts(HIDDEN):
        if hasattr(part, "draw"):
            count(part, "draw")
    return calls


def test_a_second_right_solution_recomputes_nothing(slow_work):
    quick = [one for one in HIDDEN if one.id not in TIMED]  # those look again where a machine is busy
    assert judge(quick, RIGHT[0], "remembered").failed == {}
    assert {"learn", "encode", "draw"} <= set(slow_work)
    slow_work.clear()
    assert judge(quick, RIGHT[1], "remembered").failed == {}
    assert len(slow_work) < 6  # of a word or two


@pytest.mark.parametrize("solution", by_name([WRONG[-1], *TRIVIAL[:2]]))
def test_a_mistake_is_named_again_without_recomputing(solution, slow_work):
    quick = [one for one in HIDDEN if one.id not in TIMED]
    first = judge(quick, solution, "named")
    slow_work.clear()
    assert judge(quick, solution, "named").results == first.results
    assert len(slow_work) < 6  # of a word or two


def test_a_submission_cannot_change_what_the_next_one_gets():
    """Here a solution runs beside the checks and is given their own objects, which it empties."""

    def spoil(*values):
        for value in values:
            if isinstance(value, (list, dict)):
                value.clear()

    class Spoiler:
        def __init__(self, *args):
            spoil(*args)

        encode = decode = encode_iterable = lambda self, value: spoil(value)

    quick = [one for one in HIDDEN if one.id not in TIMED]
    sent = repr(judge(quick, RIGHT[0], "spoilt").sent)
    for one in quick:
        student = LocalStudent({"train_bpe": spoil, "Tokenizer": Spoiler})
        assert not one.run(student, "spoilt").passed
        student.close()
    again = judge(quick, RIGHT[0], "spoilt")
    assert again.failed == {}
    assert repr(again.sent) == sent


def test_what_is_drawn_is_remembered_by_the_state_of_the_generator():
    times = []

    @drawn
    def numbers(rng, count):
        times.append(count)
        return [rng.random() for _ in range(count)]

    def twice(seed, count):
        rng = random.Random(seed)
        return numbers(rng, count), rng.random()

    expected = random.Random(1)
    assert twice(1, 3) == ([expected.random() for _ in range(3)], expected.random())
    twice(1, 3)[0].clear()
    assert twice(1, 3) == twice(1, 3) and len(twice(1, 3)[0]) == 3
    assert times == [3]
    assert twice(1, 2) != twice(2, 2)
    assert times == [3, 2, 2]


# ---------------------------------------------------------------------------------------------------------------------
# Several files are sent with one question; what is said of them is as if each had been asked for alone


def of_merging(train):
    everywhere = next(one for one in HIDDEN if one.id == "merge.merges_every_occurrence")
    student = LocalStudent({"train_bpe": train})
    try:
        return everywhere.run(student, 0).message
    finally:
        student.close()


def test_the_first_file_that_goes_wrong_decides():
    right = catalogue.namespace(RIGHT[0].source, RIGHT[0].name)["train_bpe"]
    seen = []

    def fails_later(path, *args):
        seen.append(path)
        if path != seen[0]:
            raise ZeroDivisionError
        return right(path, *args)

    assert of_merging(right) == ""
    assert "ZeroDivisionError" in of_merging(fails_later)

    def wrong_then_fails(path, *args):
        vocab, merges = fails_later(path, *args)
        return vocab, merges[1:]

    seen.clear()
    assert "judged when the first merges of a plain text are right" in of_merging(wrong_then_fails)
    assert "train_bpe must return two things" in of_merging(lambda *args: None)


@pytest.mark.parametrize("returned", [lambda vocab, merges: (merges, vocab), lambda vocab, merges: vocab])
def test_the_public_checks_name_what_training_returns_and_in_which_order(returned):
    names = catalogue.namespace(next(one for one in RIGHT if one.name == "right_in_parts").source)
    right = names["train_bpe"]
    student = LocalStudent({**names, "train_bpe": lambda *args: returned(*right(*args))})
    first = next(one for one in PUBLIC if one.exercise == "train")
    assert "two things, in this order: the vocabulary, a dict, and the list of merges" in first.run(student, 0).message


def test_a_merge_that_loses_tokens_hears_nothing_of_letters():
    """With few merges it looks like a pattern of ASCII letters: the same text without other letters shows that it is not."""
    names = catalogue.namespace(next(one for one in RIGHT if one.name == "right_in_parts").source)

    class Losing(names["Training"]):
        def merge(self, word, pair):
            merged = super().merge(word, pair)
            kept = zip(merged, [*merged[1:], b""], strict=True)
            return tuple(token for token, behind in kept if behind != pair[0] + pair[1])

    scripts = next(one for one in HIDDEN if one.id == "pretokenize.letters_of_every_script")
    for seed in range(3):
        student = LocalStudent({"train_bpe": Losing().run})
        message = scripts.run(student, seed).message
        student.close()
        assert message == defined(HIDDEN).IN_ASCII


def test_special_tokens_are_drawn_alike_in_every_process():
    """Whatever the order in which a process goes through a set."""
    code = """
from catalogue import defined, spec
from random import Random
names = defined(spec("a1_bpe", "hidden")).names_in_no_order
print([names(Random(seed)) for seed in range(20)])
"""
    said = {
        run("python", "-c", code, cwd=Path(catalogue.__file__).parent, PYTHONHASHSEED=str(seed)).stdout
        for seed in range(3)
    }
    assert len(said) == 1 and said != {""}


@pytest.mark.parametrize("answers", [[], [[]] * 9])
def test_a_forged_number_of_answers_is_refused(answers):
    class Forger:
        asked = 0

        def file(self, data):
            return "unused"

        def run(self, driver, *args):
            self.asked += 1
            assert self.asked < 5
            return answers

    everywhere = next(one for one in HIDDEN if one.id == "merge.merges_every_occurrence")
    with pytest.raises(Fail):
        everywhere.function(Forger(), random.Random(0))


# ---------------------------------------------------------------------------------------------------------------------
# The checks' own definition of right against independent libraries


def test_the_checks_encoder_agrees_with_tiktoken():
    tiktoken = pytest.importorskip("tiktoken")
    checks, rng = defined(HIDDEN), random.Random(7)
    corpus = "".join(rng.choices(checks.INGREDIENTS, k=300)) + " ".join(checks.small_language(rng, 5, 60))
    merges = checks.RIGHT.merges(corpus.encode(), 60)
    merges = list({a + b: (a, b) for a, b in reversed(merges)}.values())[::-1]
    vocab = checks.vocab_of(merges)
    other = tiktoken.Encoding(
        "checks", pat_str=checks.PATTERN, mergeable_ranks={t: i for i, t in vocab.items()}, special_tokens={}
    )
    for _ in range(20):
        text = "".join(rng.choices(checks.INGREDIENTS, k=20)) + " ".join(checks.small_language(rng, 5, 10))
        assert checks.ENCODER.encode(vocab, merges, text) == other.encode_ordinary(text)


def test_the_checks_count_what_a_merge_changes_as_they_would_count_all_of_it():
    checks, rng = defined(HIDDEN), random.Random(3)
    for _ in range(60):
        letters = rng.choice(["ab", "aab ", "abcdefgh ", "aé中 \n", "a <x>"])
        data = "".join(rng.choices(letters, k=rng.randint(0, 200))).encode()
        for right in (
            checks.RIGHT,
            replace(checks.RIGHT, weigh=lambda number: 1),
            replace(checks.RIGHT, split=str.split),
        ):
            slow = replace(right, count=lambda words: checks.count(words))
            assert right.learn(data, 60, ("<x>",)) == slow.learn(data, 60, ("<x>",))


def test_special_tokens_cut_a_text_from_the_left_and_the_longest_first():
    cut = defined(HIDDEN).cut
    assert cut("ab<x>y<x>", ["<x>", "<x>y", "b"]) == ["a", "b", "", "<x>y", "", "<x>", ""]
    assert cut("a.b|c", []) == ["a.b|c"] and cut("a.b|c", [".", "|"]) == ["a", ".", "b", "|", "c"]


def test_what_a_class_is_asked_is_learned_once():
    """A second submission under the same seed has nothing learned or encoded for it by the checks."""
    checks = defined(HIDDEN)
    known = checks.Trainer.merges, checks.Encoder.remember
    quick = [one for one in HIDDEN if one.id not in TIMED]
    judge(quick, RIGHT[0], "a seed of its own")
    before = [function.cache_info().misses for function in known]
    judge(quick, RIGHT[1], "a seed of its own")
    assert before[0] > 100 and [function.cache_info().misses for function in known] == before
