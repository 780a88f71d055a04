"""Checks and hints of the exercises in lecture 02. Nothing here is graded: try as often as you like."""

import math

import torch

from cs336lite.course.answers import ask, some_tensor
from cs336lite.course.show import expect_close, expect_equal
from cs336lite.course.spec import check, expect

HINTS = {
    "next_token_loss": [
        "Which logits have no next token to be judged by? And which id is nobody's next token?",
        "Leave out the last position of the logits and the first of the ids. F.cross_entropy wants one row for each "
        "prediction: (batch * (seq - 1), vocab_size) and (batch * (seq - 1),).",
        "F.cross_entropy(logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten())",
    ],
    "bits_per_byte": [
        "How many bits does the whole text cost? Then divide by its bytes.",
        "The mean loss times the number of tokens is the cost of the text in nats. A nat is 1 / ln 2 bits.",
        "nats_per_token / math.log(2) * num_tokens / num_bytes",
    ],
    "split_heads": [
        "What are the names of the dimensions before and after? The last one is two in one.",
        "In einops a bracket holds dimensions that lie side by side: (h d) is heads of d numbers each.",
        'rearrange(x, "b t (h d) -> b h t d", h=num_heads)',
    ],
    "shared_keys": [
        "A new dimension along which nothing changes needs no new numbers. Which stride says so?",
        "Tensor.expand and einops.repeat give a new dimension the stride 0. keys[:, :, None] makes room for it.",
        'repeat(keys, "b h t d -> b h group t d", group=group)',
    ],
    "swiglu_flops": [
        "How many matrices does a token pass? What is the size of each?",
        "gate and up take (tokens, d_model) to (tokens, d_ff), down goes back. Each product costs 2 m k n.",
        "3 * matmul_flops(tokens, d_model, d_ff). The products element by element are not counted.",
    ],
    "checkpoint_bytes": [
        "Which of the four things that training keeps must be in a file to go on from it?",
        "Gradients and activations are made anew. Parameters and both moments stay, 4 bytes each, and for every tensor a "
        "step count of 4 bytes.",
        "4 * num_parameters, and with the optimizer 8 * num_parameters + 4 * num_tensors more.",
    ],
}


def run_loss(student, logits, ids):
    return student.next_token_loss(logits, ids)


def loss_of(student, logits, ids):
    found = ask(student, some_tensor(1_000), run_loss, logits, ids, what="the loss")
    expect(found.dim() == 0, f"one mean is asked for, and the answer has the shape {tuple(found.shape)}")
    return found.item()


@check("next_token_loss", title="the table of the four words")
def four_words(student, rng):
    table = torch.tensor([[1, 4, 2, 1], [1, 1, 2, 4], [4, 2, 1, 1], [4, 2, 1, 1]]) / 8
    ids = torch.tensor([[0, 1, 2, 3]])
    found = loss_of(student, table.log()[ids], ids)
    expect(abs(found - 2) > 1e-4, "2 is the loss in bits; PyTorch's unit is the nat, so leave the natural logarithm")
    expect(abs(found - 6 * math.log(2)) > 1e-4, "that is the sum of the three surprises: the mean is asked for")
    wrapped = (
        "four predictions were judged, and the text has three: leave out the last position, nothing comes after it"
    )
    expect(abs(found - 1.75 * math.log(2)) > 1e-4, wrapped)
    expect_close(found, 2 * math.log(2), "three predictions cost 1, 2 and 3 bits, 2 on average, which is 2 ln 2 nats")


@check("next_token_loss", title="each position is judged by the next token")
def shifted(student, rng):
    ids = torch.tensor([[1, 3, 0, 2, 2], [0, 1, 1, 3, 2]])
    own = 9.0 * torch.nn.functional.one_hot(ids, 4)  # logits that know the token itself
    right = 9.0 * torch.nn.functional.one_hot(ids.roll(-1, 1), 4)  # logits that know the next one
    right[:, -1] = torch.tensor([0.0, 0.0, 0.0, 3.0])  # the last position has no next token: what it says is nothing
    expect(loss_of(student, own, ids) > 1, "a model that repeats its input gets a low loss: judge by ids[:, 1:]")
    found = loss_of(student, right, ids)
    expect(found < 1, "a model that knows each next token has a high loss: position t goes with token t + 1")
    expect(found < 0.1, "the last position was judged, too: nothing comes after it, so leave its logits out")


@check("next_token_loss", title="large logits, and gradients")
def sound(student, rng):
    ids = torch.tensor([[0, 1, 0]])
    large = torch.tensor([[[-900.0, 900.0], [900.0, -900.0], [0.0, 0.0]]])
    expect_close(loss_of(student, large, ids), 0.0, "sure and right is a loss of 0, also for logits of 900")


def run_bits(student, nats, tokens, size):
    return student.bits_per_byte(nats, tokens, size)


@check("bits_per_byte", title="four words of nine bytes")
def words(student, rng):
    found = ask(student, float, run_bits, 2 * math.log(2), 3, 9)
    expect(abs(found - 2 * math.log(2) / 3) > 1e-9, "those are nats: divide by ln 2 to get bits")
    expect(
        abs(found - 6) > 1e-9, "two bits a token over nine bytes of three tokens: multiply by tokens, divide by bytes"
    )
    expect_close(found, 2 / 3, "three tokens of 2 bits are 6 bits for 9 bytes")


@check("bits_per_byte", title="a byte for each token")
def equal(student, rng):
    expect_close(ask(student, float, run_bits, math.log(256), 10, 10), 8.0, "a byte with no model costs 8 bits")


def run_split(student, x, heads):
    return student.split_heads(x, heads)


@check("split_heads", title="each head has its slice of each token")
def slices(student, rng):
    x = torch.arange(2 * 3 * 8.0).reshape(2, 3, 8)
    found = ask(student, some_tensor(1_000), run_split, x, 4)
    wrong = x.reshape(2, 4, 3, 2)
    expect(
        not torch.equal(found, wrong),
        "the shape is right and the numbers are mixed up: a reshape cannot move the heads before seq; split, then swap",
    )
    expect(
        not torch.equal(found, x.reshape(2, 3, 2, 4).permute(0, 3, 1, 2)), "split as (h d), heads outside, not as (d h)"
    )
    expect_equal(found, x.reshape(2, 3, 4, 2).transpose(1, 2), "head h of token t is x[b, t, 2 * h : 2 * h + 2]")


def run_split_view(student, x, heads):
    return student.split_heads(x, heads).untyped_storage().data_ptr() == x.untyped_storage().data_ptr()


@check("split_heads", title="and no byte moves")
def split_is_a_view(student, rng):
    expect(
        student.run(run_split_view, torch.zeros(2, 3, 8), 4), "the right strides do it without a copy: return a view"
    )


def run_keys(student, keys, group):
    found = student.shared_keys(keys, group)
    return found.clone(), found.untyped_storage().data_ptr() == keys.untyped_storage().data_ptr()


@check("shared_keys", title="the same keys for each of a group")
def same_keys(student, rng):
    keys = torch.arange(2 * 3 * 4 * 5.0).reshape(2, 3, 4, 5)
    found, _ = ask(student, [some_tensor(10_000), bool], run_keys, keys, 6)
    expect_equal(found, keys[:, :, None].expand(2, 3, 6, 4, 5).clone(), "found[b, h, g] must be keys[b, h] for every g")


@check("shared_keys", title="no byte copied")
def no_copy(student, rng):
    _, is_view = ask(student, [some_tensor(10_000), bool], run_keys, torch.zeros(1, 2, 4, 5), 3)
    expect(is_view, "the keys were copied: a dimension of stride 0 repeats them for nothing (expand, einops.repeat)")


def run_swiglu(student, *sizes):
    return student.swiglu_flops(*sizes)


@check("swiglu_flops", title="three matrices")
def three(student, rng):
    found = ask(student, int, run_swiglu, 5, 7, 11)
    expect(found != 2 * 2 * 5 * 7 * 11, "that is two matrices: SwiGLU has gate, up and down")
    expect(found != 3 * 5 * 7 * 11, "each multiplication comes with an addition: 2 m k n")
    expect(found != 3 * 2 * 7 * 11, "that is for one token: multiply by tokens")
    expect_equal(found, 2310, "5 tokens, d_model 7 and d_ff 11 take 3 products of 2 · 5 · 7 · 11")


def run_checkpoint(student, *sizes):
    return student.checkpoint_bytes(*sizes)


@check("checkpoint_bytes", title="to read with: the parameters")
def for_reading(student, rng):
    found = ask(student, int, run_checkpoint, 1_000, 10, False)
    expect(found != 2_000, "the parameters are in float32 here: 4 bytes each")
    expect_equal(found, 4_000, "1,000 float32 parameters and no optimizer")


@check("checkpoint_bytes", title="to train on: the optimizer's state, too")
def for_training(student, rng):
    found = ask(student, int, run_checkpoint, 1_000, 10, True)
    expect(found not in (16_000, 16_040), "gradients are not saved: the next step makes new ones")
    expect(found != 8_000, "AdamW keeps two moments for each parameter")
    expect(found != 12_000, "nearly: AdamW also keeps a step count of 4 bytes for each of the 10 tensors")
    expect_equal(found, 12_040, "parameters and two moments of 4 bytes, and 10 step counts of 4 bytes")
