"""Texts of a submission as HTML that is safe to show: markdown, pictures, mathematics, coloured code.

Markdown is rendered by nbconvert's parser and then cut down to a few harmless tags by bleach; mathematics is drawn here.
What is too long, or beyond what a page may cost, is shown as it was written.
"""

from __future__ import annotations

import html
import re
import secrets
from typing import Any

import bleach
import jinja2
from markupsafe import Markup
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath, MathBlockParser, MathInlineParser
from nbconvert.preprocessors import Preprocessor
from nbformat import NotebookNode
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer

from cs336lite.grading.handed import PICTURES

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
