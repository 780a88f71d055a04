"""The README of a student edition, and that of a self-learner's own copy."""

from __future__ import annotations

from cs336lite.course.handin import HandIn
from cs336lite.course.paths import is_appendix, way

__all__ = ["README", "STUDY", "readme"]

README = """\
# cs336lite, student edition

How language models are built: lectures that run on a laptop, and assignments whose code the next lectures use.

    make lab

makes an environment in `.venv` (it needs Python 3.11 or newer) and opens JupyterLab at `start.ipynb`, which says what to do
next and how long it takes. With conda: `conda env create -f environment.yml`, `conda activate cs336lite`,
`pip install --no-deps -e .`, `cs336lite lab`.

Go through these in order: {steps}.

1. A lecture is in `notebooks/`. Run it cell by cell. Outputs below a **Predict** are yours to make: guess, then run. Its own
   exercises are not graded: write your answer in its cell, or open the folded cell below it. Its last cell says what
   comes next. What lies in `notebooks/appendix/` is the rest of the package, to look things up in.
2. An assignment is in `assignments/`, in its notebook. `check("{first}")` tells what is right so far, `hint("{first}")` helps.
   Save it (Ctrl+S) and run its last cell: that puts your code into `cs336lite/`, runs the public checks on it there, and
   the lectures that you start after it use yours.
3. `status()` shows where you are: the next step first, what is done, and the hours that are left.

What you hand in is the notebook, or a plain `.py` with your definitions. It is run from the top, as Jupyter runs it, by a
grader without network that can write no files and start no processes. Your cells have 20 seconds of processor time together
and may sleep 20 seconds: a statement that takes most of that is stopped as by the stop button, and the cells after it run
all the same, also after an error or a crash. Each check then has 10 seconds unless it says otherwise (180 in all),
2 GiB of memory and 128 threads. So a long experiment costs you nothing, as long as no answer needs its result.

In a terminal of JupyterLab the same are `cs336lite check {first}`, `cs336lite hint {first}` and `cs336lite status`; in any other,
run `source .venv/bin/activate` first. `cs336lite reset {first}` puts a notebook back as it was given (`cs336lite reset 03`, or of
one exercise, `cs336lite reset {first} EXERCISE`); what you had is kept beside it. Until an assignment is solved, lectures say so
where they need it, and show what the course's own run has shown. When your instructor has unlocked an assignment,
`cs336lite solution {first} EXERCISE` shows the course's solution of an exercise.

## Handing in
{handing_in}

## A newer edition
When your instructor gives you a newer edition (with a correction, or with more assignments), run in this folder

    cs336lite update NEW_EDITION.zip

(`--dry-run` first shows what it would do). What you wrote stays: your solutions and your own files where they are, a
lecture that you changed beside the new one as `... (mine).ipynb`; a new text of an assignment that you have begun comes
beside yours as `... (new).ipynb`.
"""

THROUGH_THE_EXCHANGE = """\
On the machine of your course, save the notebook and run, in any folder of this edition,

    cs336lite submit {first}
    cs336lite feedback {first}      # fetch the feedback, once there is some

You may hand in again until the deadline; the last one counts. What is handed in is `assignments/{first}/`, notebooks and
`.py` files alone. `nbgrader submit {first}` and `nbgrader fetch_feedback {first}` do the same in this folder and in
`assignments/`, and so does JupyterLab's menu Nbgrader > Assignment List. The course is called `{course_id}` there."""

BY_UPLOAD = """\
Upload the notebook, `assignments/{first}/{first}.ipynb`, where your instructor says: as a file, not as a link. Save it
before, keep its name, and look at what you uploaded. Your feedback comes back as one page, `{first}.html`."""

STUDY = """\
# cs336lite, your own copy

Lectures to write in, assignments without answers. git ignores this folder, so a `git pull` never collides with your work. What
runs in it uses the package in it: modules that you have not written yet are missing, and lectures say so where they need them.

| in the folder of the course | |
|---|---|
| `make study` | JupyterLab on this folder, at the page that says what to do next |
| `make lab` | JupyterLab on the course itself, solutions included |

In this folder, in a terminal of JupyterLab:

| command | |
|---|---|
| `cs336lite status` | the next step, what is done, and the hours that are left |
| `cs336lite check a1 train`, `cs336lite hint a1 train` | check an exercise, get one more hint |
| `cs336lite solution a1 train` | the course's solution of an exercise, once your checks pass; `--give-up` shows it before |
| `cs336lite unlock a1`, `cs336lite unlock a1 --undo` | use the course's module in the package here; use yours again |
| `cs336lite reset 03`, `cs336lite reset a1 train` | a notebook, or an exercise, as it was given; yours is kept beside it |
| `cs336lite study` | after a `git pull`: bring this folder up to date. Your work stays |
"""


def readme(lectures: list[str], assignments: list[str], hand_in: HandIn | None) -> str:
    """The README of an edition with these lectures and assignments."""
    first = assignments[0] if assignments else "a1_bpe"
    fill = {"first": first, "course_id": hand_in.course_id if hand_in else ""}
    return README.format(
        steps=", ".join(f"`{name}`" for name in way([*lectures, *assignments]) if not is_appendix(name)),
        first=first,
        handing_in=(THROUGH_THE_EXCHANGE if hand_in else BY_UPLOAD).format(**fill),
    )
