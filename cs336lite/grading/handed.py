"""What a student handed in beside code: outputs and pictures, reduced to what may be looked at.

Texts become plain and short. Pictures are PNG or JPEG, decoded and drawn anew, so that nothing of the file that came is
left. Anything else is left out, and it is said so. `parts_of` runs in a process with limits: what is too much for it costs a
submission its outputs and nothing else.
"""

from __future__ import annotations

import base64
import binascii
import io
import re
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from cs336lite.course.border import harmless, plain
from cs336lite.grading.limited import Limits, Shared

if TYPE_CHECKING:
    from PIL.Image import Image

MARK = "(what follows was handed in with the cell: the grader has not made it)\n"
"""The first output of a cell that has any; the page says it in its own way."""
PICTURES = ("image/png", "image/jpeg")
MOST_OUTPUTS = 40  # of a cell
MOST_TEXT = 20_000  # characters of an output
MOST_LINES = 300  # lines of an output
LARGEST_FILE = 16 << 20  # bytes of a picture as it was handed in
LARGEST_PICTURE = 40_000_000  # points of a picture as it was handed in
WIDEST = 1600  # points of a side; what is larger is made smaller
LARGE_PNG = 400_000  # bytes: more than that is a photograph, and becomes a JPEG

PAINTED = Shared(Limits(step_seconds=15, call_seconds=15, memory_bytes=2 << 30), ready=f"{__name__}:get_ready")
"""The process in which pictures are decoded; one for each process that asks, started at the first."""

ANSI = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\^_])")
ATTACHED = re.compile(  # every part bounded: a text may be made of nothing but beginnings
    r"!\[(?P<alt>[^\[\]\n]{0,300}+)\]\(\s?<?attachment:(?P<text>(?:[^()\s<>]|\([^()\s<>]{0,99}+\)){1,300}+)>?(?:\s[^()\n]{0,300}+)?\)"
    r"|<img\b[^<>]{0,300}?\bsrc=[\"']?attachment:(?P<tag>[^\"'\s<>]{1,300}+)[^<>]{0,300}+>"
)


class Room:
    """What may still be shown of a notebook: characters, pictures, their bytes (encoded), and points to decode."""

    TEXT, PICTURES, BYTES, POINTS = 200_000, 40, 4 << 20, 160_000_000

    def __init__(self) -> None:
        self.text, self.pictures, self.bytes, self.points = self.TEXT, self.PICTURES, self.BYTES, self.POINTS


def get_ready() -> None:
    """What takes long the first time."""
    import PIL.ImageOps
    import PIL.JpegImagePlugin
    import PIL.PngImagePlugin  # noqa: F401


def parts_of(name: str) -> list[list[Any]]:
    """Of each cell of a notebook that has any: its number, its outputs as nbformat has them, and its pictures.

    Pictures go by the name that the text gives them, each ``[mime type, base64]`` or why it is left out.
    Runs in a process with limits.
    """
    from cs336lite.grading.submission import raw_cells, read_json, source_of

    data, _ = read_json(Path(name))
    room, found = Room(), []
    for number, (cell, kind, old) in enumerate(raw_cells(data) or ()):
        outputs = outputs_of(cell.get("outputs"), room) if kind == "code" else []
        pictures = attached(cell.get("attachments"), source_of(cell, old), room) if kind == "markdown" else {}
        if outputs or pictures:
            found.append([number, outputs, pictures])
    return found


def has_parts(cell: dict[str, Any]) -> bool:
    return bool(cell.get("outputs") or cell.get("attachments"))


# -- outputs --------------------------------------------------------------------------------------------------------


def stream(text: str, name: str = "stdout") -> dict[str, Any]:
    return {"output_type": "stream", "name": name, "text": text}


def outputs_of(outputs: Any, room: Room) -> list[dict[str, Any]]:
    """A cell's outputs: streams of text and pictures, after a line that says whose they are; none of none."""
    if not isinstance(outputs, list):
        return []
    runs = [(name, list(run)) for name, run in groupby(outputs, stream_name)]
    pieces = [piece for name, run in runs for piece in ([run] if name else run)]
    shown: list[dict[str, Any]] = []
    for piece in pieces[:MOST_OUTPUTS]:
        shown += streamed(piece, room) if isinstance(piece, list) else displayed(piece, room)
    if len(pieces) > MOST_OUTPUTS:
        shown.append(left_out(f"{len(pieces) - MOST_OUTPUTS} more outputs were left out"))
    return [stream(MARK), *shown] if shown else []


def stream_name(output: Any) -> str:
    if not isinstance(output, dict) or output.get("output_type") != "stream":
        return ""
    return "stderr" if "stderr" in (output.get("name"), output.get("stream")) else "stdout"


def streamed(run: list[dict[str, Any]], room: Room) -> list[dict[str, Any]]:
    """A run of outputs of one stream as one."""
    text = "".join(text_of(output.get("text")) for output in run)
    return [stream(shortened(text, room), stream_name(run[0]))] if text.strip() else []


def displayed(output: Any, room: Room) -> list[dict[str, Any]]:
    """A picture, the text of a value, or that of an error."""
    if not isinstance(output, dict):
        return []
    if "traceback" in output or output.get("output_type") in ("error", "pyerr"):
        lines = output.get("traceback")
        text = "\n".join(text_of(line) for line in lines) if isinstance(lines, list) else ""
        text = text if text.strip() else f"{text_of(output.get('ename'))}: {text_of(output.get('evalue'))}"
        return [stream(shortened(text, room), "stderr")]
    data = output.get("data")
    if not isinstance(data, dict):  # format 3 has no mime types
        data = {kind: output.get(key) for key, kind in OLD_KINDS.items() if key in output}
    for kind in PICTURES:
        if kind in data:
            made = picture(data[kind], room)
            if isinstance(made, str):
                return [left_out(made)]
            return [{"output_type": "display_data", "metadata": {}, "data": {made[0]: made[1]}}]
    text = text_of(data.get("text/plain"))
    if not text or text.startswith("<IPython.core.display."):  # the name of what is shown, not what it says
        text = next((found for kind in SOURCES if (found := text_of(data.get(kind)))), text)
    shown = [stream(shortened(text, room))] if text.strip() else []
    others = [kind for kind in data if kind not in ("text/plain", *SOURCES)]
    if others and (not text.strip() or any(kind.startswith("image/") for kind in others)):
        shown.append(left_out(f"an output was left out: {', '.join(plain(kind, 60) for kind in others[:5])}"))
    return shown


OLD_KINDS = {
    "png": "image/png",
    "jpeg": "image/jpeg",
    "svg": "image/svg+xml",
    "html": "text/html",
    "text": "text/plain",
}
SOURCES = ("text/markdown", "text/latex")  # shown as they were written


def left_out(what: str) -> dict[str, Any]:
    return stream(f"({what})\n")


def text_of(value: Any) -> str:
    """A text of a notebook, which may be a list of lines; of anything else nothing."""
    if isinstance(value, list):
        return "".join(line for line in value if isinstance(line, str))
    return value if isinstance(value, str) else ""


def shortened(text: str, room: Room) -> str:
    """Its beginning and its end, without what a terminal would obey; a line that was written over shows its last state."""
    if room.text <= 0:
        return f"({size(len(text))} of text were left out)\n"
    limit = min(MOST_TEXT, room.text)
    lines = [settled(line) for line in cut(text, limit).split("\n")]
    if len(lines) > MOST_LINES:
        first, last = MOST_LINES * 2 // 3, MOST_LINES // 3
        lines = [*lines[:first], f"(… {len(lines) - first - last} lines were left out …)", *lines[-last:]]
    shown = harmless("\n".join(lines)).rstrip("\n") + "\n"
    room.text -= len(shown)
    return shown


def cut(text: str, limit: int) -> str:
    if len(text) <= limit:
        return text
    first, last = limit * 2 // 3, limit // 3
    return f"{text[:first]}\n(… {size(len(text) - first - last)} were left out …)\n{text[-last:]}"


def settled(line: str) -> str:
    return ANSI.sub("", line).rstrip("\r").rpartition("\r")[2]


def size(count: int) -> str:
    """A number of bytes or characters: ``"3.2 MB"``."""
    if count >= 1_000_000:
        return f"{count / 1e6:.1f} MB"
    return f"{count / 1000:.0f} kB" if count >= 1000 else f"{count} bytes"


# -- pictures -------------------------------------------------------------------------------------------------------


def attached(attachments: Any, source: str, room: Room) -> dict[str, Any]:
    """The pictures attached to a cell of text that its text shows."""
    found: dict[str, Any] = {}
    for name in dict.fromkeys(attached_name(match) for match in ATTACHED.finditer(source)):
        kinds = attachments.get(name) if isinstance(attachments, dict) else None
        if not isinstance(kinds, dict):
            continue
        kind = next((kind for kind in PICTURES if kind in kinds), None)
        kinds_named = ", ".join(plain(kind, 60) for kind in list(kinds)[:5])
        found[name] = picture(kinds[kind], room) if kind else f"a picture was left out: {kinds_named}"
    return found


def attached_name(match: re.Match) -> str:
    return unquote(match["text"] or match["tag"])


def picture(encoded: Any, room: Room) -> tuple[str, str] | str:
    """A picture drawn anew, as its mime type and base64; or why it is left out."""
    text = text_of(encoded)
    if len(text) * 3 // 4 > LARGEST_FILE:
        return f"a picture of {size(len(text) * 3 // 4)} was left out"
    if room.pictures <= 0:
        return f"a picture was left out: more than {Room.PICTURES} are not shown"
    room.pictures -= 1
    try:
        kind, data = redrawn(base64.b64decode(text), room)
    except Refused as refused:
        return str(refused)
    except (binascii.Error, ValueError, OSError, SyntaxError, ArithmeticError, LookupError, TypeError, AttributeError):
        return "a picture that cannot be read was left out"
    except Exception as error:  # Pillow's own: a decompression bomb, for example
        return f"a picture was left out ({type(error).__name__})"
    shown = base64.b64encode(data).decode()
    if len(shown) > room.bytes:
        return f"a picture of {size(len(data))} was left out: a page holds {size(Room.BYTES)} of pictures"
    room.bytes -= len(shown)
    return kind, shown


class Refused(Exception):
    """A picture is too large; the text says so."""


def redrawn(data: bytes, room: Room) -> tuple[str, bytes]:
    """A PNG or a JPEG as a new one, opaque and of a bounded size. Raises Refused, and whatever Pillow raises."""
    from PIL import Image, ImageOps

    with Image.open(io.BytesIO(data), formats=("PNG", "JPEG")) as image:
        width, height = image.size
        if width * height > min(LARGEST_PICTURE, room.points):
            raise Refused(f"a picture of {width} × {height} points was left out")
        room.points -= width * height
        photograph = image.format == "JPEG"
        if photograph:
            image.draft("RGB", (WIDEST, WIDEST))
        drawn = on_white(ImageOps.exif_transpose(image) if photograph else image)
    drawn.thumbnail((WIDEST, WIDEST))
    drawn.info.clear()
    file = io.BytesIO()
    if not photograph:
        drawn.save(file, "PNG")
    if photograph or file.tell() > LARGE_PNG:
        file = io.BytesIO()
        drawn.save(file, "JPEG", quality=85)
        photograph = True
    return PICTURES[photograph], file.getvalue()


def on_white(image: Image) -> Image:
    """An opaque picture in colours or in grey."""
    from PIL import Image

    if image.mode in ("L", "RGB"):
        return image.copy()
    if image.mode == "1":
        return image.convert("L")
    if "A" in image.mode or "a" in image.mode or "transparency" in image.info:
        image = image.convert("RGBA")
        ground = Image.new("RGB", image.size, "white")
        ground.paste(image, mask=image.getchannel("A"))
        return ground
    return image.convert("RGB")
