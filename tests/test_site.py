"""The course as web pages: what is gathered for them, and, when `make site` has made them, the pages in a browser."""

from __future__ import annotations

import contextlib
import doctest
import functools
import http.server
import importlib
import importlib.util
import json
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import quote, unquote, urlparse

import nbformat
import pytest
import yaml
from browser import CHROMIUM, chromium, new_page
from conftest import ROOT

from cs336lite.course.build import Item, plan
from cs336lite.course.form import predictions, revealed_guesses
from cs336lite.course.paths import way
from cs336lite.course.release import _readings, _squeeze, leaks

sys.path.insert(0, str(ROOT / "site"))
from coursesite import alt, docstrings, folding, glossary, links, mistakes, notebooks
from coursesite.stamp import STAMP, stamp

SITE = ROOT / "build" / "site"
made = pytest.mark.skipif(
    not (SITE / STAMP).exists() or (SITE / STAMP).read_text().strip() != stamp(ROOT),
    reason="build/site is not there, or older than what it is made of: run `make site`",
)
looked_at = pytest.mark.skipif(CHROMIUM is None, reason="no chromium: apt-get install chromium")


@functools.cache
def items() -> dict[str, Item]:
    found = {item.name: item for item in plan(ROOT)}
    return {name: found[name] for name in way(found)}


LECTURES = [name for name, item in items().items() if item.kind != "assignment"]


@functools.cache
def page(name: str) -> notebooks.Page:
    item = items()[name]
    notebook = nbformat.read(item.notebook, as_version=4)
    return notebooks.notebook_page(item, notebook, links.Links(ROOT, list(items().values())), "notebooks/x.ipynb")


def sections() -> list[tuple[mistakes.Place, str]]:
    return [section for name in items() for section in page(name).sections]


# ----------------------------------------------------------------------------------------------------------- what is gathered


@pytest.mark.parametrize("module", [alt, docstrings, folding, glossary])
def test_the_examples_of_docstrings_run(module):
    result = doctest.testmod(module)
    assert result.attempted and not result.failed


@pytest.mark.parametrize("name", LECTURES)
def test_the_answer_to_a_prediction_is_folded(name):
    """Whatever a cell shows from below the question to its last `reveal` lies inside <details>, and so does its sentence."""
    notebook = nbformat.read(items()[name].notebook, as_version=4)
    cells, depth, shown, inside = page(name).notebook.cells, 0, [], []
    for cell in cells:
        if cell.source.startswith("```{raw}") and "details" in cell.source:
            depth += cell.source.count("<details") - cell.source.count("</details")
            assert depth in (0, 1), cell.source
            continue
        (inside if depth else shown).extend(json.dumps(output, sort_keys=True) for output in cell.get("outputs", []))
    assert depth == 0
    asked = 0
    for i, (_, below) in predictions(notebook):
        answering = [cell for cell in below if revealed_guesses(cell)]
        for cell in below[: below.index(answering[-1]) + 1] if answering else []:
            for output in cell.outputs:
                told = "".join(output.get("text", ""))
                assert json.dumps(output, sort_keys=True) in inside or "href" in str(output), (i, told[:80])
                asked += 1
    assert asked or not any(True for _ in predictions(notebook))
    assert shown or name not in LECTURES[:2]


def test_what_is_said_below_an_answer_is_folded_up_to_the_next_question():
    said = "It is three.\n\nThe stairs show it.\n\n## 2 · Words\n\n**Predict.** How many?"
    assert folding.split_after(said) == (
        "It is three.\n\nThe stairs show it.",
        "## 2 · Words\n\n**Predict.** How many?",
    )
    assert folding.split_after("**Try it.** Change x.")[0] == ""
    assert folding.split_after("$$a\n\nb$$\n\n## X")[0] == ""  # no block is cut in two


@pytest.mark.parametrize("name", LECTURES)
def test_every_figure_has_words(name):
    for cell in page(name).notebook.cells:
        if any("image/png" in output.get("data", {}) for output in cell.get("outputs", [])):
            words = cell.metadata["mystnb"]["image"]["alt"]
            assert words.startswith("Figure") and len(words) > 40, cell.source[:200]
        for output in cell.get("outputs", []):
            for image in re.findall(r"<img [^>]*>", output.get("data", {}).get("text/html", "")):
                assert re.search(r'alt="[^"]{10,}"', image), image[:100]


def test_the_glossary_has_the_terms_of_the_texts():
    names = importlib.import_module("tomllib").loads((ROOT / "site" / "glossary.toml").read_text(encoding="utf-8"))
    parts = [(page(n).path, page(n).title, [(s.anchor, text) for s, text in page(n).sections]) for n in items()]
    found = {term.english: term for term in glossary.glossary(parts, names)}
    assert found["rotary position embedding (RoPE)"].chinese == ["旋转位置编码"]
    assert found["causal mask"].chinese == ["因果掩码"] and found["perplexity"].chinese == ["困惑度"]
    assert len(found) > 100 and len({name.lower() for name in found}) == len(found)
    for term in found.values():
        assert term.places and len(term.english) <= 48 and term.english.strip(), term
        assert all(re.search(r"[\u4e00-\u9fff]", text) for text in term.chinese), term


def test_every_popular_mistake_leads_to_where_it_is_corrected():
    listed = mistakes.read(ROOT / "site" / "mistakes.toml")
    assert len(listed) >= 25 and len({mistake.said for mistake in listed}) == len(listed)
    lost = [mistake.said for mistake in listed if not mistakes.find(mistake, sections())]
    assert not lost, f"no lecture has the `words` of: {lost}"
    never = mistakes.Mistake("", "", "", "quantum tokenizers")
    assert mistakes.find(never, sections()) == []
    assert mistakes.own_lists(sections())


def test_formulas_are_mathml_and_an_unknown_command_is_an_error():
    pytest.importorskip("latex2mathml", reason="pip install -e '.[site]'")
    from coursesite.mathematics import mathml

    assert "<mfrac>" in mathml(r"\frac{1}{2}") and 'display="block"' in mathml("x", block=True)
    assert 'alttext="a &lt; b"' in mathml("a < b")
    with pytest.raises(ValueError, match="nosuchcommand"):
        mathml(r"\nosuchcommand{x}")


def test_chinese_is_found_by_pairs_of_characters():
    pytest.importorskip("sphinx", reason="pip install -e '.[site]'")
    from coursesite.chinese import EnglishAndChinese, words

    assert EnglishAndChinese.language_name.isidentifier()  # the search's script has it in a name
    assert words("RoPE (旋转位置)") == ["RoPE", "旋", "转", "位", "置", "旋转", "转位", "位置"]


def test_a_secret_is_found_in_html_though_its_words_are_coloured():
    html = b'<pre><span class="k">return</span> <span>best</span>(a <span>&lt;</span> b)</pre>'
    assert any("returnbest(a<b)" in _squeeze(text) for text in _readings("page.html", html))


def test_the_picture_of_the_grader_is_what_its_code_draws():
    from coursesite.picture import draw

    assert draw().svg == (ROOT / "assets" / "grader.svg").read_text(encoding="utf-8")


def test_links_between_files_become_links_between_pages():
    at = links.Links(ROOT, list(items().values()))
    first, last = (items()[name] for name in (LECTURES[0], LECTURES[-1]))
    page_of = links.page_of(first)
    assert at.on_page("notebooks/a.ipynb", page_of, f"{last.name}.ipynb") == f"{last.name}.ipynb"
    assert at.on_page("README.md", "index.md", "docs/grader.md#the-modules") == "guides/grader.md#the-modules"
    assert at.markdown("see [the licence](LICENSE) and [x](https://x.org)", "README.md", "index.md") == (
        "see the licence and [x](https://x.org)"
    )
    at.repository = "octocat/course"
    assert at.on_page("README.md", "index.md", "LICENSE") == "https://github.com/octocat/course/blob/main/LICENSE"
    assert at.colab("notebooks/x.ipynb").endswith("/github/octocat/course/blob/main/notebooks/x.ipynb")


def test_a_repository_that_is_none_is_told_in_a_sentence():
    done = subprocess.run(
        [sys.executable, "site/make.py", "--repository", "https://x"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 1 and len(done.stderr.strip().split("\n")) == 1 and "Traceback" not in done.stderr
    assert not importlib.util.find_spec("sphinx") or "is no OWNER/NAME" in done.stderr


def test_the_recipe_for_publishing_makes_the_site_and_loads_it_up():
    recipe = yaml.safe_load((ROOT / "site" / "publish" / "pages.yml").read_text())
    steps = recipe["jobs"]["site"]["steps"]
    assert [step for step in steps if step.get("run") == "make site"]
    assert [step for step in steps if step.get("with", {}).get("path") == "build/site"]


# ------------------------------------------------------------------------------------------------------------- the pages made


class Parts(HTMLParser):
    """The links, anchors, loaded files, pictures and formulas of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.links, self.anchors, self.loaded, self.pictures, self.formulas = [], set(), [], [], 0
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        if found.get("id"):
            self.anchors.add(found["id"])
        if tag == "a" and found.get("href"):
            self.links.append(found["href"])
        if tag == "link" and "href" in found:
            self.loaded.append(found["href"])
        if tag in ("script", "img", "iframe", "source") and found.get("src"):
            self.loaded.append(found["src"])
        if tag == "img":
            self.pictures.append(found)
        self.formulas += tag == "math"


@functools.cache
def pages() -> dict[str, Parts]:
    return {
        path.relative_to(SITE).as_posix(): Parts(path.read_text(encoding="utf-8"))
        for path in sorted(SITE.rglob("*.html"))
    }


@made
def test_every_text_of_the_course_has_a_page():
    for item in items().values():
        assert links.page_of(item).replace(".ipynb", ".html") in pages()
    assert "guides/teaching.html" in pages() and "reference/glossary.html" in pages()
    for module in {module for item in items().values() for module in item.modules}:
        assert f"reference/api/{module}.html" in pages()


@made
def test_links_inside_the_site_hold():
    wrong = []
    for name, parts in pages().items():
        for link in parts.links:
            address = urlparse(link)
            if address.scheme in ("http", "https", "mailto", "data"):
                continue
            path = (SITE / name).parent / unquote(address.path) if address.path else SITE / name
            target = path.resolve()
            target = target / "index.html" if target.is_dir() else target
            if not target.exists():
                wrong.append((name, link))
            elif address.fragment and target.suffix == ".html":
                anchors = pages()[target.relative_to(SITE.resolve()).as_posix()].anchors
                wrong += [(name, link)] if unquote(address.fragment) not in anchors else []
    assert not wrong


@made
def test_nothing_is_loaded_from_other_hosts():
    for name, parts in pages().items():
        for address in parts.loaded:
            assert not re.match(r"(https?:)?//", address), (name, address)
            if not address.startswith("data:"):
                assert ((SITE / name).parent / unquote(urlparse(address).path)).exists(), (name, address)
    for style in SITE.rglob("*.css"):
        for address in re.findall(r"url\(['\"]?([^)'\"]+)", style.read_text(encoding="utf-8")):
            assert address.startswith("data:") or not re.match(r"(https?:)?//", address), (style, address)
    for script in SITE.rglob("*.js"):
        assert not re.search(
            r"(src|href)\s*=\s*['\"]https?://|importScripts|@import", script.read_text(encoding="utf-8")
        )


@made
def test_every_picture_has_words():
    for name, parts in pages().items():
        for picture in parts.pictures:
            assert picture.get("alt", "").strip() or picture.get("role") == "presentation", (name, str(picture)[:200])


@made
@pytest.mark.slow
def test_no_page_shows_an_answer_of_graded_work():
    """`make site` looks as well, and makes nothing then; here a line that is planted is found, too."""
    assert leaks(ROOT, SITE) == []


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None: ...


@contextlib.contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address under which a folder's files are served on this machine."""
    handler = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(scope="module")
def browser():
    with chromium() as found:
        yield found


def opened(page, address: str) -> list[str]:
    """Go to a page; what its console said of errors, and what it asked of other hosts."""
    wrong: list[str] = []
    page.on("console", lambda said: wrong.append(said.text) if said.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("requestfailed", lambda request: wrong.append(f"not loaded: {request.url}"))
    page.goto(address)
    page.wait_for_load_state("networkidle")
    return wrong


def sample() -> list[str]:
    first = {item.kind: links.page_of(item).replace(".ipynb", ".html") for item in reversed(items().values())}
    module = next(iter(items()["a1_bpe"].modules))
    return [
        "index.html",
        *first.values(),
        "reference/mistakes.html",
        "reference/glossary.html",
        f"reference/api/{module}.html",
    ]


AXE = "() => axe.run(document, {preload: false, runOnly: ['wcag2a', 'wcag2aa', 'wcag21aa']})"


def looked_over(browser, name: str) -> None:
    """A page as a reader has it: without errors, on a desk and a phone, in the light and in the dark."""
    import axe_playwright_python

    rules = (Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text(encoding="utf-8")
    for scheme, width in (("light", 1280), ("dark", 390)):
        with new_page(browser, width=width) as page:
            page.emulate_media(color_scheme=scheme)
            assert opened(page, (SITE / name).as_uri()) == []
            wide = page.evaluate("document.documentElement.scrollWidth")
            assert wide <= width, f"{name} is {wide} pixels wide"
            small = "[...document.querySelectorAll('article math')].filter(m => m.checkVisibility() && m.getBoundingClientRect().width < 3).length"
            assert page.evaluate(small) == 0
            assert page.evaluate("document.querySelectorAll('merror').length") == 0
            page.evaluate("document.querySelectorAll('details').forEach((part) => { part.open = true; })")
            page.evaluate(rules)
            found = [
                (v["id"], n["html"][:120], n.get("failureSummary", "")[:200])
                for v in page.evaluate(AXE)["violations"]
                for n in v["nodes"][:2]
            ]
            assert found == [], f"{name}, {scheme}"


@made
@looked_at
@pytest.mark.parametrize("number", range(7))
def test_a_page_is_whole_on_a_desk_and_on_a_phone(browser, number):
    looked_over(browser, sample()[number])


@made
@looked_at
@pytest.mark.slow
def test_every_page_is_whole_on_a_desk_and_on_a_phone(browser):
    for name in pages():
        if name not in sample():
            looked_over(browser, name)


@made
@looked_at
def test_mathematics_and_chinese_are_drawn_with_the_fonts_of_the_site(browser):
    with new_page(browser) as page:
        opened(page, (SITE / "reference/notation.html").as_uri())
        assert page.evaluate("document.querySelectorAll('math').length") > 5
        assert page.evaluate("[...document.fonts].some(f => f.family.includes('STIX') && f.status == 'loaded')")
        opened(page, (SITE / "reference/glossary.html").as_uri())
        assert page.evaluate("[...document.fonts].some(f => f.family.includes('Chinese') && f.status == 'loaded')")
    from fontTools.ttLib import TTFont

    known = TTFont(SITE / "_static" / "fonts" / "noto-sans-sc.woff2").getBestCmap()
    said = "".join((SITE / name).read_text(encoding="utf-8") for name in pages())
    assert set(re.findall(r"[\u4e00-\u9fff]", said)) <= set(map(chr, known))


@made
@looked_at
@pytest.mark.parametrize("where", ["file", "http"])
def test_search_finds_english_and_chinese(browser, where, tmp_path):
    (tmp_path / "under" / "a path").mkdir(parents=True)
    (tmp_path / "under" / "a path" / "course").symlink_to(SITE)
    with served(tmp_path) as address, new_page(browser) as page:
        base = SITE.as_uri() if where == "file" else f"{address}/under/a%20path/course"
        for words, wanted in (
            ("RoPE", "a3_rope"),
            ("旋转位置编码", "a3_rope"),
            ("位置编码", "a3_rope"),
            ("困惑度", "glossary"),
        ):
            assert opened(page, f"{base}/search.html?q={quote(words)}") == []
            page.locator("#search-results li a").first.wait_for()
            page.wait_for_function("document.querySelector('.search-summary')?.innerText.match(/[0-9]|one/)")
            found = page.locator("#search-results li a").evaluate_all("links => links.map(link => link.href)")
            assert any(wanted in link for link in found), (words, found[:10])
        page.goto(f"{base}/search.html?q={quote('龘龘')}")
        page.wait_for_function("document.querySelector('#search-results')?.innerText.includes('did not match')")


@made
@looked_at
def test_answers_are_folded_until_they_are_asked_for(browser):
    with new_page(browser) as page:
        opened(page, (SITE / sample()[0]).as_uri())
        opened(page, (SITE / links.page_of(items()[LECTURES[0]]).replace(".ipynb", ".html")).as_uri())
        count = page.locator("details.answer").count()
        assert count >= 5 and page.locator("details.answer[open]").count() == 0
        page.locator("details.answer > summary").first.click()
        assert page.locator("details.answer[open]").count() == 1
        page.get_by_role("button", name="Show all answers").click()
        assert page.locator("details.answer[open]").count() == count
        page.get_by_role("button", name="Hide all answers").click()
        assert page.locator("details.answer[open]").count() == 0
