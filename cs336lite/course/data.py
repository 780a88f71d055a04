"""Text to learn from: a default that needs no network, and well-known corpora by name.

    path = default_corpus()                     # made on this machine in seconds, the same everywhere (`corpus`)
    path = load("tinystories-valid")            # downloaded once, resumable, checksum verified
    path = load("tinystories", max_bytes=50_000_000)
    for document in documents(path): ...

Every corpus is one UTF-8 file whose documents are separated by ``<|endoftext|>``. Files are kept in the platform's cache
folder, or in the folder named by the environment variable ``CS336LITE_DATA``. ``HF_ENDPOINT`` chooses a mirror of
huggingface.co.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from pathlib import Path

from cs336lite.course.corpus import SEPARATOR, chinese_passage, default_corpus, technical_text
from cs336lite.course.download import SOURCES, Source, fetch, fineweb
from cs336lite.course.paths import CourseError, data_folder, make_folder, whole_number
from cs336lite.course.stories import chinese_stories, stories

__all__ = [
    "SEPARATOR",
    "SOURCES",
    "Source",
    "chinese_passage",
    "chinese_stories",
    "data_folder",
    "default_corpus",
    "documents",
    "load",
    "stories",
    "technical_text",
]


NAMES = ("default", *SOURCES, "fineweb-sample")


# ----------------------------------------------------------------------------------------------------------- by name


def load(name: str, *, max_bytes: int | None = None, folder: str | Path | None = None, progress: bool = True) -> Path:
    """The path of a corpus as one text file, downloaded on the first call and verified on every call.

    ========================  ======================================================================================
    ``"default"``             `default_corpus`: needs no network; ``max_bytes`` is its size
    ``"tinystories"``         TinyStories V2, GPT-4, training part: 2.2 GB
    ``"tinystories-valid"``   its validation part: 22 MB
    ``"fineweb-sample"``      the start of FineWeb's sample-10BT (Penedo et al. 2024, arXiv 2406.17557): ``max_bytes``,
                              by default 50 MB, streamed with ``datasets``: ``pip install "cs336lite[data]"``
    ========================  ======================================================================================

    ``max_bytes`` asks for the start of a corpus only, cut after its last whole document. An interrupted download goes on
    where it stopped. A whole file is compared with its published sha256. For the start of a file there is no published
    one: it must have the bytes that were asked for and be text of this form, and its sha256 is recorded in
    ``registry.json`` beside it on first use, and compared ever after.

    Raises:
        CourseError: unknown name, no network, an answer that is not this corpus (the login page of a network), a checksum
            that differs, a missing package; the text says what to do.
        ValueError: ``max_bytes`` is no whole number above 0.
    """
    if name not in NAMES:
        raise CourseError(f"there is no corpus {name!r}; there are: {', '.join(NAMES)}")
    if max_bytes is not None:
        max_bytes = whole_number("max_bytes", max_bytes, 1, "50_000_000, or None for the whole corpus")
    if name == "default":
        return default_corpus(folder) if max_bytes is None else default_corpus(folder, size=max_bytes)
    if name == "fineweb-sample":
        return fineweb(make_folder(folder), max_bytes or 50_000_000, progress=progress)
    return fetch(SOURCES[name], make_folder(folder), max_bytes=max_bytes, progress=progress)


def documents(path: str | Path, *, chunk_size: int = 1 << 20) -> Iterator[str]:
    """The documents of a corpus one after another, without the white space around them; empty ones are left out.

    Reads ``chunk_size`` bytes at a time and holds no more than the current document and one chunk. Bytes that are not
    UTF-8 become U+FFFD; line ends are kept as they are.
    """
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    text = ""
    with open(path, "rb") as file:
        while chunk := file.read(chunk_size):
            searched = max(0, len(text) - len(SEPARATOR))  # a separator may have begun in the last chunk
            text += decoder.decode(chunk)
            if text.find(SEPARATOR, searched) >= 0:
                *whole, text = text.split(SEPARATOR)
                yield from filter(None, map(str.strip, whole))
    text += decoder.decode(b"", final=True)
    yield from filter(None, map(str.strip, text.split(SEPARATOR)))
