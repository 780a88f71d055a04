"""``cs336lite new``: the files of a new assignment or lecture, with one worked exercise that passes its checks.

What is written is an example to be rewritten, not a form to be filled in: the files in ``templates``, each at the place
that it gets in the course. Recipes are in CONTRIBUTING.md.
"""

from __future__ import annotations

import keyword
import re
from pathlib import Path

from cs336lite.course.paths import GRADED_MODULES, CourseError, is_student_edition

PATHS = "cs336lite/course/paths.py"
CATALOGUE = "tests/assignments/test_catalogue.py"
SUFFIX = "-tpl"  # a file of Python that no tool takes for one
TEMPLATES = Path(__file__).with_name("templates")
"""A folder for each kind, with the files at their places; `NAME`, `MODULE` and others are filled in."""


def new_assignment(root: Path, name: str, *, after: int) -> str:
    """Write the files of assignment ``name``, done after lecture number ``after``, and say what to do next.

    Raises:
        CourseError: the name is no ``aN_topic`` or is taken, there is no such lecture, or this is a student edition.
    """
    number, topic = _parts(root, name, r"a([1-9]\d*)_([a-z][a-z0-9_]*)", "a8_topic")
    if name in GRADED_MODULES or f"a{number}" in {known.partition("_")[0] for known in GRADED_MODULES}:
        raise CourseError(f"there is an assignment a{number} already: {', '.join(GRADED_MODULES)}")
    lectures = {int(path.name[:2]) for path in (root / "notebooks" / "text").glob("[0-9][0-9]*_*.py")}
    if after not in lectures:
        raise CourseError(f"there is no lecture {after} after which {name} could be done")
    paths = _added(root / PATHS, "GRADED_MODULES = {", f'    "{name}": "{topic}",\n')
    paths = _added(root / PATHS, "AFTER_LECTURE = {", f'    "{name}": {after},\n', paths)
    others = {PATHS: paths}
    if (root / CATALOGUE).exists():
        others[CATALOGUE] = _added(root / CATALOGUE, "ABOUT = {", f'    "{name}": About(("average",), ()),\n')
    _write(root, "assignment", others, name, topic, number)
    return (
        f"{name} is there, done after lecture {after}, with one worked exercise. Rewrite it; points stand in "
        f"assignments/hidden/{name}.py, and `cs336lite points {name}` puts them into the text. Then `cs336lite build {name}`, "
        "a row in the README, and more solutions in the catalogue: see CONTRIBUTING.md"
    )


def new_lecture(root: Path, name: str) -> str:
    """Write the files of lecture ``name`` and say what to do next.

    Raises:
        CourseError: the name is no ``NN_topic`` or is taken, or this is a student edition.
    """
    number, topic = _parts(root, name, r"(\d\d)_([a-z][a-z0-9_]*)", "11_topic")
    taken = [path.stem for path in (root / "notebooks" / "text").glob(f"{number}_*.py")]
    if taken:
        raise CourseError(f"there is a lecture {number} already: {taken[0]}")
    _write(root, "lecture", {}, name, topic, number)
    return (
        f"{name} is there, with one worked exercise and one claim. Rewrite it, then `cs336lite build {name}` and a row in "
        "the README: see CONTRIBUTING.md"
    )


def _parts(root: Path, name: str, form: str, example: str) -> tuple[str, str]:
    """The number and the topic of a name, which is also that of its module."""
    if is_student_edition(root):
        raise CourseError("this command needs the full repository: a student edition has no texts")
    found = re.fullmatch(form, name)
    if not found or keyword.iskeyword(found[2]):
        raise CourseError(f"a name looks like {example}, in small letters, and {name!r} does not")
    if (root / "cs336lite" / f"{found[2]}.py").exists() or (root / "cs336lite" / found[2]).exists():
        raise CourseError(f"the topic names the module that is built, and there is a cs336lite.{found[2]} already")
    return found[1], found[2]


def _added(path: Path, opening: str, line: str, text: str = "") -> str:
    """The text of a file with a line more at the end of the literal that begins with ``opening``."""
    text = text or path.read_text(encoding="utf-8")
    begin = text.find(f"\n{opening}\n")
    end = text.find("\n}\n", begin)
    if begin < 0 or end < 0:
        raise CourseError(f"{path}: there is no `{opening}` to add a line to")
    return f"{text[: end + 1]}{line}{text[end + 1 :]}"


def _write(root: Path, kind: str, others: dict[str, str], name: str, topic: str, number: str) -> None:
    """Write the new files of a kind, then those that were added to; nothing when one of the new ones is there already."""
    words = {"NAME": name, "SHORT": name.partition("_")[0], "MODULE": topic, "NUMBER": number}
    words["TITLE"] = topic.replace("_", " ").capitalize()

    def filled(text: str) -> str:
        return re.sub(rf"(?<![A-Z])(?:{'|'.join(words)})(?![A-Z])", lambda found: words[found[0]], text)

    folder, made = TEMPLATES / kind, {}
    for path in sorted(folder.rglob(f"*{SUFFIX}")):
        place = path.relative_to(folder).as_posix().removesuffix(SUFFIX)
        made[root / filled(place)] = filled(path.read_text(encoding="utf-8"))
    if there := [path for path in made if path.exists()]:
        raise CourseError(f"{there[0].relative_to(root)} is there already, and nothing was written")
    for path, text in made.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    for where, text in others.items():
        (root / where).write_text(text, encoding="utf-8")
