"""What an assignment promises and what its hidden checks give: compared by the build, with every place named."""

from pathlib import Path

import pytest
from miniature import edit, make_course

from cs336lite.course.build import _unfinished, build
from cs336lite.course.plan import read_items
from cs336lite.course.points import promised
from cs336lite.course.text import read_text

TEXT, HIDDEN = "assignments/text/a1_bpe.py", "assignments/hidden/a1_bpe.py"
HEAD = """\
# # a1 · Pairs
#
# **1 hour · 100 points**
#
# | exercise | what you write | points |
# |---|---|---:|
# | `count_pairs` | counts | 60 |
# | `train` | merges | 40 |
#
# | `train` | is no promise of | 7 |
#
# ## 1 · Counting (`count_pairs`)
#
# **Difficulty ● · 5 minutes · 60 points**
"""


@pytest.fixture
def course(tmp_path) -> Path:
    root = make_course(tmp_path / "course")
    edit(root / TEXT, "# # a1 · Pairs\n", HEAD)
    return root


def said(root: Path) -> list[str]:
    item = next(item for item in read_items(root)[0] if item.name == "a1_bpe")
    return _unfinished(root, item)


def test_every_place_that_promises_points_is_found(course):
    found = [(name, points) for name, points, _ in promised(read_text(course / TEXT))]
    assert found == [
        ("all exercises together", 100),
        ("count_pairs", 60),
        ("train", 40),
        ("count_pairs", 60),
        ("count_pairs", 60),
        ("train", 40),
    ]
    assert said(course) == []


@pytest.mark.parametrize(
    ("file", "old", "new", "words"),
    [
        (
            HIDDEN,
            "points=60",
            "points=70",
            "`count_pairs` differ: 70 in assignments/hidden/a1_bpe.py, 60 at a1_bpe.py:14,",
        ),
        (
            TEXT,
            'grade="train" points=40',
            'grade="train" points=30',
            "`train` differ: 40 in assignments/hidden/a1_bpe.py",
        ),
        (TEXT, "| merges | 40 |", "| merges | 4 |", "4 at a1_bpe.py:15, the table, 40 at a1_bpe.py:"),
        (TEXT, "5 minutes · 60 points", "5 minutes · 61 points", "61 at a1_bpe.py:21, the heading"),
        (TEXT, "1 hour · 100 points", "1 hour · 90 points", "all exercises together differ: 100 in"),
        (
            HIDDEN,
            '@check("train"',
            '@check("learn"',
            "`train` is worth points, and assignments/hidden/a1_bpe.py has no check",
        ),
        (HIDDEN, '@check("train"', '@check("learn"', "checks of `learn`, and the text has no grade cell for it"),
        (HIDDEN, "points=60,", "points=60", "a1_bpe.py, line 6: invalid syntax"),
        (TEXT, 'export_solution("a1_bpe")', "", 'locked="export"'),
        (TEXT, 'export_solution("a1_bpe")', 'export_solution("a2_attention")', 'locked="export"'),
        (TEXT, 'locked="export"', 'locked="last"', 'with export_solution("a1_bpe") is missing'),
        (TEXT, "module: bpe", "module: pairs", 'has no line "a1_bpe": "pairs": add it'),
    ],
)
def test_what_differs_or_is_missing_is_told_with_its_places(course, file, old, new, words):
    edit(course / file, old, new)
    found = said(course)
    assert any(words in one for one in found), found


def test_an_assignment_may_be_written_before_its_checks(course):
    (course / HIDDEN).unlink()
    assert said(course) == []


def test_the_build_fails_and_writes_nothing(course):
    edit(course / HIDDEN, "points=60", "points=70")
    reports = {r.name: r for r in build(course, check=True)}
    assert reports["a1_bpe"].status == "out of step" and "70 in assignments/hidden" in str(reports["a1_bpe"])
    report = next(r for r in build(course, ["a1_bpe"]) if r.name == "a1_bpe")
    assert report.status == "failed" and "`count_pairs` differ" in str(report)
    assert not (course / "assignments/source/a1_bpe/a1_bpe.ipynb").exists()
