"""The picture of the grader's design, drawn by the course's own module for diagrams.

python site/coursesite/picture.py          writes assets/grader.svg
"""

from __future__ import annotations

from pathlib import Path

from cs336lite.course.diagram import Diagram, Drawing

__all__ = ["draw"]


def draw() -> Drawing:
    """Where code and answers are: a trusted side, a line that plain values cross, and a jail."""
    d = Diagram(96, 21)
    d.box(1, 2.2, width=46, height=17.4, color="blue")
    d.box(62, 2.2, width=33, height=17.4, color="vermillion")
    d.text(24, 1.2, "trusted: no student code runs here", align="middle", color="blue")
    d.text(78.5, 1.2, "the jail: no answer is here", align="middle", color="vermillion")
    seed = d.box(3, 3.2, "secret seed", color="grey")
    spec = d.box(3, 6.4, "hidden checks\n(assignments/hidden)", height=2.3, color="grey")
    inputs = d.box(29, 4.6, "inputs", width=15, height=1.5, color="green")
    judge = d.box(29, 9.6, "bench:\ncompares answers", width=17, height=2.4, color="green")
    verdict = d.box(29, 14.05, "verdict, a file", width=17, height=1.5, color="orange")
    book = d.box(3, 13.6, "nbgrader's gradebook\nand feedback pages", height=2.4, color="grey")
    d.text(24, 18.2, "limits on time, memory and output here, too", align="middle")
    worker = d.box(64, 4.2, "worker: imports torch once,\nforks a child for each", width=29, height=2.4, color="grey")
    child = d.box(64, 9.6, "child: the cells handed in,\nthen the checks' drivers", width=29, height=2.4, color="grey")
    for number, line in enumerate(("seccomp: few system calls", "Landlock: no other files")):
        d.text(64, 14.2 + 1.3 * number, line)
    d.text(64, 16.8, "bubblewrap: no network")
    d.text(64, 18.1, "limits on time and memory")
    d.arrow(seed.right, inputs.left)
    d.arrow(spec.right, (29, 5.6))
    d.arrow(spec.right, judge.left)
    d.arrow((44, 5.35), worker.left, color="black")
    d.text(54.5, 4.2, "plain values", align="middle")
    d.arrow(worker.bottom, child.top)
    d.arrow((64, 10.8), (46, 10.8))
    d.text(54.5, 9.9, "plain values", align="middle")
    d.arrow(judge.bottom, verdict.top)
    d.arrow(verdict.left, book.right)
    return d.show()


if __name__ == "__main__":
    draw().save(Path(__file__).resolve().parents[2] / "assets" / "grader.svg")
