"""What `router` asks for: a module with one gate, of any dimensions in front, in float32."""

from __future__ import annotations

import torch
from torch import Tensor

from cs336lite.course.answers import ask, close, either, list_of, same, some_tensor
from cs336lite.course.spec import expect

from .asking import FIELDS, FRONT, MOST, WHY, said_of
from .at_random import check
from .drivers import drive_router
from .inputs import coefficient, is_short, judge, known, near, normal


def drive_construction(student, d_model, num_experts, top_k):
    """Whether TopKRouter refuses its arguments with a ValueError: "taken", "refused", or "failed" with another exception."""
    try:
        student.TopKRouter(d_model, num_experts, top_k)
    except ValueError:
        return "refused"
    except Exception:
        return "failed"
    return "taken"


def drive_names(student, d_model, num_experts, top_k, x):
    """The names in `RouterOutput` that what forward returns has; None where it fails."""
    names = ("weights", "indices", "logits", "load_balancing_loss", "z_loss")
    try:
        out = student.TopKRouter(d_model, num_experts, top_k)(x)
    except Exception:
        return None
    return [name for name in names if hasattr(out, name)]


def drive_parameters(student, d_model, num_experts, top_k):
    """Name, shape and whether it is trained, of each parameter; and the names in state_dict."""
    router = student.TopKRouter(d_model, num_experts, top_k)
    if not hasattr(router, "named_parameters"):
        return None, []
    found = [(name, list(p.shape), bool(p.requires_grad)) for name, p in router.named_parameters()]
    return found, list(router.state_dict())


@check("router", points=1, title="its one parameter", seconds=5)
def gate_weight(student, rng):
    d_model, experts = rng.sample(range(5, 12), 2)
    parameter = [str, list_of(int, least=0, most=8), bool]
    form = [either(type(None), list_of(parameter, least=0, most=100)), list_of(str, least=0, most=100)]
    found, saved = ask(student, form, drive_parameters, d_model, experts, 2)
    expect(found is not None, "TopKRouter must be an nn.Module")
    names = [name for name, _, _ in found]
    expect("gate.weight" in names, "there is no parameter gate.weight: self.gate = nn.Linear(..., bias=False)")
    expect("gate.bias" not in names, "the gate has a bias: nn.Linear(d_model, num_experts, bias=False)")
    expect(names == ["gate.weight"], "there are other parameters than gate.weight")
    expect(found[0][1] == [experts, d_model], "gate.weight must have the shape (num_experts, d_model)")
    expect(found[0][2], "gate.weight must be trained: requires_grad")
    expect(list(saved) == names, "state_dict must hold gate.weight and nothing else")
    expect_logits(student, rng)


def expect_logits(student, rng) -> None:
    """Fail for what has no use for its gate, before something else of the router is judged."""
    weight, x = (tensor.float() for tensor in weight_and_tokens(rng, 7, 5))  # none idle, which is judged by itself
    (said,) = said_of(student, weight, 2, [x], need=["logits"])
    right, wrong = logits_readings(x, weight)
    expect(said.logits.shape == right.shape, "logits must have the shape (..., num_experts)")
    readings = [right, *(value for value, _ in wrong)]  # the wrong ones, and other sizes: judged with any tokens
    factor = coefficient([(said.logits.double().norm(), right.norm())])
    readings += [factor * right] if factor else []
    expect(known(said.logits, readings), "the logits do not follow from the weight of the gate")


@check("router", points=1, title="what forward returns", seconds=5)
def names_of_output(student, rng):
    """Elsewhere fields of other names are found by what they look like."""
    expect_logits(student, rng)
    weight, x = (tensor.float() for tensor in weight_and_tokens(rng, 6, 4))
    names = ask(student, either(type(None), list_of(str, least=0, most=5)), drive_names, 4, 6, 2, x)
    (said,) = said_of(student, weight, 2, [x], need=[])
    lost = [name for name in FIELDS if names is not None and name not in (*names, *said.lost())]  # lost: judged above
    message = f"forward must return a RouterOutput, with the fields {', '.join(FIELDS)}: not there is {', '.join(lost)}"
    expect(not lost, message)
    form = list_of([*[either(type(None), some_tensor(MOST))] * 5, some_tensor(MOST), []], 1)
    (as_it_came,) = ask(student, form, drive_router, weight, 2, {}, [x], "", [], {}, False)
    expect(said.balance is None or same(as_it_came[3], said.balance), "the two losses have each other's name")


@check("router", points=1, title="logits of any tokens, a single one too", seconds=5)
def logits_of_any_tokens(student, rng):
    weight, single = normal(rng, 6, 4).float(), normal(rng, 4).float()
    weight = weight[(weight @ single).argsort(descending=True)]
    message = "x (..., d_model) must give logits (..., num_experts), weights and indices (..., k)"
    need = ["logits"]
    for front in ((5,), (2, 3), (2, 1, 3), (1,), (1, 1), ()):
        alone = front in ((1,), (1, 1), ())
        x = single.reshape(*front, 4) if alone else normal(rng, *front, 4).float()
        one = ", for a single token too" if alone else ", whatever stands in front"
        (said,) = said_of(student, weight, 2, [x], need=need, problem=f"the router fails: {message}{one}")
        expect(same(said.x, x), "x is changed: work on a copy")
        expect(said.logits.shape == (*front, 6), message + one)
        chosen = [part.shape for part in (said.weights, said.indices) if part is not None]  # else judged above
        expect(all(shape == (*front, 2) for shape in chosen), message + one)
        readings, wrong = logits_readings(x, weight)
        factor = coefficient([(said.logits.double().square().mean().sqrt(), readings.square().mean().sqrt())])
        otherwise = "the logits are not gate(x), x times the transpose of gate.weight"
        scaled = near(said.logits, factor * readings) or near(said.logits, -factor * readings)
        judge(said.logits, readings, f"{otherwise}: they come multiplied by a number" if scaled else otherwise, wrong)
    problem = "the router fails for x that is not contiguous, such as x.transpose(0, 1): use reshape in place of view"
    (said,) = said_of(student, weight, 2, [normal(rng, 2, 3, 4).float()], need=need, strided=True, problem=problem)


def logits_readings(x: Tensor, weight: Tensor) -> tuple[Tensor, list[tuple[Tensor, str]]]:
    """The logits, and what is taken for them."""
    right = x.double() @ weight.double().T
    returned = "are returned as logits: return what the linear layer gives"
    return right, [
        (right.softmax(-1), f"probabilities {returned}"),
        (right.log_softmax(-1), f"their logarithms {returned}"),
    ]


def weight_and_tokens(rng, experts: int, d_model: int) -> tuple[Tensor, Tensor]:
    """A gate.weight, and for each expert a token that likes it most."""
    weight = normal(rng, experts, d_model)
    weight = weight / weight.norm(dim=-1, keepdim=True) * 4
    return weight, weight + 0.1 * normal(rng, experts, d_model)


OVERFLOW = "logits overflow: compute them in float32, not in float16"


@check("router", points=2, title="float32 for whatever is shorter", seconds=5)
def computed_in_float32(student, rng):
    for name in ("bfloat16", "float16"):
        dtype = getattr(torch, name)
        weight, x = (tensor.to(dtype) for tensor in weight_and_tokens(rng, 8, 32))
        large = torch.cat((x, 5_000 * weight[:1].sign()))  # the last token has a logit beyond float16
        problem = f"x in {name} fails: convert x and gate.weight to float32 before they are multiplied"
        for convert in (name, ""):
            wide = weight.float() if convert else weight.float() + 1e-3 * normal(rng, 8, 32).float()  # no short numbers
            answers = said_of(student, wide, 1, [x, large], convert, need=["logits"], problem=problem)
            for given, said in zip((x, large), answers, strict=True):
                floats = (said.logits, said.weights, said.balance, said.z)
                short = [t.dtype for t in floats if t is not None and t.isfinite().any() and t.dtype != torch.float32]
                expect(not short, "weights, logits and losses must be float32, also when x is shorter")
                right, wrong = logits_readings(given, wide)
                overflow = "the logits of ordinary tokens are not finite" if given is x else OVERFLOW
                expect(bool(said.logits.isfinite().all()), overflow)
                message = (
                    "logits are rounded before they are float32: convert x and gate.weight first, then multiply, for what has "
                    "been rounded cannot be made exact afterwards"
                )
                tolerance = 1e-4 if given is x else 1e-5 * float(right.abs().max())
                readings = [right, *(value for value, _ in wrong)]  # the wrong ones are judged above
                rough = any(close(said.logits, one, 0.05 * float(one.abs().max()), 0.05) for one in readings)
                expect(
                    rough,
                    f"x in {name} gives other logits than x times the transpose of gate.weight, or of another shape",
                )
                expect(any(close(said.logits, one, tolerance, 1e-4) for one in readings), message)


@check("router", points=0.5, title="float64 for float64", seconds=5)
def computed_in_float64(student, rng):
    weight, x = weight_and_tokens(rng, 8, 16)
    problem = "x in float64 fails: compute in float64 what comes in float64"
    (said,) = said_of(student, weight, 2, [x], "float64", need=["logits"], problem=problem)
    right, wrong = logits_readings(x, weight)
    readings = [right, *(value for value, _ in wrong)]  # the wrong ones are judged above
    expect(said.logits.shape == right.shape, "logits must have the shape (..., num_experts)")
    floats = [t for t in (said.logits, said.weights, said.balance, said.z) if t is not None]
    wide = all(t.dtype == torch.float64 for t in floats)
    rough = any(near(said.logits, one, 1e-3) for one in readings)
    expect(wide or not rough, "x in float64 must give weights, logits and losses in float64")
    expect(rough, "the logits are not gate(x)")
    message = "float64 comes back with the precision of float32: do not compute in float32 what comes in float64"
    expect(any(close(said.logits, one, 1e-11) for one in readings), message)


@check("router", points=0.5, title="ValueError for a top_k that cannot be", seconds=5)
def bounds_of_top_k(student, rng):
    expect_logits(student, rng)
    experts = rng.randrange(3, 7)
    for k in (1, 2, experts):
        expect(ask(student, str, drive_construction, 5, experts, k) == "taken", "TopKRouter cannot be made")
    for k, name in ((experts + 1, "num_experts + 1"), (0, "0"), (-1, "-1")):
        said = ask(student, str, drive_construction, 5, experts, k)
        expect(
            said != "taken", f"TopKRouter takes a top_k of {name}: raise a ValueError unless 1 <= top_k <= num_experts"
        )
        expect(said == "refused", f"TopKRouter refuses a top_k of {name} with another exception than ValueError")


@check("router", points=2, title="together: logits of ordinary tokens", seconds=5)
def router_together(student, rng):
    weight, x = (tensor.float() for tensor in weight_and_tokens(rng, 6, 8))
    x = torch.stack((x, x.flip(0)))
    (said,) = said_of(student, weight, 2, [x], need=["logits"], problem=FRONT)
    right = (x.double() @ weight.double().T).reshape(-1, 6)
    flat = said.logits.reshape(-1, 6) if said.logits.numel() == right.numel() else said.logits
    expect(not is_short(flat), f"together the router is too rough: its logits come in 16 bits, where x has 32; {WHY}")
    expect(near(flat, right), f"together the router does not work yet: its logits are not x times gate.weight; {WHY}")
