"""Fetch a corpus over networks as they are: resumed where it broke off, and kept only when it is what was asked for.

A whole file has a published sha256. The start of a file has none, so it must have the bytes that were asked for, come
as text and not as a web page, and be UTF-8 with documents in it; then its own sha256 goes into ``registry.json``.
See `data.load`; how an answer is taken is in `resumable`.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from cs336lite.course.corpus import SEPARATOR
from cs336lite.course.paths import CourseError, read_json, told_of_the_disk, write_atomic
from cs336lite.course.resumable import WITHOUT_A_NETWORK, Download, cut, is_web_page
from cs336lite.scratch import alone_in


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

LONGEST = {"stories": 1 << 14, "web": 1 << 20}
"""No document is longer, in bytes: a start that was cut after its last document misses no more than this."""


# ----------------------------------------------------------------------------------------------------------- a file


def fetch(source: Source, folder: Path, *, max_bytes: int | None = None, progress: bool = True) -> Path:
    """The path of a downloaded file in ``folder``, or of its start; see `data.load`. Of several processes one downloads."""
    if max_bytes is not None and source.size is not None and max_bytes >= source.size:
        max_bytes = None
    whole = folder / source.name
    path = whole if max_bytes is None else whole.with_name(f"{whole.stem}-first-{max_bytes}{whole.suffix}")
    with told_of_the_disk(path.name, folder), nullcontext() if path.exists() else alone_in(folder):
        _retrieve(source, whole, path, max_bytes, progress)
    return path


def _retrieve(source: Source, whole: Path, path: Path, max_bytes: int | None, progress: bool) -> None:
    import pooch
    import requests

    folder = path.parent
    published = source.sha256 if max_bytes is None else None
    if published is None:
        least = source.size or 1
        if max_bytes is not None:
            least = max_bytes - LONGEST["stories"] if source.size else 1
        _forget_a_bad_first_answer(path, least)
    known = published or _recorded(folder).get(path.name)
    download = Download(path.with_name(f"{path.name}.part"), source.size, max_bytes, progress)
    try:
        if max_bytes is not None and not path.exists() and _is_whole(whole, source):
            _copy_start(whole, path, max_bytes)
        with _quiet(pooch.get_logger()):  # the progress bar says enough
            pooch.retrieve(source.url, known and f"sha256:{known}", path.name, folder, downloader=download)
    except requests.RequestException as error:
        raise CourseError(
            f"could not download {source.url} ({_reason(error)}). {download.have:,} bytes are kept: the same call goes on "
            f"from there once the network is back and the server gives it. {WITHOUT_A_NETWORK}"
        ) from error
    except ValueError as error:  # pooch's word for a wrong checksum; it has deleted the file
        registry = folder / "registry.json"
        why = "its published sha256" if published else f"the sha256 of its first download, in {registry}"
        then = "" if published else f"; if that does not help, delete the entry of {path.name} there"
        raise CourseError(
            f"{source.url} does not have {why}, so it was thrown away: the download was damaged, or the file on the server "
            f"has changed. Try again{then}; if a mirror is set in HF_ENDPOINT, try without it. ({error})"
        ) from error
    if known is None:
        _record(path)


def _recorded(folder: Path) -> dict[str, str]:
    """The sha256 of first downloads, by file name."""
    entries = read_json(folder / "registry.json", {})
    return entries if isinstance(entries, dict) else {}


def _record(path: Path, sha256: str | None = None) -> None:
    """Write the sha256 of a first download into the registry (trust on first use)."""
    import pooch

    entries = _recorded(path.parent) | {path.name: sha256 or pooch.file_hash(str(path))}
    write_atomic(path.with_name("registry.json"), json.dumps(entries, indent=1, sort_keys=True) + "\n")


def _forget_a_bad_first_answer(path: Path, least: int) -> None:
    """Delete a file of less than ``least`` bytes, or a web page, and the entry of the registry if it was made from it."""
    import pooch

    if not path.exists():
        return
    with open(path, "rb") as file:
        if path.stat().st_size >= max(least, 1) and not is_web_page(file.read(1024)):
            return
    entries = _recorded(path.parent)
    if entries.get(path.name) == pooch.file_hash(str(path)):
        del entries[path.name]
        write_atomic(path.with_name("registry.json"), json.dumps(entries, indent=1, sort_keys=True) + "\n")
    path.unlink()


@contextmanager
def _quiet(logger: logging.Logger) -> Iterator[None]:
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)


def _reason(error: Exception) -> str:
    response = getattr(error, "response", None)
    if response is not None:
        return f"HTTP status {response.status_code}"
    return f"{type(error).__name__}: {error}" if isinstance(error, ValueError) else type(error).__name__


def _is_whole(path: Path, source: Source) -> bool:
    """Is the whole file here, as its published sha256 or at least its size says?"""
    import pooch

    if not path.exists() or (source.size is not None and path.stat().st_size != source.size):
        return False
    return source.sha256 is None or pooch.file_hash(str(path)) == source.sha256


def _copy_start(whole: Path, start: Path, max_bytes: int) -> None:
    part = start.with_name(start.name + ".part")
    with open(whole, "rb") as source, open(part, "wb") as target:
        left = max_bytes
        while left and (chunk := source.read(min(left, 1 << 20))):
            target.write(chunk)
            left -= len(chunk)
    cut(part, max_bytes)
    os.replace(part, start)


# ------------------------------------------------------------------------------------------------------------ FineWeb


def fineweb(folder: Path, max_bytes: int, *, progress: bool = True) -> Path:
    """The start of FineWeb's sample as text; its stream cannot be resumed, so an interrupted one begins again."""
    path = folder / f"fineweb-sample-10BT-first-{max_bytes}.txt"
    with told_of_the_disk(path.name, folder), alone_in(folder):
        _keep_fineweb(path, max_bytes, progress)
    return path


def _keep_fineweb(path: Path, max_bytes: int, progress: bool) -> None:
    import pooch

    _forget_a_bad_first_answer(path, max_bytes - LONGEST["web"])
    if not path.exists():
        _stream_fineweb(path, max_bytes, progress)
    known = _recorded(path.parent).get(path.name)
    if known is None:
        _record(path)
    elif pooch.file_hash(str(path)) != known:
        path.unlink()
        raise CourseError(
            f"{path.name} did not have the sha256 of its first download, in {path.parent / 'registry.json'}, so it was "
            "thrown away: it was damaged, or FineWeb has changed. Call again; if that does not help, delete its entry there."
        )


def _stream_fineweb(path: Path, max_bytes: int, progress: bool) -> None:
    try:
        from datasets import load_dataset
    except ImportError as error:
        raise CourseError(
            'FineWeb comes as parquet, which needs the package `datasets`: pip install "cs336lite[data]" and call again. '
            'load("default") and load("tinystories-valid") do without.'
        ) from error
    try:
        rows = load_dataset("HuggingFaceFW/fineweb", name="sample-10BT", split="train", streaming=True)
        write_documents((row["text"] for row in rows), path, max_bytes, progress=progress)
    except CourseError:
        raise
    except Exception as error:  # datasets raises many kinds when it cannot reach its server
        raise CourseError(
            f"could not stream HuggingFaceFW/fineweb, sample-10BT ({type(error).__name__}: {error}). {WITHOUT_A_NETWORK}"
        ) from error


def write_documents(texts: Iterable[str], path: Path, max_bytes: int, *, progress: bool = True) -> None:
    """Write texts as a corpus until ``max_bytes`` are full; only whole documents, written beside and then renamed.

    Raises:
        CourseError: the texts end before that, or not one fits; nothing is written.
    """
    from tqdm.auto import tqdm

    part = path.with_name(path.name + ".part")
    left, full = max_bytes, False
    try:
        with open(part, "wb") as file, tqdm(total=left, unit="B", unit_scale=True, disable=not progress) as bar:
            for text in texts:
                data = f"{text.replace(SEPARATOR, '').strip()}\n{SEPARATOR}\n".encode()
                if full := len(data) >= left:
                    file.write(data if len(data) == left else b"")
                    break
                file.write(data)
                left -= len(data)
                bar.update(len(data))
        if not full:
            raise CourseError(
                f"the texts for {path.name} ended after {max_bytes - left:,} of {max_bytes:,} bytes, so nothing was kept: "
                "call again once the network is well, or ask for fewer"
            )
        if part.stat().st_size == 0:
            raise CourseError(f"no document fits into {max_bytes:,} bytes: ask for more")
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
