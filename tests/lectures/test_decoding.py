"""The reference of a6 beside what it must agree with: the model's own cache and full forward, and its limits."""

import pytest
import torch

from cs336lite.attention import Cache, MultiHeadAttention
from cs336lite.decoding import (
    KVCache,
    PagedCache,
    dequantize_int8,
    quantize_int8,
    sample,
    speculative_step,
    token_probabilities,
)
from cs336lite.rope import RotaryPositionalEmbedding


def attention(kv_heads: int = 2) -> MultiHeadAttention:
    torch.manual_seed(0)
    return MultiHeadAttention(16, 4, kv_heads, rope=RotaryPositionalEmbedding(10_000.0, 4, 32))


@torch.no_grad()
@pytest.mark.parametrize("kv_heads", [1, 2, 4])
def test_attention_with_the_cache_is_a_full_forward(kv_heads):
    layer, x = attention(kv_heads), torch.randn(2, 9, 16)
    cache = KVCache(12)
    assert isinstance(cache, Cache)
    parts = [layer(part, cache=cache) for part in x.split([5, 1, 1, 2], dim=1)]
    assert torch.allclose(torch.cat(parts, dim=1), layer(x), atol=1e-6)


@torch.no_grad()
def test_texts_padded_on_the_left_are_as_alone():
    layer, x, padding = attention(), torch.randn(3, 7, 16), torch.tensor([0, 2, 3])
    cache, parts = KVCache(8, padding=padding), []
    for part in x.split([4, 1, 2], dim=1):
        positions, mask = cache.positions(part.shape[1]), cache.mask(part.shape[1])
        parts.append(layer(part, mask=mask, token_positions=positions, cache=cache))
    together = torch.cat(parts, dim=1)
    for row, begin in enumerate(padding.tolist()):
        alone = layer(x[row : row + 1, begin:])
        assert torch.allclose(together[row, begin:], alone[0], atol=1e-6)


def test_a_cache_refuses_another_batch_and_another_dtype():
    cache = KVCache(8)
    cache.update(torch.zeros(1, 2, 3, 4), torch.zeros(1, 2, 3, 4))
    for other in (torch.zeros(2, 2, 1, 4), torch.zeros(1, 2, 1, 4, dtype=torch.float64)):
        with pytest.raises(ValueError, match="another"):
            cache.update(other, other)
    assert cache.length == 3


def test_drawing_with_a_grid_gives_the_probabilities_back():
    p = token_probabilities(torch.randn(1, 5, generator=torch.Generator().manual_seed(1)), top_p=0.9)
    grid = (torch.arange(100_000) + 0.5) / 100_000
    counts = torch.bincount(sample(p.expand(100_000, 5), grid), minlength=5) / 100_000
    assert torch.allclose(counts, p[0], atol=2e-5)


def test_choices_may_be_whole_numbers():
    logits = torch.randn(2, 5, generator=torch.Generator().manual_seed(1))
    whole = token_probabilities(logits, temperature=1, top_p=1, min_p=0)
    assert torch.equal(whole, token_probabilities(logits, temperature=1.0, top_p=1.0, min_p=0.0))
    assert torch.allclose(whole, logits.softmax(dim=-1))


def test_equal_target_and_draft_accept_everything():
    p = torch.rand(4, 6, generator=torch.Generator().manual_seed(1)).softmax(-1)
    draft = torch.tensor([3, 0, 5])
    tokens = speculative_step(draft, p[:3], p, torch.tensor([0.99, 0.99, 0.99, 0.5]))
    assert tokens[:3].tolist() == draft.tolist() and len(tokens) == 4


def test_a_paged_cache_ends_with_all_blocks_free():
    cache, rows = PagedCache(20, 4, 1, 2), torch.randn(7, 1, 2)
    first = cache.new()
    cache.append(first, rows, rows)
    copies = [cache.fork(first) for _ in range(3)]
    for seq in copies:
        cache.append(seq, rows, rows)
    assert cache.free_blocks == 20 - (1 + 1 + 3 * 3)
    for seq in (first, *copies):
        cache.free(seq)
    assert cache.free_blocks == 20


@pytest.mark.parametrize("size", [1, 8, 32])
def test_no_error_is_larger_than_half_a_scale(size):
    weight = torch.randn(16, 32, generator=torch.Generator().manual_seed(0))
    q, scales = quantize_int8(weight, size)
    error = (dequantize_int8(q, scales) - weight).abs()
    assert bool((error <= 0.5001 * scales.repeat_interleave(size, dim=1)).all())
