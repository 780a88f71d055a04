"""What an edition was released with: the list in its marker, by which an update tells a student's work from ours.

{"edition": "student", "version": "0.1.0", "released": "2027-02-01T08:00:00Z",
 "files": {path: sha256}, "code": {path of a notebook: sha256 of its cells' sources}}
"""

from __future__ import annotations

import hashlib
import json
import re
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path, PurePosixPath

from cs336lite.course.paths import EDITION_MARKER, CourseError, read_json, write_atomic

RELEASES = Path(".cs336lite") / "releases.json"
"""In the full repository: when an edition with the same files was released first."""
WHEN = "%Y-%m-%dT%H:%M:%SZ"
TOPS = re.compile(r"(README\.md|LICENSE|Makefile|[a-z_]+\.(py|toml|yml|lock)|(assignments|cs336lite|notebooks)/.+)")
"""Where the files of an edition lie, so that no list names any other place."""


@dataclass(frozen=True)
class Manifest:
    """The marker of an edition; ``files`` is empty in one that lists none."""

    version: str = "unknown"
    released: str = ""
    files: dict[str, str] = field(default_factory=dict)
    code: dict[str, str] = field(default_factory=dict)

    def as_json(self) -> str:
        return json.dumps({"edition": "student", **self.__dict__}, indent=0, sort_keys=True) + "\n"

    @classmethod
    def from_json(cls, value: object) -> Manifest:
        """From a marker's content.

        Raises:
            CourseError: it is none, or names files at places where no edition has any.
        """
        problem = CourseError(f"its {EDITION_MARKER} is damaged")
        if not isinstance(value, dict) or value.get("edition") != "student":
            raise problem
        texts = [value.get("version", "unknown"), value.get("released", "")]
        for name in ("files", "code"):
            found = value.get(name, {})
            if not isinstance(found, dict):
                raise problem
            texts += [*found, *found.values()]
            if not all(map(is_place, found)):
                raise problem
        if not all(isinstance(text, str) for text in texts):
            raise problem
        return cls(texts[0], texts[1], value.get("files", {}), value.get("code", {}))

    @classmethod
    def of(cls, edition: Path) -> Manifest:
        """That of an edition in a folder. Raises CourseError."""
        try:
            return cls.from_json(read_json(edition / EDITION_MARKER, None))
        except CourseError as error:
            raise CourseError(f"{edition} cannot be updated: {error}") from None

    def changed(self, path: str, data: bytes) -> bool:
        """Whether a file is another than the one that was released; of a notebook, outputs do not count."""
        if path in self.code:
            return code_digest(data) != self.code[path]
        return hashlib.sha256(data).hexdigest() != self.files.get(path)


def is_place(path: object) -> bool:
    return (
        isinstance(path, str)
        and path.isprintable()
        and "\\" not in path
        and ":" not in path
        and str(PurePosixPath(path)) == path
        and not any(part in ("..", ".git", ".venv") for part in path.split("/"))
        and TOPS.fullmatch(path) is not None
    )


def code_digest(data: bytes) -> str:
    """The sha256 of what a notebook's cells say, outputs and empty cells left out; "" for a file that is no notebook."""
    try:
        cells = [
            [cell["cell_type"], "".join(cell["source"]).strip()]
            for cell in json.loads(data)["cells"]
            if "".join(cell["source"]).strip()
        ]
    except (ValueError, KeyError, TypeError, RecursionError, MemoryError):
        return ""
    return hashlib.sha256(json.dumps(cells).encode()).hexdigest()


def write(root: Path, edition: Path, version: str) -> None:
    """List the files of a new edition in its marker; the same files get the same date, and later ones a later date."""
    paths = {p.relative_to(edition).as_posix(): p for p in sorted(edition.rglob("*")) if p.is_file()}
    paths.pop(EDITION_MARKER, None)
    data = {name: path.read_bytes() for name, path in paths.items()}
    files = {name: hashlib.sha256(content).hexdigest() for name, content in data.items()}
    code = {name: code_digest(content) for name, content in data.items() if name.endswith(".ipynb")}
    whole = hashlib.sha256(json.dumps(files).encode()).hexdigest()
    marker = Manifest(version, released(root, whole), files, code)
    write_atomic(edition / EDITION_MARKER, marker.as_json())


def released(root: Path, whole: str) -> str:
    """When an edition with these files was released first, now if it never was."""
    known = read_json(root / RELEASES, {})
    known = known if isinstance(known, dict) else {}
    if whole in known:
        return str(known[whole])
    when = now()
    with suppress(ValueError):
        after = datetime.strptime(max(map(str, known.values()), default=""), WHEN).replace(tzinfo=UTC)
        when = max(when, after + timedelta(seconds=1))  # also where the clock was set back
    text = when.strftime(WHEN)
    with suppress(OSError):  # of a repository that cannot be written to
        write_atomic(root / RELEASES, json.dumps({**known, whole: text}, indent=0) + "\n")
    return text


def now() -> datetime:
    return datetime.now(UTC)
