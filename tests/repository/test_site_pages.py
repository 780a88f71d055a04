"""The course as web pages, when `make site` has made them: whole, without answers, and as a browser shows them."""

from __future__ import annotations

import contextlib
import functools
import http.server
import re
import shutil
import sys
import threading
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import quote, unquote, urlparse

import pytest
from browser import CHROMIUM, chromium, new_page
from helpers import ROOT, planned
from test_site import LECTURES, items

from cs336lite.course.leaks import leaks

sys.path.insert(0, str(ROOT / "site"))
from coursesite import links
from coursesite.stamp import STAMP, stamp

SITE = ROOT / "build" / "site"
made = pytest.mark.skipif(
    not (SITE / STAMP).exists() or (SITE / STAMP).read_text().strip() != stamp(ROOT),
    reason="build/site is not there, or older than what it is made of: run `make site`",
)
looked_at = pytest.mark.skipif(CHROMIUM is None, reason="no chromium: apt-get install chromium")


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
    """`make site` looks as well, and makes nothing then."""
    assert leaks(ROOT, SITE, planned(), rendered=True) == []


@made
@pytest.mark.slow
def test_a_line_of_a_solution_is_found_on_a_page(tmp_path):
    page = links.page_of(items()["a3_rope"]).replace(".ipynb", ".html")
    shutil.copytree(SITE / "assignments", tmp_path / "assignments")
    source = (ROOT / "cs336lite" / "rope.py").read_text(encoding="utf-8")
    line = next(line for line in source.splitlines() if "torch.outer" in line or "einsum" in line or "cos()" in line)
    with (tmp_path / page).open("a", encoding="utf-8") as file:
        file.write(f"<pre>{line.replace('<', '&lt;')}</pre>")
    assert [said for said in leaks(ROOT, tmp_path, planned(), rendered=True) if page in said]


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
    axe_playwright_python = pytest.importorskip("axe_playwright_python", reason="pip install -e '.[site]'")
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
