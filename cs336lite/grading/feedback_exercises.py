"""What a feedback page says of each exercise: points, checks, and the lines of the submission that messages name."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

from nbformat import NotebookNode

from cs336lite.course.border import plain
from cs336lite.grading.feedback_cells import exercise_of
from cs336lite.grading.feedback_text import safe_markdown
from cs336lite.grading.places import lines
from cs336lite.grading.submission import label_of


def exercises_of(cells: list[NotebookNode], verdict: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """What the page says of each exercise, in the order of the checks.

    Points are nbgrader's where it has some: they may be changed by hand.
    """
    found: dict[str, dict[str, Any]] = {}
    for check in verdict.get("checks", []):
        one = found.setdefault(
            check["exercise"],
            {"name": check["exercise"], "checks": [], "points": 0, "most": 0, "read": None, "comment": "", "text": ""},
        )
        one["checks"].append({"excused": "", **check, "said": check["message"]})
        one["points"] += check["points"]
        one["most"] += check["max_points"]
    for name, (text, link) in verdict.get("read", {}).items():
        if name in found:
            found[name]["read"] = {"text": text, "link": link, "open": link.startswith(("https://", "http://"))}
    for one in found.values():
        failed = [check for check in one["checks"] if not check["passed"]]
        one["passed"] = len(one["checks"]) - len(failed)
        one["first"] = failed[0]["message"] if failed else ""
        one["judged"] = one["points"]
    say_once(list(found.values()))
    sources = sources_of(cells)
    for check in [check for one in found.values() for check in one["checks"]]:
        check["at"] = lines_at(check["said"], sources)
    for cell in cells:
        known = cell.metadata.get("nbgrader", {})
        one = found.get(exercise_of(str(known.get("grade_id", ""))))
        if one is None:
            continue
        if known.get("grade") and "score" in known:
            one["points"], one["most"] = known["score"] or 0, known["points"]
            judged = sum(c["points"] for c in one["checks"]) / (sum(c["max_points"] for c in one["checks"]) or 1)
            one["judged"] = judged * known["points"]
        if known.get("comment") and known["comment"] != "No response.":  # nbgrader's own, for a cell left as it was
            one["comment"] = safe_markdown(str(known["comment"]))
    return found


def say_once(exercises: list[dict[str, Any]]) -> None:
    """Where several checks say the same: with the first, how many others do; once in each other exercise, where it stands."""
    failed = [(one, check) for one in exercises for check in one["checks"] if not check["passed"] and check["message"]]
    count = Counter(check["message"] for _, check in failed)
    stands: dict[str, str] = {}
    told = set()
    for one, check in failed:
        message, name = check["message"], one["name"]
        if count[message] == 1:
            continue
        first = stands.setdefault(message, name)
        if first != name:
            check["said"] = f"the same as for `{first}`"
        elif (name, message) not in told:
            others = count[message] - 1
            check["said"] += f" (and {others} more check{'s say' if others > 1 else ' says'} the same)"
        if (name, message) in told:
            check["said"] = ""
        told.add((name, message))
        if first != name and one["first"] == message:
            one["first"] = check["said"]


AT = re.compile(r"\(cell (`[^`]+`|\d+), line (\d+)\)|\bcell (`[^`]+`|\d+) stopped with [^;]*? on line (\d+)")
"""How a message says where code of the submission was: `places.place_said` and `places.said` write so."""
LONGEST_SHOWN = 120  # letters of a line that are shown beside a message


def sources_of(cells: list[NotebookNode]) -> dict[str, str]:
    """The code that was judged, by the name that a message calls its cell; see `Submission`."""
    found = {}
    for cell in cells:
        known = cell.metadata.get("nbgrader", {})
        if cell.cell_type == "code" and not known.get("locked"):
            found[label_of(cell)] = cell.source
    return found


def lines_at(message: str, sources: dict[str, str]) -> list[dict[str, str]]:
    """The lines of the submission that a message names: where each stands, and what stands there."""
    shown = {}
    for place in AT.finditer(message):
        label, number = place[1] or place[3], int((place[2] or place[4])[:6])
        line = plain(lines(sources.get(label, ""), number, number), LONGEST_SHOWN)
        if line:
            shown[label, number] = {"where": f"cell {label}, line {number}", "line": line}
    return list(shown.values())
