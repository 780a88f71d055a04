"""A course in miniature, in a folder of the test's own: two lectures, one assignment, an appendix on demand, the real tools."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

REAL = Path(__file__).resolve().parents[1]

WORDS = '''\
# ---
# jupyter:
#   kernelspec: {display_name: Python 3, language: python, name: python3}
#   cs336lite: {module: words, minutes: 1, prerequisites: [], device: CPU}
# ---

# %% [markdown]
# # 01 · Words
#
# Text is cut at spaces.

# %%
#| export
"""Words of a text."""

# %%
#| export
from __future__ import annotations

import os
import re


def words(text: str) -> list[str]:
    """The words of a text, in order."""
    return re.findall(r"\\w+", text)

# %%
print(words("one two"))

# %%
import sys
from pathlib import Path

with Path("../runs.txt").open("a") as file:
    file.write("01\\n")
print("a warning", file=sys.stderr)
object()

# %% tags=["timing"]
import time

print(time.time_ns())
'''

BPE = '''\
# ---
# jupyter:
#   kernelspec: {display_name: Python 3, language: python, name: python3}
#   cs336lite: {module: bpe, minutes: 1, prerequisites: [], device: CPU}
# ---

# %% [markdown]
# # a1 · Pairs

# %% locked="setup"
from cs336lite.words import words

# %%
#| export
"""Pairs of neighbours."""

import itertools
from collections import Counter

LIMIT = 3

# %% solution="count_pairs"
#| export
def count_pairs(word: list[str]) -> Counter:
    """How often each pair of neighbours occurs."""
    ### BEGIN SOLUTION
    neighbours_of_the_word = itertools.pairwise(word)
    if not isinstance(word, list):
        raise TypeError("count_pairs takes a list of symbols")
    return Counter(neighbours_of_the_word)
    ### END SOLUTION

# %% grade="count_pairs" points=60
assert count_pairs(words("a b")) == {("a", "b"): 1}

# %% solution="train"
#| export
### BEGIN SOLUTION
def best_pair_of_all(counts: Counter) -> tuple[str, str]:
    return max(counts, key=lambda pair: (counts[pair], pair))
### END SOLUTION


class Trainer:
    """Merges the most frequent pair."""

    ### BEGIN SOLUTION
    def helper_for_training(self, word):
        return best_pair_of_all(count_pairs(word))
    ### END SOLUTION

    def train(self, word: list[str]) -> tuple[str, str]:
        """The pair to merge first."""
        ### BEGIN SOLUTION
        return self.helper_for_training(word)
        ### END SOLUTION

# %% grade="train" points=40
assert Trainer().train(["a", "b", "a", "b"]) == ("a", "b")

# %% locked="export"
from cs336lite.course.export import export_solution

export_solution("a1_bpe")
'''

COUNTS = '''\
# ---
# jupyter:
#   kernelspec: {display_name: Python 3, language: python, name: python3}
#   cs336lite: {module: counts, minutes: 1, prerequisites: [], device: CPU}
# ---

# %% [markdown]
# # 02 · Counts

# %%
#| export
"""Counts over words."""

from cs336lite.words import words


def longest(text: str) -> str:
    """The longest word."""
    return max(words(text), key=len)

# %%
from cs336lite.bpe import LIMIT, count_pairs

with open("../runs.txt", "a") as file:
    file.write("02\\n")
print(longest("one three"), LIMIT, count_pairs(["a", "b"]))
'''

LETTERS = '''\
# ---
# jupyter:
#   kernelspec: {display_name: Python 3, language: python, name: python3}
#   cs336lite: {module: letters, minutes: 1, prerequisites: [01_words], device: CPU}
# ---

# %% [markdown]
# # 01x · Letters
#
# The rest of [lecture 01](../01_words.ipynb). {badge}

# %%
#| export
"""Letters of a text, beside its words."""

from cs336lite.words import words as words


def letters(text: str) -> list[str]:
    """The letters of a text, in order."""
    return [letter for word in words(text) for letter in word]

# %%
print("before:", letters("one"))

# %% [markdown]
# **Predict.** How many letters are there?

# %%
from pathlib import Path

from cs336lite.course.measure import reveal
from cs336lite.course.results import recorded

guess = None
reveal("letters", len(letters("one two three")), guess)
with Path("../../runs.txt").open("a") as file:
    file.write("01x\\n")
print(recorded("01x_long.json", lambda: [1, 2, 3], {"of": "letters"}))
'''

PUBLIC = '''\
"""Checks a student runs."""

from cs336lite.course.spec import check, expect


@check("count_pairs", title="two symbols are one pair")
def two_symbols(student, rng):
    expect(True, "the pair of two symbols is missing")


@check("train", title="the pair is found")
def finds(student, rng):
    expect(True, "the pair is missing")
'''

HIDDEN = '''\
"""Checks an instructor runs."""

from cs336lite.course.spec import check, expect


@check("count_pairs", points=60, title="repeats overlap")
def repeats(student, rng):
    secret_expected_value = {("a", "a"): 2}
    expect(secret_expected_value is not None, "the overlapping pairs of a run are all counted")


@check("train", points=40, title="ties go to the greatest")
def ties(student, rng):
    expect(rng.random() < 2, "ties must go to the greatest pair of symbols")
'''


def make_course(folder: Path) -> Path:
    """The root of a new small course; its texts can be edited as a person would."""
    for name in ("notebooks/text", "notebooks/results", "assignments/source"):
        (folder / name).mkdir(parents=True)
    shutil.copytree(
        REAL / "cs336lite" / "course", folder / "cs336lite" / "course", ignore=shutil.ignore_patterns("__pycache__")
    )
    (folder / "cs336lite" / "grading").mkdir()
    (folder / "cs336lite" / "grading" / "__init__.py").write_text("", encoding="utf-8")
    shutil.copy(REAL / "cs336lite" / "__init__.py", folder / "cs336lite" / "__init__.py")
    for name in ("pyproject.toml", "LICENSE", "Makefile", "environment.yml"):
        if (REAL / name).exists():
            shutil.copy(REAL / name, folder / name)
    for name, text in {
        "notebooks/text/01_words.py": WORDS,
        "notebooks/text/02_counts.py": COUNTS,
        "assignments/text/a1_bpe.py": BPE,
        "assignments/public/a1_bpe.py": PUBLIC,
        "assignments/hidden/a1_bpe.py": HIDDEN,
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    return folder


def add_appendix(root: Path) -> Path:
    """An appendix of the first lecture, with a recorded result; the path of its text."""
    path = root / "notebooks" / "text" / "appendix" / "01x_letters.py"
    path.parent.mkdir()
    path.write_text(LETTERS, encoding="utf-8")
    configuration = {"of": "letters"}
    digest = hashlib.sha256(json.dumps(configuration).encode()).hexdigest()[:16]
    content = {"provenance": {}, "configuration_sha256": digest, "configuration": configuration, "result": [1, 2, 3]}
    (root / "notebooks" / "results" / "01x_long.json").write_text(json.dumps(content), encoding="utf-8")
    return path


def edit(path: Path, old: str, new: str) -> None:
    """Replace one passage of a file, which must be there."""
    text = path.read_text(encoding="utf-8")
    assert old in text, f"{path} does not hold {old!r}"
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


def files_of(root: Path) -> dict[str, bytes]:
    """Every file below a folder, by path, but for caches and the log of runs."""
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts and path.name != "runs.txt"
    }


def runs(root: Path) -> list[str]:
    """Which notebooks have been executed, in order."""
    path = root / "runs.txt"
    return path.read_text(encoding="utf-8").split() if path.exists() else []
