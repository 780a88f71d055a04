"""The form of a lecture: each way of breaking it is found, with its cell; and what a badge counts."""

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from cs336lite.course.form import Effort, answered_above, effort, has_form, problems

OPENING = "# 01 · Words\n\n## Questions\n\n1. How many are there?\n2. How long is\n   the longest?\n\nMore text."
FIRST = 'claim(1, "{n} words", lambda n: n > 2, n=3)'
SECOND = 'claim(2, "{m} letters", lambda m: m < 9, m=5)'
ASK = "**Predict.** How many words are there?\n\nNobody asks this here?"
TELL = 'guess = None\nreveal("words", 3, guess)\nreveal("letters", 5)'


def lecture(*cells) -> nbformat.NotebookNode:
    """Cells from texts: markdown where they begin with a letter sign, code where they are Python."""
    made = []
    for cell in cells:
        code = cell.startswith(("claim", "guess", "print", "reveal", "a, b"))
        made.append(new_code_cell(cell) if code else new_markdown_cell(cell))
    return new_notebook(cells=made)


def whole(**changed) -> nbformat.NotebookNode:
    parts = {"opening": OPENING, "ask": ASK, "tell": TELL, "first": FIRST, "second": SECOND, "answers": "## Answers"}
    return lecture(*(parts | changed).values(), "claims()")


def test_a_lecture_in_the_form_has_no_problems():
    assert has_form(whole()) and list(problems(whole())) == []
    assert not has_form(lecture(OPENING, TELL))


@pytest.mark.parametrize(
    ("changed", "cell", "problem"),
    [
        ({"opening": "# 01 · Words"}, 0, "no heading `## Questions`"),
        ({"opening": OPENING.replace("2. How", "3. How")}, 0, r"numbered \[1, 3\]"),
        ({"opening": OPENING.replace("there?", "there.")}, 0, "no question: 1. How many are there"),
        ({"second": "print(2)"}, 0, "question 2 has no claim"),
        ({"second": SECOND.replace("(2", "(4")}, 4, "answers question 4, which is not asked"),
        ({"first": 'claim(1, "three words")'}, 3, "its sentence, its test and its numbers"),
        ({"first": 'claim(1, "{n} words", lambda n: True, n=3)'}, 3, "tests nothing"),
        ({"answers": "## The end"}, 6, "below a heading `## Answers`"),
        ({"tell": 'guess = None\nreveal("words", 3)'}, 1, "asks 1 question and 0 are revealed"),
        ({"ask": "**Predict.** How many? And how long?"}, 1, "asks 2 questions and 1 are revealed"),
        ({"ask": "**Predict.** Say how many."}, 1, "asks 0 questions and 1 are revealed"),
    ],
)
def test_each_way_of_breaking_it_is_found(changed, cell, problem):
    with pytest.raises(AssertionError, match=problem):
        for found, said in problems(whole(**changed)):
            assert found != cell, said


def test_a_claim_after_the_list_of_claims_is_found():
    notebook = whole()
    notebook.cells.append(new_code_cell(SECOND))
    assert [said for _, said in problems(notebook)] == ["a claim is made after `claims()`"]


def test_a_prediction_is_answered_before_the_next_one_or_the_next_heading():
    for between in ("## 2 · Another section", "**Predict.** And then?"):
        notebook = lecture(OPENING, ASK, between, TELL, FIRST, SECOND, "## Answers", "claims()")
        assert (1, "a prediction asks 1 question and 0 are revealed") in list(problems(notebook))
    several = 'a, b = None, None\nreveal("x", 1, a)\nreveal("y", 2, guess=b)'
    assert list(problems(whole(ask="**Predict.** How many? How long?", tell=several))) == []


@pytest.mark.parametrize(
    ("folded", "first", "found"), [(False, "# compare", 1), (True, "x = 1", 1), (True, "# compare", 0)]
)
def test_what_is_said_of_wrong_guesses_is_folded(folded, first, found):
    notebook = whole()
    notebook.cells[2].source = f'{first}\nreveal("words", 3, guess, because={{1: "a sentence has more"}})'
    notebook.cells[2].metadata["jupyter"] = {"source_hidden": folded}
    said = "what is said of wrong guesses stands in sight: fold it, below a line of comment"
    assert list(problems(notebook)) == [(1, said)] * found


@pytest.mark.parametrize(
    ("above", "printed", "found"),
    [
        ("The table holds 31 % of it.", "words: 31.02\n", ["31.02"]),
        ("The table holds 31.5 % of it.", "words: 31.02\n", []),
        ("It has 1024 rows.", "words: 1,024\n", ["1024"]),
        ("It has 1 row and 10245 columns.", "words: 1,024\n  your guess, 10245: 10 times too large\n", []),
        ("One digit, 3, is no answer.", "words: 3\n", []),
        ("v10 and x24 are names.", "words: 10\n", []),
        ("# 02 · Words, after 01.", "words: 2.2 and 0.9\n", []),
    ],
)
def test_an_answer_above_its_question_is_found(above, printed, found):
    notebook = whole(opening=f"{OPENING}\n\n{above}")
    notebook.cells[2].outputs = [new_output("stream", name="stdout", text=printed)]
    assert [said for _, said in answered_above(notebook)] == [
        f"the answer {number} stands above the prediction" for number in found
    ]


def test_an_effort_counts_what_a_reader_reads_and_does():
    notebook = whole()
    notebook.cells.append(new_code_cell("x = 1\n\n# a comment\ny = 2", metadata={"jupyter": {"source_hidden": True}}))
    exercise = {"cs336lite": {"exercise": "f", "minutes": 12, "difficulty": 1}}
    notebook.cells.append(new_code_cell("def f():\n    # here\n    return 1", metadata=exercise))
    counted = effort(notebook)
    assert (counted.lines, counted.predicts, counted.exercises, counted.exercise_minutes) == (8, 1, 1, 12)
    assert 25 <= counted.words <= 35


def test_a_badge_tells_hours_and_minutes():
    assert Effort(3_600, 400, 10, 5, 45).minutes == 120
    assert Effort(3_600, 400, 10, 5, 45).badge(2).startswith("**about 2 hours to read and do · runs in 2 minutes")
    assert (
        Effort(1_800, 400, 0, 2, 15)
        .badge(1)
        .startswith("**about 1 hour 5 minutes to read and do · runs in 1 minute on")
    )
    assert Effort(0, 0, 0, 0, 0).minutes == 5


def test_a_timing_is_no_answer_that_could_stand_above():
    notebook = whole(opening=f"{OPENING}\n\nIt has 17 rows.")
    notebook.cells[2].outputs = [new_output("stream", name="stdout", text="words: 17.2\n")]
    assert [said for _, said in answered_above(notebook)] == ["the answer 17.2 stands above the prediction"]
    notebook.cells[2].metadata["tags"] = ["timing"]
    assert list(answered_above(notebook)) == []
