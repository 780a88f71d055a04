"""Diagrams are SVG that any page can show: opaque, inside their sheet, in colours that can be told apart."""

import base64
import doctest
import re
from xml.etree import ElementTree

import pytest

from cs336lite.course import diagram
from cs336lite.course.diagram import Diagram, columns, lighter
from cs336lite.course.plot import COLORS

SVG = "{http://www.w3.org/2000/svg}"


def drawn(d: Diagram) -> ElementTree.Element:
    return ElementTree.fromstring(d.show().svg)


def test_examples_in_docstrings():
    assert doctest.testmod(diagram).failed == 0


def test_a_diagram_is_svg_with_an_opaque_ground_and_its_texts():
    d = Diagram(40, 6)
    first, second = d.row(1, 1, ["a<b", "中"]), d.box(1, 4, "two\nlines", color="orange", height=2)
    d.arrow(first.bottom, second.top, "join & go")
    root = drawn(d)
    ground = root.find(f"{SVG}rect")
    assert ground.get("fill") == "white" and ground.get("width") == "100%"
    assert [text.text for text in root.iter(f"{SVG}text")] == ["a<b", "中", "two", "lines", "join\u00a0&\u00a0go"]
    assert root.find(f"{SVG}line").get("marker-end") == "url(#tip-black)"
    assert [marker.get("id") for marker in root.iter(f"{SVG}marker")] == ["tip-black"]
    assert len(list(root.iter(f"{SVG}rect"))) == 4


def test_a_notebook_that_is_not_trusted_shows_it_too_and_says_what_it_says():
    d = Diagram(20, 3)
    d.row(1, 1, ["x", '"y"'])
    shown = d.show()
    image = ElementTree.fromstring(f"<p>{shown._repr_html_().replace('>', '/>')}</p>").find("img")
    assert image.get("alt") == 'diagram: x, "y"'
    assert base64.b64decode(image.get("src").split("base64,")[1]).decode() == shown.svg


def test_boxes_of_a_row_stand_side_by_side_and_widths_are_kept():
    d = Diagram(60, 3)
    d.row(2, 1, ["a", "b", "c"], widths=[3, 6, 9])
    boxes = list(drawn(d).iter(f"{SVG}rect"))[1:]
    left = [float(box.get("x")) / diagram.COLUMN for box in boxes]
    assert left == pytest.approx([2, 5, 11], abs=0.02)


def test_a_tensor_is_a_grid_of_cells_that_touch():
    d = Diagram(30, 6)
    box = d.grid(1, 1, [[1, 2, 3], [4, 5, 6]], width=4)
    assert (box.width, box.height) == (12, 2.6)
    cells = list(drawn(d).iter(f"{SVG}rect"))[1:]
    assert len(cells) == 6 and len({cell.get("x") for cell in cells}) == 3


@pytest.mark.parametrize(
    "draw",
    [
        lambda d: d.box(8, 1, "too far right"),
        lambda d: d.box(1, 3, "too low"),
        lambda d: d.text(-1, 1, "left"),
        lambda d: d.text(2, 1, "a text that goes on", mono=True),
        lambda d: d.arrow((1, 1), (1, 9)),
    ],
)
def test_what_lies_outside_is_an_error(draw):
    with pytest.raises(ValueError, match="lies outside a diagram of 10 columns and 4 lines"):
        draw(Diagram(10, 4))


def test_a_diagram_that_shows_nothing_and_a_colour_that_is_not_there_are_errors():
    with pytest.raises(ValueError, match="empty"):
        Diagram(10, 4).show()
    with pytest.raises(ValueError, match="no colour 'red'"):
        Diagram(10, 4).box(1, 1, "x", color="red")


def test_black_letters_can_be_read_in_every_colour():
    def luminance(color):
        parts = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    for color in [*COLORS.values(), diagram.GREY]:
        assert (luminance(lighter(color)) + 0.05) / 0.05 > 7


@pytest.mark.parametrize(("text", "wide"), [("abc", 3), ("中文", 4), ("🙂", 2), ("é", 1), ("हि", 2), ("", 0)])
def test_widths_are_counted_in_columns(text, wide):
    assert columns(text) == wide


def test_the_same_diagram_is_the_same_bytes():
    def one():
        d = Diagram(20, 3)
        d.row(1, 1, ["x", "y"], ["blue", "green"])
        return d.show().svg

    assert one() == one() and re.search(r"\.d-blue\{fill:#[0-9A-F]{6};stroke:#0072B2\}", one())
