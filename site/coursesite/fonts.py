"""Fonts that travel with the site: one for formulas, and the Chinese characters that its pages use."""

from __future__ import annotations

import importlib.metadata
import importlib.resources
import re
from collections.abc import Iterable
from pathlib import Path

from fontTools.subset import Options, Subsetter
from fontTools.ttLib import TTCollection, TTFont

__all__ = ["chinese_characters", "write_fonts"]

HAN = r"[\u2e80-\u303f\u3400-\u4dbf\u4e00-\u9fff\uff00-\uffef]"


def chinese_characters(texts: Iterable[str]) -> set[str]:
    """All Chinese characters and their punctuation in texts."""
    return {character for text in texts for character in re.findall(HAN, text)}


def write_fonts(folder: Path, characters: set[str]) -> None:
    """The fonts as WOFF2 files: STIX Two Math whole, Noto Sans CJK with the characters alone.

    Both are under the SIL Open Font License, which each names in its own fields; Noto's text is put beside it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    stix = importlib.resources.files("ziamath") / "fonts" / "STIXTwoMath-Regular.ttf"
    with stix.open("rb") as file:
        font = TTFont(file)
        font.flavor = "woff2"
        font.save(folder / "stix-two-math.woff2")
    noto = importlib.resources.files("noto_cjk_sans_otc") / "NotoSansCJK-Regular.ttc"
    with noto.open("rb") as file:
        faces = TTCollection(file, lazy=True).fonts
        face = next(face for face in faces if "SC" in face["name"].getDebugName(1).split())
        subsetter = Subsetter(
            Options(layout_features=[], hinting=False, notdef_outline=True, name_IDs=[0, 1, 2, 13, 14])
        )
        subsetter.populate(unicodes=[ord(character) for character in characters] or [0x4E2D])
        subsetter.subset(face)
        face.flavor = "woff2"
        face.save(folder / "noto-sans-sc.woff2")
    licence = next(path for path in importlib.metadata.files("noto_cjk_sans_otc") if path.name == "LICENSE")
    (folder / "noto-sans-cjk.LICENSE.txt").write_text(licence.read_text(encoding="utf-8"), encoding="utf-8")
