"""Hidden checks in a folder, a file an exercise: the same as in one file, whatever becomes of the folder."""

import inspect
import random
import shutil
import sys

import pytest
from helpers import RIGHT, SMALL_SPEC, small_notebook, submit

from cs336lite.course import leaks, loading
from cs336lite.course.paths import CourseError, hidden_checks
from cs336lite.course.spec import LocalStudent, StudentError, load_spec
from cs336lite.grading import runner
from cs336lite.grading.judge import hidden_source, replay
from cs336lite.grading.verdicts import spec_hash
from cs336lite.teaching.why import why

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="grading runs on Linux")
A1 = "a1_bpe"
FILES = {
    "__init__.py": '"""Checks of two exercises."""\n\nWARM = ()\nORDER = ("words", "counts", "words.last")\n',
    "inputs.py": """
ANOTHER = "the word is another one: %s"

def draw(rng):
    return rng.choice(["spam", "eggs"])
""",
    "words.py": """
from cs336lite.course.spec import check, expect

from .inputs import ANOTHER, draw

def drive_word(student, word):
    return student.word(word)

@check("words", points=2, title="last of all")
def last(student, rng):
    expect(student.run(drive_word, "") == "", ANOTHER % "none")

@check("words", points=1, title="the same word")
def same(student, rng):
    word = draw(rng)
    got = student.run(drive_word, word)
    expect(got == word, ANOTHER % got)
""",
    "counts.py": """
from cs336lite.course.spec import check, expect

@check("counts", points=3, title="letters")
def letters(student, rng):
    expect(student.run(drive_count, "three") == 5, "letters are not counted")

def drive_count(student, word):
    return student.count(word)
""",
}
RIGHT_ANSWERS = {"word": lambda word: word, "count": len}


@pytest.fixture
def folder(tmp_path):
    place = tmp_path / "hidden" / A1
    place.mkdir(parents=True)
    for name, text in FILES.items():
        (place / name).write_text(text)
    return place


def change(path, old, new):
    text = path.read_text()
    assert text.count(old) == 1
    path.write_text(text.replace(old, new))


class Elsewhere:
    """A student whose answers come from elsewhere: of a message nothing is let out but what is ours."""

    def __init__(self, answer):
        self.answer = answer

    def run(self, driver, *args):
        return self.answer


def test_a_folder_is_run_in_the_order_that_it_says(folder):
    spec = load_spec(folder)
    assert [check.id for check in spec] == ["words.same", "counts.letters", "words.last"]
    assert spec.name == A1 and spec.exercises == {"words": 3, "counts": 3} and spec.max_points == 6
    assert spec.module.WARM == () and spec.path == folder
    assert sorted(spec.files) == sorted(str(folder / name) for name in FILES)
    student = LocalStudent(RIGHT_ANSWERS)
    assert [check.run(student, 0).points for check in spec] == [1, 3, 2]
    assert [path.name for path in folder.iterdir() if path.name not in FILES] == []  # and nothing is written beside it


def test_a_file_and_a_folder_draw_the_same(folder):
    whole = "".join(FILES[name] for name in ("inputs.py", "words.py")).replace("from .inputs import ANOTHER, draw", "")
    file = load_spec(folder.parent / "words.py", whole)
    one, other = (next(check for check in spec if check.id == "words.same") for spec in (file, load_spec(folder)))
    student = LocalStudent({"word": lambda word: word.upper()})
    assert [one.run(student, seed).message for seed in range(9)] == [
        other.run(student, seed).message for seed in range(9)
    ]


def test_what_runs_is_the_text_that_was_read(folder):
    spec = load_spec(folder)
    change(folder / "inputs.py", '"spam"', '"ham"')
    again = load_spec(folder, spec.source)  # as another process does
    shutil.rmtree(folder)
    gone = load_spec(folder, spec.source)
    for one in (spec, again, gone):
        assert {sys.modules[f"{one.module.__name__}.inputs"].draw(random.Random(n)) for n in range(9)} == {
            "spam",
            "eggs",
        }
    drivers = [check.function.__globals__["drive_word"] for check in gone if check.exercise == "words"]
    assert "return student.word(word)" in inspect.getsource(drivers[0])
    assert [check.run(LocalStudent(RIGHT_ANSWERS), 0).passed for check in gone] == [True] * 3
    assert not any(isinstance(finder, loading.Snapshot) for finder in sys.meta_path)


def test_the_text_of_a_folder_is_its_files(folder):
    text = loading.text_of(folder)
    assert loading.is_folder(text) and loading.files_in(text) == FILES
    (folder / "words.py").write_text(FILES["words.py"].rstrip("\n"))
    assert loading.text_of(folder) == text
    assert not loading.is_folder(SMALL_SPEC)
    (folder / "counts.py").write_text("x = 1\n# ==== inputs.py\n")
    with pytest.raises(CourseError, match=r"counts\.py: no line may begin with '# ==== '"):
        load_spec(folder)


@pytest.mark.parametrize(
    ("name", "old", "new", "told"),
    [
        ("words.py", "def same(student, rng):", "def same(student, rng)", r"SyntaxError in .*words\.py, line 14: expected ':'"),
        ("words.py", "    return student.word(word)", "    return student.word(word)\n1 / 0", r"ZeroDivisionError: .*\(words\.py, line 8\)"),
        ("inputs.py", "ANOTHER =", "OTHER =", r"cannot import name 'ANOTHER' from 'inputs' .*\(words\.py, line 4\)"),
        ("words.py", "from .inputs import", "from .input import", r"No module named 'input' \(words\.py, line 4\)"),
        ("inputs.py", "def draw", "from .words import same\n\ndef draw", r"cannot import name 'same' from partially initialized module 'words' \(most likely due to a circular import\) .*\(inputs\.py, line 4\)"),
        ("__init__.py", '"words", "counts"', '"words", "count"', r"__init__\.py: ORDER names 'count', and there is no file count\.py"),
        ("__init__.py", '"words.last"', '"words.lost"', r"ORDER names 'words\.lost', which is no check"),
        ("__init__.py", '"words.last"', '"words"', r"ORDER names 'words', which is named twice"),
        ("__init__.py", '("words", ', '("words.same", ', None),
        ("__init__.py", '("words", "counts"', '("words.same"', r"counts\.py is used by no other file, and ORDER in __init__\.py does not name it"),
        ("__init__.py", '("words", "counts", "words.last")', '("counts", "words.last")', r"words\.py: ORDER in __init__\.py does not name words\.same"),
        ("__init__.py", "ORDER", "OTHER", r"must say what is run, in this order: ORDER = "),
        ("__init__.py", '"words.last")', '"words.last"', r"SyntaxError in .*__init__\.py, line 4"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_folder_is_told_with_its_place(folder, name, old, new, told):
    change(folder / name, old, new)
    if told is None:
        assert [check.id for check in load_spec(folder)] == ["words.same", "counts.letters", "words.last"]
        return
    with pytest.raises(CourseError, match=told):
        load_spec(folder)


def test_a_folder_without_its_first_file_and_both_at_once(folder):
    course = folder.parent.parent
    assert hidden_checks(course, A1) == folder
    (folder / "__init__.py").unlink()
    with pytest.raises(CourseError, match=r"a1_bpe has no __init__\.py"):
        load_spec(folder)
    (course / "hidden" / f"{A1}.py").write_text(SMALL_SPEC)
    with pytest.raises(CourseError, match="both hold the checks of a1_bpe: delete one"):
        hidden_checks(course, A1)
    shutil.rmtree(folder)
    (folder / "__pycache__").mkdir(parents=True)  # what an editor leaves of a folder is no folder of checks
    assert hidden_checks(course, A1) == course / "hidden" / f"{A1}.py"
    assert hidden_checks(course, "a2_attention") == course / "hidden" / "a2_attention.py"


def test_a_message_may_have_the_words_of_each_file_and_no_others(folder):
    (same, *_) = load_spec(folder)
    assert same.run(Elsewhere("qwertz"), 0).message == "the word is another one: …"
    assert same.run(Elsewhere("letters"), 0).message == "the word is another one: letters"  # a word of counts.py


def test_a_fault_is_told_with_the_file_in_which_it_happened(folder):
    change(folder / "inputs.py", "rng.choice", "rng.choose")
    (same, *_) = load_spec(folder)
    assert same.run(LocalStudent(RIGHT_ANSWERS), 0).fault.startswith(
        "AttributeError (choose) in inputs.py, line 5: return"
    )
    with pytest.raises(StudentError):
        LocalStudent({}).run(same.function.__globals__["drive_word"], "spam")


# ---------------------------------------------------------------------------------------------------------------------
# A course with a folder


@pytest.fixture
def course(small_course):
    """The small course, its checks in a folder."""
    file = small_course / "hidden" / f"{A1}.py"
    place = small_course / "hidden" / A1
    place.mkdir()
    half = SMALL_SPEC.index('@check("halve"')
    (place / "__init__.py").write_text('ORDER = ("double", "halve")\n')
    (place / "double.py").write_text(SMALL_SPEC[:half])
    (place / "halve.py").write_text("from cs336lite.course.spec import check, expect\n\n" + SMALL_SPEC[half:])
    file.unlink()
    return small_course


WRONG = "def double(x):\n    return x * x"


@linux
def test_a_class_is_judged_by_a_folder_and_each_verdict_can_be_replayed(course):
    submit(course, "ada", small_notebook(*RIGHT))
    submit(course, "bo", small_notebook(WRONG, RIGHT[1]))
    assert runner.nbgrader_api(course).generate_assignment(A1)["success"]
    assert [one.verdict.score for one in runner.grade_class(course, A1)] == [6, 2]
    _, source = hidden_source(course, A1)
    (kept,) = (course / "verdicts" / A1 / "specs").glob("*.py")
    assert kept.read_text() == source and kept.stem == spec_hash(source)
    said = why(course, A1, "bo").shown[0]
    assert said["where"]["file"] == f"{A1}/double.py" and "squared" in said["message"]
    assert [call["file"] for call in said["calls"]] == [f"{A1}/double.py"]
    shutil.rmtree(course / "hidden" / A1)
    for path in (course / "verdicts" / A1).glob("*.json"):
        before, after = replay(path, trust=True)
        assert [(c.id, c.points, c.message) for c in before.checks] == [
            (c.id, c.points, c.message) for c in after.checks
        ]


def test_secrets_are_looked_for_in_each_file(course):
    root = course.parent
    (course / "public" / f"{A1}.py").unlink()  # what stands there is no secret
    (course / "hidden" / A1 / "unused.py").write_text("a_line_that_nobody_else_has = 1\n")
    wanted = leaks.secrets(root, [])
    assert "a_line_that_nobody_else_has=1" in wanted
    assert wanted["a_line_that_nobody_else_has=1"].startswith(f"a line of the hidden checks, {A1}/unused.py:1")
    assert '@check("halve",points=2,title="halvesanumber")' in wanted
