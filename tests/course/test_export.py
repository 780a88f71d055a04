"""Texts, the exporter, and the student's last cell."""

from __future__ import annotations

import linecache
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from miniature import BPE, WORDS

from cs336lite.course.export import (
    defined_names,
    export_notebook,
    is_stub,
    missing,
    split_directive,
    text_modules,
)
from cs336lite.course.last_cell import export_solution, export_student
from cs336lite.course.paths import CourseError
from cs336lite.course.regions import CODE_STUB, skeleton, solution_lines, solved
from cs336lite.course.saved import Kernel
from cs336lite.course.text import TextError, read_text

HEADER = WORDS[: WORDS.index("# %%")]


def text_of(folder: Path, body: str, header: str = HEADER):
    path = folder / "01_topic.py"
    path.write_text(header + body, encoding="utf-8")
    return read_text(path)


def module_of(folder: Path, body: str, **options) -> str:
    return text_modules(text_of(folder, body), "notebooks/text/01_topic.py", **options)["words"]


# ---------------------------------------------------------------------------------------------------------------- text


def test_a_text_becomes_a_notebook_with_nbgrader_metadata(tmp_path):
    cells = text_of(tmp_path, BPE[BPE.index("# %%") :]).notebook.cells
    by_id = {cell.metadata.nbgrader.grade_id: cell for cell in cells if "nbgrader" in cell.metadata}
    assert list(by_id) == ["setup", "count_pairs", "grade_count_pairs", "train", "grade_train", "export"]
    flags = ("solution", "grade", "locked", "task", "schema_version", "points")
    assert [by_id["train"].metadata.nbgrader.get(k) for k in flags] == [True, False, False, False, 3, None]
    assert [by_id["grade_train"].metadata.nbgrader.get(k) for k in flags] == [False, True, True, False, 3, 40]
    assert [by_id["setup"].metadata.nbgrader.get(k) for k in flags] == [False, False, True, False, 3, None]


def test_header_kernel_and_tags_reach_the_notebook(tmp_path):
    notebook = text_of(tmp_path, '# %% tags=["timing"]\n1\n').notebook
    assert notebook.metadata.cs336lite == {"module": "words", "minutes": 1, "prerequisites": [], "device": "CPU"}
    assert notebook.metadata.kernelspec.name == "python3"
    assert notebook.cells[0].metadata == {"tags": ["timing"]}
    nbformat.validate(notebook)


def test_cell_ids_depend_on_what_a_cell_says_not_on_its_place(tmp_path):
    before = text_of(tmp_path, "# %%\nx = 1\n\n# %%\nx = 2\n\n# %%\nx = 1\n").notebook.cells
    after = text_of(tmp_path, "# %%\nnew = 0\n\n# %%\nx = 1\n\n# %%\nx = 2\n\n# %%\nx = 1\n").notebook.cells
    assert [c.id for c in before] == [c.id for c in after[1:]]
    assert len({c.id for c in after}) == 4


def test_comments_that_look_like_shell_commands_stay_comments(tmp_path):
    assert (
        text_of(tmp_path, "# %%\n# cat the pieces\n# ls\nx = 1\n")
        .notebook.cells[0]
        .source.startswith("# cat the pieces")
    )


def test_every_cell_knows_its_line(tmp_path):
    text = text_of(tmp_path, BPE[BPE.index("# %%") :])
    written = text.path.read_text(encoding="utf-8").splitlines()
    for cell, line in zip(text.notebook.cells, text.lines):
        assert cell.source.split("\n")[0] in written[line - 1]


@pytest.mark.parametrize(
    ("body", "line", "problem"),
    [
        ('# %% solutions="a"\n1\n', 7, "unknown cell option 'solutions'"),
        ("# %% solution=a\n1\n", 7, "cannot be read"),
        ("# %% a title\n1\n", 7, "title"),
        ('# %% solution="Upper"\n1\n', 7, "small letters"),
        ('# %% grade="a" points=5\n1\n', 7, "grades no cell"),
        ('# %% solution="a"\n### BEGIN SOLUTION\n1\n### END SOLUTION\n', 7, "has no grade cell"),
        ('# %% grade="a"\n1\n', 7, "points=NUMBER"),
        ('# %% grade="a" points=-1\n1\n', 7, "points=NUMBER"),
        ("# %% points=3\n1\n", 7, "belong to a grade cell"),
        ('# %% solution="a" grade="a" points=3\n1\n', 7, "not both"),
        ('# %% locked="a"\n1\n\n# %% locked="a"\n2\n', 10, "used twice (first at line 8)"),
        ('# %% [markdown] locked="a"\n# text\n', 7, "markdown cell"),
        ("# %%\nx = 1\n### BEGIN SOLUTION\n2\n### END SOLUTION\n", 9, "outside"),
        ("# %% [markdown]\n# write BEGIN SOLUTION here\n", 8, "alone on its line"),
        ("# %%\nx = (\n", 8, "not Python"),
        ("# %%\nx = 1\n\ndef f():\n    return return\n", 11, "not Python"),
        ("# %%\n%matplotlib inline\n", 8, "not Python"),
    ],
)
def test_a_mistake_in_a_text_is_named_with_its_line(tmp_path, body, line, problem):
    with pytest.raises(TextError, match=re.escape(problem)) as raised:
        text_of(tmp_path, body)
    assert f"01_topic.py:{line}: " in str(raised.value)


@pytest.mark.parametrize(
    ("cell", "line", "problem"),
    [
        ("x = 1", 8, "no region"),
        ("### BEGIN SOLUTION\nx = 1", 8, "without ### END SOLUTION"),
        ("x = 1\n### END SOLUTION", 9, "without ### BEGIN SOLUTION"),
        ("### BEGIN SOLUTION\n### BEGIN SOLUTION\nx = 1\n### END SOLUTION", 9, "a second"),
        ("# BEGIN SOLUTION\nx = 1\n### END SOLUTION", 8, "alone on its line"),
        ("def f():\n### BEGIN SOLUTION\n    return 1\n### END SOLUTION", 8, "indentation"),
    ],
)
def test_a_wrong_solution_region_is_named_with_its_line(tmp_path, cell, line, problem):
    with pytest.raises(TextError, match=re.escape(problem)) as raised:
        text_of(tmp_path, f'# %% solution="a"\n{cell}\n\n# %% grade="a" points=1\n1\n')
    assert f"01_topic.py:{line}: " in str(raised.value)


def test_a_text_without_its_header_says_how_one_looks(tmp_path):
    with pytest.raises(TextError, match="names no `cs336lite:` keys"):
        text_of(tmp_path, "# %%\n1\n", header="")
    with pytest.raises(TextError, match="is not YAML"):
        text_of(tmp_path, "# %%\n1\n", header="# ---\n# jupyter: {a: [\n# ---\n")
    with pytest.raises(TextError, match="no such text"):
        read_text(tmp_path / "none.py")


def test_solved_skeleton_and_solution_lines_agree():
    cell = "def f():\n    ### BEGIN SOLUTION\n    x = 1\n    return x\n    ### END SOLUTION"
    assert solved(cell) == "def f():\n    x = 1\n    return x"
    stub = "\n".join(f"    {line}" for line in CODE_STUB.split("\n"))
    assert skeleton(cell) == f"def f():\n{stub}"
    assert list(solution_lines(cell)) == [(3, "    x = 1"), (4, "    return x")]


# -------------------------------------------------------------------------------------------------------------- export


def test_a_module_is_plain_python_in_the_order_of_the_cells(tmp_path):
    body = (
        '# %%\n#| export\n"""Doc."""\n\n# %%\nprint("not exported")\n\n'
        "# %%\n#| export\nfrom __future__ import annotations\nimport sys, os\n# why: it is fast\nimport json\nA = os.sep\n\n"
        "# %%\n#| export\nfrom os import path\nimport os\n\nclass B:\n    x = json.dumps( path )\n"
    )
    assert module_of(tmp_path, body) == (
        "# Built from notebooks/text/01_topic.py by `cs336lite build`: edit that file, not this one.\n"
        '"""Doc."""\n\nfrom __future__ import annotations\n\n'
        "# why: it is fast\nimport json\nimport os\nfrom os import path\n\nA = os.sep\n\n\n"
        "class B:\n    x = json.dumps(path)\n"
    )


def test_a_cell_may_go_into_another_module(tmp_path):
    body = "# %%\n#| export\nA = 1\n\n# %%\n#| export other\nB = 2\n"
    modules = text_modules(text_of(tmp_path, body), "x")
    assert sorted(modules) == ["other", "words"]
    assert "B = 2" in modules["other"] and "B = 2" not in modules["words"]


@pytest.mark.parametrize(
    "line", ["#| export", "#|export", "#| export  ", "# | export", "#  |export", " #| export", "#| export\r"]
)
def test_the_directive_is_read_as_nbdev_reads_it(line):
    assert split_directive(f"{line}\nx = 1") == (True, None, "x = 1")


@pytest.mark.parametrize("above", ["\n", "  \n\n", "# mine\n", "#!\n\n# mine\n  \n", "# | a table |\n", "%%time\n"])
@pytest.mark.parametrize("line", ["#| export other", "# | export other"])
def test_blank_lines_and_comments_may_stand_above_the_directive(above, line):
    assert split_directive(f"{above}{line}\nx = 1") == (True, "other", f"{above}x = 1")
    assert not split_directive(f"{above}y = 2\n{line}\nx = 1")[0]


@pytest.mark.parametrize("line", ["# export", "#| exported", "x = 1", "#| export a b", '"""\n#| export\n"""'])
def test_other_lines_are_no_directive(line):
    assert not split_directive(f"{line}\nx = 1")[0]


def test_an_unknown_directive_is_an_error(tmp_path):
    with pytest.raises(TextError, match=r"01_topic.py:8: unknown directive '#\| exporti'"):
        module_of(tmp_path, "# %%\n#| exporti\nx = 1\n")
    with pytest.raises(TextError, match=r"unknown directive '# \| exports'"):
        module_of(tmp_path, "# %%\n# mine\n# | exports\nx = 1\n")


@pytest.mark.parametrize("directive", ["# | export", "# a comment\n#| export", "\n# | export"])
def test_a_text_that_a_formatter_changed_builds_the_same_module_and_stub(tmp_path, directive):
    text = BPE[BPE.index("# %%") :].replace("from cs336lite.words", "# from cs336lite.words")
    for stub in (None, "a1_bpe"):
        right = text_modules(text_of(tmp_path, text), "x", stub=stub)["words"]
        changed = text_modules(text_of(tmp_path, text.replace("#| export", directive)), "x", stub=stub)["words"]
        assert re.sub(r"# a comment\n+", "", changed) == re.sub(r"\n+(?=# a comment)", "", right)


def test_imports_inside_statements_and_names_handed_on_stay(tmp_path):
    body = (
        "# %%\n#| export\ntry:\n    import fast as engine\nexcept ImportError:\n    import json as engine\n"
        "from os import sep as sep\nX = engine\n"
    )
    module = module_of(tmp_path, body)
    assert "    import json as engine" in module and "from os import sep as sep" in module


def test_a_stub_can_be_imported_and_says_what_is_missing(tmp_path):
    text = text_of(tmp_path, BPE[BPE.index("# %%") :].replace("from cs336lite.words", "# from cs336lite.words"))
    stub = text_modules(text, "x", stub="a1_bpe")["words"]
    assert is_stub(stub) and defined_names(stub) == ["LIMIT", "Trainer", "count_pairs"]
    names: dict = {}
    exec(stub, names)
    with pytest.raises(NotImplementedError, match=r"a1_bpe: .* Open assignments/a1_bpe/a1_bpe.ipynb"):
        names["count_pairs"](["a"])
    assert names["LIMIT"] == 3
    left = missing(stub)
    assert {"count_pairs", "Trainer.train"} <= set(left) and len(left) == 4  # and two regions outside any function
    full = text_modules(text, "x")["words"]
    assert missing(full) == [] and not is_stub(full)


def test_a_class_whose_whole_body_is_missing_can_still_be_imported(tmp_path):
    body = (
        '# %% solution="a"\n#| export\nclass A:\n    ### BEGIN SOLUTION\n    x = 1\n    ### END SOLUTION\n\n'
        '# %% grade="a" points=1\n1\n'
    )
    stub = module_of(tmp_path, body, stub="a1_bpe")
    exec(stub, {})
    assert missing(stub)


def test_an_abstract_method_is_not_an_unsolved_exercise():
    assert missing("class A:\n    def f(self):\n        raise NotImplementedError('subclasses do this')\n") == []


# ------------------------------------------------------------------------------------------------ the student's notebook


SOLVED = [
    '#| export\n"""Mine."""\nfrom collections import Counter\n\nLIMIT = 3',
    "#| export\ndef count_pairs(word):\n    return Counter(zip(word, word[1:]))",
    "#| export\nclass Trainer:\n    def train(self, word):\n        return max(count_pairs(word))",
]


def write_notebook(path: Path, sources: list[str], names: list[str] | None = None) -> Path:
    course = {"module": "bpe", "names": {"bpe": ["LIMIT", "Trainer", "count_pairs"] if names is None else names}}
    cells = [nbformat.v4.new_code_cell(source) for source in sources]
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata={"cs336lite": course}), path)
    return path


@pytest.fixture
def edition(tmp_path):
    """A student edition with one stub and one notebook that is solved."""
    (tmp_path / ".cs336lite-edition").write_text("{}", encoding="utf-8")
    (tmp_path / "cs336lite").mkdir()
    (tmp_path / "cs336lite" / "bpe.py").write_text("# Stub of a1_bpe: solve it\n", encoding="utf-8")
    write_notebook(tmp_path / "assignments" / "a1_bpe" / "a1_bpe.ipynb", SOLVED)
    return tmp_path


def run_cells(sources: list[str]) -> Kernel:
    """What a kernel holds after running these cells, sources known as IPython knows them."""
    namespace: dict = {}
    for source in sources:
        name = f"<ipython-input-{abs(hash(source))}>"
        linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
        exec(compile(source, name, "exec"), namespace)
    return Kernel(namespace, ("", *sources))


def test_a_solved_notebook_becomes_the_module(edition):
    result = export_student("a1_bpe", root=edition, kernel=run_cells(SOLVED))
    assert result.unsolved == () and result.written == (edition / "cs336lite" / "bpe.py",)
    written = result.written[0].read_text(encoding="utf-8")
    assert written.startswith("# Exported from assignments/a1_bpe/a1_bpe.ipynb")
    names: dict = {}
    exec(written, names)
    assert names["Trainer"]().train(["a", "b"]) == ("a", "b")


def test_what_is_not_solved_yet_is_listed_and_the_rest_works(edition):
    half = [SOLVED[0], SOLVED[1], f"#| export\nclass Trainer:\n    def train(self, word):\n{_indent(CODE_STUB, 8)}"]
    write_notebook(edition / "assignments/a1_bpe/a1_bpe.ipynb", half)
    result = export_student("a1_bpe", root=edition)
    assert result.unsolved == ("Trainer.train",)
    assert "Not solved yet: Trainer.train" in result.messages[1]
    assert "a1_bpe: this exercise is not solved yet" in result.written[0].read_text(encoding="utf-8")


def _indent(text: str, width: int) -> str:
    return "\n".join(" " * width + line for line in text.split("\n"))


@pytest.mark.parametrize(
    ("cells", "problem"),
    [
        ([*SOLVED, "#| export\nx = (1"], r"a1_bpe.ipynb, cell 4 \(`x = \(1`\), line 2: not Python"),
        ([*SOLVED, "#| export\n%timeit 1"], "cell 4 .* line 2: `%timeit 1` is a notebook command"),
        ([*SOLVED, "#| export\n!pip install x"], "`!pip install x` is a notebook command"),
        (SOLVED[:2], "does not define `Trainer`"),
        ([*SOLVED, "#| export\ny = undefined_name"], "NameError.*undefined_name.*without `#| export`"),
        (["x = 1"], "no cell that begins with"),
        (["%%time\n" + SOLVED[0], *SOLVED[1:]], "cell 1 .* line 1: `%%time` is a notebook command"),
        ([SOLVED[0], SOLVED[1].replace("export", "exports"), SOLVED[2]], "cell 2 .* unknown directive `#| exports`"),
    ],
)
def test_a_notebook_that_cannot_be_exported_leaves_the_module_alone(edition, cells, problem):
    before = (edition / "cs336lite" / "bpe.py").read_bytes()
    write_notebook(edition / "assignments/a1_bpe/a1_bpe.ipynb", cells)
    with pytest.raises(CourseError, match=problem):
        export_student("a1_bpe", root=edition)
    assert (edition / "cs336lite" / "bpe.py").read_bytes() == before
    assert [p.name for p in (edition / "cs336lite").iterdir()] == ["bpe.py"]


HELPED = "#| export\ndef count_pairs(word):\n    return helper(Counter(zip(word, word[1:])))"


@pytest.mark.parametrize(
    "cell",
    [
        "helper = other = dict",
        "helper, _ = dict, 1",
        "%matplotlib inline\nfiles = !ls\nn, m = %timeit -o 1\nif True:\n    def helper(x):\n        return x\nhelper?",
        "x = 1\n#| export\nhelper = [dict][0]",
    ],
)
@pytest.mark.parametrize("use", ["helper(Counter(zip(word, word[1:])))", "[lambda: [helper for _ in word]]"])
def test_a_helper_that_is_not_exported_is_named_with_both_cells(edition, cell, use):
    user = HELPED.replace("helper(Counter(zip(word, word[1:])))", use)
    write_notebook(edition / "assignments/a1_bpe/a1_bpe.ipynb", [SOLVED[0], cell, user, SOLVED[2]])
    before = (edition / "cs336lite" / "bpe.py").read_bytes()
    told = (
        r"cell 3 \(`def count_pairs\(word\):`\) uses `helper`, which only .*cell 2 .*make `#\| export` its first line"
    )
    with pytest.raises(CourseError, match=told):
        export_student("a1_bpe", root=edition)
    assert (edition / "cs336lite" / "bpe.py").read_bytes() == before


@pytest.mark.parametrize(
    "cell",
    [
        "def helper(x):\n    return x",
        "class helper(dict): ...",
        "import builtins\nfrom copy import copy as helper",
        "x = 1\n#| export\ndef helper(x): return x",
        "%matplotlib inline\nimport functools\n\n@functools.cache\ndef second(): return dict\n\ndef helper(x): return second()(x)",
        "files = !ls\n\ndef helper(x): return third.copy(x)\n\nimport copy as third\nhelper({})",
    ],
)
@pytest.mark.parametrize("behind", [False, True])
def test_functions_classes_and_imports_go_with_what_needs_them(edition, cell, behind):
    others = [HELPED, cell] if behind else [cell, HELPED]
    write_notebook(edition / "assignments/a1_bpe/a1_bpe.ipynb", [SOLVED[0], *others, "demo = 1", SOLVED[2]])
    written = export_student("a1_bpe", root=edition).written[0].read_text(encoding="utf-8")
    names: dict = {}
    exec(written, names)
    assert names["Trainer"]().train("ab") == ("a", "b")
    assert "demo" not in written and "files" not in written and "x = 1" not in written


@pytest.mark.parametrize(
    "cells",
    [
        ["# | export\ndef helper(x):\n    return x", HELPED],
        ["def helper(x): ...", "# mine\n\n#| export\ndef helper(x):\n    return x", HELPED],
        ["def helper(x): ...", "#| export\nfor helper in [dict]: pass", HELPED],
        ["def helper(x): ...", "#| export\ndef set_up():\n    global helper\n    helper = dict\nset_up()", HELPED],
        ["def Seq(): ...", HELPED.replace("word)", "word: 'Seq[int]')").replace("helper", "")],
        ["def helper(x): ...", "#| export\nhelper = lambda x: x\nfrom math import *", HELPED],
        ["word = 1", HELPED.replace("helper", "")],
    ],
)
def test_a_helper_that_is_there_is_not_asked_for(edition, cells):
    cells = [cell.replace("\n", "\r\n") for cell in (SOLVED[0], *cells, SOLVED[2])]  # as Windows writes them
    write_notebook(edition / "assignments/a1_bpe/a1_bpe.ipynb", cells)
    result = export_student("a1_bpe", root=edition)
    names: dict = {}
    exec(result.written[0].read_text(encoding="utf-8"), names)
    assert names["Trainer"]().train("ab") == ("a", "b") and len(result.messages) == 1


def test_a_name_that_no_cell_defines_is_told(edition):
    cells = [SOLVED[0], HELPED, SOLVED[2] + "\n\ndef show():\n    display(1)"]
    write_notebook(edition / "assignments/a1_bpe/a1_bpe.ipynb", cells)
    result = export_student("a1_bpe", root=edition)
    assert result.written and "`display`, `helper`" in result.messages[1]


@pytest.mark.parametrize(
    "last", ["count_pairs, _ = pairs, 1", "if True:\n    count_pairs = pairs", "for count_pairs in [pairs]:\n    pass"]
)
def test_a_name_may_be_defined_in_any_way(edition, last):
    cells = [SOLVED[0], SOLVED[1].replace("count_pairs", "pairs") + "\n\n" + last, SOLVED[2]]
    write_notebook(edition / "assignments/a1_bpe/a1_bpe.ipynb", cells)
    assert export_student("a1_bpe", root=edition).written


def test_a_star_import_hides_no_helper(edition):
    cells = [SOLVED[0], "helper = dict", HELPED + "\nfrom math import *\nroot = sqrt(4)", SOLVED[2]]
    write_notebook(edition / "assignments/a1_bpe/a1_bpe.ipynb", cells)
    with pytest.raises(CourseError, match="uses `helper`, which only"):
        export_student("a1_bpe", root=edition)


def test_a_future_import_holds_for_later_cells(edition):
    cells = [
        "%matplotlib inline\nfrom __future__ import annotations",
        *SOLVED,
        "#| export\nclass Node:\n    def next(self) -> Node: ...",
    ]
    write_notebook(edition / "assignments/a1_bpe/a1_bpe.ipynb", cells)
    assert export_student("a1_bpe", root=edition).written


@pytest.mark.parametrize("content", ["not json", "{}", ""])
def test_a_file_that_is_no_notebook(edition, content):
    (edition / "assignments/a1_bpe/a1_bpe.ipynb").write_text(content, encoding="utf-8")
    with pytest.raises(CourseError, match="is no notebook"):
        export_student("a1_bpe", root=edition)


@pytest.mark.parametrize(
    ("old", "new", "name"),
    [("word[1:]", "word[2:]", "count_pairs"), ("return max(", "return min(", "Trainer")],
)
def test_a_notebook_that_is_not_saved_is_not_exported(edition, old, new, name):
    ran = run_cells([source.replace(old, new) for source in SOLVED])
    with pytest.raises(CourseError, match=f"`{name}`.*Save the notebook"):
        export_student("a1_bpe", root=edition, kernel=ran)
    layout = run_cells([source.replace("(zip", "(  zip") + "  # a comment" for source in SOLVED])
    assert export_student("a1_bpe", root=edition, kernel=layout).written


def test_a_module_written_by_hand_is_not_overwritten(edition):
    (edition / "cs336lite" / "bpe.py").write_text("my = 1\n", encoding="utf-8")
    with pytest.raises(CourseError, match="left alone"):
        export_student("a1_bpe", root=edition)
    assert (edition / "cs336lite" / "bpe.py").read_text(encoding="utf-8") == "my = 1\n"


def test_in_the_full_repository_nothing_is_written(edition):
    (edition / ".cs336lite-edition").unlink()
    before = (edition / "cs336lite" / "bpe.py").read_bytes()
    result = export_student("a1_bpe", root=edition)
    assert result.written == () and "full course" in result.messages[0]
    assert (edition / "cs336lite" / "bpe.py").read_bytes() == before


def test_the_notebook_is_found_by_argument_by_session_and_by_folder(edition, monkeypatch, capsys):
    other = write_notebook(edition / "elsewhere" / "renamed.ipynb", [SOLVED[0] + "\nOTHER = 1", *SOLVED[1:]])
    stray = write_notebook(edition / "elsewhere" / "stray.ipynb", ["1"])
    notebook = nbformat.read(stray, as_version=4)
    notebook.metadata.clear()
    nbformat.write(notebook, stray)
    module = edition / "cs336lite" / "bpe.py"

    export_solution("a1_bpe", other, root=edition)
    assert "OTHER" in module.read_text(encoding="utf-8")
    monkeypatch.setenv("JPY_SESSION_NAME", str(stray))  # the kernel of another notebook
    export_solution("a1_bpe", root=edition)
    assert "OTHER" not in module.read_text(encoding="utf-8")
    monkeypatch.setenv("JPY_SESSION_NAME", str(other))
    export_solution("a1_bpe", root=edition)
    assert "OTHER" in module.read_text(encoding="utf-8")
    assert capsys.readouterr().out.count("Exported") == 3

    (edition / "assignments/a1_bpe/a1_bpe.ipynb").unlink()
    monkeypatch.delenv("JPY_SESSION_NAME")
    export_solution("a1_bpe", root=edition)
    assert "Not exported: a1_bpe.ipynb is not in" in capsys.readouterr().out


def test_export_notebook_takes_the_assignment_from_the_file_name(edition):
    assert list(export_notebook(edition / "assignments/a1_bpe/a1_bpe.ipynb")) == ["bpe"]


def test_the_exported_module_is_clean_for_ruff(edition):
    path = export_student("a1_bpe", root=edition).written[0]
    for command in (
        ["check", "--isolated", "--select", "F,I"],
        ["format", "--isolated", "--line-length=120", "--check"],
    ):
        done = subprocess.run([sys.executable, "-m", "ruff", *command, str(path)], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout
