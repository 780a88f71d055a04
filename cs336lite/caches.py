# Built from notebooks/text/appendix/09x_caches.py by `cs336lite build`: edit that file, not this one.
"""Smaller caches of keys and values: latent vectors, a window, integers. Scales of weights that know the inputs. Beam search.

Shapes: hidden vectors are (batch, seq, d_model), keys and values (batch, num_kv_heads, seq, d_head).

Built in notebooks/appendix/09x_caches.ipynb.
"""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn


class LatentAttention(nn.Module):
    """Causal attention that caches one vector for each token and a key with its position (2405.04434, equations 9 to 19).

    ``rope`` turns (batch, heads, seq, d_rope). With ``absorbed=True`` keys and values are never made. The cache is asked to keep
    the vectors as keys and the turned keys as values, (batch, 1, seq, d_latent) and (batch, 1, seq, d_rope).

    Built in notebooks/appendix/09x_caches.ipynb.
    """

    def __init__(
        self, d_model: int, num_heads: int, d_head: int, d_latent: int, d_rope: int, rope: Callable[[Tensor, Tensor], Tensor]
    ) -> None:  # fmt: skip
        super().__init__()
        self.num_heads, self.d_head, self.d_rope, self.rope = num_heads, d_head, d_rope, rope
        self.q_proj = nn.Linear(d_model, num_heads * (d_head + d_rope), bias=False)
        self.down = nn.Linear(d_model, d_latent, bias=False)
        self.k_rope = nn.Linear(d_model, d_rope, bias=False)
        self.up_k = nn.Parameter(torch.randn(num_heads, d_head, d_latent) / d_latent**0.5)
        self.up_v = nn.Parameter(torch.randn(num_heads, d_head, d_latent) / d_latent**0.5)
        self.o_proj = nn.Linear(num_heads * d_head, d_model, bias=False)

    def forward(
        self, x: Float[Tensor, "batch seq d_model"], *, cache=None, absorbed: bool = False
    ) -> Float[Tensor, "batch seq d_model"]:
        past = 0 if cache is None else cache.length
        positions = torch.arange(past, past + x.shape[1], device=x.device)
        q = self.q_proj(x).unflatten(-1, (self.num_heads, -1)).transpose(1, 2)  # (batch, head, seq, d_head + d_rope)
        q, q_rope = q.split([self.d_head, self.d_rope], dim=-1)
        c, k_rope = self.down(x)[:, None], self.rope(self.k_rope(x)[:, None], positions)
        if cache is not None:
            c, k_rope = cache.update(c, k_rope)
        scores = self.rope(q_rope, positions) @ k_rope.mT
        asked = (q @ self.up_k) @ c.mT if absorbed else q @ (c @ self.up_k.mT).mT
        scores = (scores + asked) / (self.d_head + self.d_rope) ** 0.5
        later = torch.arange(past + x.shape[1], device=x.device) > positions[:, None]
        p = scores.masked_fill(later, -torch.inf).softmax(dim=-1)
        out = (p @ c) @ self.up_v.mT if absorbed else p @ (c @ self.up_v.mT)
        return self.o_proj(out.transpose(1, 2).flatten(2))


class WindowCache:
    """Keys and values of the last ``window`` tokens, one token at a time after the first call. A `cs336lite.attention.Cache`.

    ``length`` counts the tokens that it holds, so tell attention their positions. The first call gets all its tokens back: a mask
    (`window_mask`) must keep the window there.

    Built in notebooks/appendix/09x_caches.ipynb.
    """

    def __init__(self, window: int) -> None:
        self.window, self.length = window, 0
        self.kept: tuple[Tensor, Tensor] | None = None

    def update(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Append (batch, num_kv_heads, seq, d_head) each; ValueError for several tokens after the first call."""
        if self.kept is not None:
            if k.shape[2] != 1:
                raise ValueError(f"{k.shape[2]} tokens at once: after the prompt a window takes one")
            k, v = (torch.cat((old, new), dim=2) for old, new in zip(self.kept, (k, v)))
            k, v = k[:, :, -self.window :], v[:, :, -self.window :]
        # what the next token may see beside itself
        self.kept = tuple(x[:, :, max(x.shape[2] - self.window + 1, 0) :].clone() for x in (k, v))
        self.length = self.kept[0].shape[2]
        return k, v


def window_mask(seq: int, window: int) -> Bool[Tensor, "seq seq"]:
    """Which of the tokens before it, and itself, each token may see: the last ``window``.

    >>> window_mask(4, 2).int().tolist()
    [[1, 0, 0, 0], [1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 1, 1]]

    Built in notebooks/appendix/09x_caches.ipynb.
    """
    past = torch.arange(seq)[:, None] - torch.arange(seq)
    return (past >= 0) & (past < window)


class Int8Cache:
    """Keys and values in int8 with a float32 scale for each token and head, for ``max_length`` tokens. A `cs336lite.attention.Cache`.

    Built in notebooks/appendix/09x_caches.ipynb.
    """

    def __init__(self, max_length: int) -> None:
        self.max_length, self.length = max_length, 0
        self.kept: list[tuple[Tensor, Tensor]] = []

    def update(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Append (batch, num_kv_heads, seq, d_head) each; all of them as they come back from int8."""
        start, stop = self.length, self.length + k.shape[2]
        if stop > self.max_length:
            raise ValueError(f"the cache has room for {self.max_length} tokens, and these would be {stop}")
        if not self.kept:
            for x in (k, v):
                codes = torch.zeros(*x.shape[:2], self.max_length, x.shape[3], dtype=torch.int8, device=x.device)
                self.kept.append((codes, torch.zeros(*codes.shape[:3], 1, device=x.device)))
        back = []
        for (codes, scales), new in zip(self.kept, (k, v)):
            scale = new.float().abs().amax(dim=-1, keepdim=True) / 127
            codes[:, :, start:stop] = (new / torch.where(scale > 0, scale, 1.0)).round().to(torch.int8)
            scales[:, :, start:stop] = scale
            back.append((codes[:, :, :stop] * scales[:, :, :stop]).to(new.dtype))
        self.length = stop
        return back[0], back[1]

    @property
    def bytes(self) -> int:
        return sum(x.nbytes for pair in self.kept for x in pair)


def scaled_rounding(
    weight: Float[Tensor, "out in"], inputs: Float[Tensor, "tokens in"], rule: Callable[[Tensor], Tensor], alpha: float
) -> Float[Tensor, "out in"]:
    """The weight after ``rule`` (on rows), its columns scaled by the mean size of their inputs to ``alpha`` meanwhile.

    Built in notebooks/appendix/09x_caches.ipynb.
    """
    scales = inputs.abs().mean(dim=0).clamp(min=1e-8) ** alpha
    scales = scales / (scales.max() * scales.min()).sqrt()
    return rule(weight * scales) / scales


@torch.no_grad()
def beam_search(
    next_logits: Callable[[Tensor], Tensor], prompt: Sequence[int], max_new_tokens: int, width: int, *, end: int | None = None
) -> tuple[Int[Tensor, "beam seq"], Float[Tensor, " beam"]]:  # fmt: skip
    """The ``width`` likeliest texts that are found, and the log-probability of what each adds to the prompt; best first.

    ``next_logits(texts)`` gives (beam, vocab) for texts (beam, seq). A text that has written ``end`` goes on with it at no
    cost. With a width of at least vocab ** (max_new_tokens - 1) nothing is lost. ValueError for a width below 1.

    >>> beam_search(lambda texts: torch.tensor([[0.6, 0.4]]).log().expand(len(texts), 2), [0], 2, 1)[0].tolist()
    [[0, 0, 0]]

    Built in notebooks/appendix/09x_caches.ipynb.
    """
    if width < 1:
        raise ValueError(f"width is {width}: a beam keeps at least one text")
    texts, scores = torch.tensor([list(prompt)], dtype=torch.int64), torch.zeros(1)
    for _ in range(max_new_tokens):
        logp = next_logits(texts).log_softmax(dim=-1)
        vocab = logp.shape[1]
        if end is not None:
            ended = (texts[:, len(prompt) :] == end).any(dim=1)
            logp[ended] = torch.where(torch.arange(vocab) == end, 0.0, -torch.inf)
        total = (scores[:, None] + logp).flatten()  # of every text with every next token
        scores, best = total.topk(min(width, int(total.isfinite().sum())))
        texts = torch.cat((texts[best // vocab], best[:, None] % vocab), dim=1)
    return texts, scores
