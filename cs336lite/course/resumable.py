"""A download that goes on where it broke off, and keeps only what an answer of the web should hold: text in documents.

Nothing that an answer brings replaces good bytes of an earlier try before it has proved better. See `download`.
"""

from __future__ import annotations

import codecs
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cs336lite.course.corpus import SEPARATOR
from cs336lite.course.paths import CourseError

if TYPE_CHECKING:
    from requests import Response
    from tqdm import tqdm

WITHOUT_A_NETWORK = 'Without a network, load("default") gives text that is made on this machine.'


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
            cut(self.part, self.stop)
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


def cut(path: Path, stop: int) -> None:
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
