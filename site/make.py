"""``make site``: the whole course as static pages in build/site, which open from a folder and need no network.

python site/make.py [--out DIR] [--repository OWNER/NAME] [--branch BRANCH]

The pages come from the executed notebooks, which are not run again; assignments and docstrings from a student edition that
is released for it, so that no page holds an answer to graded work; and from the guides in docs/.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
sys.path.insert(0, str(HERE))
REPOSITORY = "CS336LITE_SITE_REPOSITORY"


def main(arguments: list[str] | None = None) -> int:
    """Build the site; 0, or 1 with one paragraph on what is wrong."""
    parser = argparse.ArgumentParser(description="The course as static pages.")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "site", help="where the pages go")
    parser.add_argument("--repository", default=os.environ.get(REPOSITORY, ""), help="OWNER/NAME on GitHub, for links")
    parser.add_argument("--branch", default="main")
    options = parser.parse_args(arguments)
    missing = [name for name in ("sphinx", "myst_nb", "furo", "latex2mathml") if not importlib.util.find_spec(name)]
    if missing:
        print(f"{', '.join(missing)} is not installed: run `make site`, or pip install -e '.[site]'", file=sys.stderr)
        return 1
    if options.repository and not re.fullmatch(r"[\w.-]+/[\w.-]+", options.repository):
        print(f"--repository {options.repository} is no OWNER/NAME, such as octocat/cs336lite", file=sys.stderr)
        return 1
    from coursesite.gather import finished, gather

    from cs336lite.course.paths import CourseError

    start, out = time.monotonic(), options.out.resolve()
    sources = out.with_name(f"{out.name}-sources")
    shutil.rmtree(sources, ignore_errors=True)
    try:
        items = gather(ROOT, sources, repository=options.repository, branch=options.branch)
    except CourseError as problem:
        print(problem, file=sys.stderr)
        return 1
    fresh = sources / ".out" / "html"
    command = [
        sys.executable,
        "-m",
        "sphinx",
        "-b",
        "html",
        "-q",
        "-W",
        "--keep-going",
        "-j",
        "2",
        str(sources),
        str(fresh),
    ]
    done = subprocess.run([*command, "-d", str(sources / ".out" / "doctrees")], check=False)
    if done.returncode:
        print("no site was made: mend what the lines above name", file=sys.stderr)
        return 1
    try:
        finished(ROOT, fresh, items)
    except CourseError as problem:
        print(problem, file=sys.stderr)
        return 1
    shutil.rmtree(out, ignore_errors=True)
    fresh.rename(out)
    shutil.rmtree(sources)
    pages = len(list(out.rglob("*.html")))
    print(f"{pages} pages in {time.monotonic() - start:.0f} s: open {out / 'index.html'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
