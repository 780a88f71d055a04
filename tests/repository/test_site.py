"""The course as web pages: what is gathered for them. What `make site` makes of it is looked at in test_site_pages.py."""

from __future__ import annotations

import doctest
import functools
import importlib
import importlib.util
import json
import re
import subprocess
import sys

import nbformat
import pytest
import yaml
from helpers import ROOT, planned

from cs336lite.course.form import predictions, revealed_guesses
from cs336lite.course.leaks import _readings, _squeeze
from cs336lite.course.paths import way
from cs336lite.course.plan import Item

sys.path.insert(0, str(ROOT / "site"))
from coursesite import alt, docstrings, finish, folding, glossary, links, mistakes, notebooks

LECTURES = way(path.stem for path in (ROOT / "notebooks" / "text").rglob("[0-9]*_*.py"))


@functools.cache
def items() -> dict[str, Item]:
    found = {item.name: item for item in planned()}
    return {name: found[name] for name in way(found)}


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


@pytest.mark.filterwarnings("error::nbformat.warnings.DuplicateCellId")
@pytest.mark.parametrize("name", LECTURES)
def test_no_two_cells_of_a_page_have_one_id(name):
    """nbformat gives one of them another, and says so once for each on the screen of `make site`."""
    page.cache_clear()
    assert page(name).notebook.cells


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


def test_a_signature_of_several_lines_is_no_list_of_definitions():
    sig = '<dt class="sig"><span>(</span>\n\n<dl>\n<dd><em class="sig-param">a</em>,</dd>\n<dd><em class="sig-param">b</em>,</dd>\n</dl>\n\n<span>)</span></dt>'
    assert finish.touched(sig).count('<span class="sig-line">') == 2 and "<dl>" not in finish.touched(sig)
    kept = "<dl>\n<dt>word</dt>\n<dd>what it means</dd>\n</dl>"
    assert finish.touched(kept) == kept


def test_the_chinese_font_comes_before_all_others():
    """Behind another font, Chromium leaves boxes where it drew before the font was loaded."""
    style = (ROOT / "site" / "static" / "course.css").read_text(encoding="utf-8")
    assert re.findall(r"--font-stack\S*: (\S+ \S+),", style) == ['"Course Chinese"'] * 2
