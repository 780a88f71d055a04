"""What lectures measure with."""

from cs336lite.course.measure import best_seconds, reveal


def test_a_value_stands_beside_the_guess(capsys):
    reveal("bytes", 3)
    reveal("bytes", 3, 0)
    assert capsys.readouterr().out == "bytes: 3\nbytes: 3\n  your guess, 0: off by 3\n"


def test_functions_run_in_turn_and_at_least_four_times():
    calls = []
    seconds = best_seconds(lambda: calls.append("a"), lambda: calls.append("b"), least=0)
    assert calls == ["a", "b"] * 4 and len(seconds) == 2 and min(seconds) >= 0
