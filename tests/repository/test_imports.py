"""Every module of the package can be imported, on this Python and without what only some machines have."""

import importlib
import pkgutil

import jaxtyping
import pytest
from helpers import ROOT, run

import cs336lite
from cs336lite.course.module import built_modules

IMPORT = """
import importlib, sys
sys.path += ["cs336lite/grading", "cs336lite/course"]  # the worker runs as a script, and imports what is copied beside it
for name in sys.argv[1:]:
    importlib.import_module(name)
    print(name)
"""


def test_every_module_can_be_imported():
    found = [module.name for module in pkgutil.walk_packages(cs336lite.__path__, "cs336lite.") if not module.ispkg]
    names = [name for name in found if not name.startswith("cs336lite.grading.quiet.")]  # they stand in for others
    assert {"cs336lite.cli.student", "cs336lite.tokenizer", "cs336lite.course.build", "cs336lite.grading.jail"} < set(
        names
    )
    result = run("python", "-c", IMPORT, *names, cwd=ROOT)
    assert result.returncode == 0 and result.stdout.split() == names, result.stderr


@pytest.mark.parametrize("module", [*built_modules(ROOT), "slots"])
def test_shapes_and_types_are_checked_while_tests_run(module):
    found = importlib.import_module(f"cs336lite.{module}")
    assert type(found.__spec__.loader).__module__ == "jaxtyping._import_hook"


def test_a_wrong_type_is_told():
    from cs336lite.costs import matmul_flops

    with pytest.raises(jaxtyping.TypeCheckError):
        matmul_flops("2", 3, 4)
