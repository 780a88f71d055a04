r"""What a student gets back: lines in the grade cells, a head for the notebook, and the page made of both.

The page is one file that loads nothing and holds no script: mathematics is drawn here, styles and pictures lie inside, and
a policy in its head forbids the rest. Every text goes through a template that escapes it; markdown of a submission is rendered
by nbconvert's parser and then cut down to a few harmless tags by bleach.
"""

from __future__ import annotations

import copy
import html
import re
import secrets
from collections import Counter
from contextlib import suppress
from typing import Any

import bleach
import jinja2
import nbformat
from markupsafe import Markup
from nbconvert.exporters import Exporter, HTMLExporter
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath, MathBlockParser, MathInlineParser
from nbconvert.preprocessors import Preprocessor
from nbformat import NotebookNode
from nbformat.v4 import new_markdown_cell, new_output
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer

from cs336lite.course.border import markdown, plain
from cs336lite.course.paths import CourseError
from cs336lite.grading.handed import MARK, PICTURES
from cs336lite.grading.limited import Exceeded, Failed, Limits, Lost, Shared
from cs336lite.grading.places import lines
from cs336lite.grading.submission import NUMBER, label_of
from cs336lite.grading.verdicts import Verdict
from cs336lite.grading.whose import whose

VERDICT_KEY = "cs336lite_verdict"
"""Where a graded notebook's metadata carries the verdict and what to read, from autograding to the page."""
HEAD_ID = "verdict"
"""The id of the cell that `add_head` puts in front; the page has a better head."""
# What is beyond is shown as it was written: the parsers are not linear for everything.
LONGEST_CODE = 50_000  # characters of a cell that are still coloured
LONGEST_LINE = 1000  # characters of a line of it
LONGEST_MARKDOWN = 20_000  # characters of a cell that are still rendered
LONGEST_MATH = 600  # characters of a formula that are still drawn


class Allowance:
    """What a page may still cost: characters of code to colour and of markdown to render, formulas and bytes to draw."""

    CODE, MARKDOWN, FORMULAS, DRAWN = 200_000, 100_000, 400, 2_000_000

    def __init__(self) -> None:
        self.code, self.markdown, self.formulas, self.drawn = self.CODE, self.MARKDOWN, self.FORMULAS, self.DRAWN
        self.styled = False  # whether a page of the formgrader has our styles


class NewPage(Preprocessor):
    """Tells the filters of an exporter that a new page begins (nbconvert calls it once a notebook)."""

    enabled = True

    def preprocess(self, nb: NotebookNode, resources: dict[str, Any]) -> tuple[NotebookNode, dict[str, Any]]:
        new_page()
        return nb, resources


def new_page() -> None:
    """Let a page cost its whole allowance again."""
    _page[0] = Allowance()


_page = [Allowance()]

# ---------------------------------------------------------------------------------------------------------------------
# In the notebook


def exercise_of(name: str) -> str:
    """The exercise that a grade cell judges: ``grade_train`` judges ``train``."""
    return name.removeprefix("grade_")


def write_verdict(cell: NotebookNode, verdict: Verdict) -> None:
    """Give a grade cell the outputs of its exercise: lines that a person reads and a number that nbgrader reads."""
    checks = verdict.exercise(exercise_of(cell.metadata.nbgrader["grade_id"]))
    available = float(cell.metadata.nbgrader["points"])
    total = sum(c.max_points for c in checks)
    points = round(available * sum(c.points for c in checks) / total, 6) if total else 0.0
    lines = [
        f"{'NOTE' if c.excused else 'PASS' if c.passed else 'FAIL'}  {c.points:g}/{c.max_points:g}  {c.title}"
        + ("\n      " + (c.excused or c.message) if c.excused or not c.passed else "")
        for c in checks
    ]
    cell.outputs = [
        new_output("stream", name="stdout", text="\n".join(lines) + "\n"),
        new_output("execute_result", data={"text/plain": repr(points)}, execution_count=1),
    ]
    cell.execution_count = 1


def add_head(nb: NotebookNode, verdict: Verdict) -> None:
    """Put `summary` in front of a graded notebook, and into its metadata what the page is made of."""
    nb.metadata[VERDICT_KEY] = {
        "assignment": verdict.assignment,
        "score": verdict.score,
        "max_score": verdict.max_score,
        "problem": verdict.problem,
        "notes": list(verdict.notes),
        "checks": [{**c.as_dict(), "fault": ""} for c in verdict.checks],  # which is for the instructor's terminal
        "read": verdict.read,
    }
    nb.cells.insert(0, new_markdown_cell(summary(verdict), id=HEAD_ID))


def summary(verdict: Verdict) -> str:
    """The head of a graded notebook, in markdown: the score, each exercise, what was put right."""
    rows = ["| exercise | points | what to look at |", "|:---|:---|:---|"]
    for name in dict.fromkeys(c.exercise for c in verdict.checks):
        checks = verdict.exercise(name)
        points, total = sum(c.points for c in checks), sum(c.max_points for c in checks)
        first = next((c.message for c in checks if not c.passed), "all checks passed")
        rows.append(f"| {markdown(name)} | {points:g} / {total:g} | {markdown(first)} |")
    notes = "".join(f"\n- {markdown(note)}" for note in verdict.notes)
    excused = "".join(f"\n- {markdown(c.title)}: {markdown(c.excused)}" for c in verdict.checks if c.excused)
    if excused:
        excused = f"\n\nNot counted as judged:\n{excused}"
    if notes:
        notes = f"\n\nPut right before judging, at no cost of points:\n{notes}"
    return (
        f"## {markdown(verdict.assignment)}: {verdict.score:g} of {verdict.max_score:g} points\n\n"
        + "\n".join(rows)
        + excused
        + notes
    )


# ---------------------------------------------------------------------------------------------------------------------
# Markdown that is safe to show

SAFE_TAGS = frozenset(
    "a b blockquote br code dd del div dl dt em h1 h2 h3 h4 h5 h6 hr i li ol p pre s span strong sub sup "
    "table tbody td th thead tr ul".split()
)
PYGMENTS_CLASS = re.compile(r"highlight|[a-z][a-z0-9]{0,2}")


def is_safe(tag: str, name: str, value: str) -> bool:
    """Whether bleach keeps an attribute. Classes are those of coloured code: no others mean anything good here."""
    if name == "class":
        return tag in ("div", "span") and PYGMENTS_CLASS.fullmatch(value) is not None
    return (tag, name) in {("a", "href"), ("a", "title"), ("td", "align"), ("th", "align")}


class InlineParser(MathInlineParser):
    r"""Also knows ``\(…\)`` with single backslashes, and tells mathematics from amounts of dollars as pandoc does:
    no blank after the first ``$`` nor before the last, and no digit after the last."""

    INLINE_TEX = r"(?<![\\$])\$(?![\s$])(?P<math_inline_tex>(?:\\.|[^$\\\n]|\n(?!\s*\n))+?)(?<!\s)\$(?![\d$])"
    INLINE_LATEX = r"(?<!\\)\\{1,2}\((?P<math_inline_latex>[^\n]{1,600}?)\\{1,2}\)"
    SPECIFICATION = {  # noqa: RUF012
        **MathInlineParser.SPECIFICATION,
        "inline_math_tex": INLINE_TEX,
        "inline_math_latex": INLINE_LATEX,
    }


class Renderer(IPythonRenderer):
    """Puts a mark where mathematics or a picture of ours stands, so that bleach sees none of it; others become a word.

    A mark holds a random number: no submission can write one.
    """

    def __init__(self, pictures: dict[str, Any]) -> None:
        super().__init__(escape=False, exclude_anchor_links=True)
        self.pictures = pictures
        self.nonce = secrets.token_hex(8)
        self.drawn: list[Markup] = []

    def mark(self, drawing: Markup) -> str:
        self.drawn.append(drawing)
        return f"math{self.nonce}n{len(self.drawn) - 1}e"

    def math(self, tex: str, body: str, block: bool) -> str:
        return self.mark(formula(tex, [body], block))

    def inline_math(self, body: str) -> str:
        return self.math(f"${body}$", body, block=False)

    def block_math(self, body: str) -> str:
        return self.math(f"$${body}$$", body, block=True)

    def latex_environment(self, name: str, body: str) -> str:
        tex = f"\\begin{{{name}}}{body}\\end{{{name}}}"
        rows = [row.replace("&", " ") for row in re.split(r"\\\\", body) if row.strip()]
        drawable = name.rstrip("*") in ("align", "aligned", "eqnarray", "equation", "gather") and "\\&" not in body
        return self.mark(formula(tex, rows if drawable else [], block=True))

    def image(self, text: str, url: str, title: str | None = None) -> str:
        kept = self.pictures.get(url.removeprefix("attachment:")) if url.startswith("attachment:") else None
        address = address_of(kept)
        text = html.unescape(text)  # it comes escaped
        if address:
            return self.mark(Markup('<img alt="{}" src="{}">').format(text, address))
        return self.mark(Markup('<span class="omitted">[picture: {}]</span>').format(text or "without a description"))

    def block_code(self, code: str, info: str | None = None) -> str:
        """Python is coloured and anything else is not: of hundreds of lexers some take for ever on the wrong text."""
        language = (info or "").split(maxsplit=1)[:1]
        return coloured(code) if language in (["python"], ["py"]) else f"<pre>{self.escape_html(code)}</pre>"

    def finish(self, page: str) -> str:
        """A cleaned page with the mathematics in place of the marks."""
        return re.sub(f"math{self.nonce}n(\\d+)e", lambda m: str(self.drawn[int(m[1])]), page)


def safe_markdown(source: str, attachments: Any = None) -> Markup:
    """Markdown as HTML without scripts, forms, styles, or anything that is loaded; of pictures, those attached."""
    page = _page[0]
    if len(source) > min(LONGEST_MARKDOWN, page.markdown):
        return Markup("<pre>{}</pre>").format(source)
    page.markdown -= len(source)
    renderer = Renderer(attachments if isinstance(attachments, dict) else {})
    try:
        shown = MarkdownWithMath(renderer, block=MathBlockParser(), inline=InlineParser(hard_wrap=False)).render(source)
        shown = bleach.clean(shown, tags=SAFE_TAGS, attributes=is_safe, protocols={"http", "https", "mailto"})
    except Exception:  # nested too deeply, for example: then as it was written
        return Markup("<pre>{}</pre>").format(source)
    shown = shown.replace("<a ", '<a rel="noopener noreferrer nofollow" ')
    shown = shown.replace("<table>", '<div class="wide"><table>').replace("</table>", "</table></div>")
    return Markup(renderer.finish(shown))


FORMGRADER_STYLES = """
.rendered_html table { border-collapse: collapse; margin: .6em 0; }
.rendered_html th, .rendered_html td { padding: .35em 1em .35em 0; text-align: left; vertical-align: top;
  border-bottom: 1px solid #ddd; }
.rendered_html .wide { overflow-x: auto; }
.rendered_html .math svg { fill: currentColor; max-width: 100%; overflow: visible; }
.rendered_html .math.block { display: block; text-align: center; margin: .8em 0; overflow-x: auto; }
.rendered_html .omitted { color: #666; font-style: italic; }
#notebook .cell img { max-width: 100%; border: 0; background: #fff; }
#notebook .output_area pre { overflow-x: auto; max-height: 30em; }
#notebook .output_stderr pre { background: #fcefee; }
"""


@jinja2.pass_context
def safe_markdown_of_cell(context: jinja2.runtime.Context, source: str) -> Markup:
    """`safe_markdown`, as a filter of nbconvert's templates; the first of a page brings the styles, as a template cannot."""
    cell = context.get("cell") or {}
    shown = safe_markdown(source, cell.get("attachments") if cell.get("cell_type") == "markdown" else None)
    styles = Markup("") if _page[0].styled else Markup(f"<style>{FORMGRADER_STYLES}</style>\n")
    _page[0].styled = True
    return styles + shown


def address_of(data: Any) -> str:
    """The address of a picture that lies in the page itself, of the first that a mime bundle holds; empty without one."""
    for kind in PICTURES:
        encoded = data.get(kind) if isinstance(data, dict) else None
        if isinstance(encoded, str) and BASE64.fullmatch(encoded):
            return f"data:{kind};base64,{encoded}"
    return ""


BASE64 = re.compile(r"[A-Za-z0-9+/]+=*")


def formula(tex: str, rows: list[str], block: bool) -> Markup:
    """Drawn rows of mathematics with ``tex``, its source, as their title; without rows or on trouble the source alone."""
    kind = "math block" if block else "math"
    page = _page[0]
    drawn = []
    try:
        for row in rows:
            if page.formulas <= 0 or page.drawn <= 0:
                raise ValueError("not to be drawn")
            page.formulas -= 1
            drawn.append(svg(row, 13 if block else 11.5))
            page.drawn -= len(drawn[-1])
    except Exception:  # matplotlib knows a part of TeX only
        drawn = []
    if not drawn:
        return Markup('<code class="{}">{}</code>').format(kind, tex)
    title = Markup("<title>{}</title>").format(tex)
    first, *others = drawn
    pictures = [first.replace("<path", f"{title}<path", 1), *others]
    return Markup('<span class="{}">{}</span>').format(kind, Markup("<br>").join(map(Markup, pictures)))


def svg(body: str, size: float) -> str:
    """One line of mathematics as SVG: a single path in the colour of the text, standing on the line's base.

    Raises whatever matplotlib raises for TeX that it does not know, and ValueError for what it has no letters for.
    """
    from matplotlib.font_manager import FontProperties
    from matplotlib.mathtext import MathTextParser
    from matplotlib.path import Path
    from matplotlib.textpath import TextPath

    body = re.sub(
        r"\\math(bin|rel|op|ord)\b|\\[bB]igg?[lrm]?\b|\\(display|text)style\b|\\(?:nonumber|notag)\b", " ", body
    )
    body = re.sub(r"\\[td]?frac\s*(\d)\s*(\d)", r"\\frac{\1}{\2}", body)  # TeX takes digits without braces
    body = " ".join(re.sub(r"\\[td]frac\b", r"\\frac", body).split())
    if len(body) > LONGEST_MATH or not body.isascii() or "$" in body:
        raise ValueError("not to be drawn")
    properties = FontProperties(family="STIXGeneral", math_fontfamily="stix", size=size)
    width, height, depth, _, _ = MathTextParser("path").parse(f"${body}$", dpi=72, prop=properties)
    path = TextPath((0, 0), f"${body}$", prop=properties)
    letter = {Path.MOVETO: "M", Path.LINETO: "L", Path.CURVE3: "Q", Path.CURVE4: "C", Path.CLOSEPOLY: "Z"}
    parts = []
    for points, code in path.iter_segments(simplify=False):
        place = " ".join(f"{value * sign:.1f}" for value, sign in zip(points, (1, -1) * 3))
        parts.append(letter[code] + ("" if code == Path.CLOSEPOLY else place))
    box = f"0 {-(height - depth):.1f} {width:.1f} {height:.1f}"
    return (
        f'<svg role="img" width="{width:.1f}pt" height="{height:.1f}pt" viewBox="{box}" '
        f'style="vertical-align:{-depth:.1f}pt"><path d="{"".join(parts)}"/></svg>'
    )


def coloured(source: str) -> Markup:
    """Python code as HTML, coloured where it is not too long."""
    page = _page[0]
    if len(source) > min(LONGEST_CODE, page.code) or max(map(len, source.split("\n"))) > LONGEST_LINE:
        return Markup("<pre>{}</pre>").format(source)
    page.code -= len(source)
    return Markup(highlight(source, PythonLexer(), HtmlFormatter(cssclass="highlight")))


def coloured_code(source: str, language: str | None = None, metadata: Any = None) -> Markup:
    """`coloured`, as a filter of nbconvert's templates."""
    return coloured(source)


# ---------------------------------------------------------------------------------------------------------------------
# The page


class FeedbackExporter(HTMLExporter):
    """The feedback page, in place of nbgrader's: score and checks first, then the notebook as it was judged."""

    def from_notebook_node(
        self, nb: NotebookNode, resources: dict[str, Any] | None = None, **kw: Any
    ) -> tuple[str, dict[str, Any]]:
        nb, resources = Exporter.from_notebook_node(self, nb, resources, **kw)  # nbgrader's preprocessors, no template
        course = resources.get("nbgrader", {})
        known = ("assignment", "score", "max_score", "late_penalty")
        course = {key: course[key] for key in known if key in course} | {"whose": whose(course)}
        try:
            return PAINTER.call(f"{__name__}:page_of", nbformat.writes(nb), course), resources
        except Exceeded:  # whatever it is made of: its text is shown as it was written
            return page(as_written(nb), course), resources
        except (Lost, Failed) as error:
            raise CourseError(f"the page could not be made: {error}") from None


PAINTER = Shared(Limits(step_seconds=20, call_seconds=20, answer_bytes=24 << 20), ready=f"{__name__}:get_ready")
"""The process that makes pages; one for each process that asks, started at the first page."""


def get_ready() -> None:
    """What takes long the first time: matplotlib looks for fonts."""
    with suppress(Exception):
        svg("x", 12)


def page_of(notebook: str, course: dict[str, Any]) -> str:
    """`page` of a notebook's text. Runs in a process with limits."""
    return page(nbformat.reads(notebook, as_version=4), course)


def as_written(nb: NotebookNode) -> NotebookNode:
    """A notebook of which no text is to be rendered or coloured."""
    shown = copy.deepcopy(nb)
    for cell in shown.cells:
        cell.metadata["as_written"] = True
    return shown


def page(nb: NotebookNode, course: dict[str, Any]) -> str:
    """The page of a graded notebook. ``course`` holds nbgrader's assignment, score, max_score and late_penalty, and what
    `whose` says.

    A notebook that was graded without `add_head` is shown with the plain outputs of its grade cells.
    """
    verdict = nb.metadata.get(VERDICT_KEY) or {}
    new_page()
    cells = [cell for cell in nb.cells if not (verdict and cell.get("id") == HEAD_ID)]
    exercises = exercises_of(cells, verdict)
    score, most = course.get("score", verdict.get("score", 0)), course.get("max_score", verdict.get("max_score", 0))
    shown = [
        {
            "kind": cell.cell_type,
            "name": name,
            "number": cell.metadata.get(NUMBER, ""),
            "grade": exercises.get(exercise_of(name)) if known.get("grade") and not known.get("solution") else None,
            "mine": bool(known.get("solution")),
            "body": body_of(cell),
            **shown_outputs(cell),
        }
        for cell in cells
        if cell.cell_type in ("code", "markdown")
        for known in [cell.metadata.get("nbgrader", {})]
        for name in [str(known.get("grade_id", ""))]
    ]
    for index, cell in enumerate(shown):  # where the text of an exercise begins: the markdown before its cell
        if cell["name"] in exercises:
            before = next((c for c in reversed(shown[:index]) if c["kind"] == "markdown"), cell)
            before.setdefault("anchor", f"text-{cell['name']}")
            exercises[cell["name"]]["text"] = before["anchor"]
    return TEMPLATE.render(
        assignment=course.get("assignment") or verdict.get("assignment", ""),
        score=score,
        most=most,
        part=min(100, max(0, 100 * score / most)) if most else 0,
        penalty=course.get("late_penalty") or 0,
        about=course.get("whose", {}),
        by_hand=[e for e in exercises.values() if abs(e["points"] - e["judged"]) > LEAST_POINTS],
        problem=verdict.get("problem", ""),
        notes=verdict.get("notes", []),
        exercises=list(exercises.values()),
        cells=shown,
        styles=STYLES + HtmlFormatter(style="xcode").get_style_defs(".highlight"),
    )


def body_of(cell: NotebookNode) -> Markup:
    if cell.metadata.get("as_written"):
        return Markup("<pre>{}</pre>").format(cell.source)
    return coloured(cell.source) if cell.cell_type == "code" else safe_markdown(cell.source, cell.get("attachments"))


def exercises_of(cells: list[NotebookNode], verdict: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """What the page says of each exercise, in the order of the checks.

    Points are nbgrader's where it has some: they may be changed by hand.
    """
    found: dict[str, dict[str, Any]] = {}
    for check in verdict.get("checks", []):
        one = found.setdefault(
            check["exercise"],
            {"name": check["exercise"], "checks": [], "points": 0, "most": 0, "read": None, "comment": "", "text": ""},
        )
        one["checks"].append({"excused": "", **check, "said": check["message"]})
        one["points"] += check["points"]
        one["most"] += check["max_points"]
    for name, (text, link) in verdict.get("read", {}).items():
        if name in found:
            found[name]["read"] = {"text": text, "link": link, "open": link.startswith(("https://", "http://"))}
    for one in found.values():
        failed = [check for check in one["checks"] if not check["passed"]]
        one["passed"] = len(one["checks"]) - len(failed)
        one["first"] = failed[0]["message"] if failed else ""
        one["judged"] = one["points"]
    say_once(list(found.values()))
    sources = sources_of(cells)
    for check in [check for one in found.values() for check in one["checks"]]:
        check["at"] = lines_at(check["said"], sources)
    for cell in cells:
        known = cell.metadata.get("nbgrader", {})
        one = found.get(exercise_of(str(known.get("grade_id", ""))))
        if one is None:
            continue
        if known.get("grade") and "score" in known:
            one["points"], one["most"] = known["score"] or 0, known["points"]
            judged = sum(c["points"] for c in one["checks"]) / (sum(c["max_points"] for c in one["checks"]) or 1)
            one["judged"] = judged * known["points"]
        if known.get("comment") and known["comment"] != "No response.":  # nbgrader's own, for a cell left as it was
            one["comment"] = safe_markdown(str(known["comment"]))
    return found


def say_once(exercises: list[dict[str, Any]]) -> None:
    """Where several checks say the same: with the first, how many others do; once in each other exercise, where it stands."""
    failed = [(one, check) for one in exercises for check in one["checks"] if not check["passed"] and check["message"]]
    count = Counter(check["message"] for _, check in failed)
    stands: dict[str, str] = {}
    told = set()
    for one, check in failed:
        message, name = check["message"], one["name"]
        if count[message] == 1:
            continue
        first = stands.setdefault(message, name)
        if first != name:
            check["said"] = f"the same as for `{first}`"
        elif (name, message) not in told:
            others = count[message] - 1
            check["said"] += f" (and {others} more check{'s say' if others > 1 else ' says'} the same)"
        if (name, message) in told:
            check["said"] = ""
        told.add((name, message))
        if first != name and one["first"] == message:
            one["first"] = check["said"]


AT = re.compile(r"\(cell (`[^`]+`|\d+), line (\d+)\)|\bcell (`[^`]+`|\d+) stopped with [^;]*? on line (\d+)")
"""How a message says where code of the submission was: `places.place_said` and `places.said` write so."""
LONGEST_SHOWN = 120  # letters of a line that are shown beside a message


def sources_of(cells: list[NotebookNode]) -> dict[str, str]:
    """The code that was judged, by the name that a message calls its cell; see `Submission`."""
    found = {}
    for cell in cells:
        known = cell.metadata.get("nbgrader", {})
        if cell.cell_type == "code" and not known.get("locked"):
            found[label_of(cell)] = cell.source
    return found


def lines_at(message: str, sources: dict[str, str]) -> list[dict[str, str]]:
    """The lines of the submission that a message names: where each stands, and what stands there."""
    shown = {}
    for place in AT.finditer(message):
        label, number = place[1] or place[3], int((place[2] or place[4])[:6])
        line = plain(lines(sources.get(label, ""), number, number), LONGEST_SHOWN)
        if line:
            shown[label, number] = {"where": f"cell {label}, line {number}", "line": line}
    return list(shown.values())


def shown_outputs(cell: NotebookNode) -> dict[str, Any]:
    """The texts and the pictures of a cell's outputs; nothing else of them is shown. ``handed_in`` when they were."""
    outputs = cell.get("outputs", [])
    handed_in = bool(outputs) and outputs[0].get("text") == MARK
    shown = []
    for output in outputs[handed_in:]:
        data = output.get("data", {})
        text = output.get("text") or data.get("text/plain", "")
        text = text if isinstance(text, str) else "".join(map(str, text))
        address = address_of(data)
        if text or address:
            shown.append({"picture": address, "text": text, "error": output.get("name") == "stderr"})
    return {"handed_in": handed_in, "outputs": shown}


def said(text: str) -> Markup:
    """A message as it is, with what stands in backticks as code."""
    return Markup(re.sub(r"`([^`\n]+)`", r"<code>\1</code>", str(Markup.escape(text))))


def points(value: Any) -> str:
    return f"{round(float(value), 2):g}"


LEAST_POINTS = 0.005  # what `points` does not show is no difference


STYLES = """
:root { color-scheme: light; --ink: #1d2126; --soft: #59626c; --line: #d8dde3; --ground: #f6f7f9;
  --good: #17642b; --goodground: #eaf5ec; --bad: #9c1c16; --badground: #fcefee; }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 56rem; padding: 1.5rem 1rem 4rem; background: #fff; color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "Noto Sans CJK SC", sans-serif; }
h1, h2, h3, h4 { line-height: 1.25; margin: 1.6em 0 .5em; }
h1 { font-size: 1.6rem; margin: 0; } h2 { font-size: 1.3rem; border-bottom: 2px solid var(--ink); padding-bottom: .2em; }
h3 { font-size: 1.1rem; } a { color: #0b4f9e; }
code, pre { font: .87em/1.45 ui-monospace, "Cascadia Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace; }
:not(pre) > code { background: var(--ground); padding: .1em .25em; border-radius: 3px; overflow-wrap: anywhere; }
.head { display: flex; flex-wrap: wrap; gap: .3rem 2rem; justify-content: space-between; align-items: baseline; }
.score { font-size: 1.25rem; font-weight: 600; }
.bar { height: .5rem; background: var(--line); border-radius: .25rem; margin: .6rem 0 1.2rem; overflow: hidden; }
.bar i { display: block; height: 100%; background: var(--good); }
.wide { overflow-x: auto; }
table { border-collapse: collapse; margin: .6rem 0; }
th, td { text-align: left; vertical-align: top; padding: .35rem .8rem .35rem 0; border-bottom: 1px solid var(--line); }
th { color: var(--soft); font-weight: 600; } .overview { width: 100%; }
.overview td:nth-child(2), .overview th:nth-child(2) { text-align: right; white-space: nowrap; }
.good { color: var(--good); } .bad { color: var(--bad); } .soft { color: var(--soft); }
.box { border-left: 4px solid var(--soft); background: var(--ground); padding: .5rem .9rem; margin: .8rem 0; }
.box p { margin: .3em 0; } .box.wrong { border-color: var(--bad); background: var(--badground); }
.exercise { break-inside: avoid-page; }
.exercise h3 { display: flex; justify-content: space-between; gap: 1rem; margin-bottom: .3em; }
.checks { list-style: none; margin: 0; padding: 0; border-top: 1px solid var(--line); }
.checks li { display: grid; grid-template-columns: 5.5rem 1fr auto; gap: 0 .6rem; padding: .35rem .5rem;
  border-bottom: 1px solid var(--line); border-left: 4px solid var(--good); }
.checks li.failed { border-left-color: var(--bad); background: var(--badground); }
.checks .mark { font-weight: 600; } .checks .message { grid-column: 2 / 4; margin: .1em 0 0; overflow-wrap: anywhere; }
.next { margin: .5rem 0 0; }
.cell { margin: .8rem 0; overflow-wrap: break-word; }
.label { color: var(--soft); font-size: .85rem; margin: 0 0 .2rem; }
pre { margin: 0; padding: .6rem .8rem; background: var(--ground); border: 1px solid var(--line); border-radius: 4px;
  overflow-x: auto; }
.highlight pre { background: var(--ground); } .mine > .highlight > pre, .mine > pre { border-left: 4px solid #0b4f9e; }
blockquote { margin: .6rem 0; padding-left: 1rem; border-left: 3px solid var(--line); color: var(--soft); }
.math svg { fill: currentColor; max-width: 100%; overflow: visible; } .math.block { display: block; text-align: center;
  margin: .8rem 0; overflow-x: auto; } code.math.block { white-space: pre-wrap; text-align: left; }
img { max-width: 100%; height: auto; background: #fff; vertical-align: middle; }
.handed { border-left: 3px solid var(--line); margin: .4rem 0 0; padding-left: .8rem; }
.handed pre, .handed img { margin: .3rem 0; } .handed pre { max-height: 24rem; overflow: auto; background: #fff; }
.handed pre.error { background: var(--badground); }
.about { margin: .5rem 0 0; color: var(--soft); } .about span { margin-right: 1.2rem; }
.omitted { color: var(--soft); font-style: italic; }
@media (max-width: 34rem) { body { padding: 1rem .7rem 3rem; } .checks li { grid-template-columns: 1fr auto; }
  .checks .mark { grid-column: 1 / 2; } .checks .worth { grid-column: 2; grid-row: 1; }
  .checks .title, .checks .message { grid-column: 1 / 3; } }
@media print { body { max-width: none; font-size: 11pt; padding: 0; } pre { white-space: pre-wrap; overflow: visible; }
  h2, h3, .label { break-after: avoid; } a { color: inherit; } .bar { print-color-adjust: exact; } }
"""

TEMPLATE = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined)
TEMPLATE.filters |= {"points": points, "said": said}
TEMPLATE = TEMPLATE.from_string("""\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ assignment }}: feedback</title>
<style>{{ styles | safe }}</style>
</head>
<body>
<header>
<div class="head"><h1>{{ assignment }}: feedback</h1>
<div class="score">{{ score | points }} of {{ most | points }} points</div></div>
<div class="bar" aria-hidden="true"><i style="width: {{ part | points }}%"></i></div>
{% if about %}
<p class="about">
{% if about.student is defined %}<span>{{ about.student }}</span>{% endif %}

{% if about.handed_in is defined %}<span>handed in {{ about.handed_in }}</span>{% endif %}

{% if about.due is defined %}<span>due {{ about.due }}</span>{% endif %}

</p>
{% endif %}
{% if penalty and about.late is defined %}
<p>{{ penalty | points }} points were taken off because it came {{ about.late }} late.</p>
{% elif penalty %}
<p>{{ penalty | points }} points were taken off because it came late.</p>
{% elif about.late is defined %}
<p>It came {{ about.late }} late; no points were taken off.</p>
{% endif %}
{% if by_hand %}
<p>Set by hand: {% for e in by_hand %}<a href="#checks-{{ e.name }}">{{ e.name }}</a> {{ e.points | points }} \
(the checks gave {{ e.judged | points }}){{ '' if loop.last else ', ' }}{% endfor %}.</p>
{% endif %}
{% if problem %}<div class="box wrong"><p><b>Nothing could be judged:</b> {{ problem | said }}.</p></div>{% endif %}
{% if exercises %}
<div class="wide"><table class="overview">
<thead><tr><th>exercise</th><th>points</th><th>what to look at first</th></tr></thead>
<tbody>
{% for e in exercises %}
<tr><td><a href="#checks-{{ e.name }}">{{ e.name }}</a></td><td>{{ e.points | points }} / {{ e.most | points }}</td>
<td>{% if e.first %}<span class="bad">✗</span> {{ e.first | said }}{% else %}<span class="good">✓</span> all checks passed\
{% endif %}</td></tr>
{% endfor %}
</tbody></table></div>
{% endif %}
{% if notes %}
<div class="box"><p>Put right before judging, at no cost of points:</p>
<ul>{% for note in notes %}<li>{{ note | said }}</li>{% endfor %}</ul></div>
{% endif %}
</header>
{% if exercises %}
<main>
<h2>What was checked</h2>
{% for e in exercises %}
<section class="exercise" id="checks-{{ e.name }}">
<h3><span>{{ e.name }}</span><span>{{ e.points | points }} / {{ e.most | points }}</span></h3>
{% if e in by_hand %}<p class="soft">The checks gave {{ e.judged | points }}; the points were set by hand.</p>{% endif %}
<ul class="checks">
{% for c in e.checks %}
<li class="{{ 'passed' if c.passed else 'failed' }}">
{% if c.excused %}<span class="mark soft">{{ '✓ given' if c.max_points else '– left out' }}</span>
{% else %}<span class="mark {{ 'good' if c.passed else 'bad' }}">{{ '✓ passed' if c.passed else '✗ failed' }}</span>
{% endif %}
<span class="title">{{ c.title | said }}</span><span class="worth">{{ c.points | points }} / {{ c.max_points | points }}</span>
{% if c.excused %}<p class="message">{{ c.excused | said }}</p>
{% elif c.said and not c.passed %}<p class="message">{{ c.said | said }}</p>
{% for one in c["at"] %}<p class="message at"><span class="soft">{{ one.where | said }}:</span> <code>{{ one.line }}</code></p>
{% endfor %}
{% endif %}
</li>
{% endfor %}
</ul>
{% if e.comment %}<div class="box"><p><b>Your instructor says:</b></p>{{ e.comment }}</div>{% endif %}
{% if e.first %}
<p class="next">
{% if e.read %}<b>Read on:</b>
{% if e.read.open %}<a rel="noopener" href="{{ e.read.link }}">{{ e.read.text }}</a>.
{% elif e.read.link %}{{ e.read.text }} (<code>{{ e.read.link }}</code>).
{% else %}{{ e.read.text }}.
{% endif %}
{% endif %}
{% if e.text %}<a href="#{{ e.text }}">The exercise itself</a> is below.
{% endif %}
<b>Try:</b> <code>check("{{ assignment }}", "{{ e.name }}")</code>, <code>hint("{{ assignment }}", "{{ e.name }}")</code>.
</p>
{% endif %}
</section>
{% endfor %}
</main>
{% endif %}
<h2>Your notebook, as it was judged</h2>
{% for c in cells %}
<div class="cell {{ 'mine' if c.mine and c.kind == 'code' }}"{% if c.anchor is defined %} id="{{ c.anchor }}"{% endif %}>
{% if c.grade %}
<div class="box"><p><a href="#checks-{{ c.grade.name }}">{{ c.grade.name }}</a>:
 {{ c.grade.points | points }} of {{ c.grade.most | points }} points,
 {{ c.grade.passed }} of {{ c.grade.checks | length }} checks passed</p></div>
{% else %}
{% if c.kind == 'code' and c.name %}<p class="label">{{ 'your cell' if c.mine else 'given' }}: {{ c.name }}</p>
{% elif c.kind == 'code' and c.number %}<p class="label">cell {{ c.number }}</p>{% endif %}
{{ c.body }}
{% if c.outputs %}
<div class="{{ 'handed' if c.handed_in else 'made' }}">
{% if c.handed_in %}<p class="label">handed in with it; the grader has not made it</p>{% endif %}
{% for o in c.outputs %}
{% if o.text %}<pre{% if o.error %} class="error"{% endif %}>{{ o.text }}</pre>{% endif %}
{% if o.picture %}<img alt="a picture that was handed in" src="{{ o.picture }}">{% endif %}
{% endfor %}
</div>
{% endif %}
{% endif %}
</div>
{% endfor %}
</body>
</html>
""")
