"""A class in which every fifth submission is made to stop the grading: it ends by itself, twice, with one gradebook.

The checks of this course are gullible on purpose: they compute with answers without a look at them. What holds then is the
process in which they run; that real checks look first is tested with them.
"""

import json
import os
import shutil
import sys

import pytest
from helpers import RIGHT, SMALL_SPEC, small_notebook, submit
from test_class import gradebook, scores

from cs336lite.grading import limited, runner, submission
from cs336lite.grading.judge import Judge
from cs336lite.grading.pools import Processes

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="grading runs on Linux")

GULLIBLE = """

@check("double", points=0, title="is gullible", seconds=20)
def gullible(student, rng):
    for wish, size in student.run(wishes):
        if wish == "add":
            sum(range(size))
        elif wish == "grow":
            [0] * size
        elif wish == "fill":
            b"".join(bytes(1 << 20) for _ in range(size))

def wishes(student):
    return getattr(student, "wishes", [])
"""
WISHES = "wishes = [({!r}, {})]\n"


def old(cell):
    """The right notebook in format 3, with one more cell."""
    cells = [{**c, "input": c["source"]} for c in small_notebook(*RIGHT)["cells"]]
    return {"nbformat": 3, "metadata": {}, "worksheets": [{"cells": [*cells, cell]}]}


def with_code(text):
    return small_notebook(f"{text}\n{RIGHT[0]}", RIGHT[1])


def with_text(source):
    book = small_notebook(*RIGHT)
    book["cells"].insert(0, {"cell_type": "markdown", "id": "mine", "metadata": {}, "source": source})
    return book


POISON = {
    "heading-of-gigabytes": (old({"cell_type": "heading", "level": 2_000_000_000, "source": "x"}), 6),
    "heading-of-megabytes": (old({"cell_type": "heading", "level": 3_000_000, "source": "x"}), 6),
    "outputs-of-format-3": (old({"cell_type": "code", "input": "", "outputs": [{"text": ["a"] * 9}] * 100_000}), 6),
    "values": (b'{"cells": [' + b"[], " * 900_000 + b"[]]}", 0),
    "nested": (b'{"cells": ' + b'{"a": [' * 200_000, 0),
    "text": (with_text("\u2029" * 4_000_000), 6),
    "many-cells": ({"cells": [{"cell_type": "raw"}] * 400_000}, 0),
    "adds-for-hours": (with_code(WISHES.format("add", 10**13)), 6),
    "grows": (with_code(WISHES.format("grow", 10**11)), 6),
    "fills": (with_code(WISHES.format("fill", 5000)), 6),
    "adds-in-steps": (with_code("wishes = [('add', 3 * 10**7)] * 2000"), 6),
    "grows-in-steps": (with_code("wishes = [('fill', 200)] * 10"), 6),
    "wide-answer": (with_code("wishes = [('a', 1)] * 400_000"), 6),
    "deep-answer": (with_code("wishes = []\nfor _ in range(29): wishes = [wishes, wishes[:1]]"), 6),
    "large-answer": (with_code("wishes = [bytes(60 << 20), 0]"), 6),
    "surrogates": (with_code("wishes = [('\\ud800' * 100_000, 0)]"), 6),
    "loop": (small_notebook("def double(x):\n    while True: pass", RIGHT[1]), 2),
    "memory": (small_notebook("held = []\ndef double(x):\n    while True: held.append(bytes(1 << 24))", RIGHT[1]), 2),
    "sleep": (small_notebook("import time\ndef double(x):\n    time.sleep(30)", RIGHT[1]), 2),
    "ends": (small_notebook("import os\ndef double(x): os._exit(3)", RIGHT[1]), 2),
}


def hand_in(course, number):
    """A class of ``number``, in which every fifth brings poison; the points that each must get."""
    expected = {}
    poisons = iter(sorted(POISON))
    for index in range(number):
        student = f"student{index:03}"
        if index % 5 == 4:
            student += "-" + next(poisons)
            content, expected[student] = POISON[student.partition("-")[2]]
        elif index % 3:
            content, expected[student] = small_notebook(f"# {student}\n{RIGHT[0]}", RIGHT[1]), 6
        else:
            content, expected[student] = small_notebook(f"# {student}\ndef double(x): return x * x", RIGHT[1]), 2
        submit(course, student, content)
    pipe = course / "submitted" / "zz-pipe" / "a1_bpe" / "a1_bpe.ipynb"
    pipe.parent.mkdir(parents=True)
    os.mkfifo(pipe)
    return {**expected, "zz-pipe": 0}


@pytest.mark.timeout(900)
def test_a_class_with_poison_ends_by_itself_twice_with_one_gradebook(small_course, tmp_path, monkeypatch):
    hidden = small_course / "hidden" / "a1_bpe.py"
    hidden.write_text(SMALL_SPEC + GULLIBLE)
    assert runner.nbgrader_api(small_course).generate_assignment("a1_bpe")["success"]
    expected = hand_in(small_course, 5 * len(POISON))
    Judge(small_course, "a1_bpe").close()  # makes the seed, which the two courses share
    again = tmp_path / "again" / "assignments"
    shutil.copytree(small_course, again, ignore=shutil.ignore_patterns("zz-pipe"))
    shutil.copytree(small_course.parent / "cs336lite", again.parent / "cs336lite")
    os.mkfifo(make_parents(again / "submitted" / "zz-pipe" / "a1_bpe" / "a1_bpe.ipynb"))

    monkeypatch.setattr(Processes, "LIMITS", limited.Limits(step_seconds=6.0, call_seconds=10.0))
    reader = limited.Shared(limited.Limits(step_seconds=4, call_seconds=4, memory_bytes=600 << 20))
    monkeypatch.setattr(submission, "READER", reader)
    runner.grade_class(small_course, "a1_bpe", jobs=2)
    assert scores(small_course) == expected
    runner.grade_class(again, "a1_bpe", jobs=1)
    (rows, pages), (rows_again, pages_again) = gradebook(small_course), gradebook(again)
    assert rows == rows_again
    assert {s: (pages[s], page) for s, page in pages_again.items() if page != pages[s]} == {}

    monkeypatch.setattr(Processes, "submit", lambda *_: pytest.fail("a poison that was judged is judged again"))
    runner.grade_class(small_course, "a1_bpe", jobs=2)
    reader.close()
    told = [json.loads(path.read_text()) for path in (small_course / "verdicts" / "a1_bpe").glob("*.json")]
    failed = [check["message"] for verdict in told for check in verdict["checks"] if check["id"] == "double.gullible"]
    assert sum("more time than an answer may cost" in message for message in failed) >= 2
    assert sum("emory" in message for message in failed) >= 2


def make_parents(path):
    path.parent.mkdir(parents=True)
    return path
