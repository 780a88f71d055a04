"""Tables for the terminal: a graded class, a replayed verdict, the layers of protection."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from rich import box
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from cs336lite.course.border import plain
from cs336lite.grading import protection
from cs336lite.grading.doctor import Guarantee, Layer
from cs336lite.grading.runner import Graded
from cs336lite.grading.verdicts import Verdict

MESSAGE = 24  # letters of a line that messages have at least


@dataclass(frozen=True)
class Lines:
    """A line for each label: a few short values and a message; where labels leave no room, each has a line for itself.

    Labels stay in one piece, and nothing is cut off at the edge.
    """

    columns: tuple[str, ...]  # what the labels are, and the values
    rows: list[tuple[str, tuple[Text, ...], str]]
    title: str = ""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        cells = [(Text(label), *values) for label, values, _ in self.rows]
        widths = [max(cell_len(name), *(c.cell_len for c in column)) for name, *column in zip(self.columns, *cells)]
        if sum(width + 2 for width in widths) + MESSAGE + 4 > options.max_width:
            yield from self.one_below_the_other()
            return
        table = Table(box=box.SIMPLE_HEAD, title=self.title or None, title_justify="left")
        for number, (name, width) in enumerate(zip(self.columns, widths, strict=True)):
            table.add_column(name, justify="right" if number else "left", min_width=width, no_wrap=True)
        table.add_column("first message", overflow="fold")
        for label, values, message in self.rows:
            table.add_row(Text(label), *values, Text(message))
        yield table

    def one_below_the_other(self) -> Iterator[RenderableType]:
        if self.title:
            yield Text(self.title, "italic")
        for label, (*more, score), message in self.rows:
            named = [f"{name} {value}" for name, value in zip(self.columns[1:-1], more, strict=True) if value]
            said = [score, *map(Text, named), *([Text(message)] if message else [])]
            yield Text(label, "bold", overflow="fold")
            yield Padding(Text("  ").join(said), (0, 0, 0, 4))


def of_grades(assignment: str, graded: list[Graded], names: dict[str, str] | None = None) -> RenderableType:
    """One line a submission: its label (or name), its score, and the first thing to tell its author."""
    rows: list[tuple[str, tuple[Text, ...], str]] = []
    for g in graded:
        v = g.verdict
        score = Text(f"{v.score:g} / {v.max_score:g}", "green" if v.score == v.max_score else "")
        rows.append((plain((names or {}).get(g.label, g.label)), (score,), v.first_message))
    shown = Lines(("submission", "score"), rows, f"{assignment}: {len(graded)} graded")
    below = [
        Text(text, style)
        for text, style in (
            (notes_of(graded, names), "bold"),
            (excused_of(graded), "bold"),
            (stumbled_of(assignment, graded, names), "bold red"),
            (warning_of(graded), "bold red"),
        )
        if text
    ]
    return Group(shown, *below) if below else shown


def notes_of(graded: list[Graded], names: dict[str, str] | None = None) -> str:
    """Which file was judged, of each submission in which that is not plain."""
    return "\n".join(f"{plain((names or {}).get(g.label, g.label))}: {g.note}" for g in graded if g.note)


def excused_of(graded: list[Graded]) -> str:
    """The checks that did not count as they were judged, with the reason; empty when all did."""
    found = {c.id: c.excused for g in graded for c in g.verdict.checks if c.excused}
    return "\n".join(f"{id} {said}" for id, said in found.items())


def stumbled_of(assignment: str, graded: list[Graded], names: dict[str, str] | None = None, most: int = 5) -> str:
    """The checks that raised an exception of their own on some submissions; empty when none did."""
    found: dict[tuple[str, str], list[str]] = {}
    for g in graded:
        for c in g.verdict.checks:
            if c.fault:
                found.setdefault((c.id, c.fault), []).append(plain((names or {}).get(g.label, g.label)))
    if not found:
        return ""
    lines = []
    for (id, fault), labels in found.items():
        more = f" and {len(labels) - most} more" if len(labels) > most else ""
        lines.append(f"  {id}: {fault} ({', '.join(labels[:most])}{more})")
    return (
        "Checks that could not be finished with some answers, which cost these submissions their points:\n"
        + "\n".join(lines)
        + f"\nLook whether the answer or the check is to blame: `cs336lite why {assignment} STUDENT CHECK`."
    )


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
