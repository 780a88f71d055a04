"""One step of training, and the noise of its gradients."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from small_runs import DROPPING, HERE, SHORT, TINY
from small_runs import data as data
from torch import nn

from cs336lite import training, updates
from cs336lite.model import Transformer
from cs336lite.slots import ActsAfterStep
from cs336lite.training import Tokens, backward, begin, generator, noise_scale, set_step, train

pytestmark = pytest.mark.usefixtures("one_thread")


def test_parts_of_a_batch_add_up_to_the_whole(data):
    whole, parts = (begin(TINY, replace(SHORT, accumulation=n), HERE) for n in (1, 4))
    batch = data.batch(4, 16, generator(0, 0))
    assert backward(whole, *batch) == pytest.approx(backward(parts, *batch), abs=1e-6)
    for p, q in zip(whole.model.parameters(), parts.model.parameters()):
        assert torch.allclose(p.grad, q.grad, atol=1e-6) and p.grad.abs().sum() > 0


def test_gradients_are_clipped_and_their_norm_is_recorded(data):
    seen = []

    def norm(step, model):
        seen.append(sum(p.grad.square().sum().item() for p in model.parameters()) ** 0.5)
        return {"seen": seen[-1]}

    free = train(TINY, replace(SHORT, clip=None), data, observe=norm)
    assert free.values("grad_norm") == pytest.approx(free.values("seen"), rel=1e-5)
    clipped = train(TINY, replace(SHORT, clip=0.05), data, observe=norm)
    assert clipped.values("grad_norm")[0] == pytest.approx(free.values("grad_norm")[0])
    assert clipped.values("seen") == pytest.approx(0.05, rel=1e-3)


class Counting(ActsAfterStep):
    """Counts its forward passes and, in `seen`, how many there were before each update."""

    def __init__(self):
        super().__init__()
        self.model, self.passes, self.seen = Transformer(TINY, generator=generator(0, 0)), 0, []

    def loss(self, tokens, targets):
        self.passes += 1
        return self.model.loss(tokens, targets)

    def after_step(self, total):
        self.seen.append(total(torch.tensor([self.passes])).tolist())
        self.passes = 0


@pytest.mark.parametrize("parts", [1, 4])
def test_a_module_may_act_once_after_each_update(data, parts):
    counting = Counting()
    train(counting, replace(SHORT, steps=3, seq=16, accumulation=parts), data)
    assert counting.seen == [[parts]] * 3


def test_dropout_falls_to_zero_over_the_first_fifth():
    state = begin(DROPPING, replace(SHORT, steps=20, early_dropout=0.2), HERE)
    found = []
    for step in range(20):
        state.step = step
        set_step(state)
        (p,) = {module.p for module in state.model.modules() if isinstance(module, nn.Dropout)}
        found.append(p)
    assert found == pytest.approx([0.2, 0.15, 0.1, 0.05] + [0] * 16)
    with pytest.raises(ValueError, match="the model has none"):
        begin(TINY, replace(SHORT, early_dropout=0.2), HERE)


def test_dropout_stays_when_nothing_else_is_asked(data):
    model = train(DROPPING, SHORT, data).model
    assert {module.p for module in model.modules() if isinstance(module, nn.Dropout)} == {0.2}


def test_bfloat16_is_used_where_it_is_asked_for_or_measured_to_be_faster(data, monkeypatch):
    def dtype_of_products(precision: str) -> torch.dtype:
        state, seen = begin(TINY, replace(SHORT, precision=precision), HERE), []
        state.model.decoder.blocks[0].attention.q_proj.register_forward_hook(lambda *said: seen.append(said[2].dtype))
        assert math.isfinite(backward(state, *data.batch(4, 16, generator(0, 0))))
        assert all(p.dtype == p.grad.dtype == torch.float32 for p in state.model.parameters())
        return seen[0]

    assert dtype_of_products("float32") == torch.float32 and dtype_of_products("bfloat16") == torch.bfloat16
    for faster, dtype in ((True, torch.bfloat16), (False, torch.float32)):
        monkeypatch.setattr(updates, "bfloat16_is_faster", lambda device, faster=faster: faster)
        assert dtype_of_products("auto") == dtype


def test_whether_bfloat16_is_faster_is_measured():
    assert training.bfloat16_is_faster("cpu") in (True, False)


# the noise of gradients


def test_the_noise_scale_of_a_known_distribution():
    class Table(nn.Module):
        """Its gradient for a sequence of one token is that token's row."""

        def __init__(self):
            super().__init__()
            drawn = torch.randn(40, 6, generator=generator(0, 0))
            self.register_buffer("rows", drawn + torch.tensor([2.0, 0, 0, 0, 0, 0]))
            self.weight = nn.Parameter(torch.zeros(6))

        def loss(self, tokens, targets):
            return (self.rows[tokens[:, 0]] @ self.weight).mean()

    model = Table()
    signal, noise = model.rows.mean(0).square().sum().item(), model.rows.var(0, correction=0).sum().item()
    for small in (1, 4):
        found = noise_scale(model, Tokens(np.arange(4_000) % 40), seq=1, small=small, batches=2_000)
        assert found.signal == pytest.approx(signal, rel=0.05) and found.noise == pytest.approx(noise, rel=0.1)
        assert found.sequences == found.tokens == pytest.approx(noise / signal, rel=0.12)
    assert model.weight.grad is None


def test_the_noise_scale_counts_tokens_and_survives_no_signal():
    found = training.NoiseScale(signal=2.0, noise=6.0, seq=16)
    assert found.sequences == 3 and found.tokens == 48
    assert training.NoiseScale(signal=-0.1, noise=6.0, seq=16).tokens == math.inf
