"""``cs336lite new``: the files of a new assignment or lecture, with one worked exercise that passes its checks.

What is written is an example to be rewritten, not a form to be filled in. Recipes are in CONTRIBUTING.md. The file is long because
it holds those files, whole and readable.
"""

from __future__ import annotations

import keyword
import re
from pathlib import Path

from cs336lite.course.paths import GRADED_MODULES, CourseError, is_student_edition

PATHS = "cs336lite/course/paths.py"
CATALOGUE = "tests/assignments/test_catalogue.py"

ASSIGNMENT = {
    "assignments/text/NAME.py": '''\
# ---
# jupyter:
#   kernelspec: {display_name: Python 3, language: python, name: python3}
#   cs336lite: {module: MODULE, minutes: 1, prerequisites: [], device: CPU}
# ---

# %% [markdown]
# # Assignment NUMBER · TITLE
#
# **about 1 hour of work · prerequisites: Python · device: CPU · 100 points**
#
# Training losses jump from step to step. A *moving average* (移动平均) shows where they go. You write the one that optimizers
# use, too.
#
# | exercise | what you write | points |
# |---|---|---:|
# | `average` | an average after each value | 100 |

# %% locked="setup"
from cs336lite.course import check, hint, status

# %%
#| export
"""Exponential moving averages.

Built in assignments/source/NAME/NAME.ipynb.
"""

# %%
#| export
from collections.abc import Sequence

# %% [markdown]
# ## 1 · The average (`average`)
#
# **Difficulty ●○○○○ · Importance ●●●●○ · 15 minutes · 100 points**
#
# $$m_t = \\beta\\, m_{t-1} + (1 - \\beta)\\, x_t, \\qquad m_0 = 0$$
#
# With $\\beta = 0.5$ the values 2, 4 give 1 and then $0.5 + 2 = 2.5$.

# %% solution="average"
#| export
def average(values: Sequence[float], beta: float) -> list[float]:
    """The moving average after each of the ``values``; the first average is weighed against 0.

    Args:
        beta: weight of the average so far, from 0 up to 1.
    """
    ### BEGIN SOLUTION
    averages, last = [], 0.0
    for value in values:
        last = beta * last + (1 - beta) * value
        averages.append(last)
    return averages
    ### END SOLUTION

# %% grade="average" points=100
check("NAME", "average")

# %% locked="export"
from cs336lite.course import export_solution

export_solution("NAME")
''',
    "assignments/public/NAME.py": '''\
"""Public checks of NAME: run them as often as you like. The hidden checks judge the same things on other inputs."""

from cs336lite.course.spec import check, expect

HINTS = {
    "average": [
        "Work out by hand what 2 and 4 give with beta = 0.5. Which number do you carry from one value to the next?",
        "Keep the last average in a variable that begins at 0. Each value makes a new one out of it and of the value.",
        "for value in values: last = beta * last + (1 - beta) * value; and append last to a list that you return.",
    ],
}


def call(student, values, beta):
    return student.average(values, beta)


@check("average", title="the example by hand")
def by_hand(student, rng):
    expect(student.run(call, [2.0, 4.0], 0.5) == [1.0, 2.5], "average([2.0, 4.0], 0.5) is to give [1.0, 2.5]")


@check("average", title="beta 0 forgets everything")
def forgets(student, rng):
    expect(student.run(call, [3.0, 5.0], 0.0) == [3.0, 5.0], "with beta = 0 each average is the newest value itself")
''',
    "assignments/hidden/NAME.py": '''\
"""Hidden checks of NAME: 100 points. What an exercise is worth is said here: `cs336lite points NAME` puts it into the text.

Each usual mistake is computed, too, and has a message of its own. Inputs are drawn so that no two of them agree.
"""

from __future__ import annotations

from cs336lite.course.answers import ask, list_of
from cs336lite.course.spec import check, expect

WARM = ()  # modules to import once, before a worker forks
REFUSED = ()  # what must not be imported, since it holds the answer
READ = {"average": "Section 1 of the assignment"}  # for each exercise where to read on: a text, or (text, link)


def run_average(student, values, beta):
    return student.average(values, beta)


def run_and_look(student, values, beta):
    before = list(values)
    return student.average(values, beta), before == values


def averages(values, beta, start=0.0):
    found = []
    for value in values:
        start = beta * start + (1 - beta) * value
        found.append(start)
    return found


def near(found, expected):
    return all(abs(a - b) < 1e-9 for a, b in zip(found, expected, strict=True))


def draw(rng):
    return [rng.uniform(1, 2) for _ in range(rng.randrange(5, 12))], rng.uniform(0.6, 0.9)


def expect_averages(found, values, beta):
    expect(not near(found, averages(values, 1 - beta)), "beta weighs the value; it is the weight of the average so far")
    expect(not near(found, averages(values, beta, values[0])), "the average begins at the first value; it begins at 0")
    expect(near(found, averages(values, beta)), "an average is not beta times the last one and 1 - beta times the value")


@check("average", points=70, title="each average follows from the last one")
def follows_from_the_last(student, rng):
    values, beta = draw(rng)
    expect_averages(ask(student, list_of(float, len(values)), run_average, values, beta), values, beta)


@check("average", points=30, title="what was given stays as it is")
def leaves_the_values(student, rng):
    values, beta = draw(rng)
    found, same = ask(student, (list_of(float, len(values)), bool), run_and_look, values, beta)
    expect_averages(found, values, beta)
    expect(same, "the list of values is changed: write the averages into a list of their own")
''',
    "tests/assignments/solutions/NAME/right_loop.py": '''\
"""A loop that carries the last average."""


def average(values, beta):
    averages, last = [], 0.0
    for value in values:
        last = beta * last + (1 - beta) * value
        averages.append(last)
    return averages
''',
    "tests/assignments/solutions/NAME/right_accumulate.py": '''\
"""itertools.accumulate, begun at 0."""

from itertools import accumulate


def average(values, beta):
    return list(accumulate(values, lambda last, value: beta * last + (1 - beta) * value, initial=0.0))[1:]
''',
    "tests/assignments/solutions/NAME/trivial_unsolved.py": '''\
"""A notebook as it is handed out."""


def average(values, beta):
    raise NotImplementedError("this exercise is not solved yet")
''',
    "tests/assignments/solutions/NAME/trivial_zeros.py": '''\
"""A list of the right length."""


def average(values, beta):
    return [0.0] * len(values)
''',
    "tests/assignments/solutions/NAME/wrong_weights_swapped.py": '''\
"""beta weighs the value.

fails: average.follows_from_the_last, average.leaves_the_values
names: it is the weight of the average so far
"""


def average(values, beta):
    averages, last = [], 0.0
    for value in values:
        last = (1 - beta) * last + beta * value
        averages.append(last)
    return averages
''',
    "tests/assignments/solutions/NAME/wrong_begins_at_the_first.py": '''\
"""The first average is the first value.

fails: average.follows_from_the_last, average.leaves_the_values
names: begins at the first value
"""


def average(values, beta):
    averages, last = [], values[0]
    for value in values:
        last = beta * last + (1 - beta) * value
        averages.append(last)
    return averages
''',
    "tests/assignments/solutions/NAME/wrong_in_place.py": '''\
"""The averages are written over the values.

fails: average.leaves_the_values
names: the list of values is changed
"""


def average(values, beta):
    last = 0.0
    for i, value in enumerate(values):
        values[i] = last = beta * last + (1 - beta) * value
    return values
''',
    "tests/assignments/solutions/NAME/hollow_mean.py": '''\
"""The mean of all values so far: another average.

most: 0
"""


def average(values, beta):
    return [sum(values[: i + 1]) / (i + 1) for i in range(len(values))]
''',
    "tests/assignments/test_SHORT_checks.py": '''\
"""What is special to the checks of NAME; the rest is tested in test_catalogue.py."""

import pytest
from catalogue import judge, solutions, spec


@pytest.mark.parametrize("seed", range(20))
def test_inputs_tell_the_mistakes_apart(seed):
    heard = [judge(spec("NAME", "hidden"), wrong, seed).failed for wrong in solutions("NAME", "wrong")]
    first = [next(iter(failed.values())) for failed in heard]
    assert len(first) == len({*first})
''',
}
"""The files of an assignment, by path."""

LECTURE = {
    "notebooks/text/NAME.py": '''\
# ---
# jupyter:
#   kernelspec: {display_name: Python 3, language: python, name: python3}
#   cs336lite: {module: MODULE, minutes: 1, prerequisites: [], device: CPU}
# ---

# %% [markdown]
# # NUMBER · TITLE
#
# {badge} · prerequisites: Python · device: CPU
#
# A *moving average* (移动平均) carries one number from step to step. It never forgets a value, and soon hardly knows it.
#
# ## Questions
#
# 1. For how many steps does a moving average remember a value?

# %%
from cs336lite.course import check, finished, hint
from cs336lite.course.claims import claim, claims
from cs336lite.course.exercise import solution
from cs336lite.course.measure import reveal
from cs336lite.course.plot import axes, finish

# %%
#| export
"""What a moving average remembers.

Built in notebooks/NAME.ipynb.
"""

# %% [markdown]
# ## 1 · Weights
#
# With β the weight of the average so far, the newest value has the weight 1 − β. One step later β is in front of it once,
# then twice.

# %%
#| export
def weights(beta: float, steps: int) -> list[float]:
    """The weight of a value in a moving average 0, 1, 2, ... steps later.

    Raises:
        ValueError: ``beta`` is not between 0 and 1.
    """
    if not 0 < beta < 1:
        raise ValueError(f"beta lies between 0 and 1, and {beta} does not")
    return [(1 - beta) * beta**age for age in range(steps)]

# %% [markdown]
# The *half-life* is the number of steps after which half of the weight is left.

# %% exercise="half_life" minutes=5 difficulty=1
def half_life(beta: float) -> int:
    """The first step at which a weight is at most half of what it was at step 0."""
    ### BEGIN SOLUTION
    steps, left = 0, 1.0
    while left > 0.5:
        steps, left = steps + 1, left * beta
    return steps
    ### END SOLUTION

# %% [markdown]
# **Predict.** After how many steps is half of the weight left when β is 0.9?

# %%
guess = None
steps = half_life(0.9)

# %% folded=true
# run this cell to compare your guess
reveal("steps", steps, guess, because={5: "the weight shrinks by a tenth of what is left, not by a tenth of the whole"})

# %% folded=true
fig, ax = axes()
ax.plot(weights(0.9, 40), marker=".")
ax.set(xlabel="steps since the value", ylabel="weight in the average", title="A moving average with β = 0.9")
finish(fig)

# %% [markdown]
# The curve falls by the same share in each step, so it never reaches zero.

# %%
claim(1, "With β = 0.9 half of the weight is gone after {n} steps.", lambda n: 5 < n < 10, n=steps)

# %% [markdown]
# ## Answers

# %%
claims()

# %% [markdown]
# ## Next
#
# Say here what comes next.

# %%
finished("NAME")
''',
    "notebooks/checks/NAME.py": '''\
"""Checks and hints of the exercises in lecture NUMBER. Nothing here is graded: try as often as you like."""

from cs336lite.course.spec import check, expect

HINTS = {
    "half_life": [
        "What is left of the weight after one step, and after two? It does not matter how large it was.",
        "Multiply 1 by beta until at most one half is left, and count how often you did.",
        "steps, left = 0, 1.0; while left > 0.5: steps, left = steps + 1, left * beta; then return steps.",
    ],
}


def run_half_life(student, beta):
    return student.half_life(beta)


@check("half_life", title="one half is gone at once when beta is one half")
def at_once(student, rng):
    expect(student.run(run_half_life, 0.5) == 1, "with beta = 0.5 half of the weight is left after 1 step")


@check("half_life", title="the first step at which half is left")
def first_step(student, rng):
    beta = rng.uniform(0.6, 0.99)
    steps = student.run(run_half_life, beta)
    expect(beta**steps <= 0.5, "more than half of the weight is left after that many steps")
    expect(beta ** (steps - 1) > 0.5, "half of the weight was gone one step earlier")
''',
    "tests/lectures/test_MODULE.py": '''\
"""The module of lecture NUMBER."""

import pytest

from cs336lite.MODULE import weights


def test_weights_of_all_values_are_one_together():
    assert sum(weights(0.9, 1_000)) == pytest.approx(1)
    assert weights(0.5, 3) == [0.5, 0.25, 0.125]


@pytest.mark.parametrize("beta", [-0.1, 0.0, 1.0, 2.0])
def test_another_beta_is_an_error(beta):
    with pytest.raises(ValueError, match="beta lies between 0 and 1"):
        weights(beta, 3)
''',
}
"""The files of a lecture, by path."""


def new_assignment(root: Path, name: str, *, after: int) -> str:
    """Write the files of assignment ``name``, done after lecture number ``after``, and say what to do next.

    Raises:
        CourseError: the name is no ``aN_topic`` or is taken, there is no such lecture, or this is a student edition.
    """
    number, topic = _parts(root, name, r"a([1-9]\d*)_([a-z][a-z0-9_]*)", "a8_topic")
    if name in GRADED_MODULES or f"a{number}" in {known.partition("_")[0] for known in GRADED_MODULES}:
        raise CourseError(f"there is an assignment a{number} already: {', '.join(GRADED_MODULES)}")
    lectures = {int(path.name[:2]) for path in (root / "notebooks" / "text").glob("[0-9][0-9]*_*.py")}
    if after not in lectures:
        raise CourseError(f"there is no lecture {after} after which {name} could be done")
    paths = _added(root / PATHS, "GRADED_MODULES = {", f'    "{name}": "{topic}",\n')
    paths = _added(root / PATHS, "AFTER_LECTURE = {", f'    "{name}": {after},\n', paths)
    others = {PATHS: paths}
    if (root / CATALOGUE).exists():
        others[CATALOGUE] = _added(root / CATALOGUE, "ABOUT = {", f'    "{name}": About(("average",), ()),\n')
    _write(root, ASSIGNMENT, others, name, topic, number)
    return (
        f"{name} is there, done after lecture {after}, with one worked exercise. Rewrite it; points stand in "
        f"assignments/hidden/{name}.py, and `cs336lite points {name}` puts them into the text. Then `cs336lite build {name}`, "
        "a row in the README, and more solutions in the catalogue: see CONTRIBUTING.md"
    )


def new_lecture(root: Path, name: str) -> str:
    """Write the files of lecture ``name`` and say what to do next.

    Raises:
        CourseError: the name is no ``NN_topic`` or is taken, or this is a student edition.
    """
    number, topic = _parts(root, name, r"(\d\d)_([a-z][a-z0-9_]*)", "11_topic")
    taken = [path.stem for path in (root / "notebooks" / "text").glob(f"{number}_*.py")]
    if taken:
        raise CourseError(f"there is a lecture {number} already: {taken[0]}")
    _write(root, LECTURE, {}, name, topic, number)
    return (
        f"{name} is there, with one worked exercise and one claim. Rewrite it, then `cs336lite build {name}` and a row in "
        "the README: see CONTRIBUTING.md"
    )


def _parts(root: Path, name: str, form: str, example: str) -> tuple[str, str]:
    """The number and the topic of a name, which is also that of its module."""
    if is_student_edition(root):
        raise CourseError("this command needs the full repository: a student edition has no texts")
    found = re.fullmatch(form, name)
    if not found or keyword.iskeyword(found[2]):
        raise CourseError(f"a name looks like {example}, in small letters, and {name!r} does not")
    if (root / "cs336lite" / f"{found[2]}.py").exists() or (root / "cs336lite" / found[2]).exists():
        raise CourseError(f"the topic names the module that is built, and there is a cs336lite.{found[2]} already")
    return found[1], found[2]


def _added(path: Path, opening: str, line: str, text: str = "") -> str:
    """The text of a file with a line more at the end of the literal that begins with ``opening``."""
    text = text or path.read_text(encoding="utf-8")
    begin = text.find(f"\n{opening}\n")
    end = text.find("\n}\n", begin)
    if begin < 0 or end < 0:
        raise CourseError(f"{path}: there is no `{opening}` to add a line to")
    return f"{text[: end + 1]}{line}{text[end + 1 :]}"


def _write(root: Path, files: dict[str, str], others: dict[str, str], name: str, topic: str, number: str) -> None:
    """Write new files, then those that were added to; nothing when one of the new ones is there already."""
    words = {"NAME": name, "SHORT": name.partition("_")[0], "MODULE": topic, "NUMBER": number}
    words["TITLE"] = topic.replace("_", " ").capitalize()

    def filled(text: str) -> str:
        return re.sub(rf"(?<![A-Z])(?:{'|'.join(words)})(?![A-Z])", lambda found: words[found[0]], text)

    made = {root / filled(path): filled(text) for path, text in files.items()}
    if there := [path for path in made if path.exists()]:
        raise CourseError(f"{there[0].relative_to(root)} is there already, and nothing was written")
    for path, text in made.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    for where, text in others.items():
        (root / where).write_text(text, encoding="utf-8")
