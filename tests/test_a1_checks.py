"""The checks of a1_bpe, tested: right solutions in many styles pass, and each wrong one fails where it is wrong."""

import ast
import random
import sys

import catalogue
import nbformat
import pytest
from catalogue import ROOT, judge, solutions, spec, words_of

from cs336lite.course.spec import Fail, LocalStudent, drawn

A1 = "a1_bpe"
HIDDEN, PUBLIC = spec(A1, "hidden"), spec(A1, "public")
RIGHT, WRONG, TRIVIAL = (solutions(A1, kind) for kind in ("right", "wrong", "trivial"))
POINTS = {
    "pretokenize": 5,
    "count_pairs": 6,
    "merge": 6,
    "train": 38,
    "encode": 22,
    "decode": 6,
    "special_tokens": 7,
    "encode_iterable": 10,
}
SMALL_FUNCTIONS = ("pretokenize", "count_pairs", "merge")  # a plain solution may do without them
NOTEBOOK = ROOT / "assignments" / "source" / A1 / f"{A1}.ipynb"
TIMED = ("train.does_not_recount_everything", "train.does_not_scan_all_words", "encode.costs_what_the_text_is_long")
NO_ANSWER = "the answer does not have the form"  # what a check says that stumbled itself


def by_name(found):
    return [pytest.param(solution, id=solution.name) for solution in found]


def test_points_of_each_exercise():
    assert HIDDEN.exercises == POINTS
    assert HIDDEN.max_points == 100


def test_the_notebook_promises_the_same_points():
    cells = [cell.metadata.get("nbgrader", {}) for cell in nbformat.read(NOTEBOOK, as_version=4).cells]
    assert {cell.grade_id.removeprefix("grade_"): cell.points for cell in cells if cell.get("grade")} == POINTS


def test_public_checks_cover_every_exercise_without_points():
    assert set(PUBLIC.exercises) == set(POINTS)
    assert PUBLIC.max_points == 0


def test_hints_come_in_three_layers():
    assert set(PUBLIC.hints) == set(POINTS)
    for exercise, layers in PUBLIC.hints.items():
        assert len(layers) == 3, exercise
        assert len(set(layers)) == 3 and all(len(layer) > 40 for layer in layers), exercise


def test_ids_are_unique():
    for checks in (HIDDEN, PUBLIC):
        ids = [one.id for one in checks]
        assert len(set(ids)) == len(ids)


def test_catalogue_is_large_and_says_what_it_expects():
    assert len(RIGHT) >= 6 and len(WRONG) >= 16 and len(TRIVIAL) >= 3
    known = {one.id for one in HIDDEN}
    for solution in WRONG:
        assert solution.fails and set(solution.fails) <= known, solution.name
        assert solution.names, solution.name


def test_every_hidden_check_has_a_wrong_solution_that_fails_it():
    assert {one.id for one in HIDDEN} == {name for solution in WRONG for name in solution.fails}


@pytest.mark.parametrize("solution", by_name(RIGHT))
def test_right_solutions_get_full_marks(solution):
    judgement = judge(HIDDEN, solution, "right")
    assert judgement.failed == {}
    assert judgement.score == 100


@pytest.mark.parametrize("solution", by_name(RIGHT))
def test_right_solutions_pass_the_public_checks(solution):
    failed = judge(PUBLIC, solution, 0).failed
    missing = {name for name in failed if name.split(".")[0] in SMALL_FUNCTIONS and "is not defined" in failed[name]}
    assert set(failed) == missing


def test_some_right_solutions_define_the_small_functions():
    names = {"pretokenize", "count_pairs", "merge_pair"}
    assert sum(names <= catalogue.namespace(one.source, one.name).keys() for one in RIGHT) >= 2


def points_of(solution):
    """The least and the most points of a solution, which the line ``points:`` of its docstring tells."""
    least, _, most = catalogue.field(
        ast.get_docstring(ast.parse(solution.path.read_text("utf-8"))), "points"
    ).partition("-")
    return (float(least), float(most or least)) if least else (0.0, 99.0)


def expect_named_mistakes(solution, seed):
    judgement = judge(HIDDEN, solution, seed)
    failed = judgement.failed
    least, most = points_of(solution)
    assert least <= judgement.score <= most
    assert set(failed) == set(solution.fails)
    assert solution.names in failed[solution.fails[0]]
    assert not any(NO_ANSWER in message for message in failed.values())
    shown = words_of(list(failed.values())) & words_of(judgement.sent)
    assert shown <= words_of(HIDDEN.source), "a message shows what was drawn"


@pytest.mark.parametrize("solution", by_name(WRONG))
def test_wrong_solutions_fail_exactly_where_they_are_wrong(solution):
    expect_named_mistakes(solution, "wrong")


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("solution", by_name(WRONG))
def test_verdicts_do_not_depend_on_the_seed(solution, seed):
    expect_named_mistakes(solution, seed)


@pytest.mark.parametrize("solution", by_name(TRIVIAL))
def test_trivial_solutions_score_nothing(solution):
    judgement = judge(HIDDEN, solution, "trivial")
    assert judgement.score == 0
    assert not any(NO_ANSWER in message for message in judgement.failed.values())


def test_an_unsolved_notebook_is_told_so():
    unsolved = next(solution for solution in TRIVIAL if solution.name == "trivial_unsolved")
    messages = judge(HIDDEN, unsolved, 0).failed.values()
    assert all("not solved yet" in message for message in messages)


def test_a_missing_name_is_told_so():
    judgement = judge(HIDDEN, {}, 0)
    assert judgement.score == 0
    assert all("is not defined" in message for message in judgement.failed.values())


@pytest.mark.parametrize("seed", range(3))
def test_right_for_any_seed(seed):
    assert judge(HIDDEN, RIGHT[0], seed).failed == {}


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3, 23))
@pytest.mark.parametrize("solution", by_name(RIGHT[1:3]))
def test_right_for_twenty_more_seeds(solution, seed):
    assert judge(HIDDEN, solution, seed).failed == {}


def test_inputs_follow_the_seed_alone():
    """The same seed asks the same questions; another seed asks others in every check that judges answers."""
    quick = [one for one in HIDDEN if one.id not in TIMED]
    first, again, other = (judge(quick, RIGHT[0], seed).sent for seed in (1, 1, 2))
    kept = [[item for item in sent if isinstance(item, bytes)] for sent in (first, again, other)]
    assert kept[0] == kept[1]
    assert len(set(kept[0]) & set(kept[2])) <= 2  # the empty file, and a file of one letter at most


@pytest.mark.parametrize("seed", range(3))
def test_the_reference_gets_full_marks(seed):
    bpe = pytest.importorskip("cs336lite.bpe")
    judgement = judge(HIDDEN, vars(bpe), f"reference {seed}")
    assert judgement.failed == {}
    assert judgement.score == 100


def test_the_reference_passes_the_public_checks():
    bpe = pytest.importorskip("cs336lite.bpe")
    assert judge(PUBLIC, vars(bpe), 0).failed == {}


# ---------------------------------------------------------------------------------------------------------------------
# As a class meets them: the notebook that is handed out, and the worker that answers are graded in


def test_the_released_notebook_scores_nothing(tmp_path):
    from cs336lite.course.release import generate
    from cs336lite.grading.submission import read_submission

    released = read_submission(generate(ROOT, [A1], tmp_path)[A1] / f"{A1}.ipynb")
    names = {}
    for _, text in released.cells:
        try:
            exec(text, names)
        except Exception:
            continue  # a cell that uses what is not solved yet
    assert "train_bpe" in names and "Tokenizer" in names
    assert judge(HIDDEN, names, "released").score == 0


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="grading runs on Linux")
@pytest.mark.parametrize(
    "name", ["right_in_parts", "right_numpy", "wrong_ties_first_seen", "wrong_recounts_everything"]
)
def test_verdicts_are_the_same_in_the_worker(name):
    from cs336lite.grading.client import Worker

    solution = next(solution for solution in [*RIGHT, *WRONG] if solution.name == name)
    failed = []
    with Worker() as worker, worker.student((("1", solution.source),)) as student:
        for one in HIDDEN:
            student.begin(one.seconds)
            result = one.run(student, "worker")
            failed += [] if result.passed else [(result.id, result.message)]
    assert {name for name, _ in failed} == set(solution.fails), failed


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

    count(HIDDEN.module.Trainer, "learn")
    count(HIDDEN.module.Encoder, "encode")
    count(HIDDEN.module, "draw")
    return calls


def test_a_second_right_solution_recomputes_nothing(slow_work):
    quick = [one for one in HIDDEN if one.id not in TIMED]  # those look again where a machine is busy
    assert judge(quick, RIGHT[0], "remembered").failed == {}
    assert {"learn", "encode", "draw"} <= set(slow_work)
    slow_work.clear()
    assert judge(quick, RIGHT[1], "remembered").failed == {}
    assert slow_work == []


@pytest.mark.parametrize("solution", by_name([WRONG[-1], *TRIVIAL[:2]]))
def test_a_mistake_is_named_again_without_recomputing(solution, slow_work):
    quick = [one for one in HIDDEN if one.id not in TIMED]
    first = judge(quick, solution, "named")
    slow_work.clear()
    assert judge(quick, solution, "named").results == first.results
    assert slow_work == []


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
    checks, rng = HIDDEN.module, random.Random(7)
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


def test_solution_files_stand_alone():
    for solution in [*RIGHT, *WRONG, *TRIVIAL]:
        assert catalogue.BASE_LINE.strip() not in solution.source.splitlines(), solution.name
        assert "train_bpe" in catalogue.namespace(solution.source, solution.name)
