"""Text that leaves: what is shown of it, what it does in markdown, what a check may say."""

import re
import string

import nbformat
import pytest

from cs336lite.course.border import CUT, KNOWN_KINDS, LONGEST, harmless, known_kind, lines, markdown, own, plain
from cs336lite.course.paths import CourseError
from cs336lite.course.spec import CheckResult
from cs336lite.grading.feedback_cells import add_head, summary
from cs336lite.grading.runner import Graded, NotAllGraded
from cs336lite.grading.verdicts import Verdict

HOSTILE = [
    "\x1b[31mred\x1b[0m \x1b]0;title\x07 \x1b[2A\x1b[K",
    "\x9b31m \x85 \u2028 \u2029 \x0b \x0c \r\n",
    "\u202e\u202a\u2066\u2069\u200e\u200f\u061c",
    "\u200b\u200c\u200d\u2060\ufeff\u00ad",
    "\ud800 \udfff \udc80",
    "\x00\x08\x7f",
    "\U000e0041\U0010ffff\ue000",
    "a\n\n# b\n\n| c | d |",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_nothing_that_acts_is_left(text):
    for shown in (plain(text), plain(f"x{text}y" * 400), lines(text), harmless(text)):
        assert all(line.isprintable() for line in re.split(r"[\n\t]", shown)), ascii(shown)
        shown.encode()
    assert "\n" not in plain(text) and len(plain(text * 1000)) <= LONGEST


@pytest.mark.parametrize(
    "text",
    [
        "ties are broken by first occurrence: `(b'a', b'b')` – √d × 2 ≤ 3 → é",
        "字 对 码 ß ï 🙂 \u0301e",
        "theta ** (-2i / d_k), with i = 0, 1, 2, …",
    ],
)
def test_what_we_write_is_left_as_it_is(text):
    assert plain(text) == text and lines(text) == text and harmless(text) == text


def test_a_long_text_says_that_it_was_cut():
    assert plain("x" * 8_000_000) == "x" * (LONGEST - 1) + CUT
    assert plain("x" * LONGEST) == "x" * LONGEST
    assert lines("a\n  b\n" * 1000).endswith(f"\n{CUT}") and lines("a\n  b") == "a\n  b"


@pytest.mark.parametrize("name", [*HOSTILE, "x" * 100, "Zqx", "ValueErrorr", "valueerror", None, 3, ["ValueError"], ""])
def test_an_unknown_exception_is_one_of_your_own(name):
    assert known_kind(name) == "an exception of your own"


def test_known_exceptions_keep_their_names():
    import einops
    import jaxtyping
    import numpy as np
    import torch

    for kind in (KeyError, einops.EinopsError, np.linalg.LinAlgError, torch.OutOfMemoryError, jaxtyping.TypeCheckError):
        assert known_kind(kind.__name__) == kind.__name__
    assert all(name.isidentifier() and len(name) < 50 for name in KNOWN_KINDS)


# -- markdown ---------------------------------------------------------------------------------------------------

MARKDOWN = [
    "# heading",
    "![x](https://evil.example/x.png)",
    "[x](https://evil.example) <https://evil.example> https://evil.example www.evil.example a@evil.example",
    "| a | b |",
    "<img src=x onerror=alert(1)> <script>x</script> &lt;b&gt; &#35;",
    "*a* __b__ ~~c~~ `d` _e_f_ ***g*** \\\\",
    "- a",
    "1. a",
    "> a",
    "---",
    "$x$ $$y$$ \\(z\\) \\[w\\] \\begin{align}a\\end{align}",
    "[x]: https://evil.example",
    "```python",
    string.punctuation,
]


def rendered(text):
    """What a strict reader of markdown makes of it, as (tags, text)."""
    from bs4 import BeautifulSoup

    mistune = pytest.importorskip("mistune")
    page = mistune.create_markdown(escape=False, plugins=["table", "url", "strikethrough", "footnotes", "math"])(text)
    page = BeautifulSoup(page, "html.parser")
    return [tag.name for tag in page.find_all(True)], page.get_text()


@pytest.mark.parametrize("text", MARKDOWN)
@pytest.mark.parametrize("form", ["{}", "- {}", "| a | b |\n|---|---|\n| {} | x |"])
def test_markdown_shows_a_text_and_does_nothing_with_it(form, text):
    tags, shown = rendered(form.format(markdown(text)))
    expected, _ = rendered(form.format("word"))
    assert [tag for tag in tags if tag != "code"] == expected
    assert re.sub(r"`([^`]+)`", r"\1", text).replace(" ", "") in shown.replace(" ", "").replace("\n", "")


@pytest.mark.parametrize("text", MARKDOWN + HOSTILE)
def test_the_head_of_a_notebook_is_one_heading_and_one_table(text):
    checks = (CheckResult("e.c", "e", text, 0.0, 1.0, False, text),)
    head = summary(Verdict("a1_bpe", 0.0, 1.0, checks, "", (text,)))
    tags, _ = rendered(head)
    quiet = Verdict("a1_bpe", 0.0, 1.0, (CheckResult("e.c", "e", "t", 0.0, 1.0, False, "m"),), "", ("n",))
    assert [tag for tag in tags if tag != "code"] == rendered(summary(quiet))[0]


def test_code_in_a_message_is_code_in_the_head():
    assert markdown("`f` is not defined: snake_case") == "<code>f</code> is not defined: snake_case"


# -- where it is applied ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", HOSTILE)
def test_results_verdicts_and_errors_hold_plain_text_only(text, tmp_path):
    result = CheckResult(text, text, text, 0.0, 1.0, False, text)
    verdict = Verdict(text, 0.0, 1.0, (result,), text, (text,))
    told = [result.id, result.exercise, result.title, result.message, verdict.assignment, verdict.problem]
    assert all(one.isprintable() for one in [*told, *verdict.notes, verdict.first_message])
    error = NotAllGraded([], [f"student {text}: {text}"])
    assert str(error).count("\n") == 2
    assert all(line.isprintable() for line in CourseError(text)._render_traceback_())
    notebook = nbformat.v4.new_notebook()
    add_head(notebook, verdict)
    nbformat.writes(notebook).encode()


@pytest.mark.parametrize("text", HOSTILE)
def test_a_table_of_hostile_names_has_one_line_each(text):
    import io

    from cs336lite.cli import Console
    from cs336lite.grading import table

    verdict = Verdict("a1_bpe", 1.0, 1.0, (), "", ())
    graded = [Graded(f"x{text}y", verdict), Graded("ada", verdict)]
    shown = io.StringIO()
    Console(file=shown, width=300).print(table.of_grades("a1_bpe", graded))
    assert not set(shown.getvalue()) & set("\x1b\u202e\x00\x07\ud800\r")
    assert len([line for line in shown.getvalue().splitlines() if "1 / 1" in line]) == 2


# -- what a check may say ---------------------------------------------------------------------------------------

SOURCE = """
NAMES = ("double", "halve")
TIES = "the lexicographically greater pair wins"
NUMBER = "use -inf"
NAN = f"NaN: {NUMBER}; and {NAMES[1]}'s"
def judge(kind, name, number):
    expect(kind == "ValueError", f"{name} raised {kind}: raise a ValueError that says what is wrong")
    expect(number == 3, f"ties are broken wrongly: {TIES}; {number} of {name} are right")
"""


@pytest.mark.parametrize(
    "message",
    [
        "double raised TypeError: raise a ValueError that says what is wrong",
        "ties are broken wrongly: the lexicographically greater pair wins; 12 of halve are right",
        "the lexicographically greater pair wins",
        "NaN: use -inf; and halve's ties are broken wrongly",
    ],
)
def test_a_message_of_the_source_is_left_as_it_is(message):
    assert own(message, SOURCE) == message


@pytest.mark.parametrize(
    "hole",
    [
        "Zqx",
        "x" + b"hidden".hex(),
        "12345",
        "1.5e-30",
        "c-$Qx#<>~!",
        "\x1b[31m",
        "字",
        "[1111, 2222]",
        "b'\\x00'",
        "a/b/c/d/e/f",
    ],
)
def test_what_is_not_of_the_source_is_left_out(hole):
    assert own(f"double raised {hole}: raise a ValueError that says what is wrong", SOURCE) == (
        f"double raised {CUT} raise a ValueError that says what is wrong"
    )


def test_a_long_string_of_the_sources_own_words_is_cut_off():
    words = "right wrong pair wins are of name kind judge number " * 40
    told = own(f"double raised {words}: raise a ValueError", SOURCE)
    assert len(told) < 120 and told.endswith(CUT)
    assert own("1 0 1 1 0 " * 60, SOURCE).endswith(CUT)
