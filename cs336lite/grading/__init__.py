"""Judge submissions: answers are compared where the student's code is not.

submission   a file -> the student's cells, whatever state the file is in
worker       forks a confined process for each submission
child        that process: runs the student's cells and the drivers
jail         seccomp and Landlock, set by a worker's child before it runs a submission
wire         what may pass between worker and client: plain values, sizes and types checked
client       the trusted side of the wire: a worker and its children
remote       a submission as a `Student`, within a budget
judge        a submission and a spec -> a verdict
verdicts     a verdict, kept as a file under its hash
hooks        the same verdicts inside stock nbgrader, by its `preprocessors` and `exchange_commands`
items        a file, or what a student handed in -> what there is to judge
runner       a whole class: judge in parallel, record, summarise
sharing      who may read and write what a course keeps: seed, gradebook, backups, exchange and the like stand on it
doctor       which layers of protection this machine has
"""

import sys
from importlib import import_module
from importlib.machinery import PathFinder
from importlib.util import find_spec, module_from_spec
from types import ModuleType
from typing import Any


class PutOff(ModuleType):
    """A package whose own code is run when something of it is asked for; until then its modules are imported without it."""

    def __getattr__(self, name: str) -> Any:
        if PathFinder.find_spec(f"{self.__name__}.{name}", self.__path__) is not None:
            return import_module(f"{self.__name__}.{name}")
        self.__class__ = ModuleType  # type: ignore[assignment]
        self.__spec__.loader.exec_module(self)
        return getattr(self, name)


def put_off(name: str) -> None:
    """Let the modules of a package be imported without its own code, unless that has been run already."""
    if name not in sys.modules and (spec := find_spec(name)) is not None:
        package = module_from_spec(spec)
        package.__class__ = PutOff
        sys.modules[name] = package


put_off("nbgrader")  # imports its four extensions of Jupyter's server, for longer than what a grader needs of it
sys.modules.setdefault("rfc3987_syntax", None)  # see cs336lite/course/__init__.py
