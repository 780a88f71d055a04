"""The secret seed from which the hidden inputs of a course are drawn: one for each course and term, wherever it is graded."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

from cs336lite.course.paths import CourseError, read_json, write_atomic
from cs336lite.grading import sharing
from cs336lite.grading.locks import only_writer

SEED_DIGITS = 32
LEAST_SEED = 8  # letters of a seed; ours have 32, and one may be chosen by hand
LARGEST_FILE = 4096  # bytes of a file that is looked at
BACK = (
    "Put it back from a copy (`cs336lite seed --import FILE`; each kept verdict in verdicts/ names it, too, as the seed of its "
    "provenance), or make a new one with `cs336lite seed --renew`: then everything is judged anew"
)


def course_seed(course: Path, rights: sharing.Rights = sharing.PRIVATE) -> str:
    """The seed of a course, made when there was none.

    Raises CourseError where it is lost or damaged, and something was graded with it: another one would judge all anew.
    """
    path = seed_file(course)
    if not path.is_symlink() and not path.exists():
        if kept := graded_with_one(course):
            raise CourseError(f"the course has {kept}, and their seed is gone: {path} is missing. {BACK}")
        sharing.write(path, new_seed(), rights, replace=False)  # several graders may start at once
    return read_seed(path)


def seed_file(course: Path) -> Path:
    return course / ".secret" / "seed"


def graded_with_one(course: Path) -> str:
    """What was made with the seed of a course, in a word; empty when nothing was."""
    if any(course.glob("verdicts/*/*.json")):
        return "verdicts"
    book = course / "gradebook.db"
    with suppress(sqlite3.Error), closing(sqlite3.connect(f"{book.absolute().as_uri()}?mode=ro", uri=True)) as opened:
        if opened.execute("SELECT 1 FROM grade WHERE auto_score IS NOT NULL LIMIT 1").fetchone():
            return "scores in its gradebook"
    return ""


def read_seed(path: Path) -> str:
    """The seed in a file. Raises CourseError when it cannot be read, or holds none."""
    try:
        with open(path, "rb") as file:
            seed = file.read(LARGEST_FILE).decode("ascii").strip()
    except PermissionError as error:
        raise sharing.Stop(f"{path} cannot be read: {sharing.cannot_write(path.parent, error)}") from None
    except (OSError, UnicodeDecodeError):
        seed = ""
    if not LEAST_SEED <= len(seed) <= 200 or not seed.isprintable():
        raise CourseError(f"{path} is damaged: it must hold one line of {LEAST_SEED} letters or more. {BACK}")
    return seed


def new_seed() -> str:
    return secrets.token_hex(SEED_DIGITS // 2)


def fingerprint(seed: str) -> str:
    """Eight letters that two machines can compare aloud, and that do not give the seed away."""
    return hashlib.pbkdf2_hmac("sha256", seed.encode(), b"cs336lite seed", 200_000).hex()[:8]


# -- commands ---------------------------------------------------------------------------------------------------


def command(course: Path, renew: bool, export: Path | None, source: Path | None) -> str:
    """What ``cs336lite seed`` does and says."""
    if renew + (export is not None) + (source is not None) > 1:
        raise CourseError("--renew, --export and --import are three things: ask for one")
    if renew:
        return renew_seed(course)
    if export is not None:
        return export_seed(course, export)
    return about_seed(course) if source is None else import_seed(course, source)


def about_seed(course: Path) -> str:
    """When the course's seed was made, its fingerprint, and which older ones are kept; never the seed itself."""
    rights = sharing.rights_of(course)
    path = seed_file(course)
    if not path.is_symlink() and not path.exists() and not graded_with_one(course):
        return "there is no seed yet: the first grading makes one"
    sharing.settle(course, rights)
    seed = course_seed(course, rights)
    old = sorted(p.name for p in path.parent.glob("seed-*"))
    kept = f"; kept from before: {', '.join(old)}" if old else ""
    return f"the seed was made on {day_of(path)}; its fingerprint is {fingerprint(seed)}{kept}"


def renew_seed(course: Path) -> str:
    """Make a new seed, and keep the old one as ``seed-<the day it was made>``; says what was done."""
    rights = sharing.rights_of(course)
    with only_writer(course, rights=rights):
        seed = new_seed()
        kept = put_seed(course, seed, rights)
    return (
        f"a new seed was made{kept}; its fingerprint is {fingerprint(seed)}. Everything will be judged anew, with new inputs; "
        "verdicts that are kept can still be replayed, for each holds its own seed"
    )


def export_seed(course: Path, file: Path) -> str:
    """Write the seed into a new file that its owner alone may read, for another machine that grades the same course."""
    seed = course_seed(course, sharing.rights_of(course))
    if file.exists() or file.is_symlink():
        raise CourseError(f"{file} is there already: name a new file")
    with sharing.told(file.parent):
        write_atomic(file, f"{seed}\n", 0o600, replace=False)
    return (
        f"the seed with the fingerprint {fingerprint(seed)} is in {file}: `cs336lite seed --import {file.name}` takes it on "
        "another machine; who has it can work out the hidden inputs, so delete the file afterwards"
    )


def import_seed(course: Path, file: Path) -> str:
    """Take the seed that `export_seed` wrote on another machine, or that was lost here; says what that means."""
    if not file.is_file():
        raise CourseError(f"no such file: {file}")
    seed = read_seed(file)
    rights = sharing.rights_of(course)
    with only_writer(course, rights=rights):
        path = seed_file(course)
        try:
            same = read_seed(path) == seed
        except CourseError:
            same = False
        if same:
            return f"this course has that seed already; its fingerprint is {fingerprint(seed)}"
        others = any(one != seed for one in seeds_of_verdicts(course))
        kept = put_seed(course, seed, rights)
    anew = ". Verdicts that another seed gave are judged anew" if others else ""
    return f"the seed was taken{kept}; its fingerprint is {fingerprint(seed)}{anew}"


def put_seed(course: Path, seed: str, rights: sharing.Rights) -> str:
    """Make this the course's seed; what became of the one before, for a sentence. The caller is the only writer."""
    path, kept = seed_file(course), ""
    if path.exists():
        names = (f"seed-{day_of(path)}{end}" for end in ("", *(f"-{number}" for number in range(2, 1000))))
        old = next(path.with_name(name) for name in names if not path.with_name(name).exists())
        with sharing.told(path.parent):
            write_atomic(old, path.read_bytes()[:LARGEST_FILE], rights.file)
            os.utime(old, (path.stat().st_mtime,) * 2)
        kept = f"; the old one is kept as {old.name}"
    sharing.write(path, seed, rights)
    return kept


def seeds_of_verdicts(course: Path) -> Iterator[str]:
    for path in course.glob("verdicts/*/*.json"):
        data = read_json(path, None)
        provenance = data.get("provenance") if isinstance(data, dict) else None
        if isinstance(provenance, dict):
            yield json.dumps(provenance.get("seed")).strip('"')


def day_of(path: Path) -> str:
    return time.strftime("%Y-%m-%d", time.localtime(path.stat().st_mtime))
