"""The whole class of the demo: everybody gets what they earned, and nothing that the attacker wanted."""

import csv
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import ROOT, run

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="grading runs on Linux")


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    if said := os.environ.get("CS336LITE_DEMO"):  # `make demo` has run, and said what is in this file
        return ROOT / "demo", Path(said).read_text()
    folder = tmp_path_factory.mktemp("demo") / "class"
    result = run("cs336lite", "demo", str(folder), cwd=ROOT, timeout=540)
    assert result.returncode == 0, result.stdout + result.stderr
    return folder, result.stdout


def test_everybody_gets_what_they_earned(demo):
    folder, _ = demo
    with (folder / "course" / "grades.csv").open() as file:
        rows = {row["student"]: row for row in csv.DictReader(file)}
    scores = {name: float(row["score"]) for name, row in rows.items()}
    assert scores["ada"] == scores["bao"] == 100
    assert all(60 <= scores[name] < 100 for name in ("chen", "dana", "emre")), scores
    assert scores["fay"] == scores["gus"] == scores["mallory"] == 0
    assert rows["bao"]["first name"] == "Bao" and {row["max score"] for row in rows.values()} == {"100.0"}


def test_the_terminal_shows_names_scores_messages_and_where_to_look(demo):
    folder, said = demo
    for words in ("Ada Okafor", "Mallory Reyes", "100 / 100", "0 / 100", "jupyter lab"):
        assert words in said
    for student in ("ada", "chen", "gus", "mallory"):
        page = folder / "course" / "feedback" / student / "a1_bpe" / "a1_bpe.html"
        shown = page.relative_to(ROOT) if page.is_relative_to(ROOT) else page
        assert str(shown) in said.replace("\n", "") and page.exists()


def test_feedback_names_the_mistake_and_runs_no_script(demo):
    folder, _ = demo
    pages = folder / "course" / "feedback"
    assert "ties" in (pages / "chen" / "a1_bpe" / "a1_bpe.html").read_text()
    assert "<img src=x" not in (pages / "mallory" / "a1_bpe" / "a1_bpe.html").read_text()
    assert "could be judged" in (pages / "gus" / "a1_bpe" / "a1_bpe.html").read_text()


CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: apt-get install chromium")
def test_in_a_real_browser_the_attackers_page_is_only_text(demo, tmp_path):
    folder, _ = demo
    quiet = ["--disable-gpu", "--disable-background-networking", "--disable-component-update", "--disable-sync"]
    page = folder / "course" / "feedback" / "mallory" / "a1_bpe" / "a1_bpe.html"
    shown = subprocess.run(
        [
            CHROMIUM,
            "--headless",
            "--no-sandbox",
            "--no-first-run",
            *quiet,
            f"--user-data-dir={tmp_path}",
            "--dump-dom",
            page.as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    ).stdout
    assert "0 of 100 points" in shown, "the page did not render"
    assert "owned" in shown and "<title>owned" not in shown and "<img src" not in shown


def test_rerunning_replaces_the_demo_and_nothing_else(demo, tmp_path):
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.txt").write_text("precious")
    result = run("cs336lite", "demo", str(mine), cwd=ROOT)
    assert result.returncode == 2 and "no demo made it" in result.stderr
    assert (mine / "thesis.txt").read_text() == "precious"


@pytest.mark.slow
def test_rerunning_is_safe(demo):
    folder, _ = demo
    first = (folder / "course" / "grades.csv").read_text()
    assert run("cs336lite", "demo", str(folder), cwd=ROOT, timeout=540).returncode == 0
    assert (folder / "course" / "grades.csv").read_text() == first
    shutil.rmtree(folder)
