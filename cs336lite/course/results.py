"""Results that take too long for a lecture's default run: kept in ``notebooks/results``, and computed again on demand.

    runs = recorded("04_basins.json", lambda: summaries(sweep(experiments, data, validation=heldout)), describe(experiments))

A lecture says here, in one cell, what is computed; the file says what came out, and where and when. The file belongs to
one configuration: when the cell's configuration is another one, the lecture stops and says so. To compute a result
again, run the lecture with its name in an environment variable:

    CS336LITE_RECOMPUTE=04_basins.json jupyter execute notebooks/04_hyperparameters.ipynb
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

from cs336lite.course.corpus import DEFAULT_SHA256
from cs336lite.course.paths import CourseError, find_root, is_appendix, write_atomic

__all__ = ["VARIABLE", "recorded", "source"]

VARIABLE = "CS336LITE_RECOMPUTE"
"""Names of results to compute again, with commas between them, or ``all``."""


def recorded(name: str, compute: Callable[[], Any], configuration: Any, *, folder: Path | None = None) -> Any:
    """The result in ``notebooks/results/<name>``, or what ``compute()`` gives, which is then written there.

    It is computed when the environment variable `VARIABLE` names it. ``configuration`` is what the result depends on,
    and the result itself, are plain JSON: numbers, strings, lists, dicts.

    Raises:
        CourseError: there is no such file, or it was made with another configuration; the text gives the command.
    """
    path = (folder or find_root() / "notebooks" / "results") / name
    wanted = os.environ.get(VARIABLE, "").split(",")
    digest = hashlib.sha256(json.dumps(configuration, sort_keys=True).encode()).hexdigest()[:16]
    if name in wanted or "all" in wanted:
        write_atomic(path, _told(name, compute(), configuration, digest))
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CourseError(f"{name} has not been computed yet: {command(name)}") from None
    if kept["configuration_sha256"] != digest:
        raise CourseError(f"{name} was computed with another configuration than this cell's: {command(name)}")
    return kept["result"]


def command(name: str) -> str:
    """How to compute a result again."""
    number, notebooks = name.split("_")[0], find_root() / "notebooks"
    folder = "appendix/" if is_appendix(name) else ""
    found = sorted(path for place in ("", "text/") for path in notebooks.glob(f"{place}{folder}{number}_*.*"))
    lecture = found[0].stem if found else f"{number}_…"
    return f"{VARIABLE}={name} jupyter execute notebooks/{folder}{lecture}.ipynb"


def source(name: str, *, folder: Path | None = None) -> str:
    """One line that says when and with what a result was made, and how to make it again."""
    path = (folder or find_root() / "notebooks" / "results") / name
    made = json.loads(path.read_text(encoding="utf-8"))["provenance"]
    versions = f"PyTorch {made['torch']}, Python {made['python']}, on a {made['device']}"
    return f"{name}: recorded {made['date']}, {versions}; again: {made['command']}"


def _told(name: str, result: Any, configuration: Any, digest: str) -> str:
    import torch

    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
    provenance = {"command": command(name), "date": date.today().isoformat(), "device": device}
    provenance |= {"python": platform.python_version(), "torch": torch.__version__.split("+")[0]}
    provenance["corpus"] = DEFAULT_SHA256[:16]  # which text there was to learn from
    content = {"provenance": provenance, "configuration_sha256": digest, "configuration": configuration}
    return json.dumps(content | {"result": result}, indent=1, allow_nan=False, ensure_ascii=False) + "\n"
