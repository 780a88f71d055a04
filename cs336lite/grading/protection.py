"""How much protection is enough to run the code of people one does not know."""

from __future__ import annotations

from collections.abc import Iterable

ENOUGH = "seccomp, and Landlock (of Linux 6.2 or newer) or bubblewrap"


def missing(layers: Iterable[str]) -> str:
    """Why these layers are too few to judge untrusted work, and what to do; empty when they are enough.

    seccomp keeps a submission inside its process; either of the other two keeps it away from files. A Landlock that does
    not know yet of files being emptied (`jail.WEAK_LANDLOCK`) does not.
    """
    layers = set(layers)
    if "seccomp" in layers and layers & {"Landlock", "bubblewrap"}:
        return ""
    held = ", ".join(sorted(layers - {"rlimits"})) or "none"
    return (
        f"too few layers of protection hold on this machine for work of people you do not know: {held}; "
        f"needed: {ENOUGH}.\nNothing was judged. `cs336lite doctor` says how to get the missing ones; "
        "to judge all the same, add --trust-submissions."
    )
