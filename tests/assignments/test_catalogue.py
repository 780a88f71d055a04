"""The checks of every assignment, tested by its catalogue: right solutions in many styles pass, and each wrong one fails
where it is wrong, loses what its mistake is worth, and hears what it is.

The assignments are those of `GRADED_MODULES`: a new one is tested here as soon as it stands there, and needs a row in
`ABOUT` and a catalogue in `solutions/`. What is special to an assignment stands in a file of its own,
`test_a1_checks.py` and so on.
"""

import statistics
import sys
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import catalogue
import pytest
import torch
from catalogue import ROOT, SOLUTIONS, judge, solutions, spec, words_of
from everyday import EVERYDAY, broken_in_everyday_use

from cs336lite.course.paths import GRADED_MODULES
from cs336lite.course.points import TOGETHER, promised
from cs336lite.course.text import read_text

NO_ANSWER = "the answer does not have the form"  # that is asked for
LINUX = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="grading runs on Linux")


@dataclass(frozen=True)
class About:
    """What the tests know of an assignment.

    Args:
        names: what a submission must define.
        optional: functions without which a plain solution may do.
        worker: wrong solutions to judge in the grader's worker, too.
        most_sent: bytes of tensors that the checks send to one solution.
    """

    names: tuple[str, ...]
    optional: tuple[str, ...]
    worker: tuple[str, ...] = ()
    most_sent: int = 600_000


ABOUT = {
    "a1_bpe": About(
        ("train_bpe", "Tokenizer"),
        ("pretokenize", "count_pairs", "merge", "merge_pair"),
        ("wrong_ties_first_seen", "wrong_recounts_everything"),
    ),
    "a2_attention": About(
        ("softmax", "scaled_dot_product_attention", "MultiHeadAttention"),
        ("repeat_kv", "causal_mask", "padding_mask", "positions_of"),
        ("wrong_unscaled", "wrong_heads_by_view", "wrong_kv_heads_tiled", "wrong_cache_unturned"),
        most_sent=2_000_000,
    ),
    "a3_rope": About(
        ("RotaryPositionalEmbedding", "rotate_part"),
        ("rotation_angles", "rotate_pairs", "rotate_halves", "look_up"),
        ("wrong_turns_values", "wrong_changes_x"),
    ),
    "a4_lion": About(
        ("Lion", "lion_update_foreach_"),
        ("lion_direction", "lion_update_"),
        ("wrong_one_beta", "wrong_foreach_loop"),
    ),
    "a5_moe_router": About(
        ("TopKRouter", "dispatch"),
        ("top_k_gates", "load_balancing_loss", "router_z_loss"),
        ("wrong_rounded_first", "wrong_float16_overflows", "wrong_loop_when_gathering", "wrong_gates_detached"),
        most_sent=2_000_000,
    ),
    "a6_inference": About(
        (
            *("KVCache", "token_probabilities", "sample", "speculative_step", "PagedCache"),
            *("quantize_int8", "dequantize_int8"),
        ),
        (),
        ("wrong_joins_with_cat", "wrong_top_p_drops_the_last", "wrong_replaced_from_p", "wrong_no_copy_on_write"),
    ),
    "a7_parallel": About(
        (
            *("ring_all_reduce", "average_gradients", "ZeroOptimizer", "shard", "column_forward", "column_backward"),
            *("row_forward", "row_backward", "feed_forward", "feed_forward_backward", "one_forward_one_backward"),
        ),
        (),
        ("wrong_deadlock", "wrong_sums_gradients", "wrong_full_state", "wrong_column_without_all_reduce"),
    ),
}
LONG = ("a1_bpe", "a2_attention")
"""Their solutions take seconds to judge: a sample has half as many of them."""
EVERY = pytest.mark.parametrize("assignment", GRADED_MODULES)


def about(assignment):
    if assignment not in ABOUT:
        pytest.fail(
            f"{assignment} has no row in ABOUT, at the head of {Path(__file__).name}: say what a submission defines"
        )
    return ABOUT[assignment]


def each(kind, sample=1):
    """The parameters of a test for each solution of a kind; all but each n-th are slow, and so are heavy ones."""
    steps = {name: 2 * sample if name in LONG and sample > 1 else sample for name in GRADED_MODULES}
    return pytest.mark.parametrize(
        ("assignment", "solution"),
        [
            pytest.param(
                name,
                one,
                id=f"{name}-{one.name}",
                marks=[pytest.mark.slow] if number % steps[name] or one.heavy else [],
            )
            for name in GRADED_MODULES
            for number, one in enumerate(solutions(name, kind))
        ],
    )


def hidden(assignment):
    return spec(assignment, "hidden")


def public(assignment):
    return spec(assignment, "public")


def reference(assignment):
    return vars(import_module(f"cs336lite.{GRADED_MODULES[assignment]}"))


def unsolved(assignment):
    found = [one for one in solutions(assignment, "trivial") if one.name == "trivial_unsolved"]
    assert found, f"{SOLUTIONS}/{assignment}/trivial_unsolved.py is missing: the stubs as students get them"
    return found[0]


pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.filterwarnings("ignore:Casting complex values to real"),
    pytest.mark.filterwarnings("ignore:Converting a tensor with requires_grad=True to a scalar"),
]


@EVERY
def test_what_an_exercise_is_judged_by_stands_in_its_file(assignment):
    """In a folder a file is called as the exercise, or begins so where it would be too long."""
    checks = hidden(assignment)
    for check in checks if len(checks.files) > 1 else ():
        assert check.function.__module__.rpartition(".")[2].startswith(check.exercise), check.id


def test_every_assignment_is_here():
    for kind in ("text", "hidden", "public"):
        names = sorted(path.stem for path in (ROOT / "assignments" / kind).glob("a*"))
        assert names == list(GRADED_MODULES), f"assignments/{kind} and GRADED_MODULES in course/paths.py differ"
    assert set(ABOUT) <= set(GRADED_MODULES), "a row in ABOUT of what is no assignment"


@EVERY
def test_it_has_a_row_and_a_catalogue(assignment):
    assert about(assignment).names
    kinds = {one.kind for one in solutions(assignment)}
    lacking = {"right", "wrong", "trivial"} - kinds
    assert not lacking, f"{SOLUTIONS}/{assignment}/ has no {' and no '.join(sorted(lacking))} solution"


# ---------------------------------------------------------------------------------------------------------------------
# The form of the checks


@EVERY
def test_points_of_each_exercise(assignment):
    points = hidden(assignment).exercises
    assert hidden(assignment).max_points == 100
    assert set(public(assignment).exercises) == set(points) and public(assignment).max_points == 0


@EVERY
def test_the_text_promises_the_same_points_in_every_place(assignment):
    text = read_text(ROOT / "assignments" / "text" / f"{assignment}.py")
    told = {}
    for name, points, place in promised(text):
        told.setdefault(name, {})[place.partition(", ")[2]] = points
    exercises = hidden(assignment).exercises
    assert told.pop(TOGETHER) == {"the heading": 100}
    places = ("its grade cell", "the heading", "the table")
    assert told == {name: dict.fromkeys(places, points) for name, points in exercises.items()}


@EVERY
def test_hints_come_in_three_layers_and_every_exercise_says_where_to_read_on(assignment):
    assert set(public(assignment).hints) == set(hidden(assignment).module.READ) == set(hidden(assignment).exercises)
    for exercise, layers in public(assignment).hints.items():
        assert len(set(layers)) == len(layers) == 3 and all(len(layer) > 40 for layer in layers), exercise


@EVERY
def test_ids_are_unique(assignment):
    for checks in (hidden(assignment), public(assignment)):
        ids = [one.id for one in checks]
        assert len(set(ids)) == len(ids)


@EVERY
def test_catalogue_is_large_and_says_what_it_expects(assignment):
    assert len(solutions(assignment, "right")) >= 5 and len(solutions(assignment, "trivial")) >= 3
    wrong, known = solutions(assignment, "wrong"), {one.id for one in hidden(assignment)}
    assert len(wrong) >= min(50, 3 * len(known))
    for solution in wrong:
        assert solution.fails and set(solution.fails) <= known, solution.name
        assert solution.names, solution.name
    assert known == {name for solution in wrong for name in solution.fails}, "a check that no wrong solution fails"


@EVERY
def test_solution_files_stand_alone(assignment):
    for kind in ("right", "wrong", "trivial"):
        for solution in solutions(assignment, kind):
            assert catalogue.BASE_LINE.strip() not in solution.source.splitlines(), solution.name
            defined = catalogue.namespace(solution.source, solution.name)
            assert kind == "wrong" or set(about(assignment).names) <= set(defined), solution.name


@pytest.mark.parametrize("assignment", [name for name in GRADED_MODULES if name in EVERYDAY])
def test_what_breaks_everyday_use_costs_a_fifth_and_the_rest_a_few_points(assignment):
    """Points by what each solution of the catalogue says that it fails, which the tests below find to be true; what is
    broken is found by using it, see `everyday`."""
    cost = {one.id: one.points for one in hidden(assignment)}
    assert [one.name for one in solutions(assignment, "right") if broken_in_everyday_use(assignment, one)] == []
    broken, others = [], []
    for one in solutions(assignment, "wrong"):
        points = 100 - sum(cost[name] for name in one.fails)
        (broken if broken_in_everyday_use(assignment, one) else others).append(points)
    assert len(broken) > 20 and statistics.median(broken) < 80
    assert len(others) > 20 and statistics.median(others) > 95


# ---------------------------------------------------------------------------------------------------------------------
# Right


@each("right")
def test_right_solutions_get_full_marks(assignment, solution):
    judgement = judge(hidden(assignment), solution, "right")
    assert judgement.failed == {} and judgement.score == 100


@each("right")
def test_right_solutions_pass_the_public_checks(assignment, solution):
    failed = judge(public(assignment), solution, 0).failed
    lacking = [f"`{name}` is not defined" for name in about(assignment).optional]
    assert all(any(text in message for text in lacking) for message in failed.values()), failed


@EVERY
@pytest.mark.parametrize("seed", range(2))
def test_the_reference_gets_full_marks(assignment, seed):
    assert judge(hidden(assignment), reference(assignment), f"reference {seed}").failed == {}
    assert judge(public(assignment), reference(assignment), 0).failed == {}


@pytest.mark.slow
@each("right")
def test_right_for_twenty_more_seeds(assignment, solution):
    for seed in range(20):
        assert judge(hidden(assignment), solution, seed).failed == {}, seed


# ---------------------------------------------------------------------------------------------------------------------
# Wrong


def as_numbers(value):
    """The same with lists in place of tensors."""
    if isinstance(value, (list, tuple)):
        return [as_numbers(item) for item in value]
    return value.tolist() if isinstance(value, torch.Tensor) else value


def expect_named_mistakes(assignment, solution, seed):
    judgement = judge(hidden(assignment), solution, seed)
    failed = judgement.failed
    assert set(solution.fails) <= set(failed) <= {*solution.fails, *solution.may}
    assert solution.names in failed[solution.fails[0]]
    assert not judgement.faults and not any(NO_ANSWER in message for message in failed.values())
    shown = words_of(list(failed.values())) & words_of(as_numbers(judgement.sent))
    assert shown <= words_of(hidden(assignment).source), "a message shows what was drawn"
    if solution.points:
        least, most = solution.points
        assert least <= judgement.score <= most, judgement.score


@each("wrong", sample=5)
def test_wrong_solutions_fail_exactly_where_they_are_wrong(assignment, solution):
    expect_named_mistakes(assignment, solution, "wrong")


@pytest.mark.slow
@each("wrong")
def test_verdicts_do_not_depend_on_the_seed(assignment, solution):
    for seed in range(20):
        expect_named_mistakes(assignment, solution, seed)


# ---------------------------------------------------------------------------------------------------------------------
# Nothing


@each("trivial")
def test_trivial_solutions_score_nothing(assignment, solution):
    judgement = judge(hidden(assignment), solution, "trivial")
    assert judgement.score == 0
    assert not judgement.faults and not any(NO_ANSWER in message for message in judgement.failed.values())


@EVERY
def test_what_is_unsolved_or_missing_is_told_so(assignment):
    messages = judge(hidden(assignment), unsolved(assignment), 0).failed.values()
    assert all("not solved yet" in message for message in messages)
    missing = judge(hidden(assignment), {}, 0)
    assert missing.score == 0 and all("is not defined" in message for message in missing.failed.values())


@EVERY
def test_the_released_notebook_scores_nothing(assignment, tmp_path):
    from cs336lite.course.release import generate
    from cs336lite.grading.submission import read_submission

    released = read_submission(generate(ROOT, [assignment], tmp_path)[assignment] / f"{assignment}.ipynb")
    names = {}
    for _, text in released.cells:
        try:
            exec(text, names)
        except Exception:
            continue  # a cell that uses what is not solved yet
    assert set(about(assignment).names) <= set(names)
    judgement = judge(hidden(assignment), names, "released")
    assert judgement.score == 0
    assert all("not solved yet" in message for message in judgement.failed.values())


# ---------------------------------------------------------------------------------------------------------------------
# What is sent, and where it is judged


def tensors_of(value):
    if isinstance(value, torch.Tensor):
        return [value]
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else []
    return [tensor for part in parts for tensor in tensors_of(part)]


@EVERY
def test_what_is_sent_is_small(assignment):
    sent = judge(hidden(assignment), reference(assignment), 3).sent
    assert sum(one.numel() * one.itemsize for one in tensors_of(sent)) < about(assignment).most_sent


@LINUX
@EVERY
def test_verdicts_are_the_same_in_the_worker(assignment):
    from cs336lite.grading.client import Worker
    from cs336lite.grading.judge import needs_of

    chosen = [one for one in solutions(assignment) if one.name in about(assignment).worker]
    assert len(chosen) == len(about(assignment).worker)
    with Worker(needs_of(hidden(assignment)).of([("1", "torch")])) as worker:
        for solution in [*solutions(assignment, "right")[::3], *chosen]:
            failed = {}
            with worker.student((("1", solution.source),)) as student:
                for one in hidden(assignment):
                    student.begin(one.seconds)
                    result = one.run(student, "worker")
                    failed |= {} if result.passed else {result.id: result.message}
            assert set(failed) == set(solution.fails), (solution.name, failed)
