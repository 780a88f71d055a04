"""cs336lite: how language models are built, one notebook at a time.

The modules beside this file are built by the notebooks (see CONTRIBUTING.md); ``course``, ``grading``, ``cli``, ``keys``
and ``sources`` are written by hand.
"""

import os

__version__ = "0.1.0"


def _place() -> str:
    """The folder of the modules: in ``my/``, the reader's own copy of the course (`course/study.py`), the one there.

    Only the ``my/`` of this very clone counts, so that no other folder can put its code in the place of this one.
    """
    here = os.path.dirname(os.path.realpath(__file__))
    mine = os.path.join(os.path.dirname(here), "my")
    try:
        inside = f"{os.getcwd()}{os.sep}".startswith(f"{mine}{os.sep}")
    except OSError:  # the current folder is gone
        return here
    there = os.path.join(mine, "cs336lite")
    return there if inside and os.path.isdir(there) else here


__path__ = [_place()]
