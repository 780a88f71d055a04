"""What public checks say of a wrong answer: what was expected, what came, and where they differ; always short."""

import math

import pytest
import torch

from cs336lite.course.show import MOST, expect_close, expect_equal, shown
from cs336lite.course.spec import Fail

X = torch.arange(12.0).reshape(3, 4)


class Rude:
    def __repr__(self):
        raise RuntimeError

    def __eq__(self, other):
        return False


@pytest.mark.parametrize(
    ("got", "wanted", "said"),
    [
        (None, [1, 2], "expected [1, 2], got None"),
        ([1, 2], (1, 2), "expected (1, 2), got [1, 2]"),
        (True, 1, "expected 1, got True"),
        ([b"a", b"bc"], [b"a", b"c"], "expected [b'a', b'c'], got [b'a', b'bc']"),
        ({1: b"x"}, {1: b"y"}, "expected {1: b'y'}, got {1: b'x'}"),
        (["a"] * 90, ["a"] * 70 + ["b"] * 20, "at place 70 expected [..., 'a', 'a', 'a', 'b', 'b', 'b', 'b', ...]"),
        (["a"] * 90, ["a"] * 91, "expected 91 parts, got 90"),
        (X.half(), X, "expected float32, got float16"),
        (X[0], X, "expected the shape (3, 4), got (4,)"),
        (X + (X == 5), X, "at [1, 1] expected 5, got 6"),
        (torch.tensor([1.0, 2.5]), torch.tensor([1.0, 2.0]), "expected [1, 2], got [1, 2.5]"),
        (Rude(), 1, "expected 1, got <Rude instance"),
    ],
)
def test_it_says_what_was_expected_and_what_came(got, wanted, said):
    with pytest.raises(Fail) as failure:
        expect_equal(got, wanted, "this is wrong")
    assert str(failure.value).startswith(f"this is wrong: {said}")


@pytest.mark.parametrize("value", [1, "a", b"a", None, [1, [b"a"]], (1, X), {"a": X}, X, X.bool()])
def test_what_is_equal_passes(value):
    expect_equal(value, value, "")


@pytest.mark.parametrize(
    ("got", "said"),
    [
        (None, "got None"),
        (X + 1e-3, "at [0, 0] expected 0, got 0.001"),
        (X.T, "got (4, 3)"),
        (X * math.nan, "got nan"),
        (X.tolist(), "got [[0.0, 1.0"),
    ],
)
def test_numbers_may_differ_a_little(got, said):
    expect_close(X + 1e-6, X, "")
    expect_close(X.double(), X, "")
    expect_close(torch.tensor(math.inf), torch.tensor(math.inf), "")
    expect_close(2, 2.0000001, "")
    with pytest.raises(Fail) as failure:
        expect_close(got, X, "this is wrong")
    assert said in str(failure.value)


@pytest.mark.parametrize(
    "value", ["x" * 10**6, [[["y"] * 100] * 100] * 100, {i: "z" * 99 for i in range(99)}, Rude(), X]
)
def test_whatever_it_is_it_is_shown_short_and_on_one_line(value):
    assert 0 < len(shown(value)) <= MOST
    assert "\n" not in shown(value)


def test_control_characters_are_not_obeyed():
    assert "\x1b" not in shown(["\x1b[31m"])
