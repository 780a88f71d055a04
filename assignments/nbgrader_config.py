"""The nbgrader course: run the stock commands from this folder (``nbgrader autograde a1_bpe`` and so on)."""

from pathlib import Path

from cs336lite.grading.hooks import configure

configure(get_config(), Path(__file__).parent.resolve())  # noqa: F821  (nbgrader provides get_config)
