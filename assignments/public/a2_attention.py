"""Public checks of a2_attention: run them as often as you like. The hidden checks judge the same things on other inputs.

One file, though a long one: it is handed out, and has to work alone.
"""

import torch

from cs336lite.course.answers import blame
from cs336lite.course.show import expect_close, expect_equal
from cs336lite.course.spec import Fail, check, expect

LIBRARY = (  # what you are asked to write: where work is graded, these raise an error
    "torch.softmax",
    "torch.Tensor.softmax",
    "torch.nn.functional.softmax",
    "torch.special.softmax",
    "torch._softmax",
    "torch._safe_softmax",
    "torch.sparse.softmax",
    "torch.masked.softmax",
    "torch.log_softmax",
    "torch.Tensor.log_softmax",
    "torch.nn.functional.log_softmax",
    "torch.special.log_softmax",
    "torch._log_softmax",
    "torch.ops.aten.softmax",
    "torch.ops.aten._softmax",
    "torch.ops.aten._safe_softmax",
    "torch.nn.functional.scaled_dot_product_attention",
    "torch._C._nn.scaled_dot_product_attention",
    "torch.ops.aten.scaled_dot_product_attention",
    "torch._scaled_dot_product_attention_math",
    "torch.nn.functional.multi_head_attention_forward",
    "torch._native_multi_head_attention",
    "torch.nn.MultiheadAttention",
    "torch.nn.modules.activation.MultiheadAttention",
)

HINTS = {
    "softmax": [
        "Write the plain formula first and try it on [1000, 1000]. Which number do you have to subtract, and along which "
        "dimension do you look for it? keepdim=True keeps the result beside what it came from.",
        "Subtract the greatest score of each row. Where that is -inf, -inf minus -inf is not a number: subtract something "
        "harmless there. Then all powers of that row are 0, and so is their sum: which number may you divide by instead?",
        "Take amax along dim, put 0 where it is -inf (masked_fill or where), subtract, exp. The greatest score gives "
        "exactly 1, so a sum is 0 only in a row of nothing but -inf and at least 1 elsewhere: clamp it at 1 from below and "
        "divide. Use no operation whose name ends in _. For float16 and bfloat16 you may compute in float32 and convert back.",
    ],
    "attention": [
        "Three lines: scores, mask, weighted mean. Write down the shape of each. Which dimension of the scores counts keys?",
        "K with its last two dimensions exchanged (mT) times Q on the left gives (..., q, k). Divide by the root of the last "
        "dimension of Q. A forbidden key must have the score -inf before softmax, and softmax runs over the last dimension.",
        "scores = Q times K.mT, over the root of d; where the mask is False put -inf (masked_fill with the mask inverted by ~, "
        "not in place); your softmax along -1; times V. matmul broadcasts whatever stands in front. If your softmax gives "
        "zeros for rows of -inf, nothing more is needed for queries that may attend to no key.",
    ],
    "grouped": [
        "Draw 4 query heads and 2 heads of keys. Who shares with whom, in the table above? Then look at repeat and at "
        "repeat_interleave in the documentation of torch: one gives a b a b.",
        "Each head must be repeated num_heads // num_kv_heads times in place. In the module, k_proj and v_proj are smaller, "
        "and they are split into num_kv_heads heads of the same d_head.",
        "repeat_interleave along dimension 1, or einops' repeat with (kv group) in this order. In forward call it last, "
        "after rope and cache, just before attend.",
    ],
    "masks": [
        "Write the 5 by 5 table for five new tokens by hand. Which side is the query, rows or columns? May a token see itself?",
        "Compare positions with positions: one as a column, one as a row. The past keys need columns of True on the left. "
        "In forward the result and the mask of the caller meet in an &.",
        "positions[..., None, :] <= positions[..., :, None] says for each query (row) which new keys (columns) it may see. "
        "Concatenate (..., seq, past) of True on the left, and for positions of a batch put in a dimension for the heads. "
        "In forward: past is the number of keys minus the number of tokens; use the causal mask alone when mask is None.",
    ],
    "cross": [
        "Which of the three projections read x, and which read the context? For the mask: which keys of a sequence of length "
        "3, filled up to 5, may be attended to?",
        "Compare the numbers 0 … k-1 with each length; the result needs dimensions of size 1 for heads and queries. In "
        "forward, all that has to do with positions is for x alone.",
        "arange(k) < lengths[:, None] is (batch, k); index it with [:, None, None]. In forward choose the source of keys and "
        "values once, context if there is one and else x, and put rope, cache and the causal mask under 'if context is None'.",
    ],
    "positions": [
        "Where does the first token of x stand when the cache holds 7? When does the cache learn of the new tokens?",
        "Positions first, before update; rope on queries and keys after the split; then update; the causal mask after that, "
        "since only now you know how many keys there are.",
        "positions_of: what is given, else arange(start, start + seq) with start = cache.length or 0, on the device of x. In "
        "forward: rope(q, positions.unsqueeze(-2)), the same for k; k, v = cache.update(k, v); past = k.shape[2] - seq. "
        "unsqueeze(-2) makes (batch, 1, seq) out of (batch, seq), and does no harm to (seq,).",
    ],
    "multi_head": [
        "Begin with a forward for x alone: three projections, split, attend, join, o_proj. Print the shape after each step for "
        "batch 2, seq 5, 3 heads of 4 features; all of these differ, so a mixed up dimension shows.",
        "To split, unflatten the last dimension into (head, d_head), then transpose it with seq. To join, do the same backwards: "
        "transpose, then flatten. A view to the final shape without transpose runs, and is wrong.",
        "In __init__: super().__init__() first; four nn.Linear with bias=bias, q_proj from d_model to num_heads * d_head, k_proj "
        "and v_proj to num_kv_heads * d_head, o_proj back to d_model; call qk_norm(d_head) twice and keep both as attributes; "
        "keep attend, rope and causal. In forward call self.attend(q, k, v, mask), not your attention by name.",
    ],
}


# ---------------------------------------------------------------------------------------------------------------------
# Shared


def run_without_library(student, names):
    """Which of these library functions a small example calls, or "" for none."""
    import importlib
    from contextlib import ExitStack
    from unittest import mock

    import torch

    called = []

    def note(name):
        def instead(*args, **kwargs):
            called.append(name)
            raise NotImplementedError(name)

        return instead

    x = torch.arange(24.0).view(2, 3, 4) / 10
    with ExitStack() as stack:
        for name in names:
            path, _, last = name.rpartition(".")
            owner = importlib.import_module("torch")
            for part in path.split(".")[1:]:
                owner = getattr(owner, part)
            stack.enter_context(mock.patch.object(owner, last, note(name)))
        for call in (
            lambda: student.softmax(x, -1),
            lambda: student.scaled_dot_product_attention(x, x, x),
            lambda: student.MultiHeadAttention(4, 2)(x),
        ):
            try:
                call()
            except Exception:
                if called:
                    break
    return called[0] if called else ""


def own_code(student):
    name = student.run(run_without_library, LIBRARY)
    if name:
        raise Fail(f"{name} is called: this exercise asks you to write it, and it raises an error where work is graded")


def close(answer, expected, tolerance=1e-4):
    return answer.shape == expected.shape and torch.allclose(
        answer.double(), expected.double(), atol=tolerance, rtol=tolerance
    )


# ---------------------------------------------------------------------------------------------------------------------
# 1 · softmax


def run_softmax(student, x, dim):
    return student.softmax(x, dim)


def run_softmax_unchanged(student, x):
    before = x.clone()
    student.softmax(x, -1)
    return bool((x == before).all())


def run_softmax_gradient(student, x):
    x = x.clone().requires_grad_()
    weights = student.softmax(x, -1)
    if not weights.requires_grad:
        return None
    weights[..., 0].sum().backward()
    return x.grad


@check("softmax", title="1, 2 and 3")
def one_two_three(student, rng):
    own_code(student)
    weights = student.run(run_softmax, torch.tensor([[1.0, 2.0, 3.0]]), -1)
    expect(isinstance(weights, torch.Tensor), "softmax must return a tensor")
    expect(weights.shape == (1, 3), "softmax keeps the shape of what it is given")
    expect(abs(float(weights.sum()) - 1) < 1e-4, "the weights of a row must add up to 1")
    expect_close(weights, torch.tensor([[0.0900, 0.2447, 0.6652]]), "softmax of 1, 2, 3", 1e-3)


@check("softmax", title="along each dimension")
def each_dim(student, rng):
    x = torch.arange(24.0).view(2, 3, 4).sin()
    for dim in (0, 1, 2, -1, -2, -3):
        weights = student.run(run_softmax, x, dim)
        expect(weights.shape == x.shape, "softmax keeps the shape of what it is given")
        message = f"dim={dim} of a tensor of shape (2, 3, 4): the weights must add up to 1 along that dimension"
        expect(close(weights.sum(dim), torch.ones(weights.sum(dim).shape)), message)


@check("softmax", title="scores of any size")
def any_size(student, rng):
    for scores in ([1000.0, 1000.0], [-1000.0, -1000.0]):
        weights = student.run(run_softmax, torch.tensor(scores), 0)
        message = f"softmax of {scores} is one half each: subtract the greatest score before exp"
        expect(close(weights, torch.tensor([0.5, 0.5])), message)
    weights = student.run(run_softmax, torch.tensor([[1000.0, 1000.0], [-1000.0, -1000.0]]), -1)
    message = "rows of 1000s and of -1000s in one tensor: subtract the greatest score of each row, not of the tensor"
    expect(close(weights, torch.full((2, 2), 0.5)), message)


@check("softmax", title="-inf")
def minus_infinity(student, rng):
    x = torch.tensor([[0.0, -torch.inf], [-torch.inf, -torch.inf]])
    weights = student.run(run_softmax, x, -1)
    expect(close(weights[0], torch.tensor([1.0, 0.0])), "a score of -inf beside another one gets the weight 0")
    expect(close(weights[1], torch.zeros(2)), "a row of nothing but -inf must give zeros: 0/0 is not a number")
    gradient = student.run(run_softmax_gradient, x)
    expect(gradient is not None, "no gradient flows through softmax")
    message = "a row of nothing but -inf has NaN in its gradient: avoid the NaN, do not replace it afterwards"
    expect(bool(gradient.isfinite().all()), message)


@check("softmax", title="what comes in goes out")
def what_comes_in(student, rng):
    x = torch.tensor([[0.0, 1.0, 2.0]])
    for dtype in (torch.float64, torch.float16, torch.bfloat16):
        weights = student.run(run_softmax, x.to(dtype), -1)
        expect(weights.dtype == dtype, f"{dtype} goes in, so {dtype} must come out")
    scores = torch.tensor([[12.0, 0.22, -3.28]]).bfloat16()
    right = (scores.double() - 12).exp()  # the first takes nearly all
    ratio = student.run(run_softmax, scores, -1).double() / right
    expect(close(ratio, torch.ones(1, 3), 0.012), "small weights in bfloat16 are off by 3 %: compute them in float32")
    expect(student.run(run_softmax_unchanged, x), "x was changed: is an operation in place?")


# ---------------------------------------------------------------------------------------------------------------------
# 2 · attention


def run_attention(student, Q, K, V, mask=None):
    attention = student.scaled_dot_product_attention
    return attention(Q, K, V) if mask is None else attention(Q, K, V, mask)


def run_attention_with_none(student, Q, K, V):
    return student.scaled_dot_product_attention(Q, K, V, mask=None)


def run_attention_gradient(student, Q, K, V, mask):
    inputs = [tensor.clone().requires_grad_() for tensor in (Q, K, V)]
    out = student.scaled_dot_product_attention(*inputs, mask)
    if not out.requires_grad:
        return None
    out.sum().backward()
    return [tensor.grad for tensor in inputs]


@check("attention", title="two keys")
def two_keys(student, rng):
    own_code(student)
    Q, K, V = torch.tensor([[2.0, 0, 0, 0]]), torch.eye(4)[:2] * 2, torch.tensor([[1.0], [0.0]])
    out = student.run(run_attention, Q, K, V)
    expect(isinstance(out, torch.Tensor) and out.shape == (1, 1), "one query and values of size 1 give a (1, 1) tensor")
    expect(abs(float(out) - 0.982) > 2e-3, "the scores are not scaled: divide them by the root of d, here 2")
    expect(abs(float(out) - 0.731) > 2e-3, "the scores are divided by d: divide them by its root, here 2")
    expect(
        abs(float(out) - 0.881) < 2e-3, "scores 4 and 0 over the root of 4, softmax, values 1 and 0: this gives 0.881"
    )


@check("attention", title="shapes")
def shapes(student, rng):
    message = "Q (..., q, d), K (..., k, d) and V (..., k, dv) give (..., q, dv)"
    for front in ((), (2,), (2, 3)):
        Q, K, V = torch.ones(*front, 4, 8), torch.ones(*front, 6, 8), torch.arange(30.0).view(6, 5).expand(*front, 6, 5)
        out = student.run(run_attention, Q, K, V.clone())
        expect(out.shape == (*front, 4, 5), message)
        expect(
            close(out, V.mean(-2, keepdim=True).expand(*front, 4, 5)), "equal scores must give the mean of the values"
        )
    out = student.run(run_attention_with_none, torch.ones(2, 4, 8), torch.ones(2, 6, 8), torch.ones(2, 6, 5))
    expect(out.shape == (2, 4, 5), "mask=None is as good as no mask at all")
    out = student.run(run_attention, torch.ones(2, 3, 4, 8), torch.ones(6, 8), torch.ones(6, 5))
    expect(out.shape == (2, 3, 4, 5), "keys without a batch dimension must broadcast")


@check("attention", title="the mask")
def the_mask(student, rng):
    Q, K, V = torch.zeros(3, 4), torch.zeros(3, 4), torch.tensor([[1.0], [2.0], [6.0]])
    mask = torch.tensor([[True, False, False], [True, True, False], [False, False, False]])
    out = student.run(run_attention, Q, K, V, mask)
    expect(not close(out[:2], torch.tensor([[4.0], [6.0]])), "the mask is inverted: True means may attend")
    expect(
        close(out[:2], torch.tensor([[1.0], [1.5]])), "the first query may see value 1, the second 1 and 2: 1 and 1.5"
    )
    expect(not bool(out[2].isnan().any()), "the third query may attend to no key and gets NaN: it must get zeros")
    expect(close(out[2], torch.zeros(1)), "the third query may attend to no key: zeros, not the mean of all values")
    gradients = student.run(run_attention_gradient, Q, K, V, mask)
    expect(gradients is not None, "no gradient flows through attention")
    finite = all(gradient is not None and bool(gradient.isfinite().all()) for gradient in gradients)
    expect(finite, "a query that may attend to no key puts NaN into the gradients")


@check("attention", title="dtypes")
def attention_dtypes(student, rng):
    mask = torch.tensor([[True, False], [True, True]])
    plain = torch.zeros(2, 4), torch.zeros(2, 4), torch.eye(2)
    means = torch.tensor([[1.0, 0.0], [0.5, 0.5]])
    message = (
        "this is judged when the mask works in float32: each query takes the mean of the values that it may attend to"
    )
    expect(close(student.run(run_attention, *plain, mask), means), message)
    for dtype in (torch.float64, torch.float16, torch.bfloat16):
        message = (
            f"{dtype} with a mask fails, and float32 does not: does the number in place of -inf fit, are dtypes mixed?"
        )
        with blame({"RuntimeError": message}, lambda: student.run(run_attention, *plain, mask)):
            out = student.run(run_attention, *(tensor.to(dtype) for tensor in plain), mask)
        expect(out.dtype == dtype, f"{dtype} goes in, so {dtype} must come out")
        expect(close(out, means, 1e-2), f"the mask does not work in {dtype}")


# ---------------------------------------------------------------------------------------------------------------------
# The module


def run_module(student, d_model, heads, options, weights, calls):
    """The outputs for several calls; a true ``rope`` or ``cache`` stands for a simple one, and what it gets is noted."""
    import torch

    cached, ropes, attended = [], [], []

    class Rope(torch.nn.Module):
        def forward(self, x, token_positions):
            ropes.append(token_positions.clone())
            return x * (1 + token_positions.to(x.dtype).broadcast_to(x.shape[:-1])[..., None])

    class Cache:
        length = 0

        def update(self, k, v):
            cached.append((k.clone(), v.clone()))
            self.length += k.shape[2]
            return torch.cat([k for k, _ in cached], 2), torch.cat([v for _, v in cached], 2)

    def attend(Q, K, V, mask=None):
        attended.append((Q, K, V, mask))
        return V[:, :, : Q.shape[2]]

    options = dict(options)
    for name, stand_in in (("rope", Rope()), ("attend", attend)):
        if options.get(name):
            options[name] = stand_in
    module = student.MultiHeadAttention(d_model, heads, **options)
    with torch.no_grad():
        for name, value in weights.items():
            getattr(module, name).weight.copy_(value)
    cache, outputs = Cache(), []
    for x, arguments in calls:
        arguments = dict(arguments)
        if arguments.get("cache"):
            arguments["cache"] = cache
        outputs.append(module(x, **arguments))
    return outputs, cached, ropes, attended


def identity(d_model, scores=0.0):
    """Weights with which attention takes plain means of its inputs (or, with ``scores``, of those that are like x)."""
    eye = torch.eye(d_model)
    return {"q_proj": scores * eye, "k_proj": eye, "v_proj": eye, "o_proj": eye}


def numbers(*values):
    """(1, seq, 2): each token a number, and 1."""
    return torch.tensor([[[value, 1.0] for value in values]])


# ---------------------------------------------------------------------------------------------------------------------
# 3 · grouped


def run_repeat_kv(student, x, num_heads):
    return student.repeat_kv(x, num_heads)


@check("grouped", title="neighbours share")
def neighbours(student, rng):
    x = torch.tensor([1.0, 2.0]).view(1, 2, 1, 1)
    repeated = student.run(run_repeat_kv, x, 4)
    expect(repeated.shape == (1, 4, 1, 1), "two heads repeated to four: (1, 4, 1, 1)")
    expect(repeated.flatten().tolist() != [1, 2, 1, 2], "neighbours share: 1 1 2 2, not 1 2 1 2")
    expect_equal(repeated.flatten().tolist(), [1.0, 1.0, 2.0, 2.0], "two heads 1 and 2 repeated to four are 1 1 2 2")


def run_shapes(student, options):
    module = student.MultiHeadAttention(8, 4, **options)
    return {name: tuple(parameter.shape) for name, parameter in module.named_parameters()}


@check("grouped", title="the module has fewer keys and values")
def fewer(student, rng):
    shapes = student.run(run_shapes, {"num_kv_heads": 2})
    expect_equal(shapes.get("k_proj.weight"), (4, 8), "8 features, 4 heads, 2 of keys: k_proj.weight is (2 * 2, 8)")
    expect_equal(shapes.get("v_proj.weight"), (4, 8), "8 features, 4 heads, 2 of values: v_proj.weight is (2 * 2, 8)")
    weights = {"q_proj": torch.eye(4), "k_proj": torch.eye(4)[:2], "v_proj": torch.eye(4)[:2], "o_proj": torch.eye(4)}
    x = torch.tensor([[[5.0, 7.0, 0.0, 0.0]]])
    outputs, *_, attended = student.run(run_module, 4, 4, {"num_kv_heads": 2, "attend": True}, weights, [(x, {})])
    _, K, V, _ = attended[0]
    expect(K.shape == V.shape == (1, 4, 1, 1), "attend must get keys and values repeated to num_heads")
    expect_equal(
        outputs[0].flatten().tolist(), [5.0, 5.0, 7.0, 7.0], "four heads share the values 5 and 7: neighbours, 5 5 7 7"
    )


# ---------------------------------------------------------------------------------------------------------------------
# 4 · masks


def run_causal_mask(student, positions, past):
    return student.causal_mask(positions, past)


@check("masks", title="causal_mask")
def the_causal_mask(student, rng):
    mask = student.run(run_causal_mask, torch.arange(3), 0)
    expect(mask.dtype == torch.bool, "a mask is boolean")
    lower = [[1, 0, 0], [1, 1, 0], [1, 1, 1]]
    expect_equal(mask.int().tolist(), lower, "three tokens: each sees itself and those before it")
    expect_equal(
        student.run(run_causal_mask, torch.arange(3) + 7, 0).int().tolist(), lower, "positions 7, 8, 9 see the same"
    )
    mask = student.run(run_causal_mask, torch.arange(2) + 3, 3)
    expect_equal(mask.int().tolist(), [[1, 1, 1, 1, 0], [1, 1, 1, 1, 1]], "two tokens after three: the table above")
    mask = student.run(run_causal_mask, torch.tensor([[0, 1], [4, 5]]), 1)
    expect(mask.shape == (2, 1, 2, 3), "positions (batch, seq) give (batch, 1, seq, past + seq)")


@check("masks", title="in the module")
def masks_in_the_module(student, rng):
    x = numbers(1.0, 3.0, 8.0)
    given = torch.tensor([[True, True, True], [False, True, True], [True, False, True]])
    calls = [(x, {}), (x, {"mask": given})]
    causal, both = student.run(run_module, 2, 1, {}, identity(2), calls)[0]
    free = student.run(run_module, 2, 1, {"causal": False}, identity(2), calls)[0]
    expect(close(causal[0, :, 0], torch.tensor([1.0, 2.0, 4.0])), "causal means of 1, 3, 8 are 1, 2, 4")
    expect(close(free[0][0, :, 0], torch.tensor([4.0, 4.0, 4.0])), "without the causal mask they are 4, 4, 4")
    expect(close(free[1][0, :, 0], torch.tensor([4.0, 5.5, 4.5])), "with the mask of the caller alone: 4, 5.5, 4.5")
    expect(close(both[0, :, 0], torch.tensor([1.0, 3.0, 4.5])), "with both masks, combined by and: 1, 3, 4.5")


# ---------------------------------------------------------------------------------------------------------------------
# 5 · cross


def run_padding_mask(student, lengths, k):
    return student.padding_mask(lengths, k)


@check("cross", title="padding_mask")
def the_padding_mask(student, rng):
    mask = student.run(run_padding_mask, torch.tensor([1, 3]), 3)
    expect(mask.shape == (2, 1, 1, 3), "the mask has the shape (batch, 1, 1, k)")
    expect(mask.dtype == torch.bool, "a mask is boolean")
    expect_equal(mask.int().flatten().tolist(), [1, 0, 0, 1, 1, 1], "lengths 1 and 3 of 3: True for 1 key and for 3")


@check("cross", title="in the module")
def context_in_the_module(student, rng):
    x, context = numbers(1.0, 3.0), numbers(10.0, 20.0, 60.0)
    mask = torch.tensor([True, True, False]).view(1, 1, 1, 3)
    calls = [(x, {"context": context}), (x, {"context": context, "mask": mask})]
    outputs, _, ropes, _ = student.run(run_module, 2, 1, {"rope": True}, identity(2), calls)
    expect(outputs[0].shape == x.shape, "the output has the length of x, not of the context")
    message = "each token of x takes the mean of the context, 30: no causal mask applies"
    expect(close(outputs[0][0, :, 0], torch.tensor([30.0, 30.0])), message)
    expect(close(outputs[1][0, :, 0], torch.tensor([15.0, 15.0])), "with 60 masked it takes the mean of 10 and 20")
    expect_equal(len(ropes), 0, "rope must not be called when there is a context")


# ---------------------------------------------------------------------------------------------------------------------
# 6 · positions


def run_positions_of(student, x, token_positions, length):
    class Cache:
        def update(self, k, v):
            raise AssertionError("positions_of needs a cache's length alone")

    cache = Cache()
    cache.length = length
    return student.positions_of(x, token_positions, None if length is None else cache)


@check("positions", title="positions_of")
def numbered_on(student, rng):
    x, given = torch.zeros(2, 3, 4), torch.tensor([[5, 6, 7], [0, 1, 2]])
    expect_equal(student.run(run_positions_of, x, None, None).tolist(), [0, 1, 2], "three tokens stand at 0, 1, 2")
    expect_equal(student.run(run_positions_of, x, None, 7).tolist(), [7, 8, 9], "after 7 tokens in a cache: 7, 8, 9")
    expect_equal(
        student.run(run_positions_of, x, given, 7).tolist(), given.tolist(), "positions that are given are taken"
    )


@check("positions", title="in the module")
def positions_in_the_module(student, rng):
    x = numbers(1.0, 3.0, 8.0, 4.0)
    pieces = [(x[:, :2], {"cache": True}), (x[:, 2:], {"cache": True})]
    outputs, cached, ropes, _ = student.run(run_module, 2, 1, {"rope": True}, identity(2), pieces)
    expect_equal(len(cached), 2, "cache.update must be called once for each piece of text")
    expect(len(ropes) >= 2, "rope must turn the queries and keys of each piece")
    expect(cached[0][0].shape == (1, 1, 2, 2), "the cache gets keys of the shape (batch, num_kv_heads, seq, d_head)")
    keys = torch.cat([k for k, _ in cached], 2)[0, 0, :, 1]
    expect(not close(keys, torch.ones(4)), "the cache must get keys that rope has turned")
    expect(not close(keys, torch.tensor([1.0, 2.0, 1.0, 2.0])), "the second piece stands at 2 and 3, not at 0 and 1")
    expect(close(keys, torch.tensor([1.0, 2.0, 3.0, 4.0])), "tokens in two pieces of two stand at 0, 1 and 2, 3")
    values = torch.cat([v for _, v in cached], 2)[0, 0]
    expect(close(values, x[0]), "values are not turned: only queries and keys")
    means = torch.cat(outputs, 1)[0, :, 0]
    expect(
        close(means, torch.tensor([1.0, 2.0, 4.0, 4.0])),
        "causal means of 1, 3, 8, 4 are 1, 2, 4, 4, also in two pieces",
    )
    each = torch.tensor([[0, 1, 2, 3], [6, 7, 8, 9]])
    both = x.expand(2, 4, 2).clone()
    moved, *_ = student.run(run_module, 2, 1, {"rope": True}, identity(2), [(both, {"token_positions": each})])
    expect(close(moved[0][:, :, 0], means.expand(2, 4)), "token_positions (batch, seq): the means must stay the same")
    calls = [(x[:, :2].expand(2, 2, 2).clone(), {"token_positions": torch.tensor([[0, 1], [1, 0]])})]
    (out,), *_ = student.run(run_module, 2, 1, {}, identity(2), calls)
    message = (
        "positions 0, 1 and 1, 0 of the tokens 1, 3: the token at 0 sees itself, that at 1 both, and their mean is 2"
    )
    expect_close(out[:, :, 0], torch.tensor([[1.0, 2.0], [2.0, 3.0]]), message, 1e-3)


# ---------------------------------------------------------------------------------------------------------------------
# 7 · multi_head


@check("multi_head", title="its parameters")
def parameters(student, rng):
    own_code(student)
    shapes = student.run(run_shapes, {})
    expected = {f"{name}_proj.weight": (8, 8) for name in "qkvo"}
    expect(
        set(shapes) == set(expected),
        "the module's parameters are q_proj.weight, k_proj.weight, v_proj.weight, o_proj.weight",
    )
    expect_equal(shapes, expected, "d_model 8: each of the four weights is (8, 8)")
    wide = student.run(run_shapes, {"d_head": 3, "bias": True})
    expect_equal(wide.get("q_proj.weight"), (12, 8), "d_head=3 and 4 heads: q_proj.weight is (12, 8)")
    expect_equal(wide.get("o_proj.weight"), (8, 12), "d_head=3 and 4 heads: o_proj.weight is (8, 12)")
    expect(
        wide.get("v_proj.bias") == (12,) and wide.get("o_proj.bias") == (8,), "bias=True gives every projection a bias"
    )


@check("multi_head", title="split and join")
def split_and_join(student, rng):
    x = torch.arange(24.0).view(1, 4, 6)
    weights = identity(6, scores=1.0)
    outputs, *_, attended = student.run(run_module, 6, 3, {"attend": True, "causal": False}, weights, [(x, {})])
    expect_equal(len(attended), 1, "the attend that is given must be called once, with all heads together")
    for name, heads in zip(("queries", "keys", "values"), attended[0][:3], strict=True):
        expect(
            heads.shape == (1, 3, 4, 2), f"6 features, 3 heads, 4 tokens: attend gets {name} of the shape (1, 3, 4, 2)"
        )
        message = f"{name}: head 1 owns the features 2 and 3 of every token: (batch, seq, head, d_head), then transpose"
        expect_equal(heads[0, 1].tolist(), [[2.0, 3.0], [8.0, 9.0], [14.0, 15.0], [20.0, 21.0]], message)
    expect(close(outputs[0], x), "split and joined again, the values must be in their old places")


@check("multi_head", title="two heads look at different things")
def two_heads(student, rng):
    x = torch.tensor([[[4.0, 0.0], [0.0, 4.0]]])
    (out,), *_ = student.run(run_module, 2, 2, {"causal": False}, identity(2, scores=1.0), [(x, {})])
    expect(
        close(out, torch.tensor([[[4.0, 2.0], [2.0, 4.0]]]), 1e-2),
        "each head attends by its own scores: [4, 2] and [2, 4]",
    )


def run_norms(student):
    import torch

    sizes = []

    class Norm(torch.nn.Module):
        def __init__(self, size):
            super().__init__()
            sizes.append(size)
            self.scale = torch.nn.Parameter(torch.zeros(size))

        def forward(self, x):
            return x * self.scale

    module = student.MultiHeadAttention(4, 2, qk_norm=Norm, causal=False)
    x = torch.arange(8.0).view(1, 2, 4)
    mean = module.o_proj(module.v_proj(x).mean(1, keepdim=True)).expand(1, 2, 4)
    names = [name for name, _ in module.named_parameters()]
    return sizes, len(names), module(x), mean


@check("multi_head", title="qk_norm")
def qk_norms(student, rng):
    sizes, parameters, out, mean = student.run(run_norms)
    expect_equal(sizes, [2, 2], "qk_norm is called twice with d_head, once for queries and once for keys")
    expect_equal(parameters, 6, "keep both normalisations as attributes of the module, so that they are registered")
    expect(close(out, mean), "queries and keys that are normalised to zero give equal weights: qk_norm has no effect")


def run_bad_sizes(student):
    """Which of these sizes are taken without a ValueError."""
    taken = []
    for d_model, heads, kv_heads in ((8, 4, 3), (8, 2, 4), (7, 2, 2)):
        try:
            student.MultiHeadAttention(d_model, heads, kv_heads)
        except ValueError:
            continue
        taken.append([d_model, heads, kv_heads])
    return taken


@check("multi_head", title="sizes that do not fit")
def bad_sizes(student, rng):
    taken = student.run(run_bad_sizes)
    expect_equal(taken, [], "d_model, num_heads and num_kv_heads that do not fit must raise ValueError")
