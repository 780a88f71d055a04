"""Files in every state: each becomes cells to judge or a problem in plain words, and none raises."""

import json
import os

import nbformat
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cs336lite.course.paths import CourseError
from cs336lite.grading import limited, submission
from cs336lite.grading.structure import StructureCell, kernel_language, normalise
from cs336lite.grading.submission import (
    Submission,
    SubmittedCell,
    SubmittedNotebook,
    cells_of,
    link_above,
    read_notebook,
    read_submission,
    submission_of,
)

STRUCTURE = [
    StructureCell("setup", "code", "from cs336lite.course import check", "c0", True, False, False, 0),
    StructureCell("train", "code", "def train(): ...", "c1", False, False, True, 0),
    StructureCell("grade_train", "code", 'check("a1_bpe", "train")', "c2", True, True, False, 5.0),
]


def code(source, name=None, **metadata):
    if name is not None:
        metadata["nbgrader"] = {"grade_id": name, "grade": True, "points": 1000, "locked": False, "solution": True}
    return {"cell_type": "code", "source": source, "metadata": metadata, "outputs": [], "execution_count": None}


def honest(answer="def train(): return 1"):
    return [code(STRUCTURE[0].source, "setup"), code(answer, "train"), code(STRUCTURE[2].source, "grade_train")]


def notebook(cells, **metadata):
    return {"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}


def reduced(cells, **metadata):
    found = cells_of(notebook(cells, **metadata))
    return SubmittedNotebook(tuple(found), kernel_language({"metadata": metadata}))


def write(tmp_path, content, name="a1_bpe.ipynb"):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    return path


def test_an_honest_notebook_needs_no_notes():
    clean, notes = normalise(reduced(honest()), STRUCTURE)
    assert notes == []
    assert submission_of(clean) == Submission((("`train`", "def train(): return 1"),))


def test_metadata_comes_from_the_structure_alone():
    cells = honest()
    cells[1]["metadata"]["tags"] = ["skip-execution"]
    clean, _ = normalise(reduced(cells), STRUCTURE)
    assert clean.cells[2].metadata.nbgrader.points == 5.0
    assert "tags" not in clean.cells[1].metadata
    assert clean.cells[1].metadata.nbgrader.solution and not clean.cells[1].metadata.nbgrader.locked


def test_outputs_and_unknown_cells_are_dropped():
    cells = honest()
    cells[1]["outputs"] = [{"output_type": "display_data", "data": {"text/html": "<script>1</script>"}}]
    cells += [{"cell_type": "heading", "source": "x"}, 3, None, {"source": "no type"}]
    clean, _ = normalise(reduced(cells), STRUCTURE)
    assert len(clean.cells) == 3 and all(cell.outputs == [] for cell in clean.cells)


def test_an_edited_grade_cell_is_restored():
    cells = honest()
    cells[2]["source"] = "100"
    clean, notes = normalise(reduced(cells), STRUCTURE)
    assert clean.cells[2].source == STRUCTURE[2].source
    assert notes == ["cell `grade_train` is not yours to edit: it was restored"]


@pytest.mark.parametrize("gone", [0, 1, 2])
def test_a_missing_cell_is_added_in_its_place(gone):
    cells = honest()
    del cells[gone]
    clean, notes = normalise(reduced(cells), STRUCTURE)
    assert [c.metadata.nbgrader.grade_id for c in clean.cells] == ["setup", "train", "grade_train"]
    assert len(notes) == 1 and "missing" in notes[0]


def test_a_notebook_without_any_known_cell_gets_all_of_them():
    clean, notes = normalise(reduced([code("def train(): return 2")]), STRUCTURE)
    assert len(notes) == 3
    assert ("1", "def train(): return 2") in submission_of(clean).cells


def test_of_a_duplicated_solution_all_copies_run_and_the_last_keeps_the_name():
    cells = honest()
    cells.insert(2, code("def train(): return 7", "train"))
    clean, notes = normalise(reduced(cells), STRUCTURE)
    assert [source for _, source in submission_of(clean).cells] == ["def train(): return 1", "def train(): return 7"]
    named = [c.source for c in clean.cells if c.metadata.get("nbgrader", {}).get("grade_id") == "train"]
    assert named == ["def train(): return 7"]
    assert "more than once" in notes[0]


def test_of_a_duplicated_grade_cell_the_first_is_kept():
    cells = [*honest(), code("1000", "grade_train")]
    clean, notes = normalise(reduced(cells), STRUCTURE)
    assert len(clean.cells) == 3 and "more than once" in notes[0]


@pytest.mark.parametrize("kind", ["raw", "markdown"])
def test_an_answer_that_is_code_no_more_is_code_again(kind):
    cells = honest()
    cells[1]["cell_type"] = kind
    clean, notes = normalise(reduced(cells), STRUCTURE)
    assert submission_of(clean).cells == (("`train`", "def train(): return 1"),)
    assert notes == [f"cell `train` was {kind}: it was made code again"]


@pytest.mark.parametrize("kind", ["raw", "markdown"])
@pytest.mark.parametrize("place", [1, 2])
def test_a_copy_that_was_put_aside_does_not_count(kind, place):
    cells = honest()
    cells.insert(place, {**code("def train(): return 0", "train"), "cell_type": kind})
    clean, _ = normalise(reduced(cells), STRUCTURE)
    assert submission_of(clean).cells == (("`train`", "def train(): return 1"),)


def test_cells_are_numbered_as_they_were_handed_in():
    cells = [
        {"cell_type": "raw", "source": "x"},
        *honest()[1:],
        {"cell_type": "markdown", "source": "x"},
        code("y = 1"),
    ]
    clean, _ = normalise(reduced(cells), STRUCTURE)
    assert submission_of(clean).cells == (("`train`", "def train(): return 1"), ("5", "y = 1"))


@pytest.mark.parametrize(
    "text, name", [("x = 1\n", "submission"), ("# %%\nx = 1\n", "__main__"), ("# In[ ]:\n", "__main__")]
)
def test_a_file_that_was_a_notebook_runs_as_one(tmp_path, text, name):
    assert read_submission(write(tmp_path, text.encode(), "a.py")) == Submission((("", text),), name)


def test_an_answer_turned_into_markdown_is_code_again():
    cells = honest()
    cells[1]["cell_type"] = "markdown"
    clean, _ = normalise(reduced(cells), STRUCTURE)
    assert clean.cells[1].cell_type == "code"


def test_extra_cells_of_the_student_run_too():
    cells = honest()
    cells.insert(1, code("import math"))
    clean, _ = normalise(reduced(cells), STRUCTURE)
    assert submission_of(clean).cells[0] == ("2", "import math")


@pytest.mark.parametrize(
    "kernel, noted",
    [
        ({"name": "ir", "language": "R"}, True),
        ({"name": "julia-1.9"}, True),
        ({"name": "python3", "language": "python"}, False),
        ({"name": "python3"}, False),
        ({}, False),
        ("R", False),
    ],
)
def test_another_kernel_is_noted_and_replaced(kernel, noted):
    clean, notes = normalise(reduced(honest(), kernelspec=kernel), STRUCTURE)
    assert bool(notes) is noted
    assert clean.metadata.kernelspec.name == "python3"


@pytest.mark.parametrize(
    "content, words",
    [
        (b"", "empty"),
        (b"  \n", "empty"),
        (b"# my answers\ndef train(): ...", "no JSON"),
        (b"\xff\xfe\x00", "UTF-8"),
        (b"[" * 100_000, "no JSON"),
        (b'{"cells": [', "line 1"),
        (b"[]", "no object"),
        (b"{}", "no list of cells"),
        (b'{"cells": 3}', "no list of cells"),
        (b'{"cells": []}', "no code cells"),
        (b'{"cells": [{"cell_type": "markdown", "source": "hi"}]}', "no code cells"),
        (b'{"cells": [{"cell_type": "code", "source": 3}]}', "no code cells"),
        (b'{"nbformat": 3, "worksheets": 5}', "no list of cells"),
        (b'{"nbformat": 4, "worksheets": [{"cells": []}]}', "no list of cells"),
    ],
)
def test_what_is_no_notebook_says_so(tmp_path, content, words):
    found = read_submission(write(tmp_path, content), STRUCTURE)
    assert words in found.problem and found.cells == ()


def test_a_missing_file_and_a_folder_are_problems_too(tmp_path):
    assert "missing" in read_submission(tmp_path / "no.ipynb").problem
    (tmp_path / "d.ipynb").mkdir()
    assert "no regular file" in read_submission(tmp_path / "d.ipynb").problem


def test_a_link_is_not_followed(tmp_path):
    write(tmp_path, notebook(honest()), "another.ipynb")
    (tmp_path / "mine.ipynb").symlink_to(tmp_path / "another.ipynb")
    assert "no regular file" in read_submission(tmp_path / "mine.ipynb", STRUCTURE).problem
    os.mkfifo(tmp_path / "pipe.ipynb")
    assert "no regular file" in read_submission(tmp_path / "pipe.ipynb", STRUCTURE).problem
    (tmp_path / "folder").symlink_to(tmp_path)
    assert link_above(tmp_path / "folder" / "another.ipynb", tmp_path) == "the folder folder is a link"
    assert link_above(tmp_path / "another.ipynb", tmp_path) == ""


def test_a_file_of_more_values_or_cells_than_a_notebook_has_is_not_read(tmp_path):
    assert "too many values" in read_submission(write(tmp_path, b"[" + b"0," * 3_000_001 + b"0]")).problem
    assert "more than 5000 cells" in read_submission(write(tmp_path, notebook([code("1")] * 5001))).problem


def test_deeply_nested_metadata_costs_nothing(tmp_path):
    deep = {}
    for _ in range(900):
        deep = {"x": deep}
    submission = read_submission(write(tmp_path, notebook(honest(), deep=deep)), STRUCTURE)
    assert submission == Submission((("`train`", "def train(): return 1"),))


def test_the_cost_of_copies_grows_with_their_number_alone():
    class Counted(str):
        compared = 0

        def __eq__(self, other):
            Counted.compared += 1
            return str.__eq__(self, other)

        __hash__ = str.__hash__

    def comparisons(number):
        Counted.compared = 0
        cells = tuple(SubmittedCell("code", "x", Counted("train")) for _ in range(number))
        normalise(SubmittedNotebook(cells), STRUCTURE)
        return Counted.compared

    assert comparisons(2000) < 3 * comparisons(1000)


@pytest.mark.parametrize(
    "markdown, shown",
    [
        ("<script>alert(1)</script>", "< script>alert(1)< /script>"),
        ("a < b, $a<b$, 1<2", "a < b, $a< b$, 1<2"),
        ("<!-- x --><img src=x onerror=y>", "< !-- x -->< img src=x onerror=y>"),
        ("[x](javascript:alert(1)) [y](&#106;avascript:1)", "[x] (javascript:alert(1)) [y] (&#106;avascript:1)"),
        ("[x][y]\n\n[y]: data:text/html,1", "[x] [y]\n\n[y] : data:text/html,1"),
        ("![s](../../.secret/seed) ![t](attachment:t.png)", "! [s] (../../.secret/seed) ! [t] (attachment:t.png)"),
        ("[the paper](https://arxiv.org/abs/1508.07909)", "[the paper](https://arxiv.org/abs/1508.07909)"),
        (r"$a_{[i]} \ne b$ and $$\sum_{i<n} x_i$$", r"$a_{[i]} \ne b$ and $$\sum_{i< n} x_i$$"),
    ],
)
def test_markdown_of_a_student_holds_no_markup(markdown, shown):
    clean, notes = normalise(reduced([*honest(), {"cell_type": "markdown", "source": markdown}]), STRUCTURE)
    assert clean.cells[-1].source == shown and notes == []


def test_a_notebook_of_format_3_is_read(tmp_path):
    cell = {"cell_type": "code", "input": "def train(): return 3", "language": "python", "outputs": []}
    old = {"nbformat": 3, "nbformat_minor": 0, "metadata": {}, "worksheets": [{"cells": [cell], "metadata": {}}]}
    cells = read_submission(write(tmp_path, old)).cells
    assert cells == (("1", "def train(): return 3"),)


def test_older_formats_are_read_cell_by_cell(tmp_path):
    text = [
        {"cell_type": "heading", "level": 2_000_000_000, "source": "A heading"},
        {"cell_type": "text", "source": ["of ", "lines"]},
        {"cell_type": "html", "source": "<b>"},
        {"cell_type": "raw", "source": "left out"},
    ]
    code3 = {"cell_type": "code", "input": ["a = 1\n", "b = 2"], "metadata": {"nbgrader": {"grade_id": "train"}}}
    code1 = {"cell_type": "code", "code": "c = 3"}
    sheets = [{"cells": [*text, code3]}, {"cells": "none"}, 5, {"cells": [7, code1]}]
    for format in (2, 3):
        notebook, problem = read_notebook(write(tmp_path, {"nbformat": format, "worksheets": sheets}))
        assert problem == ""
        assert [c.source for c in notebook.cells] == [
            "A heading",
            "of lines",
            "<b>",
            "left out",
            "a = 1\nb = 2",
            "c = 3",
        ]
        assert [c.name for c in notebook.cells if c.cell_type == "code"] == ["train", None]
    notebook, _ = read_notebook(write(tmp_path, {"nbformat": 1, "cells": [*text, code1]}))
    assert [c.source for c in notebook.cells] == ["A heading", "of lines", "<b>", "left out", "c = 3"]


def test_reading_costs_a_bounded_time_and_memory_and_is_told(tmp_path, monkeypatch):
    """Whatever a file holds, the process that grades does not hold it; a file beyond the limits is that file's problem."""
    path = write(tmp_path, notebook(honest()))
    small = limited.Shared(limited.Limits(memory_bytes=20 << 20))
    monkeypatch.setattr(submission, "READER", small)
    big = write(tmp_path, notebook([*honest(), {"cell_type": "markdown", "source": "x" * (30 << 20)}]), "big.ipynb")
    assert "more memory" in read_submission(big, STRUCTURE).problem
    assert read_submission(path, STRUCTURE).problem == ""  # by another process
    small.close()
    short = limited.Shared(limited.Limits(step_seconds=0.0, call_seconds=0.0))
    monkeypatch.setattr(submission, "READER", short)
    slow = write(tmp_path, b"[" + b"[], " * 900_000 + b"0]", "slow.ipynb")
    assert "more processor time" in read_submission(slow, STRUCTURE).problem
    short.close()


def test_a_reader_that_is_killed_is_replaced_and_at_last_no_fault_of_the_file(tmp_path, monkeypatch):
    path = write(tmp_path, notebook(honest()))
    reader = limited.Shared()
    monkeypatch.setattr(submission, "READER", reader)
    assert read_submission(path, STRUCTURE).problem == ""
    reader.process.process.kill()
    assert read_submission(path, STRUCTURE).problem == ""
    begin = limited.Limited.begin
    monkeypatch.setattr(limited.Limited, "begin", lambda self, *a, **k: (self.process.kill(), begin(self, *a, **k)))
    reader.process.process.kill()
    with pytest.raises(CourseError, match="could not be read: its process was killed"):
        read_submission(path, STRUCTURE)
    reader.close()


def test_too_much_text_is_cut_and_costs_nothing(tmp_path):
    text = {"cell_type": "markdown", "source": "ab " * 300_000}
    notebook_, problem = read_notebook(write(tmp_path, notebook([text, *honest(), text, text])))
    assert problem == "" and sum(len(c.source) for c in notebook_.cells) < submission.MAX_TEXT + 1000
    assert notebook_.cells[-1].source.endswith("too much text)")


def test_a_source_in_lines_is_joined(tmp_path):
    cells = honest(["def train():\n", "    return 1"])
    assert read_submission(write(tmp_path, notebook(cells)), STRUCTURE).cells == (
        ("`train`", "def train():\n    return 1"),
    )


def test_a_hundred_megabytes_of_outputs_do_not_matter(tmp_path):
    cells = honest()
    cells[1]["outputs"] = [{"output_type": "stream", "name": "stdout", "text": "x" * 100_000_000}]
    assert read_submission(write(tmp_path, notebook(cells)), STRUCTURE).problem == ""


def test_a_megabyte_of_code_is_refused(tmp_path):
    assert "characters" in read_submission(write(tmp_path, notebook(honest("#" * (1 << 21)))), STRUCTURE).problem
    assert "characters" in read_submission(write(tmp_path, b"#" * (1 << 21), "a.py")).problem


def test_a_plain_file_is_one_cell(tmp_path):
    assert read_submission(write(tmp_path, b"x = 1\n", "a.py")) == Submission((("", "x = 1\n"),), "submission")


def test_a_submission_is_the_same_before_and_after_nbgrader_cleaned_it():
    cells = honest()
    del cells[0]
    cells.append(code("more = 1"))
    clean, _ = normalise(reduced(cells), STRUCTURE)
    again, notes = normalise(SubmittedNotebook(tuple(cells_of(json.loads(json.dumps(clean))))), STRUCTURE)
    sources = [[source for _, source in submission_of(one).cells] for one in (again, clean)]
    assert notes == [] and sources[0] == sources[1]
    written = nbformat.reads(nbformat.writes(clean), as_version=4)
    assert submission_of(written).digest() == submission_of(clean).digest()


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.sampled_from(["code", "train", "grade_train"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["cells", "cell_type", "source", "metadata", "nbgrader", "grade_id", "kernelspec", "name"]),
            inner,
            max_size=5,
        )
    ),
    max_leaves=25,
)


@settings(derandomize=True, max_examples=300, deadline=None)
@given(json_values)
def test_no_json_raises(tmp_path_factory, value):
    path = write(tmp_path_factory.mktemp("fuzz"), value)
    loaded, problem = read_notebook(path)
    assert problem or loaded.cells
    assert isinstance(read_submission(path, STRUCTURE), Submission)


@settings(derandomize=True, max_examples=300, deadline=None)
@given(st.lists(json_values, max_size=6))
def test_whatever_the_cells_are_the_structure_is_whole(cells):
    clean, _ = normalise(reduced(cells), STRUCTURE)
    names = [c.metadata.nbgrader.grade_id for c in clean.cells if "nbgrader" in c.metadata]
    assert sorted(names) == ["grade_train", "setup", "train"]
