"""The head of a feedback page says whose it is, and when it was handed in and due, as far as the gradebook knows."""

import os
import sys
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from nbgrader.api import Gradebook

from cs336lite.grading.whose import duration, moment, whose


@pytest.fixture(scope="module")
def gradebook(tmp_path_factory):
    """A gradebook with three students; the assignment is due at noon of 1 March 2026."""
    url = f"sqlite:///{tmp_path_factory.mktemp('course') / 'gradebook.db'}"
    tools = str(Path(sys.executable).parent)  # nbgrader calls alembic by name
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", tools, prepend=os.pathsep)
        opened = Gradebook(url)
    with opened:
        opened.add_assignment("a1", duedate=datetime(2026, 3, 1, 12))
        opened.add_assignment("free")
        opened.add_student("bo", first_name="Bo", last_name="<b>Lee\x1b")
        opened.add_student("cy")
        opened.add_student("di")
        for student in ("bo", "cy", "di"):
            opened.add_submission("a1", student)
        opened.add_submission("free", "cy", timestamp=datetime(2026, 3, 2))
        yield opened, {"db_url": url, "assignment": "a1", "student": "bo"}


def test_what_the_gradebook_knows_is_told(gradebook):
    opened, course = gradebook
    opened.update_or_create_submission("a1", "bo", timestamp=datetime(2026, 3, 2, 15, 4, 59))
    assert whose(course) == {
        "student": "Bo <b>Lee\N{REPLACEMENT CHARACTER} (bo)",
        "handed_in": "2 March 2026, 15:04 UTC",
        "due": "1 March 2026, 12:00 UTC",
        "late": "1 day 3 hours",
    }


def test_an_extension_counts(gradebook):
    opened, course = gradebook
    opened.update_or_create_submission(
        "a1", "di", timestamp=datetime(2026, 3, 2, 15), extension=timedelta(days=2, hours=6)
    )
    found = whose({**course, "student": "di"})
    assert found["due"] == "3 March 2026, 18:00 UTC, with an extension of 2 days 6 hours" and "late" not in found


def test_what_is_not_known_is_left_out(gradebook):
    _, course = gradebook
    assert whose({**course, "student": "cy"}) == {"student": "cy", "due": "1 March 2026, 12:00 UTC"}
    free = whose({**course, "student": "cy", "assignment": "free"})
    assert free == {"student": "cy", "handed_in": "2 March 2026, 00:00 UTC"}
    assert whose({**course, "student": "nobody"}) == {"student": "nobody"}
    assert whose({"assignment": "a1"}) == {}


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.4, "less than a second"),
        (1, "1 second"),
        (59.9, "59 seconds"),
        (60, "1 minute"),
        (3661, "1 hour 1 minute"),
        (86400 * 2, "2 days"),
        (86400 + 59, "1 day"),
        (86400 * 30 + 3600 * 23 + 3599, "30 days 23 hours"),
    ],
)
def test_a_duration_in_words(seconds, words):
    assert duration(seconds) == words


def test_a_moment_in_words():
    assert moment(datetime(2027, 12, 9, 7, 5)) == "9 December 2027, 07:05 UTC"
