"""What fills a slot says what it can do by its class, and a plain function or module goes on to work."""

import doctest
from dataclasses import dataclass

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper

from cs336lite import slots
from cs336lite.attention import MultiHeadAttention, scaled_dot_product_attention
from cs336lite.flash import FlashAttend
from cs336lite.layers import FeedForward
from cs336lite.model import Transformer, TransformerConfig, sdpa
from cs336lite.moe import BiasedRouter, MoE, MoELayer, RoutedTransformer
from cs336lite.slots import ActsAfterStep, Attend, LeavesLoss, TakesPadding, masks_causally, shares_heads
from cs336lite.stability import SoftCappedAttention, Watched
from cs336lite.training import Tokens, TrainingConfig, train

TINY = TransformerConfig(
    vocab_size=50, context_length=16, d_model=16, num_layers=2, num_heads=4, d_ff=24, num_kv_heads=2, init_std=0.2
)

pytestmark = pytest.mark.usefixtures("one_thread")


def make(config: TransformerConfig) -> Transformer:
    return Transformer(config, generator=torch.Generator().manual_seed(0)).eval()


def tokens(seed: int = 0) -> torch.Tensor:
    return torch.randint(50, (2, 10), generator=torch.Generator().manual_seed(seed))


def test_the_examples_in_the_module_run():
    assert doctest.testmod(slots).attempted >= 2 and doctest.testmod(slots).failed == 0


def test_what_the_course_has_says_what_it_does():
    told = {attend: (masks_causally(attend), shares_heads(attend)) for attend in (sdpa, Watched(sdpa))}
    told |= {attend: (masks_causally(attend), shares_heads(attend)) for attend in (FlashAttend(), FlashAttend(False))}
    told |= {attend: (masks_causally(attend), shares_heads(attend)) for attend in (Watched(), SoftCappedAttention())}
    assert [*told.values()] == [
        (True, True),
        (True, False),
        (True, True),
        (False, True),
        (False, False),
        (False, False),
    ]
    assert not masks_causally(scaled_dot_product_attention) and not shares_heads(F.scaled_dot_product_attention)
    assert issubclass(MoELayer, TakesPadding) and issubclass(MoELayer, LeavesLoss)
    assert issubclass(BiasedRouter, ActsAfterStep)


@dataclass(frozen=True)
class Undeclared:
    """It has the names and not the class: so it is a plain formula, and is given all masks and all heads."""

    masks_causally = True
    shares_heads = True

    def __call__(self, Q, K, V, mask=None):
        assert mask is not None and K.shape == Q.shape
        return scaled_dot_product_attention(Q, K, V, mask)


class Student(nn.Module):
    """An attention that a student might have written, called by what is usual alone."""

    def __init__(self, d, heads):
        super().__init__()
        self.inner = MultiHeadAttention(d, heads)

    def forward(self, x, **seen):
        return self.inner(x, **seen)


class Shared(Attend):
    """Notes how many heads it is given."""

    shares_heads = True

    def __init__(self):
        self.heads = []

    def __call__(self, Q, K, V, mask=None):
        self.heads.append(K.shape[1])
        return F.scaled_dot_product_attention(Q, K, V, attn_mask=mask, enable_gqa=True)


def test_plain_functions_and_modules_fill_the_slots():
    x, plain = tokens(), make(TINY)(tokens())
    attends = [lambda Q, K, V, mask=None: scaled_dot_product_attention(Q, K, V, mask), Undeclared(), Shared()]
    for attend in attends:
        torch.testing.assert_close(make(TINY.replace(attend=attend))(x), plain, atol=1e-5, rtol=1e-4)
    assert attends[-1].heads == [2, 2]
    model = make(TINY.replace(feed_forward=lambda c: nn.Sequential(FeedForward(c.d_model, c.d_ff, "swiglu"))))
    for block in model.decoder.blocks:
        block.attention = Student(16, 4)
    real = torch.arange(10) >= torch.tensor([[3], [0]])
    assert model(x, padding=real).isfinite().all() and model.loss(x, x, padding=real).isfinite()


def test_a_base_class_alone_says_what_is_missing():
    with pytest.raises(NotImplementedError, match=r"Attend is an Attend, and has no __call__\(Q, K, V, mask\)"):
        make(TINY.replace(attend=Attend()))(tokens())
    with pytest.raises(NotImplementedError, match="has no after_step"):
        ActsAfterStep().after_step(lambda x: x)


def test_a_loss_that_nothing_has_left_yet_is_0():
    assert slots.auxiliary_loss(make(TINY)) == 0
    model = make(TINY.replace(feed_forward=MoE(d_ff=8, balance=0.5)))
    assert slots.auxiliary_loss(model) == 0
    model(tokens())
    assert slots.auxiliary_loss(model).item() > 0.9  # 0.5 for each of two layers, where the load is even


@pytest.mark.parametrize("padded", [False, True])
def test_what_a_wrapper_is_put_around_is_asked_as_before_and_counted_once(padded):
    """PyTorch's wrapper for activation checkpointing hands attributes on, as that of `torch.compile` does."""
    config = TINY.replace(feed_forward=MoE(d_ff=8, balance=0.5, dense_layers=1))
    plain, wrapped = (RoutedTransformer(config, torch.Generator().manual_seed(0)).eval() for _ in range(2))
    for block in wrapped.decoder.blocks:
        block.feed_forward = checkpoint_wrapper(block.feed_forward)
    given = {"padding": torch.arange(10) >= torch.tensor([[3], [0]])} if padded else {}
    losses = [model.loss(tokens(), tokens(1), **given).item() for model in (plain, wrapped)]
    assert losses[0] == losses[1] and wrapped.decoder.blocks[1].feed_forward.auxiliary_loss.item() > 0.4
    loads = [model.decoder.blocks[1].feed_forward.load for model in (plain, wrapped)]
    assert torch.equal(*loads)  # of the real tokens alone


class Named(nn.Module):
    """A module that has a method of that name for reasons of its own."""

    def __init__(self):
        super().__init__()
        self.model = make(TINY)

    def loss(self, inputs, targets):
        return self.model.loss(inputs, targets)

    def after_step(self, one, two, three):
        raise AssertionError("training has called what is not its own")


def test_training_tells_what_asks_to_be_told_and_nothing_else():
    data, config = Tokens([7 * i % 50 for i in range(500)]), TrainingConfig(steps=2, batch_size=2, seq=8)
    assert len(train(Named(), config, data).metrics) == 2
    model = train(TINY.replace(feed_forward=MoE(d_ff=8, router="bias", bias_rate=0.1)), config, data).model
    assert all(block.feed_forward.router.bias.abs().sum() > 0 for block in model.decoder.blocks)
