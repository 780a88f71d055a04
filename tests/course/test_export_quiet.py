"""No cell prints its docstring: a semicolon sees to it, which stays in the notebook."""

from __future__ import annotations

import ast

import nbformat
import pytest
from helpers import ROOT, planned
from IPython.core.displayhook import DisplayHook

from cs336lite.course.build import shown_notebook
from cs336lite.course.export import export_notebook, text_modules
from cs336lite.course.regions import without_echo
from cs336lite.course.text import read_text

TEXTS = sorted(path.stem for path in ROOT.glob("*/text/**/*.py"))

CELLS = [
    '"""Doc."""',
    '"""字节对编码\n\n字节对 and "more".\n"""\n',
    'X = 1\n"""What X is."""  # a comment',
    'X = 1; "what X is"\n# a comment\n',
    'r"""a \\ b"""  # 字节 "c"\n\n# d',
    '("one "\n "two")',
    '"""Doc.""";  # it has one',
    '"""Doc.""" ;',
]
LOUD = ["1 + 1", 'print("x")', '"a".upper()', 'f"{1}"', 'x = "a"', "", "# nothing", 'def f():\n    """Doc."""']


def ends_in_text(source: str) -> bool:
    last = ast.parse(source).body[-1:]
    return bool(last) and isinstance(last[0], ast.Expr) and isinstance(getattr(last[0].value, "value", None), str)


def item(name):
    return next(item for item in planned() if item.name == name)


@pytest.mark.parametrize("name", TEXTS)
def test_no_cell_of_a_notebook_prints_its_docstring(name):
    cells = [cell.source for cell in shown_notebook(item(name)).cells if cell.cell_type == "code"]
    ending = [source for source in cells if ends_in_text(source)]
    assert [source for source in ending if not DisplayHook.semicolon_at_end_of_expression(source)] == []


@pytest.mark.parametrize("name", TEXTS)
def test_no_notebook_holds_a_text_as_the_value_of_a_cell(name):
    for cell in nbformat.read(item(name).notebook, as_version=4).cells:
        for output in cell.get("outputs", ()):
            shown = output.get("data", {}).get("text/plain", "")
            assert output.output_type != "execute_result" or not shown.startswith(("'", '"')), cell.source


@pytest.mark.parametrize("source", CELLS)
def test_a_docstring_gets_a_semicolon_and_the_cell_says_the_same(source):
    quiet = without_echo(source)
    assert DisplayHook.semicolon_at_end_of_expression(quiet)
    assert ast.dump(ast.parse(quiet)) == ast.dump(ast.parse(source)) and without_echo(quiet) == quiet
    assert quiet.count(";") == source.count(";") + (source not in CELLS[-2:])


@pytest.mark.parametrize("source", LOUD)
def test_other_cells_stay_as_they_are(source):
    assert without_echo(source) == source


def test_modules_are_clean_whether_built_or_exported_by_a_student(tmp_path):
    cells = ['#| export\n"""Doc: 字.\n\nMore.\n"""', '#| export\nX = 1\n"""What X is."""  # so']
    text = tmp_path / "01_topic.py"
    header = "# ---\n# jupyter:\n#   cs336lite: {module: bpe, minutes: 1, prerequisites: [], device: CPU}\n# ---\n\n"
    text.write_text(header + "\n\n".join(f"# %%\n{cell}" for cell in cells), encoding="utf-8")
    built = text_modules(read_text(text), "x")["bpe"]
    released = tmp_path / "a1_bpe.ipynb"
    nbformat.write(
        nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(without_echo(cell)) for cell in cells]), released
    )
    exported = export_notebook(released)["bpe"]
    body = '"""Doc: 字.\n\nMore.\n"""\n\nX = 1\n"""What X is."""  # so\n'
    assert built.partition("\n")[2] == exported.partition("\n")[2] == body
