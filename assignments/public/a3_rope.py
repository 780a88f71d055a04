"""Public checks of a3_rope: run them as often as you like. The hidden checks judge the same things on other inputs.

One file, though a long one: it is handed out, and has to work alone.
"""

import math

import torch

from cs336lite.course.show import expect_close, expect_equal
from cs336lite.course.spec import Fail, StudentError, check, expect

HINTS = {
    "angles": [
        "Work out by hand what stands in the answer for theta = 100, d_k = 4 and the positions 0, 1, 2: two numbers each.",
        "The speeds depend on i alone, the angles on position and i: an outer product. torch.arange has a step, and an "
        "axis of size 1 at the end of the positions lets them broadcast against the speeds.",
        "Make the exponents 0, 2, 4, … divided by d_k, in float32 or float64. Raise theta to minus these: one speed a pair. "
        "Then positions[..., None] times the speeds has the shape that is asked for, whatever shape the positions have.",
    ],
    "rotation": [
        "Draw the vector (1, 0), turn it by 90 degrees counter-clockwise, and do the same with (0, 1). What do x cos - y sin "
        "and x sin + y cos give?",
        "Take all first dimensions of the pairs as one tensor and all second ones as another: a slice with a step of 2 does "
        "it. Both new tensors are computed from the two old ones, so write neither of them over an old one.",
        "first = x[..., 0::2], second = x[..., 1::2]. Compute both new tensors, put them side by side with torch.stack on a "
        "new last axis, and flatten the last two axes: so the pairs are neighbours again. Cast to the dtype of x at the end.",
    ],
    "layouts": [
        "Write the numbers 0 to 7 as dimensions of the interleaved layout, and below them the same eight sorted into the "
        "half layout. Where did each go?",
        "In half, the first dimensions of all pairs come first, then all the second ones. The rotation is the same two "
        "formulas; only cutting apart and putting together differ. A permutation is a list of indices.",
        "rotate_halves: cut x into two halves with chunk, apply the two formulas, join them with torch.cat. The permutation "
        "from interleaved is 0, 2, 4, …, 1, 3, 5, …; reshape arange to rows of two, transpose, flatten. Back: reshape to two "
        "rows instead. index_select takes the dimension as an argument.",
    ],
    "positions": [
        "What does indexing a table of shape (9, 4) with a tensor of shape (2, 1, 3) give? Try it. And with a -1 in it?",
        "Indexing already has the shape that is asked for. What is left to do is to refuse positions that are none. A "
        "position too large raises an IndexError on a CPU by itself; one below 0 does not.",
        "If there are any positions, look at the smallest and the largest; raise a ValueError with both and with "
        "max_seq_len in its text if one lies outside. Then return table[token_positions].",
    ],
    "module": [
        "Which of your functions needs only the arguments of __init__, and which needs x? The first kind of work can be done "
        "once.",
        "In __init__: check the arguments, then make the angles of all positions, and keep their cosines and sines as "
        "buffers. register_buffer has an argument that keeps them out of state_dict. In forward: look up, then rotate.",
        "super().__init__() first. ValueError for odd d_k and for an unknown layout. angles = rotation_angles(torch.arange("
        "max_seq_len, device=device), d_k, theta); register_buffer for angles.cos() and angles.sin() in float32 with "
        "persistent=False. forward: look up both at token_positions and call rotate_pairs or rotate_halves.",
    ],
    "relative": [
        "Three tensors come in. Which of them take part in the scores?",
        "Turn q by q_positions and k by k_positions, and go on as attention does. Where do the values come in, and is there "
        "anything about them that depends on a position?",
        "scores = rope(q, q_positions) times the transpose of rope(k, k_positions), divided by the root of d_k; softmax over "
        "the last axis; times v as it came.",
    ],
    "partial": [
        "Cut, turn, join. On which axis, and where?",
        "The last axis holds the dimensions of a head. Give rope the first rotary_dim of them: it was made for exactly that "
        "many. The others keep their places behind.",
        "torch.cat of rope(x[..., :rotary_dim], token_positions) and x[..., rotary_dim:] along the last axis. Assigning into a "
        "slice of x would change what you were given.",
    ],
}


def near(a, b, tolerance=1e-4):
    """Are these nearly equal, as tensors of one shape?"""
    b = torch.as_tensor(b)
    if not isinstance(a, torch.Tensor) or a.shape != b.shape:
        return False
    return bool(((a.double() - b.double()).abs() < tolerance).all())


def numbers(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


# ---------------------------------------------------------------------------------------------------------------------
# 1 · angles


def run_angles(student, positions, d_k, theta):
    return student.rotation_angles(positions, d_k, theta)


@check("angles", title="theta 100 and d_k 4, by hand")
def by_hand(student, rng):
    angles = student.run(run_angles, torch.arange(4), 4, 100.0)
    expect(
        isinstance(angles, torch.Tensor) and angles.shape == (4, 2), "four positions and two pairs: the shape is (4, 2)"
    )
    expect_close(angles[0], [0.0, 0.0], "position 0 has the angle 0 in all pairs", 1e-4)
    expect_close(angles[1, :1], [1.0], "the first pair, i = 0, turns by theta ** 0 = 1 a position", 1e-4)
    expect(not near(angles[1, 1:], [100**-0.25]), "the exponent is -2i / d_k, twice as large as yours")
    expect_close(angles[1, 1:], [0.1], "the second pair, i = 1, turns by 100 ** (-2 / 4) = 0.1 a position", 1e-4)
    expect_close(angles[3], [3.0, 0.3], "position 3 has three times the angles of position 1: 3 and 0.3", 1e-4)


@check("angles", title="positions of any shape")
def any_shape(student, rng):
    angles = student.run(run_angles, torch.tensor([[[5], [0]], [[7], [2]]]), 6, 1000.0)
    expect(isinstance(angles, torch.Tensor), "the answer must be a tensor")
    expect(angles.shape == (2, 2, 1, 3), "positions of shape (2, 2, 1) with d_k = 6 have angles of shape (2, 2, 1, 3)")
    expect_close(angles[1, 0, 0], [7.0, 0.7, 0.07], "position 7 with theta 1,000 has the angles 7, 0.7 and 0.07", 1e-4)


@check("angles", title="float32 or better, far away too")
def far_away(student, rng):
    angles = student.run(run_angles, torch.tensor([100_000, 100_001]), 4, 10_000.0)
    expect(angles.dtype in (torch.float32, torch.float64), "angles must be float32 or float64, whatever the model uses")
    expect_close(
        angles[1] - angles[0], [1.0, 0.01], "from position 100,000 to 100,001 angles must grow by 1 and 0.01", 0.02
    )


# ---------------------------------------------------------------------------------------------------------------------
# 2 · rotation


def run_pairs(student, x, angles):
    return student.rotate_pairs(x, angles.cos(), angles.sin())


def run_keeping(student, x, angles):
    kept = x.clone()
    student.rotate_pairs(x, angles.cos(), angles.sin())
    return bool((x == kept).all())


QUARTER = torch.tensor([math.pi / 2, 0.0])


@check("rotation", title="a quarter turn of the first pair")
def quarter(student, rng):
    answer = student.run(run_pairs, torch.tensor([[1.0, 0, 3, 4], [0, 1, 3, 4]]), QUARTER)
    expect(isinstance(answer, torch.Tensor) and answer.shape == (2, 4), "the result has the shape of x")
    expect(not near(answer[0], [0.0, -1, 3, 4]), "(1, 0) became (0, -1): turn counter-clockwise, to (0, 1)")
    expect(
        not near(answer[0], [-3.0, 0, 1, 4]), "pair 0 is the dimensions 0 and 1, not 0 and 2: that is the other layout"
    )
    expect_close(
        answer[0], [0.0, 1, 3, 4], "a quarter turn makes (1, 0) to (0, 1), and the second pair turns by nothing", 1e-4
    )
    expect_close(answer[1], [-1.0, 0, 3, 4], "a quarter turn makes (0, 1) to (-1, 0)", 1e-4)


@check("rotation", title="lengths, dtype, and x itself")
def lengths(student, rng):
    x, angles = numbers(2, 5, 6), numbers(5, 3, seed=1)
    expect(student.run(run_keeping, x.clone(), angles), "x has changed: write the result into a new tensor")
    answer = student.run(run_pairs, x.clone(), angles)
    expect_close(
        answer.norm(dim=-1),
        x.norm(dim=-1),
        "a rotation keeps the length of every vector; is a value overwritten too early?",
        1e-4,
    )
    low = student.run(run_pairs, x.bfloat16(), angles)
    expect(low.dtype == torch.bfloat16, "x in bfloat16 must come back in bfloat16, also with cosines in float32")
    expect_close(low, answer, "x in bfloat16 must be turned as in float32", 0.05)


def run_gradient(student, name, x, angles):
    x = x.clone().requires_grad_()
    answer = getattr(student, name)(x, angles.cos(), angles.sin())
    if not answer.requires_grad:
        return None
    answer.sum().backward()
    return x.grad


@check("rotation", title="a gradient for x")
def gradient(student, rng):
    x, angles = numbers(5, 6), numbers(5, 3, seed=1)
    found = student.run(run_gradient, "rotate_pairs", x, angles)
    expect(found is not None, "no gradient comes back to x: do without detach, data, numpy and no_grad")
    one = torch.stack((angles.cos() + angles.sin(), angles.cos() - angles.sin()), dim=-1).flatten(-2)
    expect_close(
        found, one, "the gradient of the sum must be cos + sin for the first of a pair, cos - sin for the second", 1e-4
    )


# ---------------------------------------------------------------------------------------------------------------------
# 3 · layouts


def run_halves(student, x, angles):
    return student.rotate_halves(x, angles.cos(), angles.sin())


def run_order(student, name, x, dim):
    return getattr(student, name)(x, dim=dim)


@check("layouts", title="a quarter turn of the first pair, in halves")
def quarter_half(student, rng):
    answer = student.run(run_halves, torch.tensor([[1.0, 3, 0, 4], [0, 3, 1, 4]]), QUARTER)
    expect(isinstance(answer, torch.Tensor) and answer.shape == (2, 4), "the result has the shape of x")
    expect(not near(answer[0], [0.0, 3, -1, 4]), "(1, 0) became (0, -1): turn counter-clockwise, to (0, 1)")
    expect_close(
        answer[0], [0.0, 3, 1, 4], "pair 0 is the dimensions 0 and 2: a quarter turn makes (1, 0) to (0, 1)", 1e-4
    )
    expect_close(answer[1], [-1.0, 3, 0, 4], "a quarter turn makes (0, 1) to (-1, 0)", 1e-4)


@check("layouts", title="halves: dtype, gradient, and x itself")
def half_keeps(student, rng):
    x, angles = numbers(2, 5, 6), numbers(5, 3, seed=1)
    kept = x.clone()
    answer = student.run(run_halves, x, angles)
    expect(torch.equal(x, kept), "x has changed: write the result into a new tensor")
    low = student.run(run_halves, x.bfloat16(), angles)
    expect(low.dtype == torch.bfloat16, "x in bfloat16 must come back in bfloat16, also with cosines in float32")
    expect_close(low, answer, "x in bfloat16 must be turned as in float32", 0.05)
    found = student.run(run_gradient, "rotate_halves", x, angles)
    expect(found is not None, "no gradient comes back to x: do without detach, data, numpy and no_grad")


def run_default(student, name, x):
    return getattr(student, name)(x)


@check("layouts", title="the last dimension by default")
def default_dimension(student, rng):
    x = numbers(4, 6)
    for name, order in (("interleaved_to_half", [0, 2, 4, 1, 3, 5]), ("half_to_interleaved", [0, 3, 1, 4, 2, 5])):
        try:
            answer = student.run(run_default, name, x)
        except StudentError as error:
            raise Fail(f"without dim, {name} must permute the last dimension: {error}") from error
        expect_close(answer, x[:, order], f"without dim, {name} must permute the last dimension", 1e-4)


@check("layouts", title="the order of eight dimensions, both ways")
def both_ways(student, rng):
    half = torch.tensor([0, 2, 4, 6, 1, 3, 5, 7])
    there = student.run(run_order, "interleaved_to_half", torch.arange(8), -1)
    expect(not torch.equal(there, torch.tensor([0, 4, 1, 5, 2, 6, 3, 7])), "that is the way from half to interleaved")
    expect(torch.equal(there, half), "0 1 2 3 4 5 6 7 must become 0 2 4 6 1 3 5 7")
    back = student.run(run_order, "half_to_interleaved", half, -1)
    expect(torch.equal(back, torch.arange(8)), "0 2 4 6 1 3 5 7 must become 0 1 2 3 4 5 6 7 again")


@check("layouts", title="along any dimension")
def any_dimension(student, rng):
    x = numbers(2, 6, 3)
    for name, order in (("interleaved_to_half", [0, 2, 4, 1, 3, 5]), ("half_to_interleaved", [0, 3, 1, 4, 2, 5])):
        for dim in (1, -2):
            answer = student.run(run_order, name, x, dim)
            expect(
                answer.shape == x.shape and torch.equal(answer, x[:, order]),
                f"{name} with dim={dim} must permute the rows",
            )


@check("layouts", title="the two rotations agree")
def agree(student, rng):
    x, angles = numbers(3, 5, 8), numbers(5, 4, seed=2)
    one = student.run(run_order, "interleaved_to_half", student.run(run_pairs, x, angles), -1)
    other = student.run(run_halves, student.run(run_order, "interleaved_to_half", x, -1), angles)
    expect_close(
        one, other, "to turn and then permute must be the same as to permute and then turn in the other layout", 1e-4
    )


# ---------------------------------------------------------------------------------------------------------------------
# 4 · positions


def run_look_up(student, table, positions):
    return student.look_up(table, positions)


def run_refused(student, table, positions):
    try:
        student.look_up(table, positions)
    except (ValueError, IndexError):
        return True
    return False


@check("positions", title="rows in any order, more than once")
def rows(student, rng):
    table = numbers(9, 4)
    answer = student.run(run_look_up, table, torch.tensor([7, 0, 3, 3]))
    expect(
        not near(answer, table[:4]), "the positions are ignored: row j of the answer is row positions[j] of the table"
    )
    expect_close(answer, table[[7, 0, 3, 3]], "the positions 7, 0, 3, 3 must give these four rows of the table", 1e-4)


@check("positions", title="positions of any shape")
def shapes(student, rng):
    table = numbers(9, 4)
    for shape in ((2, 3), (2, 1, 3), (1,)):
        positions = torch.arange(math.prod(shape)).reshape(shape)
        answer = student.run(run_look_up, table, positions)
        expect(
            isinstance(answer, torch.Tensor) and answer.shape == (*shape, 4),
            f"positions {shape} must give {(*shape, 4)}",
        )
        expect_close(answer, table[: math.prod(shape)].reshape(*shape, 4), "each position must give its own row", 1e-4)


@check("positions", title="positions that are none")
def outside(student, rng):
    table = numbers(9, 4)
    expect_close(
        student.run(run_look_up, table, torch.tensor([8])), table[8:], "the last row of nine is position 8", 1e-4
    )
    expect(
        student.run(run_refused, table, torch.tensor([0, 9])),
        "with nine rows there is no position 9: raise a ValueError",
    )
    message = "a position of -1 gave the last row: raise a ValueError for what is below 0"
    expect(student.run(run_refused, table, torch.tensor([2, -1])), message)


# ---------------------------------------------------------------------------------------------------------------------
# 5 · module


def run_rope(student, theta, d_k, length, layout, x, positions):
    return student.RotaryPositionalEmbedding(theta, d_k, length, layout=layout)(x, positions)


def run_making(student, d_k, layout):
    try:
        student.RotaryPositionalEmbedding(100.0, d_k, 8, layout=layout)
    except ValueError:
        return True
    return False


def run_state(student):
    rope = student.RotaryPositionalEmbedding(100.0, 4, 8)
    return len(list(rope.parameters())), list(rope.state_dict())


def run_converted(student, x, positions):
    import torch

    rope = student.RotaryPositionalEmbedding(10_000.0, 8, 4_000)
    return rope(x, positions), rope.to(torch.bfloat16)(x.bfloat16(), positions)


@check("module", title="positions 0 and 1, both layouts")
def first_positions(student, rng):
    x = torch.tensor([[1.0, 0, 1, 0], [1.0, 0, 1, 0]])
    for layout, pairs in (("interleaved", [(0, 1), (2, 3)]), ("half", [(0, 2), (1, 3)])):
        answer = student.run(run_rope, 100.0, 4, 8, layout, x, torch.tensor([0, 1]))
        expect(isinstance(answer, torch.Tensor) and answer.shape == (2, 4), "the result has the shape of x")
        expect_close(answer[0], x[0], "position 0 is not turned", 1e-4)
        right = torch.zeros(4)
        for (first, second), angle in zip(pairs, (1.0, 0.1)):
            right[first] = x[1, first] * math.cos(angle) - x[1, second] * math.sin(angle)
            right[second] = x[1, first] * math.sin(angle) + x[1, second] * math.cos(angle)
        expect_close(answer[1], right, f'layout "{layout}": at position 1 pair 0 turns by 1 and pair 1 by 0.1', 1e-4)


@check("module", title="shapes of positions")
def shapes_of_positions(student, rng):
    x = numbers(2, 3, 4, 6)
    positions = torch.tensor([[5, 0, 7, 2], [1, 1, 6, 3]])
    answer = student.run(run_rope, 100.0, 6, 8, "interleaved", x, positions[:, None])
    expect(isinstance(answer, torch.Tensor) and answer.shape == x.shape, "positions (batch, 1, seq) must be accepted")
    for row in range(2):
        one = student.run(run_rope, 100.0, 6, 8, "interleaved", x[row], positions[row])
        expect_close(answer[row], one, "each row of a batch must be turned by its own positions, in all heads", 1e-4)


@check("module", title="nothing to learn, nothing to save")
def state(student, rng):
    parameters, saved = student.run(run_state)
    expect_equal(parameters, 0, "there must be no parameters: an optimizer would change them")
    expect(
        not saved, f"state_dict() must be empty, and holds {', '.join(saved)}: register_buffer(..., persistent=False)"
    )


@check("module", title="after .to(torch.bfloat16)")
def converted(student, rng):
    plain, low = student.run(run_converted, numbers(4, 8), torch.tensor([0, 1, 3_001, 3_999]))
    expect(low.dtype == torch.bfloat16, "x in bfloat16 must come back in bfloat16")
    message = ".to(torch.bfloat16) rounds buffers of floating-point numbers: cosines bear it, angles and speeds do not"
    expect_close(low, plain, message, 0.1)


def run_outside(student, layout, x, positions):
    rope = student.RotaryPositionalEmbedding(100.0, 4, 8, layout=layout)
    rope(x, positions.clamp(0, 7))
    try:
        rope(x, positions)
    except (ValueError, IndexError):
        return True
    return False


@check("module", title="positions that are none")
def none_known(student, rng):
    for layout in ("interleaved", "half"):
        refused = student.run(run_outside, layout, numbers(2, 4), torch.tensor([2, 8]))
        expect(refused, "with max_seq_len 8 there is no position 8: raise a ValueError")
        message = "a position of -1 was taken for the last one: raise a ValueError for what is below 0"
        expect(student.run(run_outside, layout, numbers(2, 4), torch.tensor([2, -1])), message)


def run_learning(student, layout, x, positions):
    x = x.clone().requires_grad_()
    answer = student.RotaryPositionalEmbedding(100.0, 4, 8, layout=layout)(x, positions)
    if not answer.requires_grad:
        return None
    answer.square().sum().backward()
    return x.grad


@check("module", title="gradients")
def learning(student, rng):
    x = numbers(3, 4)
    for layout in ("interleaved", "half"):
        found = student.run(run_learning, layout, x, torch.tensor([5, 0, 2]))
        expect(found is not None, "no gradient comes back to x: a model cannot learn through this")
        expect_close(found, 2 * x, "lengths stay, so the gradient of the sum of all squares must be 2 x", 1e-4)


@check("module", title="bad arguments")
def arguments(student, rng):
    expect(
        student.run(run_making, 5, "interleaved"), "d_k = 5 leaves a dimension without a partner: raise a ValueError"
    )
    expect(student.run(run_making, 6, "spiral"), "there is no layout 'spiral': raise a ValueError")


def run_without_library(student, theta, d_k, length, x, positions):
    import torch.onnx.ops as ops

    kept, used = ops.rotary_embedding, []

    def noted(*args, **kwargs):
        used.append(True)
        return kept(*args, **kwargs)

    ops.rotary_embedding = noted
    try:
        student.RotaryPositionalEmbedding(theta, d_k, length)(x, positions)
    finally:
        ops.rotary_embedding = kept
    return bool(used)


@check("module", title="your own rotation, not the library's")
def own(student, rng):
    used = student.run(run_without_library, 100.0, 4, 8, numbers(1, 2, 4), torch.arange(2))
    expect(
        not used, "torch.onnx.ops.rotary_embedding raises an error where your code is graded: turn the pairs yourself"
    )


# ---------------------------------------------------------------------------------------------------------------------
# 6 · relative


def turn(x, positions):
    """The rotation that the last two exercises are given: that of `Rope` in their drivers."""
    angles = positions[..., None] * 100.0 ** (-torch.arange(0, x.shape[-1], 2) / x.shape[-1])
    pairs = torch.view_as_complex(x.unflatten(-1, (-1, 2)).contiguous())
    return torch.view_as_real(pairs * torch.polar(torch.ones_like(angles), angles)).flatten(-2)


def run_attention(student, *arguments):
    import torch

    class Rope(torch.nn.Module):
        def forward(self, x, token_positions):
            angles = token_positions[..., None] * 100.0 ** (-torch.arange(0, x.shape[-1], 2) / x.shape[-1])
            pairs = torch.view_as_complex(x.unflatten(-1, (-1, 2)).contiguous())
            return torch.view_as_real(pairs * torch.polar(torch.ones_like(angles), angles)).flatten(-2)

    return student.rotary_attention(Rope(), *arguments)


@check("relative", title="a single key")
def single_key(student, rng):
    q, k, v = numbers(1, 4), numbers(1, 4, seed=1), numbers(1, 4, seed=2)
    answer = student.run(run_attention, q, k, v, torch.tensor([7]), torch.tensor([3]))
    expect(not near(answer, turn(v, torch.tensor([3]))), "values are turned: they stay as they are")
    expect_close(answer, v, "with one key the weight is 1, and the result is its value", 1e-4)


@check("relative", title="three queries, five keys")
def three_and_five(student, rng):
    q, k, v = numbers(2, 3, 6), numbers(2, 5, 6, seed=1), numbers(2, 5, 4, seed=2)
    q_at, k_at = torch.tensor([9, 4, 6]), torch.tensor([0, 8, 2, 5, 1])
    answer = student.run(run_attention, q, k, v, q_at, k_at)
    expect(isinstance(answer, torch.Tensor) and answer.shape == (2, 3, 4), "the result must have the shape (2, 3, 4)")
    scores = turn(q, q_at) @ turn(k, k_at).transpose(-2, -1)
    expect(not near(answer, scores.softmax(-1) @ v), "divide the scores by the root of d_k")
    message = "queries turn by q_positions, keys by k_positions; softmax over the keys; then the values, as they came"
    expect_close(answer, (scores / 6**0.5).softmax(-1) @ v, message, 1e-4)


@check("relative", title="everything later by the same number")
def later(student, rng):
    q, k, v = numbers(3, 6), numbers(5, 6, seed=1), numbers(5, 6, seed=2)
    q_at, k_at = torch.tensor([9, 4, 6]), torch.arange(5)
    one, other = (student.run(run_attention, q, k, v, q_at + shift, k_at + shift) for shift in (0, 50))
    expect_close(one, other, "50 positions later the result must be the same: only distances count", 1e-4)
    moved = student.run(run_attention, q, k, v, q_at + 1, k_at)
    expect(not near(one, moved), "the result must change when the distances do")


# ---------------------------------------------------------------------------------------------------------------------
# 7 · partial


def run_part(student, x, positions, rotary_dim):
    import torch

    class Rope(torch.nn.Module):
        def forward(self, x, token_positions):
            angles = token_positions[..., None] * 100.0 ** (-torch.arange(0, x.shape[-1], 2) / x.shape[-1])
            pairs = torch.view_as_complex(x.unflatten(-1, (-1, 2)).contiguous())
            return torch.view_as_real(pairs * torch.polar(torch.ones_like(angles), angles)).flatten(-2)

    kept = x.clone()
    answer = student.rotate_part(Rope(), x, positions, rotary_dim)
    return answer, bool((x == kept).all())


@check("partial", title="four of ten dimensions")
def four_of_ten(student, rng):
    x, positions = numbers(2, 3, 10), torch.tensor([4, 1, 7])
    answer, same = student.run(run_part, x.clone(), positions, 4)
    expect(same, "x has changed: put the result into a new tensor")
    expect(isinstance(answer, torch.Tensor) and answer.shape == x.shape, "the result has the shape of x")
    expect(torch.equal(answer[..., 4:], x[..., 4:]), "the dimensions 4 to 9 must stay as they are")
    expect_close(
        answer[..., :4], turn(x[..., :4], positions), "the dimensions 0 to 3 must be what rope makes of them", 1e-4
    )


@check("partial", title="all of a head")
def all_of_it(student, rng):
    x, positions = numbers(3, 6), torch.tensor([4, 1, 7])
    try:
        answer, _ = student.run(run_part, x, positions, 6)
    except StudentError as error:
        raise Fail("rotary_dim may be the whole head: then nothing is left to put behind") from error
    expect_close(answer, turn(x, positions), "with rotary_dim 6 of 6 the result must be rope(x)", 1e-4)
