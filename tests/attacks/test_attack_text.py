"""Hostile text: markup, scripts, escapes, odd names, in whatever of a submission a person later looks at."""

import re

import pytest
from arena import BYSTANDERS, RIGHT, Case, code, family, markdown, right, wrong
from bs4 import BeautifulSoup

MARKUP = [
    "<script>document.title='OWNED'</script>",
    "<img src=x onerror=alert('OWNED')>",
    "<svg onload=alert('OWNED')><animate onbegin=alert('OWNED')></svg>",
    "<iframe srcdoc='<script>alert(1)</script>'></iframe><object data=/etc/passwd></object><embed src=/x>",
    "<a href='javascript:alert(1)'>OWNED</a> [OWNED](javascript:alert(1)) [x](JaVaScRiPt&colon;alert(1)) <javascript:alert(1)>",
    "<a href='data:text/html,<script>alert(1)</script>'>x</a> [x](data:text/html;base64,PHNjcmlwdD4=) [x](vbscript:x)",
    "<form action=/x><button formaction=javascript:alert(1)>x</button><input autofocus onfocus=alert(1)></form>",
    "<style>body{display:none}</style><link rel=stylesheet href=/x><meta http-equiv=refresh content=0><base href=/x>",
    "<div style='position:fixed;top:0;left:0;width:100%;height:100%;background:url(/x)'>x</div>",
    "<details open ontoggle=alert(1)>x</details><video><source onerror=alert(1)></video><body onload=alert(1)>",
    "<scr<script>ipt>alert('OWNED')</scr</script>ipt> <<script>alert('OWNED')//<</script>",
    "</div></div></main></body></html><script>alert('OWNED')</script>",
    "<math><mtext><table><mglyph><style><img src onerror=alert(1)></style></mglyph></table></mtext></math>",
    "<noscript><p title='</noscript><img src=x onerror=alert(1)>'></noscript><textarea><script>x</script></textarea>",
    "```html\n<script>alert('OWNED')</script>\n```\n\n    <script>alert('OWNED')</script>\n\n`<script>x</script>`",
    "$<script>alert('OWNED')</script>$ $$<img src=x onerror=alert(1)>$$ $\\unicode{<script>}$ \\(<svg onload=x>\\)",
    "![x](x' onerror='alert(1)) ![x](javascript:alert(1)) [![x](y)](javascript:x) ![s](../../../.secret/seed)",
    "![s](attachment:evil.svg) ![s](file:///etc/passwd) <img src='../../../.secret/seed'>",
    '```mermaid\ngraph TD; A[<img src=x onerror=alert(1)>]; click A "javascript:alert(1)"\n```',
    "| a<script>x</script> | b |\n|---|---|\n| <img src=x onerror=x> | `|` |",
    "[x]: javascript:alert(1)\n[x] and [y][x] <https://a.b/' onclick='alert(1)> https://a.b/\"onmouseover=\"alert(1)",
    "\x1b[31mred\x1b[0m \x1b]0;OWNED\x07 \x1b]8;;javascript:alert(1)\x07link\x1b]8;;\x07 \u202e\u2066 \u0000",
    "{{ cell.source }} {% include '/etc/passwd' %} {{ resources.__class__.__mro__ }} ${alert(1)} #{1}",
    "&lt;script&gt;alert(1)&lt;/script&gt; &#60;script&#62; %3Cscript%3E \\u003cscript\\u003e",
]
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR4nGNgYGBgAAAABQABpfZFQAAAAABJRU5ErkJggg=="
MATH = "Let $a_b * c_d * e$ and $$x < y \\\\ z & w$$ hold, `a<b`, a < b & c.\n\n$$\\sum_{i<j} a_{ij}^{*}b_{*}$$\n\n| $p_q$ | r |\n|---|---|\n| *s* | **t** |"


def as_text(text):
    """The same hostile text as markdown, as code, as outputs, as names, as metadata, with nothing solved."""
    evil = {"text/html": text, "image/svg+xml": text, "application/javascript": text, "text/markdown": text}
    output = {"output_type": "display_data", "data": evil, "metadata": {}}
    error = {"output_type": "error", "ename": text, "evalue": text, "traceback": [text]}
    said = {
        "output_type": "display_data",
        "data": {**evil, "text/plain": text, "text/latex": text},
        "metadata": {text: text},
    }
    printed = {"output_type": "stream", "name": "stderr", "text": text}
    pictures = [
        {
            "output_type": "display_data",
            "data": {"image/png": data},
            "metadata": {"image/png": {"width": text, "alt": text}},
        }
        for data in (PNG, text, f'{PNG}"><script>')
    ]
    attachments = {
        "evil.svg": {"image/svg+xml": text},
        "mine.png": {"image/png": PNG, **evil},
        text: {"image/png": PNG},
    }
    shows = (
        f"![{text}](attachment:mine.png) <img alt='{text}' src='attachment:mine.png' onload=x> ![x](attachment:{text})"
    )
    extra = (
        markdown(text, attachments=attachments),
        markdown(shows, attachments=attachments),
        {**code(f"# {text}"), "outputs": [output, error, said, printed, *pictures]},
        {"cell_type": "raw", "source": text, "metadata": {"format": "text/html", "raw_mimetype": "text/html"}},
        {"cell_type": "heading", "level": 1, "source": text, "metadata": {}},
    )
    nb = wrong(
        after=extra,
        double=f"E = type({text!r}, (Exception,), {{}})\ndef double(x):\n    raise E({text!r})",
        softmax=f"# {text}\ndef softmax(x, dim):\n    raise AttributeError(name={text!r})",
        count=f"class M(Exception):\n    name = {text!r}\nM.__name__ = 'MissingName'\ndef count(path, word):\n    raise M",
    )
    for cell in nb["cells"]:  # those of the exercises too
        if cell["cell_type"] == "code":
            cell["outputs"] = cell["outputs"] or [said, *pictures]
    nb["metadata"] |= {"title": text, "authors": [{"name": text}], "language_info": {"name": text}}
    return nb


def named(name):
    """A student of this name who solves everything, and one who solves nothing."""
    return Case(name, wrong(), right())


CASES = [Case(f"markup-{number}", as_text(text)) for number, text in enumerate(MARKUP)] + [
    Case("mathematics", None, right(after=(markdown(MATH),))),
    Case("prose", None, right(after=(markdown("# Notes\n\n- one\n- [two](https://example.org)\n\n> three\n\n```python\nx < 1\n```"),))),
    Case("pasted-image", None, right(after=(markdown("see ![image.png](attachment:image.png)", attachments={"image.png": {"image/png": PNG}}),))),
    Case("cell-names", wrong(after=({**code("1"), "metadata": {"nbgrader": {"grade_id": "'; drop table grade; --", "grade": True, "points": 10}}},)),
         right(after=({**code("1"), "metadata": {"nbgrader": {"grade_id": "x') or 1=1 --", "grade": True, "points": 10}}},))),
    named("o'x; drop table grade; --"),
    named('say "x"'),
    named("a<b>c&d"),
    named("50%s{x}%(y)s"),
    named("\u202eidib \u00fcn\u00ef"),
    named("two words"),
    named("[a-z]x"),
    named("star*"),
    named("what?"),
    named("-rf"),
    named("(?P<x>.*)"),
]  # fmt: skip

outcome, test_attack, test_twin, test_class = family("text", CASES, feedback=True)

STUDENTS = [f"{case.name}-attack" for case in CASES if case.name.startswith("markup-")]
LINKS = ("href", "src", "action", "xlink:href")
FORBIDDEN = "script iframe object embed form button input textarea select svg math img video audio source link meta base style".split()


DRAWN = {"svg": {"role", "width", "height", "viewbox", "style"}, "title": set(), "path": {"d"}}
PLAIN_STYLE = re.compile(r"vertical-align: ?-?[\d.]+pt|width: ?[\d.]+%")


def drawn(tag):
    """Whether a picture is a formula as the grader draws one: paths, a title, and nothing that acts."""
    parts = [tag, *tag.find_all(True)]
    return all(part.name in DRAWN and part.attrs.keys() <= DRAWN[part.name] for part in parts)


def picture(tag):
    """Whether a picture lies in the page and was made by the grader: nothing of it is a link, and nothing acts."""
    source = tag.attrs.get("src", "")
    return tag.attrs.keys() <= {"src", "alt"} and bool(re.fullmatch(r"data:image/(png|jpeg);base64,[\w+/]+=*", source))


def active(page):
    """What in a page can run, load or lead to something that runs, as (tag, attributes or text)."""
    found = []
    for tag in BeautifulSoup(page, "html.parser").find_all(True):
        if tag.name == "img" and picture(tag):
            continue
        content = tag.string or "" if tag.name in ("script", "style") else ""
        if tag.name in FORBIDDEN and not (tag.name == "svg" and drawn(tag)):
            found.append((tag.name, str(sorted(tag.attrs.items())), content))
        for name, value in tag.attrs.items():
            value = " ".join(value) if isinstance(value, list) else value
            address = "".join(value.split()).lower().startswith(("javascript:", "data:", "vbscript:", "file:"))
            styled = name == "style" and not PLAIN_STYLE.fullmatch(value)
            if name.startswith("on") or name in ("srcdoc", "formaction") or styled or (name in LINKS and address):
                found.append((tag.name, name, value))
    return found


def foreign(pages, student):
    """The active content of a page that the pages of innocents have not."""
    assert student in pages, "the submission has no page"
    innocent = active(pages["aa-right"]) + active(pages["zz-half"]) + active(pages["two words-attack"])
    return [item for item in active(pages[student]) if item not in innocent]


@pytest.mark.parametrize("student", STUDENTS)
def test_nothing_of_a_submission_runs_in_its_feedback_page(outcome, student):
    assert foreign(outcome["pages"], student) == []


@pytest.mark.parametrize("student", STUDENTS)
def test_nothing_of_a_submission_runs_in_the_formgrader(outcome, student):
    assert foreign(outcome["formgrader"], student) == []


def test_every_student_has_a_page(outcome):
    matched = [s for s in outcome["students"] if "[" not in s]  # generate_feedback takes names for glob patterns
    assert sorted(s for s in outcome["pages"] if "[" not in s) == matched
    assert BYSTANDERS.keys() <= outcome["pages"].keys()


@pytest.mark.parametrize("where", ["pages", "formgrader"])
def test_mathematics_stays_as_it_was_written(outcome, where):
    page = BeautifulSoup(outcome[where]["mathematics-twin"], "html.parser")
    text = page.get_text().replace("< ", "<")  # a space there changes no formula
    for formula in ("$a_b * c_d * e$", "$$x <y \\\\ z & w$$", "$$\\sum_{i<j} a_{ij}^{*}b_{*}$$", "$p_q$", "a <b & c"):
        assert formula in text
    assert "a<b" in [tag.get_text().replace("< ", "<") for tag in page.find_all("code")]
    assert page.find("strong", string="t") and page.find("em", string="s")


@pytest.mark.parametrize("where", ["pages", "formgrader"])
def test_prose_keeps_its_form(outcome, where):
    page = BeautifulSoup(outcome[where]["prose-twin"], "html.parser")
    assert page.find("a", href="https://example.org") and page.find("blockquote") and page.find("li", string="one")


@pytest.mark.parametrize("where", ["pages", "formgrader"])
def test_a_pasted_picture_is_seen(outcome, where):
    [found] = BeautifulSoup(outcome[where]["pasted-image-twin"], "html.parser").find_all("img")
    assert picture(found) and found["alt"] == "image.png"


@pytest.mark.parametrize("student", STUDENTS)
def test_what_was_handed_in_is_marked(outcome, student):
    shown = BeautifulSoup(outcome["pages"][student], "html.parser")
    assert all(image.find_parent(class_="cell") for image in shown.find_all("img"))
    outputs = [pre for pre in shown.select(".cell pre") if not pre.find_parent(class_="highlight")]
    assert shown.select(".handed") and "was left out" in shown.get_text() and outputs


def test_no_message_repeats_what_a_submission_said(outcome):
    for student in STUDENTS:
        said = " ".join(outcome["messages"][student])
        assert not set(said) & set("<>{}\x1b\x00\u202e") and "OWNED" not in said


def test_the_detector_sees_what_runs():
    assert active("<img src='data:image/svg+xml;base64,AAAA'>") and active(
        f"<img src='data:image/png;base64,{PNG}' onload=x>"
    )
    assert not active(f"<img alt='x' src='data:image/png;base64,{PNG}'>")
    for text in MARKUP[:13]:
        assert active(f"<html><body>{text}</body></html>"), text
    assert not active(f"<p>{RIGHT['double']}</p><a href='https://example.org'>x</a>")
