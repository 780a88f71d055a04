"""Text to learn from: the stories, the default corpus, and downloads from a real server on this machine."""

import hashlib
import json
import os
import re
import socket
import subprocess
import sys
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cs336lite.course import data, download, stories
from cs336lite.course.data import (
    SEPARATOR,
    Source,
    chinese_passage,
    chinese_stories,
    default_corpus,
    documents,
    load,
)
from cs336lite.course.download import fetch
from cs336lite.course.paths import CourseError
from cs336lite.course.resumable import cut

# ------------------------------------------------------------------------------------------------------------ stories


def test_stories_are_the_same_on_every_machine_and_python():
    text = "\n".join(data.stories(50, seed=1) + chinese_stories(50, seed=1))
    code = (
        "import sys; from cs336lite.course.data import stories, chinese_stories\n"
        "sys.stdout.buffer.write('\\n'.join(stories(50, seed=1) + chinese_stories(50, seed=1)).encode())\n"
    )
    environment = os.environ | {"PYTHONHASHSEED": "7"}
    other = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, check=True, timeout=120)
    assert other.stdout.decode() == text


def test_a_story_depends_on_seed_and_index_alone():
    assert data.stories(20, seed=3)[:5] == data.stories(5, seed=3)
    assert data.stories(5, seed=3) != data.stories(5, seed=4)
    assert data.stories(0) == []


@pytest.mark.parametrize(("tell", "n", "share"), [(data.stories, 3000, 1.0), (chinese_stories, 1000, 0.99)])
def test_stories_are_many_and_distinct(tell, n, share):
    assert len(set(tell(n))) >= share * n


FAULTS = {
    "notation left over": r"[\[\]{}|;_]|\(n\)",
    "a wrong space": r"  |\s[,.!?]|^\s|\s$",
    "a paragraph that does not begin like a sentence": r"(?:^|\n)(?!\n|[A-Z]|\"[A-Z])",
    "a paragraph that does not end like a sentence": r"[^.!?\"\n](?:\n|$)|[^.!?,]\"(?:\n|$)",
    "a wrong article": r"\b[Aa] [aeio]\w|\b[Aa]n (?!honest)[^aeiou\s]",
    "a sentence that begins small": r"(?<!\.\.)[.!?] [a-z]",
    "a quotation that goes on large": r"(?:said|asked|cried) [A-Z]?[a-z ]+, \"(?:And|But|Because|Now)\b",
    "a small letter where a quotation begins": r"(?:^|\n|[.!?:] )\"[a-z]",
    "a verb that does not agree": r"\b(?:shoes|mittens|marbles) (?:was|is)\b|\b(?:ball|kite|hat|drum|cup) (?:were|are)\b",
    "doubled punctuation": r"[,;:][.,!?]|[!?][.,]|(?<!\.)\.\.(?!\.)|[.!?]\"\.",
}


@pytest.mark.parametrize("fault", FAULTS)
def test_english_is_well_formed(fault):
    for story in data.stories(1500, seed=5):
        if found := re.search(FAULTS[fault], story):
            pytest.fail(f"{fault}: ...{story[max(0, found.start() - 40) : found.end() + 40]!r}")


def test_english_is_plain_and_quotations_are_closed():
    repeated = re.compile(r"\b(\w+) \1\b")
    for story in data.stories(1500, seed=6):
        assert story.isascii()
        assert all(paragraph.count('"') % 2 == 0 for paragraph in story.split("\n\n")), story
        assert not repeated.search(story.lower()), story


def test_heroes_have_one_pronoun():
    girls, boys = stories.GIRLS.split(), stories.BOYS.split()
    counts = Counter()
    for story in data.stories(400, seed=2):
        for name, pronoun in re.findall(r"named (\w+)\. (He|She)\b", story):
            counts[name in girls, name in boys, pronoun] += 1
    assert counts[True, False, "She"] > 10 and counts[False, True, "He"] > 10
    assert counts[True, False, "He"] == counts[False, True, "She"] == 0


def test_numbers_in_stories_add_up():
    words = {word: k for k, word in enumerate(stories.NUMBERS.split())}
    checked = 0
    for story in data.stories(600, seed=9):
        if match := re.search(r"had (\w+) \w+ in .* gave (\w+) \w+ to .* had (\w+) left", story, re.DOTALL):
            total, given_away, left = (words[word] for word in match.groups())
            assert given_away + left == total and given_away >= 2
            checked += 1
    assert checked > 10


@pytest.mark.parametrize("language", ["en", "zh"])
def test_every_plot_can_be_told(language):
    tell = {"en": stories.english_story, "zh": stories.chinese_story}[language]
    plots = stories._plots(language)
    assert len(plots) >= {"en": 15, "zh": 6}[language]
    openings = set()
    for number, plot in enumerate(plots):
        told = [tell(stories.Draw(f"{number}/{seed}"), [plot]) for seed in range(30)]
        assert len(set(told)) == 30
        openings.add(told[0][-40:])
    assert len(openings) == len(plots)


def test_a_new_plot_needs_only_text():
    text = "== *\nday = Today\n== mine\none, two = x | y\nwhy, then =\n    rain ; wet\n\n{a} {day}: {one}{two}, {why} so {then} [and|or [the|a] end].\n"
    told = {stories.english_story(stories.Draw(str(seed)), stories.read_plots(text)) for seed in range(40)}
    assert {re.sub(r"^\w+ ", "", story) for story in told} == {
        f"Today: {pair}, rain so wet {end}." for pair in ("xy", "yx") for end in ("and", "or the end", "or a end")
    }


def test_chinese_is_chinese():
    passage = chinese_passage()
    assert 800 <= len(passage) <= 2000
    for text in [passage, *chinese_stories(200, seed=4)]:
        assert sum("\u4e00" <= char <= "\u9fff" for char in text) > 0.7 * len(re.sub(r"\s", "", text))
        assert not re.search(r"[\[\]{}|; ]|[A-Za-z]|[，。、]{2}", text)
        assert text.count("“") == text.count("”")


# ------------------------------------------------------------------------------------------------------------ by name


def test_bad_sizes_and_names_are_told(tmp_path):
    with pytest.raises(ValueError, match="at least 10,000"):
        default_corpus(tmp_path, size=10)
    with pytest.raises(ValueError, match="max_bytes is 0"):
        load("tinystories", max_bytes=0, folder=tmp_path)
    for wrong in (1e6, True, "5000", -1):
        with pytest.raises(ValueError, match="whole number of bytes"):
            load("tinystories", max_bytes=wrong, folder=tmp_path)
        with pytest.raises(ValueError, match=r"size is .* whole number of bytes, at least 10,000"):
            default_corpus(tmp_path, size=wrong)
    assert load("default", max_bytes=np.int64(20_000), folder=tmp_path) == default_corpus(tmp_path, size=20_000)
    with pytest.raises(CourseError, match=r"no corpus \['tiny'\]"):
        load(["tiny"], folder=tmp_path)
    with pytest.raises(CourseError, match=r"no corpus 'tiny'; there are: default, tinystories, tinystories-valid"):
        load("tiny", folder=tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(CourseError, match="CS336LITE_DATA"):
        default_corpus(tmp_path / "file" / "below")


# ---------------------------------------------------------------------------------------------------------- documents


@given(
    st.lists(st.text(st.sampled_from("a<|>é中\U0001f388endoftext \n\r"), max_size=30), max_size=6),
    st.integers(1, 40),
)
def test_documents_equal_a_split_of_the_whole(tmp_path_factory, texts, chunk_size):
    whole = SEPARATOR.join(texts)
    path = tmp_path_factory.mktemp("documents") / "corpus.txt"
    path.write_bytes(whole.encode())
    expected = [text.strip() for text in whole.split(SEPARATOR) if text.strip()]
    assert list(documents(path, chunk_size=chunk_size)) == expected


def test_documents_hold_no_more_than_a_document_and_a_chunk(tmp_path):
    import tracemalloc

    path = tmp_path / "big.txt"
    with open(path, "w") as file:
        for k in range(3000):
            file.write(f"{k} " + "x" * 5000 + SEPARATOR)
    list(documents(tmp_path / "big.txt", chunk_size=1 << 16))  # imports and caches
    tracemalloc.start()
    n = sum(1 for _ in documents(path, chunk_size=1 << 16))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert n == 3000
    assert peak < path.stat().st_size / 10


def test_documents_read_lazily_and_survive_bad_bytes(tmp_path):
    path = tmp_path / "bad.txt"
    path.write_bytes(b"one\r\ntwo \xff" + SEPARATOR.encode() + b"\xe4\xb8")
    assert list(documents(path)) == ["one\r\ntwo \ufffd", "\ufffd"]
    later = documents(tmp_path / "missing.txt")  # nothing is read yet
    with pytest.raises(FileNotFoundError):
        next(later)


# --------------------------------------------------------------------------------------------------------- downloads

CONTENT = "".join(f"Story {k}: 从前有一只小猫。{'z' * (k % 97)}\n{SEPARATOR}\n" for k in range(6000)).encode()
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@dataclass
class Server:
    """A file server with faults: ``breaks`` lists after how many bytes each of the next answers is cut off."""

    content: bytes = CONTENT
    etag: str = '"one"'
    ranges: bool = True
    heeds_if_range: bool = True
    breaks: list[int] = field(default_factory=list)
    status: int = 200
    shift: int = 0  # begin a range so many bytes earlier (below 0) or later than asked
    limit: int | None = None  # the most bytes in one answer to a range
    reply: tuple[int, dict, bytes] | None = None  # always this, whatever is asked
    requests: list[dict] = field(default_factory=list)
    url: str = ""

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        self.requests.append(dict(handler.headers))
        if self.status != 200:
            handler.send_error(self.status)
            return
        if self.reply:
            status, headers, body = self.reply
            handler.send_response(status)
            for name, value in headers.items():
                handler.send_header(name, value)
            handler.end_headers()
            handler.wfile.write(body)
            return
        start, stop = 0, len(self.content)
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", handler.headers.get("Range", ""))
        fresh = not self.heeds_if_range or handler.headers.get("If-Range", self.etag) == self.etag
        if asked and self.ranges and fresh:
            start = int(asked[1])
            start = max(0, start + self.shift) if start else 0
            stop = min(stop, int(asked[2]) + 1) if asked[2] else stop
            if start >= len(self.content):
                handler.send_response(416)
                handler.send_header("Content-Range", f"bytes */{len(self.content)}")
                handler.send_header("Content-Length", "0")
                handler.end_headers()
                return
            stop = stop if self.limit is None else min(stop, start + self.limit)
            handler.send_response(206)
            handler.send_header("Content-Range", f"bytes {start}-{stop - 1}/{len(self.content)}")
        else:
            handler.send_response(200)
        handler.send_header("ETag", self.etag)
        handler.send_header("Content-Length", str(stop - start))
        handler.end_headers()
        body = self.content[start:stop]
        if self.breaks:
            handler.wfile.write(body[: self.breaks.pop(0)])
            handler.wfile.flush()
            handler.connection.shutdown(socket.SHUT_RDWR)
        else:
            handler.wfile.write(body)


@pytest.fixture
def server(monkeypatch):
    state = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            with suppress(BrokenPipeError, ConnectionResetError):  # a client that has enough hangs up
                state.answer(self)

        def log_message(self, *args):
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    state.url = f"http://127.0.0.1:{http.server_port}"
    monkeypatch.setenv("HF_ENDPOINT", state.url)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    yield state
    http.shutdown()
    http.server_close()
    thread.join()


SOURCE = Source("datasets/some/stories.txt", SHA256, len(CONTENT))
UNKNOWN = Source("datasets/some/stories.txt")


def get(source, folder, **options):
    return fetch(source, folder, progress=False, **options)


def test_a_file_is_downloaded_once(server, tmp_path):
    path = get(SOURCE, tmp_path)
    assert path.read_bytes() == CONTENT
    assert get(SOURCE, tmp_path) == path
    assert len(server.requests) == 1
    assert [p.name for p in tmp_path.iterdir()] == ["stories.txt"]


def test_a_broken_connection_is_resumed_within_the_call(server, tmp_path):
    server.breaks = [100_000, 200_000]
    assert get(SOURCE, tmp_path).read_bytes() == CONTENT
    starts = [int(re.findall(r"\d+", request.get("Range", "0"))[0]) for request in server.requests]
    assert len(starts) == 3
    assert 0 == starts[0] < starts[1] <= 100_000 < starts[2] <= 300_000  # each request asks for what is left
    assert server.requests[1]["If-Range"] == '"one"'


def interrupt(server, folder, source=SOURCE, **options):
    """Leave a download that broke off and could not go on."""
    server.breaks = [120_000, *[0] * 9]
    with pytest.raises(CourseError) as caught:
        get(source, folder, **options)
    server.breaks.clear()
    server.requests.clear()
    return str(caught.value)


def test_an_interrupted_download_is_resumed_by_the_next_call(server, tmp_path):
    told = interrupt(server, tmp_path)
    kept = next(tmp_path.glob("*.part")).stat().st_size
    assert kept > 0 and f"{kept:,} bytes are kept" in told
    assert not (tmp_path / "stories.txt").exists()
    assert get(SOURCE, tmp_path).read_bytes() == CONTENT
    assert [request["Range"] for request in server.requests] == [f"bytes={kept}-"]
    assert not list(tmp_path.glob("*.part*"))


def test_a_file_that_changed_meanwhile_is_fetched_afresh(server, tmp_path):
    interrupt(server, tmp_path, UNKNOWN)
    server.content, server.etag = CONTENT[::-1], '"two"'
    assert get(UNKNOWN, tmp_path).read_bytes() == CONTENT[::-1]


@pytest.mark.parametrize("heeds", [True, False])
def test_a_start_is_never_made_of_two_files(server, tmp_path, heeds):
    interrupt(server, tmp_path, max_bytes=300_000)
    server.content, server.etag, server.heeds_if_range = CONTENT.replace(b"Story", b"STORY"), '"two"', heeds
    assert server.content.startswith(get(SOURCE, tmp_path, max_bytes=300_000).read_bytes())


@pytest.mark.skipif(sys.platform == "win32", reason="no locks there")
@pytest.mark.parametrize("options", [{}, {"max_bytes": 300_000}])
def test_of_several_who_ask_at_once_one_downloads(server, tmp_path, options):
    with ThreadPoolExecutor(3) as pool:
        paths = [pool.submit(get, SOURCE, tmp_path, **options) for _ in range(3)]
    assert all(CONTENT.startswith(path.result().read_bytes()) for path in paths)
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("status", "kind", "told"),
    [
        (204, "text/plain", "HTTP status 204"),
        (304, "text/plain", "HTTP status 304"),
        (302, "text/plain", "HTTP status 302"),  # and says not where to
        (200, "application/json", r"a message of its server \(application/json\)"),
        (200, "text/plain", "with nothing"),
    ],
)
def test_an_answer_that_is_no_file_is_told(server, tmp_path, status, kind, told):
    server.reply = (status, {"Content-Type": kind, "Content-Length": "0"}, b"")
    for source in (SOURCE, UNKNOWN):
        with pytest.raises(CourseError, match=told):
            get(source, tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_written_is_told(server, tmp_path, monkeypatch):
    monkeypatch.setattr(download, "_record", lambda path: (tmp_path / "no" / "registry.json").write_text(""))
    with pytest.raises(CourseError, match=r"cannot write stories\.txt into .*CS336LITE_DATA"):
        get(UNKNOWN, tmp_path)


def test_a_server_that_cannot_resume_is_read_from_the_start(server, tmp_path):
    interrupt(server, tmp_path)
    server.ranges = False
    assert get(SOURCE, tmp_path).read_bytes() == CONTENT


def test_a_complete_part_needs_no_more_bytes(server, tmp_path):
    (tmp_path / "stories.txt.part").write_bytes(CONTENT)
    assert get(SOURCE, tmp_path).read_bytes() == CONTENT
    (tmp_path / "stories.txt").unlink()
    (tmp_path / "stories.txt.part").write_bytes(CONTENT + b"too long")
    assert get(SOURCE, tmp_path).read_bytes() == CONTENT


def test_a_wrong_checksum_is_refused_and_the_file_thrown_away(server, tmp_path):
    server.content = CONTENT.replace(b"Story 77:", b"Story 78:")
    with pytest.raises(CourseError, match=r"published sha256.*thrown away"):
        get(SOURCE, tmp_path)
    assert list(tmp_path.iterdir()) == []
    server.content = CONTENT
    assert get(SOURCE, tmp_path).read_bytes() == CONTENT


def test_a_damaged_copy_is_fetched_again(server, tmp_path):
    path = get(SOURCE, tmp_path)
    path.write_bytes(CONTENT[:1000])
    assert get(SOURCE, tmp_path).read_bytes() == CONTENT
    assert len(server.requests) == 2


def test_without_a_published_checksum_the_first_one_is_held_to(server, tmp_path):
    path = get(UNKNOWN, tmp_path)
    assert json.loads((tmp_path / "registry.json").read_text()) == {"stories.txt": SHA256}
    path.unlink()
    server.content = CONTENT + b"more"
    with pytest.raises(CourseError, match=r"first download, in .*registry\.json"):
        get(UNKNOWN, tmp_path)
    server.content = CONTENT
    assert get(UNKNOWN, tmp_path).read_bytes() == CONTENT


@pytest.mark.parametrize("ranges", [True, False])
def test_the_start_of_a_file_ends_with_a_whole_document(server, tmp_path, ranges):
    server.ranges = ranges
    path = get(SOURCE, tmp_path, max_bytes=100_000)
    start = path.read_bytes()
    assert CONTENT.startswith(start) and start.endswith(SEPARATOR.encode())
    assert 99_000 < len(start) <= 100_000
    assert SEPARATOR.encode() not in CONTENT[len(start) : 100_000]
    assert server.requests[0]["Range"] == "bytes=0-99999"
    assert path.name == "stories-first-100000.txt"
    assert get(SOURCE, tmp_path, max_bytes=100_000) == path and len(server.requests) == 1
    path.write_bytes(b"damaged")
    assert get(SOURCE, tmp_path, max_bytes=100_000).read_bytes() == start  # the registry noticed


def test_the_start_of_a_file_is_resumed_too(server, tmp_path):
    interrupt(server, tmp_path, max_bytes=300_000)
    path = get(SOURCE, tmp_path, max_bytes=300_000)
    assert CONTENT.startswith(path.read_bytes()) and path.stat().st_size > 299_000
    assert server.requests[0]["Range"].endswith("-299999") and not server.requests[0]["Range"].startswith("bytes=0-")


def test_the_start_is_taken_from_the_whole_file_when_that_is_here(server, tmp_path):
    alone = get(SOURCE, tmp_path / "alone", max_bytes=50_000).read_bytes()
    get(SOURCE, tmp_path)
    server.status = 503
    assert get(SOURCE, tmp_path, max_bytes=50_000).read_bytes() == alone
    assert get(SOURCE, tmp_path, max_bytes=len(CONTENT) + 1).name == "stories.txt"


@pytest.mark.parametrize("n", range(1, 12))
def test_a_start_without_a_whole_document_ends_with_a_whole_character(tmp_path, n):
    path = tmp_path / "start.txt"
    path.write_bytes("aé中\U0001f388bc".encode())
    cut(path, n)
    kept = path.read_bytes()
    assert "aé中\U0001f388bc".startswith(kept.decode())
    assert n - 3 <= len(kept) <= n


def test_a_cut_finds_a_separator_across_its_blocks(tmp_path):
    for shift in range(-15, 3):  # the search reads blocks of 1 MiB from the end
        path = tmp_path / f"{shift}.txt"
        begin = b"x" * 1000 + SEPARATOR.encode()
        path.write_bytes(begin + b"y" * ((1 << 20) + shift))
        cut(path, 1 << 22)
        assert path.read_bytes() == begin


HTML = b"<!DOCTYPE html>\n<html><body>Please log in to the campus network</body></html>"
BAD_ANSWERS = {  # status, headers and body of an answer that is not the corpus
    "a login page": (200, {"Content-Type": "text/html; charset=utf-8", "Content-Length": len(HTML)}, HTML),
    "a login page without a type": (200, {"Content-Length": len(HTML)}, HTML),
    "a login page without type and length": (200, {}, HTML),
    "a long login page without a type": (200, {"Content-Length": 400_080}, HTML.ljust(400_080)),
    "a long login page that claims to be a part": (
        206,
        {"Content-Type": "text/html", "Content-Range": f"bytes 0-299999/{len(CONTENT)}"},
        HTML.ljust(300_000),
    ),
    "text that says it is a web page": (200, {"Content-Type": "text/html"}, CONTENT),
    "plain words": (200, {"Content-Type": "text/plain", "Content-Length": 14}, b"Please log in."),
    "plain words without a length": (200, {"Content-Type": "text/plain"}, b"Please log in."),
    "nothing": (200, {"Content-Length": 0}, b""),
    "nothing and no length": (200, {}, b""),
    "no content": (204, {}, b""),
    "a short file": (200, {"Content-Length": 1000}, CONTENT[:1000]),
    "a short file without a length": (200, {}, CONTENT[:1000]),
    "the part of a short file": (206, {"Content-Range": "bytes 0-999/1000"}, CONTENT[:1000]),
    "a part from the middle": (206, {"Content-Range": f"bytes 7-299999/{len(CONTENT)}"}, CONTENT[7:300_000]),
    "a part that does not say where": (206, {"Content-Length": 300_000}, CONTENT[7:300_007]),
    "bytes that are no text": (200, {"Content-Length": len(CONTENT)}, b"\xff" * len(CONTENT)),
    "zeros": (200, {"Content-Length": len(CONTENT)}, bytes(len(CONTENT))),
    "text without documents": (200, {"Content-Length": len(CONTENT)}, b"word " * (len(CONTENT) // 5 + 1)),
}


@pytest.mark.parametrize("bad", BAD_ANSWERS)
def test_an_answer_that_is_not_the_corpus_is_refused_and_leaves_nothing(server, tmp_path, bad):
    server.reply = BAD_ANSWERS[bad]
    with pytest.raises(CourseError, match=r"log in\?.*HF_ENDPOINT"):
        get(SOURCE, tmp_path, max_bytes=300_000)
    assert list(tmp_path.iterdir()) == []
    server.reply = None
    path = get(SOURCE, tmp_path, max_bytes=300_000)
    assert CONTENT.startswith(path.read_bytes()) and path.stat().st_size > 299_000


@pytest.mark.parametrize("max_bytes", [300_000, None])
@pytest.mark.parametrize("bad", [name for name in BAD_ANSWERS if BAD_ANSWERS[name][2][:1] in b"P<"])
def test_a_bad_answer_costs_no_bytes_of_an_earlier_try(server, tmp_path, bad, max_bytes):
    interrupt(server, tmp_path, max_bytes=max_bytes)
    kept = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    server.reply = BAD_ANSWERS[bad]
    with pytest.raises(CourseError, match="bytes of earlier answers are kept"):
        get(SOURCE, tmp_path, max_bytes=max_bytes)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == kept
    server.reply = None
    server.requests.clear()
    assert CONTENT.startswith(get(SOURCE, tmp_path, max_bytes=max_bytes).read_bytes())
    assert not server.requests[0]["Range"].startswith("bytes=0-")


def test_bad_bytes_after_good_ones_are_cut_off_again(server, tmp_path):
    interrupt(server, tmp_path, max_bytes=300_000)
    kept = next(tmp_path.glob("*.part")).stat().st_size
    place = {"Content-Range": f"bytes {kept}-299999/{len(CONTENT)}"}
    server.reply = (206, place, b"\xff" * (300_000 - kept))
    with pytest.raises(CourseError, match="not text"):
        get(SOURCE, tmp_path, max_bytes=300_000)
    server.reply = None
    assert CONTENT.startswith(get(SOURCE, tmp_path, max_bytes=300_000).read_bytes())
    assert server.requests[-1]["Range"] == f"bytes={kept}-299999"


def test_a_web_page_is_no_whole_file_either(server, tmp_path):
    server.reply = BAD_ANSWERS["a login page without a type"]
    with pytest.raises(CourseError, match="a web page"):
        get(UNKNOWN, tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("shift", [-50_000, -1, 1, 50_000])
@pytest.mark.parametrize("max_bytes", [300_000, None])
def test_a_range_that_begins_elsewhere_is_not_taken_for_the_one_asked_for(server, tmp_path, shift, max_bytes):
    interrupt(server, tmp_path, max_bytes=max_bytes)
    server.shift = shift
    path = get(SOURCE, tmp_path, max_bytes=max_bytes)
    assert CONTENT.startswith(path.read_bytes()) and path.stat().st_size > 299_000


def test_answers_in_small_pieces_are_put_together(server, tmp_path):
    server.limit = 70_000
    path = get(SOURCE, tmp_path, max_bytes=300_000)
    assert CONTENT.startswith(path.read_bytes()) and path.stat().st_size > 299_000
    assert len(server.requests) == 5


@pytest.mark.parametrize("bad", [b"", HTML, HTML.ljust(100_000), CONTENT[:999]])
def test_a_bad_start_that_an_older_version_recorded_is_found_out(server, tmp_path, bad):
    path = tmp_path / "stories-first-100000.txt"
    path.write_bytes(bad)
    registry = tmp_path / "registry.json"
    registry.write_text(json.dumps({path.name: hashlib.sha256(bad).hexdigest(), "other.txt": "1"}))
    right = get(SOURCE, tmp_path, max_bytes=100_000).read_bytes()
    assert CONTENT.startswith(right) and len(right) > 99_000
    assert json.loads(registry.read_text()) == {path.name: hashlib.sha256(right).hexdigest(), "other.txt": "1"}


def test_a_start_is_not_taken_from_a_whole_file_that_is_damaged(server, tmp_path):
    get(SOURCE, tmp_path).write_bytes(CONTENT.replace(b"Story 7:", b"Story 8:"))
    assert CONTENT.startswith(get(SOURCE, tmp_path, max_bytes=50_000).read_bytes())


def test_a_folder_that_cannot_be_written_is_named(server, tmp_path):
    (tmp_path / "stories.txt.part").mkdir()
    with pytest.raises(CourseError, match=r"cannot write stories.txt into .*CS336LITE_DATA"):
        get(SOURCE, tmp_path)


def test_offline_says_what_was_tried_and_what_works_without_a_network(tmp_path, monkeypatch):
    with socket.socket() as probe:  # a port where nobody listens
        probe.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{probe.getsockname()[1]}"
        monkeypatch.setenv("HF_ENDPOINT", endpoint)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        with pytest.raises(CourseError) as caught:
            load("tinystories-valid", folder=tmp_path, progress=False)
    told = str(caught.value)
    assert f"{endpoint}/datasets/roneneldan/TinyStories/resolve/" in told
    assert "TinyStoriesV2-GPT4-valid.txt" in told and 'load("default")' in told


def test_a_refusing_server_is_named_with_its_status(server, tmp_path):
    server.status = 404
    with pytest.raises(CourseError, match="HTTP status 404"):
        load("tinystories-valid", folder=tmp_path, progress=False)


def test_load_uses_names_environment_and_published_checksums(server, tmp_path, monkeypatch):
    monkeypatch.setenv("CS336LITE_DATA", str(tmp_path / "here"))
    path = load("tinystories", max_bytes=20_000, progress=False)
    assert path.parent == tmp_path / "here" and path.name == "TinyStoriesV2-GPT4-train-first-20000.txt"
    assert next(documents(path)).startswith("Story 0")
    with pytest.raises(CourseError, match="published sha256"):  # this server's file is not TinyStories
        load("tinystories-valid", progress=False)


def test_progress_goes_to_stderr_only(server, tmp_path, capsys):
    fetch(SOURCE, tmp_path, progress=True)
    out, err = capsys.readouterr()
    assert out == "" and "stories.txt" in err and "100%" in err


# ------------------------------------------------------------------------------------------------------------ FineWeb


def test_fineweb_without_datasets_names_the_extra(tmp_path):
    code = (
        "import sys; sys.modules['datasets'] = None  # as where it is not installed\n"
        "from cs336lite.course.data import load\n"
        "from cs336lite.course.paths import CourseError\n"
        "try: load('fineweb-sample', folder=sys.argv[1])\n"
        "except CourseError as error: print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True, timeout=120
    )
    assert 'pip install "cs336lite[data]"' in done.stdout and 'load("default")' in done.stdout


def test_streamed_texts_become_a_corpus_of_whole_documents(tmp_path):
    def endless():
        k = 0
        while True:
            yield f"  page {k} {SEPARATOR} 中文 "
            k += 1

    path = tmp_path / "web.txt"
    download.write_documents(endless(), path, 1000, progress=False)
    texts = list(documents(path))
    assert 900 < path.stat().st_size <= 1000
    assert texts == [f"page {k}  中文" for k in range(len(texts))]
    assert [p.name for p in tmp_path.iterdir()] == ["web.txt"]


@pytest.mark.parametrize(
    ("texts", "size", "why"),
    [
        ([], 1000, "ended after 0 of 1,000"),
        (["one", "two"], 1000, "ended after 36 of 1,000"),
        (["x" * 2000] * 2, 1000, "no document fits"),
    ],
)
def test_a_stream_that_ends_early_or_gives_nothing_is_not_kept(tmp_path, texts, size, why):
    with pytest.raises(CourseError, match=why):
        download.write_documents(texts, tmp_path / "web.txt", size, progress=False)
    assert list(tmp_path.iterdir()) == []


def test_fineweb_is_streamed_checked_and_recorded(tmp_path, monkeypatch):
    pages = [f"page {k} " + "z" * 200 for k in range(1000)]
    rows = [{"text": page} for page in pages]
    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=lambda *a, **k: iter(rows)))
    path = load("fineweb-sample", max_bytes=50_000, folder=tmp_path, progress=False)
    assert list(documents(path)) == pages[: len(list(documents(path)))]
    assert (
        json.loads((tmp_path / "registry.json").read_text())[path.name] == hashlib.sha256(path.read_bytes()).hexdigest()
    )
    right = path.read_bytes()
    path.write_bytes(b"")  # as an older version kept it
    (tmp_path / "registry.json").write_text(json.dumps({path.name: hashlib.sha256(b"").hexdigest()}))
    assert load("fineweb-sample", max_bytes=50_000, folder=tmp_path, progress=False).read_bytes() == right
    rows = rows[:3]
    with pytest.raises(CourseError, match="ended after"):
        load("fineweb-sample", max_bytes=60_000, folder=tmp_path, progress=False)
