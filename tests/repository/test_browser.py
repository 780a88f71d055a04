"""In a real browser: a lecture, a student at work, the instructor's formgrader, and pages that must run no script."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import sys
from pathlib import Path

import pytest
from browser import CHROMIUM, Notebook, chromium, jupyter_lab, new_page, own_settings
from helpers import RIGHT, ROOT, run, small_notebook
from nbgrader.utils import get_username

from cs336lite.course.lab import settings, write_start_page

pytestmark = [
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="grading runs on Linux"),
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: apt-get install chromium"),
    pytest.mark.skipif(importlib.util.find_spec("playwright") is None, reason="no playwright: pip install playwright"),
]
ASSIGNMENT = "a1_bpe"


@pytest.fixture(scope="module")
def browser():
    with chromium() as opened:
        yield opened


@pytest.fixture
def page(browser):
    with new_page(browser) as opened:
        yield opened


def expect(*args):
    from playwright.sync_api import expect

    return expect(*args)


def ran(*command: str, cwd: Path, **environment: str) -> str:
    """Run a command, which must succeed; returns all it said."""
    result = run(*command, cwd=cwd, **environment)
    assert result.returncode == 0, result.stdout + result.stderr[-4000:]
    return result.stdout + result.stderr


# -- lectures and students --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def edition(real_edition, tmp_path_factory):
    """A student edition."""
    return shutil.copytree(real_edition, tmp_path_factory.mktemp("edition") / "my-course")


@pytest.fixture(scope="module")
def students_lab(edition, tmp_path_factory):
    """JupyterLab in the student edition; its kernels import the edition's own package, as after ``make lab``."""
    assert write_start_page(edition) == ""
    put = {"PYTHONPATH": str(edition), "JUPYTER_CONFIG_PATH": str(settings(edition))}
    with jupyter_lab(edition, tmp_path_factory.mktemp("home"), **put) as url:
        yield url


def test_the_start_page_leads_to_the_first_lecture_and_no_tools_for_instructors_are_there(students_lab, page):
    Notebook(page, students_lab, "start.ipynb")
    expect(page.locator(".jp-RenderedMarkdown", has_text="Start here")).to_contain_text("Next: read 01_tokenizer")
    expect(page.locator(".jp-OutputArea-output", has_text="a1_bpe").first).to_contain_text("5 h")
    asked = page.request.get(f"{students_lab}formgrader")
    assert asked.status == 404  # the server has no such part either
    menu = page.get_by_role("menuitem", name="Nbgrader", exact=True)
    if menu.count():  # in an edition without an exchange there is none
        menu.click()
        page.get_by_role("menuitem", name="Assignment List", exact=True).wait_for()
        for name in ("Formgrader", "Create Assignment"):
            expect(page.get_by_role("menuitem", name=name, exact=True)).to_have_count(0)
        page.keyboard.press("Escape")
    page.locator(".jp-RenderedMarkdown a", has_text="01_tokenizer").first.click()
    page.locator(".jp-RenderedMarkdown h1", has_text="01 · The tokenizer").first.wait_for()


def test_a_lecture_shows_its_text_and_figures_and_an_exercise_is_solved_in_it(students_lab, edition, page):
    path = "notebooks/01_tokenizer.ipynb"
    outputs = [o for cell in json.loads((edition / path).read_text())["cells"] for o in cell.get("outputs", ())]
    diagrams = sum("image/svg+xml" in o.get("data", {}) for o in outputs)
    notebook = Notebook(page, students_lab, path)
    expect(page.locator(".jp-RenderedMarkdown h1")).to_contain_text("01 · The tokenizer")
    images = page.locator(".jp-OutputArea img")  # the notebook is not trusted: nobody has run it here
    expect(images).to_have_count(diagrams)
    assert diagrams == 2 and all(images.evaluate_all("all => all.map(i => i.complete && i.naturalWidth > 300)"))
    expect(page.locator(".jp-RenderedMarkdown mjx-container").first).to_be_visible()  # the formulas, typeset
    assert page.locator("mjx-merror").count() == 0
    assert page.locator(".jp-RenderedMarkdown table").count() == 1

    notebook.run("import codecs")
    check = 'check("01_tokenizer", "utf8_length")'
    expect(notebook.run(check)).to_contain_text("0 of 2 checks passed")
    notebook.replace_line(notebook.cell(check), "raise NotImplementedError", "return len(chr(code_point).encode())")
    expect(notebook.run(check)).to_contain_text("2 of 2 checks passed")
    assert (
        page.locator(".jp-RenderedText[data-mime-type*=stderr], .jp-RenderedText[data-mime-type*=error]").count() == 0
    )


WRONG = "return dict(Counter(pair for word in words for pair in pairwise(word)))"
# as typed: JupyterLab indents a new line as the one before, four more after a colon; a backspace takes back four
TYPED = """\
counts = Counter()
for word, n in words.items():
for pair in pairwise(word):
counts[pair] += n
\b\breturn dict(counts)"""


def test_a_student_solves_an_exercise(students_lab, edition, page):
    notebook = Notebook(page, students_lab, f"assignments/{ASSIGNMENT}/{ASSIGNMENT}.ipynb")
    exercise, check = notebook.cell("def count_pairs"), 'check("a1_bpe", "count_pairs")'
    exercise.locator(".cm-line").first.click()
    notebook.menu("Run", "Run All Above Selected Cell")
    notebook.run("def count_pairs")
    expect(notebook.run(check)).to_contain_text("0 of 2 public checks passed")

    notebook.replace_line(exercise, "raise NotImplementedError", WRONG)
    notebook.run("def count_pairs")
    expect(notebook.run(check)).to_contain_text("add a word's count, not 1")

    notebook.replace_line(exercise, WRONG, TYPED)
    notebook.run("def count_pairs")
    said = notebook.run(check)
    expect(said).to_contain_text("2 of 2 public checks passed")
    expect(said.locator("td", has_text=re.compile("^pass$"))).to_have_count(2)

    stub = (edition / "cs336lite" / "bpe.py").read_text()
    expect(page.locator(".lm-TabBar-tab.jp-mod-dirty")).to_have_count(1)
    expect(notebook.run("export_solution")).to_contain_text("does not hold `count_pairs` as you have run it last. Save")
    assert (edition / "cs336lite" / "bpe.py").read_text() == stub

    page.keyboard.press("Control+s")
    expect(page.locator(".lm-TabBar-tab.jp-mod-dirty")).to_have_count(0)
    said = notebook.run("export_solution")
    expect(said).to_contain_text("Exported a1_bpe.ipynb, as it is saved, to cs336lite/bpe.py.")
    expect(said).to_contain_text(re.compile("[1-9][0-9]* of [0-9]+ public checks pass on the exported code"))
    assert "            counts[pair] += n\n    return dict(counts)\n" in (edition / "cs336lite" / "bpe.py").read_text()


def test_the_validate_button_does_not_praise_an_unsolved_assignment(students_lab, page):
    Notebook(page, students_lab, f"assignments/{ASSIGNMENT}/{ASSIGNMENT}.ipynb")
    page.get_by_role("button", name="Validate").click()
    said = page.locator(".jp-Dialog")
    expect(said).to_contain_text("Validation Results")
    assert "Success" not in said.inner_text()


# -- the instructor ---------------------------------------------------------------------------------------------


def test_formgrader_from_the_source_to_the_feedback(small_course, tmp_path, page):
    wrong = "def halve(x):\n    return x"
    exchange, desk, home = (tmp_path / name for name in ("exchange", "desk", "home"))
    for folder in (exchange, desk, home):
        folder.mkdir()
    exchange.chmod(0o777)  # as nbgrader wants it: all students write there
    own = own_settings(home) | {"CS336LITE_EXCHANGE": str(exchange)}
    (desk / "nbgrader_config.py").write_text(
        f"c = get_config()\nc.Exchange.root = {str(exchange)!r}\nc.CourseDirectory.course_id = 'cs336lite'\n"
    )
    with jupyter_lab(small_course, home, CS336LITE_EXCHANGE=str(exchange)) as lab:
        page.goto(f"{lab}lab")
        page.get_by_role("menuitem", name="Nbgrader", exact=True).click()
        page.get_by_role("menuitem", name="Formgrader", exact=True).click()
        formgrader = page.frame_locator("iframe[src*=formgrader]")
        expect(formgrader.locator("td.name")).to_have_text(ASSIGNMENT)

        press(formgrader, "assign", "Successfully created the student version")
        press(formgrader, "release", "Successfully released")
        expect(formgrader.locator("td.status")).to_have_text("released")

        released = (exchange / "cs336lite" / "outbound" / ASSIGNMENT / f"{ASSIGNMENT}.ipynb").read_text()
        assert "NotImplementedError" in released and "x + x" not in released
        (desk / ASSIGNMENT).mkdir()
        (desk / ASSIGNMENT / f"{ASSIGNMENT}.ipynb").write_text(json.dumps(small_notebook(RIGHT[0], wrong)))
        ran("nbgrader", "submit", ASSIGNMENT, cwd=desk, **own)

        press(formgrader, "collect", "Successfully collected")
        formgrader.locator("td.num-submissions a").click()
        expect(formgrader.locator("td.student-id")).to_have_text(get_username())
        expect(formgrader.locator("td.status")).to_have_text("needs autograding")
        press(formgrader, "autograde", "Successfully autograded")
        expect(formgrader.locator("td.status")).to_have_text("graded")
        submission = str(next((small_course / "submitted").rglob("*.ipynb")))
        ran("cs336lite", "grade", ASSIGNMENT, submission, "--json", "grade.json", cwd=tmp_path, **own)
        [grade] = json.loads((tmp_path / "grade.json").read_text())
        assert (grade["score"], grade["max_score"]) == (4, 6)
        expect(formgrader.locator("td.score")).to_have_text(f"{grade['score']:g} / {grade['max_score']:g}")

        press(formgrader, "generate-feedback", "Successfully generated feedback")
        press(formgrader, "release-feedback", "Successfully released feedback")
    [feedback] = (exchange / "cs336lite" / "feedback").glob("*.html")
    page.goto(feedback.as_uri())
    expect(page.get_by_text("4 of 6 points").first).to_be_visible()
    expect(page.get_by_role("row", name="halve").first).to_contain_text("the result is not half the number")


def press(formgrader, button: str, success: str) -> None:
    """Press one of formgrader's buttons, and close the dialog in which it says that all went well."""
    formgrader.locator(f"td.{button} a").click()
    dialog = formgrader.locator(".modal.in")
    expect(dialog.locator(".modal-body")).not_to_be_empty()
    assert success in dialog.inner_text()
    dialog.locator(".modal-footer button").click()
    expect(formgrader.locator(".modal")).to_have_count(0)


# -- submissions that attack a reader's browser -----------------------------------------------------------------

PICTURE = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR4nGNgYGBgAAAABQABpfZFQAAAAABJRU5ErkJggg=="  # one point
)
SCRIPT = "<script>window.pwned = 'script'</script>"
HOSTILE = f"""\
# Mine {SCRIPT}

<img src=x onerror="window.pwned = 'image'"> <svg onload="window.pwned = 'svg'"></svg>
<img src="http://pwned.invalid/raw.png"> ![](http://pwned.invalid/markdown.png)
<iframe srcdoc="<script>parent.pwned = 'frame'</script>"></iframe> <style>@import "http://pwned.invalid/a.css";</style>
<div onmouseover="window.pwned = 'mouse'">over</div> <form action="javascript:window.pwned = 'form'"></form>

My plan: ![my plan](attachment:my%20plan.png)

[first](javascript:void(window.pwned='link')) <a href="javascript:void(window.pwned='anchor')">second</a>

Between $a_i<b_i$ and $c_i>d_i$ *all* is $\\frac{{1}}{{2}}$:

$$\\sum_{{i<n}} x_i \\le \\text{{max}}_j\\, y_j$$
"""
FORMULAS = (
    r"\sum_{w} n_w \cdot \left|\{\, i : (w_i, w_{i+1}) = (a, b) \,\}\right|",  # the assignment's own
    "$a_i<b_i$",
    "$c_i>d_i$",
    "$\\frac{1}{2}$",
    "$$\\sum_{i<n} x_i \\le \\text{max}_j\\, y_j$$",
)


@pytest.fixture(scope="module")
def graded(tmp_path_factory):
    """The real course with two submissions, graded, with feedback: an honest mistake of chen's, and mallory's attack."""
    from cs336lite.teaching import demo

    top = tmp_path_factory.mktemp("graded")
    course = top / "assignments"
    course.mkdir()
    (top / "cs336lite").mkdir()
    demo.make_course(ROOT, course)
    own = own_settings(top / "home")
    ran("nbgrader", "generate_assignment", ASSIGNMENT, cwd=course, **own)
    released = (course / "release" / ASSIGNMENT / f"{ASSIGNMENT}.ipynb").read_text()
    chen = demo.as_catalogued("wrong_ties_first_seen")(json.loads(released), ROOT)
    for student, work in (("chen", chen), ("mallory", hostile(json.loads(released)))):
        folder = course / "submitted" / student / ASSIGNMENT
        folder.mkdir(parents=True)
        (folder / f"{ASSIGNMENT}.ipynb").write_bytes(work)
    ran("cs336lite", "grade", ASSIGNMENT, "--jobs", "2", cwd=course, **own)
    ran("nbgrader", "generate_feedback", ASSIGNMENT, cwd=course, **own)
    shutil.copytree(ROOT / "notebooks", course / "notebooks")  # to be read in the same JupyterLab
    return course


@pytest.fixture(scope="module")
def instructors_lab(graded, tmp_path_factory):
    """JupyterLab in the instructor's course, where it finds the formgrader's settings."""
    with jupyter_lab(graded, tmp_path_factory.mktemp("home")) as url:
        yield url


def hostile(notebook: dict) -> bytes:
    """The notebook with scripts wherever a student can write: text, code, outputs, names, metadata."""
    page = {"output_type": "display_data", "metadata": {}, "data": {"text/html": SCRIPT, "image/svg+xml": SCRIPT}}
    figure = {**page, "data": {"image/png": PICTURE, **page["data"]}}
    for cell in notebook["cells"]:
        cell["metadata"]["name"] = SCRIPT
        if cell["cell_type"] == "code":
            cell["outputs"] = [page, figure, {"output_type": "stream", "name": "stdout", "text": f"ran {SCRIPT}"}]
        if "def train_bpe" in "".join(cell["source"]):
            cell["source"] = (
                f"# </pre></div>{SCRIPT}\n"
                f"Odd = type({SCRIPT!r}, (Exception,), {{}})\n"
                f"def train_bpe(*args):\n    raise Odd({SCRIPT!r})\n"
            )
    notebook["cells"].insert(1, {"cell_type": "markdown", "id": "mine", "metadata": {}, "source": HOSTILE})
    notebook["cells"][1]["attachments"] = {"my plan.png": {"image/png": PICTURE, **page["data"]}}
    notebook["metadata"]["title"] = f"</title>{SCRIPT}"
    return json.dumps(notebook).encode()


def watch(page) -> list[str]:
    """What a page asks for or opens from now on, besides files of this machine and of its server."""
    seen: list[str] = []
    page.on("request", lambda request: seen.append(request.url))
    page.on("dialog", lambda dialog: (seen.append(f"dialog: {dialog.message}"), dialog.dismiss()))
    page.on("popup", lambda popup: seen.append(f"popup: {popup.url}"))
    page.context.route(lambda url: not re.match(r"file:|http://(localhost|127\.0\.0\.1)[:/]", url), lambda r: r.abort())
    return seen


def expect_what_was_handed_in(page, marked: str) -> None:
    """The outputs and pictures of mallory's are on the page: as text, as pictures, and as what a student handed in."""
    expect(page.get_by_text(re.compile(marked)).first).to_be_visible()
    expect(page.get_by_text(f"ran {SCRIPT}").first).to_be_visible()
    expect(page.get_by_text("(an output was left out: text/html, image/svg+xml)").first).to_be_visible()
    expect(page.get_by_role("img", name="my plan")).to_have_count(1)
    pictures = page.locator("img")
    assert pictures.count() > 3 and all(pictures.evaluate_all("all => all.map(i => i.complete && i.naturalWidth > 0)"))
    assert all(pictures.evaluate_all("all => all.map(i => i.src.startsWith('data:image/png;base64,'))"))


def pwned(page) -> str | None:
    """Which script of the submission's ran, if one did, whatever a reader clicks on or moves over."""
    page.wait_for_load_state("load")  # images and frames have loaded or failed
    for text in ("first", "second", "over"):
        for found in page.get_by_text(text, exact=True).all():
            found.hover()
            found.click()
    return page.evaluate("window.pwned")


def test_a_hostile_submission_is_only_text_on_its_feedback_page(graded, page, tmp_path):
    feedback = graded / "feedback" / "mallory" / ASSIGNMENT / f"{ASSIGNMENT}.html"
    seen = watch(page)
    page.goto(feedback.as_uri())
    expect(page.get_by_text(re.compile(r"(^|\D)0 of 100 points")).first).to_be_visible()
    expect(page.get_by_role("heading", name="Mine")).to_contain_text("window.pwned = 'script'")
    expect(page.locator(".about")).to_have_text("mallory")
    expect_what_was_handed_in(page, "handed in with it; the grader has not made it")
    assert pwned(page) is None
    assert not [url for url in seen if "pwned" in url or url.startswith(("dialog", "popup"))]
    drawn = page.locator("[alt], [aria-label]").evaluate_all(
        "all => all.map(e => e.getAttribute('aria-label') || e.alt)"
    )
    text = squeezed(page.locator("body").text_content() + "".join(drawn))
    for formula in FORMULAS:
        assert squeezed(formula) in text, formula

    # the same page with one script as the student wrote it, and no policy against scripts: the marker is seen
    shown = re.sub(r"<meta[^>]*Content-Security-Policy[^>]*>", "", feedback.read_text())
    broken = tmp_path / "broken.html"
    broken.write_text(re.sub(r"(<h1[^>]*>Mine)", rf"\1 {SCRIPT}", shown))
    page.goto(broken.as_uri())
    assert pwned(page) == "script"


def squeezed(text: str) -> str:
    return re.sub(r"\s", "", text)


def test_a_hostile_submission_is_only_text_in_formgrader(instructors_lab, page):
    seen = watch(page)
    page.goto(f"{instructors_lab}formgrader/manage_students/mallory/{ASSIGNMENT}")
    page.locator("td.name a").click()
    expect(page.get_by_role("heading", name="Mine")).to_be_visible()
    expect_what_was_handed_in(page, "what follows was handed in with the cell: the grader has not made it")
    padding = page.locator("th", has_text="points").first.evaluate(
        "cell => parseFloat(getComputedStyle(cell).paddingRight)"
    )
    assert padding > 8  # the table of the head can be read
    assert pwned(page) is None
    assert not [url for url in seen if "pwned" in url or url.startswith(("dialog", "popup"))]


# -- the README's picture ---------------------------------------------------------------------------------------


def test_the_picture_of_the_readme(instructors_lab, graded, browser, tmp_path):
    """A lecture and a feedback page side by side, written to assets/course.png when CS336LITE_PICTURES is set."""
    from PIL import Image

    left, right, gap = tmp_path / "lecture.png", tmp_path / "feedback.png", 12
    with new_page(browser, 780, 640, scale=1.5) as page:
        Notebook(page, instructors_lab, "notebooks/01_tokenizer.ipynb")
        page.keyboard.press("Control+b")
        expect(page.locator("#filebrowser")).to_be_hidden()
        image = page.locator("img[alt^='diagram: GPT-2']")
        image.evaluate("image => image.scrollIntoView({block: 'center'})")
        expect(image).to_be_in_viewport(ratio=1)
        expect(page.locator(".jp-Dialog, .Toastify__toast")).to_have_count(0)
        page.screenshot(path=left)
    with new_page(browser, 780, 640, scale=1.5) as page:
        page.goto((graded / "feedback" / "chen" / ASSIGNMENT / f"{ASSIGNMENT}.html").as_uri())
        expect(page.get_by_text(re.compile(r"\d\d of 100 points")).first).to_be_visible()
        page.screenshot(path=right)
    images = [Image.open(path).convert("RGB") for path in (left, right)]
    both = Image.new("RGB", (images[0].width + gap + images[1].width, images[0].height), "#bdbdbd")
    both.paste(images[0], (0, 0))
    both.paste(images[1], (images[0].width + gap, 0))
    picture = ROOT / "assets" / "course.png" if os.environ.get("CS336LITE_PICTURES") else tmp_path / "course.png"
    both.quantize(256).save(picture, optimize=True)
    assert 50_000 < picture.stat().st_size < 400_000
