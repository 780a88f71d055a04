"""Outputs and pictures that a student handed in are shown as plain text and as pictures drawn anew, and never too many."""

import base64
import io
import json
import random
import struct
import sys
import zlib

import pytest
from helpers import RIGHT, small_notebook, submit
from nbformat import reads, validate
from PIL import Image, PngImagePlugin

from cs336lite.grading import handed, limited, submission
from cs336lite.grading.handed import MARK, Room, attached, outputs_of, picture
from cs336lite.grading.structure import StructureCell, normalise
from cs336lite.grading.submission import read_notebook

PNG, JPEG = handed.PICTURES


def encoded(image, kind="PNG", **more):
    file = io.BytesIO()
    image.save(file, kind, **more)
    return base64.b64encode(file.getvalue()).decode()


def drawing(size=(6, 4), mode="RGB"):
    image = Image.new(mode, size)
    image.paste(1, (0, 0, 3, 2))
    return image


def noise(size, seed=1):
    return Image.frombytes("RGB", size, random.Random(seed).randbytes(3 * size[0] * size[1]))


def opened(made):
    kind, data = made
    image = Image.open(io.BytesIO(base64.b64decode(data, validate=True)))
    assert image.get_format_mimetype() == kind
    image.load()
    return image


def printed(text, name="stdout"):
    return {"output_type": "stream", "name": name, "text": text}


def value(**data):
    kinds = {"plain": "text/plain", "html": "text/html", "png": PNG, "jpeg": JPEG, "svg": "image/svg+xml"}
    data = {kinds.get(name, name): text for name, text in data.items()}
    return {"output_type": "execute_result", "execution_count": 1, "metadata": {}, "data": data}


def texts(*outputs, room=None):
    """The texts of what is shown of some outputs, less the line that says whose they are."""
    shown = outputs_of(list(outputs), room or Room())
    assert all(set(output) == {"output_type", "name", "text"} for output in shown)
    assert not shown or shown[0] == printed(MARK)
    return [output["text"] for output in shown[1:]]


# -- texts ------------------------------------------------------------------------------------------------------------


def test_the_texts_of_a_cell_are_shown_and_whose_they_are():
    error = {
        "output_type": "error",
        "ename": "ValueError",
        "evalue": "x",
        "traceback": ["\x1b[0;31mOn line 1\x1b[0m", "x"],
    }
    shown = outputs_of([printed(["one\n", "two"]), printed("three", "stderr"), value(plain="4"), error], Room())
    assert shown == [
        printed(MARK),
        printed("one\ntwo\n"),
        printed("three\n", "stderr"),
        printed("4\n"),
        printed("On line 1\nx\n", "stderr"),
    ]
    assert outputs_of([], Room()) == outputs_of([printed(" \n")], Room()) == outputs_of(None, Room()) == []


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[1;31mred\x1b[0m \x1b]0;title\x07and\x1b]8;;x\x1b\\ link", "red and link\n"),
        ("a\x00b\x08c\u202ed\ud800", "a\N{REPLACEMENT CHARACTER}b\N{REPLACEMENT CHARACTER}c\N{REPLACEMENT CHARACTER}d\N{REPLACEMENT CHARACTER}\n"),
        ("  0%|  |\r 50%|# |\r100%|##|\r\ndone\r\n", "100%|##|\ndone\n"),
        ("\tone  two\n\n  字 µ", "\tone  two\n\n  字 µ\n"),
        ("<script>1</script> $x$", "<script>1</script> $x$\n"),
    ],
)  # fmt: skip
def test_a_text_does_nothing_but_be_read(text, shown):
    assert texts(printed(text)) == [shown]


def test_of_a_value_its_text_is_shown_and_of_one_without_what_it_was():
    assert texts(value(plain="  a\n0 1", html="<table>")) == ["  a\n0 1\n"]
    assert texts(value(html="<script>", **{"application/javascript": "x"})) == [
        "(an output was left out: text/html, application/javascript)\n"
    ]
    figure = value(plain="<Figure>", svg="<svg onload=x>")
    assert texts(figure) == ["<Figure>\n", "(an output was left out: image/svg+xml)\n"]
    said = value(plain="<IPython.core.display.Markdown object>", **{"text/markdown": "**mine** <b>"})
    assert texts(said) == ["**mine** <b>\n"]
    assert texts(value(**{"a/\x1b[31m" + "b" * 500: "x"}))[0].isprintable() is False  # the line end
    assert "\x1b" not in texts(value(**{"a/\x1b[31m": "x"}))[0]


def test_long_texts_are_cut_in_the_middle_and_it_is_said():
    [shown] = texts(printed("begin " + "x" * 3_000_000 + " end"))
    assert len(shown) < handed.MOST_TEXT + 100 and shown.startswith("begin ") and shown.endswith(" end\n")
    assert "(… 3.0 MB were left out …)" in shown
    [shown] = texts(printed("\n".join(map(str, range(1000)))))
    assert shown.split("\n")[:2] == ["0", "1"] and "(… 700 lines were left out …)" in shown and shown.endswith("999\n")


def test_many_outputs_are_a_few():
    assert texts(*[printed("x")] * 100_000) == [texts(printed("x" * 100_000))[0]]  # one print after another is one text
    shown = texts(*[value(plain="x"), printed("y")] * 50_000)
    assert len(shown) == handed.MOST_OUTPUTS + 1 and shown[-1] == "(99960 more outputs were left out)\n"


def test_all_the_text_of_a_notebook_is_bounded():
    room = Room()
    shown = [text for _ in range(30) for text in texts(printed("x" * 19_000), room=room)]
    assert sum(map(len, shown)) < Room.TEXT + 5000 and shown[-1] == "(19 kB of text were left out)\n"


@pytest.mark.parametrize(
    "outputs",
    [
        {},
        "x",
        7,
        [None, 7, "x", [], {}],
        [{"output_type": 5, "data": []}],
        [{"output_type": "stream", "text": {"a": [1]}, "name": []}],
        [{"output_type": "error", "traceback": [[["x"]], None], "ename": {}}],
        [{"output_type": "display_data", "data": {"text/plain": {"a": 1}, PNG: {"a": 1}, JPEG: None}}],
        [
            {
                "output_type": "display_data",
                "data": {PNG: ["a", 7], "text/plain": "x"},
                "metadata": {PNG: {"width": "x"}},
            }
        ],
    ],
)
def test_what_is_no_output_harms_nothing(outputs):
    shown = outputs_of(outputs, Room())
    assert all(output["output_type"] == "stream" for output in shown)
    json.dumps(shown)


def test_outputs_of_format_3_are_read():
    old = [{"output_type": "pyout", "text": ["4"]}, {"output_type": "stream", "stream": "stderr", "text": "x"}]
    assert texts(*old) == ["4\n", "x\n"]
    assert outputs_of([{"output_type": "display_data", "png": encoded(drawing())}], Room())[1]["data"].keys() == {PNG}


# -- pictures ---------------------------------------------------------------------------------------------------------


def test_a_picture_is_drawn_anew():
    about = PngImagePlugin.PngInfo()
    about.add_text("Comment", "secret <script>", zip=False)
    one = (
        base64.b64decode(encoded(drawing(), pnginfo=about, icc_profile=b"profile")) + b"<script>after the end</script>"
    )
    made = picture(base64.encodebytes(one).decode(), Room())  # with line ends, as Jupyter writes it
    again = opened(made)
    assert made[0] == PNG and again.tobytes() == drawing().tobytes() and not again.info
    assert b"script" not in base64.b64decode(made[1]) and made == picture(base64.b64encode(one).decode(), Room())


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
def test_pictures_of_all_kinds_are_opaque(mode):
    made = opened(picture(encoded(drawing(mode=mode)), Room()))
    assert made.size == (6, 4) and made.mode in ("L", "RGB")
    if mode.endswith("A"):
        assert made.convert("RGB").getpixel((5, 3)) == (255, 255, 255)


def test_a_photograph_stands_upright_and_tells_nothing_of_its_camera():
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "a camera"
    kind, data = picture(encoded(drawing((60, 40)), "JPEG", exif=exif), Room())
    again = opened((kind, data))
    assert (kind, again.size) == (JPEG, (40, 60)) and b"camera" not in base64.b64decode(data) and not again.getexif()


def test_large_pictures_become_smaller():
    assert opened(picture(encoded(Image.new("L", (4000, 1000))), Room())).size == (1600, 400)
    kind, data = picture(encoded(noise((700, 700))), Room())
    assert kind == JPEG and len(data) < len(encoded(noise((700, 700)))) / 2


def bomb(width, height):
    """A PNG that says it is so large, with rows that are all there."""

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    pixels = zlib.compressobj(9)
    rows = b"".join(pixels.compress(bytes(1 + width)) for _ in range(min(height, 2000))) + pixels.flush()
    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return base64.b64encode(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    ).decode()


GIF = encoded(drawing(), "GIF")


REFUSED = {
    "huge": (bomb(10_000, 10_000), "a picture of 10000 × 10000 points was left out"),
    "bomb": (bomb(60_000, 60_000), "a picture was left out (DecompressionBombError)"),
    "cut-png": (encoded(noise((50, 50)))[:4000], "a picture that cannot be read was left out"),
    "cut-jpeg": (encoded(noise((50, 50)), "JPEG")[:800], "a picture that cannot be read was left out"),
    "gif": (GIF, "a picture that cannot be read was left out"),
    "tiff": (encoded(drawing(), "TIFF"), "a picture that cannot be read was left out"),
    "svg": ("PHN2Zz4=", "a picture that cannot be read was left out"),
    "empty": ("", "a picture that cannot be read was left out"),
    "words": ("no base64 at all", "a picture that cannot be read was left out"),
    "none": (None, "a picture that cannot be read was left out"),
    "large": ("A" * (handed.LARGEST_FILE * 3 // 2), "a picture of 18.9 MB was left out"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_picture_or_too_much_of_one_is_left_out(name):
    data, said = REFUSED[name]
    assert picture(data, Room()) == said


def test_all_the_pictures_of_a_notebook_are_bounded(monkeypatch):
    monkeypatch.setattr(Room, "PICTURES", 3)
    room = Room()
    assert [type(picture(encoded(drawing()), room)) for _ in range(4)] == [tuple, tuple, tuple, str]
    monkeypatch.setattr(Room, "BYTES", 200)
    assert "was left out: a page holds" in picture(encoded(noise((300, 300))), Room())
    monkeypatch.setattr(Room, "POINTS", 30)
    room = Room()
    assert isinstance(picture(encoded(drawing()), room), tuple)
    assert picture(encoded(drawing()), room) == "a picture of 6 × 4 points was left out"


def test_attached_pictures_that_the_text_shows_are_kept():
    held = {"a b.png": {PNG: encoded(drawing())}, "c.gif": {"image/gif": GIF}, "unused.png": {PNG: encoded(drawing())}}
    text = (
        '![x](attachment:a%20b.png) <img width="3" src="attachment:c.gif"> ![y](attachment:gone.png) ![z](http://a.b/c)'
    )
    found = attached(held, text, Room())
    assert found.keys() == {"a b.png", "c.gif"} and found["c.gif"] == "a picture was left out: image/gif"
    assert opened(found["a b.png"]).size == (6, 4)
    assert attached([], text, Room()) == attached({"a b.png": 3}, text, Room()) == {}


# -- in a notebook ----------------------------------------------------------------------------------------------------


def cell(name, kind="code", **flags):
    return StructureCell(name, kind, "# released", None, **{"locked": False, "grade": False, "solution": True, "points": 0.0, **flags})  # fmt: skip


STRUCTURE = [
    cell("setup", locked=True, solution=False),
    cell("double"),
    cell("grade_double", locked=True, grade=True, solution=False, points=4.0),
    cell("halve"),
    cell("grade_halve", locked=True, grade=True, solution=False, points=2.0),
]


def with_outputs(*outputs, text=None, attachments=None):
    """The right notebook, with these outputs in every cell, and with a cell of text."""
    book = small_notebook(*RIGHT)
    for one in book["cells"]:
        one["outputs"] = list(outputs)
    if text is not None:
        mine = {"cell_type": "markdown", "id": "mine", "metadata": {}, "source": text, "attachments": attachments or {}}
        book["cells"].insert(1, mine)
    return book


def read(tmp_path, book):
    path = tmp_path / "a1_bpe.ipynb"
    path.write_text(json.dumps(book) if isinstance(book, dict) else book)
    notebook, problem = read_notebook(path, parts=True)
    assert not problem
    clean, notes = normalise(notebook, STRUCTURE)
    validate(clean)
    return clean, notes


def test_cells_of_a_student_have_their_outputs_and_those_of_the_course_have_none(tmp_path):
    shown = value(png=encoded(drawing()), plain="<Figure>")
    clean, _ = read(tmp_path, with_outputs(shown, {**shown, "metadata": {PNG: {"width": "1 onload=x"}}}))
    found = {c.metadata.nbgrader.grade_id: c.outputs for c in clean.cells}
    assert [name for name, outputs in found.items() if outputs] == ["double", "halve"]
    assert found["double"][0].text == MARK and [o.get("metadata") for o in found["double"]] == [None, {}, {}]
    assert [set(o.data) for o in found["double"][1:]] == [{PNG}, {PNG}]
    plain, _ = read_notebook(tmp_path / "a1_bpe.ipynb")  # for judging alone
    assert not any(c.outputs or c.pictures for c in plain.cells)


def test_pictures_in_a_text_are_shown_where_they_stood_and_nothing_else_comes_alive(tmp_path):
    text = (
        "# Mine\n![a](x.png) ![my [plan](attachment:p.png) ![my plan\" onload=](attachment:p.png 'title') *b*\n"
        '<img src="attachment:p.png" onerror="x"> ![g](attachment:g.gif) <b>x</b> ![n](attachment:none.png)'
    )
    held = {"p.png": {PNG: encoded(drawing()), "text/html": "<script>"}, "g.gif": {"image/gif": GIF}}
    clean, _ = read(tmp_path, with_outputs(text=text, attachments=held))
    [mine] = [c for c in clean.cells if c.cell_type == "markdown"]
    assert list(mine.attachments) == ["1.png", "2.png"]
    assert all(opened(next(iter(bundle.items()))).size == (6, 4) for bundle in mine.attachments.values())
    assert "! [my [plan] (attachment:p.png)" in mine.source  # which no renderer takes for a picture
    assert "![my plan  onload ](attachment:1.png) *b*" in mine.source
    assert "![picture](attachment:2.png)" in mine.source and "(a picture was left out: image/gif)" in mine.source
    assert "! [a] (x.png)" in mine.source and "< b>" in mine.source and "! [n] (attachment:none.png)" in mine.source
    assert "onerror" not in mine.source


DEEP = '{"cells": [' + ", ".join(
    json.dumps(c | {"outputs": ["DEEP"]}) for c in small_notebook(*RIGHT)["cells"]
).replace('"DEEP"', "[" * 500 + "]" * 500) + '], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}'  # fmt: skip


@pytest.mark.parametrize(
    "book",
    [
        lambda: with_outputs(*[printed("x"), value(plain="x")] * 10_000),
        lambda: with_outputs(printed("x" * 10_000_000)),
        lambda: with_outputs(*[value(png=bomb(6000, 6000))] * 20),
        lambda: with_outputs(value(png={"a": [[[]] * 1000] * 100})),
        lambda: with_outputs(text="![x](attachment:x)" + "![x](attachment:" * 60_000, attachments={"x": {PNG: "x"}}),
        lambda: with_outputs(
            text="<img src=attachment:x>" + "<img src=attachment:x" * 40_000, attachments={"x": {PNG: "x"}}
        ),
        lambda: DEEP,
    ],
    ids=["many", "long", "bombs", "nested", "text", "tags", "deep"],
)
def test_outputs_made_to_exhaust_a_reader_cost_themselves_alone(book, tmp_path):
    clean, _ = read(tmp_path, book())
    codes = {c.metadata.nbgrader.grade_id: c.source for c in clean.cells if c.cell_type == "code"}
    assert (codes["double"], codes["halve"]) == RIGHT
    assert len(json.dumps(clean)) < 10 << 20


def test_outputs_that_pass_a_limit_are_left_out_and_it_is_said(tmp_path, monkeypatch):
    strict = limited.Shared(limited.Limits(step_seconds=0.0, call_seconds=0.0))
    monkeypatch.setattr(submission, "PAINTED", strict)
    clean, notes = read(tmp_path, with_outputs(*[value(png=encoded(Image.new("L", (6000, 6000))))] * 5))
    strict.close()
    assert [c.source for c in clean.cells if c.metadata.nbgrader.get("solution")] == list(RIGHT)
    assert notes[-1] == "its outputs and pictures are not shown: they take more processor time than it may"
    assert not any(c.outputs for c in clean.cells)


# -- in a course ------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="grading runs on Linux")
def test_outputs_change_no_grade_and_an_entry_stays_as_it_is(small_course):
    from cs336lite.grading import runner

    api = runner.nbgrader_api(small_course)
    assert api.generate_assignment("a1_bpe")["success"]
    forged = value(plain="4.0", png=encoded(noise((500, 500))))
    book = with_outputs(printed("PASS  3/3  doubles a number\n"), forged, text="![x](attachment:x.png)",
                        attachments={"x.png": {PNG: encoded(drawing())}})  # fmt: skip
    for one in book["cells"]:
        if one["metadata"].get("nbgrader", {}).get("grade_id") == "double":
            one["source"] = "def double(x):\n    return x * x"
    submit(small_course, "bo", book)
    [graded] = runner.grade_class(small_course, "a1_bpe")
    assert graded.verdict.score == 2
    path = small_course / "autograded" / "bo" / "a1_bpe" / "a1_bpe.ipynb"
    first, number = path.read_bytes(), path.stat().st_ino
    nb = reads(first.decode(), as_version=4)
    kinds = {kind for c in nb.cells for o in c.get("outputs", []) for kind in o.get("data", {})}
    assert kinds == {JPEG, "text/plain"}
    grades = [c for c in nb.cells if c.metadata.get("nbgrader", {}).get("grade")]
    assert [c.outputs[1].data["text/plain"] for c in grades] == ["0.0", "2.0"]
    runner.grade_class(small_course, "a1_bpe")
    assert path.stat().st_ino == number  # it was not written again
    assert api.autograde("a1_bpe", "bo", force=True, create=True)["success"]
    assert path.read_bytes() == first
