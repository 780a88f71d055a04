"""The model of lecture 03: every switch, its cost, its masks, its cache, and what it says to bad input."""

import copy
import pickle
from dataclasses import dataclass

import pytest
import torch
import torch.nn.functional as F
from helpers import spoken
from torch import nn

from cs336lite import model
from cs336lite.accounting import backward_flops, counted_flops, forward_flops, kv_cache_bytes, parameters
from cs336lite.attention import scaled_dot_product_attention
from cs336lite.layers import ACTIVATIONS, GATES, LayerNorm, RMSNorm
from cs336lite.model import PLACEMENTS, POSITIONS, KVCache, Transformer, TransformerConfig, generate, next_tokens, sdpa
from cs336lite.rope import RotaryPositionalEmbedding
from cs336lite.slots import Attend, LeavesLoss, TakesPadding

TINY = TransformerConfig(vocab_size=40, context_length=24, d_model=32, num_layers=3, num_heads=4, d_ff=48)


def with_positions(name):
    """A short table of distances, where the scheme has one."""
    return TINY.replace(positions=name, max_distance=20 if name == "t5" else 5)


def slow_rope(config):
    """What a slot makes in place of RoPE: all pairs turn slowly."""
    return RotaryPositionalEmbedding(1e6, config.head_size, config.context_length)


VARIANTS = {
    **{f"positions {p}": with_positions(p) for p in POSITIONS},
    **{f"norm {p}": TINY.replace(norm_placement=p) for p in PLACEMENTS},
    **{f"activation {a}": TINY.replace(activation=a) for a in ACTIVATIONS | GATES},
    "layernorm with biases": TINY.replace(norm="layernorm", bias=True, activation="gelu", positions="learned"),
    "rmsnorm with biases": TINY.replace(bias=True),
    "layernorm without biases": TINY.replace(norm="layernorm"),
    "biases on queries, keys and values": TINY.replace(qkv_bias=True),
    "parallel": TINY.replace(parallel=True, num_kv_heads=1, tied_embeddings=True),
    "grouped": TINY.replace(num_kv_heads=2),
    "wide heads": TINY.replace(d_head=12),
    "half a head turned": TINY.replace(rotary_dim=4),
    "embedding norm": TINY.replace(embedding_norm=True, positions="alibi"),
    "sdpa": TINY.replace(attend="sdpa"),
    "prefix": TINY.replace(mask="prefix"),
    "glm": TINY.replace(mask="prefix", positions="glm"),
    "qk norm": TINY.replace(qk_norm=RMSNorm),
    "qk norm across heads": TINY.replace(qk_norm=RMSNorm, qk_norm_across_heads=True, num_kv_heads=2, norm_placement="branch"),
    "parallel, two norms": TINY.replace(parallel=True, parallel_norms=2, norm="layernorm", bias=True),
    "capped logits": TINY.replace(output_cap=0.5),
    "another rope": TINY.replace(rope=slow_rope),
    "encoder and decoder, 2017": TINY.replace(
        num_encoder_layers=2, norm="layernorm", norm_placement="post", bias=True, activation="relu", positions="sinusoidal"
    ),
    "encoder and decoder, t5": TINY.replace(num_encoder_layers=2, positions="t5", tied_embeddings=True, d_head=12),
    "encoder and decoder, double norm": TINY.replace(num_encoder_layers=1, norm_placement="double"),
}  # fmt: skip


pytestmark = pytest.mark.usefixtures("one_thread")


def make(config, seed=0):
    return Transformer(config, torch.Generator().manual_seed(seed))


def tokens(batch=2, seq=10, seed=0, vocab=40):
    return torch.randint(vocab, (batch, seq), generator=torch.Generator().manual_seed(seed))


def given(config, batch=2, seq=7):
    return {"source": tokens(batch, seq, seed=5)} if config.num_encoder_layers else {}


@pytest.fixture(params=VARIANTS.values(), ids=VARIANTS)
def config(request):
    return request.param


def test_parameters_are_those_of_the_accounting(config):
    assert parameters(make(config)) == parameters(config.shape)


def test_flops_are_counted_exactly(config):
    if config.attend == "sdpa":
        pytest.skip("the counter does not know the fused kernel of the CPU")
    model, read = make(config), 7 if config.num_encoder_layers else 0
    there, back = counted_flops(lambda: model(tokens(), **given(config)))
    if config.positions == "shaw":  # its products with the tables are no part of the accounting
        assert there > forward_flops(config.shape, 2, 10).total
        return
    assert there == forward_flops(config.shape, 2, 10, source_seq=read).total
    assert back == backward_flops(config.shape, 2, 10, source_seq=read).total


def test_nothing_after_a_token_changes_its_logits_and_everything_before_may(config):
    model, x = make(config).eval(), tokens()
    changed = x.clone()
    changed[:, 6] = (changed[:, 6] + 1) % 40
    before, after = model(x, **given(config)), model(changed, **given(config))
    torch.testing.assert_close(before[:, :6], after[:, :6])
    assert (before[:, 6:] - after[:, 6:]).abs().amax(dim=-1).min() > 0


def test_every_parameter_gets_a_gradient(config):
    model = make(config)
    model.loss(tokens(), tokens(seed=1), **given(config)).backward()
    without = [name for name, p in model.named_parameters() if p.grad is None]
    assert not without
    zero = [name for name, p in model.named_parameters() if not p.grad.any()]
    # adding the same number to all scores of a query changes nothing
    assert all(name.endswith("k_proj.bias") for name in zero), zero


def test_with_a_cache_the_logits_are_the_same(config):
    model, x = make(config).eval(), tokens(seq=12)
    context = {"context": model.encode(given(config)["source"])} if config.num_encoder_layers else {}
    whole, cache = model(x, **context), model.new_cache()
    parts = [model(part, cache=cache, **context) for part in x.split([5, 1, 1, 4, 1], dim=1)]
    torch.testing.assert_close(torch.cat(parts, dim=1), whole, atol=2e-5, rtol=1e-4)
    read = {"source_seq": context["context"].shape[1]} if context else {}  # the source's keys and values are kept, too
    full = kv_cache_bytes(config.shape, batch=2, seq=config.context_length, itemsize=4, **read)
    assert cache.bytes == full and cache.length == 12


@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_changes_nothing_for_the_other_tokens(config, side):
    model, x = make(config).eval(), tokens(batch=1, seq=6)
    if config.positions == "glm" and side == "left":
        pytest.skip("where a token stands is given in two rows there, see the test of GLM")
    context = {"context": model.encode(given(config, 1)["source"])} if config.num_encoder_layers else {}
    alone, extra = model(x, **context), tokens(batch=1, seq=3, seed=9)
    pads = torch.zeros(1, 3, dtype=torch.bool), torch.ones(1, 6, dtype=torch.bool)
    if side == "right":
        padded, real = torch.cat((x, extra), dim=1), torch.cat(pads[::-1], dim=1)
        found = model(padded, padding=real, **context)[:, :6]
    else:
        padded, real = torch.cat((extra, x), dim=1), torch.cat(pads, dim=1)
        places = (real.cumsum(-1) - 1).clamp(min=0)
        found = model(padded, padding=real, token_positions=places, **context)[:, 3:]
    torch.testing.assert_close(found, alone, atol=2e-5, rtol=1e-4)


def test_a_padded_source_gives_what_the_source_alone_gives():
    for name in ("encoder and decoder, 2017", "encoder and decoder, t5"):
        model, x, source = make(VARIANTS[name]).eval(), tokens(), tokens(seq=5, seed=5)
        longer = torch.cat((source, tokens(seq=3, seed=6)), dim=1)
        real = (torch.arange(8) < 5).expand(2, 8)
        found = model(x, source=longer, source_padding=real)
        torch.testing.assert_close(found, model(x, source=source), atol=2e-5, rtol=1e-4)
        assert not torch.allclose(found, model(x, source=longer), atol=1e-4)


def test_generation_with_and_without_a_cache(config):
    model = make(config, seed=1).eval()
    with torch.no_grad():  # a fresh model has nearly equal logits
        model.output.weight.mul_(20)
    context = {"context": model.encode(given(config)["source"])} if config.num_encoder_layers else {}
    for choice in ({"temperature": 0}, {"top_k": 5, "temperature": 0.7}, {"top_p": 0.8}):
        found = [
            generate(
                model, tokens(seq=4), 15, use_cache=cached, given=context,
                generator=torch.Generator().manual_seed(3), **choice,
            )
            for cached in (True, False)
        ]  # fmt: skip
        assert found[0].shape == (2, 19) and torch.equal(*found)
        assert torch.equal(found[0][:, :4], tokens(seq=4))


@pytest.mark.parametrize("positions", [p for p in POSITIONS if p not in ("shaw",)])
def test_prompts_of_different_lengths_go_on_as_they_would_alone(positions):
    model = make(with_positions(positions), seed=1).eval()
    short, long = tokens(1, 3), tokens(1, 6, seed=2)
    alone = [generate(model, x, 8, temperature=0)[:, x.shape[1] :] for x in (short, long)]
    batch = torch.cat((torch.cat((torch.zeros(1, 3, dtype=torch.int64), short), dim=1), long))
    real = torch.tensor([[False] * 3 + [True] * 3, [True] * 6])
    for use_cache in (True, False):
        together = generate(model, batch, 8, temperature=0, padding=real, use_cache=use_cache)[:, 6:]
        assert torch.equal(together, torch.cat(alone))


@pytest.mark.parametrize("name", [name for name, config in VARIANTS.items() if config.num_encoder_layers])
def test_the_source_is_read_once(name):
    model, sources = make(VARIANTS[name]).eval(), [tokens(seq=7, seed=5), tokens(seq=7, seed=6)]
    real = torch.ones(sources[0].shape, dtype=torch.bool)
    real[0, 5:] = False
    seen = []
    model.encoder.register_forward_hook(lambda *_: seen.append("encoder"))
    for block in model.decoder.blocks:
        for projection in (block.cross_attention.k_proj, block.cross_attention.v_proj):
            projection.register_forward_pre_hook(lambda _, read: seen.append(read[0].shape[1]))
    given = {"source": sources[0], "source_padding": real}
    found = generate(model, tokens(seq=4), 6, temperature=0, given=given)
    assert seen.count("encoder") == 1 and seen.count(7) == 2 * len(model.decoder.blocks)
    assert set(given) == {"source", "source_padding"}
    assert torch.equal(found, generate(model, tokens(seq=4), 6, temperature=0, given=given, use_cache=False))
    cache, x = model.new_cache(), tokens(seq=4)
    with torch.no_grad():  # another source with a cache that holds keys of the first one
        model(x[:, :2], source=sources[0], cache=cache)
        first = model(x[:, 2:], source=sources[1], cache=cache)
        context = model.encode(sources[1])
        again = model.new_cache()
        model(x[:, :2], source=sources[0], cache=again)
        torch.testing.assert_close(model(x[:, 2:], context=context, cache=again), first)
        assert not torch.allclose(
            model(x, source=sources[0])[:, 2:], first, rtol=0, atol=1e-6
        )  # a fresh model hardly looks at it


def test_generation_stops_row_by_row():
    model, x = make(TINY, seed=1), tokens(seq=4)
    free = generate(model, x, 15, temperature=0)
    stop = int(free[0, 6])
    held = generate(model, x, 15, temperature=0, stop=stop)
    first = [int((row[4:] == stop).nonzero()[0]) + 4 for row in held if (row[4:] == stop).any()]
    assert first and held.shape[1] <= 19
    for row, unheld in zip(held, free):
        ends = (row[4:] == stop).nonzero()
        end = int(ends[0]) + 4 if len(ends) else len(row) - 1
        assert torch.equal(row[: end + 1], unheld[: end + 1]) and (row[end + 1 :] == stop).all()
    assert model.training  # as it was


def test_sampling_follows_the_distribution_and_its_bounds():
    logits = torch.tensor([0.5, 0.3, 0.15, 0.05]).log().expand(20_000, 4)

    def draw(**choice):
        drawn = next_tokens(logits, generator=torch.Generator().manual_seed(0), **choice)
        return torch.bincount(drawn, minlength=4) / len(logits)

    assert (draw() - torch.tensor([0.5, 0.3, 0.15, 0.05])).abs().max() < 0.02
    assert (draw(top_k=2) - torch.tensor([0.625, 0.375, 0, 0])).abs().max() < 0.02
    assert (draw(top_p=0.79) - torch.tensor([0.625, 0.375, 0, 0])).abs().max() < 0.02
    assert draw(top_p=0.81)[2] > 0.1 and draw(top_p=0.81)[3] == 0
    assert draw(top_p=1e-6)[0] == 1
    cold = torch.tensor([0.5, 0.3, 0.15, 0.05]) ** 2
    assert (draw(temperature=0.5) - cold / cold.sum()).abs().max() < 0.02
    for bad in ({"temperature": -1}, {"top_k": 0}, {"top_p": 0}, {"top_p": 1.5}):
        with pytest.raises(ValueError, match="must hold"):
            next_tokens(logits[:1], **bad)


def test_a_prefix_is_seen_by_all_and_sees_itself():
    model, x = make(VARIANTS["prefix"]).eval(), tokens()
    changed = x.clone()
    changed[:, 3] = (changed[:, 3] + 1) % 40
    prefix = torch.tensor([5, 2])
    moved = (model(x, prefix=prefix) - model(changed, prefix=prefix)).abs().amax(-1) > 1e-7
    assert moved[0].all() and moved[1].tolist() == [False] * 3 + [True] * 7
    torch.testing.assert_close(model(x), make(TINY).eval()(x))  # no prefix: causal
    with_cache = model.new_cache()
    first = model(x[:, :6], prefix=prefix, cache=with_cache)
    rest = model(x[:, 6:], prefix=prefix, cache=with_cache)
    torch.testing.assert_close(torch.cat((first, rest), dim=1), model(x, prefix=prefix), atol=2e-5, rtol=1e-4)


def test_sdpa_gives_what_the_plain_formula_gives():
    plain, fast = make(TINY).eval(), make(TINY.replace(attend="sdpa")).eval()
    x, real = tokens(), torch.arange(10) < torch.tensor([[10], [7]])
    torch.testing.assert_close(fast(x), plain(x), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(fast(x, padding=real), plain(x, padding=real), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("num_kv_heads", [1, 2, 4])
def test_shared_heads_reach_the_fused_kernel_without_copies(monkeypatch, num_kv_heads):
    config, seen, kernel = TINY.replace(num_kv_heads=num_kv_heads), [], F.scaled_dot_product_attention

    def counted(Q, K, V, *rest, **options):
        seen.append((Q.shape[1], K.shape[1], V.shape[1]))
        return kernel(Q, K, V, *rest, **options)

    monkeypatch.setattr(F, "scaled_dot_product_attention", counted)
    plain, fast, x = make(config).eval(), make(config.replace(attend="sdpa")).eval(), tokens()
    cache = fast.new_cache()
    cached = torch.cat([fast(part, cache=cache) for part in x.split([7, 1, 2], dim=1)], dim=1)
    for logits in (fast(x), cached):
        torch.testing.assert_close(logits, plain(x), atol=1e-5, rtol=1e-4)
    assert set(seen) == {(4, num_kv_heads, num_kv_heads)} and len(seen) == 4 * config.num_layers
    Q, K = torch.randn(2, 4, 6, 8), torch.randn(2, num_kv_heads, 6, 8)
    repeated = K.repeat_interleave(4 // num_kv_heads, dim=1)  # what a module that copies heads hands over
    torch.testing.assert_close(sdpa(Q, repeated, repeated), sdpa(Q, K, K))


def test_a_block_has_its_norms_where_the_placement_says():
    x = torch.randn(2, 5, TINY.d_model, generator=torch.Generator().manual_seed(0))
    for placement in PLACEMENTS:
        block = make(TINY.replace(norm_placement=placement)).decoder.blocks[0]
        for norm in block.norms.values():  # so that each norm can be told from the others
            nn.init.normal_(norm.weight, 1.0, 0.5, generator=torch.Generator().manual_seed(1))
        y, norms = x, dict(block.norms)
        for name in ("attention", "feed_forward"):
            f, before, after = getattr(block, name), norms.get(name), norms.get(f"{name}_after")
            y = {
                "pre": lambda y, f=f, n=before: y + f(n(y)),
                "post": lambda y, f=f, n=before: n(y + f(y)),
                "double": lambda y, f=f, n=before, m=after: y + m(f(n(y))),
                "branch": lambda y, f=f, m=after: y + m(f(y)),
            }[placement](y)
        torch.testing.assert_close(block(x), y)
        assert len(block.norms) == (4 if placement == "double" else 2)


def test_weights_begin_alike_for_the_same_generator_and_small():
    first, second, third = make(TINY), make(TINY), make(TINY, seed=1)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters()))
    assert not torch.equal(first.embedding.weight, third.embedding.weight)
    block = first.decoder.blocks[0]
    assert abs(block.attention.q_proj.weight.std() / 0.02 - 1) < 0.1
    assert abs(block.feed_forward.down.weight.std() / (0.02 / 6**0.5) - 1) < 0.1
    loss = first.loss(tokens(), tokens(seed=1))
    assert abs(loss - torch.log(torch.tensor(40.0))) < 0.05


def test_a_model_can_be_copied_pickled_and_loaded(config):
    model = make(config).eval()
    x, more = tokens(), given(config)
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        with torch.no_grad():
            for parameter in twin.parameters():
                parameter.mul_(1.5)
        twin.load_state_dict(model.state_dict())
        torch.testing.assert_close(twin(x, **more), model(x, **more))


class Shifted(LeavesLoss):
    def __init__(self, config):
        super().__init__()
        self.linear = nn.Linear(config.d_model, config.d_model)

    def forward(self, x):
        self.auxiliary_loss = self.linear.weight.square().sum()
        return self.linear(x)


@dataclass(frozen=True)
class Warmer(Attend):
    factor: float
    masks_causally = True

    def __call__(self, Q, K, V, mask=None):
        causal = torch.ones(Q.shape[-2], K.shape[-2], dtype=torch.bool).tril(K.shape[-2] - Q.shape[-2])
        return scaled_dot_product_attention(Q * self.factor, K, V, causal if mask is None else causal & mask)


def count_zeros(hidden, weight, targets):
    return (hidden @ weight.T)[targets == 0].square().sum()


def test_slots_take_what_the_configuration_names():
    x = tokens()
    config = TINY.replace(
        feed_forward=Shifted, norm=nn.RMSNorm, qk_norm=LayerNorm, attend=Warmer(1.0), loss=count_zeros
    )
    model = make(config)
    assert isinstance(model.decoder.blocks[1].feed_forward, Shifted) and isinstance(model.decoder.norm, nn.RMSNorm)
    assert isinstance(model.decoder.blocks[0].attention.q_norm, LayerNorm)
    total = model.loss(x, torch.zeros_like(x))
    extra = sum(block.feed_forward.linear.weight.square().sum() for block in model.decoder.blocks)
    torch.testing.assert_close(total - extra, model(x).square().sum(), rtol=1e-4, atol=1e-4)
    assert hash(config) == hash(config.replace()) and config != config.replace(attend=Warmer(2.0))
    plain = make(TINY).eval()
    torch.testing.assert_close(make(TINY.replace(attend=Warmer(1.0))).eval()(x), plain(x), atol=1e-5, rtol=1e-4)
    assert not torch.allclose(make(TINY.replace(attend=Warmer(3.0))).eval()(x), plain(x), atol=1e-5)


def test_ignored_targets_do_not_count():
    model, x, y = make(TINY), tokens(), tokens(seed=1)
    masked = y.clone()
    masked[:, 5:] = -100
    torch.testing.assert_close(model.loss(x, masked), model.loss(x[:, :5], y[:, :5]))


def test_dropout_is_on_in_training_only():
    model, x = make(TINY.replace(dropout=0.3)), tokens()
    assert not torch.equal(model(x), model(x))
    model.eval()
    assert torch.equal(model(x), model(x))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"positions": "rotary"}, "positions is 'rotary'"),
        ({"norm_placement": "both"}, "pre, post, double"),
        ({"mask": "triangular"}, "causal, prefix, full"),
        ({"norm": "batchnorm"}, "'rmsnorm', 'layernorm'"),
        ({"activation": "swish"}, "activation is 'swish'"),
        ({"attend": "flash"}, "attend is 'flash'"),
        ({"attend": "sdpa", "positions": "alibi"}, "work inside attention"),
        ({"parallel": True, "norm_placement": "post"}, "parallel block has one norm"),
        ({"dropout": 1.0}, "dropout is 1.0"),
        ({"num_heads": 5}, "not a multiple of num_heads 5"),
        ({"num_kv_heads": 3}, "cannot share 3"),
        ({"d_ff": 0}, "at least 1"),
    ],
)
def test_a_configuration_that_cannot_be_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        make(TINY.replace(**changes))


def test_what_does_not_fit_the_model_is_said():
    model = make(TINY)
    with pytest.raises(ValueError, match="no encoder"):
        model(tokens(), source=tokens())
    with pytest.raises(ValueError, match="give source"):
        make(TINY.replace(num_encoder_layers=1))(tokens())
    with pytest.raises(ValueError, match="context_length is 24"):
        generate(model, tokens(), 15)
    learned = make(TINY.replace(positions="learned"))
    with pytest.raises(ValueError, match="run from 0 to 29, and this model has learned those from 0 to 23"):
        learned(tokens(seq=30))
    with pytest.raises(ValueError, match="room for 8 tokens, and these would be 10"):
        model(tokens(), cache=KVCache(3, 8))


def test_transformer_xl_reads_a_text_in_segments_with_a_memory():
    """A cache whose gradient is cut is the recurrence of Transformer-XL (arXiv 1901.02860, section 3.2)."""
    model, x = make(with_positions("transformer_xl")).eval(), tokens(seq=16)
    memory = model.new_cache()
    with torch.no_grad():
        model(x[:, :8], cache=memory)
    torch.testing.assert_close(model(x[:, 8:], cache=memory), model(x)[:, 8:], atol=2e-5, rtol=1e-4)


def test_a_model_on_the_meta_device_takes_no_memory():
    with torch.device("meta"):
        model = Transformer(TINY.replace(d_model=65_536, num_heads=512, d_ff=2**18, num_layers=2))
    assert parameters(model) > 1e11 and model.embedding.weight.is_meta


class Told(TakesPadding):
    def __init__(self, config):
        super().__init__()
        self.seen = []

    def forward(self, x, padding):
        self.seen.append(padding)
        assert padding is None or (padding.shape == x.shape[:2] and padding.dtype == torch.bool)
        return x


@pytest.mark.parametrize("changes", [{}, {"parallel": True}, {"norm_placement": "post"}, {"num_encoder_layers": 1}])
def test_a_feed_forward_that_takes_padding_is_told_which_of_its_tokens_are_real(changes):
    model, x = make(TINY.replace(num_layers=1, feed_forward=Told, **changes)).eval(), tokens()
    real, told = torch.arange(10) >= torch.tensor([[3], [0]]), model.decoder.blocks[0].feed_forward.seen
    read = {"source": x, "source_padding": real} if model.encoder else {}
    model(x, **read)
    model.loss(x, x, padding=real, **read)
    cache = model.new_cache()
    for part, so_far in ((x[:, :6], real[:, :6]), (x[:, 6:], real)):
        model(part, padding=so_far, cache=cache, **read)
    want = [None, real, real[:, :6], real[:, 6:]]
    assert all(a is b or torch.equal(a, b) for a, b in zip(told, want, strict=True))
    assert not read or all(torch.equal(seen, real) for seen in model.encoder.blocks[0].feed_forward.seen)


SETUP = """
import torch
from cs336lite.model import KVCache, Transformer, TransformerConfig, generate, next_tokens
torch.set_num_threads(1)
sizes = dict(vocab_size=40, context_length=24, d_model=16, num_layers=2, num_heads=2, d_ff=8)
config = TransformerConfig(**sizes)
def make(**changes): return Transformer(config.replace(**changes), torch.Generator().manual_seed(0)).eval()
model, x, inf, nan = make(), torch.arange(15).view(3, 5), float("inf"), float("nan")
real = torch.arange(5) >= torch.tensor([[0], [2], [3]])
def write(tokens=x, number=3, **choice): return generate(model, tokens, number, **{"temperature": 0} | choice).tolist()
def again(model, more, first=x):
    cache = model.new_cache()
    model(first, cache=cache)
    return model(more, cache=cache)
"""
TOLD = {
    "write(padding=real.flip(1))": "ValueError: row 1 has padding after a token",
    "write(padding=torch.tensor([1, 0, 1, 1, 1]).expand(3, 5))": "ValueError: row 0 has padding after a token",
    "write(padding=torch.zeros(3, 5, dtype=torch.bool))": "ValueError: row 0 has padding after a token, or nothing else",
    "write(x[:, :1], padding=torch.zeros(3, 1))": "ValueError: row 0 has padding after a token, or nothing else",
    "write(padding=real.int()) == write(padding=real.float()) == write(padding=real)": "True",
    "model(x, padding=real.long()).equal(model(x, padding=real))": "True",
    "write(padding=torch.where(real, 0.0, -inf))": "ValueError: padding holds other numbers than 1",
    "write(padding=real[:2])": "ValueError: padding has the shape (2, 5), and here (batch, k) is (3, 5)",
    "write(x[:, :0])": "ValueError: the prompt is empty",
    "write(x[0])": "ValueError: tokens have the shape (5,): give (batch, seq), a single text as tokens[None]",
    "write(x.float())": "TypeError: tokens are torch.float32",
    "write(x + 30)": "ValueError: token 40 is not in the vocabulary, whose ids are 0 to 39",
    "write(x - 1)": "ValueError: token -1 is not in the vocabulary",
    "write(x[:0])": "[]",
    "generate(model, x[:0], 3).shape": "torch.Size([0, 8])",
    "write(number=-1)": "ValueError: max_new_tokens is -1",
    "write(number=0) == x.tolist()": "True",
    "write(stop=[99])": "ValueError: token 99 is not in the vocabulary",
    "write(stop=1.5)": "TypeError: stop is 1.5: give one id, or several",
    "write(temperature=nan)": "ValueError: 0 <= temperature nan < inf",
    "write(temperature=inf)": "ValueError: 0 <= temperature inf < inf",
    "write(temperature=1, top_k=2.5)": "ValueError: 0 <= temperature 1 < inf, whole top_k 2.5",
    **{
        f"next_tokens(torch.tensor([[0.0, 1.0], [{bad}, {bad}]]), temperature={t})": "ValueError: the greatest logit of row 1"
        for bad in ("nan", "inf", "-inf") for t in (0, 1)
    },
    "again(model, x[:1])": "ValueError: the cache holds (3, 2, 8, torch.float32",
    "again(model, x[:1], x[:0])": "ValueError: the cache holds (0, 2, 8, torch.float32",
    "make()(x, cache=KVCache(1, 8))": "ValueError: the cache has 1 layers, and the model 2",
    "model.new_cache(0).layers[0].max_length": "0",
    "model.new_cache(-1)": "ValueError: a cache cannot have room for -1 tokens",
    "model(x, mask=torch.zeros(5, 5))": "TypeError: mask is torch.float32",
    "model(x[:1], mask=torch.ones(3, 1, 5, 5, dtype=torch.bool))": "ValueError: mask has the shape (3, 1, 5, 5)",
    "make(mask='prefix')(x[:1], prefix=torch.tensor([1, 2, 3]))": "ValueError: prefix has the shape (3,)",
    "model(x, prefix=torch.tensor([1, 2, 3]))": "ValueError: a prefix is given, and the configuration's mask is 'causal'",
    "make(positions='learned')(x[:1], token_positions=real.long())": "ValueError: token_positions have the shape (3, 5)",
    "make(positions='alibi')(x, token_positions=torch.tensor([1]))": "ValueError: token_positions have the shape (1,)",
    "make(positions='glm')(x, token_positions=real.long())": "ValueError: token_positions have the shape (3, 5)",
    "make(positions='learned')(x, token_positions=torch.arange(5) - 1)": "ValueError: positions run from -1 to 3",
    "make(num_encoder_layers=1)(x[:1], source=x)": "ValueError: context has the shape (3, 5, 16)",
    "model(x, context=torch.zeros(3, 5, 16))": "ValueError: this model has no encoder",
    "model.loss(x, x.T)": "ValueError: targets have the shape (5, 3), and tokens (3, 5)",
    "model.loss(x, x.float())": "TypeError: targets are torch.float32",
    "model.loss(x.int(), x.int()).equal(model.loss(x, x))": "True",
    "model.loss(x, torch.full_like(x, -100)).isnan()": "tensor(True)",
    **{
        f"config.replace({name}={bad})": f"TypeError: {name} is {bad}, and must be"
        for name, bad in (
            ("d_model", "64.0"), ("num_heads", "True"), ("num_layers", "'2'"), ("dropout", "None"), ("bias", "1"),
            ("num_kv_heads", "2.0"), ("rope_theta", "'1e4'"), ("qk_norm", "'rmsnorm'"),
        )
    },
    **{
        f"config.replace({name}={bad})": f"ValueError: {name} is {bad}, and must be"
        for name, bad in (
            ("num_layers", "0"), ("d_head", "0"), ("num_encoder_layers", "-1"), ("rope_theta", "0"), ("rope_theta", "nan"),
            ("rotary_dim", "3"), ("rotary_dim", "10"), ("max_distance", "0"), ("norm_eps", "-1e-05"), ("init_std", "inf"),
            ("dropout", "-0.1"), ("dropout", "nan"), ("embedding_scale", "nan"), ("output_cap", "0"), ("output_cap", "-1"),
        )
    },
    "config.replace(output_cap='30')": "TypeError: output_cap is '30', and must be a number",
    "config.replace(parallel_norms=2)": "ValueError: parallel_norms is 2: a parallel block has 1 or 2",
    "config.replace(parallel=True, parallel_norms=3)": "ValueError: parallel_norms is 3: a parallel block has 1 or 2",
    "config.replace(qk_norm_across_heads=True)": "ValueError: qk_norm_across_heads is True, and there is no qk_norm",
    "config.replace(rope=1)": "TypeError: rope is 1, and must be None or what can be called",
    "config.replace(rope=print, positions='alibi')": "ValueError: rope is given, and positions are 'alibi'",
    "torch.compile(model, backend='eager', fullgraph=True)(x, padding=real).allclose(model(x, padding=real))": "True",
    "torch.vmap(model)(x[:, None]).allclose(model(x)[:, None], atol=1e-6)": "True",
    "make(positions='t5', max_distance=16)": "ValueError: max_distance is 16, and must be above 16",
}  # fmt: skip


def test_what_makes_no_sense_is_told():
    found = spoken(SETUP, list(TOLD))
    wrong = {call: said for (call, want), said in zip(TOLD.items(), found, strict=True) if not said.startswith(want)}
    assert not wrong


def test_no_tokens_and_no_texts_pass_through(config):
    model, x, read = make(config).eval(), tokens(), given(config)
    assert model(x[:, :0], **read).shape == (2, 0, 40)
    cache = model.new_cache()
    parts = [model(part, cache=cache, **read) for part in x.split([0, 4, 0, 6], dim=1)]
    torch.testing.assert_close(torch.cat(parts, dim=1), model(x, **read), atol=2e-5, rtol=1e-4)
    assert model(x[:0], **{name: source[:0] for name, source in read.items()}).shape == (0, 10, 40)


def test_a_cap_bends_the_logits_and_the_loss_reads_them():
    plain, capped = make(TINY.replace(init_std=1.0)), make(TINY.replace(init_std=1.0, output_cap=2.0))
    x, targets = tokens(), tokens(seed=3)
    logits = capped(x)
    torch.testing.assert_close(logits, 2 * torch.tanh(plain(x) / 2))
    assert plain(x).abs().max() > 2.5 > 2 >= logits.abs().max()
    wanted = nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten())
    torch.testing.assert_close(capped.loss(x, targets), wanted)


def test_a_norm_across_heads_sees_all_of_them_and_one_per_head_does_not():
    config = TINY.replace(qk_norm=RMSNorm)
    for across in (False, True):
        norm = make(config.replace(qk_norm_across_heads=across)).decoder.blocks[0].attention.q_norm
        x = torch.randn(2, 4, 5, 8, generator=torch.Generator().manual_seed(0))
        louder = x.clone()
        louder[:, 0] *= 10
        assert torch.allclose(norm(louder)[:, 1:], norm(x)[:, 1:]) is not across
        dims = (1, 3) if across else (3,)
        torch.testing.assert_close(
            norm(x).square().mean(dims), torch.ones_like(norm(x).square().mean(dims)), atol=1e-3, rtol=0
        )


def test_two_norms_of_a_parallel_block_are_one_for_each_part():
    model = make(VARIANTS["parallel, two norms"])
    block, x = model.decoder.blocks[0], torch.randn(2, 5, 32, generator=torch.Generator().manual_seed(0))
    wanted = x + block.attention(block.norms["attention"](x)) + block.feed_forward(block.norms["feed_forward"](x))
    torch.testing.assert_close(block(x), wanted)
    with torch.no_grad():
        block.norms["feed_forward"].bias.add_(1.0)
    assert not torch.allclose(block(x), wanted)


def test_a_row_stops_at_any_of_several_tokens():
    model, x = make(TINY, seed=1), tokens(seq=4)
    free = generate(model, x, 15, temperature=0)
    ends = {int(free[0, 6]), int(free[1, 9])}
    for stop in (ends, sorted(ends), torch.tensor(sorted(ends))):
        held = generate(model, x, 15, temperature=0, stop=stop)
        for row, unheld in zip(held.tolist(), free.tolist()):
            end = next((i for i in range(4, len(row)) if row[i] in ends), len(row) - 1)
            assert row[: end + 1] == unheld[: end + 1] and set(row[end:]) == {row[end]}
    assert torch.equal(generate(model, x, 15, temperature=0, stop=[]), free)


def test_norms_across_heads_reach_an_attention_that_names_its_norms_otherwise(monkeypatch):
    class Otherwise(model.MultiHeadAttention):
        def __init__(self, d_model, num_heads, num_kv_heads=None, *, d_head=None, qk_norm=None, **given):
            super().__init__(d_model, num_heads, num_kv_heads, d_head=d_head, **given)
            self.norms = torch.nn.ModuleList(qk_norm(d_head or d_model // num_heads) for _ in "qk")

    monkeypatch.setattr(model, "MultiHeadAttention", Otherwise)
    config = model.TransformerConfig(
        vocab_size=11, context_length=8, d_model=16, num_layers=1, num_heads=4, num_kv_heads=2, d_ff=8,
        qk_norm=model.RMSNorm, qk_norm_across_heads=True,
    )  # fmt: skip
    norms = model.Transformer(config).decoder.blocks[0].attention.norms
    assert [sum(p.numel() for p in norm.parameters()) for norm in norms] == [16, 8]  # of 4 query and 2 key heads
