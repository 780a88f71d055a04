"""Copies are found however they are dressed up, independent solutions are not, and no file stops the comparison."""

import ast
import io
import json
import random
import shutil
import textwrap
from itertools import pairwise

import pytest
from catalogue import solutions
from helpers import ROOT, submit
from rich.console import Console

from cs336lite.course.paths import CourseError
from cs336lite.course.regions import skeleton

pytest.importorskip("copydetect", reason="copydetect is not installed")
from cs336lite.grading import fingerprints
from cs336lite.grading import similar as module
from cs336lite.grading.similar import REFERENCE, THRESHOLD, similar
from cs336lite.grading.structure import structure_of_source
from cs336lite.grading.submission import read_submission

SOURCE = ROOT / "assignments" / "source" / "a1_bpe" / "a1_bpe.ipynb"
# written independently of each other
RIGHT = {one.name: one.source for one in solutions("a1_bpe", "right") if one.name != "right_of_other_types"}
FIXED = {"train_bpe", "Tokenizer", "encode", "decode", "encode_iterable", "from_files", "self", "cls"}
COMMENT = "# now comes the next step, which I thought about for a long time"


class Renaming(ast.NodeTransformer):
    """Every name that the code itself makes up gets another one."""

    def __init__(self, tree, rng):
        made = {n.name for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.ClassDef)}
        made |= {n.arg for n in ast.walk(tree) if isinstance(n, ast.arg)}
        made |= {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
        made |= {n.attr for n in ast.walk(tree) if isinstance(n, ast.Attribute) and isinstance(n.ctx, ast.Store)}
        made = sorted(name for name in made - FIXED if not name.startswith("__"))
        self.names = {name: f"{rng.choice('abcdefgh')}_{number}" for number, name in enumerate(made)}

    def visit(self, node):
        for key in ("id", "arg", "attr", "name"):
            if isinstance(getattr(node, key, None), str):
                setattr(node, key, self.names.get(getattr(node, key), getattr(node, key)))
        return self.generic_visit(node)


def renamed(source, rng):
    tree = ast.parse(source)
    return ast.unparse(Renaming(tree, rng).visit(tree))


def commented(source, rng):
    """Other comments, docstrings and blank lines; the formatter's taste instead of the author's."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            node.body.insert(0, ast.Expr(ast.Constant(f"What it does is {rng.random()}.")))
    lines = []
    for line in ast.unparse(ast.fix_missing_locations(tree)).split("\n"):
        if rng.random() < 0.3:
            lines += ["", line[: len(line) - len(line.lstrip())] + COMMENT]
        lines.append(line)
    return "\n".join(lines)


def reordered(source, rng):
    tree = ast.parse(source)
    for body in [tree.body, *(node.body for node in tree.body if isinstance(node, ast.ClassDef))]:
        places = [i for i, node in enumerate(body) if isinstance(node, ast.FunctionDef)]
        moved = [body[i] for i in places]
        rng.shuffle(moved)
        for i, node in zip(places, moved):
            body[i] = node
    return ast.unparse(tree)


def copied(source, seed=0):
    rng = random.Random(seed)
    return commented(reordered(renamed(source, rng), rng), rng)


@pytest.fixture(scope="module")
def released():
    """The notebook as a student gets it, as JSON."""
    notebook = json.loads(SOURCE.read_text())
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            cell["source"], cell["outputs"] = skeleton("".join(cell["source"])), []
    return json.dumps(notebook)


@pytest.fixture
def course(tmp_path):
    course = tmp_path / "assignments"
    shutil.copytree(SOURCE.parent, course / "source" / "a1_bpe")
    return course


def in_notebook(released, source, cells=1):
    """A solution in a student's cell, or cut at its top-level statements and spread over several new cells."""
    notebook = json.loads(released)
    names = [c["metadata"].get("nbgrader", {}).get("grade_id") for c in notebook["cells"]]
    mine = names.index("encode")
    nodes, lines = ast.parse(source).body, source.split("\n")
    starts = [0, *(nodes[len(nodes) * i // cells].lineno - 1 for i in range(1, cells)), len(lines)]
    parts = ["\n".join(lines[a:b]) for a, b in pairwise(starts)]
    notebook["cells"][mine]["source"] = parts[0]
    notebook["cells"][mine + 1 : mine + 1] = [
        {"cell_type": "code", "id": f"mine{i}", "metadata": {}, "outputs": [], "execution_count": None, "source": part}
        for i, part in enumerate(parts[1:])
    ]
    return notebook


def shown(result):
    said = io.StringIO()
    Console(width=160, file=said).print(result)
    return said.getvalue()


def test_independent_solutions_are_not_listed_and_copies_are_with_a_margin(course, tmp_path):
    files = []
    for name, source in RIGHT.items():
        for kind, text in (("own", source), ("copy", copied(source))):
            files.append(tmp_path / f"{name}.{kind}.py")
            files[-1].write_text(text)
    found = similar(course, "a1_bpe", files, threshold=0.01)
    assert found.skipped == () and found.compared == 2 * len(RIGHT) >= 12
    copies, others = {}, []
    for pair in found.pairs:
        a, b = (label.rsplit("/", 1)[-1].split(".")[0] for label in (pair.first, pair.second))
        if a == b:
            copies[a] = min(pair.shares)
        else:
            others.append(pair.similarity)
    assert sorted(copies) == sorted(RIGHT)
    assert min(copies.values()) > THRESHOLD + 0.35, copies
    assert max(others) < THRESHOLD - 0.25, max(others)


@pytest.mark.parametrize("disguise", [renamed, commented, reordered], ids=lambda f: f.__name__)
def test_one_disguise_alone_hides_next_to_nothing(course, tmp_path, disguise):
    source = RIGHT["right_linked_list_and_heap"]
    files = [tmp_path / "own.py", tmp_path / "copy.py"]
    files[0].write_text(source)
    files[1].write_text(disguise(source, random.Random(1)))
    [pair] = similar(course, "a1_bpe", files).pairs
    assert min(pair.shares) > 0.9


def test_a_class_is_compared_and_the_report_says_where_to_look(course, released):
    whole, other = RIGHT["right_words_as_strings"], RIGHT["right_numpy"]
    submit(course, "ann", in_notebook(released, whole))
    submit(course, "bob", in_notebook(released, copied(whole), cells=4))
    submit(course, "eve", in_notebook(released, other))
    submit(course, "kim", SOURCE.read_bytes())
    for number in range(2):
        submit(course, f"idle{number}", released)
    found = similar(course, "a1_bpe")
    assert [{pair.first, pair.second} for pair in found.pairs] == [{REFERENCE, "kim"}, {"ann", "bob"}]
    assert found.pairs[0].shares == (1, 1)
    assert dict(found.skipped) == dict.fromkeys(["idle0", "idle1"], "hardly any code beyond what the notebook gave")
    said = shown(found)
    assert "4 compared, 2 pairs share 50% or more" in said and "no proof" in said and "idle1: hardly" in said
    assert "encode lines" in said and "cell " in said


def test_the_places_are_lines_that_correspond(course, tmp_path):
    first = "import json\n\n\n" + RIGHT["right_numpy"]
    files = [tmp_path / "a.py", tmp_path / "b.py"]
    files[0].write_text(first)
    files[1].write_text("# a comment\n" * 40 + first)
    [pair] = similar(course, "a1_bpe", files).pairs
    assert pair.shares == (1, 1)
    assert all((a.first + 40, a.last + 40) == (b.first, b.last) for a, b in pair.places)
    length = first.count("\n")
    assert (
        sum(a.last - a.first for a, _ in pair.places) > 0.5 * length and max(a.last for a, _ in pair.places) <= length
    )


def test_a_run_over_several_cells_is_told_cell_by_cell(course, released):
    submit(course, "ann", in_notebook(released, RIGHT["right_numpy"], cells=3))
    submit(course, "bob", in_notebook(released, RIGHT["right_numpy"], cells=3))
    [pair] = similar(course, "a1_bpe").pairs
    assert all(a == b for a, b in pair.places)
    assert sum(a.last - a.first for a, _ in pair.places) > 0.7 * RIGHT["right_numpy"].count("\n")
    assert len({a.cell for a, _ in pair.places}) >= 2


def test_what_the_notebook_gave_counts_for_nothing(course, released, tmp_path):
    structure = structure_of_source(SOURCE)
    given = module.fingerprints_given(SOURCE)
    path = submit(course, "idle", released)
    assert module.document("idle", read_submission(path, structure), given).problem
    assert module.document("idle", read_submission(path, structure), set()).token_coverage > 500
    together = {}
    for name in ("right_numpy", "right_functional"):
        path = submit(course, name, in_notebook(released, RIGHT[name]))
        alone = tmp_path / f"{name}.py"
        alone.write_text(RIGHT[name])
        with_given = module.document(name, read_submission(path, structure), given)
        together[name] = with_given.token_coverage - module.document(name, read_submission(alone), given).token_coverage
    assert all(abs(extra) <= 8 * fingerprints.K for extra in together.values()), together


HOSTILE = {
    "no notebook": "my notebook ate my homework",
    "no json": '{"cells": [',
    "nothing": "",
    "bytes": b"\xff\xfe\x00",
    "cells": json.dumps({"cells": [{"cell_type": "code", "source": {"a": 1}}, 3, None], "nbformat": 4}),
    "folder": None,
}


def test_broken_and_hostile_files_are_listed_and_stop_nothing(course, released, tmp_path):
    mark = tmp_path / "executed"
    code = f"open({str(mark)!r}, 'w').close()\n" + RIGHT["right_numpy"]
    submit(course, "ann", in_notebook(released, code))
    submit(course, "bob", in_notebook(released, copied(code)))
    for name, content in HOSTILE.items():
        if content is None:
            (course / "submitted" / name / "a1_bpe" / "a1_bpe.ipynb").mkdir(parents=True)
        else:
            submit(course, name, content)
    deep = {
        "minus": "-" * 50_000 + "1",
        "dots": "x" + ".y" * 50_000,
        "brackets": "(" * 50_000,
        "null": "a\0b",
        "open": "'''",
    }
    for name, line in deep.items():
        notebook = json.loads(released)
        notebook["cells"][6]["source"] = f"%timeit 1\n!ls\nvalue = {line}"
        submit(course, name, notebook)
    notebook = json.loads(released)
    notebook["cells"][6]["source"] = "x = 1\n" * 100_000
    submit(course, "long", notebook)
    (course / "submitted" / "link").symlink_to(course / "submitted" / "ann")
    found = similar(course, "a1_bpe")
    assert {frozenset((pair.first, pair.second)) for pair in found.pairs} == {frozenset(("ann", "bob"))}
    assert set(HOSTILE) | {"link", "long", "null", "open"} <= set(dict(found.skipped))
    assert all(reason for _, reason in found.skipped)
    assert not mark.exists()
    assert "[red]" in shown(module.Similarities("a1_bpe", 0.5, 0, (), (("[red]", "[/x]"),)))


def test_a_cell_with_a_syntax_error_does_not_hide_the_copy(course, released):
    source = RIGHT["right_words_as_strings"]
    submit(course, "ann", in_notebook(released, source))
    broken = in_notebook(released, copied(source))
    next(c for c in broken["cells"] if COMMENT in c["source"])["source"] += "\n\ndef (:\n"
    submit(course, "bob", broken)
    [pair] = similar(course, "a1_bpe").pairs
    assert pair.similarity > THRESHOLD + 0.2


def test_each_submission_is_fingerprinted_once(course, released, monkeypatch):
    calls = []
    parse = fingerprints.PARSER.call

    def counted(function, sources):
        calls.append(sum(map(len, sources)))
        return parse(function, sources)

    monkeypatch.setattr(fingerprints.PARSER, "call", counted)
    sizes = []
    for number in (2, 4, 8):
        for i in range(number):
            submit(course, f"s{i}", in_notebook(released, RIGHT["right_numpy"]))
        calls.clear()
        assert len(similar(course, "a1_bpe").pairs) == number * (number - 1) // 2
        sizes.append(sum(calls))
    assert sizes[2] - sizes[1] == 2 * (sizes[1] - sizes[0]) > 0


def test_fingerprints_do_not_depend_on_the_process():
    sequence = [symbol for symbol, _ in fingerprints.symbols(RIGHT["right_numpy"])]
    hashes = fingerprints.hashes_of(sequence)
    assert len(hashes) == len(sequence) - fingerprints.K + 1 and hashes.min() >= 0 and hashes.max() < 2**53
    assert int(hashes[0]) == int(fingerprints.hashes_of(sequence[: fingerprints.K])[0])
    assert fingerprints.hashes_of([str(i) for i in range(fingerprints.K)]).tolist() == [2403093388814215]


def test_bad_use_says_what_to_do(course, tmp_path, monkeypatch):
    with pytest.raises(CourseError, match="collect them first"):
        similar(course, "a1_bpe")
    with pytest.raises(CourseError, match="no such file"):
        similar(course, "a1_bpe", [tmp_path / "gone.py"])
    with pytest.raises(CourseError, match="full repository"):
        similar(tmp_path, "a1_bpe")
    for threshold in (0, 1.5, -1):
        with pytest.raises(CourseError, match="threshold"):
            similar(course, "a1_bpe", threshold=threshold)
    monkeypatch.setitem(__import__("sys").modules, "copydetect", None)
    with pytest.raises(CourseError, match=r"pip install"):
        similar(course, "a1_bpe")


def test_what_does_not_matter_makes_no_symbol():
    plain = [symbol for symbol, _ in fingerprints.symbols("def f(a):\n    return len(a) + 16")]
    dressed = textwrap.dedent('''
        import os
        def g(
            items: list[int],  # a comment
        ) -> int:
            """Docstring."""
            return (
                len(items)
                + 0x10
            )
    ''')
    assert [symbol for symbol, _ in fingerprints.symbols(dressed)] == plain
    assert len(plain) > 10 and "len" in plain and "f" not in plain


def test_groups_are_told_as_groups_by_name_and_all_pairs_go_into_a_file(course, released):
    rng = random.Random(3)
    for name in ("ann", "bob", "cyd", "dan"):
        submit(course, name, in_notebook(released, commented(RIGHT["right_functional"], rng)))
    found = similar(course, "a1_bpe", names={"ann": "Ann Abel (ann)"})
    assert found.clusters() == [["ann", "bob", "cyd", "dan"]]
    said = shown(found)
    assert "4 that share, in 6 pairs: Ann Abel (ann), bob, cyd, dan" in said and len(said.splitlines()) < 15
    rows = found.as_csv().splitlines()
    assert len(rows) == 7 and any("Ann Abel (ann)" in row for row in rows)


def test_work_of_last_year_is_compared_with_the_class_alone(course, released, tmp_path):
    last = tmp_path / "last"
    for name in ("old1", "old2"):
        path = last / "submitted" / name / "a1_bpe" / "a1_bpe.ipynb"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(in_notebook(released, RIGHT["right_functional"])))
    submit(course, "ann", in_notebook(released, copied(RIGHT["right_functional"])))
    submit(course, "bob", in_notebook(released, RIGHT["right_numpy"]))
    found = similar(course, "a1_bpe", against=[last])
    assert {(p.first, p.second) for p in found.pairs} == {
        ("ann", f"last/{name}/a1_bpe/a1_bpe.ipynb") for name in ("old1", "old2")
    }
    with pytest.raises(CourseError, match="no such folder"):
        similar(course, "a1_bpe", against=[tmp_path / "none"])
