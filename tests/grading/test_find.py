"""Which file of a submission is judged: one of another name when it is the only one, none when that is unclear."""

import io
import json
import os
import stat
import sys
import zipfile
from pathlib import Path

import pytest
from helpers import RIGHT, run, small_notebook

from cs336lite.course.border import plain
from cs336lite.grading import find, runner
from cs336lite.grading.find import Opened, Unclear

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="grading runs on Linux")

A1 = "a1_bpe"
WORK = json.dumps(small_notebook(*RIGHT)).encode()
OTHER = json.dumps(small_notebook("x = 1", "y = 2")).encode()
SCRIPT = "\n\n".join(RIGHT).encode()


def put(folder: Path, files: dict[str, bytes]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder


def zipped(files: dict[str, bytes], *, links: tuple[str, ...] = (), locked: bool = False) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
        for name in links:
            link = zipfile.ZipInfo(name)
            link.external_attr = (stat.S_IFLNK | 0o777) << 16
            archive.writestr(link, "/etc/passwd")
    told = bytearray(data.getvalue())
    if locked:  # the flag, in both headers
        told[told.index(b"PK\x03\x04") + 6] |= 1
        told[told.index(b"PK\x01\x02") + 8] |= 1
    return bytes(told)


def content(folder: Path) -> tuple[bytes, str]:
    """What is judged of a submission, and what is said of it."""
    with Opened(folder, A1) as found:
        return found.path.read_bytes(), found.note


ALONE = {
    "with a name in front": {"WMS a1_bpe.ipynb": WORK},
    "downloaded twice": {"a1_bpe (1).ipynb": WORK},
    "Moodle": {"Jane Doe_123456_assignsubmission_file_a1_bpe.ipynb": WORK},
    "Moodle, in a folder": {"Jane Doe_123456_assignsubmission_file_/a1_bpe.ipynb": WORK},
    "Canvas": {"doejane_98765_1122334_a1_bpe-1.ipynb": WORK},
    "Canvas, late": {"doejane_LATE_98765_1122334_a1-bpe.ipynb": WORK},
    "upper case": {"A1_BPE.IPYNB": WORK},
    "text": {"a1_bpe.ipynb.txt": WORK},
    "json": {"a1_bpe.ipynb.json": WORK},
    "a name of its own": {"solution.ipynb": WORK},
    "another script": {"作业一.ipynb": WORK},
    "a folder deeper": {"a1_bpe/a1_bpe.ipynb": WORK},
    "two copies of the same": {"a1_bpe (1).ipynb": WORK, "a1_bpe (2).ipynb": WORK},
    "with its checkpoint": {"mine.ipynb": WORK, ".ipynb_checkpoints/mine-checkpoint.ipynb": OTHER},
    "with what is no notebook": {"mine.ipynb": WORK, "report.pdf": b"%PDF", "helpers.py": b"x = 1"},
    "with other homework": {"mine.ipynb": WORK, "a2_attention.ipynb": OTHER},
    "with what systems leave": {"mine.ipynb": WORK, "__MACOSX/._mine.ipynb": OTHER, ".DS_Store": b"x"},
    "with nbgrader's notes": {"mine.ipynb": WORK, "timestamp.txt": b"2026-01-02 10:00:00 UTC"},
    "an archive": {"a1_bpe.zip": zipped({"a1_bpe.ipynb": WORK})},
    "an archive of a folder": {"jane.ZIP": zipped({"jane/": b"", "jane/mine.ipynb": WORK, "__MACOSX/jane/._m.ipynb": b"x"})},
    "an archive with drafts": {"jane.zip": zipped({"a1_bpe.ipynb": WORK, "draft.ipynb": OTHER})},
    "an archive with a link": {"jane.zip": zipped({"mine.ipynb": WORK}, links=("other.ipynb",))},
    "an archive that would climb": {"jane.zip": zipped({"../../../../mine.ipynb": WORK})},
}  # fmt: skip


@pytest.mark.parametrize("files", ALONE.values(), ids=ALONE)
def test_the_only_file_that_can_be_meant_is_judged_and_named(tmp_path, files):
    folder = put(tmp_path / "class" / "jane" / A1, files)
    judged, note = content(folder)
    assert judged == WORK
    assert "was judged" in note
    assert [path.name for path in tmp_path.iterdir()] == ["class"]


@pytest.mark.parametrize("files", [{"a1_bpe.py": SCRIPT}, {"A1_BPE.PY": SCRIPT}, {"mine.py": SCRIPT, "notes.txt": b"x"},
                                   {"a1_bpe.py": SCRIPT, "helpers.py": b"x"}, {"a.zip": zipped({"x.py": SCRIPT})}])  # fmt: skip
def test_a_plain_python_file_is_judged_where_there_is_no_notebook(tmp_path, files):
    assert content(put(tmp_path / A1, files))[0] == SCRIPT


def test_the_file_with_the_right_name_is_judged_and_what_lies_beside_it_is_said(tmp_path):
    folder = put(tmp_path / A1, {"a1_bpe.ipynb": WORK, "helpers.py": b"x", "a2_attention.ipynb": OTHER})
    assert content(folder) == (WORK, "")
    put(folder, {"copy/a1_bpe.ipynb": WORK})
    assert content(folder) == (WORK, "")
    put(folder, {"a1_bpe_final.ipynb": OTHER})
    judged, note = content(folder)
    assert judged == WORK
    assert note == "`a1_bpe.ipynb` was judged, and not `a1_bpe_final.ipynb`"


UNCLEAR = {
    "nothing": ({}, "its folder is empty"),
    "a checkpoint alone": ({".ipynb_checkpoints/a1_bpe-checkpoint.ipynb": WORK}, "its folder is empty, but for"),
    "something else": ({"report.pdf": b"%PDF"}, "there is `report.pdf`"),
    "other homework": ({"a2_attention.ipynb": WORK}, "there is `a2_attention.ipynb`"),
    "two": ({"a1_bpe (1).ipynb": WORK, "a1_bpe (2).ipynb": OTHER}, "`a1_bpe (1).ipynb`, `a1_bpe (2).ipynb`"),
    "two below": ({"old/a1_bpe.ipynb": WORK, "new/a1_bpe.ipynb": OTHER}, "`new/a1_bpe.ipynb`, `old/a1_bpe.ipynb`"),
    "a notebook and an archive": ({"mine.ipynb": WORK, "mine.zip": zipped({"x.ipynb": OTHER})}, "several files"),
    "two scripts": ({"one.py": b"x", "two.py": b"y"}, "several files"),
    "an archive of two": ({"a.zip": zipped({"x.ipynb": WORK, "y.ipynb": OTHER})}, "several files that can be the work"),
    "an archive of nothing": ({"a.zip": zipped({})}, "holds nothing that can be"),
    "an archive of an archive": ({"a.zip": zipped({"b.zip": zipped({"a1_bpe.ipynb": WORK})})}, "holds another archive"),
    "an archive of links": ({"a.zip": zipped({}, links=("a1_bpe.ipynb",))}, "holds nothing that can be"),
    "a locked archive": ({"a.zip": zipped({"a1_bpe.ipynb": WORK}, locked=True)}, "is locked with a password"),
    "no archive": ({"a.zip": b"PK, but not really"}, "is damaged, or no .zip"),
    "a cut archive": ({"a.zip": zipped({"a1_bpe.ipynb": WORK})[:-30]}, "is damaged, or no .zip"),
    "an archive of too many": ({"a.zip": zipped({f"{i}.ipynb": b"x" for i in range(1001)})}, "more than 1000 files"),
    "too many files": ({f"{i:05}/x.ipynb": b"x" for i in range(501)} | {"a.ipynb": WORK}, "more than 1000 files"),
}  # fmt: skip


@pytest.mark.parametrize(("files", "said"), UNCLEAR.values(), ids=UNCLEAR)
def test_what_is_unclear_is_a_question_that_names_the_files(tmp_path, files, said):
    with pytest.raises(Unclear) as question:
        content(put(tmp_path / A1, files))
    assert said in str(question.value)
    assert len(str(question.value)) < 600


def test_an_archive_takes_no_more_than_its_bounds(tmp_path, monkeypatch):
    bomb = zipped({"a1_bpe.ipynb": bytes(find.MOST_BYTES + 1)})
    assert len(bomb) < 1 << 20
    with pytest.raises(Unclear, match="a file of more than"):
        content(put(tmp_path / "honest" / A1, {"a.zip": bomb}))
    size = (find.MOST_BYTES + 1).to_bytes(4, "little")
    liar = bomb.replace(size, (1000).to_bytes(4, "little"))  # says that it is small
    with pytest.raises(Unclear, match=r"damaged|cannot be read"):
        content(put(tmp_path / "liar" / A1, {"a.zip": liar}))


def test_no_link_is_followed(tmp_path):
    secret = put(tmp_path / "elsewhere", {"mine.ipynb": WORK})
    folder = put(tmp_path / A1, {})
    (folder / "mine.ipynb").symlink_to(secret / "mine.ipynb")
    (folder / "sub").symlink_to(secret)
    (folder / "a.zip").symlink_to(secret / "mine.ipynb")
    os.mkfifo(folder / "pipe.ipynb")
    with pytest.raises(Unclear, match="its folder is empty"):
        content(folder)


NASTY = ["\x1b[31mred.ipynb", "a\u202egnp.ipynb", "line\nbreak.ipynb", "`$(x)`.ipynb", "[bold]x[/bold].ipynb", "x" * 240 + ".ipynb",
         os.fsdecode(b"\xff\xfe.ipynb"), "<script>alert(1)<.ipynb", "\u200b.ipynb"]  # fmt: skip


@pytest.mark.parametrize("name", NASTY)
def test_a_name_does_nothing_but_be_read(tmp_path, name):
    folder = put(tmp_path / A1, {name: WORK})
    judged, note = content(folder)
    assert judged == WORK
    assert note == plain(note)
    assert note.count("`") == 4
    put(folder, {"other.ipynb": OTHER})
    with pytest.raises(Unclear) as question:
        content(folder)
    assert str(question.value) == plain(question.value)


def test_a_class_is_graded_but_for_what_is_unclear_and_that_is_not_recorded(small_course):
    assert runner.nbgrader_api(small_course).generate_assignment(A1)["success"]
    for student, files in {
        "ada": {"a1_bpe (1).ipynb": WORK},
        "bo": {"a1_bpe.zip": zipped({"a1_bpe.ipynb": WORK})},
        "cy": {"a1_bpe.py": SCRIPT},
        "di": {"a1_bpe.ipynb": WORK, "a1_bpe_final.ipynb": OTHER},
        "ed": {},
        "fay": {"one.ipynb": WORK, "two.ipynb": OTHER},
        "gus": {"mine.ipynb": b"no notebook"},
        "hal": {"a1_bpe.ipynb": b"no notebook"},
    }.items():
        put(small_course / "submitted" / student / A1, files)
    result = run("cs336lite", "grade", A1, cwd=small_course)
    assert result.returncode == 2
    assert "Traceback" not in result.stderr
    for student in ("ed", "fay", "gus"):
        assert f"\n  {student}: " in result.stderr
    assert "but the file is not a notebook" in result.stderr
    assert "di: `a1_bpe.ipynb` was judged, and not `a1_bpe_final.ipynb`" in " ".join(result.stdout.split())
    with runner.nbgrader_api(small_course).gradebook as gradebook:
        graded = {s.student.id: s.score for s in gradebook.assignment_submissions(A1)}
    assert graded == {"ada": 6, "bo": 6, "cy": 6, "di": 6, "hal": 0}

    put(small_course / "submitted" / "fay" / A1, {"a1_bpe.ipynb": WORK})
    for student in ("ed", "gus"):
        put(small_course / "submitted" / student / A1, {"a1_bpe.ipynb": OTHER})
    assert run("cs336lite", "grade", A1, cwd=small_course).returncode == 0
    assert runner.nbgrader_api(small_course).generate_feedback(A1, force=True)["success"]
    pages = {s: (small_course / "feedback" / s / A1 / f"{A1}.html").read_text() for s in ("ada", "di", "fay")}
    assert "<code>a1_bpe (1).ipynb</code> was judged" in pages["ada"]
    assert "and not <code>a1_bpe_final.ipynb</code>" in pages["di"]
    assert "and not <code>two.ipynb</code>" in pages["fay"]


def test_nbgrader_autograde_says_the_same_of_what_lies_beside(small_course):
    api = runner.nbgrader_api(small_course)
    assert api.generate_assignment(A1)["success"]
    put(small_course / "submitted" / "di" / A1, {"a1_bpe.ipynb": WORK, "a1_bpe_final.ipynb": OTHER})
    put(small_course / "submitted" / "ada" / A1, {"a1_bpe (1).ipynb": WORK})
    assert api.autograde(A1, "di")["success"]
    there = small_course / "autograded" / "di" / A1 / f"{A1}.ipynb"
    assert "and not `a1_bpe_final.ipynb`" in there.read_text()
    assert not api.autograde(A1, "ada")["success"]
    runner.grade_class(small_course, A1)
    assert "and not `a1_bpe_final.ipynb`" in there.read_text()


def test_single_files_may_have_any_name_and_be_folders_or_archives(small_course, tmp_path):
    files = {
        "x/a1 final.IPYNB": WORK,
        "x/a1.ipynb.txt": WORK,
        "x/a.zip": zipped({"m.ipynb": WORK}),
        "y/only.ipynb": WORK,
    }
    folder = put(tmp_path / "files", {**files, "x/two.zip": zipped({"m.ipynb": WORK, "n.ipynb": OTHER})})
    paths = [*(folder / name for name in list(files)[:3]), folder / "y"]
    assert [g.verdict.score for g in runner.grade_files(small_course, A1, paths)] == [6, 6, 6, 6]
    with pytest.raises(runner.NotAllGraded, match="several files") as some:
        runner.grade_files(small_course, A1, [paths[0], folder / "x" / "two.zip"])
    assert [g.verdict.score for g in some.value.graded] == [6]
