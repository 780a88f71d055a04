"""What `module` asks for: an nn.Module without parameters that keeps its table with it."""

from __future__ import annotations

import random
from functools import partial

import torch

from cs336lite.course.answers import anything, ask, blame, either, fits, list_of
from cs336lite.course.spec import Fail, StudentError, check, drawn, expect

from .asking import (
    ROUNDED,
    TOGETHER,
    WHY,
    Layout,
    Setting,
    answers_plainly,
    close,
    expect_turned,
    job,
    right_turn,
    some_setting,
    vectors,
    with_gradient,
)
from .drivers import drive_rope
from .matrices import (
    UNEQUAL,
    as_matrices,
    each_layout,
    expect_refused,
    expect_turned_alone,
    half_turns,
    matrices,
    some_probe,
    unit_vectors,
)


@check("module", points=2, title="super().__init__() is called", seconds=5)
def it_is_a_module(student, rng):
    setting = some_setting(rng, 32)
    probe = some_probe(rng, setting)
    message = "super().__init__() is missing, or does not come first: without it a module can neither keep buffers nor be called"
    with blame({"AttributeError": message}, partial(answers_plainly, student, setting)):
        form = [list_of(anything, len(probe.calls))]
        (answers,) = ask(student, form, drive_rope, [job(setting, probe.calls)], "plain", "any")
    probe.read(answers)


def state_of(student, rng: random.Random) -> tuple[int, int, bool]:
    setting = some_setting(rng, 32)
    probe = some_probe(rng, setting)
    form = [[list_of(anything, len(probe.calls)), int, int, bool]]
    ((answers, *state),) = ask(student, form, drive_rope, [job(setting, probe.calls)], "state", "any")
    probe.read(answers)
    return tuple(state)


@check("module", points=1, title="no parameters", seconds=5)
def there_are_no_parameters(student, rng):
    parameters, _, learns = state_of(student, rng)
    expect(parameters == 0, "cosines, sines or speeds are parameters: an optimizer would change them; keep a buffer")
    expect(learns is False, "the result asks for gradients though x does not: nothing in this module is learned")


@check("module", points=1, title="nothing in state_dict", seconds=5)
def state_dict_is_empty(student, rng):
    _, saved, _ = state_of(student, rng)
    expect(
        saved == 0, "state_dict is not empty: register_buffer(..., persistent=False) keeps a buffer out of checkpoints"
    )


@check("module", points=1, title="device says where tables lie", seconds=5)
def tables_lie_on_the_device(student, rng):
    setting = some_setting(rng, 32)

    def judge(layout: Layout) -> None:
        matrices(student, rng, setting, layout=layout)
        arguments, options, _ = job(setting, [], layout)
        asked = [(arguments, {**options, "device": "meta"}, [])]
        (kept,) = ask(student, [either(str, list_of(str, least=0, most=8))], drive_rope, asked, "kept", "any")
        expect(kept != "TypeError", "the argument device is not accepted")
        expect(
            isinstance(kept, str) or set(kept) <= {"meta"}, "device is ignored: what the module keeps lies elsewhere"
        )

    each_layout(student, rng, setting, judge)


@drawn
def rounding_that_shows(rng) -> tuple[float, int]:
    """A base of which the speeds, rounded to bfloat16, have gone astray by a radian or two after so many positions."""
    while True:
        setting, number = some_setting(rng, 2_000, (6,)), rng.randrange(1_500, 1_990)
        astray = (setting.speeds.bfloat16().double() - setting.speeds).abs() * number
        if 1.0 < float(astray[1:].max()) < 2.0:
            return setting.theta, number


@check("module", points=2, title="as exact after .to(torch.bfloat16)", seconds=10)
def a_converted_module_is_as_exact(student, rng):
    theta, number = rounding_that_shows(rng)
    setting = Setting(theta, 6, 2_000)
    units = unit_vectors(6, 5)  # float32, as cosines and sines should be
    places = torch.tensor([0, 1, number - 2, number - 1, number])

    def judge(layout: Layout) -> None:
        plain, others = matrices(student, rng, setting, layout=layout), []
        for how in ("", "converted"):
            (((answer,),)) = ask(
                student, [[anything]], drive_rope, [job(setting, [(units, places)], layout)], how, "any"
            )
            others.append(as_matrices(expect_turned(units, answer)))
        if not close(others[0][:2], plain[:2], 0.05):
            expect_turned_alone(student, rng, setting, layout)
            raise Fail(UNEQUAL)
        message = (
            "after model.to(torch.bfloat16) the angles are wrong: that call rounds every buffer of floating-point numbers, "
            "and of complex ones it leaves the real part"
        )
        expect(
            close(others[1], others[0], 0.1),
            f"{message}; keep cosines and sines, or compute the angles from theta in forward",
        )

    each_layout(student, rng, setting, judge)


def judge_making(student, rng: random.Random, right: list, wrong: list, message: str) -> None:
    """Of embeddings with these (d_k, options) the ``right`` ones turn, and the ``wrong`` ones cannot be made."""
    cases = [(True, *case) for case in right] + [(False, *case) for case in wrong]
    rng.shuffle(cases)
    settings = [Setting(round(rng.uniform(20, 60), 2), d_k, 16) for _, d_k, _ in cases]
    probes = [some_probe(rng, setting) for setting in settings]
    asked = [
        (setting.arguments, options, probe.calls)
        for setting, probe, (_, _, options) in zip(settings, probes, cases, strict=True)
    ]
    answers = ask(student, list_of(anything, len(cases)), drive_rope, asked, "made", "any")
    for probe, (is_right, _, _), answer in zip(probes, cases, answers, strict=True):
        if is_right:
            expect(answer != "ValueError", f"what is in order is refused too: {message}")
            probe.read(fits(answer, list_of(anything, len(probe.calls))))
        else:
            expect_refused(answer, "ValueError", message)


@check("module", points=1, title="an odd d_k is refused", seconds=5)
def odd_sizes_are_refused(student, rng):
    message = "an odd d_k leaves a dimension without a partner: raise a ValueError when the module is made"
    matrices(student, rng, some_setting(rng, 32))
    wrong = [(size, {}) for size in (rng.choice([5, 7, 9]), 1)]
    judge_making(student, rng, [(rng.choice([6, 8]), {})], wrong, message)


@check("module", points=1, title="an unknown layout is refused", seconds=5)
def unknown_layouts_are_refused(student, rng):
    setting = some_setting(rng, 32)
    matrices(student, rng, setting)
    right = [(8, {"layout": "half"})] if half_turns(student, rng, setting) else []
    try:
        matrices(student, rng, setting, layout="interleaved")
        right.append((8, {"layout": "interleaved"}))
    except Fail:
        pass  # told in exercise 3
    except StudentError as error:
        if error.is_a("TypeError"):
            return  # no layout is accepted: told in exercise 3
        raise
    message = "a layout other than 'interleaved' and 'half' must raise a ValueError when the module is made"
    wrong = [(8, {"layout": layout}) for layout in ("".join(rng.choices("bcdgjkmpqvwxz", k=6)), "halves")]
    judge_making(student, rng, right, wrong, message)


@check("module", points=6, title="together: queries and keys of a model, and their scores", seconds=10)
def scores_of_a_model_agree(student, rng):
    setting = Setting(10_000.0, 16, 128)
    positions = torch.arange(10)
    q, k, w = (vectors(rng, 2, 2, 10, 16) for _ in range(3))
    turned_q, gradient = with_gradient(student, setting, q, positions, w)
    turned_k, _ = with_gradient(student, setting, k, positions, w)
    right_q, right_k = right_turn(setting, q, positions), right_turn(setting, k, positions)
    scores, right = turned_q.double() @ turned_k.double().mT, right_q @ right_k.mT
    expect(close(turned_q, right_q, ROUNDED) and close(scores, right, 8 * ROUNDED), f"{TOGETHER}: {WHY}")
    back = right_turn(setting, w, -positions)
    expect(
        close(gradient, back, ROUNDED), "together the values are right, and the gradient that comes back to x is not"
    )
