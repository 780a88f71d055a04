"""Public checks of a5_moe_router: run them as often as you like. The hidden checks judge the same on other inputs.

One file, though a long one: it is handed out, and has to work alone.
"""

import math

import torch

from cs336lite.course.show import expect_close, expect_equal
from cs336lite.course.spec import Fail, StudentError, check, expect

HINTS = {
    "gates": [
        "Take logits whose softmax is 0.5, 0.3, 0.2 (their logarithms) and write down what has to come out for k = 2, with "
        "renormalize and without. Which sum is each gate divided by?",
        "Softmax first, over all experts, then choose: torch.topk gives values and places, in descending order, and never "
        "the same place twice. Over which dimension? Divide by a sum only if you are asked to.",
        "probabilities = softmax of the logits along -1; weights, indices = topk of these along -1; with renormalize, weights "
        "divided by their sum along -1 with keepdim=True. No detach anywhere: indices have no gradient by themselves.",
    ],
    "balance": [
        "Do it by hand for two tokens, two experts and k = 1: how many assignments are there, and which share has each "
        "expert? Then the mean probability of each expert, over all tokens.",
        "Two vectors as long as there are experts. Shares: count how often each expert stands in indices, idle ones too "
        "(bincount has minlength; or compare indices with arange), and divide by the number of all indices. Means: flatten "
        "all dimensions but the last, mean over tokens.",
        "shares = bincount(indices.flatten(), minlength=experts) / indices.numel(); wanted = probabilities.reshape(-1, "
        "experts).mean(0), with its gradient; the loss is experts times the sum of their products. Check: uniform "
        "probabilities give 1, whatever the indices are.",
    ],
    "z_loss": [
        "Read the formula from the inside out: exp, sum over what, log, square, mean over what?",
        "torch has a function for the three inner steps together, which subtracts the greatest logit first. Along which "
        "dimension do the experts stand?",
        "logsumexp along -1, square, mean over everything that is left.",
    ],
    "router": [
        "Which of your functions needs logits, which probabilities, which indices? The module only makes logits, calls them "
        "and puts five things into a RouterOutput.",
        "self.gate(x) raises an error when x is bfloat16 and the weight float32, and rounds when both are bfloat16. The "
        "product of x and the weight can also be written without calling the layer; convert both before.",
        "__init__: super().__init__(), self.gate = nn.Linear(d_model, num_experts, bias=False), keep top_k and renormalize. "
        "forward: dtype is float64 if x is, else float32; bring x and the gate's weight to it and give both to "
        "nn.functional.linear; then your three functions.",
    ],
    "dispatch": [
        "First write it with a loop over the experts: which tokens have expert e somewhere in their row of indices, and in "
        "which of the k places? Results have to be added to what a token already has.",
        "Flatten everything in front of the last dimension. For an expert, (indices == e).nonzero(as_tuple=True) gives tokens "
        "and places. For one pass without such a search, sort all k * tokens assignments by expert: argsort of the flattened "
        "indices; the token of assignment a is a // k. What if a token is asked twice of one expert, or of none?",
        "With the loop: start with zeros; for each expert with tokens, out.index_add(0, tokens, expert(x[tokens]) * "
        "weights[tokens, places, None]). index_add adds up where a place stands twice, which out[tokens] += ... does not. "
        "Multiply in float32, and cast to the dtype of x and give back its shape at the end.",
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
# 1 · gates


def run_gates(student, logits, top_k, renormalize):
    return student.top_k_gates(logits, top_k, renormalize)


def three_tensors(answer):
    """(weights, indices, probabilities), when they are these."""
    expect(answer is not None, "top_k_gates returned None: is a `return` missing?")
    fits = isinstance(answer, tuple) and len(answer) == 3 and all(isinstance(part, torch.Tensor) for part in answer)
    expect(fits, "top_k_gates returns three tensors: weights, indices, probabilities")
    return answer


def run_gates_gradient(student, logits, factor, top_k, renormalize):
    logits = logits.clone().requires_grad_()
    total = (student.top_k_gates(logits, top_k, renormalize)[0] * factor).sum()
    if total.requires_grad:
        total.backward()
    return logits.grad


@check("gates", title="probabilities 0.5, 0.3, 0.2, by hand")
def by_hand(student, rng):
    logits = torch.tensor([[0.2, 0.5, 0.3], [0.3, 0.2, 0.5]]).log()
    weights, indices, probabilities = three_tensors(student.run(run_gates, logits, 2, False))
    expect_close(probabilities, logits.exp(), "probabilities are the softmax over all three experts", 1e-4)
    expect(isinstance(indices, torch.Tensor) and indices.shape == (2, 2), "two tokens, k = 2: indices are (2, 2)")
    expect(indices.tolist() != [[2, 1], [0, 2]], "the more probable expert comes first")
    expect_equal(indices.tolist(), [[1, 2], [2, 0]], "the two greatest are the experts 1 and 2, and 2 and 0")
    message = "with renormalize=False the gates are 0.5 and 0.3, as they are among all experts: they do not add up to 1"
    expect(not near(weights, [[0.625, 0.375]] * 2), message)
    expect_close(weights, [[0.5, 0.3]] * 2, message, 1e-4)
    weights, _, _ = three_tensors(student.run(run_gates, logits, 2, True))
    expect(not near(weights, [[0.5, 0.3]] * 2), "with renormalize the gates are divided by their sum, 0.8")
    expect_close(weights, [[0.625, 0.375]] * 2, "with renormalize the gates are 0.625 and 0.375", 1e-4)


@check("gates", title="one expert, all experts, any dimensions")
def one_and_all(student, rng):
    logits = numbers(2, 3, 4)
    for k in (1, 4):
        for given in (logits, logits[0, 0]):
            weights, indices, _ = three_tensors(student.run(run_gates, given, k, True))
            shape = (*given.shape[:-1], k)
            message = f"logits {tuple(given.shape)} and k = {k} must give weights and indices {shape}"
            expect(weights.shape == shape and indices.shape == shape, message)
            expect_close(weights.sum(-1), torch.ones(shape[:-1]), "renormalised gates of a token add up to 1", 1e-4)
    expect(indices.dtype == torch.int64, "indices are int64")


@check("gates", title="different experts, whatever the logits are")
def different(student, rng):
    for logits in (torch.zeros(5), torch.tensor([200.0, 0.0, -5.0, 1.0, 2.0])):
        _, indices, _ = three_tensors(student.run(run_gates, logits, 3, True))
        expect(indices.shape == (3,), "k = 3 of five logits must give three indices, also when logits are equal")
        expect(len(set(indices.tolist())) == 3, "the same expert is chosen twice")


@check("gates", title="gradients flow through the gates")
def gates_gradient(student, rng):
    logits, factor = torch.tensor([0.5, 0.3, 0.2]).log(), torch.tensor([1.0, 0.0])
    gradient = student.run(run_gates_gradient, logits, factor, 2, False)
    expect(gradient is not None, "no gradient flows through the gates: is there a detach, .data, or no_grad?")
    expect_close(
        gradient, [0.25, -0.15, -0.1], "the gate 0.5 has the gradients 0.5 (1 - 0.5), -0.5 * 0.3, -0.5 * 0.2", 1e-4
    )
    gradient = student.run(run_gates_gradient, logits, factor, 2, True)
    message = "of a renormalised gate, the sum that it is divided by has a gradient too"
    expect_close(gradient, [0.234375, -0.234375, 0.0], message, 1e-4)


# ---------------------------------------------------------------------------------------------------------------------
# 2 · balance


def run_balance(student, probabilities, indices):
    return student.load_balancing_loss(probabilities, indices)


def run_balance_gradient(student, probabilities, indices):
    probabilities = probabilities.clone().requires_grad_()
    loss = student.load_balancing_loss(probabilities, indices)
    if loss.requires_grad:
        loss.backward()
    return probabilities.grad


@check("balance", title="1 when the probabilities are uniform")
def uniform(student, rng):
    for k in (1, 2):
        indices = torch.tensor([[0, 1], [2, 3], [0, 3]])[:, :k]
        loss = student.run(run_balance, torch.full((3, 4), 0.25), indices)
        expect(isinstance(loss, torch.Tensor) and loss.shape == (), "the loss is a tensor of shape ()")
        expect(not near(loss, 0.25), "the factor num_experts is missing: uniform probabilities give 1")
        expect(not near(loss, 2.0), "with k = 2 the shares of all assignments add up to 1: divide by k * tokens")
        expect_close(loss, 1.0, "uniform probabilities give 1, whatever k is", 1e-4)


@check("balance", title="two tokens, three experts, one of them idle")
def idle(student, rng):
    probabilities = torch.tensor([[0.5, 0.4, 0.1], [0.6, 0.3, 0.1]])
    loss = student.run(run_balance, probabilities, torch.tensor([[0, 1], [0, 1]]))
    expect_close(loss, 1.35, "the shares are 1/2, 1/2, 0, the means 0.55, 0.35, 0.1: the loss is 3 * 0.45", 1e-4)
    loss = student.run(run_balance, probabilities.view(2, 1, 3), torch.tensor([[[0]], [[0]]]))
    expect_close(loss, 1.65, "with all assignments on the first expert the loss is 3 * 0.55, in any dimensions", 1e-4)
    texts = torch.tensor([[[0.5, 0.4, 0.1], [0.6, 0.3, 0.1]], [[0.1, 0.1, 0.8], [0.2, 0.2, 0.6]]])
    loss = student.run(run_balance, texts, torch.tensor([[[0], [0]], [[2], [2]]]))
    message = "two texts of two tokens: of all four the shares are 1/2, 0, 1/2, the means 0.35, 0.25, 0.4: 3 * 0.375"
    expect_close(loss, 1.125, message, 1e-4)


@check("balance", title="the gradient is that of the probabilities")
def balance_gradient(student, rng):
    probabilities = torch.tensor([[0.5, 0.4, 0.1], [0.6, 0.3, 0.1]])
    gradient = student.run(run_balance_gradient, probabilities, torch.tensor([[0], [1]]))
    expect(gradient is not None, "no gradient flows: the mean probabilities must not be detached")
    expect_close(
        gradient, [[0.75, 0.75, 0.0]] * 2, "each probability has the gradient num_experts * share / tokens", 1e-4
    )


# ---------------------------------------------------------------------------------------------------------------------
# 3 · z_loss


def run_z_loss(student, logits):
    return student.router_z_loss(logits)


@check("z_loss", title="two tokens by hand")
def z_by_hand(student, rng):
    logits = torch.tensor([[1.0, 1.0], [3.0, 3.0]]) - math.log(2)
    loss = student.run(run_z_loss, logits)
    expect(isinstance(loss, torch.Tensor) and loss.shape == (), "the loss is a tensor of shape ()")
    expect(not near(loss, 2.0), "the squares are missing: logsumexp is 1 and 3, and the mean of 1 and 9 is 5")
    expect(not near(loss, 4.0), "first the square, then the mean: logsumexp is 1 and 3, and the mean of 1 and 9 is 5")
    expect_close(loss, 5.0, "logsumexp over the experts is 1 and 3 for the two tokens: the mean of 1 and 9 is 5", 1e-4)
    expect_close(student.run(run_z_loss, logits[:, None]), 5.0, "the same tokens in other dimensions: 5 again", 1e-4)


@check("z_loss", title="logits of 200")
def large(student, rng):
    loss = student.run(run_z_loss, torch.tensor([[200.0, 0.0], [0.0, -200.0]]))
    expect_close(
        loss, 20_000.0, "logits of 200 must give 200 squared over 2: e to the power of 200 is infinite here", 0.1
    )


# ---------------------------------------------------------------------------------------------------------------------
# 4 · router


def run_router(student, weight, top_k, options, xs, dtype):
    import torch

    router = student.TopKRouter(weight.shape[1], weight.shape[0], top_k, **options)
    with torch.no_grad():
        router.gate.weight.copy_(weight)
    if dtype:
        router.to(getattr(torch, dtype))
    answers = [router(x) for x in xs]
    return [(a.weights, a.indices, a.logits, a.load_balancing_loss, a.z_loss) for a in answers]


def run_parameters(student):
    router = student.TopKRouter(6, 4, 2)
    return {name: tuple(parameter.shape) for name, parameter in router.named_parameters()}


@check("router", title="its parameter")
def parameter(student, rng):
    found = student.run(run_parameters)
    message = "d_model 6, four experts: the one parameter is gate.weight, (4, 6): nn.Linear without a bias"
    expect_equal(found, {"gate.weight": (4, 6)}, message)


@check("router", title="one expert for each token, and tokens of several texts")
def one_expert_and_texts(student, rng):
    x = numbers(2, 3, 4)
    weight = numbers(5, 4, seed=1)
    right = (x @ weight.T).softmax(-1)
    for k in (1, 2):
        best = right.topk(k, -1)
        for given in (x, x.view(6, 4)):
            for renormalize, gates in ((False, best.values), (True, best.values / best.values.sum(-1, keepdim=True))):
                answers = student.run(run_router, weight, k, {"renormalize": renormalize}, [given], None)
                weights, indices = answers[0][:2]
                shape, where = (*given.shape[:-1], k), f"top_k = {k}, x {tuple(given.shape)}"
                for name, part in (("weights", weights), ("indices", indices)):
                    got = tuple(part.shape) if isinstance(part, torch.Tensor) else part
                    expect_equal(
                        got, shape, f"{where}: the shape of {name} is that of x with k in the place of d_model"
                    )
                expect_equal(indices.tolist(), best.indices.view(shape).tolist(), f"{where}: the most probable experts")
                expect_close(weights, gates.view(shape), f"{where}, renormalize={renormalize}: their gates", 1e-4)


@check("router", title="logits, and all that follows from them")
def all_five(student, rng):
    x = torch.tensor([[0.5, 0.3, 0.2], [0.1, 0.3, 0.6]]).log()
    for given in (x, x.view(2, 1, 3)):
        for renormalize, gates in ((False, [[0.5, 0.3], [0.6, 0.3]]), (True, [[0.625, 0.375], [2 / 3, 1 / 3]])):
            options = {"renormalize": renormalize}
            answers = student.run(run_router, torch.eye(3), 2, options, [given], None)
            weights, indices, logits, balance, z = answers[0]
            expect_close(logits, given, "with the identity as gate.weight the logits are x", 1e-4)
            expect_close(
                weights, torch.tensor(gates).view(*given.shape[:-1], 2), "the gates are those of top_k_gates", 1e-4
            )
            expect_equal(indices.flatten().tolist(), [0, 1, 2, 1], "the experts are 0 and 1, and 2 and 1")
            expect_close(balance, 0.975, "shares 1/4, 1/2, 1/4 and means 0.3, 0.3, 0.4: the loss is 3 * 0.325", 1e-4)
            expect_close(z, 0.0, "the logarithms of probabilities have the logsumexp 0, and so the z-loss is 0", 1e-4)
    answers = student.run(run_router, torch.eye(3), 2, {}, [x], None)
    expect_close(answers[0][0].sum(-1), torch.ones(2), "renormalize is True by default", 1e-4)
    message = "... may be no dimension at all: one token, (d_model,), must give weights (k,)"
    try:
        answers = student.run(run_router, torch.eye(3), 2, {}, [x[0]], None)
    except StudentError as error:
        raise Fail(message) from error
    expect(answers[0][0].shape == (2,), message)


def run_bad_top_k(student, top_k):
    """Whether a router of 4 experts says ValueError, None where it takes this top_k."""
    try:
        student.TopKRouter(3, 4, top_k)
    except ValueError:
        return True
    except NotImplementedError:
        raise
    except Exception:
        return False
    return None


@check("router", title="a top_k that cannot be")
def bad_top_k(student, rng):
    for top_k in (1, 4):
        expect(student.run(run_bad_top_k, top_k) is None, f"of 4 experts a token may have {top_k}, and it is refused")
    for top_k in (0, 5):
        said = student.run(run_bad_top_k, top_k)
        expect(said is True, f"of 4 experts a token cannot have {top_k}: say so by a ValueError in __init__")


@check("router", title="float32, whatever comes in")
def in_float32(student, rng):
    weight, x = numbers(8, 16), numbers(5, 16, seed=1)
    for name in ("bfloat16", "float16"):
        dtype = getattr(torch, name)
        for converted in (name, None):
            problem = f"x in {name} fails when gate.weight is {'as well' if converted else 'float32'}"
            try:
                answers = student.run(run_router, weight, 2, {}, [x.to(dtype)], converted)
            except StudentError as error:
                raise Fail(problem) if error.kind == "RuntimeError" else error from None
            weights, _, logits, balance, z = answers[0]
            found = all(t.dtype == torch.float32 for t in (weights, logits, balance, z))
            expect(found, f"x in {name}: weights, logits and both losses must be float32")
            kept = weight.to(dtype).float() if converted else weight
            exact = x.to(dtype).float() @ kept.T
            expect_close(
                logits, exact, f"x in {name}: the product is rounded; convert x and the weight before it", 1e-4
            )
    answers = student.run(run_router, weight, 2, {}, [x.double()], "float64")
    expect(answers[0][2].dtype == torch.float64, "x in float64: logits must be float64")


# ---------------------------------------------------------------------------------------------------------------------
# 5 · dispatch


def run_dispatch(student, x, weights, indices, factors):
    """The result, and the shape and dtype of what each call of an expert got; expert e is z -> factors[e] * z + 1."""
    calls = []

    def expert(factor):
        def compute(z):
            calls.append((tuple(z.shape), str(z.dtype)))
            return z * factor + 1

        return compute

    experts = [expert(factor) for factor in factors]
    return student.dispatch(x, weights, indices, experts), calls


def run_dispatch_gradients(student, x, weights, indices):
    import torch

    x, weights = x.clone().requires_grad_(), weights.clone().requires_grad_()
    factors = torch.tensor([2.0, 3.0], requires_grad=True)
    out = student.dispatch(x, weights, indices, [lambda z: z * factors[0], lambda z: z * factors[1]])
    if out.requires_grad:
        out.sum().backward()
    return x.grad, weights.grad, factors.grad


def run_unchanged(student, x, weights, indices):
    before = x.clone(), weights.clone(), indices.clone()
    student.dispatch(x, weights, indices, [lambda z: 2 * z, lambda z: 3 * z])
    return [bool((a == b).all()) for a, b in zip(before, (x, weights, indices))]


@check("dispatch", title="one expert a token")
def one_expert(student, rng):
    x = torch.tensor([[1.0], [10.0], [100.0], [1000.0]])
    out, _ = student.run(run_dispatch, x, torch.ones(4, 1), torch.tensor([[2], [0], [1], [0]]), [2.0, 3.0, 5.0])
    expect(isinstance(out, torch.Tensor) and out.shape == (4, 1), "the result has the shape of x")
    expect(
        not near(out, [[21.0], [2001], [301], [6]]), "the results come in the order of the experts, not of the tokens"
    )
    expect_close(
        out, [[6.0], [21], [301], [2001]], "1, 10, 100, 1000 times 5, 2, 3, 2 and plus 1: 6, 21, 301, 2001", 1e-4
    )
    weights = torch.tensor([[0.5], [2.0], [1.0], [0.0]])
    out, _ = student.run(run_dispatch, x, weights, torch.tensor([[2], [0], [1], [0]]), [2.0, 3.0, 5.0])
    expect(not near(out, [[3.5], [41], [301], [1]]), "gates multiply what an expert returns, not what it is given")
    expect_close(out, [[3.0], [42], [301], [0]], "each result is multiplied with the gate of its own token", 1e-4)


@check("dispatch", title="two experts a token")
def two_experts(student, rng):
    x = torch.tensor([[1.0], [10.0], [100.0]])
    weights, indices = torch.tensor([[0.5, 0.25], [1.0, 2.0], [3.0, 1.0]]), torch.tensor([[2, 0], [0, 1], [2, 1]])
    out, calls = student.run(run_dispatch, x, weights, indices, [2.0, 3.0, 5.0])
    expect_close(out, [[3.75], [83.0], [1804.0]], "the first is 0.5 * (5 + 1) + 0.25 * (2 + 1): 3.75, 83, 1804", 1e-4)
    expect_equal(sum(shape[0] for shape, _ in calls), 6, "three tokens, k = 2: the experts must get 6 rows in all")
    out, _ = student.run(run_dispatch, x[:1], torch.tensor([[0.5, 0.25]]), torch.tensor([[1, 1]]), [2.0, 3.0])
    expect_close(out, [[3.0]], "an expert that stands twice in a row counts twice: (0.5 + 0.25) * (3 + 1)", 1e-4)


@check("dispatch", title="no loop over tokens")
def few_calls(student, rng):
    for n in (8, 80):
        indices = torch.arange(2 * n).view(n, 2) % 4
        _, calls = student.run(run_dispatch, numbers(n, 3), torch.ones(n, 2), indices, [1.0] * 4)
        message = f"{n} tokens, four experts, k = 2, and the experts are called {len(calls)} times: gather their tokens"
        expect(len(calls) <= 8, message)


@check("dispatch", title="idle experts, single tokens, any dimensions, dtypes")
def shapes(student, rng):
    x, weights = numbers(2, 3, 4), torch.rand(2, 3, 2, generator=torch.Generator().manual_seed(2))
    indices = torch.tensor([[[4, 1], [1, 4], [1, 2]], [[1, 4], [4, 1], [4, 1]]])  # 0 and 3 are idle, 2 has one token
    factors = torch.tensor([2.0, 3.0, 5.0, 7.0, 11.0])
    expected = (weights[..., None] * (x[..., None, :] * factors[indices][..., None] + 1)).sum(-2)
    for given in ((x, weights, indices), (x[0, 2], weights[0, 2], indices[0, 2])):
        out, calls = student.run(run_dispatch, *given, factors.tolist())
        expect(all(len(shape) == 2 for shape, _ in calls), "an expert gets a matrix (n, d_model), for one token too")
        right = expected if given[0].dim() > 1 else expected[0, 2]
        expect_close(out, right, f"x of shape {tuple(given[0].shape)} is not dispatched rightly", 1e-4)
    try:
        out, calls = student.run(run_dispatch, x.bfloat16(), weights, indices, factors.tolist())
    except StudentError as error:
        raise Fail("x in bfloat16 and gates in float32 fail") if error.kind == "RuntimeError" else error from None
    expect(all(dtype == "torch.bfloat16" for _, dtype in calls), "an expert gets its tokens in the dtype of x")
    expect(out.dtype == torch.bfloat16, "x in bfloat16 must come back in bfloat16, also with gates in float32")
    expect_close(out, expected, "x in bfloat16 must give what float32 gives, rounded", 0.5)


@check("dispatch", title="gradients, and what is given stays as it is")
def dispatch_gradients(student, rng):
    x, weights, indices = torch.tensor([[1.0], [10.0]]), torch.tensor([[0.5], [0.25]]), torch.tensor([[1], [0]])
    expect_equal(student.run(run_unchanged, x.clone(), weights.clone(), indices), [True] * 3, "an argument has changed")
    gradients = student.run(run_dispatch_gradients, x, weights, indices)
    expect(all(g is not None for g in gradients), "gradients must flow to x, to the weights and to the experts")
    expected = [[[1.5], [0.5]], [[3.0], [20.0]], [2.5, 0.5]]
    for name, found, right in zip(("x", "the weights", "the experts"), gradients, expected):
        expect_close(found, right, f"the gradient of {name} is wrong: is a part of the way detached?", 1e-4)


def run_bad_index(student, indices):
    """Whether dispatch to two experts says ValueError, None where it takes the indices."""
    import torch

    try:
        student.dispatch(torch.ones(2, 3), torch.ones(2, 1), indices, [lambda z: z, lambda z: 2 * z])
    except ValueError:
        return True
    except NotImplementedError:
        raise
    except Exception:
        return False
    return None


@check("dispatch", title="an index of no expert")
def bad_indices(student, rng):
    expect(student.run(run_bad_index, torch.tensor([[0], [1]])) is None, "indices 0 and 1 of two experts are refused")
    for index in (2, -1):
        said = student.run(run_bad_index, torch.tensor([[0], [index]]))
        expect(said is True, f"with two experts, index {index} is of none: say so by a ValueError")
