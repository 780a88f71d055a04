"""A claim and its test are one statement, and nothing is shown that was not tested."""

import pytest

from cs336lite.course.claims import Ledger, NotShown


def test_a_claim_holds_its_numbers_and_is_listed_by_question():
    ledger = Ledger()
    ledger.claim(2, "{b:.1f} is more than {a}", lambda a, b: b > a, a=1, b=2.55)
    made = ledger.claim(1, "{n:,} tokens", lambda n: n > 0, n=1_024)
    assert repr(made) == "✓ 1,024 tokens"
    assert repr(ledger.claims()) == "1. 1,024 tokens\n2. 2.5 is more than 1"


def test_a_false_claim_stops_its_cell_with_the_numbers():
    ledger = Ledger()
    with pytest.raises(AssertionError, match="this run does not show it: 3 is even"):
        ledger.claim(1, "{n} is even", lambda n: n % 2 == 0, n=3)
    assert ledger.claims().made == ()


def test_what_no_longer_holds_is_no_longer_listed_and_is_told_in_a_paragraph():
    ledger = Ledger()
    ledger.claim(1, "{n} is even", lambda n: n % 2 == 0, n=2)
    with pytest.raises(NotShown) as caught:
        ledger.claim(1, "{n} is even", lambda n: n % 2 == 0, n=3)
    assert ledger.claims().made == ()
    assert "".join(caught.value._render_traceback_()).startswith("NotShown: this run does not show it: 3 is even")


@pytest.mark.parametrize(
    ("sentence", "test", "values"),
    [
        ("always", lambda: True, {}),
        ("{a}", lambda a, b: a < b, {"a": 1, "b": 2}),
        ("{a} and {b}", lambda a: a > 0, {"a": 1, "b": 2}),
        ("{a}", lambda a: True, {"a": 1, "b": 2}),
    ],
)
def test_sentence_test_and_values_name_the_same(sentence, test, values):
    with pytest.raises(TypeError, match="must name the same"):
        Ledger().claim(1, sentence, test, **values)


def test_a_cell_that_runs_again_replaces_its_claim():
    ledger = Ledger()
    for n in (1, 2):
        ledger.claim(1, "{n} runs", lambda n: n > 0, n=n)
    assert [made.sentence for made in ledger.claims().made] == ["2 runs"]


def test_in_a_notebook_the_answers_are_a_table_and_nothing_else():
    ledger = Ledger()
    ledger.claim(1, "<b> stands {n} times", lambda n: n == 1, n=1)
    shown = ledger.claims()._repr_html_()
    assert "&lt;b&gt; stands 1 times" in shown and shown.count("<tr>") == 1
