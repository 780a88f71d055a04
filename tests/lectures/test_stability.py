"""The stability tricks of lecture 05: slots that compute what the papers say, and monitors that see what happens."""

import copy
import doctest
import math
import pickle

import pytest
import torch
import torch.nn.functional as F

from cs336lite import stability
from cs336lite.accounting import parameters
from cs336lite.attention import scaled_dot_product_attention
from cs336lite.layers import LayerNorm, RMSNorm
from cs336lite.model import Transformer, TransformerConfig, cross_entropy
from cs336lite.stability import (
    QKNorm,
    SoftCappedAttention,
    SoftCappedLoss,
    SpikeDetector,
    Watched,
    WatchedLoss,
    ZLoss,
    capped_cross_entropy,
    largest_logit,
    log_z,
    monitor,
    penalised_cross_entropy,
    soft_cap,
    spikes,
    watch,
)
from cs336lite.training import Experiment, Tokens, TrainingConfig, describe, sweep, train

TINY = TransformerConfig(vocab_size=50, context_length=16, d_model=16, num_layers=3, num_heads=2, d_ff=24)
SHORT = TrainingConfig(steps=4, batch_size=4, lr=1e-2, eval_batches=2)
SLOTS = (ZLoss(), SoftCappedLoss(), SoftCappedAttention(), QKNorm(), Watched(), WatchedLoss())


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def rng():
    return torch.Generator().manual_seed(0)


@pytest.fixture(scope="module")
def data():
    return Tokens([(7 * i * i) % 50 for i in range(3_000)])


def output(rng, n=20, d=8, vocab=30, scale=3.0):
    hidden = scale * torch.randn(n, d, generator=rng, dtype=torch.float64)
    weight, targets = (
        torch.randn(vocab, d, generator=rng, dtype=torch.float64),
        torch.randint(vocab, (n,), generator=rng),
    )
    return hidden.requires_grad_(), weight.requires_grad_(), targets


def attention_inputs(rng, q=5, k=5, scale=4.0):
    return [scale * torch.randn(2, 3, n, 8, generator=rng) for n in (q, k, k)]


def make(config, seed=0):
    return Transformer(config, torch.Generator().manual_seed(seed))


def tokens(batch=2, seq=10, seed=0):
    return torch.randint(50, (batch, seq), generator=torch.Generator().manual_seed(seed))


def test_the_examples_in_the_module_run():
    result = doctest.testmod(stability)
    assert result.attempted >= 5 and result.failed == 0


# the slots as configuration


@pytest.mark.parametrize("slot", SLOTS, ids=lambda slot: type(slot).__name__)
def test_a_slot_is_a_value_that_can_be_compared_printed_described_and_sent(slot):
    other = type(slot)()
    assert slot == other and hash(slot) == hash(other) and repr(slot) == repr(other)
    assert pickle.loads(pickle.dumps(slot)) == slot and copy.deepcopy(slot) == slot
    assert describe(slot) == {type(slot).__name__: {}}


def test_what_a_watch_has_seen_does_not_change_the_configuration():
    config = watch(TINY)
    before = describe(config), hash(config), repr(config)
    make(config).loss(tokens(), tokens())
    assert config.attend.seen and config.loss.seen
    assert (describe(config), hash(config), repr(config)) == before and config == watch(TINY)


@pytest.mark.parametrize(
    "bad",
    [
        lambda: ZLoss(-1e-4), lambda: ZLoss(math.nan), lambda: SoftCappedLoss(0.0), lambda: SoftCappedLoss(30.0, -1.0),
        lambda: SoftCappedAttention(-50.0), lambda: QKNorm("batchnorm"), lambda: SpikeDetector(window=5),
        lambda: SpikeDetector(threshold=0.0),
    ],
)  # fmt: skip
def test_bad_values_are_refused(bad):
    with pytest.raises(ValueError):
        bad()


def test_every_slot_together_trains_and_learns(data):
    config = TINY.replace(
        loss=SoftCappedLoss(30.0, z=1e-4), attend=SoftCappedAttention(50.0), qk_norm=QKNorm("layernorm")
    )
    run = train(watch(config), TrainingConfig(steps=60, batch_size=8, lr=1e-2), data, validation=data, observe=monitor)
    assert run.final < run.values("loss")[0] - 1
    assert len(run.values("log_z")) == 60


# the output: z-loss and the soft cap


def test_z_loss_is_cross_entropy_plus_the_square_of_log_z(rng):
    hidden, weight, targets = output(rng)
    targets[:5] = -100
    logits = (hidden @ weight.T).float()
    square = torch.logsumexp(logits[5:], -1).square().mean()
    assert square > 10  # so that the second term is not lost in the tolerance
    for z in (0.0, 1e-4, 0.3):
        expected = F.cross_entropy(logits, targets) + z * square
        assert torch.allclose(ZLoss(z)(hidden, weight, targets), expected, rtol=1e-6)
        assert torch.allclose(penalised_cross_entropy(logits, targets, z), expected, rtol=1e-6)


def test_the_gradient_of_z_loss_is_that_of_its_formula(rng):
    hidden, weight, targets = output(rng)
    logits = (hidden @ weight.T).detach().requires_grad_()
    penalised_cross_entropy(logits, targets, z=0.3).backward()
    p = logits.detach().softmax(-1)
    expected = (p - F.one_hot(targets, 30) + 0.6 * torch.logsumexp(logits.detach(), -1, keepdim=True) * p) / 20
    assert torch.allclose(logits.grad, expected)


def test_cross_entropy_is_blind_to_log_z_and_z_loss_is_not(rng):
    hidden, weight, targets = output(rng)
    logits = (hidden @ weight.T).detach()
    assert torch.allclose(penalised_cross_entropy(logits, targets), penalised_cross_entropy(logits + 50, targets))
    assert torch.allclose(log_z(logits + 50), log_z(logits) + 50)
    assert penalised_cross_entropy(logits + 50, targets, 0.1) > penalised_cross_entropy(logits, targets, 0.1) + 100
    assert log_z(torch.full((4,), 100.0).half()).dtype == torch.float32 and log_z(logits).dtype == torch.float64


def test_without_any_target_the_loss_is_what_cross_entropy_gives(rng):
    hidden, weight, targets = output(rng)
    assert ZLoss()(hidden, weight, torch.full_like(targets, -100)).isnan()


@pytest.mark.parametrize("cap", [0.5, 30.0])
def test_soft_cap(cap):
    x = torch.linspace(-20 * cap, 20 * cap, 1_001, dtype=torch.float64, requires_grad=True)
    y = soft_cap(x, cap)
    assert y.abs().max() <= cap and (y.diff() >= 0).all() and torch.allclose(y, -y.flip(0))
    small = torch.tensor([-1e-3 * cap, 1e-3 * cap], dtype=torch.float64)
    assert torch.allclose(soft_cap(small, cap), small, rtol=1e-6)
    y.sum().backward()
    assert torch.allclose(x.grad, 1 - (y / cap).square())


def test_the_loss_with_a_soft_cap(rng):
    hidden, weight, targets = output(rng)
    targets[3] = -100
    capped = 5 * torch.tanh((hidden @ weight.T).float() / 5)
    assert (hidden @ weight.T).abs().max() > 10
    expected = F.cross_entropy(capped, targets)
    assert torch.allclose(SoftCappedLoss(5.0)(hidden, weight, targets), expected)
    square = torch.logsumexp(capped[targets != -100], -1).square().mean()
    assert torch.allclose(SoftCappedLoss(5.0, 0.2)(hidden, weight, targets), expected + 0.2 * square)


def test_losses_are_computed_in_float32(rng):
    hidden, weight, targets = output(rng)
    for loss in (ZLoss(), SoftCappedLoss()):
        low = loss(hidden.bfloat16(), weight.bfloat16(), targets)
        assert low.dtype == torch.float32
        assert torch.allclose(low, loss(hidden.bfloat16().float(), weight.bfloat16().float(), targets), rtol=0.02)


@pytest.mark.parametrize("loss", [None, ZLoss(0.5), SoftCappedLoss(0.05, 0.5)], ids=str)
@pytest.mark.parametrize("watched", [False, True])
def test_the_validation_score_has_the_cap_and_not_the_penalty(loss, watched):
    config = TINY.replace(loss=loss, init_std=0.5)
    model, x, y = make(watch(config) if watched else config), tokens(), tokens(seed=1)
    logits = model(x).flatten(0, 1)
    if isinstance(loss, SoftCappedLoss):
        logits = 0.05 * torch.tanh(logits / 0.05)
    assert torch.allclose(capped_cross_entropy(model, x, y), F.cross_entropy(logits, y.flatten()))


# attention: soft cap and QK-norm


def reference_capped(Q, K, V, mask, cap):
    """Entry by entry, in float64."""
    out = torch.zeros(*Q.shape[:-1], V.shape[-1], dtype=torch.float64)
    for b, h, i in torch.cartesian_prod(*(torch.arange(n) for n in Q.shape[:3])).tolist():
        allowed = [j for j in range(K.shape[2]) if mask is None or mask[i, j]]
        scores = [cap * math.tanh((Q[b, h, i].double() @ K[b, h, j].double()).item() / 8**0.5 / cap) for j in allowed]
        total = sum(math.exp(s) for s in scores)
        for s, j in zip(scores, allowed):
            out[b, h, i] += math.exp(s) / total * V[b, h, j].double()
    return out


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("cap", [2.0, 50.0])
def test_attention_with_a_soft_cap(rng, cap, masked):
    Q, K, V = attention_inputs(rng)
    mask = torch.ones(5, 5, dtype=torch.bool).tril() if masked else None
    assert largest_logit(Q, K, mask) > 4
    got = SoftCappedAttention(cap)(Q, K, V, mask)
    assert torch.allclose(got.double(), reference_capped(Q, K, V, mask, cap), atol=1e-5)


def test_a_very_wide_cap_changes_nothing_and_no_key_gives_zeros(rng):
    Q, K, V = attention_inputs(rng)
    mask = torch.tensor([True] * 3 + [False] * 2) & torch.tensor([[True]] * 4 + [[False]])
    got = SoftCappedAttention(1e4)(Q, K, V, mask)
    assert torch.allclose(got, scaled_dot_product_attention(Q, K, V, mask), atol=1e-4)
    assert (got[:, :, 4] == 0).all()


def test_beyond_the_cap_a_soft_cap_passes_no_gradient_either(rng):
    def gradient(scale):
        Q, K, V = (x.requires_grad_() for x in attention_inputs(torch.Generator().manual_seed(0), scale=scale))
        SoftCappedAttention(1.0)(Q, K, V, None).square().sum().backward()
        return Q.grad.norm().item()

    assert gradient(0.5) > 1e-3 > gradient(30.0)


@pytest.mark.parametrize("kind", ["rmsnorm", "layernorm"])
def test_qk_norm_bounds_every_logit(kind):
    config = watch(TINY.replace(qk_norm=QKNorm(kind), init_std=2.0))
    model = make(config)
    attention = model.decoder.blocks[1].attention
    assert isinstance(attention.q_norm, RMSNorm if kind == "rmsnorm" else LayerNorm)
    assert attention.q_norm is not attention.k_norm and parameters(model) == parameters(config.shape)
    with torch.no_grad():
        for block in model.decoder.blocks:
            block.attention.q_norm.weight.uniform_(-3, 3)
            block.attention.k_norm.weight.uniform_(-2, 2)
        model(tokens())
    bounds = [
        8**0.5 * b.attention.q_norm.weight.abs().max() * b.attention.k_norm.weight.abs().max()
        for b in model.decoder.blocks
    ]
    assert all(seen <= bound + 1e-4 for seen, bound in zip(config.attend.seen, bounds, strict=True))
    wild = watch(TINY.replace(init_std=2.0))
    make(wild)(tokens())
    assert max(wild.attend.seen) > 5 * max(bounds)


# monitors


def test_largest_logit_sees_only_what_may_be_attended_to(rng):
    Q, K, _ = attention_inputs(rng, q=3, k=5)
    K[:, :, 2] = 5 * Q[:, :, 0]  # the largest that may be seen: the first of the last three queries, the third key
    K[:, :, 3] = 50 * Q[:, :, 0]  # and one of the future
    logits = Q @ K.mT / 8**0.5
    assert logits.argmax() % 15 == 3  # query 0, key 3
    causal = torch.ones(3, 5, dtype=torch.bool).tril(2)
    assert torch.allclose(largest_logit(Q, K), logits.max())
    assert torch.allclose(largest_logit(Q, K, causal), logits[:, :, causal].max())
    assert torch.allclose(largest_logit(Q, K, causal=True), logits[:, :, causal].max())
    padded = torch.tensor([True, True, False, True, True])
    assert torch.allclose(largest_logit(Q, K, padded, causal=True), logits[:, :, causal & padded].max())
    assert largest_logit(Q.requires_grad_(), K).grad_fn is None


@pytest.mark.parametrize("attend", ["plain", "sdpa", SoftCappedAttention(2.0)], ids=str)
@pytest.mark.parametrize("loss", [None, ZLoss(0.1), SoftCappedLoss(0.5)], ids=str)
def test_watching_changes_nothing_that_is_computed(attend, loss):
    config = TINY.replace(attend=attend, loss=loss, init_std=0.5)
    plain, watched = make(config), make(watch(config))
    x, y = tokens(), tokens(seed=1)
    assert torch.equal(plain(x), watched(x))
    losses = [model.loss(x, y) for model in (plain, watched)]
    for loss in losses:
        loss.backward()
    assert torch.equal(*losses)
    assert all(torch.equal(p.grad, q.grad) for p, q in zip(plain.parameters(), watched.parameters(), strict=True))


@pytest.mark.parametrize("attend", ["plain", "sdpa", SoftCappedAttention(2.0)], ids=str)
def test_the_monitor_tells_what_a_model_saw(attend):
    model, x = make(watch(TINY.replace(attend=attend, init_std=0.5))), tokens()
    queries = []
    for block in model.decoder.blocks:  # what each attention is given, seen from outside
        block.attention.register_forward_hook(
            lambda attention, args, kwargs, out: queries.append((attention, args[0])), with_kwargs=True
        )
    model.loss(x, tokens(seed=1))
    expected = []
    for attention, given in queries:
        split = [attention._split(project(given)) for project in (attention.q_proj, attention.k_proj)]
        q, k = (attention.rope(part, torch.arange(10)) for part in split)
        scores = q @ k.mT / 8**0.5
        expected.append(scores.masked_fill(~torch.ones(10, 10, dtype=torch.bool).tril(), -torch.inf).max().item())
    found = monitor(1, model)
    assert [found[f"attention_logit_{i}"] for i in range(3)] == pytest.approx(expected, rel=1e-4)
    assert found["attention_logit"] == max(found[f"attention_logit_{i}"] for i in range(3))
    logits = model(x)
    assert found["log_z"] == pytest.approx(torch.logsumexp(logits, -1).mean().item(), rel=1e-5)
    assert found["output_logit"] == pytest.approx(logits.abs().max().item(), rel=1e-5)


def test_log_z_of_a_capped_loss_is_that_of_the_capped_logits():
    model = make(watch(TINY.replace(loss=SoftCappedLoss(0.5), init_std=0.5)))
    model.loss(tokens(), tokens())
    assert monitor(1, model)["output_logit"] <= 0.5


def test_the_monitor_reads_the_last_pass_and_forgets(data):
    config = watch(TINY)
    model = make(config)
    for _ in range(600):  # more calls than are kept
        model.loss(tokens(1, 4), tokens(1, 4))
    assert len(config.attend.seen) == 1024
    last = make(watch(TINY))
    last.loss(tokens(1, 4), tokens(1, 4))
    assert monitor(1, model) == monitor(1, last)


def test_the_monitor_needs_something_to_read():
    for model in (make(TINY), make(watch(TINY))):
        with pytest.raises(ValueError, match="watch"):
            monitor(1, model)
    with pytest.raises(ValueError, match="alibi"):
        watch(TINY.replace(positions="alibi"))


def test_the_monitor_works_in_a_sweep_of_several_processes(data, tmp_path):
    experiments = [Experiment(watch(TINY), SHORT, "a", observe=monitor), Experiment(TINY, SHORT, "b")]
    there = sweep(experiments, data, validation=data, jobs=2, progress=False)
    here = sweep(experiments, data, validation=data, cache=tmp_path, progress=False)
    assert [r.metrics for r in there] == [r.metrics for r in here]
    assert there[0].values("loss").tolist() == there[1].values("loss").tolist()
    assert (there[0].values("attention_logit") > 0).all() and len(there[0].values("log_z")) == 4


def test_log_z_starts_at_the_logarithm_of_the_vocabulary_and_a_strong_z_loss_brings_it_down(data):
    def course(loss):
        config = TrainingConfig(steps=60, batch_size=8, lr=1e-2)
        return train(watch(TINY.replace(loss=loss)), config, data, observe=monitor).values("log_z")

    plain, held = course(cross_entropy), course(ZLoss(1.0))
    assert plain[0] == pytest.approx(math.log(50), abs=0.05) == held[0]
    assert held[-1] < 1 < 3 < plain[-1]


# spikes


def noisy(n, seed=0, slope=0.0):
    drawn = torch.randn(n, generator=torch.Generator().manual_seed(seed)).tolist()
    return [4.0 - slope * i + 0.05 * x for i, x in enumerate(drawn)]


def test_spikes_are_found_and_noise_is_not():
    values = noisy(300)
    assert spikes(values) == []
    for at in (50, 51, 52, 200):
        values[at] += 1.0
    assert spikes(values) == [50, 51, 52, 200]


def test_a_falling_loss_is_no_spike_and_a_spike_on_it_is():
    values = [9 * math.exp(-i / 60) + x - 3 for i, x in enumerate(noisy(300))]
    assert spikes(values) == []
    values[250] += 1.0
    assert spikes(values) == [250]


def test_what_is_not_finite_is_always_a_spike_and_spoils_nothing():
    values = [math.nan, *noisy(60), math.inf, *noisy(30, seed=1)]
    assert spikes(values) == [0, 61]


def test_a_level_that_lasts_becomes_the_new_level():
    found = spikes([*noisy(100), *[x + 2 for x in noisy(100, seed=1)]], window=50)
    assert found == list(range(100, 100 + len(found))) and 20 <= len(found) <= 30


def test_a_constant_series_has_no_spikes_until_it_jumps():
    assert spikes([2.0] * 50 + [2.2]) == [50]
    assert spikes([0.0] * 50) == []


def test_the_detector_works_step_by_step_and_in_bounded_memory():
    values = noisy(500)
    values[300] = 8.0
    detector = SpikeDetector(window=20)
    assert [i for i, x in enumerate(values) if detector.update(x)] == spikes(values, window=20)
    assert len(detector.recent) == 20 and 300 in spikes(values, window=20)


def test_a_watch_keeps_the_cap_of_the_output():
    """Gemma 2 has its cap in the configuration, and no loss in the slot."""
    config, x = TINY.replace(output_cap=1.0, init_std=0.5), torch.arange(32).view(2, 16)
    plain, watched = (Transformer(c, generator=torch.Generator().manual_seed(0)) for c in (config, watch(config)))
    torch.testing.assert_close(watched.loss(x, x + 1), plain.loss(x, x + 1))
    largest = plain(x).abs().max().item()
    assert monitor(1, watched)["output_logit"] == pytest.approx(largest, rel=1e-5) and 0.9 < largest <= 1
    wanted = torch.nn.functional.cross_entropy(plain(x).flatten(0, 1), (x + 1).flatten())
    for model in (plain, watched):
        torch.testing.assert_close(capped_cross_entropy(model, x, x + 1), wanted)
