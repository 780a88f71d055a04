"""What code finds otherwise when work is graded than on one's own machine: told by `check`, before it is handed in.

The code is read, not run. What is said here is what `cs336lite grade` does around a submission.
"""

from __future__ import annotations

import ast
import json
import sys
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, TypeGuard

from cs336lite.course.border import plain
from cs336lite.course.module import bare
from cs336lite.course.paths import assignment_notebook, is_student_edition, original

ABSENT = frozenset(
    "accelerate bitsandbytes cupy dask datasets evaluate fairscale flash_attn gensim huggingface_hub jax joblib keras "
    "lightning line_profiler lion_pytorch memory_profiler mmh3 modal nltk numba openai pandas peft plotly polars "
    "pyarrow pyinstrument pytorch_lightning ray rustbpe scipy seaborn sentencepiece skimage sklearn spacy submitit "
    "tensorboard tensorboardX tensorflow tiktoken timm tokenizers torchaudio torchtune torchvision transformers triton "
    "typeguard viztracer wandb xformers".split()
)
"""Packages that people use, and that are not there when work is graded."""

ON_THE_NETWORK = frozenset("requests urllib httpx aiohttp ftplib".split())
PROGRAMS = frozenset("subprocess.run subprocess.Popen subprocess.call subprocess.check_call subprocess.check_output "
                     "os.system os.popen os.fork os.execv pty.spawn".split())  # fmt: skip
WRITERS = frozenset("write_text write_bytes savefig to_csv savetxt savez FileHandler".split())
SAVERS = frozenset("torch.save np.save numpy.save torch.jit.save".split())

PROGRAM = "no program can be started when work is graded"
PROCESSES = "processes run one after another, inside one, when work is graded: they save no time"
WRITTEN = "files that you write are kept in memory when work is graded, and nobody else sees them"
ELSEWHERE = "when work is graded, files can be written beside the notebook and in the folder of `tempfile`, not in {}"
OF_YOURS = "only the notebook is graded: `{}` is a file of yours, and not there"
NETWORK = "there is no network when work is graded"


def notes(path: Path, given: Collection[str] = ()) -> list[str]:
    """What to know about the code of a notebook or a Python file; nothing for one that cannot be read.

    Code that the course has ``given`` (see `given_in`) is left out: it is no work of the student's.
    """
    found: dict[str, None] = {}
    for source in sources(path, given):
        try:
            tree = ast.parse(source)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            continue  # magics; and what is wrong is told elsewhere
        found |= dict.fromkeys(notes_of(tree, path.parent))
    return list(found)


def given_in(root: Path, assignment: str) -> frozenset[str]:
    """The code cells of an assignment as the course gives them; none where the original is not there."""
    edition = is_student_edition(root)
    path = original(root, assignment) if edition else assignment_notebook(root, assignment)
    try:
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        return frozenset(
            bare("".join(cell["source"]))
            for cell in cells
            if cell["cell_type"] == "code" and not cell["metadata"].get("nbgrader", {}).get("solution")
        ) - {""}
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return frozenset()


def sources(path: Path, given: Collection[str] = ()) -> Iterator[str]:
    """The code of a file, or of a notebook's cells, without what was ``given``."""
    try:
        text = path.read_text(encoding="utf-8")
        if path.suffix != ".ipynb":
            text = bare(text)
            for source in sorted(given, key=len, reverse=True):
                text = text.replace(source, "")
            yield text
            return
        for cell in json.loads(text)["cells"]:
            code = "".join(cell["source"])
            if cell["cell_type"] == "code" and bare(code) not in given:
                lines = code.split("\n")
                yield "\n".join("" if line.startswith(("%", "!")) else line for line in lines)
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return


def notes_of(tree: ast.AST, folder: Path) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield from of_import(alias.name, (), folder)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield from of_import(node.module, [alias.name for alias in node.names], folder)
        elif isinstance(node, ast.Call):
            yield from of_call(node, folder)


def of_import(module: str, names: list[str] | tuple[()], folder: Path) -> Iterator[str]:
    top = module.partition(".")[0]
    if top in ABSENT:
        yield f"`{top}` is not there when work is graded"
    elif module == "multiprocessing" or module.startswith("multiprocessing.") or "ProcessPoolExecutor" in names:
        yield PROCESSES
    elif top in ON_THE_NETWORK and module != "urllib.parse":
        yield NETWORK
    elif top not in sys.stdlib_module_names and ((folder / f"{top}.py").exists() or (folder / top).is_dir()):
        yield OF_YOURS.format(plain(top))


def of_call(call: ast.Call, folder: Path) -> Iterator[str]:
    name = dotted(call.func)
    if name in PROGRAMS:
        yield PROGRAM
    elif name in ("open", "io.open", "gzip.open", "codecs.open"):
        given: list[Any] = [
            a.value for a in [*call.args[:2], *(k.value for k in call.keywords if k.arg == "mode")] if constant(a)
        ]
        path = given[0] if call.args and constant(call.args[0]) else None
        mode = next((value for value in given[1 if path is not None else 0 :]), "r")
        yield from of_file(path, not {"w", "a", "x", "+"}.isdisjoint(mode), folder)
    elif name in SAVERS or name.rpartition(".")[2] in WRITERS:
        paths: list[Any] = [argument.value for argument in call.args if constant(argument)]
        absolute = paths[0] if paths and name.rpartition(".")[2] not in ("write_text", "write_bytes") else None
        yield from of_file(absolute, True, folder)


def of_file(path: str | None, written: bool, folder: Path) -> Iterator[str]:
    if written:
        yield ELSEWHERE.format(plain(path)) if path and path.startswith(("/", "~")) else WRITTEN
    elif path and (folder / path).exists():
        yield OF_YOURS.format(plain(path))


def constant(node: ast.AST) -> TypeGuard[ast.Constant]:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def dotted(node: ast.AST) -> str:
    """``os.system`` for the node of ``os.system``."""
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""
