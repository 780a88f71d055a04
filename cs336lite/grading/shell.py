"""What a notebook finds around its cells in Jupyter, with nothing behind it: `get_ipython`, `display`, `In`, `Out`, magics.

Loads without the package, beside the worker. Nothing here draws, runs a program or waits; a magic that runs Python in
IPython (``%time x = f()``) runs it here too.
"""

from __future__ import annotations

import re
import sys
import types
from collections.abc import Callable

RUN_PYTHON = frozenset(
    "time timeit capture prun mprun lprun memit mprof scalene snakeviz pyinstrument ipytest wandb notify heat".split()
)
"""Cell magics whose body is Python of this notebook; what stands below any other is not looked at."""
STATEMENT = re.compile(r"(?:-\w+(?:\s+(?=[\d'\"])\S+)?\s+)*(.*)", re.DOTALL)  # what follows the options of a magic


class Nothing:
    """Whatever a notebook asks of a tool: it can be called, and has every attribute and item; all are nothing too."""

    def __call__(self, *args: object, **kwargs: object) -> Nothing:
        return self

    def __getattr__(self, name: str) -> Nothing:
        if name.startswith("__"):
            raise AttributeError(name)
        return self

    def __getitem__(self, key: object) -> Nothing:
        return self

    def __iter__(self) -> object:
        return iter(())

    def __enter__(self) -> Nothing:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def __repr__(self) -> str:
        return ""

    def __format__(self, form: str) -> str:
        return ""


class Measured(Nothing):
    """What ``%timeit -o`` gives: a second for everything."""

    average = best = worst = compile_time = 1.0
    stdev = 0.0
    loops = repeat = 1

    def __init__(self) -> None:
        self.all_runs, self.timings = [1.0], [1.0]


class Lines(list):
    """What ``files = !ls`` gives: no lines."""

    l = list = property(lambda self: self)  # noqa: E741, IPython's names
    n = s = p = nlstr = spstr = ""

    def grep(self, *_: object, **__: object) -> Lines:
        return self

    fields = grep


class Shell(Nothing):
    """IPython's shell: its magics that run Python do so in the notebook's names, the others do nothing."""

    def __init__(self, names: dict, run: Callable[[str, dict], object]) -> None:
        self.user_ns, self.run = names, run
        self.user_module = sys.modules.get("__main__")
        self.config: dict = {}  # by this, libraries tell a kernel from a terminal
        self.execution_count = 1

    def __repr__(self) -> str:
        return "<ipykernel.zmqshell.ZMQInteractiveShell object>"

    def system(self, *_: object, **__: object) -> None:
        return None

    def getoutput(self, *_: object, **__: object) -> Lines:
        return Lines()

    def run_line_magic(self, name: str, line: str = "", *_: object, **__: object) -> object:
        if name in ("timeit", "memit"):
            return Measured() if re.search(r"(^|\s)-o\b", line) else None
        if name in ("time", "prun", "lprun", "mprun"):
            return self.run(STATEMENT.match(line)[1] if name != "time" else line, self.user_ns)
        if name == "capture":
            return None
        return Nothing()

    def run_cell_magic(self, name: str, line: str = "", cell: str = "", *_: object, **__: object) -> object:
        if name == "capture" and (found := re.search(r"(?:^|\s)([A-Za-z_]\w*)", line)):
            self.user_ns[found[1]] = Nothing()
        return self.run(cell, self.user_ns) if name in RUN_PYTHON else None

    def run_cell(self, raw_cell: str = "", *_: object, **__: object) -> object:
        self.run(raw_cell, self.user_ns)
        return Nothing()

    def magic(self, line: str) -> object:
        name, _, rest = line.lstrip("%").partition(" ")
        return self.run_line_magic(name, rest)

    run_code = ex = ev = run_cell


def display(*_: object, display_id: object = None, **__: object) -> object:
    """IPython's `display`, which shows nothing here."""
    return None if display_id is None else Nothing()


def quiet_ipython(shell: Shell) -> None:
    """Let ``from IPython import get_ipython`` give the quiet shell."""
    module = types.ModuleType("IPython.core.getipython")
    module.get_ipython = lambda: shell
    sys.modules["IPython.core.getipython"] = module


def surround(names: dict, run: Callable[[str, dict], object], notebook: bool) -> None:
    """Put into a submission's names what Jupyter puts there, and into a notebook's what the course's own cells do."""
    shell = Shell(names, run)
    quiet_ipython(shell)
    names.update(get_ipython=lambda: shell, display=display, exit=Nothing(), quit=Nothing())
    if notebook:
        names.update({name: "" for name in ("_", "__", "___", "_i", "_ii", "_iii")}, In=[""], Out={}, _dh=["."])
        names.update(_ih=names["In"], _oh=names["Out"])
        names.update(dict.fromkeys(("check", "hint", "status", "export_solution"), Nothing()))
