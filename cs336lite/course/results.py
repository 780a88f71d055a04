"""Results that take too long for a lecture's default run: kept in ``notebooks/results``, and computed again on demand.

    runs = recorded("08_isoflop.json", lambda: trained(GRID_RUNS), configuration)

A lecture says here, in one cell, what is computed; the file says what came out, and where and when. To compute a result
again, run the lecture with its name in an environment variable:

    CS336LITE_RECOMPUTE=08_isoflop.json jupyter execute notebooks/08_scaling.ipynb

The file belongs to one configuration. A reader who changes a number of it goes on: with a small version that is computed
at once where the lecture has one (``live``), else with the recorded result, and is told which. From then on a claim that
does not hold says so and stops nothing. When the course is built, another configuration is an error.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from typing import Any

from cs336lite.course.claims import other_numbers
from cs336lite.course.corpus import DEFAULT_SHA256
from cs336lite.course.paths import CourseError, find_root, is_appendix, write_atomic

__all__ = ["VARIABLE", "recorded", "source", "write"]

VARIABLE = "CS336LITE_RECOMPUTE"
"""Names of results to compute again, with commas between them, or ``all``."""

LIVE = "computed here, smaller than in full, with the numbers of this notebook"


def recorded(
    name: str,
    compute: Callable[[], Any],
    configuration: Any,
    *,
    live: Callable[[], Any] | None = None,
    folder: Path | None = None,
) -> Any:
    """The result in ``notebooks/results/<name>``, or what ``compute()`` gives, which is then written there.

    It is computed when the environment variable `VARIABLE` names it. ``configuration`` is what the result depends on,
    and the result itself, are plain JSON: numbers, strings, lists, dicts.

    Args:
        name: of the file.
        compute: gives the result in full.
        configuration: of this cell.
        live: gives a smaller result of the same form in a minute at most, from the numbers of this cell: for a reader
            who changed them. None where there is none, or where what it runs on is not solved yet.
        folder: where the file is.

    Raises:
        CourseError: there is no such file and no ``live``, or it is damaged; while the course is built, also when there
            is none or it was made with another configuration. The text gives the command.
    """
    path = (folder or _folder()) / name
    wanted = os.environ.get(VARIABLE, "").split(",")
    if name in wanted or "all" in wanted:
        write(name, compute(), configuration, folder=folder)
    digest = _digest(configuration)
    kept = _kept(path, name)
    other_numbers.pop(name, None)
    if kept and kept["configuration_sha256"] == digest:
        return kept["result"]
    building = "CS336LITE_BUILD" in os.environ
    if kept is None and (building or live is None):
        raise CourseError(f"{name} has not been computed yet: {command(name)}")
    if building:
        raise CourseError(f"{name} was computed with another configuration than this cell's: {command(name)}")
    if kept is None:
        reason = f"{name} has not been computed yet"
    else:
        changed = "; ".join(_changes(kept["configuration"], json.loads(json.dumps(configuration))))
        reason = f"{name} was recorded with other numbers than this cell's ({changed})"
    if live is None:
        print(f"{reason}. What follows shows the recorded result. To compute yours: {command(name)}")
        other_numbers[name] = "its numbers are not those of this notebook"
        return kept["result"]
    print(f"{reason}. A smaller version is computed now; in full: {command(name)}")
    result = live()
    other_numbers[name] = LIVE
    return result


def write(name: str, result: Any, configuration: Any, *, folder: Path | None = None) -> None:
    """Record a result: its configuration, where it comes from, and the result itself, which is plain JSON."""
    write_atomic((folder or _folder()) / name, _told(name, result, configuration, _digest(configuration)))


def _folder() -> Path:
    return find_root() / "notebooks" / "results"


def _digest(configuration: Any) -> str:
    return hashlib.sha256(json.dumps(configuration, sort_keys=True).encode()).hexdigest()[:16]


def command(name: str) -> str:
    """How to compute a result again."""
    number, notebooks = name.split("_")[0], find_root() / "notebooks"
    folder = "appendix/" if is_appendix(name) else ""
    found = sorted(path for place in ("", "text/") for path in notebooks.glob(f"{place}{folder}{number}_*.*"))
    lecture = found[0].stem if found else f"{number}_…"
    return f"{VARIABLE}={name} jupyter execute notebooks/{folder}{lecture}.ipynb"


def source(name: str, *, folder: Path | None = None) -> str:
    """One line that says when and with what a result was made, and how to make it again."""
    other = other_numbers.get(name)
    if other == LIVE:
        return f"{name}: {LIVE}"
    path = (folder or _folder()) / name
    made = json.loads(path.read_text(encoding="utf-8"))["provenance"]
    versions = f"PyTorch {made['torch']}, Python {made['python']}, on a {made['device']}"
    return f"{name}: recorded {made['date']}, {versions}; {f'{other}; ' if other else ''}again: {made['command']}"


def _told(name: str, result: Any, configuration: Any, digest: str) -> str:
    import torch

    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
    provenance = {"command": command(name), "date": date.today().isoformat(), "device": device}
    provenance |= {"python": platform.python_version(), "torch": torch.__version__.split("+")[0]}
    provenance["corpus"] = DEFAULT_SHA256[:16]  # which text there was to learn from
    content = {"provenance": provenance, "configuration_sha256": digest, "configuration": configuration}
    return json.dumps(content | {"result": result}, indent=1, allow_nan=False, ensure_ascii=False) + "\n"


def _kept(path: Path, name: str) -> dict[str, Any] | None:
    """What a file of results holds; None where there is no file."""
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        if {"configuration", "configuration_sha256", "provenance", "result"} <= kept.keys():
            return kept
    except FileNotFoundError:
        return None
    except (ValueError, AttributeError, RecursionError):
        pass
    raise CourseError(
        f"notebooks/results/{name} is damaged: take it from a fresh copy of the course, or {command(name)}"
    )


MOST_CHANGES = 3


def _changes(kept: Any, now: Any) -> list[str]:
    """What differs between two configurations, the first few: ``lr: 0.01, here 0.02``."""
    found = dict.fromkeys(
        f"{name}: {_short(a)}, here {_short(b)}".removeprefix(": ") for name, a, b in _differences(kept, now, "")
    )
    more = [f"and {len(found) - MOST_CHANGES} more"] if len(found) > MOST_CHANGES else []
    return [*list(found)[:MOST_CHANGES], *more]


def _differences(a: Any, b: Any, name: str) -> Iterator[tuple[str, Any, Any]]:
    """(innermost name, recorded, here) of what differs; None for what is only in the other."""
    if isinstance(a, dict) and isinstance(b, dict):
        for key in [*a, *(key for key in b if key not in a)]:
            yield from _differences(a.get(key), b.get(key), key)
    elif isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
        for x, y in zip(a, b):
            yield from _differences(x, y, name)
    elif a != b:
        yield name, a, b


def _short(value: Any) -> str:
    text = "not set" if value is None else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}…"
