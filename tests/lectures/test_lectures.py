"""Lectures as a student meets them: before an assignment is done, and on the student's own code afterwards."""

import base64
import io
import itertools
import json
import os
import re
import shutil
import sys

import nbformat
import pytest
from catalogue import SOLUTIONS, read_solution
from helpers import ROOT, run
from nbclient import NotebookClient
from PIL import Image

from cs336lite.course.form import answered_above, effort, has_form, is_folded, is_predict, problems
from cs336lite.course.paths import GRADED_MODULES, PAGES, CourseError, find_root, own_root
from cs336lite.course.ready import kept_outputs

PAGE_FILES = [path for name in PAGES if (path := ROOT / "notebooks" / f"{name}.ipynb").exists()]
LECTURES = sorted(set((ROOT / "notebooks").glob("[0-9]*.ipynb")) - set(PAGE_FILES))
APPENDICES = sorted((ROOT / "notebooks" / "appendix").glob("*.ipynb"))
NOTEBOOKS = [*LECTURES, *APPENDICES, *PAGE_FILES]


@pytest.fixture(scope="module")
def edition(real_edition, tmp_path_factory):
    return shutil.copytree(real_edition, tmp_path_factory.mktemp("student") / "course")


def run_through(path, monkeypatch):
    """Run a lecture of an edition with the edition's own package."""
    root = find_root(path)
    monkeypatch.setenv("PYTHONPATH", str(root))
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(notebook, timeout=900, resources={"metadata": {"path": str(path.parent)}})
    client.execute(env={**os.environ, "PYTHONPATH": str(root)})
    return notebook


def read(path, monkeypatch):
    """What a lecture of an edition prints."""
    return printed_in(run_through(path, monkeypatch))


def printed_in(notebook):
    outputs = [o for cell in notebook.cells if cell.cell_type == "code" for o in cell.outputs]
    return "".join(o.text for o in outputs if o.output_type == "stream" and o.name == "stdout")


def test_before_a1_lecture_01_runs_whole_on_its_slow_trainer(edition, monkeypatch):
    printed = read(edition / "notebooks" / "01_tokenizer.ipynb", monkeypatch)
    assert "a1_bpe is not done yet" in printed and "assignments/a1_bpe/a1_bpe.ipynb" in printed
    assert "trained by the slow trainer above" in printed and "124,439,808" in printed
    assert "best_pair: the course's, because yours passes 0 of 3 checks" in printed


def test_after_a1_lecture_01_runs_on_the_students_own_code(solved, monkeypatch):
    printed = read(solved / "notebooks" / "01_tokenizer.ipynb", monkeypatch)
    assert "the bpe of the student" in printed
    assert "trained by a1's train_bpe, which agrees with the slow trainer" in printed
    yours = re.findall(r"(?m)^(\w+): yours, ", printed)
    assert sorted(yours) == sorted(["bpe", *exercises("01_tokenizer")]) and "the course's" not in printed


@pytest.mark.slow
def test_a_trainer_of_a1_that_fails_is_named_and_lecture_01_goes_on_without_it(edition, tmp_path, monkeypatch):
    root = tmp_path / "course"
    shutil.copytree(edition, root)
    source = (SOLUTIONS / "a1_bpe" / "right_words_as_strings.py").read_text()
    broken = "\n\ndef train_bpe(*arguments):\n    raise KeyError(arguments)\n"
    (root / "cs336lite" / "bpe.py").write_text(source + broken)
    printed = read(root / "notebooks" / "01_tokenizer.ipynb", monkeypatch)
    assert 'the trainer of a1 raised KeyError: run check("a1_bpe", "train")' in printed
    assert "trained by the slow trainer above" in printed


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_an_edition_shows_no_answer_below_a_prediction(edition, path):
    cells = nbformat.read(edition / path.relative_to(ROOT), as_version=4).cells
    first = next((i for i, cell in enumerate(cells) if is_predict(cell)), len(cells))
    assert first < len(cells) or path in APPENDICES
    assert any(cell.get("outputs") for cell in cells[:first]) or path.stem != "01_tokenizer"
    for cell in cells[first:]:
        assert not cell.get("outputs") and cell.get("execution_count") is None
    assert (edition / "notebooks" / "checks" / f"{path.stem}.py").exists() == bool(exercises(path.stem))


def exercises(name):
    """The names of a lecture's exercises."""
    notebook = nbformat.read(next(path for path in NOTEBOOKS if path.stem == name), as_version=4)
    told = (cell.metadata.get("cs336lite", {}) for cell in notebook.cells)
    return [asked["exercise"] for asked in told if "exercise" in asked]


MISSING = {  # what a lecture or an appendix asks for when nothing has been solved
    "02_tensors": (),
    "03_architecture": ("a2_attention", "a3_rope"),
    "03b_variants": ("a2_attention", "a3_rope"),
    "04_hyperparameters": ("a1_bpe", "a2_attention", "a3_rope", "a4_lion"),
    "05_stability": ("a2_attention", "a3_rope"),
    "06_moe": ("a2_attention", "a3_rope", "a5_moe_router"),
    "07_kernels": (),
    "08_scaling": ("a2_attention", "a3_rope"),
    "09_inference": ("a2_attention", "a3_rope", "a6_inference"),
    "10_parallelism": ("a7_parallel",),
    **{path.stem: () for path in APPENDICES},
    "03x_positions": ("a2_attention", "a3_rope"),
    "06x_mixtures": ("a2_attention", "a3_rope", "a5_moe_router"),
    "03x_writing": ("a2_attention", "a3_rope"),
    "03bx_presets": ("a2_attention", "a3_rope"),
    "09x_caches": ("a2_attention", "a3_rope"),
}
VARIANTS = {  # right answers in other styles than the reference's
    "bpe": "a1_bpe/right_words_as_strings",
    "attention": "a2_attention/right_einsum",
    "rope": "a3_rope/right_rotate_half",
    "lion": "a4_lion/right_functional",
    "router": "a5_moe_router/right_mixtral",
    "decoding": "a6_inference/right_logits",
    "sharding": "a7_parallel/right_lists",
}


@pytest.fixture(scope="module")
def solved(edition, tmp_path_factory):
    """A student edition whose assignments are solved, each in another style than the reference, and whose lectures'
    exercises are, all of them."""
    root = tmp_path_factory.mktemp("solved") / "course"
    shutil.copytree(edition, root)
    for module, solution in VARIANTS.items():
        source = read_solution(SOLUTIONS / f"{solution}.py").source  # with what a catalogue shares
        (root / "cs336lite" / f"{module}.py").write_text(source + f"\n\nprint('the {module} of the student')\n")
    for path in sorted((root / "notebooks").glob("*.ipynb")):
        notebook = nbformat.read(path, as_version=4)
        for cell, folded in zip(notebook.cells, notebook.cells[1:]):
            if "exercise" in cell.metadata.get("cs336lite", {}):
                cell.source = re.sub(r"@solution\(.*\)\n", "", folded.source)
        nbformat.write(notebook, path)
    return root


ALONE = {path.stem for path in APPENDICES} - {"03x_writing", "09x_caches"}  # of the appendices two stand for all


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow) if n in ALONE else n for n in MISSING])
def test_before_its_assignments_a_lecture_says_what_is_missing_and_runs_to_its_end(edition, name, monkeypatch):
    path = next(edition.glob(f"notebooks/**/{name}.ipynb"))
    notebook = run_through(path, monkeypatch)
    printed = printed_in(notebook)
    for exercise in exercises(name):
        assert f"{exercise}: the course's, because yours passes 0 of " in printed
    for assignment in MISSING[name]:
        assert f"{assignment} is not done yet" in printed and f"assignments/{assignment}/" in printed
    built = nbformat.read(ROOT / path.relative_to(edition), as_version=4)
    ours, theirs = ([cell for cell in one.cells if cell.cell_type == "code"] for one in (built, notebook))
    for our, their in zip(ours, theirs, strict=True):  # what cannot run shows what our own run has shown
        assert not our.outputs or their.outputs, our.source
        assert pictures(our) == pictures(their), our.source


@pytest.mark.slow
def test_without_triton_lecture_07_shows_what_the_course_has_shown_and_runs_to_its_end(edition, tmp_path):
    """As on macOS and Windows, where Triton cannot be installed."""
    (tmp_path / "triton").mkdir()
    (tmp_path / "triton" / "__init__.py").write_text("raise ImportError('not on this machine')\n")
    path = edition / "notebooks" / "07_kernels.ipynb"
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(notebook, timeout=900, resources={"metadata": {"path": str(path.parent)}})
    client.execute(env={**os.environ, "PYTHONPATH": f"{edition}{os.pathsep}{tmp_path}"})
    built = nbformat.read(ROOT / "notebooks" / "07_kernels.ipynb", as_version=4)
    kept = kept_outputs(built)
    assert printed_in(notebook).count("The course's own run shows:") == len(kept) >= 8
    ours, theirs = ([cell for cell in one.cells if cell.cell_type == "code"] for one in (built, notebook))
    for our, their in zip(ours, theirs, strict=True):
        assert not our.outputs or their.outputs, our.source
        assert pictures(our) == pictures(their), our.source


def pictures(cell):
    return sum("image/png" in output.get("data", {}) for output in cell.outputs)


# They run before their assignments, too. Of the others, those without assignments would differ in their exercises alone, and
# those on the model ask for what 06 asks for, too; every right attention and RoPE runs in test_students_model.
LATER = {
    "03_architecture",
    "03b_variants",
    "04_hyperparameters",
    "05_stability",
    "07_kernels",
    "08_scaling",
    "09_inference",
    "10_parallelism",
    *ALONE,
    "03x_writing",
    *(n for n, due in MISSING.items() if not due),
}


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow) if n in LATER else n for n in MISSING])
def test_every_lecture_runs_on_the_students_own_code(solved, name, monkeypatch):
    printed = read(next(solved.glob(f"notebooks/**/{name}.ipynb")), monkeypatch)
    assert "is not done yet" not in printed
    for exercise in exercises(name):
        assert f"{exercise}: yours, " in printed
    modules = {
        "a1_bpe": "bpe",
        "a2_attention": "attention",
        "a3_rope": "rope",
        "a5_moe_router": "router",
        "a6_inference": "decoding",
        "a7_parallel": "sharding",
    }
    for assignment in MISSING[name]:  # Lion is imported by the processes that train
        assert assignment not in modules or f"the {modules[assignment]} of the student" in printed
    for assignment in MISSING[name]:  # and it says whose code it runs on
        assert re.search(rf"(?m)^{GRADED_MODULES[assignment]}: yours, \d+ of \d+ public checks passed", printed)


def test_the_last_cell_of_the_assignment_puts_the_students_code_into_the_package(edition, tmp_path):
    root = tmp_path / "course"
    shutil.copytree(edition, root)
    path = root / "assignments" / "a1_bpe" / "a1_bpe.ipynb"
    notebook = json.loads(path.read_text())
    source = json.loads((ROOT / "assignments" / "source" / "a1_bpe" / "a1_bpe.ipynb").read_text())
    answers = {c["metadata"].get("nbgrader", {}).get("grade_id"): c["source"] for c in source["cells"]}
    for cell in notebook["cells"]:
        if cell["metadata"].get("nbgrader", {}).get("solution"):
            cell["source"] = answers[cell["metadata"]["nbgrader"]["grade_id"]]
    path.write_text(json.dumps(notebook))
    code = "from cs336lite.course import export_solution; export_solution('a1_bpe'); import cs336lite.bpe as b; print(b.Encoder)"
    result = run("python", "-c", code, cwd=path.parent, PYTHONPATH=str(root))
    assert "Exported a1_bpe.ipynb" in result.stdout, result.stdout + result.stderr
    assert "Not solved yet" not in result.stdout
    checked = run("cs336lite", "check", "a1", cwd=root, PYTHONPATH=str(root))
    assert checked.returncode == 0, checked.stdout


def test_a_notebook_that_imports_another_copy_of_the_package_is_told(edition, monkeypatch):
    monkeypatch.chdir(edition / "notebooks")
    with pytest.raises(CourseError, match="make lab"):
        own_root()


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_a_lecture_is_fit_to_be_read(path):
    """Committed as executed: no errors, no warnings, no absolute path; cells and file of a bearable size."""
    text = path.read_text()
    assert len(text.encode()) <= 500_000
    notebook = nbformat.reads(text, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type != "code":
            continue
        # a class that is understood whole stands whole in one cell, and what is folded, such as a diagram, is in nobody's way
        whole = cell.source.startswith("#| export") or re.search(r"(?m)^class ", cell.source)
        most = (100 if path in LECTURES else 200) if whole else 45 if is_folded(cell) else 25
        assert len(cell.source.splitlines()) <= most, cell.source
        assert cell.execution_count is not None
        for output in cell.outputs:
            assert output.output_type != "error" and output.get("name") != "stderr"
    assert sys.prefix not in text and str(ROOT) not in text


@pytest.mark.parametrize("path", LECTURES, ids=lambda p: p.stem)
def test_a_lecture_has_its_parts_and_shows_what_it_claims(path):
    notebook = nbformat.read(path, as_version=4)
    prose = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    code = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    redone = has_form(notebook)
    first = ("Questions", "Answers") if redone else ("By the end you will have shown",)
    for heading in (*first, "Often said", "What you built", "Limits", "Sources"):
        assert re.search(rf"^## .*{heading}", prose, re.M), heading
    if not redone:
        opening = prose.split("By the end you will have shown")[1].split("\n#")[0]
        claims = re.findall(r"^\d+\. ", opening, re.M)
        assert 3 <= len(claims) <= sum(len(re.findall(r"^\s*assert ", source, re.M)) for source in code)
    assert prose.count("**Predict.**") >= 5
    for before, after in zip(notebook.cells, notebook.cells[1:]):  # a place for the reader's number
        if before.cell_type == "markdown" and "**Predict.**" in before.source and after.cell_type == "code":
            rest = notebook.cells[notebook.cells.index(after) :]
            upcoming = itertools.takewhile(lambda cell: "**Predict.**" not in cell.source, rest)
            assert any("guess" in cell.source for cell in upcoming if cell.cell_type == "code"), before.source


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_links_lead_somewhere_here_and_in_an_edition(path, edition):
    prose = "\n".join(c.source for c in nbformat.read(path, as_version=4).cells if c.cell_type == "markdown")
    for link in re.findall(r"\]\(([^)#\s]+)[^)]*\)", prose):
        if not link.startswith(("http:", "https:", "#")):
            assert (path.parent / link).exists(), link
            assert ((edition / path.relative_to(ROOT)).parent / link).exists(), link


SIZES = {  # of a lecture in the form: from, to; a size and no quota, so a good reason may widen it
    "words": (2_300, 4_300),
    "lines of code": (150, 500),
    "code cells": (25, 55),
    "exercises": (4, 6),
    "predictions": (5, 12),
}


@pytest.mark.parametrize("path", LECTURES, ids=lambda p: p.stem)
def test_a_lecture_that_was_redone_has_a_size_to_be_read_in_one_evening(path):
    notebook = nbformat.read(path, as_version=4)
    if not has_form(notebook):
        return
    counted = effort(notebook)
    cells = sum(cell.cell_type == "code" and not is_folded(cell) for cell in notebook.cells)
    found = dict(zip(SIZES, (counted.words, counted.lines, cells, counted.exercises, counted.predicts)))
    beyond = {name: number for name, number in found.items() if not SIZES[name][0] <= number <= SIZES[name][1]}
    assert not beyond, (
        f"{path.stem} has {beyond}, against {SIZES}: shorten it, move parts to its appendix, or widen SIZES"
    )


@pytest.mark.parametrize("path", LECTURES, ids=lambda p: p.stem)
def test_a_lecture_that_was_redone_keeps_the_form(path):
    notebook = nbformat.read(path, as_version=4)
    if not has_form(notebook):
        return
    assert list(problems(notebook)) == [] and list(answered_above(notebook)) == []
    counted = effort(notebook)
    assert notebook.metadata.cs336lite["effort"]["minutes"] == counted.minutes
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert any(cell.outputs for cell in code[:10])
    parts: list[list] = [[]]  # of the lecture's sections, each with a figure or a diagram
    for cell in notebook.cells:
        if cell.cell_type == "markdown" and (titles := re.findall(r"(?m)^## (.*)", cell.source)):
            parts.append([titles[0]]) if re.match(r"\d", titles[0]) else None
            if titles[-1] != titles[0] and re.match(r"\d", titles[-1]):
                parts.append([titles[-1]])
        parts[-1] += [mime for output in cell.get("outputs", []) for mime in output.get("data", {})]
    for title, *shown in parts[1:]:
        assert {"image/png", "image/svg+xml"} & set(shown), title


@pytest.mark.parametrize("path", LECTURES, ids=lambda p: p.stem)
def test_every_figure_of_a_lecture_shows_something(path):
    figures = 0
    for cell in nbformat.read(path, as_version=4).cells:
        pictures = [o.data["image/png"] for o in cell.get("outputs", []) if "image/png" in o.get("data", {})]
        figures += len(pictures)
        if re.search(r"^(finish\(|draw\w*\()", cell.source, re.M) and cell.cell_type == "code":
            assert len(pictures) == 1, cell.source
        for picture in pictures:
            image = Image.open(io.BytesIO(base64.b64decode(picture))).convert("RGB")
            assert min(image.size) >= 150 and len(image.getcolors(1 << 24)) > 8
    assert figures >= 2
