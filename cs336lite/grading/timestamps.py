"""When a submission was handed in: ``timestamp.txt``, in whatever form somebody wrote it, read as it was meant or not at all.

nbgrader writes ``2026-01-31 18:00:00.123456 UTC``; scripts and learning platforms write other things, of which nbgrader
reads some wrongly without a word: the second of January as the first of February, ``+0200`` as 200 seconds, an unknown
zone as UTC. Here a day that could be another one, and a zone that nobody knows, are no answer: they are told.
"""

from __future__ import annotations

import os
import re
import stat
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from pathlib import Path
from zoneinfo import ZoneInfo

from nbgrader.utils import parse_utc

from cs336lite.course.border import plain
from cs336lite.course.paths import write_atomic

TIMESTAMP, SECRET = "timestamp.txt", "submission_secret.txt"  # beside a submission that came through the exchange
WRITTEN = "timestamp-as-written.txt"  # another form than nbgrader's, put aside
UNREADABLE = "timestamp-unreadable.txt"
NOTES = (TIMESTAMP, SECRET, WRITTEN, UNREADABLE)
FORM = "%Y-%m-%d %H:%M:%S.%f UTC"
MOST_BYTES = 1000  # of such a file

MONTHS = "jan feb mar apr may jun jul aug sep oct nov dec".split()
DATES = (
    re.compile(r"(?P<y>\d{4})([-/.])(?P<m>\d{1,2})\2(?P<d>\d{1,2})"),
    re.compile(r"(?P<d>\d{1,2})\.\s?(?P<m>\d{1,2})\.\s?(?P<y>\d{4})"),
    re.compile(r"(?P<a>\d{1,2})([-/])(?P<b>\d{1,2})\2(?P<y>\d{4})"),
    re.compile(r"(?P<d>\d{1,2})(?:st|nd|rd|th|\.)?[ -](?P<name>[A-Za-z]{3,9})\.?,?[ -](?P<y>\d{4})"),
    re.compile(r"(?P<name>[A-Za-z]{3,9})\.? (?P<d>\d{1,2})(?:st|nd|rd|th)?,? (?P<y>\d{4})"),
)
WEEKDAY = re.compile(r"(?:mon|tue|wed|thu|fri|sat|sun)[a-z]{0,6}\.?,? ", re.IGNORECASE)
TIME = re.compile(
    r"(?:T|,| at\b|\s)\s*(\d{1,2}):(\d{2})(?::(\d{2})(?:[.,](\d{1,9}))?)?(?:\s?([ap])\.?m\.?)?", re.IGNORECASE
)
OFFSET = re.compile(r"(?:UTC|GMT)?([+-])(\d{1,2})(?::?(\d{2}))?")
# the ones that mean the same everywhere; hours east of UTC
ZONES = {"": 0, "Z": 0, "UTC": 0, "GMT": 0, "WET": 0, "WEST": 1, "CET": 1, "MEZ": 1, "CEST": 2, "MESZ": 2, "EET": 2}
ZONES |= {"EEST": 3, "MSK": 3, "EST": -5, "EDT": -4, "MST": -7, "MDT": -6, "PST": -8, "PDT": -7, "JST": 9}


@dataclass(frozen=True)
class Stamp:
    """What is known of when a submission was handed in.

    ``when`` is in UTC, without a zone, as nbgrader keeps it; ``text`` is what nbgrader is to read, byte for byte the file
    where nbgrader reads that rightly. ``note`` tells the instructor of a file that says nothing that can be understood.
    """

    when: datetime | None = None
    text: bytes | None = None
    note: str = ""


def read_note(path: Path) -> bytes | None:
    """One of the small files that nbgrader lays beside a submission, byte for byte; None when there is no such file."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            return None
        data = os.read(handle, MOST_BYTES + 1)
        return data if data.strip() and len(data) <= MOST_BYTES else None
    except OSError:
        return None
    finally:
        os.close(handle)


def read_secret(folder: Path) -> bytes | None:
    """What joins a submission with its feedback in the exchange, byte for byte: nbgrader hashes the whole file."""
    data = read_note(folder / SECRET)
    try:
        return data if data is not None and data.decode() else None
    except UnicodeDecodeError:
        return None


def read_stamp(folder: Path) -> Stamp:
    """When the submission in a folder was handed in."""
    there = next((name for name in (TIMESTAMP, UNREADABLE) if os.path.lexists(folder / name)), None)
    if there is None or (folder / there).is_symlink():
        return Stamp()
    data = read_note(folder / there)
    if data is None:
        return Stamp(note=f"its {there} is empty, or no small text file: {ON_TIME}")
    try:
        text = data.decode().strip()
    except UnicodeDecodeError:
        return Stamp(note=f"its {there} is not UTF-8 text: {ON_TIME}")
    try:
        when = moment(text)
    except ValueError as error:
        return Stamp(note=f"its {there} says `{plain(text, 60)}`, {error}: {ON_TIME}")
    return Stamp(when, data if theirs(text) == when else when.strftime(FORM).encode())


ON_TIME = f"it counts as handed in on time until {TIMESTAMP} says it like 2026-01-31 18:00:00 UTC"


def theirs(text: str) -> datetime | None:
    """What nbgrader makes of a text, where it makes sense of it."""
    if "/" in text.rpartition(" ")[2]:  # it would look for a file of that name
        return None
    try:
        return parse_utc(text)
    except (ValueError, OverflowError, TypeError):
        return None


def put_right(folder: Path) -> Stamp:
    """`read_stamp`, and let nbgrader read the same: what it would read otherwise, or fail at, is put aside under another name."""
    stamp = read_stamp(folder)
    path = folder / TIMESTAMP
    with suppress(OSError):  # a folder that is not ours to write: the gradebook and autograded/ are right all the same
        if stamp.when is None and os.path.lexists(path) and not path.is_dir():
            path.replace(folder / UNREADABLE)
        elif stamp.text is not None and (before := read_note(path)) not in (None, stamp.text):
            write_atomic(folder / WRITTEN, before)
            write_atomic(path, stamp.text)
    return stamp


def moment(text: str) -> datetime:
    """The moment that a text names, in UTC and without a zone; one that names no zone is in UTC, as nbgrader has it.

    Raises ValueError, which says what the text lacks.
    """
    text = " ".join(text.split())
    if weekday := WEEKDAY.match(text):
        text = text[weekday.end() :]
    date = next((found for pattern in DATES if (found := pattern.match(text))), None)
    if date is None:
        raise ValueError("which names no day")
    year, month, day = day_of(date.groupdict())
    time = TIME.match(text, date.end())
    if time is None:
        raise ValueError("which names no time of day")
    hour, minute, second = int(time[1]), int(time[2]), int(time[3] or 0)
    if time[5]:
        if not 1 <= hour <= 12:
            raise ValueError("which is no time of day")
        hour = hour % 12 + (12 if time[5].lower() == "p" else 0)
    micro = int((time[4] or "").ljust(6, "0")[:6])
    try:
        local = datetime(year, month, day, hour, minute, second, micro, zone_of(text[time.end() :].strip()))
        return local.astimezone(UTC).replace(tzinfo=None)
    except OverflowError:
        raise ValueError("which is no time") from None
    except ValueError as error:
        said = str(error)
        raise ValueError(said if said.startswith("which") else "which is no day or no time of day") from None


def day_of(date: dict[str, str]) -> tuple[int, int, int]:
    year = int(date["y"])
    if "name" in date:
        name = date["name"].lower()
        if name[:3] not in MONTHS:
            raise ValueError("which names no month in English")
        return year, MONTHS.index(name[:3]) + 1, int(date["d"])
    if "a" not in date:
        return year, int(date["m"]), int(date["d"])
    first, second = int(date["a"]), int(date["b"])
    if first <= 12 and second <= 12 and first != second:
        raise ValueError("which can be one day or another")
    return (year, second, first) if first > 12 else (year, first, second)


def zone_of(text: str) -> tzinfo:
    text = text.removeprefix("(").removesuffix(")")
    if text.upper() in ZONES:
        return timezone(timedelta(hours=ZONES[text.upper()]))
    if found := OFFSET.fullmatch(text.upper().replace(" ", "")):
        shift = timedelta(hours=int(found[2]), minutes=int(found[3] or 0))
        return timezone(-shift if found[1] == "-" else shift)
    if re.fullmatch(r"[A-Z][A-Za-z_]+(/[A-Z][A-Za-z_+-]+)+", text):
        with suppress(KeyError, ValueError, OSError):
            return ZoneInfo(text)
    raise ValueError("which names a time zone that is not known here")
