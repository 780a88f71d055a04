"""The figures of the course: checked, deterministic, small, readable with and without Chinese fonts."""

import struct
import subprocess
import sys
import warnings

import numpy as np
import pytest
from matplotlib import rcParams

from cs336lite.course.plot import COLORS, axes, cjk_font, finish, label, style


def line_figure(**names):
    fig, ax = axes(**({"title": "Loss falls", "xlabel": "step", "ylabel": "loss (nats)"} | names))
    ax.plot([1, 2, 3], [3.0, 2.0, 1.5], label="ours")
    return fig, ax


def test_picture_is_a_small_opaque_png_of_the_asked_size():
    png = finish(line_figure(size=(5, 3), dpi=100)[0]).png
    assert png.startswith(b"\x89PNG")
    assert struct.unpack(">II", png[16:24]) == (500, 300)
    assert len(png) < 50_000
    from io import BytesIO

    from matplotlib.image import imread

    pixels = imread(BytesIO(png))
    assert np.allclose(pixels[0, 0], 1.0)  # white, alpha 1
    assert np.allclose(pixels[..., 3:], 1.0)


def test_same_content_gives_the_same_bytes_in_another_process_too(tmp_path):
    code = (
        "import sys; from cs336lite.course.plot import axes, finish\n"
        "fig, ax = axes(title='t', xlabel='x', ylabel='y'); ax.plot([1, 2], [3, 4]); finish(fig).save(sys.argv[1])\n"
    )
    pictures = []
    for name in ("one.png", "two.png"):
        subprocess.run([sys.executable, "-c", code, str(tmp_path / name)], check=True, timeout=120)
        pictures.append((tmp_path / name).read_bytes())
    assert pictures[0] == pictures[1]
    assert b"Software" not in pictures[0] and b"tIME" not in pictures[0] and b"Matplotlib" not in pictures[0]


def test_importing_and_drawing_leave_global_settings_and_pyplot_alone():
    code = (
        "import matplotlib, sys\n"
        "def settings():  # to ask for the backend would import pyplot\n"
        "    return {key: matplotlib.rcParams[key] for key in matplotlib.rcParams if key != 'backend'}\n"
        "before = settings()\n"
        "from cs336lite.course.plot import axes, finish\n"
        "fig, ax = axes(xlabel='x', ylabel='y'); ax.plot([1, 2]); finish(fig)\n"
        "assert settings() == before\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_style_holds_inside_its_block_only():
    before = rcParams["axes.spines.top"]
    with style():
        assert rcParams["axes.spines.top"] is False
        assert rcParams["savefig.facecolor"] == "white"
    assert rcParams["axes.spines.top"] == before


def test_lines_take_the_palette_in_order():
    _, ax = axes(xlabel="x", ylabel="y")
    for k in range(len(COLORS)):
        ax.plot([0, 1], [k, k + 1])
    assert [line.get_color().upper() for line in ax.lines] == [color.upper() for color in COLORS.values()]


def test_palette_can_be_told_apart_without_colour():
    def luminance(color):
        channels = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        return float(
            np.dot(
                [0.2126, 0.7152, 0.0722], [c / 12.92 if c < 0.04 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
            )
        )

    assert len({round(luminance(color), 2) for color in COLORS.values()}) == len(COLORS)


@pytest.mark.parametrize(("missing", "said"), [("xlabel", "xlabel is missing"), ("ylabel", "ylabel is missing")])
def test_a_missing_label_is_named(missing, said):
    fig, _ = line_figure(**{missing: ""})
    with pytest.raises(ValueError, match=said):
        finish(fig)


@pytest.mark.parametrize(
    ("draw", "said"),
    [
        (lambda ax: None, "nothing to see"),
        (lambda ax: ax.plot([], [], label="x"), "nothing to see"),
        (lambda ax: ax.plot([1, 2], [np.nan, np.nan]), "nothing to see"),
        (lambda ax: (ax.plot([1, 2]), ax.plot([1], [np.inf], label="broken")), "'broken' has no finite points"),
        (lambda ax: ax.scatter([], []), "nothing to see"),
    ],
    ids=["bare", "empty line", "nan line", "one bad line", "empty scatter"],
)
def test_a_figure_without_data_is_refused(draw, said):
    fig, ax = axes(title="Empty", xlabel="x", ylabel="y")
    draw(ax)
    with pytest.raises(ValueError, match=said):
        finish(fig)


def test_the_error_names_the_axes():
    fig, pair = axes(1, 2, xlabel="x", ylabel="y")
    pair[0].plot([1, 2])
    with pytest.raises(ValueError, match="axes 2 of 2"):
        finish(fig)


@pytest.mark.parametrize(
    "draw",
    [
        lambda ax: ax.bar(["a", "b"], [1, 2]),
        lambda ax: ax.scatter([1, 2], [3, 4]),
        lambda ax: ax.fill_between([1, 2], [0, 1], [2, 3]),
        lambda ax: ax.hist([1, 2, 2, 3]),
        lambda ax: ax.imshow([[1, 2], [3, 4]]),
        lambda ax: ax.errorbar([1, 2], [1, 2], yerr=[0.1, 0.2]),
        lambda ax: (ax.text(0.5, 0.5, "a drawing"), ax.set_axis_off()),
        lambda ax: ax.figure.colorbar(ax.imshow([[1, 2], [3, 4]]), label="share (%)"),
    ],
    ids=["bar", "scatter", "fill", "hist", "image", "errorbar", "words", "colorbar"],
)
def test_every_usual_kind_of_plot_is_accepted(draw):
    fig, ax = axes(xlabel="x", ylabel="y")
    draw(ax)
    assert finish(fig).png


def test_a_colorbar_needs_a_label():
    fig, ax = axes(xlabel="x", ylabel="y")
    fig.colorbar(ax.imshow([[1, 2], [3, 4]]))
    with pytest.raises(ValueError, match="label is missing"):
        finish(fig)


def test_a_figure_without_axes_is_refused():
    from matplotlib.figure import Figure

    with pytest.raises(ValueError, match="no axes"):
        finish(Figure())


def test_legend_appears_for_several_labels_only():
    fig, ax = line_figure()
    finish(fig)
    assert ax.get_legend() is None
    ax.plot([1, 2], [1, 2], label="theirs")
    finish(fig)
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["ours", "theirs"]


def test_a_heavy_picture_is_refused_with_its_size():
    fig, ax = axes(xlabel="x", ylabel="y", size=(12, 8))
    noise = np.random.default_rng(0).random((800, 1200, 3))
    ax.imshow(noise)
    with pytest.raises(ValueError, match="more than 200,000"):
        finish(fig)


def test_no_glyph_is_ever_missing():
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # matplotlib warns of a glyph that it lacks
        fig, ax = line_figure(title="词元 and \U0001f388", xlabel="词表大小 (tokens)", ylabel="每词元字节数 (bytes)")
        ax.plot([1, 2], [1, 2], label="中文 \u1234\ufdd0")
        ax.text(1.5, 2, "说明 \U0010fffd")
        ax.set_xticks([1, 2], ["一", "\U0010fffd"])
        finish(fig)
        fig, ax = axes(xlabel="x", ylabel="y")
        ax.bar(["中", "\U0010fffd"], [1, 2])
        finish(fig)
        assert [text.get_text() for text in ax.get_xticklabels()] == [label("中"), "U+10FFFD"]


def test_without_a_chinese_font_code_points_are_shown():
    code = (
        "import warnings; warnings.simplefilter('error')\n"
        "from matplotlib import font_manager\n"
        "fonts = font_manager.fontManager  # as on a machine that brings no fonts but matplotlib's own\n"
        "fonts.ttflist = [font for font in fonts.ttflist if font.name.startswith('DejaVu')]\n"
        "from cs336lite.course.plot import axes, cjk_font, finish\n"
        "fig, ax = axes(title='\u4e2d', xlabel='x', ylabel='y'); ax.bar(['\u6587'], [1]); finish(fig)\n"
        "print(cjk_font(), ax.get_title('left'), ax.get_xticklabels()[0].get_text())\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.split() == ["None", "U+4E2D", "U+6587"]


def test_label_shows_code_points_where_fonts_fail():
    assert label("a 中", ["DejaVu Sans"]) == "a U+4E2D"
    assert label("plain ± µ →", ["DejaVu Sans"]) == "plain ± µ →"
    assert label("\U0010fffd") == "U+10FFFD"
    if cjk_font():
        assert label("中文 ok") == "中文 ok"
    else:
        assert label("中") == "U+4E2D"
