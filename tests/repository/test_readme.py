"""What the README promises: its commands exist, its links lead somewhere, its tables are those of the course."""

import re

import pytest
from helpers import ROOT
from nbgrader.apps import NbGraderApp
from typer.main import get_command

from cs336lite.cli import app
from cs336lite.course import edition_readme
from cs336lite.grading.budget import Budget

TEXTS = {
    name: (ROOT / name).read_text()
    for name in (
        *("README.md", "CONTRIBUTING.md"),
        *("docs/learning.md", "docs/teaching.md", "docs/grader.md"),
    )
}


@pytest.mark.parametrize("name", TEXTS)
def test_every_command_and_option_exists(name):
    commands = get_command(app).commands
    calls = re.findall(
        r"cs336lite ([a-z]+)((?: [^\s`#|]+)*)", TEXTS[name].replace("git clone <this repository> cs336lite", "")
    )
    calls = [(verb, rest) for verb, rest in calls if verb in commands or rest]
    for verb, rest in calls:
        if verb not in commands:
            continue  # prose, such as "cs336lite runs on"
        known = {option for parameter in commands[verb].params for option in parameter.opts}
        for option in re.findall(r"--[a-z-]+", rest):
            assert option in known, f"cs336lite {verb} has no {option}"
    if name == "README.md":
        assert {verb for verb, _ in calls} >= {"release", "grade", "check", "hint", "status", "unlock", "doctor"}


def subcommands(app: type) -> dict[str, type]:
    """The commands below one of nbgrader's."""
    named = app.subcommands if isinstance(app.subcommands, dict) else {}
    return {name: found[0] for name, found in named.items()}


def test_every_nbgrader_command_and_option_exists():
    for text in TEXTS.values():
        for line in re.findall(r"nbgrader ((?:[a-z_]+ ?)+[^`|#\n]*)", text):
            words, app = line.split(), NbGraderApp
            while words and (found := subcommands(app).get(words[0])):
                app = found
                words.pop(0)
            if app is NbGraderApp:
                continue  # prose
            names = [n for name in (*app.aliases, *app.flags) for n in ([name] if isinstance(name, str) else name)]
            known = {f"--{name}" for name in names}
            for option in re.findall(r"--[a-z-]+", line):
                assert option in known, f"nbgrader {line}: no {option}"


def test_every_make_target_exists():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    for name, text in TEXTS.items():
        for target in re.findall(r"(?:^|`|&& )make ([a-z-]+)", text, re.M):
            assert target in targets, f"{name}: make {target}"


def test_a_newcomer_reads_it_in_two_minutes():
    words = re.sub(r"(?m)^\|.*$", "", TEXTS["README.md"])  # the table of the way is looked at
    assert len(words.split()) < 600


@pytest.mark.parametrize("name", TEXTS)
def test_every_link_inside_the_repository_leads_somewhere(name):
    for link in re.findall(r"\]\(([^)]+)\)", TEXTS[name]):
        if not link.startswith(("http:", "https:")):
            file, _, part = link.partition("#")
            target = (ROOT / name).parent / file if file else ROOT / name
            assert target.exists(), link
            heads = re.findall(r"^#+ (.+)$", target.read_text(), re.M) if part else []
            assert not part or part in {re.sub(r"[^a-z0-9 -]", "", head.lower()).replace(" ", "-") for head in heads}, (
                link
            )


def test_the_guide_and_the_students_readme_say_what_a_submission_may_use():
    budget = Budget()
    told = " ".join(TEXTS["docs/grader.md"].split())
    for seconds, of in ((budget.load_seconds, "to run its cells"), (budget.submission_seconds, "in all")):
        assert f"{seconds:g} s {of}" in told
    assert f"{budget.idle_seconds:g} s asleep" in told and f"{budget.threads} threads" in told
    told = " ".join(edition_readme.README.split())
    assert f"{budget.load_seconds:g} seconds of processor time together" in told
    assert f"sleep {budget.idle_seconds:g} seconds" in told and f"({budget.submission_seconds:g} in all)" in told
    assert f"{budget.memory_bytes >> 30} GiB of memory and {budget.threads} threads" in told
