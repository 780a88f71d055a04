"""The form of a lecture: how long it takes, and whether its questions, predictions and claims belong together.

A lecture is held to the form once it says what it shows with `claims`.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nbformat import NotebookNode

__all__ = ["BADGE", "Effort", "answered_above", "effort", "has_form", "is_predict", "problems"]

BADGE = "{badge}"
PREDICT = "**Predict.**"
QUESTIONS, ANSWERS = "## Questions", "## Answers"
WORDS_A_MINUTE, LINES_A_MINUTE, MINUTES_A_PREDICT, ROUND_TO = 180, 10, 1.5, 5


@dataclass(frozen=True)
class Effort:
    """What there is to read and to do, counted, and the minutes that it takes most people."""

    words: int
    lines: int
    predicts: int
    exercises: int
    exercise_minutes: int

    @property
    def minutes(self) -> int:
        reading = self.words / WORDS_A_MINUTE + self.lines / LINES_A_MINUTE
        doing = MINUTES_A_PREDICT * self.predicts + self.exercise_minutes
        return ROUND_TO * max(1, round((reading + doing) / ROUND_TO))

    def badge(self, minutes_to_run: int) -> str:
        """One line: how long a lecture takes a reader and a computer."""
        hours, rest = divmod(self.minutes, 60)
        parts = [f"{hours} hour{'s' if hours > 1 else ''}"] * bool(hours) + [f"{rest} minutes"] * bool(rest)
        machine = f"{minutes_to_run} minute{'s' if minutes_to_run > 1 else ''}"
        return f"**about {' '.join(parts)} to read and do · runs in {machine} on 2 cores**"

    def as_dict(self) -> dict[str, int]:
        return asdict(self) | {"minutes": self.minutes}


def effort(notebook: NotebookNode) -> Effort:
    """Count a lecture: words of prose, lines of code that are not folded, blank or comments, predictions, exercises."""
    prose = [cell.source for cell in notebook.cells if cell.cell_type == "markdown"]
    prose = [
        re.sub(r"\]\([^)\s]*\)", "]", re.sub(r"\$[^$]*\$", "x", source)) for source in prose
    ]  # links as they are read
    words = sum(len(re.findall(r"\w[\w'’.,-]*", source)) for source in prose)
    asked = [cell.metadata["cs336lite"] for cell in notebook.cells if "exercise" in cell.metadata.get("cs336lite", {})]
    return Effort(
        words,
        sum(
            len(code_lines(cell.source)) for cell in notebook.cells if cell.cell_type == "code" and not is_folded(cell)
        ),
        sum(source.count(PREDICT) for source in prose),
        len(asked),
        sum(exercise["minutes"] for exercise in asked),
    )


def code_lines(source: str) -> list[str]:
    return [line for line in source.split("\n") if line.strip() and not line.lstrip().startswith("#")]


def is_folded(cell: NotebookNode) -> bool:
    return cell.metadata.get("jupyter", {}).get("source_hidden", False)


def is_predict(cell: NotebookNode) -> bool:
    return cell.cell_type == "markdown" and PREDICT in cell.source


def has_form(notebook: NotebookNode) -> bool:
    return any(cell.cell_type == "code" and calls(cell.source, "claims") for cell in notebook.cells)


def calls(source: str, name: str) -> list[ast.Call]:
    """The calls of a function in a cell's source."""
    if name not in source:  # saves the parsing of most cells
        return []
    found = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    return [node for node in found if isinstance(node.func, ast.Name) and node.func.id == name]


def problems(notebook: NotebookNode) -> Iterator[tuple[int, str]]:
    """(cell from 0, what is wrong) where a lecture in this form breaks it."""
    yield from of_claims(notebook)
    yield from of_predictions(notebook)


def of_claims(notebook: NotebookNode) -> Iterator[tuple[int, str]]:
    """Questions at the top without a claim, claims without a question or without a test, no list at the end."""
    cells = notebook.cells
    opening = next((i for i, cell in enumerate(cells) if re.search(rf"(?m)^{QUESTIONS}\s*$", cell.source)), None)
    if opening is None:
        yield 0, f"there is no heading `{QUESTIONS}`"
        return
    section = re.split(r"(?m)^## ", cells[opening].source.split(QUESTIONS, 1)[1])[0]
    asked = {int(number) for number in re.findall(r"(?m)^(\d+)\. .*", section)}
    if asked != set(range(1, len(asked) + 1)) or not asked:
        yield opening, f"the questions are numbered {sorted(asked)}, not from 1 on"
    for question in re.findall(r"(?m)^\d+\. (?:.|\n(?!\d+\. |\n))*", section):
        if "?" not in question:
            yield opening, f"no question: {question.strip()}"
    answered = set()
    last = -1
    for i, cell in enumerate(cells):
        if cell.cell_type != "code":
            continue
        for call in calls(cell.source, "claim"):
            number = getattr(call.args[0], "value", None) if call.args else None
            answered.add(number)
            if number not in asked:
                yield i, f"a claim answers question {number}, which is not asked"
            if len(call.args) < 3 or not call.keywords:
                yield i, "a claim needs its sentence, its test and its numbers"
            elif isinstance(call.args[2], ast.Lambda) and isinstance(call.args[2].body, ast.Constant):
                yield i, "a claim whose test is a constant tests nothing"
        if calls(cell.source, "claims"):
            last = i
    for number in sorted(asked - answered):
        yield opening, f"question {number} has no claim"
    heading = next((i for i, cell in enumerate(cells) if re.search(rf"(?m)^{ANSWERS}\s*$", cell.source)), None)
    if heading is None or last < heading:
        yield max(last, 0), f"`claims()` stands below a heading `{ANSWERS}`"
    if any(calls(cell.source, "claim") for cell in cells[last + 1 :] if cell.cell_type == "code"):
        yield last, "a claim is made after `claims()`"


def of_predictions(notebook: NotebookNode) -> Iterator[tuple[int, str]]:
    """A prediction that asks another number of things than are then revealed beside a guess, or that gives itself away."""
    for i, (question, below) in predictions(notebook):
        told = [cell for cell in below if any(explains(call) for call in revealed_guesses(cell))]
        if not all(
            is_folded(cell) and cell.source.startswith("#") for cell in told
        ):  # a folded cell shows its first line
            yield i, "what is said of wrong guesses stands in sight: fold it, below a line of comment"
        asked = question.count("?")
        revealed = sum(len(revealed_guesses(cell)) for cell in below)
        if asked != revealed:
            yield i, f"a prediction asks {asked} question{'s' if asked != 1 else ''} and {revealed} are revealed"


def predictions(notebook: NotebookNode) -> Iterator[tuple[int, tuple[str, list[NotebookNode]]]]:
    """(cell, (the question, the code cells that answer it)): up to the next question or heading."""
    for i, cell in enumerate(notebook.cells):
        if not is_predict(cell):
            continue
        below = []
        for after in notebook.cells[i + 1 :]:
            if after.cell_type == "markdown" and (is_predict(after) or re.search(r"(?m)^#+ ", after.source)):
                break
            below.append(after)
        question = re.split(r"\n\s*\n", cell.source.split(PREDICT, 1)[1])[0]
        yield i, (question, [after for after in below if after.cell_type == "code"])


def revealed_guesses(cell: NotebookNode) -> list[ast.Call]:
    """The calls of `reveal` in a cell that compare a guess."""
    return [
        call
        for call in calls(cell.source, "reveal")
        if len(call.args) > 2 or any(k.arg == "guess" for k in call.keywords)
    ]


def explains(call: ast.Call) -> bool:
    return any(keyword.arg == "because" for keyword in call.keywords)


def answered_above(notebook: NotebookNode) -> Iterator[tuple[int, str]]:
    """Predictions whose answer stands in the text above them: (cell, what), for numbers of two digits and more.

    Timings are left out. The answer is what `reveal` printed, so the notebook must have been run.
    """
    for i, (_, below) in predictions(notebook):
        above = "\n".join(cell.source for cell in notebook.cells[: i + 1] if cell.cell_type == "markdown")
        told = set(
            numbers([re.sub(r"\*\*about .* to read and do .*\*\*", "", above)])
        )  # the badge counts nothing of it
        for cell in below:
            if "timing" in cell.metadata.get("tags", []):  # a number of each run, which meets one in the text by chance
                continue
            printed = "".join(output.get("text", "") for output in cell.get("outputs", [])).splitlines()
            for call in revealed_guesses(cell):
                name = f"{getattr(call.args[0], 'value', '')}: "
                lines = [line.removeprefix(name) for line in printed if line.startswith(name)]
                for number in numbers(lines):
                    if any(is_rounded(number, other) for other in told):
                        yield i, f"the answer {number} stands above the prediction"


def is_rounded(number: str, other: str) -> bool:
    """Is the second number the first one, with as many decimals as it has?"""
    return round(float(number), len(other.partition(".")[2])) == float(other)


def numbers(texts: Iterable[str]) -> Iterator[str]:
    """The numbers of texts that have two digits or more, without commas; 02 is the name of a lecture."""
    for text in texts:
        for found in re.findall(r"(?<![\w.])\d[\d,]*(?:\.\d+)?(?![\w])", text):
            plain = found.replace(",", "").rstrip(".")
            if sum(character.isdigit() for character in plain) > 1 and not re.match(r"0\d", plain):
                yield plain
