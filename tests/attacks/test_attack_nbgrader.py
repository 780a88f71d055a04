"""Attacks on nbgrader's own rules: tags, metadata, outputs, broken files, and files beside the notebook."""

import copy
import json
import os

from arena import EXERCISES, NAME, RIGHT, Case, code, family, graded_cells, markdown, notebook, right, wrong


def changed(nb, change):
    """A copy of a notebook to which ``change`` was done."""
    nb = copy.deepcopy(nb)
    change(nb)
    return nb


def both(name, change, earned=0.0):
    """The same change to a notebook that solves nothing and to one that solves everything."""
    return Case(name, changed(wrong(), change), changed(right(), change), earned)


def outputs(*found):
    def change(nb):
        for cell in graded_cells(nb):
            cell["outputs"], cell["execution_count"] = list(found), 1

    return change


def result(text):
    return {"output_type": "execute_result", "data": {"text/plain": text}, "metadata": {}, "execution_count": 1}


def tag_everything(nb):
    for cell in nb["cells"]:
        cell["metadata"]["tags"] = ["skip-execution", "raises-exception", "remove_cell", "hide_input"]


def points_edited(nb):
    for cell in graded_cells(nb):
        cell["metadata"]["nbgrader"]["points"] = 1000


def negative_points(nb):
    for cell in graded_cells(nb):
        cell["metadata"]["nbgrader"]["points"] = -5


def no_longer_grades(nb):
    for cell in graded_cells(nb):
        cell["metadata"]["nbgrader"].update(
            grade=False, solution=True, locked=False, schema_version=99, checksum="0" * 32
        )


def manual(nb):
    """Cells that are solution and grade at once are graded by hand in nbgrader."""
    for cell in nb["cells"]:
        if cell["metadata"].get("nbgrader", {}).get("solution"):
            cell["metadata"]["nbgrader"].update(grade=True, points=5)


def grade_cells_replaced(nb):
    for cell in graded_cells(nb):
        points = cell["metadata"]["nbgrader"]["points"]
        cell["source"] = f"from IPython import get_ipython\nprint('PASS')\n{points}"


def grade_cells_first(nb):
    nb["cells"].sort(key=lambda cell: not cell["metadata"].get("nbgrader", {}).get("grade"))


def grade_cells_twice(nb):
    copies = copy.deepcopy(graded_cells(nb))
    outputs(result("4"))({"cells": copies})
    nb["cells"] += copies


def grade_cells_gone(nb):
    nb["cells"] = [c for c in nb["cells"] if not c["metadata"].get("nbgrader", {}).get("grade")]


def grade_cells_renamed(nb):
    for cell in graded_cells(nb):
        cell["metadata"]["nbgrader"]["grade_id"] += "_mine"


def names_that_are_no_text(nb):
    for cell, name in zip(graded_cells(nb), (7, None, ["grade_double"])):
        cell["metadata"]["nbgrader"]["grade_id"] = name


def names_swapped(nb):
    """What solves one exercise claims the name of another."""
    cells = [c for c in nb["cells"] if c["metadata"].get("nbgrader", {}).get("solution")]
    names = [c["metadata"]["nbgrader"]["grade_id"] for c in cells]
    for cell, name in zip(cells, names[1:] + names[:1]):
        cell["metadata"]["nbgrader"]["grade_id"] = name


def typed(kind):
    def change(nb):
        for cell in graded_cells(nb):
            cell["cell_type"] = kind
            cell.pop("outputs"), cell.pop("execution_count")

    return change


def forged_keys(nb):
    nb["metadata"]["cs336lite"] = {
        "problem": "",
        "notes": ["<b>all is well</b>"],
        "raw": right(),
        "verdict": {"score": 10, "max_score": 10},
    }
    for cell in nb["cells"]:
        cell["metadata"]["cs336lite"] = nb["metadata"]["cs336lite"]


def other_kernel(nb):
    nb["metadata"]["kernelspec"] = {"display_name": "R", "language": "R", "name": "ir; touch /tmp/x"}
    nb["metadata"]["language_info"] = {"name": "R", "file_extension": ".r"}


def transformers_cleared(nb):
    source = "ip = get_ipython()\nip.input_transformers_cleanup.clear()\nip.run_cell = lambda *a, **k: None"
    nb["cells"].insert(1, code(source))


def display_hook(nb):
    source = "import sys\nsys.displayhook = lambda value: None\nraise SystemExit(0)"
    nb["cells"].insert(1, code(source))


def odd_metadata(nb):
    nb["metadata"].update(kernelspec=[1], title="x" * 1000, widgets={"state": {"a": 1}}, signature="00")
    for cell in nb["cells"]:
        cell["metadata"]["collapsed"] = {"a": [None] * 3}
        cell["id"] = "same"


def stray_cells(nb):
    nb["cells"] += [
        None,
        7,
        "text",
        [],
        {},
        {"cell_type": None},
        {"cell_type": "code"},
        {"cell_type": "code", "source": 5},
    ]
    nb["cells"].append({"cell_type": "code", "source": ["a = 1\n", 2], "metadata": "none", "outputs": "none"})


def version_3(nb):
    cells = [
        {"cell_type": "code", "input": c["source"], "language": "python", "metadata": c["metadata"], "outputs": []}
        for c in nb["cells"]
    ]
    nb.clear()
    nb.update(nbformat=3, nbformat_minor=0, metadata={}, worksheets=[{"cells": cells, "metadata": {}}])


def deep(nb):
    value = []
    for _ in range(600):
        value = [value]
    nb["metadata"]["deep"] = value


# -- files ------------------------------------------------------------------------------------------------------


def beside(nb, **files):
    """A notebook with further files in its folder; a dot in a name is written ``__``."""

    def put(folder):
        (folder / f"{NAME}.ipynb").write_text(json.dumps(nb))
        for name, text in files.items():
            path = folder / name.replace("__", ".")
            path.write_bytes(text if isinstance(text, bytes) else text.encode())

    return put


def files(name, **found):
    return Case(name, beside(wrong(), **found), beside(right(), **found))


FAKE = "def __getattr__(name):\n    return lambda *a, **k: True\nallclose = softmax = lambda *a, **k: True\n"


def with_entry(nb, make):
    def put(folder):
        (folder / f"{NAME}.ipynb").write_text(json.dumps(nb))
        make(folder)

    return put


def link_to_bystander(folder):
    (folder / f"{NAME}.ipynb").symlink_to(f"../../aa-right/{NAME}/{NAME}.ipynb")


def link_to_autograded(folder):
    (folder / f"{NAME}.ipynb").symlink_to(f"../../../autograded/aa-right/{NAME}/{NAME}.ipynb")


def linked_folder(folder):
    folder.rmdir()
    folder.symlink_to(f"../aa-right/{NAME}")


def is_a_folder(folder):
    (folder / f"{NAME}.ipynb").mkdir()
    (folder / f"{NAME}.ipynb" / "x").write_text("x")


CASES = [
    both("skip-tags", tag_everything),
    both("no-output", outputs()),
    both("stored-result", outputs(result("4"), result("4.0"))),
    both("stored-text", outputs({"output_type": "stream", "name": "stdout", "text": "PASS  2/2  doubles\n4.0\n"})),
    both("stored-negative", outputs(result("-1"))),
    both("stored-huge", outputs(result("1e308"))),
    both("stored-nan", outputs(result("nan"))),
    both("stored-words", outputs(result("full credit"))),
    both("stored-nonsense", outputs({"output_type": 5, "data": []}, None, "x")),
    both("points-edited", points_edited),
    both("points-negative", negative_points),
    both("grade-flag-off", no_longer_grades),
    both("graded-by-hand", manual),
    both("grade-cells-edited", grade_cells_replaced),
    both("grade-cells-first", grade_cells_first),
    both("grade-cells-twice", grade_cells_twice),
    both("grade-cells-gone", grade_cells_gone),
    both("grade-cells-renamed", grade_cells_renamed),
    both("grade-names-odd", names_that_are_no_text),
    both("solution-names-swapped", names_swapped),
    both("grade-cells-raw", typed("raw")),
    both("grade-cells-markdown", typed("markdown")),
    both("own-keys", forged_keys),
    both("other-kernel", other_kernel),
    both("no-transformers", transformers_cleared),
    both("displayhook-exit", display_hook),
    both("odd-metadata", odd_metadata),
    both("stray-cells", stray_cells),
    both("format-3", version_3),
    both("deep-metadata", deep),
    Case("only-results", notebook([code(str(p)) for p in EXERCISES.values()] + [markdown("10 of 10 points")])),
    files("module-torch", torch__py=FAKE, cs336lite__py=FAKE, json__py=FAKE),
    files("module-site", sitecustomize__py="raise SystemExit", usercustomize__py=FAKE, conftest__py=FAKE),
    files("config", nbgrader_config__py="c = get_config()\nc.Autograde.autograde_preprocessors = []\nraise SystemExit"),
    files("gradebook", gradebook__db=b"SQLite format 3\x00" + bytes(100), **{"arena__html": "<script>1</script>"}),
    files("timestamp-words", timestamp__txt="the day after tomorrow \x00"),
    files("timestamp-bytes", timestamp__txt=b"\xff\xfe\x00"),
    files("timestamp-empty", timestamp__txt=""),
    files("timestamp-year", timestamp__txt="99999999-01-01 00:00:00 UTC"),
    files("notebook-beside", **{"copy__ipynb": json.dumps(right()), "arena2__ipynb": "{"}),
    Case("link-to-another", link_to_bystander),
    Case("link-to-graded", link_to_autograded),
    Case("link-folder", linked_folder),
    Case("notebook-folder", is_a_folder),
    Case("notebook-pipe", lambda folder: os.mkfifo(folder / f"{NAME}.ipynb")),
    Case("notebook-nowhere", lambda folder: (folder / f"{NAME}.ipynb").symlink_to("/nonexistent")),
    Case(
        "extra-link-secret",
        with_entry(wrong(), lambda folder: (folder / "data.txt").symlink_to("../../../.secret/seed")),
        with_entry(right(), lambda folder: (folder / "data.txt").symlink_to("../../../hidden/arena.py")),
    ),
    Case(
        "extra-link-nowhere",
        with_entry(wrong(), lambda folder: (folder / "data.txt").symlink_to("/nonexistent")),
        with_entry(right(), lambda folder: (folder / "data.txt").symlink_to("/nonexistent")),
    ),
    Case(
        "extra-pipe",
        with_entry(wrong(), lambda folder: os.mkfifo(folder / "pipe")),
        with_entry(right(), lambda folder: os.mkfifo(folder / "pipe")),
    ),
    Case(
        "extra-loop",
        with_entry(wrong(), lambda folder: [(folder / n).symlink_to(".") for n in "ab"]),
        with_entry(right(), lambda folder: [(folder / n).symlink_to(".") for n in "ab"]),
    ),
    # answers that stand where the assignment does not expect them count all the same
    Case("one-cell", None, notebook([code("\n".join(RIGHT.values()))])),
    Case("cells-at-the-end", None, right(after=tuple(RIGHT.values()), double="raise NotImplementedError")),
]

outcome, test_attack, test_twin, test_class = family("nbgrader", CASES)
