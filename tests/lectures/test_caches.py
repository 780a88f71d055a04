"""The caches of appendix 09x beside a forward pass over the whole text, scales beside no scales, beams beside all texts."""

import doctest
from itertools import product

import pytest
import torch

from cs336lite import caches
from cs336lite.attention import Cache, MultiHeadAttention
from cs336lite.caches import Int8Cache, LatentAttention, WindowCache, beam_search, scaled_rounding, window_mask
from cs336lite.decoding import KVCache
from cs336lite.inference import generate, symmetric
from cs336lite.model import Transformer, TransformerConfig
from cs336lite.rope import RotaryPositionalEmbedding


def attention(kv_heads: int = 2) -> MultiHeadAttention:
    torch.manual_seed(0)
    return MultiHeadAttention(32, 4, kv_heads, rope=RotaryPositionalEmbedding(10_000.0, 8, 64).forward).requires_grad_(
        False
    )


@pytest.mark.parametrize("absorbed", [False, True])
def test_latent_attention_in_parts_is_the_plain_form_of_the_whole(absorbed):
    torch.manual_seed(0)
    rope = RotaryPositionalEmbedding(10_000.0, 4, 64)
    layer = LatentAttention(32, 4, 8, 12, 4, rope.forward).double().requires_grad_(False)
    x, cache = torch.randn(2, 11, 32, dtype=torch.float64), KVCache(16)
    whole = layer(x)
    assert torch.allclose(layer(x, absorbed=True), whole, atol=1e-6)
    parts = [layer(part, cache=cache, absorbed=absorbed) for part in x.split([6, 1, 1, 3], dim=1)]
    assert torch.allclose(torch.cat(parts, dim=1), whole, atol=1e-6)
    kept, turned = cache.update(torch.zeros(2, 1, 0, 12).double(), torch.zeros(2, 1, 0, 4).double())
    assert kept.shape == (2, 1, 11, 12) and turned.shape == (2, 1, 11, 4)


@pytest.mark.parametrize("prompt", [1, 3, 5, 9])
def test_a_window_gives_what_its_mask_gives(prompt):
    layer, x, window = attention(), torch.randn(2, 14, 32), 5
    cache = WindowCache(window)
    assert isinstance(cache, Cache)
    parts = [layer(x[:, :prompt], mask=window_mask(prompt, window), cache=cache)]
    for i in range(prompt, 14):
        parts.append(layer(x[:, i : i + 1], token_positions=torch.tensor([i]), cache=cache))
        assert cache.length == min(i + 1, window - 1)
    assert torch.allclose(torch.cat(parts, dim=1), layer(x, mask=window_mask(14, window)), atol=1e-6)


def test_a_window_takes_one_token_at_a_time_and_of_one_token_keeps_none():
    cache = WindowCache(3)
    k = torch.randn(1, 2, 4, 8)
    cache.update(k, k)
    with pytest.raises(ValueError, match="2 tokens at once"):
        cache.update(k[:, :, :2], k[:, :, :2])
    alone = WindowCache(1)
    alone.update(k, k)
    assert alone.length == 0 and alone.update(k[:, :, :1], k[:, :, :1])[0].shape[2] == 1


def test_an_integer_cache_is_close_small_and_bounded():
    layer, x = attention(), torch.randn(2, 9, 32)
    cache = Int8Cache(9)
    parts = [layer(part, cache=cache) for part in x.split([5, 1, 3], dim=1)]
    error = (torch.cat(parts, dim=1) - layer(x)).abs().max()
    assert 0 < error < 0.02 * layer(x).abs().max()
    assert cache.bytes == 2 * 2 * 2 * 9 * (8 + 4)
    with pytest.raises(ValueError, match="room for 9 tokens, and these would be 10"):
        cache.update(torch.zeros(2, 2, 1, 8), torch.zeros(2, 2, 1, 8))
    zeros = Int8Cache(2).update(torch.zeros(1, 1, 2, 4), torch.ones(1, 1, 2, 4))
    assert zeros[0].tolist() == torch.zeros(1, 1, 2, 4).tolist() and torch.allclose(zeros[1], torch.ones(1, 1, 2, 4))


def test_scales_that_know_the_inputs_help_and_alpha_0_is_plain_rounding():
    drawn = torch.Generator().manual_seed(0)
    weight, inputs = torch.randn(64, 64, generator=drawn), torch.randn(200, 64, generator=drawn)
    inputs[:, :3] *= 20

    def rule(rows):
        return symmetric(rows.unflatten(1, (-1, 32)), 4).flatten(1)

    errors = [
        ((scaled_rounding(weight, inputs, rule, alpha) - weight) @ inputs.T).square().mean() for alpha in (0.0, 0.3)
    ]
    assert torch.allclose(scaled_rounding(weight, inputs, rule, 0.0), rule(weight), atol=1e-6)
    assert errors[1] < 0.7 * errors[0]


WRITER = TransformerConfig(
    vocab_size=3, context_length=8, d_model=16, num_layers=1, num_heads=2, d_ff=16, positions="rope", init_std=1.0
)


def writer(seed: int) -> Transformer:
    return Transformer(WRITER, torch.Generator().manual_seed(seed)).eval().requires_grad_(False)


def every_text(model: Transformer, prompt: list[int], new: int, end: int | None) -> dict[tuple[int, ...], float]:
    """Each text that can be written, cut behind ``end`` and filled with it, and its log-probability."""
    found = {}
    for added in product(range(3), repeat=new):
        stop = new if end is None or end not in added else added.index(end) + 1
        if any(token != end for token in added[stop:]):
            continue
        logp = model(torch.tensor([[*prompt, *added]]))[0].log_softmax(dim=-1)
        found[*prompt, *added] = sum(logp[len(prompt) - 1 + i, added[i]].item() for i in range(stop))
    return found


@pytest.mark.parametrize("end", [None, 2])
@pytest.mark.parametrize("seed", range(3))
def test_a_beam_that_is_wide_enough_finds_what_a_search_through_all_texts_finds(seed, end):
    model, prompt = writer(seed), [0, 1]
    texts, scores = beam_search(lambda texts: model(texts)[:, -1], prompt, 4, 27, end=end)
    every = sorted(every_text(model, prompt, 4, end).items(), key=lambda one: -one[1])[:27]
    assert scores.tolist() == pytest.approx([logp for _, logp in every], abs=1e-4)
    assert {tuple(text) for text in texts[:8].tolist()} == {text for text, _ in every[:8]}


@pytest.mark.parametrize("seed", range(3))
def test_a_beam_of_one_is_greedy(seed):
    model = writer(seed)
    texts, _ = beam_search(lambda texts: model(texts)[:, -1], [0, 1], 5, 1)
    assert texts.tolist() == generate(model, torch.tensor([[0, 1]]), 5, temperature=0).tolist()


def test_a_beam_of_two_finds_what_greedy_misses():
    after = torch.tensor([[0.6, 0.4, 0.0], [0.4, 0.3, 0.3], [0.9, 0.05, 0.05]])  # at the start, after 0, after 1

    def next_logits(texts):
        return (after[:1] if texts.shape[1] == 1 else after[1 + texts[:, 1]]).log()

    for width, best, p in ((1, [2, 0, 0], 0.24), (2, [2, 1, 0], 0.36)):
        texts, scores = beam_search(next_logits, [2], 2, width)
        assert texts[0].tolist() == best and scores[0].exp().item() == pytest.approx(p)
    with pytest.raises(ValueError, match="width is 0"):
        beam_search(next_logits, [2], 2, 0)


def test_the_examples_in_the_module_run():
    assert doctest.testmod(caches).attempted >= 2 and doctest.testmod(caches).failed == 0
