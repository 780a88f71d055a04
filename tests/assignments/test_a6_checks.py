"""What is special to the checks of a6_inference; its catalogue is judged in `test_catalogue`."""

import random
import statistics

import pytest
import torch
from catalogue import DetachedStudent, defined, judge, namespace, solutions, spec

from cs336lite import decoding
from cs336lite.model import next_tokens

A6 = "a6_inference"
HIDDEN, PUBLIC = spec(A6, "hidden"), spec(A6, "public")
WRONG = solutions(A6, "wrong")
TOGETHER = {check.id: check.points for check in HIDDEN if check.id.endswith("_together")}

pytestmark = pytest.mark.usefixtures("one_thread")


def test_each_exercise_is_mostly_paid_together():
    assert [name.split(".")[0] for name in TOGETHER] == list(HIDDEN.exercises)
    for name, points in TOGETHER.items():
        assert points >= 0.7 * HIDDEN.exercises[name.split(".")[0]], name


def test_what_breaks_ordinary_use_costs_a_fifth_and_an_edge_a_few_points():
    """By what each solution of the catalogue says that it fails, which `test_catalogue` finds to be true."""
    cost = {check.id: check.points for check in HIDDEN}
    scores = {one.name: 100 - sum(cost[name] for name in one.fails) for one in WRONG}
    broken = [scores[one.name] for one in WRONG if set(one.fails) & set(TOGETHER)]
    edges = [scores[one.name] for one in WRONG if not {*one.fails, *one.may} & set(TOGETHER)]
    assert len(broken) > 30 and statistics.median(broken) < 80
    assert len(edges) > 25 and statistics.median(edges) > 95 and min(edges) >= 95


@pytest.mark.parametrize(
    ("solution", "check", "message"),
    [
        ("wrong_sorts_unstably", "sampling.sampling_at_the_edges", "of many equal tokens top_k does not keep"),
        ("wrong_top_p_one_removes", "sampling.sampling_at_the_edges", "top_p = 1 removes the least probable"),
        ("wrong_draws_by_size", "speculative.both_ends", "the token after the last draft is not drawn from p[k]"),
    ],
)
def test_what_shows_in_few_draws_is_drawn_until_it_shows(solution, check, message):
    found = next(one for one in WRONG if one.name == solution)
    student = DetachedStudent(namespace(found.source, solution))
    (check,) = (one for one in HIDDEN if one.id == check)
    assert all(message in check.run(student, seed).message for seed in range(40))


def flatten(value):
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        for item in value:
            yield from flatten(item)
    elif isinstance(value, torch.Tensor):
        yield value


def test_inputs_follow_the_seed_alone():
    first, again, other = (list(flatten(judge(HIDDEN, vars(decoding), seed).sent)) for seed in (1, 1, 2))
    assert len(first) > 100 and len(first) == len(again) and all(map(torch.equal, first, again))
    drawn = [(a, b) for a, b in zip(first, other) if a.shape == b.shape and a.numel() > 20 and a.any()]
    same = sum(torch.equal(a, b) for a, b in drawn)
    assert len(drawn) > 80 and same <= 10  # grids of random numbers are always the same


# ---------------------------------------------------------------------------------------------------------------------
# The definitions that answers are compared with


@pytest.mark.parametrize("seed", range(20))
def test_a_grid_of_sixteenths_gives_the_target_exactly(seed):
    """What the check of the distribution sums up is exact, with no error of a grid."""
    checks = defined(HIDDEN)
    p, q = checks.a_pair(random.Random(seed))
    first = torch.zeros(4, dtype=torch.float64)
    for x in range(4):
        for u in torch.cartesian_prod(checks.GRID, checks.GRID):
            token = checks.right_step(torch.tensor([x]), q[None], torch.stack([p, p]), u)[0]
            first[token] += float(q[x]) / 256
    assert torch.equal(first, p.double())


OPTIONS = [{}, {"temperature": 0.7}, {"top_k": 3}, {"top_p": 0.8}, {"temperature": 1.4, "top_k": 5, "top_p": 0.7}]


@pytest.mark.parametrize("options", OPTIONS)
def test_filters_agree_with_transformers(options):
    """And with the sampling of lecture 03b's model, which never draws what the filters have removed."""
    transformers = pytest.importorskip("transformers")
    logits = torch.randn(6, 12, generator=torch.Generator().manual_seed(3))
    ours = decoding.token_probabilities(logits, **options)
    assert torch.allclose(ours.double(), defined(HIDDEN).laws(logits, **options), atol=1e-6)
    theirs = logits / options.get("temperature", 1.0)
    if "top_k" in options:
        theirs = transformers.TopKLogitsWarper(options["top_k"])(None, theirs)
    if "top_p" in options:
        theirs = transformers.TopPLogitsWarper(options["top_p"])(None, theirs)
    assert torch.allclose(ours, theirs.softmax(-1), atol=1e-6)
    generator = torch.Generator().manual_seed(0)
    for _ in range(30):
        drawn = next_tokens(logits, generator=generator, **options)
        assert bool((ours.gather(1, drawn[:, None]) > 0).all())


# ---------------------------------------------------------------------------------------------------------------------
# Public checks: what they say of mistakes


@pytest.mark.parametrize(
    ("solution", "check", "message"),
    [
        ("wrong_returns_new_keys_only", "cache.grows", "after 4 tokens the keys must be all of them"),
        ("wrong_joins_with_cat", "cache.memory", "a view of the same places"),
        ("wrong_positions_count_padding", "cache.padding", "the positions of the prompt"),
        ("wrong_top_p_drops_the_last", "sampling.filters", "0.5 and 0.3 reach"),
        ("wrong_top_k_keeps_ties", "sampling.ties", "keeps the first two"),
        ("wrong_replaced_from_p", "speculative.by_hand", "only 1 has p > q"),
        ("wrong_no_token_after_all", "speculative.by_hand", "accepts draft 0"),
        ("wrong_no_copy_on_write", "paged.story", "after an append to B"),
        ("wrong_block_taken_too_early", "paged.border", "blocks of a text with 2, 3 and 7 tokens"),
        ("wrong_one_scale_for_a_row", "quantize.row", "as integers are"),
    ],
)
def test_public_checks_name_the_mistake(solution, check, message):
    found = next(one for one in WRONG if one.name == solution)
    assert message in judge(PUBLIC, found, 0).failed[check]
