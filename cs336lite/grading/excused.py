"""Checks that do not count as they were judged: left out for everybody, or given to everybody.

They stand in ``assignments/exceptions.toml``, which ``cs336lite excuse`` writes and a person may edit::

    [a4_lion."optimizer.step_runs_its_closure"]      # a check, or an exercise: [a4_lion.optimizer]
    rule = "exclude"                                 # or "everybody"
    why = "the text did not ask for closures"

An excluded check counts for nobody: the others of its exercise are worth more, so that the exercise is worth what it was.
An exercise of which all checks are excluded is given to everybody. Verdicts stay as they are: the rules are applied to
them whenever they are recorded, so they can be taken back.
"""

from __future__ import annotations

import json
import tomllib
from dataclasses import dataclass, field, replace
from pathlib import Path

from cs336lite.course.border import plain
from cs336lite.course.paths import GRADED_MODULES, CourseError, write_atomic
from cs336lite.course.spec import CheckResult, load_spec
from cs336lite.grading.judge import hidden_source
from cs336lite.grading.verdicts import Verdict

FILE = "exceptions.toml"
EXCLUDE, EVERYBODY = "exclude", "everybody"
SAID = {EXCLUDE: "counts for nobody", EVERYBODY: "given to everybody"}
HEAD = "# Checks and exercises that do not count as they were judged; see `cs336lite excuse --help`.\n"


@dataclass(frozen=True)
class Rule:
    rule: str
    why: str

    def __str__(self) -> str:
        return f"{SAID[self.rule]}: {self.why}"


@dataclass(frozen=True)
class Excused:
    """The rules of one assignment, by check or by exercise."""

    rules: dict[str, Rule] = field(default_factory=dict)

    def apply(self, verdict: Verdict) -> Verdict:
        """The verdict by these rules; its ``max_score`` stays. Raises CourseError for a rule of what there is not."""
        if not self.rules:
            return verdict
        known = {c.id for c in verdict.checks} | {c.exercise for c in verdict.checks}
        if unknown := sorted(self.rules.keys() - known):
            raise CourseError(
                f"{FILE} names {plain(unknown[0])!r}, and {verdict.assignment} has no such check or exercise"
            )
        results: dict[str, CheckResult] = {}
        for exercise in dict.fromkeys(c.exercise for c in verdict.checks):
            results |= {c.id: c for c in self.exercise(verdict.exercise(exercise))}
        checks = tuple(results[c.id] for c in verdict.checks)
        provenance = {
            **verdict.provenance,
            "exceptions": {name: str(rule) for name, rule in sorted(self.rules.items())},
        }
        score = min(round(sum(c.points for c in checks), 6), verdict.max_score)
        return replace(verdict, checks=checks, score=score, provenance=provenance)

    def exercise(self, checks: list[CheckResult]) -> list[CheckResult]:
        """The checks of one exercise by these rules: worth the same together."""
        found = {c.id: self.rules.get(c.id) or self.rules.get(c.exercise) for c in checks}
        total = sum(c.max_points for c in checks)
        left = sum(c.max_points for c in checks if found[c.id] is None or found[c.id].rule == EVERYBODY)
        scale = total / left if left else 1.0
        done = []
        for c in checks:
            rule = found[c.id]
            if rule is None:
                done.append(replace(c, points=round(c.points * scale, 6), max_points=round(c.max_points * scale, 6)))
                continue
            worth = 0.0 if rule.rule == EXCLUDE and left else round(c.max_points * scale, 6)
            said = str(rule) if rule.rule == EVERYBODY or left or not total else f"{SAID[EVERYBODY]}: {rule.why}"
            done.append(replace(c, points=worth, max_points=worth, passed=True, message="", fault="", excused=said))
        return done


def read_excused(course: Path, assignment: str) -> Excused:
    """The rules of an assignment. Raises CourseError for a file that cannot be understood."""
    return Excused(read_all(course).get(assignment, {}))


def read_all(course: Path) -> dict[str, dict[str, Rule]]:
    path = course / FILE
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise CourseError(f"{path} cannot be read: {error}") from None
    found: dict[str, dict[str, Rule]] = {}
    for assignment, rules in data.items():
        if assignment not in GRADED_MODULES or not isinstance(rules, dict):
            raise CourseError(
                f"{path}: there is no assignment {plain(assignment)!r}; there are: {', '.join(GRADED_MODULES)}"
            )
        found[assignment] = {name: rule_of(path, assignment, name, rule) for name, rule in rules.items()}
    return found


def rule_of(path: Path, assignment: str, name: str, entry: object) -> Rule:
    """One entry of the file."""
    where = f'{path}: [{assignment}."{plain(name)}"]'
    if not isinstance(entry, dict) or entry.get("rule") not in SAID:
        raise CourseError(
            f'{where} needs rule = "{EXCLUDE}" or rule = "{EVERYBODY}" (put the name of a check in quotes)'
        )
    why = entry.get("why")
    if not isinstance(why, str) or not plain(why):
        raise CourseError(f'{where} needs why = "…": students read it')
    if more := sorted(entry.keys() - {"rule", "why"}):
        raise CourseError(f"{where} has {plain(more[0])!r}, which means nothing here: only rule and why belong there")
    return Rule(entry["rule"], plain(why))


def excuse(course: Path, assignment: str, name: str, rule: str, why: str) -> str:
    """Set the rule of a check or an exercise, or take it back where ``rule`` is empty; what to tell the instructor.

    Raises:
        CourseError: there is no such check, no reason is given, or nothing to take back.
    """
    name = full_name(course, assignment, name)
    rules = read_all(course)
    mine = rules.setdefault(assignment, {})
    if rule and not plain(why):
        raise CourseError('say why, for those who read their feedback: --why "…"')
    if not rule and name not in mine:
        raise CourseError(f"{name} of {assignment} is not excused: there is nothing to take back")
    if rule:
        mine[name] = Rule(rule, plain(why))
        done = f"{name} of {assignment}: {mine[name]}"
    else:
        del mine[name]
        done = f"{name} of {assignment} counts again as it was judged"
    write_atomic(
        course / FILE, HEAD + "".join(written(a, n, r) for a, found in rules.items() for n, r in found.items())
    )
    return f"{done}. `cs336lite grade {assignment}` records it; nothing is judged anew."


def written(assignment: str, name: str, rule: Rule) -> str:
    quoted = json.dumps(rule.why, ensure_ascii=False)
    return f'\n[{assignment}.{json.dumps(name)}]\nrule = "{rule.rule}"\nwhy = {quoted}\n'


def full_name(course: Path, assignment: str, name: str) -> str:
    """The check or exercise that a name means: ``train.ties``, ``ties`` or ``train``. Raises CourseError."""
    spec = load_spec(*hidden_source(course, assignment))
    if name in spec.exercises or any(c.id == name for c in spec):
        return name
    same = [c.id for c in spec if c.id.partition(".")[2] == name]
    if len(same) != 1:
        which = f"several: {', '.join(same)}" if same else f"there are: {', '.join(c.id for c in spec)}"
        raise CourseError(f"{assignment} has no check or exercise {plain(name)!r}; {which}")
    return same[0]


def excused_checks(course: Path, assignment: str) -> str:
    """The checks of an assignment, one a line, with what is excused."""
    spec, rules = load_spec(*hidden_source(course, assignment)), read_all(course).get(assignment, {})
    lines = []
    for c in spec:
        rule = rules.get(c.id) or rules.get(c.exercise)
        lines.append(f"{c.id} ({c.points:g})" + (f": {rule}" if rule else ""))
    return "\n".join(lines)
