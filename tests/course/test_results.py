"""Recorded results of lectures: kept with where they come from, bound to one configuration, made again on demand; and a
reader who changes a number goes on."""

import json
import re

import pytest
from helpers import ROOT

from cs336lite.course.claims import Ledger, other_numbers
from cs336lite.course.corpus import DEFAULT_SHA256
from cs336lite.course.paths import CourseError
from cs336lite.course.results import VARIABLE, recorded, source


@pytest.fixture(autouse=True)
def as_a_reader(monkeypatch):
    monkeypatch.delenv("CS336LITE_BUILD", raising=False)
    monkeypatch.delenv(VARIABLE, raising=False)
    other_numbers.clear()
    yield
    other_numbers.clear()


def never() -> None:
    raise AssertionError("a recorded result was computed")


def test_a_result_is_computed_when_its_name_is_asked_for_and_then_read(tmp_path, monkeypatch):
    monkeypatch.setenv(VARIABLE, "03_other.json,04_mine.json")
    assert recorded("04_mine.json", lambda: [{"loss": 1.5}], {"lr": 1}, folder=tmp_path) == [{"loss": 1.5}]
    monkeypatch.delenv(VARIABLE)
    assert recorded("04_mine.json", never, {"lr": 1}, folder=tmp_path) == [{"loss": 1.5}]
    monkeypatch.setenv(VARIABLE, "04_mine")  # another name
    assert recorded("04_mine.json", never, {"lr": 1}, folder=tmp_path) == [{"loss": 1.5}]
    monkeypatch.setenv(VARIABLE, "all")
    assert recorded("04_mine.json", lambda: 2, {"lr": 1}, folder=tmp_path) == 2


def test_a_missing_result_and_one_of_another_configuration_name_the_command(tmp_path, monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    with pytest.raises(
        CourseError, match=rf"not been computed yet: {VARIABLE}=02_mine.json jupyter execute notebooks/02_"
    ):
        recorded("02_mine.json", never, 1, folder=tmp_path)
    monkeypatch.setenv(VARIABLE, "02_mine.json")
    recorded("02_mine.json", lambda: 1, {"lr": 1, "steps": [1, 2]}, folder=tmp_path)
    monkeypatch.delenv(VARIABLE)
    monkeypatch.setenv("CS336LITE_BUILD", "1")
    assert recorded("02_mine.json", never, {"steps": (1, 2), "lr": 1}, folder=tmp_path) == 1  # as JSON, the same
    with pytest.raises(CourseError, match=r"another configuration.*jupyter execute"):
        recorded("02_mine.json", never, {"lr": 2, "steps": [1, 2]}, live=never, folder=tmp_path)
    with pytest.raises(CourseError, match="not been computed yet"):
        recorded("02_other.json", never, 1, live=never, folder=tmp_path)


def test_the_file_says_where_it_comes_from_and_nothing_of_the_machine(tmp_path, monkeypatch):
    monkeypatch.setenv(VARIABLE, "all")
    recorded("02_mine.json", lambda: 1, {"lr": 1}, folder=tmp_path)
    kept = json.loads((tmp_path / "02_mine.json").read_text())
    assert kept["provenance"].keys() == {"command", "corpus", "date", "device", "python", "torch"}
    assert kept["configuration"] == {"lr": 1} and str(tmp_path) not in json.dumps(kept)
    line = source("02_mine.json", folder=tmp_path)
    assert kept["provenance"]["date"] in line and "jupyter execute notebooks/02_tensors.ipynb" in line


def test_a_result_that_json_cannot_hold_leaves_the_old_file(tmp_path, monkeypatch):
    monkeypatch.setenv(VARIABLE, "all")
    recorded("02_mine.json", lambda: 1, 0, folder=tmp_path)
    with pytest.raises(ValueError, match="JSON"):
        recorded("02_mine.json", lambda: float("nan"), 0, folder=tmp_path)
    monkeypatch.delenv(VARIABLE)
    assert recorded("02_mine.json", never, 0, folder=tmp_path) == 1


LR = {"training": {"lr": 0.01, "steps": [10, 20]}, "seeds": 3}


@pytest.fixture
def kept(tmp_path, monkeypatch):
    """A folder with a recorded result of `LR`."""
    monkeypatch.setenv(VARIABLE, "all")
    recorded("02_mine.json", lambda: {"loss": 2.5}, LR, folder=tmp_path)
    monkeypatch.delenv(VARIABLE)
    return tmp_path


def changed(lr: float = 0.02, **more) -> dict:
    return LR | {"training": LR["training"] | {"lr": lr}} | more


def test_a_reader_who_changes_a_number_goes_on_with_the_recorded_result_and_is_told_so(kept, capsys):
    assert recorded("02_mine.json", never, changed(), folder=kept) == {"loss": 2.5}
    told = capsys.readouterr().out
    assert told.count("\n") == 1
    assert told.startswith(
        "02_mine.json was recorded with other numbers than this cell's (lr: 0.01, here 0.02). "
        f"What follows shows the recorded result. To compute yours: {VARIABLE}=02_mine.json jupyter execute notebooks/02_"
    )
    line = source("02_mine.json", folder=kept)
    assert "recorded 2" in line and "; its numbers are not those of this notebook; again: " in line


def test_or_with_a_small_version_of_their_own_where_the_lecture_has_one(kept, capsys):
    before = (kept / "02_mine.json").read_bytes()
    assert recorded("02_mine.json", never, changed(), live=lambda: {"loss": 3.5}, folder=kept) == {"loss": 3.5}
    assert "(lr: 0.01, here 0.02). A smaller version is computed now; in full: " in capsys.readouterr().out
    assert source("02_mine.json", folder=kept).startswith("02_mine.json: computed here, smaller than in full")
    assert (kept / "02_mine.json").read_bytes() == before
    assert recorded("02_new.json", never, LR, live=lambda: 1, folder=kept) == 1  # no file at all
    assert "02_new.json has not been computed yet. A smaller version" in capsys.readouterr().out
    assert recorded("02_mine.json", never, LR, live=never, folder=kept) == {"loss": 2.5}  # back to the course's numbers
    assert source("02_mine.json", folder=kept).startswith("02_mine.json: recorded 2")


@pytest.mark.parametrize(
    ("configuration", "told"),
    [
        (changed(seeds=5), "lr: 0.01, here 0.02; seeds: 3, here 5"),
        ({**LR, "training": {"lr": 0.01, "steps": [10, 30]}}, "steps: 20, here 30"),
        ({**LR, "training": {"lr": 0.01, "steps": [10]}}, "steps: [10, 20], here [10]"),
        (LR | {"new": True}, "new: not set, here true"),
        (LR | dict.fromkeys("abcde", 1), "a: not set, here 1; b: not set, here 1; c: not set, here 1; and 2 more"),
        (LR | {"training": {"lr": 0.01, "steps": [11, 11]}}, "steps: 10, here 11; steps: 20, here 11"),
        ([1], '{"training": {"lr": 0.01, "steps": [10, 20]}, "seeds": 3}, here [1]'),
        (LR | {"seeds": "x" * 99}, f'seeds: 3, here "{"x" * 56}…'),
    ],
)
def test_what_was_changed_is_named(kept, capsys, configuration, told):
    recorded("02_mine.json", never, configuration, folder=kept)
    assert f"this cell's ({told}). " in capsys.readouterr().out


CELLS = """
lr = {lr}
found = recorded("02_mine.json", never, changed(lr), live={live}, folder=kept); print(source("02_mine.json", folder=kept))
ledger.claim(1, "the loss is {{loss}}, below 3", lambda loss: loss < 3, loss=found["loss"])
ledger.claim(2, "and {{loss}} is above 2", lambda loss: loss > 2, loss=found["loss"])
ledger.claims()
"""


def run(kept, ledger, lr, live="None") -> tuple[list, list[str]]:
    """(claims, cells that failed) of a small lecture."""
    names = {**globals(), "kept": kept, "ledger": ledger}
    failed = []
    for cell in CELLS.format(lr=lr, live=live).strip().split("\n"):
        try:
            exec(cell, names)
        except Exception as error:
            failed.append(f"{type(error).__name__}: {error}")
    return [made.sentence for made in ledger.claims().made], failed


def test_the_same_change_in_many_places_is_named_once(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv(VARIABLE, "all")
    recorded("02_mine.json", lambda: 1, [{"lr": 1}, {"lr": 1}, 5], folder=tmp_path)
    monkeypatch.delenv(VARIABLE)
    recorded("02_mine.json", never, [{"lr": 2}, {"lr": 2}, 6], folder=tmp_path)
    assert "(lr: 1, here 2; 5, here 6). " in capsys.readouterr().out


def test_no_later_cell_fails_for_a_changed_number_and_a_claim_says_what_became_of_it(kept):
    ledger = Ledger()
    course = ["the loss is 2.5, below 3", "and 2.5 is above 2"]
    assert run(kept, ledger, 0.01) == (course, [])
    assert run(kept, ledger, 0.02) == (course, [])  # the recorded result
    theirs = ["not so with your numbers: the loss is 3.5, below 3", "and 3.5 is above 2"]
    assert run(kept, ledger, 0.02, "lambda: {'loss': 3.5}") == (theirs, [])
    assert [made.held for made in ledger.claims().made] == [False, True]
    assert repr(ledger.claim(1, "{n} < 3", lambda n: n < 3, n=4)) == "✗ not so with your numbers: 4 < 3"
    assert run(kept, ledger, 0.01)[1] == []
    with pytest.raises(AssertionError, match="4 < 3"):  # with the course's numbers a false claim is a mistake again
        ledger.claim(1, "{n} < 3", lambda n: n < 3, n=4)


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"result": 1}', b"\xff"])
def test_a_damaged_file_is_told_in_one_sentence(kept, content):
    (kept / "02_mine.json").write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(CourseError, match=r"02_mine.json is damaged: take it from a fresh copy .* jupyter execute"):
        recorded("02_mine.json", never, LR, live=never, folder=kept)


LEARNS_FROM = re.compile(r"\b(technical_text|default_corpus|texts)\(")


def test_what_was_recorded_was_learned_from_the_text_that_there_is_now():
    """Another corpus asks for new recordings: run the command of each file that this names."""
    folder = ROOT / "notebooks"
    reading = [path.stem[:2] for path in folder.glob("text/*.py") if LEARNS_FROM.search(path.read_text("utf-8"))]
    kept = {path.name: json.loads(path.read_text("utf-8")) for path in sorted((folder / "results").glob("*.json"))}
    of = {name: told["provenance"].get("corpus") for name, told in kept.items() if name[:2] in reading}
    assert len(of) > 10 and {name for name, corpus in of.items() if corpus != DEFAULT_SHA256[:16]} == set()
