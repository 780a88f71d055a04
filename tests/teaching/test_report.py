"""A report holds what the gradebook holds, on a page that loads nothing; a student's history says what each version got."""

import csv
import io
import re
import sys
from html.parser import HTMLParser

import pytest
from helpers import RIGHT, run, small_notebook, submit
from rich.console import Console

from cs336lite.course.paths import CourseError
from cs336lite.grading import runner
from cs336lite.teaching import figures
from cs336lite.teaching.classbook import Classbook, Points, Row, duration, number
from cs336lite.teaching.page import as_html
from cs336lite.teaching.report import Report, as_csv, past
from cs336lite.teaching.summary import after_run

WRONG = "def double(x):\n    return x * x"
HOSTILE = "<script>alert(1)</script>"


def row(student, name, auto, manual=None, penalty=0.0, **more):
    points = {"double": Points(auto, manual, 0.0, 4.0), "halve": Points(2.0, None, 0.5, 2.0)}
    return Row(student, name, "", "", True, True, True, points, penalty, **more)


@pytest.fixture
def found():
    rows = (
        row("ada", f"Ada {HOSTILE}", 4.0, 3.0, 1.0, late=3700.0, timestamp="2026-01-05 13:01:40"),
        row("=cmd()", "Bob Baker", 0.0, timestamp="2026-01-01 10:00:00"),
        Row(HOSTILE, "", handed_in=True),
        Row("dan", "Dan Dare"),
    )
    return Report(Classbook("a1_bpe", rows, 6.0, {"double": 4.0, "halve": 2.0}, "2026-01-05 12:00"), {}, {})


def test_a_row_for_each_student_and_columns_for_each_exercise(found):
    table = list(csv.DictReader(io.StringIO(as_csv(found))))
    assert len(table) == 4
    ada = table[0]
    assert (ada["double (checks)"], ada["double (by hand)"], ada["double (of)"]) == ("4", "3", "4")
    assert (ada["halve (checks)"], ada["halve (by hand)"]) == ("2", "2.5")
    assert (ada["checks"], ada["by hand"], ada["penalty"], ada["total"], ada["of"]) == ("6", "-0.5", "1", "4.5", "6")
    assert table[1]["student"] == "'=cmd()"  # no spreadsheet runs it
    assert [r["state"] for r in table] == ["graded", "graded", "not graded", "missing"]
    assert table[3]["total"] == ""


class Reader(HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags, self.links, self.open = [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.links += [value for name, value in attrs if name in ("href", "src", "xlink:href")]
        assert not any(name.startswith("on") for name, _ in attrs)


def test_the_page_holds_no_script_and_loads_nothing(found, tmp_path):
    page = tmp_path / "feedback" / "ada" / "a1_bpe" / "a1_bpe.html"
    page.parent.mkdir(parents=True)
    page.write_text("x")
    html = as_html(found, tmp_path, tmp_path / "reports" / "a1.html")
    reader = Reader()
    reader.feed(html)
    assert "script" not in reader.tags and "link" not in reader.tags and "img" not in reader.tags
    assert HOSTILE not in html and reader.tags.count("svg") == 3
    outside = [link for link in reader.links if not link.startswith("#")]
    assert outside == ["../feedback/ada/a1_bpe/a1_bpe.html"]
    assert "url(http" not in html and "default-src 'none'" in html
    ids = re.findall(r'\bid="([^"]+)"', html)
    assert len(ids) == len(set(ids))
    assert "1 h 1 min" in html and "not graded" in html and "missing" in html


def test_a_class_of_nobody_has_a_page_too(tmp_path):
    for rows in ((), (Row("dan", "Dan Dare"),)):
        empty = Report(Classbook("a1_bpe", rows, 0.0, {}), {}, {})
        assert "a1_bpe" in as_html(empty, tmp_path, tmp_path / "a.html")


def test_figures_are_the_same_for_the_same_numbers_and_take_any():
    assert figures.distribution([1, 2, 2], 3) == figures.distribution([1, 2, 2], 3)
    for hours in ([0.0], [-2000.0, 5.0], [1.0, 1.0]):
        assert figures.arrivals(hours).startswith("<svg")
    assert figures.exercises(["$x$_中"], [[0.5]]).startswith("<svg")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="grading runs on Linux")
def test_the_history_of_a_student_and_the_files_of_the_command(small_course, tmp_path):
    course = small_course
    assert runner.nbgrader_api(course).generate_assignment("a1_bpe")["success"]
    with runner.nbgrader_api(course).gradebook as gradebook:
        gradebook.update_or_create_student("ada", first_name="Ada", last_name="Lovelace")
    for answer in (WRONG, "def double(x):\n    return 2.5", RIGHT[0]):
        submit(course, "ada", small_notebook(answer, RIGHT[1]))
        after_run(course, "a1_bpe", runner.grade_class(course, "a1_bpe"))
    history = past(course, "a1_bpe", "Ada Lovelace")
    assert [m.total for m in history.moments] == [2, 2, 6]
    file = io.StringIO()
    Console(file=file, width=140).print(history)
    said = file.getvalue()
    assert "Ada Lovelace (ada): judged 3 times, now 6, at best 6 of 6" in said
    assert "2 checks fail: double.number, double.string" in said
    assert "passes now: double.number, double.string" in said
    assert all((course / "verdicts" / "a1_bpe" / m.verdict).is_file() for m in history.moments)
    with pytest.raises(CourseError, match="there is no history of bob"):
        past(course, "a1_bpe", "bob")

    html, table = tmp_path / "report.html", tmp_path / "report.csv"
    done = run("cs336lite", "report", "a1", "--html", str(html), "--csv", str(table), cwd=course)
    assert done.returncode == 0, done.stderr
    page = html.read_text()
    assert "Changes of grades" in page and "2 → 6" in page and "new submission" in page and "doubles a number" in page
    assert table.read_text(encoding="utf-8-sig").splitlines()[1].startswith("ada,Ada Lovelace")
    assert html.stat().st_mode & 0o077 == 0
    done = run("cs336lite", "report", "a1", cwd=course)
    assert "1 of 1 handed in" in done.stdout
    done = run("cs336lite", "report", "a1", "--html", str(tmp_path), cwd=course)
    assert done.returncode == 2 and "Traceback" not in done.stderr, done.stderr


def test_without_a_gradebook_there_is_one_sentence(small_course):
    done = run("cs336lite", "report", "a1", cwd=small_course)
    assert done.returncode == 2 and "there is no gradebook" in done.stderr and "Traceback" not in done.stderr
    assert not (small_course / "gradebook.db").exists()
    (small_course / "gradebook.db").write_bytes(b"no database" * 999)
    done = run("cs336lite", "report", "a1", cwd=small_course)
    assert done.returncode == 2 and "is damaged" in done.stderr and "Traceback" not in done.stderr, done.stderr


def test_times_and_points_as_a_person_says_them():
    times = {40: "40 s", 125: "2 min", 3600: "1 h", 3725: "1 h 2 min", 90000: "1 d 1 h", 172800: "2 d"}
    assert {seconds: duration(seconds) for seconds in times} == times
    assert [number(x) for x in (None, 1.0, 0.125, -0.0, 99.999)] == ["", "1", "0.12", "0", "100"]
