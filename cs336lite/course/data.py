"""Text to learn from: a default that needs no network, and well-known corpora by name.

    path = default_corpus()                     # built on this machine in a second or two, then cached
    path = load("tinystories-valid")            # downloaded once, resumable, checksum verified
    path = load("tinystories", max_bytes=50_000_000)
    for document in documents(path): ...

Every corpus is one UTF-8 file whose documents are separated by ``<|endoftext|>``. Files are kept in the platform's cache
folder, or in the folder named by the environment variable ``CS336LITE_DATA``. ``HF_ENDPOINT`` chooses a mirror of
huggingface.co.
"""

from __future__ import annotations

import codecs
import hashlib
import importlib
import inspect
import os
import platform
import sys
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from cs336lite.course.paths import CourseError, write_atomic
from cs336lite.course.stories import Draw, chinese_stories, stories

__all__ = [
    "SEPARATOR",
    "chinese_passage",
    "chinese_stories",
    "data_folder",
    "default_corpus",
    "documents",
    "load",
    "stories",
    "technical_text",
]

SEPARATOR = "<|endoftext|>"

MODULES = (
    "abc argparse ast base64 bisect calendar codecs collections configparser contextlib copy csv dataclasses datetime"
    " decimal difflib doctest email.message enum fileinput fnmatch fractions functools getpass gettext glob graphlib gzip"
    " heapq hmac html http.client inspect io ipaddress itertools json keyword linecache locale logging math mimetypes"
    " numbers operator optparse os pathlib pickle pprint queue random re sched shelve shlex shutil signal smtplib socket"
    " statistics string struct subprocess tarfile tempfile textwrap threading timeit tokenize traceback types typing"
    " unittest.case unittest.mock urllib.parse urllib.request uuid warnings weakref zipfile zoneinfo"
)
"""Modules of the standard library whose docstrings are prose worth reading."""


@dataclass(frozen=True)
class Source:
    """A text file on the web: its place on huggingface.co and, where they are known, its sha256 and its size in bytes."""

    path: str
    sha256: str | None = None
    size: int | None = None

    @property
    def url(self) -> str:
        return f"{os.environ.get('HF_ENDPOINT', 'https://huggingface.co').rstrip('/')}/{self.path}"

    @property
    def name(self) -> str:
        return self.path.rsplit("/", 1)[-1]


_TINYSTORIES = "datasets/roneneldan/TinyStories/resolve/f54c09fd23315a6f9c86f9dc80f725de7d8f9c64/TinyStoriesV2-GPT4-"
SOURCES = {
    "tinystories": Source(
        f"{_TINYSTORIES}train.txt",
        "6418d412de72888f52b5142c761ac21a582f7d1166f0bfbdb5f03ccfdec90443",
        2_227_753_162,
    ),
    "tinystories-valid": Source(
        f"{_TINYSTORIES}valid.txt",
        "6874bae9a4c1a4e7edcf0e53b86c17817e9cf881fc75ff2368da457b80c0585d",
        22_502_601,
    ),
}
"""TinyStories (Eldan and Li 2023, arXiv 2305.07759; CDLA-Sharing-1.0), the GPT-4 version, at a fixed revision."""

NAMES = ("default", *SOURCES, "fineweb-sample")


# ------------------------------------------------------------------------------------------------- without a network


def technical_text() -> str:
    """The prose in this Python installation: the language reference's topics, then docstrings of the standard library.

    About 1 MB of English with code in it, documents separated by ``<|endoftext|>``. The order is fixed, but the bytes
    depend on the version of Python and a little on the platform; a Python started with ``-OO`` has no docstrings.
    """
    return f"\n{SEPARATOR}\n".join(_technical_documents())


def _technical_documents() -> list[str]:
    try:
        topics = importlib.import_module("pydoc_data.topics").topics
    except ImportError:  # some distributions leave it out
        topics = {}
    texts = [topics[name] for name in sorted(topics)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # old names are looked at, not used
        for name in MODULES.split():
            try:
                texts += _docstrings(importlib.import_module(name))
            except ImportError:  # a module may be missing on a platform
                continue
    # one docstring is often inherited by many classes; short ones are mere signatures
    unique = dict.fromkeys(text.replace(SEPARATOR, "").strip() for text in texts)
    return [text for text in unique if len(text) >= 200]


def _docstrings(module: object) -> Iterator[str]:
    """The docstrings of a module, its public functions and classes, and their public methods, by name."""
    members = [module]
    for name, member in sorted(vars(module).items()):
        if name.startswith("_") or not (inspect.isclass(member) or inspect.isroutine(member)):
            continue
        members.append(member)
        if inspect.isclass(member):
            members += [m for name, m in sorted(vars(member).items()) if not name.startswith("_")]
    for member in members:
        if (
            inspect.ismodule(member)
            or inspect.isclass(member)
            or inspect.isroutine(member)
            or isinstance(member, property)
        ):
            doc = member.__doc__
            if isinstance(doc, str):
                yield inspect.cleandoc(doc)


def chinese_passage() -> str:
    """A short essay of ours in Chinese on how language models read text (机器怎样读一句话)."""
    return _packaged("text_zh.txt").decode("utf-8").strip()


def default_corpus(folder: str | Path | None = None, *, size: int = 4_000_000) -> Path:
    """The path of a text file of about ``size`` bytes made on this machine: stories, technical prose and some Chinese.

    By bytes about 70 % small English stories, up to 20 % technical text of this Python, 10 % Chinese. Documents are in a
    fixed random order, so that a cut anywhere gives two parts of one kind. The file is written once into ``folder`` (by
    default `data_folder`) and is the same for the same version of Python and of this package.

    Raises:
        ValueError: ``size`` is below 10,000 bytes.
    """
    if size < 10_000:
        raise ValueError(f"size is {size}: ask for at least 10,000 bytes")
    # the name holds all that the content depends on, so that a stale file is never taken for this one
    sources = [_packaged(name) for name in ("data.py", "stories.py", "stories_en.txt", "stories_zh.txt", "text_zh.txt")]
    dependencies = repr((sources, sys.version, sys.platform, sys.flags.optimize))
    digest = hashlib.sha256(dependencies.encode()).hexdigest()[:8]
    path = _make_folder(folder) / f"default-{size}-python{platform.python_version()}-{digest}.txt"
    if not path.exists():
        draw = Draw("default corpus")
        technical = shuffled(_technical_documents(), draw)
        chosen = [chinese_passage()]
        chosen += take(_batches(chinese_stories), size // 10 - _cost(chosen[0]))
        chosen += take(technical, size // 5)
        chosen += take(_batches(stories), size - sum(map(_cost, chosen)))
        write_atomic(path, "".join(f"{text}\n{SEPARATOR}\n" for text in shuffled(chosen, draw)))
    return path


def shuffled(texts: list[str], draw: Draw) -> list[str]:
    return draw.some(texts, len(texts))


def take(texts: Iterable[str], size: int) -> list[str]:
    """Texts in order that fit into ``size`` bytes together, passing over longer ones until 20 in all did not fit."""
    chosen, misses = [], 0
    for text in texts:
        if _cost(text) <= size:
            chosen.append(text)
            size -= _cost(text)
        elif (misses := misses + 1) == 20:
            break
    return chosen


def _cost(text: str) -> int:
    return len(text.encode()) + len(SEPARATOR) + 2


def _batches(tell) -> Iterator[str]:
    """Stories without end: batch after batch, each with its own seed."""
    seed = 0
    while True:
        yield from tell(200, seed)
        seed += 1


def _packaged(name: str) -> bytes:
    return resources.files("cs336lite.course").joinpath(name).read_bytes()


# ----------------------------------------------------------------------------------------------------------- by name


def data_folder() -> Path:
    """Where corpora are kept: ``CS336LITE_DATA`` when it is set, else the platform's cache folder for cs336lite."""
    import pooch

    return Path(os.environ.get("CS336LITE_DATA") or pooch.os_cache("cs336lite")).expanduser()


def _make_folder(folder: str | Path | None) -> Path:
    folder = data_folder() if folder is None else Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CourseError(
            f"cannot make the data folder {folder}: {error}; set CS336LITE_DATA to another one"
        ) from error
    return folder


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
    from cs336lite.course.download import fetch, fineweb

    if name not in NAMES:
        raise CourseError(f"there is no corpus {name!r}; there are: {', '.join(NAMES)}")
    if max_bytes is not None and (isinstance(max_bytes, bool) or not isinstance(max_bytes, int) or max_bytes <= 0):
        raise ValueError(
            f"max_bytes is {max_bytes!r}: ask for a whole number of bytes, at least 1, such as 50_000_000, or None for "
            "the whole corpus"
        )
    if name == "default":
        return default_corpus(folder) if max_bytes is None else default_corpus(folder, size=max_bytes)
    if name == "fineweb-sample":
        return fineweb(_make_folder(folder), max_bytes or 50_000_000, progress=progress)
    return fetch(SOURCES[name], _make_folder(folder), max_bytes=max_bytes, progress=progress)


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
