"""Fetch a corpus over networks as they are: resumed where it broke off, and kept only when it is what was asked for.

A whole file has a published sha256. The start of a file has none, so it must have the bytes that were asked for, come
as text and not as a web page, and be UTF-8 with documents in it; then its own sha256 goes into ``registry.json``.
Nothing that an answer brings replaces good bytes of an earlier try before it has proved better. See `data.load`.
"""

from __future__ import annotations

import codecs
import json
import logging
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cs336lite.course.corpus import SEPARATOR
from cs336lite.course.paths import CourseError, read_json, told_of_the_disk, write_atomic
from cs336lite.scratch import alone_in

if TYPE_CHECKING:
    from requests import Response
    from tqdm import tqdm


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

WITHOUT_A_NETWORK = 'Without a network, load("default") gives text that is made on this machine.'


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


# --------------------------------------------------------------------------------------------------------- an answer


class BadAnswer(CourseError):
    """A server's answer is not the text that was asked for."""


def place(response: Response) -> tuple[int | None, int | None]:
    """(where the bytes of an answer begin in the file, the size of the file); None for what it does not say."""
    headers = response.headers
    encoded = headers.get("Content-Encoding", "identity") != "identity"  # then ranges and lengths count other bytes
    if said := re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", headers.get("Content-Range", "")):
        begin, total = int(said[1]), None if said[2] == "*" else int(said[2])
        return (None if encoded and begin else begin), (None if encoded else total)
    length = headers.get("Content-Length", "")
    return None if response.status_code == 206 else 0, int(length) if length.isdigit() and not encoded else None


def is_web_page(beginning: bytes) -> bool:
    return re.match(rb"(\xef\xbb\xbf)?\s*<(!doctype\s+html|html|head|body|!--)\b", beginning, re.I) is not None


def first_fault(path: Path) -> int | None:
    """At which byte a file is no longer the text of a corpus; None where it is: UTF-8 in documents, and no web page."""
    decoder, position = codecs.getincrementaldecoder("utf-8")(), 0
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            if position == 0 and (is_web_page(block) or (len(block) > 1 << 16 and SEPARATOR.encode() not in block)):
                return 0
            pending = len(decoder.getstate()[0])
            try:
                decoder.decode(block)
            except UnicodeDecodeError as error:
                return position - pending + error.start
            if b"\0" in block:
                return position + block.index(b"\0")
            position += len(block)
    return None


@dataclass
class Download:
    """A downloader for pooch that resumes: bytes collect in ``part``, which survives until it is complete.

    ``size`` is that of the whole file, where it is known. ``stop`` asks for the first ``stop`` bytes only, which are then
    cut after the last whole document.
    """

    part: Path
    size: int | None = None
    stop: int | None = None
    progress: bool = True
    attempts: int = 4
    timeout: float = 30.0

    def __call__(self, url: str, output_file: str, pooch: object) -> None:
        import requests
        from tqdm.auto import tqdm

        if self.wanted is not None and self.have > self.wanted:  # no answer to this question
            self.part.unlink()
        broken = (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError)
        failures, ended = 0, self.have == self.wanted
        with tqdm(unit="B", unit_scale=True, desc=self.part.stem, disable=not self.progress) as bar:
            while not ended:
                before, problem = self.have, None
                try:
                    ended = self._request(url, bar)
                except broken as error:
                    problem = error
                # an answer that breaks off or is short is worth another one if it brought something
                failures = 1 if self.have > before else failures + 1
                if not ended and (failures >= self.attempts or self.have == 0):
                    raise problem or self._bad(url, "with too few bytes")
        if self.stop is not None:
            _cut(self.part, self.stop)
        os.replace(self.part, output_file)
        self._validator.unlink(missing_ok=True)

    @property
    def wanted(self) -> int | None:
        """How many bytes make it complete; None while nobody has said."""
        return min((n for n in (self.size, self.stop) if n is not None), default=None) if self.size else None

    @property
    def have(self) -> int:
        return self.part.stat().st_size if self.part.exists() else 0

    @property
    def _validator(self) -> Path:
        return self.part.with_name(f"{self.part.name}.etag")

    def _bad(self, url: str, how: str) -> BadAnswer:
        kept = f" ({self.have:,} bytes of earlier answers are kept)" if self.have else ""
        return BadAnswer(
            f"{url} was answered {how}; that was thrown away{kept}. Does this network ask you to log in? Then do so in a "
            f"browser and call again. If a mirror is set in HF_ENDPOINT, try without it. {WITHOUT_A_NETWORK}"
        )

    def _request(self, url: str, bar: tqdm) -> bool:
        """Take one answer into ``part``; is everything here now? BadAnswer when it is not what was asked for."""
        have = self.have
        with self._ask(url, have) as response:
            if response.status_code == 416 and response.headers.get("Content-Range") == f"bytes */{have}":
                self._check_size(url, have)
                return True  # nothing is left after what we have
            goes_on = response.status_code != 416 and place(response)[0] in (0, have) and not self._is_another(response)
            if have == 0 or goes_on:
                return self._take(url, response, bar)
        with self._ask(url, 0) as response:  # this server cannot go on from here: once more from the start
            return self._take(url, response, bar)

    def _is_another(self, response: Response) -> bool:
        """Does an answer go on in another file than that of which ``part`` is the beginning?"""
        etag = response.headers.get("ETag", "")
        known = self._validator.read_text() if self._validator.exists() else etag
        return place(response)[0] != 0 and etag.startswith('"') and etag != known

    def _ask(self, url: str, begin: int) -> Response:
        import requests

        headers = {"Accept-Encoding": "identity"}
        if begin or self.stop is not None:
            headers["Range"] = f"bytes={begin}-{'' if self.stop is None else self.stop - 1}"
        if begin and self._validator.exists():
            headers["If-Range"] = self._validator.read_text()
        return requests.get(url, headers=headers, stream=True, timeout=self.timeout)

    def _check_size(self, url: str, total: int) -> None:
        """The file on the server has ``total`` bytes: BadAnswer when it is another one than ours."""
        if not total:
            raise self._bad(url, "with nothing")
        if self.size is None:
            self.size = total
        if self.stop is None and total != self.size:
            raise self._bad(url, f"with {total:,} bytes, not the {self.size:,} of the file with the published sha256")
        if total < self.wanted:
            raise self._bad(url, f"with a file of {total:,} bytes, of which {self.wanted:,} were asked for")

    def _take(self, url: str, response: Response, bar: tqdm) -> bool:
        """Write the bytes of an answer, from the start or from where ``part`` ends; is everything here now?

        Bytes are added to ``part`` where the answer says that they belong there. Others are collected beside it, and take
        its place when they are all there, or when there are more of them and the answer said how many will come.
        """
        response.raise_for_status()
        if response.status_code not in (200, 206):
            raise self._bad(url, f"with HTTP status {response.status_code}")
        kind = response.headers.get("Content-Type", "").split(";")[0].strip().lower()
        if kind in ("text/html", "application/xhtml+xml"):
            raise self._bad(url, f"with a web page ({kind})")
        if kind in ("application/json", "application/xml", "text/xml"):
            raise self._bad(url, f"with a message of its server ({kind})")
        have, (begin, total) = self.have, place(response)
        if begin not in (0, have):
            raise self._bad(
                url, f"from {'an unknown byte' if begin is None else f'byte {begin:,}'}, not from byte {have:,}"
            )
        if total is not None:
            self._check_size(url, total)
        adds = begin == have and (have > 0 or total is not None)
        target = self.part if adds else self.part.with_name(f"{self.part.name}.new")
        etag, ended = response.headers.get("ETag", ""), False
        if adds:
            self._remember(etag, keep=have > 0)
        try:
            self._write(url, response, target, "ab" if adds else "wb", bar)
            ended = self.wanted is None or target.stat().st_size >= self.wanted
            if ended and self.stop is not None and (fault := first_fault(target)) is not None:
                ended = False
                os.truncate(target, begin if fault >= begin else 0)
                raise self._bad(url, "with something that is not text with documents in it")
        finally:
            size = target.stat().st_size if target.exists() else 0
            if not adds and (ended or (total is not None and size > have)):
                os.replace(target, self.part)
                self._remember(etag)
            elif not adds or size == 0:
                target.unlink(missing_ok=True)
        return ended

    def _write(self, url: str, response: Response, target: Path, mode: str, bar: tqdm) -> None:
        with open(target, mode) as file:
            bar.total = self.wanted
            for chunk in response.iter_content(1 << 16):
                if file.tell() == 0 and is_web_page(chunk):
                    raise self._bad(url, "with a web page")
                file.write(chunk)
                bar.update(file.tell() - bar.n)
                if self.stop is not None and file.tell() >= self.stop:
                    file.truncate(self.stop)
                    break

    def _remember(self, etag: str, *, keep: bool = False) -> None:
        """Note which file ``part`` is the beginning of."""
        if etag.startswith('"'):  # a weak one does not promise equal bytes
            self._validator.write_text(etag)
        elif not keep:
            self._validator.unlink(missing_ok=True)


# ------------------------------------------------------------------------------------------------- the start of a file


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
