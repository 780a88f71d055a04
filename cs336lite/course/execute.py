"""A notebook run from top to bottom beside a staged copy of the package, and what differs between two runs."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import struct
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode

from cs336lite.course.paths import CourseError
from cs336lite.course.plan import PACKAGE, Item
from cs336lite.course.regions import first_line, without_echo

CELL_SECONDS = 1200


class CellFailed(CourseError):
    """A cell raised while its notebook was built."""


def shown_notebook(item: Item) -> NotebookNode:
    """A copy of the text's notebook, in which no cell prints a docstring that it ends in."""
    notebook = nbformat.from_dict(json.loads(json.dumps(item.text.notebook)))
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.source = without_echo(cell.source)
    return notebook


def stage(root: Path, items: list[Item], folder: Path) -> None:
    """Put a copy of the package into ``folder`` that holds every module as the texts say now."""
    shutil.copytree(root / PACKAGE, folder / PACKAGE, ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))
    for item in items:
        for module, source in item.modules.items():
            (folder / PACKAGE / f"{module}.py").write_text(source, encoding="utf-8")


def execute_item(item: Item, staged: Path, step: Callable[[], None] = lambda: None) -> NotebookNode:
    """The notebook of an item after running it from top to bottom, its outputs cleaned.

    Raises:
        CellFailed: a cell raised, took too long or ended the kernel: which one, what it said, the line of the text.
    """
    from jupyter_client import AsyncKernelManager
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

    notebook = shown_notebook(item)
    item.notebook.parent.mkdir(parents=True, exist_ok=True)
    manager = AsyncKernelManager(kernel_name="python3")
    manager.kernel_spec.argv = [
        *(sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"),
        "--IPKernelApp.log_level=40",
    ]
    running: list[int] = [0]
    client = NotebookClient(
        notebook,
        km=manager,
        timeout=CELL_SECONDS,
        record_timing=False,
        resources={"metadata": {"path": str(item.notebook.parent)}},
        on_cell_start=lambda cell, cell_index: running.__setitem__(0, cell_index),
        on_cell_executed=lambda cell, cell_index, execute_reply: step(),
    )
    try:
        client.execute(env=_environment(staged), cleanup_kc=True)
    except CellExecutionError as problem:
        line = re.search(r"Cell In\[\d+\], line (\d+)", re.sub(r"\x1b\[[0-9;]*m", "", problem.traceback))
        reason = f"{problem.ename}: {problem.evalue}".strip()
        raise _failed(item, running[0], reason, int(line[1]) if line else 1) from None
    except CellTimeoutError:
        raise _failed(item, running[0], f"took more than {CELL_SECONDS} s") from None
    except DeadKernelError:
        raise _failed(item, running[0], "the kernel died (out of memory?)") from None
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code":
            cell.outputs = clean_outputs(cell.outputs)
    return notebook


def _failed(item: Item, cell: int, reason: str, line: int = 1) -> CellFailed:
    shown = first_line(item.text.notebook.cells[cell].source)
    place = item.text.error(cell, f"in `{shown}`", line)
    return CellFailed(f"{place}: {reason}")


def _environment(staged: Path) -> dict[str, str]:
    """The kernel's environment: the staged package, and nothing of a person's that could change an output."""
    kept = {k: v for k, v in os.environ.items() if k not in ("JPY_SESSION_NAME", "PYTHONSTARTUP")}
    path = os.pathsep.join([str(staged), *filter(None, [os.environ.get("PYTHONPATH")])])
    return kept | {
        "PYTHONPATH": path,
        "CS336LITE_BUILD": "1",
        "PYTHONHASHSEED": "0",
        "SOURCE_DATE_EPOCH": "0",
        "IPYTHONDIR": str(staged / ".ipython"),
        "MPLBACKEND": "module://matplotlib_inline.backend_inline",
        "COLUMNS": "100",
    }


_ADDRESS = re.compile(r"\b0x[0-9a-f]{8,16}\b(?=>)")


_WIDGETS = ("application/vnd.jupyter.widget-view+json", "application/vnd.jupyter.widget-state+json")


def clean_outputs(outputs: Iterable[NotebookNode]) -> list[NotebookNode]:
    """The outputs worth keeping: no stderr, no widgets, no addresses; prints joined; images without metadata."""
    kept: list[NotebookNode] = []
    for output in outputs:
        if output.output_type == "stream":
            if output.name != "stdout":
                continue
            text = _ADDRESS.sub("0x…", output.text)
            if kept and kept[-1].output_type == "stream":
                kept[-1].text += text
            else:
                kept.append(nbformat.v4.new_output("stream", name="stdout", text=text))
            continue
        if any(mime in output.data for mime in _WIDGETS):
            continue
        output.data = NotebookNode({mime: _clean_data(mime, data) for mime, data in output.data.items()})
        kept.append(output)
    return kept


def _clean_data(mime: str, data: Any) -> Any:
    if mime == "image/png":
        return base64.b64encode(strip_png(base64.b64decode(data))).decode()
    return _ADDRESS.sub("0x…", data) if mime.startswith("text/") else data


def strip_png(image: bytes) -> bytes:
    """A PNG without its chunks of text, time and camera data, which name programs and dates."""
    signature, position, kept = image[:8], 8, []
    while position + 12 <= len(image):
        (length,) = struct.unpack(">I", image[position : position + 4])
        chunk = image[position : position + 12 + length]
        if chunk[4:8] not in (b"tEXt", b"zTXt", b"iTXt", b"tIME", b"eXIf"):
            kept.append(chunk)
        position += len(chunk)
    return signature + b"".join(kept)


def _comparable(cell: NotebookNode) -> list[Any]:
    """What of a cell's outputs must be the same in every run."""
    kept: list[Any] = []
    for output in cell.outputs:
        if output.output_type == "stream":
            kept.append(output.text)
        else:
            kept.append({mime: data for mime, data in output.get("data", {}).items() if not mime.startswith("image/")})
    return kept


def differences(item: Item, before: NotebookNode, after: NotebookNode) -> list[str]:
    """One message for each code cell whose text output differs between two runs; timings and images are not compared."""
    found = []
    for i, (old, new) in enumerate(zip(before.cells, after.cells)):
        if new.cell_type != "code" or "timing" in new.metadata.get("tags", []):
            continue
        was, now = (json.dumps(_comparable(cell), ensure_ascii=False, sort_keys=True) for cell in (old, new))
        if was != now:
            at = next((k for k, (a, b) in enumerate(zip(was, now)) if a != b), min(len(was), len(now)))
            start = max(at - 30, 0)
            place = item.text.error(i, f"the output of `{first_line(new.source)}` differs")
            found.append(f"{place}: it was …{was[start : at + 30]}…, now it is …{now[start : at + 30]}…")
    return found
