"""Files of Canvas and Moodle: class lists come in, grades go out in the columns that the platform wants, archives are read."""

import csv
import io
import json
import sys
import zipfile

import pytest
from helpers import RIGHT, run, small_notebook

from cs336lite.course.paths import CourseError
from cs336lite.grading import runner
from cs336lite.teaching import classlist, lms
from cs336lite.teaching.classbook import Classbook, Points, Row, read_class
from cs336lite.teaching.lms import fill_canvas, fill_moodle
from cs336lite.teaching.tables import Matcher, read_sheet, write_sheet

CANVAS = """\
Student,ID,SIS User ID,SIS Login ID,Section,a1 BPE (101),a4_lion (104),Final Score
    Points Possible,,,,,100,50,(read only)
"Lovelace, Ada",5001,M1,ada@example.edu,Lab 1,90,12,90
"Baker, Bob",5002,M2,bob,Lab 1,,,
"Çelik, Zoë",5003,,,Lab 2,,,
"Nobody, Ned",5009,M9,ned,Lab 2,,7,
"Student, Test",5010,,abc123,Lab 1,,,
"""
MOODLE = """\
Identifier,"Full name","Email address",Status,Grade,"Maximum grade","Grade can be changed",\
"Last modified (submission)","Last modified (grade)","Feedback comments"
"Participant 71","Ada Lovelace",ada@example.edu,"Submitted for grading",,100.00,Yes,"Monday, 5 January 2026, 9:00 AM",-,
"Participant 72","Bob Baker",bob@example.edu,"No submission",,100.00,Yes,-,-,
"Participant 73","Zoë Çelik",zoe@example.edu,"Submitted for grading",,100.00,No,-,-,
"Participant 74","Ned Nobody",ned@example.edu,"Submitted for grading",3,100.00,Yes,-,-,
"""


def row(student, name, score=None, penalty=0.0, lms="", email=""):
    exercises = (
        {} if score is None else {"double": Points(score, None, 0.0, 60.0), "halve": Points(40.0, None, 0.0, 40.0)}
    )
    graded = score is not None
    return Row(student, name, email, lms, True, graded, graded, exercises, penalty)


@pytest.fixture
def book():
    rows = (
        row("ada", "Ada Lovelace", 35.5, 10, email="ada@example.edu"),
        row("bob", "Bob Baker"),
        row("zc1", "Zoë Çelik", 60, lms="5003"),
        row("eve", "Eve Extra", 20),
    )
    return Classbook("a4_lion", rows, 100.0, {"double": 60.0, "halve": 40.0})


def sheet(tmp_path, text, encoding="utf-8"):
    path = tmp_path / "given.csv"
    path.write_bytes(text.encode(encoding))
    return read_sheet(path)


def cells(filled):
    return list(csv.reader(io.StringIO(write_sheet(filled.sheet))))


def test_the_column_of_canvas_is_filled_and_the_rest_left_out(book, tmp_path):
    filled = fill_canvas(book, sheet(tmp_path, CANVAS, "utf-8-sig"))
    found = cells(filled)
    assert found[0] == ["Student", "ID", "SIS User ID", "SIS Login ID", "Section", "a4_lion (104)"]
    assert found[1] == ["    Points Possible", "", "", "", "", "50"]
    assert {r[0]: r[-1] for r in found[2:]} == {
        "Lovelace, Ada": "32.75",
        "Baker, Bob": "",
        "Çelik, Zoë": "50",
        "Nobody, Ned": "7",
        "Student, Test": "",
    }
    assert (filled.filled, filled.empty, filled.strangers) == (2, ("Bob Baker (bob)",), ("Nobody, Ned",))
    assert filled.absent == ("Eve Extra (eve)",)
    assert "the platform gives 50 points, the course 100: grades were scaled" in filled.lines()


def test_which_column_of_canvas(book, tmp_path):
    other = sheet(tmp_path, CANVAS.replace("a4_lion (104)", "A4: Optimizer (104)"))
    assert cells(fill_canvas(book, other))[0][-1] == "A4: Optimizer (104)"
    unclear = sheet(tmp_path, CANVAS.replace("a4_lion (104)", "Optimizer (104)"))
    with pytest.raises(CourseError, match=r"no column .* name it with --column; there are: a1 BPE \(101\), Optimizer"):
        fill_canvas(book, unclear)
    for name in ("Optimizer (104)", "Optimizer", "104"):
        assert cells(fill_canvas(book, unclear, name))[0][-1] == "Optimizer (104)"
    empty = sheet(tmp_path, "Student,ID,SIS Login ID,Section\n Points Possible,,,\nAda Lovelace,1,ada,x\n")
    filled = fill_canvas(book, empty)
    assert [r[-1] for r in cells(filled)] == ["a4_lion", "100", "65.5"]
    assert any("is new" in note for note in filled.notes)


def test_the_worksheet_of_moodle_keeps_its_form(book, tmp_path):
    given = sheet(tmp_path, MOODLE)
    filled, people = fill_moodle(book, given)
    found = cells(filled)
    assert found[0] == given.columns
    assert [r[4] for r in found[1:]] == ["65.5", "", "", "3"]
    assert found[1][-1] == "double 35.5 / 60, halve 40 / 40; late penalty 10"
    assert [r[:4] + r[5:9] for r in found[1:]] == [r[:4] + r[5:9] for r in given.rows]
    assert people == {"ada": ("71", "Ada Lovelace"), "bob": ("72", "Bob Baker"), "zc1": ("73", "Zoë Çelik")}
    assert filled.strangers == ("Ned Nobody",) and any("locked in Moodle" in note for note in filled.notes)


def test_other_signs_between_cells_and_other_encodings(book, tmp_path):
    text = (
        "Identifier;Full name;Grade;Maximum grade\nParticipant 1;Zoë Çelik;;50,00\nParticipant 2;Ada Lovelace;;50,00\n"
    )
    for encoding in ("cp1252", "utf-16"):
        filled, _ = fill_moodle(book, sheet(tmp_path, text, encoding))
        assert [r[2] for r in filled.sheet.rows] == ["50", "32,75"]
        assert write_sheet(filled.sheet).startswith("Identifier;Full name;Grade")


@pytest.mark.parametrize("text", ["", "x", "a,b\n1,2\n", '"', "\0,\0\n", "Student,Section\nA,b\n"])
def test_files_that_are_something_else_are_one_sentence(book, tmp_path, text):
    for fill in (fill_canvas, fill_moodle):
        with pytest.raises(CourseError):
            fill(book, sheet(tmp_path, text))
    with pytest.raises(CourseError, match="cannot be read"):
        read_sheet(tmp_path / "none.csv")


def test_a_name_that_two_students_have_means_nobody():
    matcher = Matcher([row("a1", "Ada Lovelace"), row("a2", "Ada Lovelace"), row("b", "Bob Baker")])
    assert matcher.find(name="Lovelace, Ada") is None
    assert matcher.find(ids=["A2"], name="Lovelace, Ada").student == "a2"
    assert matcher.find(name="BAKER, Bob").student == "b"
    assert matcher.find(name="Bob Baker") is None  # he was found already


@pytest.mark.parametrize(
    ("text", "by", "expected"),
    [
        (CANVAS, None, ("ada@example.edu", "Ada", "Lovelace", "5001")),
        (CANVAS, "sis", ("M1", "Ada", "Lovelace", "5001")),
        (
            "First name,Surname,Email address,ID number\nAda,Lovelace,ada@example.edu,\n",
            None,
            ("ada", "Ada", "Lovelace", ""),
        ),
        (MOODLE, "email", ("ada@example.edu", "Ada", "Lovelace", "")),
        ("id,first_name,last_name,email,lms_user_id\nada,Ada,Lovelace,,77\n", None, ("ada", "Ada", "Lovelace", "77")),
    ],
)
def test_class_lists(tmp_path, text, by, expected):
    people, _ = classlist.people_of(sheet(tmp_path, text), by)
    first = people[0]
    assert (first.id, first.first_name, first.last_name, first.lms_user_id) == expected


def test_a_class_list_without_ids_or_with_one_id_twice(tmp_path, small_course):
    with pytest.raises(CourseError, match="is no class list"):
        classlist.people_of(sheet(tmp_path, "Name,Grade\nAda,3\n"))
    people, left = classlist.people_of(sheet(tmp_path, "Student,SIS Login ID\nAda,../x\nBob,\nCyd,cyd\n"))
    assert [p.id for p in people] == ["cyd"] and left == ["Ada", "Bob"]
    path = tmp_path / "twice.csv"
    path.write_text("Student,SIS Login ID\nAda,x\nBob,x\n")
    with pytest.raises(CourseError, match="several people by one id: x"):
        classlist.take(small_course, path)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="grading runs on Linux")
def test_from_a_class_list_and_archives_to_grades_and_pages(small_course, tmp_path):
    course = small_course
    assert runner.nbgrader_api(course).generate_assignment("a1_bpe")["success"]
    given = tmp_path / "canvas.csv"
    given.write_text(CANVAS)
    said = run("cs336lite", "roster", str(given), "--id", "sis", cwd=course)
    assert said.returncode == 0 and "3 students in the list: 3 new" in said.stdout, said.stderr
    assert "passed over, for they have no id (1): Çelik, Zoë" in said.stdout
    again = run("cs336lite", "roster", str(given), "--id", "sis", cwd=course)
    assert "0 new, 0 changed, 3 as before" in again.stdout

    notebook = json.dumps(small_notebook(*RIGHT))
    archives = course / "downloaded" / "a1_bpe" / "archive"
    archives.mkdir(parents=True)
    with zipfile.ZipFile(archives / "moodle.zip", "w") as archive:
        archive.writestr("Ada Lovelace_71_assignsubmission_file_/a1_bpe.ipynb", notebook)
        archive.writestr("Eve Else_75_assignsubmission_file_/a1_bpe.ipynb", notebook)
    with zipfile.ZipFile(archives / "canvas.zip", "w") as archive:
        archive.writestr("bakerbob_LATE_4444_9001_a1_bpe-1.ipynb", notebook)  # by name
        archive.writestr("nobodyned_5009_9002_a1_bpe.ipynb", notebook)  # by number
    collected = run("nbgrader", "zip_collect", "a1_bpe", cwd=course)
    assert collected.returncode == 0, collected.stderr
    assert "Eve Else is nobody of the roster" in collected.stderr
    there = sorted(p.parts[-3] for p in (course / "submitted").glob("*/a1_bpe/a1_bpe.ipynb"))
    assert there == ["M1", "M2", "M9"]

    runner.grade_class(course, "a1_bpe")
    page = course / "feedback" / "M1" / "a1_bpe" / "a1_bpe.html"
    page.parent.mkdir(parents=True)
    page.write_text("<p>well done")
    worksheet, out, pages = tmp_path / "worksheet.csv", tmp_path / "out.csv", tmp_path / "pages.zip"
    worksheet.write_text(MOODLE)
    said = run(
        "cs336lite", "export", "a1", "--moodle", str(worksheet), "-o", str(out), "--feedback", str(pages), cwd=course
    )
    assert said.returncode == 0 and "3 grades filled in" in said.stdout, said.stdout + said.stderr
    assert list(csv.reader(out.open(encoding="utf-8")))[1][4] == "100"
    assert out.stat().st_mode & 0o077 == 0
    with zipfile.ZipFile(pages) as archive:
        assert archive.namelist() == ["Ada Lovelace_71_assignsubmission_file_/a1_bpe.html"]
    said = run("cs336lite", "export", "a1", "--canvas", str(given), "-o", str(given), cwd=course)
    assert said.returncode == 2 and "name another one to write" in said.stderr
    said = run("cs336lite", "export", "a1", "-o", str(out), cwd=course)
    assert said.returncode == 2 and "--canvas" in said.stderr
    assert lms.comment(read_class(course, "a1_bpe").row("M1")) == "double 4 / 4, halve 2 / 2"
