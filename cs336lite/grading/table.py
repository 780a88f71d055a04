"""Tables for the terminal: a graded class, the layers of protection."""

from __future__ import annotations

from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from cs336lite.grading.doctor import Layer
from cs336lite.grading.runner import Graded


def of_grades(assignment: str, graded: list[Graded], names: dict[str, str] | None = None) -> Table:
    """One line a submission: its label (or name), its score, and the first thing to tell its author."""
    table = Table(box=box.SIMPLE_HEAD, title=f"{assignment}: {len(graded)} graded", title_justify="left")
    table.add_column("submission", overflow="fold")
    table.add_column("score", justify="right")
    table.add_column("first message", overflow="fold")
    for g in graded:
        v = g.verdict
        score = Text(f"{v.score:g} / {v.max_score:g}", "green" if v.score == v.max_score else "")
        table.add_row(Text((names or {}).get(g.label, g.label)), score, Text(v.first_message))
    return table


def of_layers(layers: list[Layer]) -> Group:
    """One line a layer: whether it holds on this machine, whether the grader uses it, how to get it."""
    table = Table(box=box.SIMPLE_HEAD, title="protection when grading", title_justify="left")
    for column in ("layer", "protects", "holds here", "used", "to get it"):
        table.add_column(column)
    for layer in layers:
        holds = Text("yes", "green") if layer.holds else Text("no", "bold red")
        table.add_row(
            layer.name, layer.protects, holds, "yes" if layer.used else "not yet", "" if layer.holds else layer.advice
        )
    unused = [layer.name for layer in layers if not layer.used]
    warning = (
        f"Not used by the grader yet: {', '.join(unused)}. Grade only submissions of people you trust."
        if unused
        else ""
    )
    return Group(table, Text(warning, "bold"))
