"""Which file of a submission is the work: `a1_bpe.ipynb`, or what a mail, a browser or a learning platform made of it.

    a1_bpe.ipynb                                     the work, whatever lies beside it
    a1_bpe (1).ipynb, A1_BPE.ipynb, Doe_7_a1.ipynb   the work, when it is the only one that can be: with a note
    two of these                                     a question to the instructor: nothing is graded or recorded
    nothing of the kind                              the same

Notebooks are looked for first, loose or in a ``.zip``, then plain Python files. Names are a student's: they are shown as
text, no link is followed, and an archive is read by `unpack`, in a process with limits, one member and no more.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import unicodedata
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from cs336lite.course.border import plain
from cs336lite.course.paths import GRADED_MODULES, CourseError
from cs336lite.grading.limited import Exceeded, Failed, Limits, Lost, Shared
from cs336lite.scratch import Scratch

NOTEBOOK = (".ipynb", ".ipynb.txt", ".ipynb.json")
SCRIPT = (".py", ".py.txt")
ARCHIVE = (".zip",)
IGNORED = {"__macosx", "__pycache__", "thumbs.db", "desktop.ini"}  # and whatever begins with a dot: checkpoints, .git
MOST_FILES = 1000  # of a submission that are looked at
MOST_MEMBERS = 1000  # of an archive
MOST_DEPTH = 5
MOST_BYTES = 128 << 20  # of a member, as of a file that is handed in by itself
MOST_ALIKE = 8  # files of a submission that are compared
MOST_NAMES = 5  # in one message
NAMES = 60  # letters of one


class Unclear(CourseError):
    """Which file is the work cannot be told, or it cannot be taken out of its archive: the instructor decides."""


@dataclass(frozen=True)
class Found:
    """A file to judge. ``guessed``: it has another name; ``note`` tells its author and the instructor."""

    path: Path
    guessed: bool = False
    note: str = ""


def kind_of_file(name: str) -> str:
    """``"notebook"``, ``"script"`` or ``"archive"``, by a file's name; else empty."""
    kinds = {"notebook": NOTEBOOK, "script": SCRIPT, "archive": ARCHIVE}
    return next((kind for kind, endings in kinds.items() if name.casefold().endswith(endings)), "")


def shown(name: object) -> str:
    """A name as a message quotes it."""
    return f"`{plain(name, NAMES).replace('`', chr(39))}`"


def listed(names: Iterable[object]) -> str:
    names = sorted(map(str, names))
    more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
    return ", ".join(map(shown, names[:MOST_NAMES])) + more


# -- in a folder ------------------------------------------------------------------------------------------------


def find(folder: Path, assignment: str) -> Found:
    """The work in the folder of a submission. Raises Unclear, with a sentence for the instructor."""
    name = f"{assignment}.ipynb"
    if os.path.lexists(folder / name):
        return Found(folder / name, note=note_on_others(folder, name, assignment))
    files = {path.relative_to(folder).as_posix(): path for path in files_of(folder)}
    possible = one_of_each({there: files[there] for there in possible_names(files, assignment)})
    if not possible:
        there = f"there is {listed(files)}" if files else "its folder is empty, but for what is hidden"
        raise Unclear(f"nothing that can be {shown(name)}: {there}. {CHOOSE.format(name)}")
    if len(possible) > 1:
        raise Unclear(f"several files can be {shown(name)}: {listed(possible)}. {CHOOSE.format(name)}")
    ((there, path),) = possible.items()
    return Found(path, True, f"the file {shown(there)} was judged, for there is no {shown(name)}")


CHOOSE = "Give the one that counts the name `{}`, and grade again"


def possible_names(names: Iterable[str], assignment: str) -> list[str]:
    """Of the names of some files those that can be the work of an assignment: notebooks, or else plain Python files."""
    mine = [name for name in names if not is_of_another(name, assignment)]
    found = [name for name in mine if kind_of_file(name) in ("notebook", "archive")]
    if found:
        return found
    scripts = [name for name in mine if kind_of_file(name) == "script"]
    called = [name for name in scripts if is_called(PurePosixPath(name).name, assignment)]
    return called if len(scripts) > 1 and called else scripts  # beside helpers, the one called like the assignment


def is_called(name: str, assignment: str) -> bool:
    return assignment in unicodedata.normalize("NFKC", name).casefold().replace("-", "_").replace(" ", "_")


def is_of_another(name: str, assignment: str) -> bool:
    """Whether a file is called like another assignment and not like this one."""
    return not is_called(name, assignment) and any(is_called(name, other) for other in GRADED_MODULES)


def one_of_each(files: dict[str, Path]) -> dict[str, Path]:
    """Files without those that are byte for byte like an earlier one, where they are few."""
    if not 1 < len(files) <= MOST_ALIKE:
        return files
    kept: dict[bytes, str] = {}
    for name in sorted(files):
        kept.setdefault(fingerprint(files[name]), name)
    return {name: files[name] for name in kept.values()}


def fingerprint(path: Path) -> bytes:
    """A hash of what a file holds; of one that is large or cannot be read, of its name."""
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            if os.fstat(file.fileno()).st_size <= MOST_BYTES:
                return hashlib.file_digest(file, "sha256").digest()
    except OSError:
        pass
    return hashlib.sha256(os.fsencode(path)).digest()


def note_on_others(folder: Path, name: str, assignment: str) -> str:
    """What to say when other work lies beside the notebook that has the right name; empty when none does."""
    try:
        files = {path.relative_to(folder).as_posix(): path for path in files_of(folder)}
    except Unclear:
        return ""
    if name not in files:  # a link, or what else is no file
        return ""
    others = [other for other in possible_names(files, assignment) if other != name]
    alike = one_of_each({other: files[other] for other in (name, *others)})
    others = [other for other in others if other in alike or name not in alike]
    return f"{shown(name)} was judged, and not {listed(others)}" if others and len(alike) > 1 else ""


def files_of(folder: Path) -> Iterator[Path]:
    """The files of a submission that somebody wrote, below its folder too. Raises Unclear when they are too many."""
    seen = 0
    left = [(folder, 0)]
    while left:
        here, depth = left.pop()
        try:
            with os.scandir(here) as entries:
                for entry in entries:
                    seen += 1
                    if seen > MOST_FILES:
                        raise Unclear(f"more than {MOST_FILES} files, and none of them at its place")
                    if entry.name.startswith(".") or entry.name.casefold() in IGNORED:
                        continue
                    if entry.is_dir(follow_symlinks=False):
                        if depth < MOST_DEPTH:
                            left.append((Path(entry.path), depth + 1))
                    elif entry.is_file(follow_symlinks=False) and entry.name not in NOTES:
                        yield Path(entry.path)
        except OSError as error:
            raise Unclear(f"its folder cannot be read: {error.strerror}") from None


NOTES = (
    "timestamp.txt",
    "submission_secret.txt",
    "timestamp-as-written.txt",
    "timestamp-unreadable.txt",
)  # nbgrader's, and ours


# -- in an archive ----------------------------------------------------------------------------------------------

UNPACKER = Shared(Limits(step_seconds=20, call_seconds=20))
"""The process that reads archives."""


def taken_out(archive: Path, assignment: str, scratch: Path) -> Found:
    """The work in an archive, as a file in the ``scratch`` folder. Raises Unclear."""
    try:
        told = UNPACKER.call(f"{__name__}:unpack", str(archive), assignment, str(scratch))
    except Exceeded as limit:
        raise Unclear(f"the archive {shown(archive.name)} cannot be read: it takes {limit}. {OPEN}") from None
    except (Lost, Failed) as error:
        raise Unclear(f"the archive {shown(archive.name)} cannot be read: {plain(error)}. {OPEN}") from None
    if "problem" in told:
        raise Unclear(f"the archive {shown(archive.name)} {told['problem']}. {OPEN}")
    note = f"the file {shown(told['member'])} in {shown(archive.name)} was judged"
    return Found(scratch / told["file"], True, note)


OPEN = "Open it yourself, and put the file that counts beside it"


def unpack(archive: str, assignment: str, scratch: str) -> dict[str, str]:
    """Copy the work in an archive into a folder, under a name of ours: its ``file`` there and the ``member``, or the ``problem``.

    Runs in a process with limits.
    """
    try:
        handle = os.open(archive, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(handle, "rb") as file:
            about = os.fstat(handle)
            if not stat.S_ISREG(about.st_mode) or about.st_size > MOST_BYTES:
                return {"problem": f"is no regular file of at most {MOST_BYTES >> 20} MiB"}
            with zipfile.ZipFile(file) as opened:
                return take_one(opened, assignment, Path(scratch))
    except MemoryError:
        raise
    except zipfile.BadZipFile:
        return {"problem": "is damaged, or no .zip"}
    except Exception as error:  # zipfile, and whatever packed the file, raise many kinds
        return {"problem": f"cannot be read ({type(error).__name__})"}


def take_one(opened: zipfile.ZipFile, assignment: str, scratch: Path) -> dict[str, str]:
    if len(opened.infolist()) > MOST_MEMBERS:
        return {"problem": f"holds more than {MOST_MEMBERS} files"}
    members = {member.filename: member for member in opened.infolist() if is_plain_member(member)}
    possible = possible_names(members, assignment)
    exact = [name for name in possible if PurePosixPath(name).name == f"{assignment}.ipynb"]
    possible = exact if len(exact) == 1 else possible
    if not possible:
        there = f": there is {listed(members)}" if members else ""
        return {"problem": f"holds nothing that can be {shown(f'{assignment}.ipynb')}{there}"}
    if len(possible) > 1:
        return {"problem": f"holds several files that can be the work: {listed(possible)}"}
    member = members[possible[0]]
    if kind_of_file(member.filename) == "archive":
        return {"problem": f"holds another archive: {shown(member.filename)}"}
    if member.flag_bits & 1:
        return {"problem": "is locked with a password"}
    if member.file_size > MOST_BYTES:
        return {"problem": f"holds a file of more than {MOST_BYTES >> 20} MiB: {shown(member.filename)}"}
    name = f"{assignment}{'.py' if kind_of_file(member.filename) == 'script' else '.ipynb'}"
    with opened.open(member) as source, open(scratch / name, "wb") as copy:
        shutil.copyfileobj(source, copy, 1 << 20)  # no more than file_size: zipfile stops there
    return {"file": name, "member": member.filename}


def is_plain_member(member: zipfile.ZipInfo) -> bool:
    """Whether a member is a file that somebody wrote: no folder, no link, nothing hidden."""
    parts = PurePosixPath(member.filename).parts
    kind = stat.S_IFMT(member.external_attr >> 16)
    if member.is_dir() or kind not in (0, stat.S_IFREG):
        return False
    return not any(part.casefold() in IGNORED or (part.startswith(".") and part != "..") for part in parts)


# -- both -------------------------------------------------------------------------------------------------------


class Opened:
    """The work in a folder or a file, as a file that can be read; what was taken out of an archive goes at the end.

        with Opened(folder, "a1_bpe") as found:
            read_notebook(found.path)

    Raises Unclear.
    """

    def __init__(self, place: Path, assignment: str) -> None:
        self.place, self.assignment = place, assignment
        self.scratch: Scratch | None = None

    def __enter__(self) -> Found:
        found = find(self.place, self.assignment) if self.place.is_dir() else Found(self.place)
        if kind_of_file(found.path.name) != "archive":
            return found
        self.scratch = Scratch("course")
        try:
            return taken_out(found.path, self.assignment, self.scratch.path)
        except BaseException:
            self.scratch.close()
            raise

    def __exit__(self, *_: object) -> None:
        if self.scratch is not None:
            self.scratch.close()
