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
import json
import logging
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cs336lite.course.corpus import SEPARATOR, chinese_passage, default_corpus, technical_text
from cs336lite.course.paths import CourseError, data_folder, make_folder, read_json, write_atomic
from cs336lite.course.stories import chinese_stories, stories

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
    one: its sha256 is recorded in ``registry.json`` beside it on first use, and compared ever after.

    Raises:
        CourseError: unknown name, no network, a checksum that differs, a missing package; the text says what to do.
    """
    if max_bytes is not None and max_bytes <= 0:
        raise ValueError(f"max_bytes is {max_bytes}: ask for at least 1 byte, or None for the whole corpus")
    if name == "default":
        return default_corpus(folder) if max_bytes is None else default_corpus(folder, size=max_bytes)
    if name == "fineweb-sample":
        return _fineweb(make_folder(folder), max_bytes or 50_000_000, progress)
    if name not in SOURCES:
        raise CourseError(f"there is no corpus {name!r}; there are: {', '.join(NAMES)}")
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


# ------------------------------------------------------------------------------------------------------- downloading


def fetch(source: Source, folder: Path, *, max_bytes: int | None = None, progress: bool = True) -> Path:
    """The path of a downloaded file in ``folder``, or of its start; see `load`."""
    import pooch
    import requests

    if max_bytes is not None and source.size is not None and max_bytes >= source.size:
        max_bytes = None
    whole = folder / source.name
    name = source.name if max_bytes is None else f"{whole.stem}-first-{max_bytes}{whole.suffix}"
    registry = folder / "registry.json"
    known = (source.sha256 if max_bytes is None else None) or read_json(registry, {}).get(name)
    if max_bytes is not None and whole.exists() and not (folder / name).exists():
        _copy_start(whole, folder / name, max_bytes)
    download = Download(folder / f"{name}.part", max_bytes, progress)
    try:
        with _quiet(pooch.get_logger()):  # the progress bar says enough
            path = Path(pooch.retrieve(source.url, known and f"sha256:{known}", name, folder, downloader=download))
    except requests.RequestException as error:
        kept = download.part.stat().st_size if download.part.exists() else 0
        raise CourseError(
            f"could not download {source.url} ({_reason(error)}). {kept:,} bytes are kept: the same call goes on from there "
            f'once the network is back. Without a network, load("default") gives text that is made on this machine.'
        ) from error
    except ValueError as error:  # pooch's word for a wrong checksum; it has deleted the file
        why = "its published sha256" if source.sha256 == known else f"the sha256 of its first download, in {registry}"
        raise CourseError(
            f"{source.url} does not have {why}, so it was thrown away: the download was damaged, or the file on the server "
            f"has changed. Try again; if a mirror is set in HF_ENDPOINT, try without it. ({error})"
        ) from error
    if known is None:
        _record(registry, path)
    return path


def _record(registry: Path, path: Path) -> None:
    """Write the sha256 of a first download into the registry (trust on first use)."""
    import pooch

    entries = read_json(registry, {}) | {path.name: pooch.file_hash(str(path))}
    write_atomic(registry, json.dumps(entries, indent=1, sort_keys=True) + "\n")


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
    return f"HTTP status {response.status_code}" if response is not None else type(error).__name__


@dataclass
class Download:
    """A downloader for pooch that resumes: bytes collect in ``part``, which survives until it is complete.

    ``stop`` asks for the first ``stop`` bytes only, then cut after the last whole document.
    """

    part: Path
    stop: int | None = None
    progress: bool = True
    attempts: int = 4
    timeout: float = 30.0

    def __call__(self, url: str, output_file: str, pooch: object) -> None:
        import requests

        most, failures = self._have(), 0
        while True:
            try:
                self._request(url)
                break
            except (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError):
                # a connection that breaks after it brought something is worth another try
                failures = 1 if self._have() > most else failures + 1
                most = max(most, self._have())
                if failures >= self.attempts or most == 0:
                    raise
        if self.stop is not None:
            _cut(self.part, self.stop)
        os.replace(self.part, output_file)
        self._validator.unlink(missing_ok=True)

    @property
    def _validator(self) -> Path:
        return self.part.with_name(self.part.name + ".etag")

    def _have(self) -> int:
        return self.part.stat().st_size if self.part.exists() else 0

    def _request(self, url: str) -> None:
        """Append to ``part`` what the server sends; a server that cannot resume, or has another file, starts afresh."""
        import requests
        from tqdm.auto import tqdm

        have = self._have()
        if self.stop is not None and have >= self.stop:
            return
        headers = {"Accept-Encoding": "identity"}
        if have or self.stop is not None:
            headers["Range"] = f"bytes={have}-{'' if self.stop is None else self.stop - 1}"
        if have and self._validator.exists():
            headers["If-Range"] = self._validator.read_text()
        with requests.get(url, headers=headers, stream=True, timeout=self.timeout) as response:
            if response.status_code == 416 and have:  # nothing is left after what we have
                if response.headers.get("Content-Range") == f"bytes */{have}":
                    return
                self.part.unlink()
                return self._request(url)
            response.raise_for_status()
            if not response.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
                have = 0  # the whole file comes
            etag = response.headers.get("ETag", "")
            if etag.startswith('"'):  # a weak one does not promise equal bytes
                self._validator.write_text(etag)
            elif have == 0:
                self._validator.unlink(missing_ok=True)
            left = response.headers.get("Content-Length")
            total = have + int(left) if left else None
            if self.stop is not None:
                total = min(total or self.stop, self.stop)
            with (
                open(self.part, "ab" if have else "wb") as file,
                tqdm(
                    total=total, initial=have, unit="B", unit_scale=True, desc=self.part.stem, disable=not self.progress
                ) as bar,
            ):
                for chunk in response.iter_content(1 << 16):
                    file.write(chunk)
                    bar.update(len(chunk))
                    if self.stop is not None and file.tell() >= self.stop:
                        break


def _copy_start(whole: Path, start: Path, max_bytes: int) -> None:
    part = start.with_name(start.name + ".part")
    with open(whole, "rb") as source, open(part, "wb") as target:
        left = max_bytes
        while left and (chunk := source.read(min(left, 1 << 20))):
            target.write(chunk)
            left -= len(chunk)
    _cut(part, max_bytes)
    os.replace(part, start)


def _cut(path: Path, stop: int) -> None:
    """Cut a file to ``stop`` bytes at most, after its last whole document; one without any after its last character."""
    with open(path, "rb+") as file:
        file.truncate(min(stop, path.stat().st_size))
        length = end = file.seek(0, os.SEEK_END)
        separator = SEPARATOR.encode()
        tail = b""
        while end > 0:
            begin = max(0, end - (1 << 20))
            file.seek(begin)
            # what follows this block may hold the rest of a separator
            tail = file.read(end - begin) + tail[: len(separator)]
            if (found := tail.rfind(separator)) >= 0:
                file.truncate(begin + found + len(separator))
                return
            end = begin
        file.seek(max(0, length - 4))
        last = file.read()
        decoded = codecs.getincrementaldecoder("utf-8")(errors="replace")
        decoded.decode(last)
        file.truncate(length - len(decoded.getstate()[0]))


def _fineweb(folder: Path, max_bytes: int, progress: bool) -> Path:
    """The start of FineWeb's sample as text; its stream cannot be resumed, so an interrupted one begins again."""
    import pooch

    path = folder / f"fineweb-sample-10BT-first-{max_bytes}.txt"
    registry = folder / "registry.json"
    if not path.exists():
        _stream_fineweb(path, max_bytes, progress)
    known = read_json(registry, {}).get(path.name)
    if known is None:
        _record(registry, path)
    elif pooch.file_hash(str(path)) != known:
        path.unlink()
        raise CourseError(
            f"{path.name} did not have the sha256 of its first download, in {registry}, so it was thrown away: it was "
            f"damaged, or FineWeb has changed. Call again; if that does not help, delete its entry there."
        )
    return path


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
    except Exception as error:  # datasets raises many kinds when it cannot reach its server
        raise CourseError(
            f"could not stream HuggingFaceFW/fineweb, sample-10BT ({type(error).__name__}: {error}). Without a network, "
            f'load("default") gives text that is made on this machine.'
        ) from error


def write_documents(texts: Iterable[str], path: Path, max_bytes: int, *, progress: bool = True) -> None:
    """Write texts as a corpus until ``max_bytes`` are full; only whole documents, written beside and then renamed."""
    from tqdm.auto import tqdm

    part = path.with_name(path.name + ".part")
    left = max_bytes
    with open(part, "wb") as file, tqdm(total=left, unit="B", unit_scale=True, disable=not progress) as bar:
        for text in texts:
            data = f"{text.replace(SEPARATOR, '').strip()}\n{SEPARATOR}\n".encode()
            if len(data) > left:
                break
            file.write(data)
            left -= len(data)
            bar.update(len(data))
    os.replace(part, path)
