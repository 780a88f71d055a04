"""What the commands share: where they print, what they take, what they ask of the machine."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import Annotated

import typer
from rich.console import Console as RichConsole
from rich.console import ConsoleOptions, RenderableType
from rich.segment import Segment

from cs336lite.course.border import harmless
from cs336lite.course.paths import CourseError

Assignment = Annotated[str, typer.Argument(help="an assignment, such as a1_bpe or a1")]


class Console(RichConsole):
    """A console on which no text can do more than be read: control characters of whatever is printed go."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterator[Segment]:
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(harmless(segment.text), segment.style)


console = Console()


def say(text: object) -> None:
    """Print a text as it is: no markup, no colours, no line breaks but its own."""
    console.print(text, markup=False, highlight=False, soft_wrap=True)


def bar(items: Iterable, total: int, what: str) -> Iterator:
    """A progress bar on stderr, gone when done."""
    from tqdm.auto import tqdm

    return iter(tqdm(items, total=total, desc=what, leave=False, disable=not sys.stderr.isatty()))


def needs_linux() -> None:
    """Raise CourseError where nothing can be graded."""
    if sys.platform != "linux":
        raise CourseError("grading runs on Linux: use a Linux container, or WSL on Windows (see the README)")
