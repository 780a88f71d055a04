"""``cs336lite build`` on a course in miniature, with real kernels."""

from __future__ import annotations

import base64
import json
import shutil
import struct
import zlib
from pathlib import Path

import nbformat
import pytest
from helpers import planned
from miniature import REAL, edit, files_of, make_course, runs

from cs336lite.course.build import build
from cs336lite.course.execute import clean_outputs, strip_png
from cs336lite.course.paths import CourseError


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    root = make_course(tmp_path_factory.mktemp("build") / "course")
    reports = build(root)
    assert [str(report).split(" (")[0] for report in reports] == [
        "01_words: built",
        "a1_bpe: built",
        "02_counts: built",
    ]
    return root


@pytest.fixture
def course(built, tmp_path) -> Path:
    """A copy of the built course, to be changed."""
    shutil.copytree(built, tmp_path / "course")
    (tmp_path / "course" / "runs.txt").unlink()
    return tmp_path / "course"


def statuses(root: Path, *names: str, **options) -> dict[str, str]:
    return {report.name: report.status for report in build(root, names or None, **options)}


def messages(root: Path, **options) -> str:
    return "\n".join(str(report) for report in build(root, **options))


def notebook(root: Path, name: str = "notebooks/01_words.ipynb"):
    return nbformat.read(root / name, as_version=4)


A1 = "assignments/source/a1_bpe/a1_bpe.ipynb"


def test_notebooks_and_modules_are_built(built):
    assert runs(built) == ["01", "02"]
    lecture, assignment = notebook(built), notebook(built, A1)
    assert lecture.cells[1].source.endswith('a text.""";') and lecture.cells[1].outputs == []  # in a kernel
    assert lecture.cells[3].outputs[0].text == "['one', 'two']\n"
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in assignment.cells)
    assert any("### BEGIN SOLUTION" in cell.source for cell in assignment.cells)
    assert assignment.metadata.cs336lite["names"] == {"bpe": ["LIMIT", "Trainer", "count_pairs"]}
    bpe = (built / "cs336lite" / "bpe.py").read_text(encoding="utf-8")
    assert bpe.startswith("# Built from assignments/text/a1_bpe.py by `cs336lite build`") and "SOLUTION" not in bpe
    for path in (*built.glob("notebooks/*.ipynb"), built / A1):
        nbformat.validate(nbformat.read(path, as_version=4))


def test_outputs_are_clean(built):
    lecture = notebook(built)
    assert lecture.cells[1].outputs == []  # a docstring does not echo
    outputs = lecture.cells[4].outputs  # it wrote to stderr, and showed an object
    assert [o.output_type for o in outputs] == ["execute_result"]
    assert outputs[0].data["text/plain"] == "<object at 0x…>"
    assert "execution" not in json.dumps([cell.metadata for cell in lecture.cells])


def test_a_second_build_changes_nothing_and_runs_nothing(course):
    before = files_of(course)
    assert set(statuses(course).values()) == {"unchanged"}
    assert set(statuses(course, check=True).values()) == {"in step"}
    assert files_of(course) == before and runs(course) == []


def test_prose_is_rebuilt_without_running(course):
    outputs = notebook(course).cells[3].outputs
    edit(course / "notebooks/text/01_words.py", "cut at spaces", "cut at blanks")
    assert statuses(course, check=True) == {"01_words": "out of step", "a1_bpe": "in step", "02_counts": "in step"}
    assert statuses(course) == {"01_words": "built", "a1_bpe": "unchanged", "02_counts": "unchanged"}
    after = notebook(course)
    assert "blanks" in after.cells[0].source and after.cells[3].outputs == outputs
    assert runs(course) == []


def test_code_is_rebuilt_with_all_that_depends_on_it_and_nothing_else(course):
    edit(course / "notebooks/text/02_counts.py", 'longest("one three")', 'longest("one fifteen")')
    assert statuses(course) == {"01_words": "unchanged", "a1_bpe": "unchanged", "02_counts": "built"}
    assert runs(course) == ["02"]
    assert "fifteen" in notebook(course, "notebooks/02_counts.ipynb").cells[-1].outputs[0].text

    edit(course / "notebooks/text/01_words.py", "return re.findall", "return [] or re.findall")
    assert statuses(course) == {"01_words": "built", "a1_bpe": "built", "02_counts": "built"}
    assert "[] or" in (course / "cs336lite/words.py").read_text(encoding="utf-8")
    assert set(statuses(course).values()) == {"unchanged"}


def test_a_hand_written_module_counts_only_for_those_who_import_it_and_tools_for_none(course):
    for name in ("check", "export", "text"):
        with (course / f"cs336lite/course/{name}.py").open("a") as file:
            file.write("\n# changed\n")
    with (course / "cs336lite/course/plot.py").open("a") as file:
        file.write("\n# changed\n")
    assert set(statuses(course, check=True).values()) == {"in step"}
    edit(
        course / "notebooks/text/02_counts.py", "from cs336lite.bpe", "import cs336lite.course.plot\nfrom cs336lite.bpe"
    )
    assert statuses(course)["02_counts"] == "built"
    with (course / "cs336lite/course/plot.py").open("a") as file:
        file.write("\n# changed again\n")
    assert statuses(course, check=True) == {"01_words": "in step", "a1_bpe": "in step", "02_counts": "out of step"}


def test_a_measured_result_counts_for_the_notebook_that_reads_it(course):
    results = course / "notebooks/results/speed.json"
    results.write_text("1", encoding="utf-8")
    edit(course / "notebooks/text/02_counts.py", "print(", 'print(open("results/speed.json").read())\nprint(')
    assert statuses(course)["02_counts"] == "built"
    results.write_text("2", encoding="utf-8")
    assert statuses(course, check=True)["02_counts"] == "out of step"


@pytest.mark.parametrize("options", [{}, {"check": True}])
def test_a_module_edited_by_hand_is_kept_and_reported(course, options):
    module = course / "cs336lite/words.py"
    edit(module, "return", "return  # mine\n    return")
    before = files_of(course)
    said = messages(course, **options)
    assert "cs336lite/words.py was edited by hand: make the change in notebooks/text/01_words.py" in said
    assert files_of(course) == before
    if not options:
        assert "01_words: refused" in said and "--force" in said
        assert "02_counts: skipped" in said and "needs cs336lite.words" in said


def test_a_notebook_edited_by_hand_is_kept_until_forced(course):
    path = course / "notebooks/01_words.ipynb"
    original = path.read_bytes()
    edit(path, "Text is cut at spaces.", "Text is cut by hand.")
    edited = path.read_bytes()
    assert "notebooks/01_words.ipynb was edited by hand: make the change in notebooks/text/01_words.py" in messages(
        course
    )
    assert path.read_bytes() == edited and runs(course) == []
    assert statuses(course, force=True)["01_words"] == "built"
    assert notebook(course).cells[0] == nbformat.reads(original.decode(), as_version=4).cells[0]


def test_outputs_of_a_reader_are_no_edit_and_are_made_again(course):
    path = course / "notebooks/01_words.ipynb"
    edit(path, "['one', 'two']", "['three']")
    assert "holds outputs that the build did not write" in messages(course, check=True)
    assert statuses(course) == {"01_words": "built", "a1_bpe": "unchanged", "02_counts": "unchanged"}
    assert runs(course) == ["01"] and notebook(course).cells[3].outputs[0].text == "['one', 'two']\n"


def test_missing_products_are_built_again(course):
    before = files_of(course)
    (course / "cs336lite/words.py").unlink()
    assert "cs336lite/words.py is missing" in messages(course, check=True)
    assert statuses(course)["01_words"] == "built"
    assert files_of(course) == before and runs(course) == []
    (course / "notebooks/02_counts.ipynb").unlink()
    assert statuses(course) == {"01_words": "unchanged", "a1_bpe": "unchanged", "02_counts": "built"}


def test_a_module_that_no_build_is_known_to_have_written_is_kept(course):
    (course / "notebooks/02_counts.ipynb").unlink()
    (course / "cs336lite/counts.py").write_text("mine = 1\n", encoding="utf-8")
    assert "no notebook tells who wrote it" in messages(course)
    assert (course / "cs336lite/counts.py").read_text(encoding="utf-8") == "mine = 1\n"
    assert statuses(course, force=True)["02_counts"] == "built"


def test_a_built_file_whose_text_is_gone_is_reported(course):
    (course / "notebooks/text/02_counts.py").unlink()
    said = messages(course, check=True)
    assert "cs336lite/counts.py: out of step" in said and "notebooks/02_counts.ipynb: out of step" in said


def test_a_failing_cell_names_the_line_and_nothing_is_written(course):
    text = course / "notebooks/text/01_words.py"
    edit(text, 'print(words("one two"))', 'x = 1\n\nassert words("one two") == [x], "no such words"')
    edit(text, "return re.findall", "return [] or re.findall")
    before = files_of(course)
    line = text.read_text(encoding="utf-8").splitlines().index('assert words("one two") == [x], "no such words"') + 1
    reports = build(course)
    said = str(reports[0])
    assert reports[0].status == "failed"
    assert f"01_words.py:{line}: in `x = 1`: AssertionError: no such words" in said
    assert [r.status for r in reports[1:]] == ["skipped", "skipped"]
    assert files_of(course) == before


def test_a_kernel_that_dies_is_reported(course):
    edit(course / "notebooks/text/02_counts.py", "print(", "import os\n\nos._exit(1)\nprint(")
    said = messages(course)
    assert "02_counts: failed" in said and "the kernel died" in said


def test_a_notebook_that_is_too_large_is_refused(course):
    edit(course / "notebooks/text/02_counts.py", "print(", 'print("x" * 600_000)\nprint(')
    before = files_of(course)
    said = messages(course)
    assert "the limit is 500 kB" in said and "02_counts.py:" in said
    assert files_of(course) == before


def test_check_with_execution_compares_texts_but_not_timings(course):
    assert set(statuses(course, check=True, execute=True).values()) == {"in step"}
    assert runs(course) == ["01", "02"]
    text = course / "notebooks/text/02_counts.py"
    edit(text, "print(", "import itertools\n\nimport time\n\nprint(time.time_ns())\nprint(")
    assert statuses(course)["02_counts"] == "built"
    before = files_of(course)
    said = messages(course, check=True, execute=True)
    assert "02_counts: out of step" in said and "the output of" in said and "01_words: in step" in said
    assert files_of(course) == before


def test_names_choose_what_to_build_with_what_it_needs(course):
    edit(course / "notebooks/text/01_words.py", "cut at spaces", "cut at blanks")
    edit(course / "notebooks/text/02_counts.py", "# 02 · Counts", "# 02 · Counting")
    assert statuses(course, "a1") == {"01_words": "built", "a1_bpe": "unchanged"}
    assert statuses(course, "02", check=True)["02_counts"] == "out of step"
    with pytest.raises(CourseError, match="no text '07'; there are: 01_words, a1_bpe, 02_counts"):
        build(course, ["07"])


def test_a_text_that_cannot_be_read_fails_alone(course):
    with (course / "notebooks/text/02_counts.py").open("a") as file:
        file.write("\n# %%\nx = (\n")
    reports = {report.name: report for report in build(course)}
    assert reports["02_counts"].status == "failed" and "not Python" in str(reports["02_counts"])
    assert reports["01_words"].status == reports["a1_bpe"].status == "unchanged"


def test_a_lecture_holds_no_exercise(course):
    with (course / "notebooks/text/02_counts.py").open("a") as file:
        file.write('\n# %% locked="here"\n1\n')
    assert "belong to assignments" in messages(course)


def test_a_student_edition_is_not_built(course):
    (course / ".cs336lite-edition").write_text("{}", encoding="utf-8")
    with pytest.raises(CourseError, match="student edition"):
        build(course)


def test_widgets_and_stderr_go_and_prints_are_joined():
    outputs = [
        nbformat.v4.new_output("stream", name="stdout", text="a"),
        nbformat.v4.new_output("stream", name="stderr", text="warning"),
        nbformat.v4.new_output("stream", name="stdout", text="b <x at 0x7f001122aabb>\n"),
        nbformat.v4.new_output(
            "display_data", data={"text/plain": "bar", "application/vnd.jupyter.widget-view+json": {}}
        ),
        nbformat.v4.new_output("execute_result", data={"text/plain": "3"}, execution_count=1),
    ]
    kept = clean_outputs(outputs)
    assert [o.output_type for o in kept] == ["stream", "execute_result"]
    assert kept[0].text == "ab <x at 0x…>\n"


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def test_images_lose_their_metadata_and_nothing_else():
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0))
    pixels, end = chunk(b"IDAT", zlib.compress(b"\0\0")), chunk(b"IEND", b"")
    signature = b"\x89PNG\r\n\x1a\n"
    dirty = signature + header + chunk(b"tEXt", b"Software\0Matplotlib 3") + pixels + chunk(b"tIME", b"1234567") + end
    assert strip_png(dirty) == signature + header + pixels + end
    output = nbformat.v4.new_output("display_data", data={"image/png": base64.b64encode(dirty).decode() + "\n"})
    assert base64.b64decode(clean_outputs([output])[0].data["image/png"]) == signature + header + pixels + end


def test_the_real_course_is_in_step():
    if not list((REAL / "notebooks").glob("*.ipynb")):
        pytest.skip("the course has not been built yet")
    behind = [
        str(report) for report in build(REAL, check=True, progress=False, read=([*planned()], {})) if not report.ok
    ]
    assert not behind, "run `cs336lite build`:\n" + "\n".join(behind)
