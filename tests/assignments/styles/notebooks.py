"""Right solutions as students write them: cells and files of many styles, each of which keeps its points.

`STYLES` maps a name to what makes, of an assignment's notebook with its solutions and of its name, a submission: a notebook,
or the text of a plain file. The first words of a name say what kind of thing it tries.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from pathlib import Path

from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_raw_cell

FIRST = {
    "a1_bpe": "pretokenize",
    "a2_attention": "softmax",
    "a3_rope": "angles",
    "a4_lion": "direction",
    "a5_moe_router": "gates",
    "a6_inference": "cache",
    "a7_parallel": "ring",
}
"""The first cell that a student solves in each assignment: it is prefixed, wrapped and broken."""

Make = Callable[[NotebookNode, str], "NotebookNode | str"]


def answer(nb: NotebookNode, name: str) -> NotebookNode:
    """The cell of the first exercise."""
    return next(c for c in nb.cells if c.metadata.get("nbgrader", {}).get("grade_id") == FIRST[name])


def answers(nb: NotebookNode) -> list[NotebookNode]:
    return [c for c in nb.cells if c.metadata.get("nbgrader", {}).get("solution")]


def in_front(source: str) -> Make:
    """Every answer begins with these lines, in its own cell."""

    def make(nb: NotebookNode, name: str) -> NotebookNode:
        for cell in answers(nb):
            cell.source = source + cell.source
        return nb

    return make


def around(before: str, after: str) -> Make:
    def make(nb: NotebookNode, name: str) -> NotebookNode:
        cell = answer(nb, name)
        cell.source = before + cell.source + after
        return nb

    return make


def own_cell(source: str, *, end: bool = False) -> Make:
    """A cell of the student's own in the middle, just before the first answer, or at the end."""

    def make(nb: NotebookNode, name: str) -> NotebookNode:
        place = len(nb.cells) if end else nb.cells.index(answer(nb, name))
        nb.cells.insert(place, new_code_cell(source))
        return nb

    return make


def first_cell(source: str) -> Make:
    def make(nb: NotebookNode, name: str) -> NotebookNode:
        nb.cells.insert(0, new_code_cell(source))
        return nb

    return make


# -- files ------------------------------------------------------------------------------------------------------------


def nbconvert(nb: NotebookNode, name: str) -> str:
    """As JupyterLab saves an executable script."""
    from nbconvert.exporters import PythonExporter

    return PythonExporter().from_notebook_node(nb)[0]


def nbconvert_with_magics(nb: NotebookNode, name: str) -> str:
    nb = in_front("%precision 4\n")(own_cell("%%time\nx = 1\nfiles = !ls\nprint?")(nb, name), name)
    return nbconvert(nb, name)


def jupytext(nb: NotebookNode, name: str) -> str:
    import jupytext as tool

    return tool.writes(nb, fmt="py:percent")


def jupytext_light(nb: NotebookNode, name: str) -> str:
    import jupytext as tool

    return tool.writes(nb, fmt="py:light")


def vs_code(nb: NotebookNode, name: str) -> str:
    """As VS Code exports: no prompts, magics as calls, and a line that imports IPython."""
    parts = ["# To add a new cell, type '# %%'\nfrom IPython import get_ipython\n"]
    parts.append("# %%\nget_ipython().run_line_magic('matplotlib', 'inline')\n")
    for cell in nb.cells:
        if cell.cell_type == "code":
            parts.append("# %%\n" + cell.source + "\n")
        else:
            parts.append("# %% [markdown]\n" + "\n".join("# " + line for line in cell.source.split("\n")) + "\n")
    return "\n".join(parts)


def spyder(nb: NotebookNode, name: str) -> str:
    """Cells with their magics as they are."""
    cells = ["%matplotlib inline\n!ls", *(c.source for c in nb.cells if c.cell_type == "code")]
    return "\n\n".join("#%%\n" + source for source in cells)


def definitions(nb: NotebookNode) -> str:
    """What the notebook exports, as one module."""
    cells = [c.source for c in nb.cells if c.cell_type == "code"]
    return "\n\n\n".join(re.sub(r"^#\s?\|.*\n", "", source) for source in cells if re.match(r"#\s?\| export", source))


DEMONSTRATION = """\
import argparse
import sys
from .helpers import shown

text = open("data/corpus.txt").read()
with open("log.txt", "w") as log:
    log.write("start")
import pandas as pd
frame = pd.DataFrame({"x": [1]})
"""


def module_with_demonstration(nb: NotebookNode, name: str) -> str:
    return f"{DEMONSTRATION}\n\n{definitions(nb)}\n\n\nprint(nothing)\n"


def module_with_main(nb: NotebookNode, name: str) -> str:
    main = "def main():\n    raise SystemExit(1)\n\n\nif __name__ == '__main__':\n    main()\n\nsys.exit(main())\n"
    return f"#!/usr/bin/env python\n{definitions(nb)}\n\n\nimport sys\n\n\n{main}"


def module_that_is_broken_elsewhere(nb: NotebookNode, name: str) -> str:
    return f"{definitions(nb)}\n\n\ndef attempt(x:\n    return x\n\n\n<<<<<<< HEAD\nx = 1\n=======\n>>>>>>> main\n"


SECOND_MODULE = """\
from __future__ import annotations
import argparse
import logging
import os
from pathlib import Path

HERE = Path(__file__).resolve().parent
logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", handlers=[logging.StreamHandler()])
logger = logging.getLogger(__name__)
logger.info("ready in %s on %s processors", HERE, os.cpu_count())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--input", type=Path, default=HERE / "corpus.txt")
    parser.add_argument("--vocab-size", type=int, required=True)
    args = parser.parse_args()
    print(args.input.read_text()[: args.vocab_size])


if __name__ == "__main__":
    main()
"""


def several_modules(nb: NotebookNode, name: str) -> str:
    """Modules that imported each other, put into one file: their imports of one another fail, and what follows is there."""
    first = "from __future__ import annotations\n\nfrom .pretokenization import boundaries\nimport my_package.tools as tools"
    return f"{first}\n\n\n{definitions(nb)}\n\n\n{SECOND_MODULE}"


# -- cells ------------------------------------------------------------------------------------------------------------


def made(kind: str) -> Make:
    """The first answer turned into another kind of cell."""

    def make(nb: NotebookNode, name: str) -> NotebookNode:
        cell = answer(nb, name)
        cell.cell_type = kind
        cell.pop("outputs", None), cell.pop("execution_count", None)
        return nb

    return make


def old_answer_below(nb: NotebookNode, name: str) -> NotebookNode:
    """A copy of the answer's cell with an earlier, wrong try, put aside as raw text."""
    cell = answer(nb, name)
    copied = new_raw_cell("raise SystemExit", metadata=copy.deepcopy(cell.metadata))
    nb.cells.insert(nb.cells.index(cell) + 1, copied)
    return nb


def answers_in_cells_of_their_own(nb: NotebookNode, name: str) -> NotebookNode:
    """Every answer in a new cell below the one that asks for it."""
    for cell in answers(nb):
        nb.cells.insert(nb.cells.index(cell) + 1, new_code_cell(cell.source))
        cell.source = "# below"
    return nb


def question_marks(nb: NotebookNode, name: str) -> NotebookNode:
    """Every statement of every answer is followed by a comment that asks, in a cell with a magic."""
    for cell in answers(nb):
        lines = cell.source.split("\n")
        asked = [line + "  # right?" if re.fullmatch(r" +return [\w.]+", line) else line for line in lines]
        cell.source = (
            "%precision 4\n" + "\n".join(asked) + "\nLIMITS = {\n    1: 2,  # ok?\n}\nif LIMITS:  # always?\n    pass"
        )
    return nb


def windows(nb: NotebookNode, name: str) -> NotebookNode:
    for cell in nb.cells:
        cell.source = cell.source.replace("\n", "\r\n")
    return nb


def colab(nb: NotebookNode, name: str) -> NotebookNode:
    """Names of cells are lost, sources are lists of lines, and the first cell mounts a drive."""
    for cell in nb.cells:
        cell.metadata = {"id": "AbC", "colab": {"base_uri": "https://localhost:8080/"}}
    nb.cells.insert(
        0, new_code_cell("#@title Setup\nfrom google.colab import drive\ndrive.mount('/content/drive')\n%cd /content")
    )
    return nb


GETSOURCE = """
import inspect
import types
for _thing in list(globals().values()):
    if isinstance(_thing, types.FunctionType) and _thing.__module__ == __name__ and _thing.__code__.co_filename.startswith("<"):
        SOURCE = inspect.getsource(_thing)
        assert _thing.__name__ in SOURCE or "lambda" in SOURCE
"""
JIT = """
import torch

@torch.jit.script
def _scripted(x: torch.Tensor) -> torch.Tensor:
    return x + 1

assert _scripted(torch.ones(1)).item() == 2
"""
DATACLASS = """from dataclasses import dataclass, field

@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    size: int = 1
    names: list = field(default_factory=list)

import pickle
assert pickle.loads(pickle.dumps(Settings())).size == 1
"""
FORWARD = """class Tree:
    def child(self) -> Tree | Nowhere: ...
"""
AWAIT = """import asyncio

async def ticks():
    for n in range(2):
        yield n

await asyncio.sleep(0)
async for _tick in ticks():
    pass
"""
GRAMMAR = """
n = 0
match n:
    case 0: kind = "nothing"
if (size := len(kind)) > 3: pass
"""

STYLES: dict[str, Make] = {
    "plain": lambda nb, name: nb,
    # magics
    "magic line": in_front("%precision 4\n"),
    "magics of many kinds": in_front("%load_ext autoreload\n%autoreload 2\n%matplotlib inline\n%env X=1\n%%nosuch\n"),
    "magic that times": around(
        "%time START = 1\n", "\n%timeit -n1 -r1 \\\n  sum(range(3))\nt = %timeit -o START\nprint(f'{t.average:.1f}')\n"
    ),
    "magic of a whole cell: time": in_front("%%time\n"),
    "magic of a whole cell: capture": in_front("\n%%capture out\n"),
    "magic of a whole cell: timeit": in_front("%%timeit -n1 -r1\n"),
    "magic of another language": own_cell("%%bash\nexit 3\n"),
    "magic that writes a file": own_cell("%%writefile notes.txt\nno python: at all\n"),
    "shell lines": around("files = !ls\nCOUNT = len(files)\n", "\n!echo one \\\n  two\n!pip -q list > /dev/null\n"),
    "shell line in a block": in_front("try:\n    !true\nexcept Exception:\n    pass\n"),
    "help": around("print?\n", "\n?print\nprint??\n"),
    "autocall": around("", "\n/print 5\n"),
    "question marks": question_marks,
    "continued line that begins with a percent sign": around(
        "%precision 4\n", "\nprint('%s and %s'\n      % (1, 2))\n"
    ),
    "text that looks like magics": around(
        "%precision 4\n", "\nNOTE = '''\n!important\nWhy?\n'''\nassert NOTE == '\\n!important\\nWhy?\\n'\n"
    ),
    # Jupyter's names
    "display": in_front(
        "display('start')\nfrom IPython.display import HTML, clear_output\nclear_output()\ndisplay(HTML('x'))\n"
    ),
    "get_ipython": in_front(
        "get_ipython().run_line_magic('precision', '4')\nCOLAB = 'google.colab' in str(get_ipython())\n"
    ),
    "get_ipython, imported": in_front(
        "from IPython import get_ipython\nget_ipython().run_line_magic('precision', '4')\n"
    ),
    "In and Out": in_front("1 + 1\nIn\nOut\n_\n"),
    "tools of the course": around("check('a1')\nstatus()\n", "\nassert check('a1_bpe', 'train').passed\n"),
    "tools of the course, imported": in_front(
        "from cs336lite.course import check, hint, status\nstatus(); hint('a1_bpe', 'merge')\n"
    ),
    # Python
    "await": in_front(AWAIT),
    "await in its own cell": own_cell("import asyncio\nawait asyncio.sleep(0)\n"),
    "future import in the first cell": lambda nb, name: around(FORWARD, "")(
        first_cell("from __future__ import annotations")(nb, name), name
    ),
    "future import behind a docstring": in_front('"""Mine."""\n# hi\nfrom __future__ import annotations\n'),
    "getsource": own_cell(GETSOURCE, end=True),
    "getsource in the answer's cell": around("", GETSOURCE),
    "torch.jit.script": in_front(JIT),
    "dataclass": in_front(DATACLASS),
    "grammar of today": around("", GRAMMAR),
    "main": around("", "\nif __name__ == '__main__':\n    STARTED = True\nassert STARTED\n"),
    # cells that go wrong
    "demo that fails": own_cell("1 / 0"),
    "demo that fails, in the answer's cell": around("open('no_such_file.txt')\n", "\nassert 1 == 2\n"),
    "demo that never ends": own_cell("while True: pass", end=True),
    "demo that never ends, in front": own_cell("while True: pass"),
    "demo that never ends, in the answer's cell": around("while True:\n    pass\n", ""),
    "demo that cannot be interrupted": own_cell("import re\nre.match('(a+)+b', 'a' * 60)", end=True),
    "demo that sleeps": own_cell("import time\ntime.sleep(10**6)", end=True),
    "demo that crashes": own_cell("import ctypes\nctypes.string_at(0)", end=True),
    "demo that crashes, in front": own_cell("import ctypes\nctypes.string_at(0)"),
    "demo that ends the process": own_cell("import os\nos._exit(0)", end=True),
    "demo that exits": own_cell("import sys\nsys.exit()\n"),
    "demo that quits": own_cell("exit\nquit()\nexit()\n"),
    "demo that starts threads": own_cell(
        "import threading, time\nfor _ in range(200):\n    threading.Thread(target=time.sleep, args=(10**6,), daemon=True).start()",
        end=True,
    ),
    # notebooks
    "raw answer": made("raw"),
    "markdown answer": made("markdown"),
    "old answer put aside": old_answer_below,
    "answers in cells of their own": answers_in_cells_of_their_own,
    "line ends of Windows": windows,
    "colab": colab,
    # files
    "file of nbconvert": nbconvert,
    "file of nbconvert, with magics": nbconvert_with_magics,
    "file of jupytext": jupytext,
    "file of jupytext, light": jupytext_light,
    "file of VS Code": vs_code,
    "file of Spyder": spyder,
    "file of definitions": lambda nb, name: definitions(nb),
    "file with a demonstration above": module_with_demonstration,
    "file with a main program": module_with_main,
    "file that was several modules": several_modules,
    "file that is no Python elsewhere": module_that_is_broken_elsewhere,
}


def source_notebook(folder: Path, name: str) -> NotebookNode:
    """An assignment's notebook with its solutions, without the marks around them."""
    import nbformat

    nb = nbformat.read(folder / "source" / name / f"{name}.ipynb", as_version=4)
    for cell in nb.cells:
        cell.source = "\n".join(
            line for line in cell.source.split("\n") if line.strip() not in ("### BEGIN SOLUTION", "### END SOLUTION")
        )
    return nb
