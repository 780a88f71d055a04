"""Attacks on the hidden checks of a1: drivers answered without a solution, evidence forged, clocks misled.

Every attack stands beside an honest twin that does the same without the trick: neither may get more than the work in
it deserves.
"""

import ast
import sys

import catalogue
import pytest

from cs336lite.grading.client import Worker
from cs336lite.grading.judge import needs_of

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="grading runs on Linux")

A1 = "a1_bpe"
HIDDEN = catalogue.spec(A1, "hidden")
KNOWN = {one.name: one.source for one in catalogue.solutions(A1)}
RIGHT = KNOWN["right_in_parts"]
SLOW = KNOWN["wrong_recounts_everything"]

# takes the place of what runs the drivers; a driver that has an entry in FORGED is answered by it
FORGE = """
import ast
import sys

FORGED = {}


def forge():
    frame = sys._getframe()
    while frame:
        owner = frame.f_locals.get("self")
        if hasattr(owner, "channel"):
            honest = type(owner).run
            type(owner).run = lambda self, source, name, args: (
                FORGED[name](*args) if name in FORGED else honest(self, source, name, args)
            )
            return
        frame = frame.f_back


forge()
"""

CONSTANTS = """
PAIR = (b"t", b"h")


def number(size, names):
    return max(size - 256 - len(names), 0)


def vocabulary(names, merges):
    return dict(enumerate([n.encode() for n in names] + [bytes([i]) for i in range(256)] + [a + b for a, b in merges]))


def learn(path, size, names):
    merges = [PAIR] * number(size, names)
    return vocabulary(names, merges), merges


FORGED.update(
    drive_training=lambda *job: (*learn(*job), False),
    drive_training_twice=lambda path, size, names: ([learn(path, size, names)] * 2, names),
    drive_merges=lambda sizes, names, *paths: [[PAIR] * number(*job) for job in zip(sizes, names)],
    drive_refusal=lambda *job: "ValueError",
    drive_encoding=lambda vocab, merges, names, texts: [[ord(t[0]) % 256] if t else [] for t in texts],
    drive_files=lambda vocab, merges, names, texts: [[0]] * len(texts),
    drive_decoding=lambda vocab, merges, names, ids, one_by_one: "",
    drive_unknown_ids=lambda vocab, merges, ids: [("ValueError", str(i)) for i in ids],
    drive_pieces=lambda vocab, merges, names, streams: [[] for _ in streams],
    drive_reading=lambda vocab, merges, names, pieces: (False, [65]),
    drive_file=lambda vocab, merges, names, path, size: [65],
    drive_nothing_special=lambda vocab, merges, texts: [[[ord(t[0])] if t else [] for t in texts]] * 3,
    drive_arguments=lambda vocab, merges, names, text: ([ord(text[0])], [], merges, names),
    drive_recount=lambda words, passes: passes,
)
"""

EMPTY = """
FORGED.update(
    drive_training=lambda *job: ({}, [], False),
    drive_training_twice=lambda *job: ([], []),
    drive_merges=lambda *job: [],
    drive_refusal=lambda *job: "",
    drive_encoding=lambda *job: [],
    drive_files=lambda *job: [],
    drive_decoding=lambda *job: "",
    drive_unknown_ids=lambda *job: [],
    drive_pieces=lambda *job: [],
    drive_reading=lambda *job: (False, []),
    drive_file=lambda *job: [],
    drive_nothing_special=lambda *job: [],
    drive_arguments=lambda *job: ([], [], [], []),
)
"""

HUGE = """
MANY = [1] * 10_000 + [1, 10**9] * 10_000
FORGED.update(
    drive_merges=lambda sizes, *job: [MANY] * len(sizes),
    drive_encoding=lambda vocab, merges, names, texts: [MANY] + [[]] * (len(texts) - 1),
    drive_pieces=lambda vocab, merges, names, streams: [MANY] + [[]] * (len(streams) - 1),
    drive_reading=lambda *job: (False, MANY),
    drive_file=lambda *job: MANY,
    drive_decoding=lambda *job: "x" * 500_000,
    drive_unknown_ids=lambda *job: [("ValueError", "1" * 500_000)] * 3,
)
"""

READS_ALL = """
class Tokenizer(Tokenizer):
    def encode_iterable(self, iterable):
        return iter(self.encode("".join(iterable)))
"""

READS_ALL_AND_FORGES = """
class Tokenizer(Tokenizer):
    def encode_iterable(self, iterable):
        frame, held = getattr(iterable, "gi_frame", None), []
        names = dict(frame.f_locals) if frame else {}
        try:
            for piece in iterable:
                held.append(piece)
                for name in ("out", "ids"):
                    if isinstance(names.get(name), list):
                        names[name].append(len(held))
        except BaseException:
            pass
        ids = self.encode("".join(held))
        for name in ("out", "ids"):
            if isinstance(names.get(name), list):
                names[name][:] = ids if name == "out" else []
        yield from ids
"""

REMEMBERS = """
import functools

learn = train_bpe
remember = functools.cache(lambda path, size, names: learn(path, size, list(names)))


def train_bpe(path, size, names):
    return remember(path, size, tuple(names))
"""

SLOWS_THE_YARDSTICK = """
import builtins, sys

fast = builtins.max


def slow(*args, **kwargs):
    if sys._getframe(1).f_code.co_filename == "<driver>":
        for _ in range(300_000):
            pass
    return fast(*args, **kwargs)


builtins.max = slow
"""

SLOWS_A_SHORT_RUN = """
learn = train_bpe


def train_bpe(path, size, names):
    if size == 261:
        for _ in range(5_000_000):
            pass
    return learn(path, size, names)
"""

KEEPS_ITS_CLOCK = """
import time

time.process_time = time.perf_counter = time.monotonic = lambda: 0.0
FORGED.update(drive_recount=lambda words, passes: time.sleep(0.2))
"""

SECRET = "tellthistoeverybody"
TELLS = f"""
FORGED.update(
    drive_refusal=lambda *job: "{SECRET}" * 200,
    drive_unknown_ids=lambda vocab, merges, ids: [("{SECRET}\\x1b[31m", "")] * len(ids),
)
"""
TELLS_BY_NAME = f"""
def train_bpe(path, size, names):
    raise type("{SECRET}", (ValueError if size == 257 else KeyError,), {{}})


class Tokenizer:
    def __init__(self, *args):
        raise type("{SECRET}", (Exception,), {{}})
"""

ATTACKS = [
    ("constants", FORGE + CONSTANTS, 0),
    ("empty lists", FORGE + EMPTY, 0),
    ("huge answers", FORGE + HUGE, 0),
    ("all read, and what is out forged", RIGHT + READS_ALL_AND_FORGES, 97),
    ("a full recount, remembered", SLOW + REMEMBERS, 96),
    ("a full recount beside a slowed yardstick", SLOW + SLOWS_THE_YARDSTICK, 96),
    ("a full recount beside a forged yardstick", FORGE + SLOW + KEEPS_ITS_CLOCK, 96),
    ("a full recount, and a slowed short run", SLOW + SLOWS_A_SHORT_RUN, 96),
]
TWINS = [
    ("right", RIGHT, 100),
    ("right, and the forge does nothing", FORGE + RIGHT, 100),
    ("right, and remembered", RIGHT + REMEMBERS, 100),
    ("all read", RIGHT + READS_ALL, 97),
    ("a full recount", SLOW, 96),
]


@pytest.fixture(scope="module")
def graded():
    """Judges sources by the hidden checks, each behind the wall, all beside one worker."""
    with Worker(needs_of(HIDDEN)) as worker:

        def judge(source):
            with worker.student((("1", source),)) as student:
                results = []
                for one in HIDDEN:
                    student.begin(one.seconds)
                    results.append(one.run(student, "attack"))
                return results

        yield judge


def points(results):
    return sum(result.points for result in results)


@pytest.mark.parametrize(("source", "most"), [pytest.param(*case[1:], id=case[0]) for case in ATTACKS])
def test_no_attack_gets_more_than_its_work_deserves(graded, source, most):
    results = graded(source)
    assert points(results) <= most, [result.id for result in results if result.passed]


@pytest.mark.parametrize(("source", "most"), [pytest.param(*case[1:], id=case[0]) for case in TWINS])
def test_the_honest_twin_gets_what_its_work_deserves(graded, source, most):
    results = graded(source)
    assert points(results) == most, [result.message for result in results if not result.passed]


@pytest.mark.parametrize("name", [name for name in KNOWN if name.startswith("hollow")])
def test_hollow_solutions_get_little(graded, name):
    said = catalogue.field(ast.get_docstring(ast.parse(KNOWN[name])), "most")
    assert points(graded(KNOWN[name])) <= int(said)


@pytest.mark.parametrize(
    "source", [FORGE + RIGHT + TELLS, FORGE + TELLS + TELLS_BY_NAME], ids=["kinds", "names of classes"]
)
def test_no_message_of_these_checks_repeats_what_it_was_told(graded, source):
    messages = [result.message for result in graded(source) if not result.passed]
    own = [message for message in messages if not message.startswith("your code raised")]  # those are the grader's
    assert messages
    assert own or TELLS_BY_NAME in source  # where every call raises there is nothing else to say
    for message in own:
        assert SECRET not in message and "\x1b" not in message and len(message) < 400
