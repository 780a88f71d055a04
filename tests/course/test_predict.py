"""What a reader is told about a guess: right, close, how far off, and why people guess so."""

import doctest

import numpy as np
import pytest

from cs336lite.course import predict
from cs336lite.course.predict import reveal


def told(capsys, *arguments, **options) -> list[str]:
    reveal("it", *arguments, **options)
    return [line.strip() for line in capsys.readouterr().out.splitlines()]


def test_examples_in_docstrings():
    assert doctest.testmod(predict).failed == 0


@pytest.mark.parametrize("guess", [None, (), []])
def test_without_a_guess_there_is_the_value_alone(capsys, guess):
    assert told(capsys, 31.0, guess, because={"too large": "x"}) == ["it: 31"]


@pytest.mark.parametrize(
    ("value", "guess", "verdict"),
    [
        (4, 4, "right"),
        (4, 5, "1.25 times too large"),
        (4, 1, "4 times too small"),
        (100, 110, "close, above by 10 %"),
        (100.0, 90, "close, below by 10 %"),
        (0, 3, "off by 3"),
        (-2, 2, "off by 4"),
        (-2, -4, "2 times too large"),
        ("31.0", 31, "right"),
        ("1,024", 512, "2 times too small"),
        (np.float32(2), 2, "right"),
        (3, "many", "a number was asked for"),
        (3, float("nan"), "a number was asked for"),
        (3, 10**400, "a number was asked for"),
        (3, True, "a number was asked for"),
        (2.917, 2.92, "right"),
        ("words", " Words", "right"),
        ("words", "BPE", "no"),
        ("words", "'words'.", "right"),
        ("l ow", ("l", "ow"), "right"),
        (["a", "b"], "a, b", "right"),
        (["a", "b"], "b > a", "0 of 2 in their place"),
        ((1, 3), "1 3", "right; right"),
        (["a", "b", "c"], ["a", "b", "c"], "right"),
        (["a", "b", "c"], ["a", "c", "b"], "1 of 3 in their place"),
        (["a", "b"], ["a", "x"], "name each of a, b once"),
        ((1, 3), (1, 6), "right; 2 times too large"),
        ((1, 3), (1,), "right; no guess"),
        ((1, 3), 1, "right; no guess"),
        ({"en": 2, "zh": 6}, {"zh": 3, "en": 2}, "en right; zh 2 times too small"),
        ({"en": 2, "zh": 6}, (2, 6), "en right; zh right"),
        (True, False, "no"),
    ],
)
def test_a_guess_is_compared_in_its_kind(capsys, value, guess, verdict):
    assert told(capsys, value, guess)[1].split(": ", 1)[1] == verdict


@pytest.mark.parametrize(("value", "guess"), [("3.1 GB, and 4 of them", 3), ("WSD, constant", "wsd"), ("a b c d", "a")])
def test_of_a_sentence_no_verdict_is_given(capsys, value, guess):
    assert told(capsys, value, guess)[1:] == [f"your guess, {guess}"]


def test_close_enough_is_what_the_lecture_says(capsys):
    assert told(capsys, 100, 140, within=1.5)[1].endswith("close, above by 40 %")
    assert told(capsys, 3, 4, within=1)[1].endswith("too large by 1")
    assert told(capsys, 0.0, 1, margin=1)[1].endswith("close, off by 1")
    assert told(capsys, 0.0, 2, margin=1, because={"too large": "why"})[1:] == ["your guess, 2: off by 2", "why"]
    assert told(capsys, (0, 9), (1, 5), margin=1)[1].endswith("close, off by 1; 1.8 times too small")
    assert told(capsys, 3, 3, within=1)[1].endswith("right")


@pytest.mark.parametrize(
    ("value", "guess", "reason"),
    [
        (3, 1, "one byte"),
        (3, 9, "above"),
        (3, 2, ""),
        ("words", "bpe", "at most words"),
        ((3, 1), (1, 3), "turned round"),
    ],
)
def test_a_common_wrong_guess_is_explained(capsys, value, guess, reason):
    because = {1: "one byte", "too large": "above", "BPE": "at most words", (1, 3): "turned round"}
    assert told(capsys, value, guess, because=because)[2:] == ([reason] if reason else [])


def test_a_right_guess_needs_no_explanation(capsys):
    assert len(told(capsys, 100, 104, because={"too large": "no"})) == 2


def test_the_value_is_shown_as_the_lecture_wants(capsys):
    assert told(capsys, 31.0162, shown="31.0")[0] == "it: 31.0"
    assert told(capsys, {"a": 0.123456, "b": 2})[0] == "it: a 0.1235, b 2"
    assert told(capsys, ["x", "y"])[0] == "it: x, y"
    assert told(capsys, 124_439.6)[0] == "it: 124,440"
