"""When a submission was handed in: what is read, what is told, and what nbgrader then reads."""

from datetime import datetime

import pytest
from nbgrader.utils import parse_utc

from cs336lite.grading.timestamps import TIMESTAMP, UNREADABLE, WRITTEN, moment, put_right, read_secret, read_stamp

MEANT = datetime(2026, 1, 2, 3, 4, 5)


@pytest.mark.parametrize(
    "text",
    [
        "2026-01-02 03:04:05.000000 UTC",
        "2026-01-02 03:04:05",
        "2026-01-02T03:04:05Z",
        "2026-01-02 05:04:05 +0200",  # nbgrader: 200 seconds
        "2026-01-02 05:04:05 +02:00",  # nbgrader: no zone at all
        "2026-01-02T05:04:05+02",
        "2026-01-02 05:04:05 UTC+2",
        "2026-01-01 22:04:05 EST",
        "2026-01-01 19:04:05 PST",  # nbgrader: UTC
        "2026-01-02 05:04:05 CEST",
        "2026-01-02 04:04:05 Europe/Berlin",
        "02.01.2026 03:04:05",  # nbgrader: the first of February
        "2. 1. 2026, 03:04:05",
        "2026/01/02 03:04:05",
        "Fri, 02 Jan 2026 05:04:05 +0200",
        "Friday, 2 January 2026, 3:04:05 AM",
        "Jan 2, 2026 at 3:04:05am",
        "  2026-01-02\t03:04:05  UTC\r\n",
    ],
)
def test_a_moment_is_read_as_it_was_meant(text):
    assert moment(text) == MEANT


def test_a_day_that_can_only_be_one_is_that_one():
    assert moment("31/01/2026 18:00") == moment("01/31/2026 6:00 pm") == moment("2026-01-31 18:00")
    assert moment("01/01/2026 12:00 am") == datetime(2026, 1, 1)


@pytest.mark.parametrize(
    "text, words",
    [
        ("02/01/2026 03:04", "one day or another"),
        ("yesterday", "names no day"),
        ("1767312245", "names no day"),
        ("12:30", "names no day"),  # nbgrader: today
        ("2026", "names no day"),
        ("2026-01-02", "no time of day"),
        ("2026-01-02 03:04:05 XYZ", "time zone"),
        ("2026-01-02 03:04:05 CST", "time zone"),  # Chicago or China
        ("2026-01-02 03:04:05 ../../etc/passwd", "time zone"),
        ("2026-01-02 03:04:05 Mars/Olympus", "time zone"),
        ("2026-02-30 03:04:05", "no day"),
        ("2026-01-02 25:04:05", "no time of day"),
        ("2026-01-02 13:04 PM", "no time of day"),
        ("0001-01-01 00:00 +14:00", "no time"),
        ("2026-01-02 03:04 +99:00", "no day or no time"),
        ("2 Foo 2026 03:04", "no month"),
    ],
)
def test_what_could_be_meant_otherwise_is_not_read(text, words):
    with pytest.raises(ValueError, match=words):
        moment(text)


def test_what_nbgrader_reads_rightly_stays_byte_for_byte(tmp_path):
    for data in (b"2026-01-02 03:04:05.000000 UTC", b"2026-01-02 03:04:05 UTC\n", b"2026-01-02T05:04:05+02:00"):
        (tmp_path / TIMESTAMP).write_bytes(data)
        stamp = put_right(tmp_path)
        assert (stamp.when, stamp.text, stamp.note) == (MEANT, data, "")
        assert [path.name for path in tmp_path.iterdir()] == [TIMESTAMP]


def test_what_nbgrader_would_read_otherwise_is_written_in_its_form(tmp_path):
    (tmp_path / TIMESTAMP).write_text("02.01.2026 05:04:05 +02:00")
    assert put_right(tmp_path).when == MEANT
    assert parse_utc((tmp_path / TIMESTAMP).read_text().strip()) == MEANT
    assert (tmp_path / WRITTEN).read_text() == "02.01.2026 05:04:05 +02:00"
    assert put_right(tmp_path).text == (tmp_path / TIMESTAMP).read_bytes()


@pytest.mark.parametrize("data", [b"yesterday", b"\xff\xfe", b"", b"x" * 5000])
def test_what_cannot_be_read_is_put_aside_and_told_each_time(tmp_path, data):
    (tmp_path / TIMESTAMP).write_bytes(data)
    first = put_right(tmp_path)
    assert first.when is None and first.text is None and "on time" in first.note
    assert not (tmp_path / TIMESTAMP).exists() and (tmp_path / UNREADABLE).read_bytes() == data
    assert "on time" in put_right(tmp_path).note


def test_a_link_says_nothing_and_no_file_says_nothing(tmp_path):
    assert read_stamp(tmp_path).note == ""
    (tmp_path / "elsewhere").write_text("2026-01-02 03:04:05 UTC")
    (tmp_path / TIMESTAMP).symlink_to(tmp_path / "elsewhere")
    assert read_stamp(tmp_path) == read_stamp(tmp_path / "nowhere")


def test_a_secret_is_read_byte_for_byte_or_not_at_all(tmp_path):
    path = tmp_path / "submission_secret.txt"
    for data, read in ((b"abc", b"abc"), (b"abc\n", b"abc\n"), (b"", None), (b"\xff", None), (b"x" * 2000, None)):
        path.write_bytes(data)
        assert read_secret(tmp_path) == read
