"""Tables for the terminal: a graded class, a replayed verdict, the layers of protection."""

from __future__ import annotations

from collections import Counter

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from cs336lite.course.border import plain
from cs336lite.grading import protection
from cs336lite.grading.doctor import Guarantee, Layer
from cs336lite.grading.runner import Graded
from cs336lite.grading.verdicts import Verdict


def of_grades(assignment: str, graded: list[Graded], names: dict[str, str] | None = None) -> RenderableType:
    """One line a submission: its label (or name), its score, and the first thing to tell its author."""
    table = Table(box=box.SIMPLE_HEAD, title=f"{assignment}: {len(graded)} graded", title_justify="left")
    table.add_column("submission", overflow="fold")
    table.add_column("score", justify="right")
    table.add_column("first message", overflow="fold")
    for g in graded:
        v = g.verdict
        score = Text(f"{v.score:g} / {v.max_score:g}", "green" if v.score == v.max_score else "")
        table.add_row(Text(plain((names or {}).get(g.label, g.label))), score, Text(v.first_message))
    below = [
        Text(text, style)
        for text, style in ((notes_of(graded, names), "bold"), (warning_of(graded), "bold red"))
        if text
    ]
    return Group(table, *below) if below else table


def notes_of(graded: list[Graded], names: dict[str, str] | None = None) -> str:
    """Which file was judged, of each submission in which that is not plain."""
    return "\n".join(f"{plain((names or {}).get(g.label, g.label))}: {g.note}" for g in graded if g.note)


def warning_of(graded: list[Graded]) -> str:
    """Which submissions were judged with too little protection; empty when none was."""
    layers = [g.verdict.provenance.get("layers", ()) for g in graded if not g.verdict.problem]
    weak = Counter(plain(", ".join(held)) for held in layers if protection.missing(held))
    return "\n".join(
        f"{number} of {len(graded)} were judged by trust (--trust-submissions), with these layers alone: {held}. "
        f"Enough would be {protection.ENOUGH}; see `cs336lite doctor`."
        for held, number in weak.items()
    )


def of_replay(kept: Verdict, new: Verdict) -> RenderableType:
    """Whether a replayed verdict is the same, and each check that is not."""
    then, now = kept.provenance, new.provenance
    lines = [
        f"{kept.assignment}: {kept.score:g} / {kept.max_score:g}, judged {plain(then.get('judged', 'at an unknown time'))}"
    ]
    if kept.checks == new.checks:
        return Text("\n".join([*lines, "replayed: the same verdict"]))
    lines.append(f"replayed: another verdict, {new.score:g} / {new.max_score:g}")
    for before, after in zip(kept.checks, new.checks):
        if before != after:
            lines.append(f"  {before.id}: {before.points:g} -> {after.points:g}  {after.message or before.message}")
    for name in ("cs336lite", "python", "packages", "layers"):
        if then.get(name) != now.get(name):
            lines.append(f"  {name}: {plain(then.get(name))} then, {plain(now.get(name))} now")
    return Text("\n".join(lines))


def of_layers(layers: list[Layer]) -> Group:
    """One line a layer: whether it holds on this machine, how to get it; and whether they are enough."""
    table = Table(box=box.SIMPLE_HEAD, title="protection when grading", title_justify="left")
    for column in ("layer", "protects", "holds here", "to get it"):
        table.add_column(column)
    for layer in layers:
        holds = Text("yes", "green") if layer.holds else Text("no", "bold red")
        table.add_row(layer.name, layer.protects, holds, "" if layer.holds else layer.advice)
    if protection.missing(layer.name for layer in layers if layer.holds):
        said = Text(f"Too few to grade work of people you do not know; needed: {protection.ENOUGH}.", "bold red")
    else:
        said = Text("Enough to grade work of people you do not know.", "bold")
    return Group(table, said)


def of_guarantees(
    guarantees: list[Guarantee], title: str = "what holds around a submission, as tried just now"
) -> Table:
    """One line a promise: whether it holds on this machine, and what is the case where it does not."""
    table = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left")
    for column in ("guarantee", "holds here", "otherwise"):
        table.add_column(column, overflow="fold")
    for found in guarantees:
        holds = Text("yes", "green") if found.holds else Text("no", "bold red")
        table.add_row(found.promise, holds, "" if found.holds else found.otherwise)
    return table
