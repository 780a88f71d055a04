"""What notebooks import from the course, with nothing behind it: the grader does the judging."""

import importlib.machinery
import sys
import types


class Nothing:
    """Whatever a notebook asks of a picture: it can be called, and has every attribute and item; all are nothing too."""

    def __call__(self, *args, **kwargs):
        return self

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return self

    def __getitem__(self, key):
        return self

    def __iter__(self):
        return iter(())

    def __format__(self, spec):
        return ""

    def __enter__(self):
        return self

    def __exit__(self, *error):
        return None


TOOLS = (
    "claims",
    "compare",
    "corpus",
    "download",
    "draw",
    "hugging_face",
    "map",
    "paths",
    "results",
    "stories",
)
QUIET = frozenset(f"{__name__}.{tool}" for tool in TOOLS)


class Quiet:
    """Finds the tools that a notebook may import and that are not in this folder: whatever they are asked for is nothing."""

    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return importlib.machinery.ModuleSpec(name, cls()) if name in QUIET else None

    def create_module(self, spec):
        return None

    def exec_module(self, module: types.ModuleType):
        def anything(name):
            if name.startswith("__"):
                raise AttributeError(name)
            return type(name, (Exception,), {}) if name.endswith("Error") else Nothing()

        module.__getattr__ = anything


sys.meta_path.append(Quiet)  # after all others


def check(*args, **kwargs):
    """A report in which all is well."""
    return Nothing()


def have(*args, **kwargs):
    return False


hint = status = export_solution = finished = check
whose = have
