"""Every arXiv number in the prose of the course is a link."""

from __future__ import annotations

import re

import pytest
from helpers import ROOT

from cs336lite.course.papers import bare, link_papers
from cs336lite.course.text import read_text

TEXTS = sorted([*(ROOT / "notebooks" / "text").rglob("*.py"), *(ROOT / "assignments" / "text").glob("*.py")])
KEPT = [
    "`arXiv 2104.09864`",
    "[RoFormer](https://arxiv.org/abs/2104.09864)",
    "[arXiv 2104.09864](https://arxiv.org/abs/2104.09864)",
    "https://arxiv.org/abs/2104.09864",
    "<a href='x/2104.09864'>",
    "$2104.09864$",
    "```\narXiv 2104.09864\n```",
    "a loss of 2113.12345 or 2100.12345",  # no month is 13 or 0
    "1.2104.09864 and x2104.09864",
]


@pytest.mark.parametrize(
    "given, linked",
    [
        ("(arXiv 2104.09864)", "([arXiv 2104.09864](https://arxiv.org/abs/2104.09864))"),
        ("arXiv:2104.09864v2.", "[arXiv:2104.09864v2](https://arxiv.org/abs/2104.09864)."),
        ("arXiv\n0704.0001;", "[arXiv\n0704.0001](https://arxiv.org/abs/0704.0001);"),
        (
            "ALiBi (2108.12409, 2306.15595)",
            "ALiBi ([2108.12409](https://arxiv.org/abs/2108.12409), [2306.15595](https://arxiv.org/abs/2306.15595))",
        ),
    ],
)
def test_a_number_becomes_a_link_once(given, linked):
    assert link_papers(given) == linked and link_papers(linked) == linked
    assert bare(given) and not bare(linked)


@pytest.mark.parametrize("given", KEPT)
def test_code_mathematics_and_links_stay(given):
    assert link_papers(given) == given and bare(given) == []


@pytest.mark.parametrize("path", TEXTS, ids=lambda p: p.stem)
def test_no_number_of_a_text_is_left_without_a_link(path):
    """Also those that stand where the search for them might be misled, as behind a lone dollar sign."""
    for cell in read_text(path).notebook.cells:
        if cell.cell_type == "markdown":
            linked = link_papers(cell.source)
            prose = re.sub(r"```.*?```|`[^`]*`", "", linked, flags=re.S)
            numbers = re.findall(r"(?<![\d.])\d{4}\.\d{4,5}(?![\d])", re.sub(r"\]\(\S*\)", "]", prose))
            assert len(numbers) == len(re.findall(r"\d{4}\.\d{4,5}(?:v\d)?\]\(https://arxiv", prose)), numbers
