"""The guide for instructors: its commands run, one after another, in a course of the test's own."""

import getpass
import re
import shutil
import subprocess
import sys

import pytest
from helpers import ROOT, quickened, run
from miniature import edit, make_course

from cs336lite.course.build import build

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="grading runs on Linux")
GUIDE = (ROOT / "docs" / "teaching.md").read_text(encoding="utf-8")


def test_the_commands_of_a_term_run_as_the_guide_gives_them(tmp_path):
    """Each bash block, in order, by bash; ``/srv`` is a folder of the test's."""
    root = make_course(tmp_path / "home" / "course")
    assert all(report.ok for report in build(root))
    course = root / "assignments"
    shutil.copy(ROOT / "assignments" / "nbgrader_config.py", course)
    (tmp_path / "srv").mkdir()
    blocks = re.findall(r"^ *```(bash|python)\n(.*?)^ *```$", GUIDE, re.M | re.S)
    [(_, lines)] = [block for block in blocks if "c.Exchange.root" in block[1]]
    settings = "\n".join(line.strip() for line in lines.splitlines()).replace("/srv", str(tmp_path / "srv"))
    edit(course / "nbgrader_config.py", "configure(c,", f"{settings}\nconfigure(c,")
    [(_, policy)] = [block for block in blocks if "class TenPercentADay" in block[1]]
    (course / "late_policy.py").write_text(policy)
    (course / "roster.csv").write_text("id,first_name,last_name,email\nalice,Alice,Ng,alice@example.edu\n")
    mine = course / "submitted" / "alice" / "a1_bpe"
    mine.mkdir(parents=True)
    shutil.copy(course / "source/a1_bpe/a1_bpe.ipynb", mine)
    script = "set -e\n" + "".join(text for language, text in blocks if language == "bash")
    script = script.replace("/srv", str(tmp_path / "srv"))
    done = subprocess.run(
        ["bash", "-c", script], cwd=course, capture_output=True, text=True, timeout=600, env=quickened()
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    edition = tmp_path / "home" / "edition"
    assert edition.with_suffix(".zip").exists()
    assert f"{tmp_path}/srv/exchange" in (edition / "nbgrader_config.py").read_text()
    assert (tmp_path / "srv/exchange/cs336-2027/outbound/a1_bpe/a1_bpe.ipynb").exists()
    assert "100 / 100" in done.stdout

    # and a student of it
    done = run("cs336lite", "submit", "a1", cwd=edition / "notebooks", JUPYTER_DATA_DIR=str(tmp_path / "data"))
    assert done.returncode == 0, done.stderr
    done = run("nbgrader", "collect", "a1_bpe", "--update", cwd=course)
    assert (course / "submitted" / getpass.getuser() / "a1_bpe" / "a1_bpe.ipynb").exists(), done.stderr
