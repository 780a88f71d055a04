"""What fills a slot of the model, and what it may say about itself.

A slot of `cs336lite.model.TransformerConfig` takes any function, class or module of the right form: a lambda will do, and
an attention module of your own. What can do more says so by its base class, and is then asked for more:

    class                   what it says                                        asked by
    `Attend`                masks_causally: it puts the causal mask on          the model, which then does not
                            shares_heads: it reads fewer heads of K and V       attention, which then makes no copies
    `TakesPadding`          its call takes ``padding``                          a block, which tells it the real tokens
    `LeavesLoss`            its last call left ``auxiliary_loss``               the model's loss, which adds it
    `ActsAfterStep`         it has ``after_step``                               training, after each update

Shapes: Q is (batch, heads, q, d_head), K and V (batch, heads or kv heads, k, d_head). Masks are boolean, True = may attend.

Written by hand, because assignments and lectures alike build on it.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn


class Attend:
    """A formula of attention for the slot ``attend``, which can do more than a plain ``attend(Q, K, V, mask)``.

    >>> class Fast(Attend):
    ...     shares_heads = True
    >>> shares_heads(Fast()), masks_causally(Fast()), masks_causally(lambda Q, K, V, mask: V)
    (True, False, False)
    """

    masks_causally: bool = False
    """It puts the causal mask on by itself, and ``mask`` is what must hold beside it: causal attention alone can use it."""

    shares_heads: bool = False
    """K and V may have fewer heads than Q (GQA): they come as they are cached, not repeated for every query head."""

    def __call__(self, Q: Tensor, K: Tensor, V: Tensor, mask: Tensor | None = None) -> Tensor:
        """The mixed values, (batch, heads, q, d_head)."""
        raise NotImplementedError(f"{type(self).__name__} is an Attend, and has no __call__(Q, K, V, mask)")


def masks_causally(attend: Callable[..., Tensor]) -> bool:
    """Whether a formula of attention says that it puts the causal mask on."""
    return isinstance(attend, Attend) and attend.masks_causally


def shares_heads(attend: Callable[..., Tensor]) -> bool:
    """Whether a formula of attention says that it reads keys and values whose heads are shared."""
    return isinstance(attend, Attend) and attend.shares_heads


class TakesPadding(nn.Module):
    """A feed-forward network that is told which tokens are real: ``forward(x, padding=None)``.

    ``padding`` is boolean, (batch, seq), True where a token is real, or None where all are.
    """


class LeavesLoss(nn.Module):
    """A module whose forward pass leaves a loss of its own, a scalar tensor, in ``auxiliary_loss``.

    The model adds it to its loss. Before the first call it is 0.
    """

    auxiliary_loss: Tensor | float = 0.0


def auxiliary_loss(model: nn.Module) -> Tensor | float:
    """The sum of what the parts of a model have left, each counted once, also inside `torch.compile`'s wrapper."""
    return sum((part.auxiliary_loss for part in model.modules() if isinstance(part, LeavesLoss)), start=0.0)


class ActsAfterStep(nn.Module):
    """A module that `training.train` tells of each update, once for all parts of a batch."""

    def after_step(self, total: Callable[[Tensor], Tensor]) -> None:
        """Do what is to be done; ``total(tensor)`` is the sum of a tensor over all processes that train together."""
        raise NotImplementedError(f"{type(self).__name__} is an ActsAfterStep, and has no after_step(total)")
