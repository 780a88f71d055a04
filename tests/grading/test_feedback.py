"""The feedback page says what passed, what did not and where to read on, and is safe to open whatever was handed in."""

import base64
import re
import shutil
import subprocess
import sys
from types import SimpleNamespace

import pytest
from bs4 import BeautifulSoup
from helpers import RIGHT, small_notebook, submit
from nbformat import validate
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output, new_raw_cell
from nbgrader.api import Gradebook

from cs336lite.course.spec import CheckResult
from cs336lite.grading import feedback, feedback_cells, feedback_exercises, feedback_text, limited
from cs336lite.grading.handed import MARK
from cs336lite.grading.judge import reading
from cs336lite.grading.places import Trouble, place_said, said
from cs336lite.grading.verdicts import Verdict

CHECKS = (
    CheckResult("double.number", "double", "doubles a number", 0.0, 3.0, False, "squared: `2 < 3` | not <doubled>"),
    CheckResult("double.string", "double", "doubles a string", 1.0, 1.0, True, ""),
    CheckResult("halve.half", "halve", "halves a number", 2.0, 2.0, True, ""),
)
READ = {"double": ("Lecture 01, doubling", "notebooks/01.ipynb"), "halve": "any book", "gone": "nothing"}
NOTE = "cell `setup` is not yours to edit: it was restored"


def known(name, **kind):
    flags = {"grade": False, "solution": False, "locked": False, "task": False, **kind}
    return {"nbgrader": {"grade_id": name, "schema_version": 3, **flags}}


def graded(*extra, checks=CHECKS, read=READ, problem="", notes=(NOTE,)):
    """A graded notebook of two exercises, and whatever a student added to it."""
    spec = SimpleNamespace(module=SimpleNamespace(READ=read))
    verdict = Verdict("a1_bpe", sum(c.points for c in checks), 6.0, checks, problem, notes, read=reading(spec))
    cells = [
        new_markdown_cell("## 1 · Doubling"),
        new_code_cell(
            "def double(x):\n    return x * x if x < 3 & 1 else '<b>'", metadata=known("double", solution=True)
        ),
        new_code_cell("check()", metadata=known("grade_double", grade=True, locked=True, points=4)),
        *extra,
        new_code_cell("def halve(x): return x // 2", metadata=known("halve", solution=True)),
        new_code_cell("check()", metadata=known("grade_halve", grade=True, locked=True, points=2)),
    ]
    nb = new_notebook(cells=cells)
    for cell in cells:
        if cell.metadata.get("nbgrader", {}).get("grade"):
            feedback_cells.write_verdict(cell, verdict)
    feedback_cells.add_head(nb, verdict)
    validate(nb)
    return nb


def shown(nb, **course):
    return BeautifulSoup(feedback.page(nb, {"assignment": "a1_bpe", **course}), "html.parser")


def text(node):
    return " ".join(node.get_text(" ").split())


def markdown(source):
    return BeautifulSoup(str(feedback_text.safe_markdown(source)), "html.parser")


# -- what it says -----------------------------------------------------------------------------------------------------


def test_the_head_has_the_score_and_a_first_thing_to_look_at():
    page = shown(graded(), score=3.0, max_score=6.0)
    assert "3 of 6 points" in text(page.header) and page.title.string == "a1_bpe: feedback"
    rows = [[text(cell) for cell in row.find_all("td")] for row in page.find("table", "overview").tbody.find_all("tr")]
    assert rows == [
        ["double", "1 / 4", "✗ squared: 2 < 3 | not <doubled>"],
        ["halve", "2 / 2", "✓ all checks passed"],
    ]
    assert [a["href"] for a in page.find("table", "overview").find_all("a")] == ["#checks-double", "#checks-halve"]
    assert "Put right before judging" in text(page) and "cell setup is not yours to edit" in text(page)


def test_each_check_has_a_mark_that_reads_without_colour_points_and_its_message():
    section = shown(graded()).find(id="checks-double")
    failed, passed = section.find_all("li")
    assert text(failed) == "✗ failed doubles a number 0 / 3 squared: 2 < 3 | not <doubled>"
    assert text(passed) == "✓ passed doubles a string 1 / 1"
    assert failed.find("code").string == "2 < 3"


HERE = "your code raised TypeError (cell `double`, line 2)"
OTHER = "`halve` is not defined; cell 3 stopped with ZeroDivisionError on line 2"


def raised(*messages, extra=()):
    """The page of a notebook of which checks said this, and the lines of code that it shows beside each."""
    checks = tuple(
        CheckResult(f"double.c{i}", "double", f"check {i}", 0, 1, False, said) for i, said in enumerate(messages)
    )
    page = shown(graded(*extra, checks=checks))
    items = page.find(id="checks-double").find_all("li")
    return page, [[text(p) for p in item.find_all("p", "at")] for item in items]


def test_where_code_raised_the_page_shows_the_line_of_the_students_own_cell():
    mine = new_code_cell("a = 1\n  \tb = 1 / 0  # <i>oh</i>\n", metadata={"cs336lite": 3})
    _, lines = raised(HERE, OTHER, HERE, "too few merges (line 2)", extra=[mine])
    assert lines == [
        ["cell double , line 2: return x * x if x < 3 & 1 else '<b>'"],
        ["cell 3, line 2: b = 1 / 0 # <i>oh</i>"],
        [],  # what says the same again is told by the first
        [],
    ]


def test_the_lines_are_those_that_the_grader_names():
    cells = (("`double`", "a = 1\nb = 2"), ("3", "c = 3\nd = 4"))
    trouble = Trouble(cell=1, first=2, last=2, line=2, what="stopped with TypeError")
    for message, line in [(place_said(cells, "`double`", 2), "b = 2"), (said(trouble, cells), "d = 4")]:
        assert [one["line"] for one in feedback_exercises.lines_at(f"it failed{message}; {message}", dict(cells))] == [
            line
        ]


def test_a_line_that_the_submission_has_not_is_not_shown():
    given = new_code_cell("SECRET = 1\nSECRET = 2", metadata={**known("setup", locked=True), "cs336lite": 3})
    judged = [
        f"your code raised TypeError (cell {cell})" for cell in ("`double`, line 9", "`setup`, line 2", "7, line 1")
    ]
    page, lines = raised(*judged, "(cell `double`, line 999999999999999999999)", "(cell 3, line 2)", extra=[given])
    assert lines == [[]] * 5 and "SECRET" not in str(page.main)


def test_a_line_of_the_submission_is_text_and_short():
    wild = "<script>alert(1)</script>{{ 7 * 7 }}" + "\u202e" + "x" * 500
    page, lines = raised("(cell 4, line 1)", extra=[new_code_cell(wild, metadata={"cs336lite": 4})])
    assert not page.main.find_all("script") and "{{ 7 * 7 }}" in lines[0][0]
    assert len(lines[0][0]) < 150 and "\u202e" not in lines[0][0]


def test_a_failed_exercise_says_where_to_read_on_and_a_passed_one_does_not():
    page = shown(graded())
    said = text(page.find(id="checks-double"))
    assert "Read on: Lecture 01, doubling ( notebooks/01.ipynb )." in said and 'hint("a1_bpe", "double")' in said
    [link] = [a for a in page.find(id="checks-double").find_all("a") if "exercise itself" in a.string]
    assert "Doubling" in text(page.find(id=link["href"].removeprefix("#")))
    assert "Read on" not in text(page.find(id="checks-halve"))


@pytest.mark.parametrize(
    ("entry", "address"),
    [
        (("the FAQ", "https://example.org/?a=1&b=<"), "https://example.org/?a=1&b=<"),
        (("a file", "notebooks/01.ipynb"), None),
        (("no", "javascript:alert(1)"), None),
        ("a text alone", None),
    ],
)
def test_only_addresses_in_the_web_become_links(entry, address):
    page = shown(graded(read={"double": entry}))
    links = [a["href"] for a in page.find(id="checks-double").find_all("a") if not a["href"].startswith("#")]
    assert links == ([address] if address else [])


def test_without_anything_to_read_the_page_still_leads_to_the_exercise():
    section = shown(graded(read={})).find(id="checks-double")
    assert "Read on" not in text(section) and "The exercise itself is below" in text(section)


def test_points_comments_and_penalties_of_the_instructor_are_shown():
    nb = graded()
    cells = {c.metadata.get("nbgrader", {}).get("grade_id"): c for c in nb.cells}
    cells["grade_double"].metadata.nbgrader.update(score=2.5, points=4.0)
    cells["grade_halve"].metadata.nbgrader.update(score=2.0, points=2.0)
    cells["double"].metadata.nbgrader["comment"] = "Nearly: see <b>line 2</b> <script>alert(1)</script>"
    cells["halve"].metadata.nbgrader["comment"] = "No response."  # nbgrader says so by itself
    page = shown(nb, score=4.0, max_score=6.0, late_penalty=0.5)
    section = page.find(id="checks-double")
    assert "2.5 / 4" in text(section.h3) and "The checks gave 1; the points were set by hand." in text(section)
    assert "set by hand" not in text(page.find(id="checks-halve")) and "No response" not in text(page)
    assert "Nearly: see line 2" in text(section) and not page.find_all("script")
    assert "0.5 points were taken off" in text(page) and "4 of 6 points" in text(page.header)


def test_the_head_says_whose_page_it_is_and_what_came_when():
    known = {"student": "Bo <b> (bo)", "handed_in": "2 March 2026, 15:04 UTC", "due": "1 March 2026, 12:00 UTC"}
    page = shown(graded(), whose={**known, "late": "1 day 3 hours"}, late_penalty=2.0)
    assert [text(span) for span in page.select(".about span")] == [
        "Bo <b> (bo)",
        "handed in 2 March 2026, 15:04 UTC",
        "due 1 March 2026, 12:00 UTC",
    ]
    assert "2 points were taken off because it came 1 day 3 hours late." in text(page.header)
    said = text(shown(graded(), whose={**known, "late": "5 minutes"}).header)
    assert "It came 5 minutes late; no points were taken off." in said
    assert "late" not in text(shown(graded(), whose=known).header)
    assert [text(span) for span in shown(graded(), whose={"student": "bo"}).select(".about span")] == ["bo"]
    assert not shown(graded()).select(".about")


def test_the_head_says_what_was_set_by_hand():
    nb = graded()
    cells = {c.metadata.get("nbgrader", {}).get("grade_id"): c for c in nb.cells}
    cells["grade_double"].metadata.nbgrader.update(score=2.5, points=4.0)
    cells["grade_halve"].metadata.nbgrader.update(score=2.0, points=2.0)
    assert "Set by hand: double 2.5 (the checks gave 1)." in text(shown(nb).header)
    assert "by hand" not in text(shown(graded()))


def test_outputs_that_were_handed_in_are_told_from_those_of_the_grader():
    outputs = [
        new_output("stream", text=MARK),
        new_output("stream", text="mine"),
        new_output("stream", name="stderr", text="e"),
    ]
    page = shown(graded(new_code_cell("1", outputs=outputs), new_code_cell("2", outputs=outputs[1:])))
    [handed] = page.select(".handed")
    assert text(handed) == "handed in with it; the grader has not made it mine e"
    assert [pre.get("class") for pre in handed.find_all("pre")] == [None, ["error"]] and MARK.strip() not in text(page)


def test_what_many_checks_say_is_said_once():
    checks = [CheckResult(f"double.{i}", "double", f"part {i}", 0.0, 1.0, False, "not solved yet") for i in range(18)]
    checks += [CheckResult(f"halve.{i}", "halve", f"half {i}", 0.0, 1.0, False, "not solved yet") for i in range(2)]
    page = shown(graded(checks=(*checks, CheckResult("halve.x", "halve", "x", 0.0, 1.0, False, "another"))))
    said = [text(node) for node in page.select(".checks .message")]
    assert said == ["not solved yet (and 19 more checks say the same)", "the same as for double", "another"]
    assert len(page.select(".checks li")) == 21
    first = [text(row.find_all("td")[2]) for row in page.select(".overview tbody tr")]
    assert first == ["✗ not solved yet", "✗ the same as for double"]


def test_a_submission_that_could_not_be_judged_says_why():
    checks = tuple(CheckResult(c.id, c.exercise, c.title, 0.0, c.max_points, False, "nothing") for c in CHECKS)
    page = shown(graded(checks=checks, problem="the file is <empty>", notes=()), score=0.0, max_score=6.0)
    assert "Nothing could be judged: the file is <empty>." in text(page.header)
    assert "0 of 6 points" in text(page.header) and "Put right" not in text(page)


def test_the_students_code_is_shown_as_written_and_the_students_own_cells_too():
    own = new_code_cell("helper = [1 < 2, '&amp;']  # mine")
    page = shown(graded(own))
    codes = [pre.get_text().strip() for pre in page.select(".cell pre")]
    assert "def double(x):\n    return x * x if x < 3 & 1 else '<b>'" in codes and own.source in codes
    assert text(page.find("a", string="double", href="#checks-double")) == "double"
    assert "1 of 4 points, 1 of 2 checks passed" in text(page)


def test_a_notebook_graded_before_there_was_such_a_page_is_shown_plainly():
    nb = graded()
    del nb.metadata[feedback_cells.VERDICT_KEY]
    page = shown(nb, score=3.0, max_score=6.0)
    assert "3 of 6 points" in text(page) and "FAIL 0/3 doubles a number" in text(page)


def test_the_notebook_itself_stays_plain():
    nb = graded()
    [grade] = [c for c in nb.cells if c.metadata.get("nbgrader", {}).get("grade_id") == "grade_double"]
    assert [set(output.get("data", {"text/plain": ""})) for output in grade.outputs] == [{"text/plain"}] * 2
    assert grade.outputs[0].text.startswith("FAIL  0/3  doubles a number\n      squared")
    assert grade.outputs[1].data["text/plain"] == "1.0"
    head = nb.cells[0].source
    assert head.startswith("## a1_bpe: 3 of 6 points") and "&lt;doubled&gt;" in head and "&#124;" in head


# -- what it must not do ----------------------------------------------------------------------------------------------

HOSTILE = r"""
<script>alert(1)</script><img src=x onerror="alert(1)"><svg onload=alert(1)></svg><iframe src="https://evil.example"></iframe>
<style>body{display:none}</style><link rel=stylesheet href=https://evil.example/x.css><base href=https://evil.example/>
<form action=https://evil.example><input name=a><button>go</button></form><meta http-equiv=refresh content="0;url=x">
<div onclick="alert(1)" style="position:fixed" class="checks good">x</div><math><mi href="javascript:alert(1)">m</mi></math>

[a](javascript:alert(1)) [b](JaVaScRiPt&colon;alert(1)) [c](data:text/html,<script>alert(1)</script>) [d](vbscript:x)
<a href="&#106;avascript:alert(1)">e</a> [f][r] <javascript:alert(1)> [g](https://ok.example "t\" onclick=\"alert(1)")

[r]: javascript:alert(1)

![p](https://evil.example/p.png) ![q](attachment:gone.png) ![s](../../../etc/passwd) ![" onerror="alert(1)](x)

| a | b |
|---|---|
| <script>alert(1)</script> | <img src=x onerror=alert(1)> $<img src=x onerror=alert(1)>$ |

$\href{javascript:alert(1)}{x}$ $$\unicode{<script>alert(1)</script>}$$ \(\style{display:none}{x}\) $</title><script>alert(1)</script>$

\begin{align}<img src=x onerror=alert(1)> &= \require{html}\end{align}

```mermaid
click A "javascript:alert(1)"
```
```html" onclick="alert(1)
<script>alert(1)</script>
```
```python
"</pre><script>alert(1)</script>"
```
"""
HARMLESS = {"rel", "href", "title", "class", "id", "style", "align", "lang", "charset", "content", "name", "role"}
HARMLESS |= {"http-equiv", "aria-hidden", "width", "height", "viewbox", "d", "start"}
PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(40)).decode()


def assert_safe(page):
    for tag in page.find_all(True):
        if tag.name == "img":  # lies in the page, and is made by the grader
            assert set(tag.attrs) == {"alt", "src"}, tag
            assert re.fullmatch(r"data:image/(png|jpeg);base64,[A-Za-z0-9+/]+=*", tag["src"]), tag
            continue
        assert tag.name not in (
            "script",
            "iframe",
            "object",
            "embed",
            "form",
            "input",
            "button",
            "base",
            "link",
            "math",
        )
        assert set(tag.attrs) <= HARMLESS, tag
        assert "url(" not in tag.get("style", "") and (tag.name in ("i", "svg") or "style" not in tag.attrs), tag
        address = tag.get("href", "#")
        assert address.startswith(("#", "https://", "http://", "mailto:")) or not re.search(r"[:&]", address), tag
    assert len(page.find_all("style")) == 1 and "http" not in page.style.string and "@import" not in page.style.string


def test_nothing_of_a_submission_runs_or_loads():
    raw = new_raw_cell("<script>alert(1)</script>", metadata={"format": "text/html"})
    code = new_code_cell(
        "'</pre><script>alert(1)</script>'",
        metadata={"tags": ['"><script>alert(1)</script>'], "language": '"><script>'},
        outputs=[
            new_output("display_data", data={"text/html": "<script>alert(1)</script>", "text/plain": "<script>plain"}),
            new_output(
                "display_data", data={"application/javascript": "alert(1)", "image/svg+xml": "<svg onload=a()>"}
            ),
            new_output("stream", text="</pre><script>alert(1)</script>"),
        ],
    )
    attached = new_markdown_cell("![x](attachment:a.svg)", attachments={"a.svg": {"image/svg+xml": "<svg onload=a()>"}})
    nb = graded(new_markdown_cell(HOSTILE), raw, code, attached)
    nb.metadata.title = "</title><script>alert(1)</script>"
    nb.metadata.language_info = {"name": '"><script>alert(1)</script>', "pygments_lexer": "html"}
    nb.metadata.widgets = {"application/vnd.jupyter.widget-state+json": {"state": {}, "x": "</script><script>"}}
    page = shown(nb)
    assert_safe(page)
    assert "<script>alert(1)</script>" in page.get_text() and "[picture: p]" in text(page)
    classes = {name for tag in page.select(".cell [class]") for name in tag["class"]}
    assert not classes & {"checks", "good", "mine checks"}
    policy = page.find("meta", {"http-equiv": "Content-Security-Policy"})["content"]
    assert "default-src 'none'" in policy and "script-src" not in policy


def test_the_check_of_safety_finds_what_is_not_safe():
    for bad in (
        "<script>x</script>",
        '<a href="javascript:x">',
        '<b onclick="x">',
        '<p style="color:red">',
        "<img src=x>",
        "<img alt=x src='data:image/svg+xml;base64,AAAA'>",
        "<img alt=x src='data:image/png;base64,AAAA' onload=x>",
    ):
        with pytest.raises(AssertionError):
            assert_safe(BeautifulSoup(f"<style></style>{bad}", "html.parser"))


def test_pictures_lie_in_the_page_and_are_of_two_kinds():
    bundles = [
        {"image/png": PNG},
        {"image/svg+xml": PNG, "text/plain": "a picture"},
        {"image/png": 'AAAA" onload="x'},
        {"image/png": ["AAAA"]},
        {"image/jpeg": PNG, "text/html": "<script>"},
    ]
    code = new_code_cell("1", outputs=[new_output("display_data", data=data) for data in bundles])
    said = (
        '![one "two" onload=x](attachment:1.png) ![three](attachment:2.svg) ![four](attachment:gone.png) ![five](1.png)'
    )
    mine = new_markdown_cell(said, attachments={"1.png": {"image/png": PNG}, "2.svg": {"image/svg+xml": PNG}})
    page = shown(graded(code, mine))
    assert_safe(page)
    kinds = [tag["src"].partition(";")[0] for tag in page.find_all("img")]
    assert kinds == ["data:image/png", "data:image/jpeg", "data:image/png"]
    assert page.find_all("img")[2]["alt"] == 'one "two" onload=x'
    said = text(page)
    assert "[picture: three]" in said and "[picture: four]" in said and "[picture: five]" in said
    assert "img-src data:" in page.find("meta", {"http-equiv": "Content-Security-Policy"})["content"]


def test_names_in_the_verdict_are_escaped():
    checks = (CheckResult("x", '"><script>', "<img src=x>", 0.0, 1.0, False, "<script>alert(1)</script>"),)
    page = shown(
        graded(checks=checks, notes=("<script>alert(1)</script>",), read={'"><script>': ("<script>", "<img>")})
    )
    assert_safe(page)


@pytest.mark.parametrize(
    "source",
    ["> " * 3000 + "x", "[" * 5000, "<b>" * 5000, "$a" * 5000, "*a **b " * 2000, "\\begin{align}" * 500, "`" * 9999],
)
def test_markdown_made_to_exhaust_the_parser_is_still_shown(source):
    assert_safe(shown(graded(new_markdown_cell(source))))


def test_markdown_that_is_too_long_stands_as_it_was_written(monkeypatch):
    long = "*x* " * (feedback_text.LONGEST_MARKDOWN // 4)
    assert markdown(long).find("em") and not markdown(long + "y").find("em")
    assert markdown(long + "<b>").pre.get_text() == long + "<b>"
    monkeypatch.setattr(feedback_text.Allowance, "MARKDOWN", 60)
    page = shown(graded(new_markdown_cell("*one*" + " " * 40), new_markdown_cell("*two*<b>")))
    assert [em.string for em in page.find_all("em")] == ["one"] and "*two*<b>" in page.get_text()


# -- what a page may cost ----------------------------------------------------------------------------------------------

BACKTRACKING = "'" + "\\N{" * 300  # the lexer tries each of them again and again
FORMULA = "$" + "x" * 596 + "$\n\n"


def costly():
    """A notebook of all that costs much to show."""
    cells = [new_code_cell("'" + "\\N{" * 16_000) for _ in range(20)]
    cells += [new_code_cell(f"{BACKTRACKING}\n" * 50) for _ in range(20)]
    cells += [new_markdown_cell(FORMULA * 30) for _ in range(30)]
    rows = " \\\\ ".join(["x" * 590] * 30)
    cells += [new_markdown_cell(f"\\begin{{align}}{rows}\\end{{align}}") for _ in range(10)]
    return graded(*cells)


def test_a_page_costs_a_bounded_amount_whatever_it_shows(monkeypatch):
    lexed, longest = [], []
    highlight = feedback_text.highlight

    def counted(source, *rest):
        lexed.append(len(source))
        longest.append(max(map(len, source.split("\n"))))
        return highlight(source, *rest)

    monkeypatch.setattr(feedback_text, "highlight", counted)
    page = feedback.page(costly(), {})
    assert sum(lexed) <= feedback_text.Allowance.CODE and max(longest) <= feedback_text.LONGEST_LINE
    assert len(page) < 8 << 20
    assert 0 < page.count("<svg") <= feedback_text.Allowance.FORMULAS
    assert_safe(shown(costly()))


def test_the_pages_of_the_formgrader_have_the_same_allowance_each(tmp_path, monkeypatch):
    from nbconvert.exporters import HTMLExporter
    from nbformat import write
    from traitlets.config import Config

    from cs336lite.grading.hooks import configure

    config = Config()
    configure(config, tmp_path)
    exporter = HTMLExporter(config=config)
    write(costly(), tmp_path / "costly.ipynb")
    mine = new_markdown_cell("$a_1$ and *b* ![c](attachment:1.png)", attachments={"1.png": {"image/png": PNG}})
    write(graded(mine), tmp_path / "plain.ipynb")
    lexed = []
    highlight = feedback_text.highlight
    monkeypatch.setattr(
        feedback_text, "highlight", lambda source, *rest: lexed.append(len(source)) or highlight(source, *rest)
    )
    page, _ = exporter.from_filename(str(tmp_path / "costly.ipynb"))
    assert 0 < sum(lexed) <= feedback_text.Allowance.CODE and len(page) < 8 << 20
    plain, _ = exporter.from_filename(str(tmp_path / "plain.ipynb"))
    found = BeautifulSoup(plain, "html.parser")
    assert found.find("svg") and found.find("em") and found.find(class_="highlight")
    assert found.find("img", alt="c")["src"] == f"data:image/png;base64,{PNG}"
    for shown_ in (page, plain):  # each has the styles of our tables, once
        assert shown_.count(".rendered_html th") == shown_.count(feedback_text.FORMGRADER_STYLES) == 1


def test_pages_are_made_in_a_process_with_limits(monkeypatch):
    """What takes too long is shown as it was written, with the score and the checks; the next page is whole again."""
    nb, plain = graded(new_markdown_cell("*mine*")), {"assignment": "a1_bpe", "score": 1.0, "max_score": 6.0}
    exporter = feedback.FeedbackExporter()
    whole, _ = exporter.from_notebook_node(nb, {"nbgrader": plain})
    assert whole == feedback.page(nb, plain) and "<em>mine</em>" in whole
    painter = limited.Shared(limited.Limits(step_seconds=0.0, call_seconds=0.0))
    monkeypatch.setattr(feedback, "PAINTER", painter)
    written, _ = exporter.from_notebook_node(costly(), {"nbgrader": plain})
    painter.close()
    found = BeautifulSoup(written, "html.parser")
    assert "<svg" not in written and "squared: 2 < 3" in text(found.find(id="checks-double"))
    assert FORMULA.strip() in found.get_text()


# -- mathematics ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "source",
    [
        "$a_b$",
        "$a_b c_d * e * f$",
        "$$\\sum_{i<j} x_i$$",
        "$a<b & c>d$",
        "$$\nx_1\n+ \\frac{a}{b}\n$$",
        "\\begin{align}\na &= b_1 \\\\\nc &= d_1\n\\end{align}",
        "$\\nosuchmacro{x}_1$",
        "$\\text{字}_1$",
    ],
)
def test_mathematics_is_intact(source):
    page = markdown(f"Before\n{source}\nafter *this*.")
    [math] = page.select(".math")
    assert (math.find("title") or math).get_text() == source
    assert not page.select(".math em, .math sub") and page.find("em").string == "this"


@pytest.mark.parametrize("source", [r"\(x_1 < y_2\)", r"\\(x_1 < y_2\\)"])
def test_parentheses_with_backslashes_are_mathematics(source):
    [math] = markdown(f"a {source} b").select(".math")
    assert math.svg.title.string == "$x_1 < y_2$"


@pytest.mark.parametrize(
    "source", [r"\tfrac12 (x^2 + 100\, y^2)", r"\tfrac{a}{b}", r"\dfrac{a}{b}", r"\frac12", r"\frac 3 4"]
)
def test_fractions_are_drawn_as_tex_takes_them(source):
    assert markdown(f"${source}$").select(".math svg path[d]")


def test_what_matplotlib_draws_is_drawn_and_other_tex_stands_as_it_is():
    assert markdown("$a_b$").select(".math svg path[d]") and not markdown("$a_b$").find("code")
    align = markdown("\\begin{align} a &= b \\\\ c &= d \\end{align}")
    assert len(align.select(".math.block svg")) == 2
    assert markdown("$\\nosuchmacro{x}$").find("code", "math").string == "$\\nosuchmacro{x}$"


@pytest.mark.parametrize(
    "source",
    [
        "It costs $5, or $10 for two.",
        "Between $5 and $10.",
        "US$ 5 and A$ 6",
        "a \\$x\\$ b",
        "only one $ here",
        "`$a_b$` `$$`",
    ],
)
def test_dollars_are_no_mathematics(source):
    page = markdown(source)
    assert not page.select(".math")
    assert text(page) == source.replace("\\$", "$").replace("`", "")


def test_code_in_markdown_is_intact():
    page = markdown("`a < b & c` and\n\n```python\nif a < b & c: x = '$1$ <i>'\n```\n\n    indented <b> & $c$\n")
    assert page.find("code").get_text() == "a < b & c"
    assert [pre.get_text().strip() for pre in page.find_all("pre")] == [
        "if a < b & c: x = '$1$ <i>'",
        "indented <b> & $c$",
    ]
    assert not page.find_all(["b", "i"])


# -- with nbgrader, and in a browser ----------------------------------------------------------------------------------


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="grading runs on Linux")
def test_nbgrader_writes_this_page(small_course):
    from cs336lite.grading import runner

    spec = small_course / "hidden" / "a1_bpe.py"
    spec.write_text(spec.read_text() + "\nREAD = {'double': ('Lecture 01', 'notebooks/01_tokenizer.ipynb')}\n")
    api = runner.nbgrader_api(small_course)
    assert api.generate_assignment("a1_bpe")["success"]
    mine = small_notebook("def double(x):\n    return x * x", RIGHT[1])
    mine["cells"][1]["outputs"] = [{"output_type": "stream", "name": "stdout", "text": "as I ran it"}]
    submitted = submit(small_course, "bo", mine)
    submitted.with_name("timestamp.txt").write_text("2026-03-02 15:04:59 UTC")
    with Gradebook(f"sqlite:///{small_course / 'gradebook.db'}") as gradebook:
        gradebook.update_or_create_assignment("a1_bpe", duedate="2026-03-01 12:00:00 UTC")
        gradebook.add_student("cy", first_name="Cy")
        gradebook.add_student("bo", first_name="Bo", last_name="Lee")
    runner.grade_class(small_course, "a1_bpe")
    result = api.generate_feedback("a1_bpe", "bo")
    assert result["success"], result
    page = BeautifulSoup((small_course / "feedback" / "bo" / "a1_bpe" / "a1_bpe.html").read_text(), "html.parser")
    assert_safe(page)
    said = [text(span) for span in page.select(".about span")]
    assert said == ["Bo Lee (bo)", "handed in 2 March 2026, 15:04 UTC", "due 1 March 2026, 12:00 UTC"]
    assert "It came 1 day 3 hours late" in text(page.header) and "as I ran it" in text(page.select(".handed")[0])
    assert "Cy" not in text(page)
    assert "2 of 6 points" in text(page.header) and "Lecture 01 ( notebooks/01_tokenizer.ipynb )" in text(page)
    assert "the number is squared, not doubled" in text(page.find(id="checks-double"))


CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: apt-get install chromium")
def test_a_browser_asks_for_nothing_and_runs_nothing(tmp_path):
    page = tmp_path / "page.html"
    script = "<script>document.title = 'owned'</script>"
    page.write_text(feedback.page(graded(new_markdown_cell(HOSTILE.replace("alert(1)", "document.title='owned'"))), {}))
    quiet = ["--disable-gpu", "--disable-background-networking", "--disable-component-update", "--disable-sync"]
    command = [
        CHROMIUM,
        "--headless",
        "--no-sandbox",
        "--no-first-run",
        *quiet,
        f"--user-data-dir={tmp_path / 'profile'}",
    ]

    def dom(path):
        done = subprocess.run(
            [*command, "--dump-dom", path.as_uri()], capture_output=True, text=True, timeout=120, check=False
        )
        return done.stdout

    assert "<title>a1_bpe: feedback</title>" in dom(page)
    # even if a script got through, the policy of the page would stop it
    page.write_text(page.read_text().replace("</body>", f"{script}</body>"))
    assert "<title>a1_bpe: feedback</title>" in dom(page)
    page.write_text(re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page.read_text()))
    assert "<title>owned</title>" in dom(page)
