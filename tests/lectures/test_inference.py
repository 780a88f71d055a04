"""The engine of lecture 09 beside the model's own loop, exact distributions and schedules worked out by hand."""

import itertools

import pytest
import torch

from cs336lite import generation
from cs336lite.decoding import dequantize_int8, quantize_int8, token_probabilities
from cs336lite.inference import (
    CountedDraft,
    Engine,
    Request,
    StepCosts,
    draw_requests,
    generate,
    pass_cost,
    requantized,
    simulate,
    speculative_generate,
    symmetric,
)
from cs336lite.model import Transformer, TransformerConfig
from cs336lite.presets import LLAMA2

CONFIG = TransformerConfig(
    vocab_size=11, context_length=48, d_model=32, num_layers=2, num_heads=4, num_kv_heads=2, d_ff=64, init_std=0.3
)


def draw(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def model() -> Transformer:
    return Transformer(CONFIG, draw()).double().eval()  # in float64 no two logits are equal up to rounding


# ------------------------------------------------------------------------------------------------------------------- costs


def test_decode_reads_the_weights_and_the_cache_and_prefill_shares_them():
    shape = LLAMA2["llama2-7b"].shape
    step, more = (pass_cost(shape, 1, 1, past=past) for past in (0, 1_000))
    assert more.bytes - step.bytes == 1_000 * 2 * 32 * 4_096 * 2
    together, prompt = pass_cost(shape, 64, 1, past=1_000), pass_cost(shape, 1, 2_048)
    assert together.intensity < 64 * more.intensity / 3 < prompt.intensity  # each text has a cache of its own
    assert step.seconds(1e30, 1e12) == step.bytes / 1e12 and step.seconds(1e12, 1e30) == step.flops / 1e12


# ----------------------------------------------------------------------------------------------------------------- writing


@pytest.mark.parametrize("lengths", [(5,), (2, 7, 4)])
def test_greedy_text_is_that_of_the_models_own_loop(model, lengths):
    padding = torch.tensor([max(lengths) - n for n in lengths])
    tokens = torch.randint(11, (len(lengths), max(lengths)), generator=draw(1))
    found = generate(model, tokens, 12, padding=padding, temperature=0.0)
    real = torch.arange(max(lengths)) >= padding[:, None]
    assert torch.equal(found, generation.generate(model, tokens, 12, padding=real, temperature=0.0))


def test_both_loops_leave_the_same_tokens_to_draw_from():
    logits = torch.randn(64, 11, generator=draw(2))
    choice = {"temperature": 0.8, "top_k": 6, "top_p": 0.7}
    drawn = torch.stack([generation.next_tokens(logits, generator=draw(s), **choice) for s in range(300)], dim=1)
    p = token_probabilities(logits, **choice)
    assert (p.gather(1, drawn) > 0).all()
    assert [set(row.tolist()) for row in drawn] == [set(row.nonzero()[:, 0].tolist()) for row in p]


def test_the_same_generator_writes_the_same_and_another_writes_something_else(model):
    tokens = torch.tensor([[1, 2, 3]])
    texts = [generate(model, tokens, 20, generator=draw(seed)).tolist() for seed in (3, 3, 4)]
    assert texts[0] == texts[1] != texts[2]


@pytest.mark.parametrize(("prompt", "new", "words"), [(0, 3, "the prompt is empty"), (40, 9, "49 tokens")])
def test_what_does_not_fit_is_told(model, prompt, new, words):
    tokens = torch.zeros(1, prompt, dtype=torch.int64)
    with pytest.raises(ValueError, match=words):
        generate(model, tokens, new)
    with pytest.raises(ValueError, match=words):
        speculative_generate(model, CountedDraft([], 0, 11), tokens[0].tolist(), new, 2)
    with pytest.raises(ValueError, match=words):
        Engine(model, 16).add(tokens[0].tolist(), new)


# ------------------------------------------------------------------------------------------------------------- speculation


def test_a_counted_draft_mixes_counts_with_shorter_contexts():
    draft = CountedDraft([0, 1, 0, 1, 0], 2, 2)
    unigram = torch.tensor([(3 + 0.5) / 6, (2 + 0.5) / 6])
    assert torch.allclose(draft([]), unigram)
    assert torch.allclose(draft([0]), torch.tensor([unigram[0] / 3, (2 + unigram[1]) / 3]))
    for order, text in itertools.product(range(4), ([], [1], [0, 1, 1, 0])):
        assert torch.isclose(CountedDraft([0, 1, 0], order, 3)(text).sum(), torch.tensor(1.0))
    assert CountedDraft([0, 1], 0, 4)([0]).tolist() == [0.25] * 4


@pytest.mark.parametrize("k", [0, 1, 3, 30])
def test_greedy_text_with_a_draft_is_the_same(model, k):
    plain = generate(model, torch.tensor([[1, 2, 3]]), 20, temperature=0.0)[0].tolist()
    draft = CountedDraft(plain * 3, 3, 11)
    found = speculative_generate(model, draft, [1, 2, 3], 20, k, temperature=0.0, generator=draw())
    assert found.tokens == plain
    assert found.kept + found.passes == 20 and found.kept <= found.guessed
    assert (found.passes < 20) == (k > 0)


def test_all_guesses_of_the_target_itself_are_kept(model):
    def target(text):
        with torch.no_grad():
            return token_probabilities(model(torch.tensor([text]))[0, -1])

    found = speculative_generate(model, target, [1, 2], 21, 6, generator=draw())
    assert found.kept == found.guessed == 18 and found.passes == 3


def test_texts_with_a_draft_are_distributed_as_the_targets():
    """The pair behind the prompt in 600 texts of a fixed generator, within four standard deviations."""
    small, one = Transformer(CONFIG.replace(vocab_size=3, num_layers=1), draw(5)).eval(), draw(6)
    draft = CountedDraft([0, 1, 2, 0, 2], 2, 3)
    counts = torch.zeros(3, 3)
    for _ in range(600):
        found = speculative_generate(small, draft, [0], 2, 1, generator=one)
        counts[tuple(found.tokens[1:])] += 1
    with torch.no_grad():
        first = token_probabilities(small(torch.tensor([[0]]))[0, -1])
        second = torch.stack([token_probabilities(small(torch.tensor([[0, x]]))[0, -1]) for x in range(3)])
        guess = torch.stack([draft([0]), *(draft([0, x]) for x in range(3))])
    p = first[:, None] * second
    assert ((counts / 600 - p).abs() < 4 * (p * (1 - p) / 600).sqrt() + 1e-3).all()
    assert (torch.cat((first[None], second)) - guess).abs().max() > 0.2  # the draft says something else


# ---------------------------------------------------------------------------------------------------------------- batching

UNIT = StepCosts(step=1.0, step_row=0.0, prefill=0.0, prefill_token=0.0)


def test_schedules_by_hand():
    """Two slots; answers of 2, 5 and 3 tokens, the first token of each by its prefill, which is free here."""
    requests = [Request(0.0, 1, 2), Request(0.0, 1, 5), Request(0.0, 1, 3)]
    assert simulate(requests, UNIT, 2, continuous=False) == [(0.0, 1.0), (0.0, 4.0), (4.0, 6.0)]
    assert simulate(requests, UNIT, 2, continuous=True) == [(0.0, 1.0), (0.0, 4.0), (1.0, 3.0)]


def test_rows_that_are_done_still_cost_in_a_static_batch():
    costs = StepCosts(step=1.0, step_row=1.0, prefill=0.0, prefill_token=0.0)
    requests = [Request(0.0, 1, 2), Request(0.0, 1, 3)]
    assert [end for _, end in simulate(requests, costs, 2, continuous=False)] == [3.0, 6.0]
    assert [end for _, end in simulate(requests, costs, 2, continuous=True)] == [3.0, 5.0]


def test_a_request_waits_for_its_arrival_and_a_prefill_holds_others_up():
    costs = StepCosts(step=1.0, step_row=0.0, prefill=1.0, prefill_token=0.5)
    requests = [Request(2.0, 2, 3), Request(4.5, 4, 1)]
    assert simulate(requests, costs, 2) == [(2.0, 7.0), (3.5, 3.5)]
    assert simulate([Request(5.0, 2, 1)], costs, 1, continuous=False) == [(2.0, 2.0)]


def test_requests_are_drawn_the_same_everywhere():
    requests = draw_requests(500, a_second=2.0)
    assert requests == draw_requests(500, a_second=2.0) and requests != draw_requests(500, a_second=2.0, seed=1)
    assert sorted(r.arrival for r in requests) == [r.arrival for r in requests]
    assert 200 < requests[-1].arrival < 300 and 35 < sum(r.new for r in requests) / 500 < 45


# ------------------------------------------------------------------------------------------------------------------ engine


def test_the_engine_writes_what_the_plain_loop_writes_and_frees_its_pages(model):
    engine = Engine(model.double(), 12, block_size=4, slots=3, temperature=0.0)
    for layer in engine.cache.layers:
        layer.pages.keys, layer.pages.values = layer.pages.keys.double(), layer.pages.values.double()
    asked = [([1 + i % 9] * (1 + i), 3 + 2 * (i % 3)) for i in range(8)]
    answers = [engine.add(prompt, new)[0] for prompt, new in asked]
    engine.run()
    for answer, (prompt, new) in zip(answers, asked):
        assert answer.tokens == generate(model, torch.tensor([prompt]), new, temperature=0.0)[0].tolist()
    assert all(layer.pages.free_blocks == 12 for layer in engine.cache.layers)
    assert engine.passes < sum(new for _, new in asked)


def test_rollouts_share_their_prompt_and_know_their_log_probabilities():
    model = Transformer(CONFIG, draw()).eval()
    engine = Engine(model, 40, block_size=4, slots=4, generator=draw(1), temperature=0.9)
    rollouts = engine.add(list(range(10)), 7, n=4)
    engine.step()
    assert 40 - engine.cache.layers[0].pages.free_blocks == 2 + 4  # two full blocks, and the third copied for each
    engine.run()
    assert engine.passes == 7 and len({tuple(one.tokens) for one in rollouts}) > 1
    for one in rollouts:
        assert one.tokens[:10] == list(range(10)) and len(one.tokens) == 17
        with torch.no_grad():
            p = token_probabilities(model(torch.tensor([one.tokens[:-1]]))[0, 9:], temperature=0.9)
        expected = p.gather(1, torch.tensor(one.tokens[10:])[:, None])[:, 0].log()
        assert torch.allclose(torch.tensor(one.logprobs), expected, atol=1e-4)


def test_what_can_never_fit_is_refused_and_what_does_not_fit_now_waits(model):
    engine = Engine(Transformer(CONFIG, draw()).eval(), 4, block_size=4, slots=2, temperature=0.0)
    for prompt, new, n in (([1] * 10, 7, 1), ([1], 1, 3), ([1] * 6, 3, 2)):
        with pytest.raises(ValueError, match="do not fit: 2 slots, 4 blocks"):
            engine.add(prompt, new, n)
    first, second = engine.add([1, 2], 9)[0], engine.add([3, 4], 9)[0]
    engine.step()
    assert len(first.tokens) == 4 and len(second.tokens) == 2  # 3 + 3 blocks are more than 4
    engine.run()
    assert len(second.tokens) == 11


# ------------------------------------------------------------------------------------------------------------ quantisation


def test_eight_bits_are_those_of_a6():
    weight = torch.randn(6, 64, generator=draw(3))
    ours = symmetric(weight.unflatten(1, (-1, 16)), 8).flatten(1)
    assert torch.allclose(ours, dequantize_int8(*quantize_int8(weight, 16)), atol=1e-6)
    assert symmetric(torch.zeros(2, 4), 4).tolist() == [[0.0] * 4] * 2


def test_a_requantized_model_is_a_copy_whose_matrices_in_blocks_are_rounded():
    model = Transformer(CONFIG, draw()).eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    made = requantized(model, lambda groups: symmetric(groups, 4), 16)
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])
        changed = not torch.equal(made.state_dict()[name], value)
        assert changed == (".blocks." in name and value.ndim == 2), name
