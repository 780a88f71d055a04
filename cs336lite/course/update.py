"""``cs336lite update FOLDER_OR_ZIP``: a newer edition into the one a student works in, their work untouched.

Lectures, tools and public checks are replaced, new assignments added. What the student changed stays: an assignment's
notebook where it is, with a new text beside it as ``… (new).ipynb``; anything else beside the new file, as ``… (mine)``.
The new files are collected first, and one rename decides; what is cut off after it, the next update finishes.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from cs336lite import scratch
from cs336lite.course.border import plain
from cs336lite.course.manifest import Manifest
from cs336lite.course.paths import (
    EDITION_MARKER,
    GRADED_MODULES,
    CourseError,
    full_repository,
    is_student_edition,
    read_json,
)

JOURNAL = ".cs336lite-update"
MOST_FILES, MOST_BYTES = 20_000, 1 << 30
ORIGIN = "Take editions from your instructor alone: their code runs as you."


@dataclass(frozen=True)
class Step:
    """One file of the edition: what becomes of it, where the new content goes, where the student's own goes."""

    path: str
    what: str
    target: str | None = None
    aside: str | None = None


SAID = {
    "new": "new: {path}",
    "replaced": "replaced: {path}",
    "removed": "removed, since the course has it no more: {path}",
    "kept": "yours, and left as it is: {path}; its new text is beside it, {target}",
    "aside": "replaced: {path}; yours had changes, and is kept as {aside}",
}


def update(root: Path, source: Path | None, *, dry_run: bool = False) -> str:
    """Bring a student edition up to a newer one; what happened to each file, a line each.

    Args:
        root: the edition the student works in.
        source: the newer edition, a folder or a .zip; None to finish an update that was cut off.
        dry_run: change nothing, say what would happen.

    Raises:
        CourseError: one of the two is no edition, the new one is damaged or older, or a file cannot be written.
    """
    if not is_student_edition(root):
        raise CourseError("only a student edition is updated so; the full repository is updated with git")
    if full_repository(root) and source is not None and Path(source).suffix == ".zip":
        raise CourseError("this is your own copy in a clone of the course: `git pull` there, then `cs336lite study`")
    unfinished = (root / JOURNAL).is_dir()
    if unfinished and not dry_run:
        finish(root)
    if source is None:
        if unfinished:
            return "the update that was cut off would be finished" if dry_run else "the update that was cut off is done"
        raise CourseError("which edition? Name the folder or the .zip from your instructor: cs336lite update FILE")
    read = opened(Path(source).expanduser())
    where = plain(source)
    try:
        new = Manifest.from_json(json.loads(read(EDITION_MARKER)))
    except (ValueError, RecursionError):
        raise CourseError(f"{where} is damaged: fetch it again") from None
    except CourseError as error:
        raise CourseError(f"{where} is damaged: {error}") from None
    old = Manifest.of(root)
    if not new.files or not old.files:
        which = where if not new.files else root
        raise CourseError(
            f"{which} is an edition of an older kind, without a list of its files: unpack the new edition beside yours and "
            "copy your notebooks in assignments/ over"
        )
    if new.released < old.released:
        raise CourseError(
            f"{where} was released on {plain(new.released)}, before this edition ({plain(old.released)}): nothing was changed"
        )
    content = {path: whole(read, path, new.files[path], where) for path in sorted(new.files)}
    steps = planned(root, old, new, content)
    told = "\n".join(
        SAID[step.what].format(path=step.path, target=step.target, aside=step.aside)
        for step in steps
        if not step.path.startswith("notebooks/.originals/")  # each goes with its notebook
    )
    if dry_run:
        return f"nothing was changed; an update would do this:\n{told}" if steps else "this edition is up to date"
    gone = {step.path for step in steps if step.what == "removed"} | set(new.files)
    kept = {p: sha for p, sha in old.files.items() if p not in gone and (root / p).is_file()}
    marker = Manifest(
        new.version,
        new.released,
        {**kept, **new.files},
        {**{p: sha for p, sha in old.code.items() if p in kept}, **new.code},
    )
    if not steps and marker == old:
        return "this edition is up to date"
    commit(root, steps, content, marker)
    install = "\nRun `make lab` again: it installs what the new edition needs." if needs_install(steps) else ""
    return f"{told or 'only the list of files was renewed'}{install}\n{ORIGIN}"


def needs_install(steps: list[Step]) -> bool:
    return any(step.path in ("requirements.lock", "pyproject.toml") for step in steps)


# -- the newer edition ------------------------------------------------------------------------------------------


def opened(source: Path) -> Callable[[str], bytes]:
    """A function that reads the files of an edition in a folder or a .zip.

    Raises:
        CourseError: it is neither, or an archive with links or with paths out of it, or too large.
    """
    shown = plain(source)
    if source.is_dir():
        if not (source / EDITION_MARKER).is_file():
            raise CourseError(f"{shown} is no student edition: name a folder or .zip that `cs336lite release` wrote")
        return lambda path: read_below(source, path)
    try:
        archive = zipfile.ZipFile(source)
    except FileNotFoundError:
        raise CourseError(f"there is no {shown}") from None
    except (OSError, zipfile.BadZipFile, ValueError):
        raise CourseError(f"{shown} is neither a folder nor a whole .zip: fetch it again") from None
    entries: dict[str, zipfile.ZipInfo] = {}
    for info in archive.infolist():
        path = PurePosixPath(info.filename)
        if path.is_absolute() or ".." in path.parts or "\\" in info.orig_filename or ":" in info.filename:
            raise CourseError(f"{shown} holds {plain(info.filename)}, a path out of it: nothing was changed")
        if stat.S_ISLNK(info.external_attr >> 16):
            raise CourseError(f"{shown} holds a link, {plain(info.filename)}: nothing was changed")
        if info.filename in entries:
            raise CourseError(f"{shown} holds {plain(info.filename)} twice: nothing was changed")
        entries[info.filename] = info
    if len(entries) > MOST_FILES or sum(info.file_size for info in entries.values()) > MOST_BYTES:
        raise CourseError(f"{shown} is far larger than an edition: nothing was changed")
    tops = [name.removesuffix(EDITION_MARKER) for name in entries if PurePosixPath(name).name == EDITION_MARKER]
    tops = [top for top in tops if top.count("/") <= 1]
    if len(tops) != 1:
        raise CourseError(f"{shown} is no student edition: name a folder or .zip that `cs336lite release` wrote")

    def read(path: str) -> bytes:
        try:
            return archive.read(entries[tops[0] + path])
        except (KeyError, OSError, RuntimeError, NotImplementedError, EOFError, ValueError, zipfile.BadZipFile):
            raise CourseError(f"{shown} is damaged, at {plain(path)}: fetch it again") from None

    return read


def read_below(folder: Path, path: str) -> bytes:
    """A file below a folder; links are not followed."""
    here = folder
    try:
        for part in path.split("/"):
            here = here / part
            if here.is_symlink():
                raise CourseError(f"{plain(here)} is a link, and an edition holds none: nothing was changed")
        return here.read_bytes()
    except OSError as error:
        raise CourseError(f"{plain(here)} cannot be read ({error.strerror}): nothing was changed") from None


def whole(read: Callable[[str], bytes], path: str, sha: str, where: str) -> bytes:
    data = read(path)
    if hashlib.sha256(data).hexdigest() != sha:
        raise CourseError(f"{where}: {plain(path)} is not as it was released: fetch the edition again")
    return data


# -- what is done -----------------------------------------------------------------------------------------------


def planned(root: Path, old: Manifest, new: Manifest, content: dict[str, bytes]) -> list[Step]:
    """What becomes of each file that differs."""
    steps = []
    for path, data in content.items():
        target = root / path
        if link := link_on_the_way(root, path):
            raise CourseError(f"{link} is a link or a file where the edition has a folder: put it right first")
        if target.is_symlink() or (target.exists() and not target.is_file()):
            steps.append(Step(path, "aside", path, free(root, path, "mine")))
            continue
        if not target.exists():
            steps.append(Step(path, "new", path))
            continue
        mine = read_file(target)
        if mine == data:
            continue
        if not old.changed(path, mine):
            if new.files[path] != old.files[path]:
                steps.append(Step(path, "replaced", path))
        elif is_module(path) or new.files[path] == old.files.get(path):
            continue  # the student's own, and nothing new
        elif new.code.get(path) and new.code[path] == old.code.get(path):
            continue  # only our outputs are new
        elif is_assignment(path):
            steps += beside(root, old, path, data)
        else:
            steps.append(Step(path, "aside", path, free(root, path, "mine")))
    for path in sorted(set(old.files) - set(content)):
        target = root / path
        gone = not path.startswith("assignments/") and not is_module(path) and not link_on_the_way(root, path)
        if gone and target.is_file() and not target.is_symlink() and not old.changed(path, read_file(target)):
            steps.append(Step(path, "removed"))
    return steps


def beside(root: Path, old: Manifest, path: str, data: bytes) -> list[Step]:
    """The new text of an assignment beside the student's notebook; nothing when it is there already."""
    target = named(path, "new")
    there = root / target
    if there.is_file() and not there.is_symlink():
        present = read_file(there)
        if present == data:
            return []
        if not old.changed(path, present):  # the text of the update before, not worked in
            return [Step(path, "kept", target)]
    return [Step(path, "kept", free(root, path, "new"))]


def is_assignment(path: str) -> bool:
    parts = path.split("/")
    return len(parts) == 3 and parts[0] == "assignments" and parts[2] == f"{parts[1]}.ipynb"


def is_module(path: str) -> bool:
    """Whether it is a module that the student's solution is exported into."""
    return path in {f"cs336lite/{name}.py" for name in GRADED_MODULES.values()}


def named(path: str, word: str, number: int = 1) -> str:
    stem, dot, ending = path.rpartition("/")[2].rpartition(".")
    count = "" if number == 1 else f" {number}"
    name = f"{stem} ({word}{count}){dot}{ending}" if stem else f"{ending} ({word}{count})"
    return "/".join([*path.split("/")[:-1], name])


def free(root: Path, path: str, word: str) -> str:
    """The first name with this word that is not taken."""
    number = 1
    while os.path.lexists(root / named(path, word, number)):
        number += 1
    return named(path, word, number)


def read_file(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise CourseError(f"{path} cannot be read ({error.strerror}): nothing was changed") from None


def link_on_the_way(root: Path, path: str) -> Path | None:
    """The first folder above a file of the edition that is no plain folder."""
    here = root
    for part in path.split("/")[:-1]:
        here = here / part
        if here.is_symlink() or (here.exists() and not here.is_dir()):
            return here
    return None


# -- doing it ---------------------------------------------------------------------------------------------------


def commit(root: Path, steps: list[Step], content: dict[str, bytes], marker: Manifest) -> None:
    """Collect all new files in a folder of the edition, give that its final name, then put each in its place."""
    for step in steps:
        folder = (root / step.path).parent
        while not folder.exists():
            folder = folder.parent
        if not os.access(folder, os.W_OK | os.X_OK):
            raise CourseError(f"nothing can be written into {folder}: nothing was changed")
    try:
        scratch.sweep(root)
        with scratch.Scratch("update", root) as temporary:
            staged = temporary / "update"
            staged.mkdir()
            moves: list[dict[str, str | None]] = []
            for number, step in enumerate(steps):
                if step.target is not None:
                    (staged / str(number)).write_bytes(content[step.path])
                moves.append(
                    {
                        "from": None if step.target is None else str(number),
                        "to": step.target or step.path,
                        "aside": step.aside,
                    }
                )
            (staged / "marker").write_text(marker.as_json(), encoding="utf-8")
            moves.append({"from": "marker", "to": EDITION_MARKER, "aside": None})
            (staged / "moves.json").write_text(json.dumps(moves), encoding="utf-8")
            os.replace(staged, root / JOURNAL)
    except OSError as error:
        raise CourseError(
            f"the new edition cannot be written into {root} ({error.strerror}): nothing was changed"
        ) from None
    finish(root)


def finish(root: Path) -> None:
    """Do what is left of an update that has been decided; doing it again does no harm."""
    journal = root / JOURNAL
    moves = read_json(journal / "moves.json", None)
    place = journal
    try:
        for move in moves or []:
            place = root / move["to"]
            if move["from"] is None:
                place.unlink(missing_ok=True)
                continue
            staged = journal / move["from"]
            if not staged.exists():
                continue  # done before
            place.parent.mkdir(parents=True, exist_ok=True)
            if move["aside"] and os.path.lexists(place) and not os.path.lexists(root / move["aside"]):
                os.rename(place, root / move["aside"])
            os.replace(staged, place)
        shutil.rmtree(journal)
    except OSError as error:
        raise CourseError(
            f"the update stopped at {place} ({error.strerror}); mend that and run `cs336lite update` to finish it"
        ) from None
