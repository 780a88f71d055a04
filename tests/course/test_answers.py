"""The form of an answer: every kind of answer that is not what was asked for fails before anything is computed."""

import math

import pytest
import torch

from cs336lite.course.answers import (
    anything,
    ask,
    blame,
    close,
    dict_of,
    either,
    fits,
    like,
    list_of,
    same,
    some_tensor,
    tensor_of,
)
from cs336lite.course.regions import UNSOLVED
from cs336lite.course.spec import Fail, LocalStudent, StudentError

X = torch.ones(2, 3)
RIGHT = [
    (1, int), (1.5, float), (True, bool), ("a", str), (b"a", bytes), (None, type(None)),
    (X, like(X)), (X.long(), like(X, dtype=torch.int64)), (X.half(), like(X, dtype=None)),
    (torch.full((2, 3), math.inf), like(X, finite=False)), (X, tensor_of(2, None)), (torch.tensor(1.0), tensor_of()),
    ([X, 1], [like(X), int]), ((X, 1), [like(X), int]), ([1, 2], list_of(int, 2)), ([1], list_of(int)),
    ({"a": 1}, {"a": int}), ({"a": 1, "b": 2}, dict_of(str, int, 2)), ([], list_of(int, least=0)),
    (X.bool(), some_tensor(6)), (None, either(like(X), type(None))), (object(), anything), ([[1, [X]]], [[int, list_of(like(X))]]),
]  # fmt: skip
WRONG = [
    (True, int), (1, bool), (1, float), (math.nan, float), (math.inf, float), ("1", int), (None, str),
    (torch.ones(3, 2), like(X)), (torch.ones(3), like(X)), (torch.ones(6 << 10, 1, 1, 1, dtype=torch.int8), like(X)),
    (torch.tensor(1.0), like(X)), (X.double(), like(X)), (X.long(), like(X, dtype=None)), ([[1.0]], like(X)),
    (torch.full((2, 3), math.inf), like(X)), (X * math.nan, tensor_of(2, 3)), (X, tensor_of(2)), (X, tensor_of(None, 2)),
    ([], [like(X)]), ([X], [like(X), like(X)]), ([X, X, X], [like(X), like(X)]), ([], list_of(int)),
    ([1], list_of(int, 2)), ([1, 2, 3], list_of(int, most=2)), ("ab", list_of(str)), ({1, 2}, list_of(int)),
    ({"a": 1}, {"b": int}), ({}, {"a": int}), ({"a": 1.5}, dict_of(str, int)), ({}, dict_of(str, int)), (2, either(str, bytes)),
    ([[1, []]], [[int, list_of(like(X))]]), (X, some_tensor(5)), ([1.0], some_tensor(5)),
]  # fmt: skip


@pytest.mark.parametrize(("value", "form"), RIGHT)
def test_what_is_asked_for_passes(value, form):
    assert fits(value, form) is value


@pytest.mark.parametrize(("value", "form"), WRONG)
def test_anything_else_fails_with_a_short_message_of_our_words(value, form):
    with pytest.raises(Fail, match="does not have the form") as failure:
        fits(value, form, "f")
    assert len(str(failure.value)) < 200
    assert str(failure.value).isascii()


def test_no_message_repeats_a_value():
    secret = "tell this to everybody"
    for form in (int, list_of(int), {"a": int}, dict_of(int, int), like(X), either(int, bytes)):
        for value in (secret, [secret], {secret: secret}, {"a": secret}, type(secret, (), {})()):
            with pytest.raises(Fail) as failure:
                fits(value, form)
            assert secret not in str(failure.value)


def test_asking_is_running_and_fitting():
    student = LocalStudent({"double": lambda x: x + x})
    assert torch.equal(ask(student, like(X), lambda s, x: s.double(x), X), X + X)
    with pytest.raises(Fail):
        ask(student, int, lambda s, x: s.double(x), X)


def test_close_is_true_of_equal_shapes_and_finite_numbers_only():
    assert close(X + 1e-6, X)
    assert not close(X + 1e-3, X)
    assert not close(torch.tensor(1.0), X)
    assert not close(torch.ones(3), X)
    assert not close(X * math.inf, X * math.inf)
    assert not close(X * math.nan, X)
    assert not close(1.0, X)
    assert close(X * 1001, X * 1000, 0, 1e-2)


def test_same_is_bitwise_but_for_nan_and_the_sign_of_zero():
    assert same(X, X.clone())
    assert same(X * math.nan, X * math.nan)
    assert not same(X.double(), X)
    assert not same(X[:1], X)
    assert not same(X + 1e-7, X)
    assert same(torch.tensor([0]), torch.tensor([0]))


class Refused(ValueError):
    pass


def raising(error):
    def raise_it(*_):
        raise error

    return raise_it


def call_it(student, *args):
    return student.f(*args)


def blamed(f, problem="the special thing is at fault"):
    """What is said of a function that is asked for something special, after a plain call of it."""
    student = LocalStudent({"f": f})
    with pytest.raises((Fail, StudentError)) as raised, blame(problem, lambda: ask(student, int, call_it, 1)):
        ask(student, int, call_it, 1, "special")
    return raised.value


def test_a_sentence_is_said_only_when_the_plain_call_works():
    fault = blamed(lambda x: x)  # has no place for what is special
    assert isinstance(fault, Fail)
    assert str(fault) == "the special thing is at fault"
    always = blamed(raising(RuntimeError("always")))
    assert isinstance(always, StudentError)
    assert "RuntimeError" in str(always)
    assert isinstance(blamed(lambda *_: "no number"), Fail)  # no exception: what the question itself says


def test_what_is_missing_or_refused_is_blamed_on_nothing_else():
    for error in (NotImplementedError(), NameError("x"), ModuleNotFoundError("x"), OSError(), MemoryError()):
        told = blamed(lambda x, more=None, error=error: raising(error)() if more else x)
        assert isinstance(told, StudentError)


def test_sentences_by_exception_hold_for_subclasses():
    def f(x, more=None):
        if more:
            raise Refused
        return x

    assert str(blamed(f, {"TypeError": "one", "ValueError": "two"})) == "two"
    assert isinstance(blamed(f, {"TypeError": "one"}), StudentError)


def test_an_exception_is_what_its_class_derives_from():
    with pytest.raises(StudentError) as raised:
        LocalStudent({"f": raising(Refused())}).run(call_it)
    error = raised.value
    assert error.kind == "Refused"
    assert error.is_a("ValueError")
    assert error.is_a("TypeError", "Exception")
    assert not error.is_a("TypeError", "KeyError")
    assert error.kinds == ("ValueError", "Exception", "BaseException")


def raises(student):
    return student.f()


@pytest.mark.parametrize(
    "error, kind",
    [
        (NotImplementedError(), "Unsolved"),
        (NotImplementedError(UNSOLVED), "Unsolved"),
        (NotImplementedError("\"bitwise_and_cpu\" not implemented for 'Float'"), "NotImplementedError"),
    ],
)
def test_only_the_stub_says_that_an_exercise_is_unsolved(error, kind):
    def f():
        raise error

    with pytest.raises(StudentError) as caught:
        LocalStudent({"f": f}).run(raises)
    assert caught.value.kind == kind


def test_torch_has_an_exception_by_the_same_name():
    names = {"torch": torch}
    exec("def f():\n    return torch.ones(2).bool() & torch.ones(2)", names)
    with pytest.raises(StudentError, match="your code raised NotImplementedError"):
        LocalStudent(names).run(raises)
