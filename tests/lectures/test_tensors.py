"""The exercises of lecture 02: right answers in several styles pass, and each mistake is told by its name."""

import math

import pytest
import torch.nn.functional as F
from einops import rearrange, repeat
from helpers import ROOT

from cs336lite.course.check import public_spec, run_checks
from cs336lite.course.spec import LocalStudent

RIGHT = {
    "next_token_loss": [
        lambda logits, ids: F.cross_entropy(logits[:, :-1].transpose(1, 2), ids[:, 1:]),
        lambda logits, ids: -logits.log_softmax(-1)[:, :-1].gather(-1, ids[:, 1:, None]).mean(),
    ],
    "bits_per_byte": [
        lambda nats, tokens, size: nats * tokens / (size * math.log(2)),
        lambda nats, tokens, size: math.log2(math.e) * nats * tokens / size,
    ],
    "split_heads": [
        lambda x, n: x.unflatten(-1, (n, -1)).transpose(1, 2),
        lambda x, n: x.view(*x.shape[:2], n, -1).permute(0, 2, 1, 3),
    ],
    "shared_keys": [
        lambda keys, group: keys[:, :, None].expand(-1, -1, group, -1, -1),
        lambda keys, group: repeat(keys, "b h t d -> b h g t d", g=group),
    ],
    "swiglu_flops": [lambda tokens, d_model, d_ff: 6 * tokens * d_model * d_ff],
    "checkpoint_bytes": [lambda n, t, optimizer: 4 * n + (8 * n + 4 * t) * optimizer],
}
WRONG = [
    ("next_token_loss", lambda x, ids: F.cross_entropy(x[:, :-1].flatten(0, 1), ids[:, 1:].flatten()) / math.log(2), "bits"),
    ("next_token_loss", lambda x, ids: F.cross_entropy(x.flatten(0, 1), ids.flatten()), "repeats its input"),
    ("next_token_loss", lambda x, ids: F.cross_entropy(x.flatten(0, 1), ids.roll(-1, 1).flatten()), "last position"),
    ("next_token_loss", lambda x, ids: F.cross_entropy(x[:, 1:].flatten(0, 1), ids[:, :-1].flatten()), "position t goes with"),
    ("next_token_loss", lambda x, ids: 3 * RIGHT["next_token_loss"][0](x, ids), "sum of the three"),
    ("next_token_loss", lambda x, ids: -x.log_softmax(-1)[:, :-1].gather(-1, ids[:, 1:, None]), "one mean is asked for"),
    (
        "next_token_loss",
        lambda x, ids: -(x.exp() / x.exp().sum(-1, keepdim=True)).log()[:, :-1].gather(-1, ids[:, 1:, None]).mean(),
        "logits of 900",
    ),
    ("bits_per_byte", lambda nats, tokens, size: nats * tokens / size, "those are nats"),
    ("bits_per_byte", lambda nats, tokens, size: nats / math.log(2) / tokens * size, "multiply by tokens"),
    ("split_heads", lambda x, n: x.reshape(x.shape[0], n, x.shape[1], -1), "numbers are mixed up"),
    ("split_heads", lambda x, n: rearrange(x, "b t (d h) -> b h t d", h=n), "split as (h d)"),
    ("split_heads", lambda x, n: x.unflatten(-1, (n, -1)).transpose(1, 2).contiguous(), "return a view"),
    ("shared_keys", lambda keys, g: keys.repeat_interleave(g, dim=1).unflatten(1, (-1, g)), "the keys were copied"),
    ("shared_keys", lambda keys, g: keys[:, None].expand(-1, g, -1, -1, -1), "expected the shape"),
    ("swiglu_flops", lambda tokens, d, ff: 4 * tokens * d * ff, "that is two matrices"),
    ("swiglu_flops", lambda tokens, d, ff: 3 * tokens * d * ff, "each multiplication comes with an addition"),
    ("swiglu_flops", lambda tokens, d, ff: 6 * d * ff, "for one token"),
    ("checkpoint_bytes", lambda n, t, optimizer: 2 * n + (8 * n + 4 * t) * optimizer, "4 bytes each"),
    ("checkpoint_bytes", lambda n, t, optimizer: 4 * n + 12 * n * optimizer, "gradients are not saved"),
    ("checkpoint_bytes", lambda n, t, optimizer: 4 * n + 4 * n * optimizer, "two moments"),
    ("checkpoint_bytes", lambda n, t, optimizer: 4 * n + 8 * n * optimizer, "step count"),
]  # fmt: skip


def results(exercise, answer):
    spec = public_spec(ROOT, "02_tensors")
    return run_checks(spec, LocalStudent({exercise: answer}), exercise)


@pytest.mark.parametrize(("exercise", "answer"), [(e, answer) for e, answers in RIGHT.items() for answer in answers])
def test_right_answers_pass(exercise, answer):
    found = results(exercise, answer)
    assert found and all(result.passed for result in found), [result.message for result in found]


@pytest.mark.parametrize(("exercise", "answer", "told"), WRONG)
def test_a_mistake_is_told_by_its_name(exercise, answer, told):
    messages = [result.message for result in results(exercise, answer) if not result.passed]
    assert any(told in message for message in messages), messages


@pytest.mark.parametrize("exercise", RIGHT)
def test_every_exercise_has_three_hints(exercise):
    assert len(public_spec(ROOT, "02_tensors").hints[exercise]) == 3
