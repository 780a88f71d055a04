"""Recorded results of lectures: kept with where they come from, bound to one configuration, made again on demand."""

import json
import re

import pytest
from conftest import ROOT

from cs336lite.course.corpus import DEFAULT_SHA256
from cs336lite.course.paths import CourseError
from cs336lite.course.results import VARIABLE, recorded, source


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
    assert recorded("02_mine.json", never, {"steps": (1, 2), "lr": 1}, folder=tmp_path) == 1  # as JSON, the same
    with pytest.raises(CourseError, match=r"another configuration.*jupyter execute"):
        recorded("02_mine.json", never, {"lr": 2, "steps": [1, 2]}, folder=tmp_path)


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


LEARNS_FROM = re.compile(r"\b(technical_text|default_corpus)\(")


def test_what_was_recorded_was_learned_from_the_text_that_there_is_now():
    """Another corpus asks for new recordings: run the command of each file that this names."""
    folder = ROOT / "notebooks"
    reading = [path.stem[:2] for path in folder.glob("text/*.py") if LEARNS_FROM.search(path.read_text("utf-8"))]
    kept = {path.name: json.loads(path.read_text("utf-8")) for path in sorted((folder / "results").glob("*.json"))}
    of = {name: told["provenance"].get("corpus") for name, told in kept.items() if name[:2] in reading}
    assert len(of) > 10 and {name for name, corpus in of.items() if corpus != DEFAULT_SHA256[:16]} == set()
