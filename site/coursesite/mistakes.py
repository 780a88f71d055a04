"""The index of popular mistakes: what is often said, what is true, and the section of a lecture that corrects it."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Mistake", "Place", "find", "index", "own_lists", "read"]

INTRODUCTION = """\
# Popular mistakes

Sentences about language models that are often heard, and what is true. The links lead to where the course corrects each,
with the source or the measurement.
"""
LIST = "Often said, and what is true"


@dataclass(frozen=True)
class Place:
    """A section of a page of the course."""

    page: str
    title: str
    anchor: str
    heading: str


@dataclass(frozen=True)
class Mistake:
    """A sentence that is often heard, and what holds. ``words`` is the pattern by which a lecture's correction is found."""

    topic: str
    said: str
    true: str
    words: str


def read(path: Path) -> list[Mistake]:
    """The mistakes of a TOML file: a table for each topic, with an array of tables."""
    topics = tomllib.loads(path.read_text(encoding="utf-8"))
    return [Mistake(topic, **row) for topic, rows in topics.items() for row in rows]


def find(mistake: Mistake, sections: Iterable[tuple[Place, str]]) -> list[Place]:
    """The sections that speak of a mistake: a lecture's own list of mistakes first, then others, in the course's order."""
    pattern = re.compile(mistake.words, re.I | re.S)
    found = []
    for place, markdown in sections:
        if place.heading == LIST:  # line by line: each row is a mistake of its own
            met = any(pattern.search(line) for line in markdown.split("\n"))
        else:
            met = bool(pattern.search(markdown))
        if met:
            found.append(place)
    return sorted(found, key=lambda place: place.heading != LIST)


def own_lists(sections: Iterable[tuple[Place, str]]) -> list[tuple[Place, int]]:
    """The lists of mistakes that lectures end in, and how many each holds."""
    rows = [(place, [line for line in markdown.split("\n") if line.startswith("|")]) for place, markdown in sections]
    return [(place, len(lines) - 2) for place, lines in rows if place.heading == LIST and len(lines) > 2]


def index(mistakes: list[Mistake], sections: list[tuple[Place, str]]) -> str:
    """The page in Markdown: a table for each topic, then where each lecture's own list is."""
    lines, topic = INTRODUCTION.split("\n"), ""
    for mistake in mistakes:
        if mistake.topic != topic:
            topic = mistake.topic
            lines += ["", f"## {topic}", "", "| often said | what is true | where |", "|---|---|---|"]
        places = {place.page: place for place in reversed(find(mistake, sections))}  # the first of each page
        shown = [place for place in dict.fromkeys(find(mistake, sections)) if places[place.page] == place][:3]
        where = ", ".join(f"[{Path(place.page).stem.split('_')[0]}](#{place.anchor})" for place in shown)
        lines.append(f"| {mistake.said} | {mistake.true} | {where} |")
    lines += ["", "## More, lecture by lecture", ""]
    lines.append("Each lecture ends in a list of its own, which has these and others:")
    lines.append("")
    lines += [f"- [{place.title}](#{place.anchor}): {number} sentences" for place, number in own_lists(sections)]
    return "\n".join(lines) + "\n"
