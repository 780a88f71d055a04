"""What a submission says must not come back: each assignment's own hidden checks, asked by the real worker.

The submissions here know all that can be known beside them: they see the drivers and the inputs, and say them again in
every way there is: as answers, as the names of exceptions, of attributes, of cells, as line numbers.
"""

import re
import sys

import pytest
from arena import RIGHT, Case, book, family, wrong

from cs336lite.course import answers, student
from cs336lite.course.border import CUT, KNOWN_KINDS, LONGEST
from cs336lite.course.paths import GRADED_MODULES, find_root
from cs336lite.course.spec import Check, StudentError
from cs336lite.grading import advice, budget, client, places, remote
from cs336lite.grading.judge import Judge, hidden_source
from cs336lite.grading.submission import Submission

COURSE = find_root(__file__) / "assignments"
linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="grading runs on Linux")
MARK = "Zqx"  # begins every word that a submission says here; no message holds it

SEEN = """
import sys
SEEN = []
def child():
    frame = sys._getframe()
    while frame is not None:
        me = frame.f_locals.get("self")
        if hasattr(me, "channel"):
            return me
        frame = frame.f_back
def said():
    text = repr(SEEN)[-150000:]
    return "Zqx" + text.encode().hex()
ESCAPES = "\\x1b]0;Zqx\\x07\\x1b[31m\\n\\n# Zqx ![x](https://zqx.example/x.png) <b>\\u202e\\u200b\\x9b\\x00"
"""
TELLING = {
    # names of exceptions, of missing names and of refused functions, from code that the drivers call
    "names": """
class Meta(type):
    def __getattr__(cls, name): raise type(said()[:60], (Exception,), {})
    def __call__(cls, *args, **options):
        SEEN.append((args, options))
        kinds = [said()[:60], "Zqx", ESCAPES, "MissingName", "LibraryCall", "ModuleNotFoundError", "AttributeError"]
        kind = type(kinds[len(SEEN) % len(kinds)], (Exception,), {"__str__": lambda self: "Zqx"})
        error = kind("Zqx")
        error.name = ["Zqx", "Zqx" + ESCAPES, "torch.Zqx", "\\ud800"][len(SEEN) % 4]
        raise error
class Teller(metaclass=Meta): pass
for name in NAMES: globals()[name] = Teller
""",
    # frames that tell of an error: kinds, names, cells and lines
    "missing": """
me = child()
old = type(me).answer
def answer(self, frame):
    SEEN.append(frame.get("source"))
    if frame["op"] == "run":
        word = ["Zqx", said()[:50], "drive_training", [], None, 3, ESCAPES, "\\ud800"][len(SEEN) % 8]
        kind = ["MissingName", "Zqx", "\\ud800Zqx", {"Zqx": 1}, "LibraryCall", "x" * 70][len(SEEN) % 6]
        return sys.modules['wire'].pack("error", kind=kind, detail=word, cell=["1", "Zqx", 1, ESCAPES][len(SEEN) % 4],
                              line=[10 ** 4000, 3, -1, 4999, 7 * 10 ** 9, "Zqx", True][len(SEEN) % 7])
    return old(self, frame)
type(me).answer = answer
""",
    # answers: the whole of what was seen as a text, in lists, pairs, dicts and bytes; and words of the drivers in an order
    # that says something
    "answers": """
import random, re
me = child()
def run(self, source, function, args):
    SEEN.append((source, repr(args)))
    kind = said()
    told = " ".join(random.Random(len(SEEN)).choices(re.findall(r"\\w+", source), k=300)) + " Zqx"
    forms = [kind, told, [told] * 4, [(told, told)] * 4, [kind] * 8, [(kind, kind)] * 8, {"kind": kind, kind: kind}, kind.encode(), (kind, [ESCAPES]),
             ESCAPES, [10 ** 17, 123456789], "\\ud800", ["Zqx", "nothing"], [["Zqx", "Zqx"]]]
    return forms[len(SEEN) % len(forms)]
type(me).run = run
""",
}


@pytest.fixture(scope="module")
def judged():
    """The verdict on cells by the checks of a text, from one judge for all that are judged by the same."""
    judges = {}

    def verdict(assignment, text, code):
        if text not in judges:
            judges[text] = Judge.of(assignment, text, "0123456789abcdef" * 2, trust=True)
        return judges[text].judge(Submission((("1", code),), "submission"))

    yield verdict
    for one in judges.values():
        one.close()


def messages_of(judged, assignment, source):
    _, text = hidden_source(COURSE, assignment)
    names = sorted({*re.findall(r"\bstudent\.([A-Za-z_]\w*)", text)} - {"run", "file", "cpu_seconds"})
    code = f"NAMES = {names!r}\n{SEEN}\n{source}\n"
    return text, judged(assignment, text, code)


@linux
@pytest.mark.parametrize("way", TELLING)
@pytest.mark.parametrize("assignment", GRADED_MODULES)
def test_no_message_of_a_hidden_check_holds_what_a_submission_said(judged, assignment, way):
    source, verdict = messages_of(judged, assignment, TELLING[way])
    modules = (advice, budget, client, places, remote, answers, student, sys.modules[Check.__module__])
    ours = re.findall(r"\w+", "\n".join([source, *map(source_of, modules)]))
    known = {*ours, *KNOWN_KINDS, *re.findall(r"\w+", source_of(sys.modules["cs336lite.course.border"]))}
    messages = [check.message for check in verdict.checks if not check.passed]
    assert messages
    for message in messages:
        assert len(message) <= LONGEST and message.isprintable(), message
        assert MARK.lower() not in message.lower(), message
        foreign = {word for word in re.findall(r"\w+", message) if word not in known and len(word) > 3}
        assert not foreign, message


def source_of(module):
    with open(module.__file__, encoding="utf-8") as file:
        return file.read()


ESCAPES = (
    "\x1b]0;OWNED\x07\x1b[31m\x1b[2A\x1b[K\u202e\n\n# 10 of 10\n\n![x](https://evil.example/x.png) <img src=x> | x |"
)

LEAKY = """
WARM = ()
from cs336lite.course.spec import check, expect

def drive(student, given):
    try:
        return student.f(given)
    except Exception as error:
        return type(error).__name__

@check("double", points=1, title="kinds")
def kinds(student, rng):
    kind = student.run(drive, "".join(rng.choices("bcdfgh", k=30)))
    expect(kind == "ValueError", f"a bad argument raised {kind}: raise a ValueError that says what is wrong")

@check("halve", points=1, title="values")
def values(student, rng):
    expect(False, "the answer is {}, not what was asked for".format(student.run(drive, rng.randrange(10**8, 10**9))))
"""
TOLD = "a bad argument raised {} raise a ValueError that says what is wrong"


@linux
@pytest.mark.parametrize(
    "answer, told",
    [
        ("raise ValueError", ""),
        ("raise TypeError", TOLD.format("TypeError:")),
        ("raise type('x' + given.encode().hex(), (Exception,), {})", TOLD.format(CUT)),
        ("return given", TOLD.format(CUT)),
        ("return given.encode()", TOLD.format(CUT)),
        ("return [given, given]", TOLD.format(CUT)),
        ("return '.'.join(str(ord(c)) for c in given)", TOLD.format(CUT)),
        ("import base64; return base64.b85encode(given.encode()).decode()", TOLD.format(CUT)),
        ("return given * 1000", TOLD.partition("{")[0] + CUT),
        (f"return {ESCAPES!r} + given", None),
        ("return [ord(c) for c in given]", None),
    ],
)
def test_a_check_that_repeats_an_answer_gives_nothing_away(judged, answer, told):
    """These checks are careless, and say what they were told: what leaves holds no letter of it."""
    code = f"def f(given):\n    if isinstance(given, int): return given\n    {answer}"
    kinds, values = judged("a1_bpe", LEAKY, code).checks
    assert values.message == f"the answer is {CUT} not what was asked for"
    assert told is None or kinds.message == told
    assert kinds.message.isprintable() and len(kinds.message) <= 150
    assert not re.search(r"[bcdfgh]{6}|OWNED", kinds.message) and sum(map(str.isdigit, kinds.message)) <= 8


def raising(name):
    return f"def {{}}(*args):\n    raise type({name!r}, (Exception,), {{{{}}}})"


def telling(name):
    """Nothing solved: every answer is an exception of this name."""
    return wrong(**{exercise: raising(name).format(exercise) for exercise in RIGHT})


CASES = [
    Case("escapes", telling(ESCAPES), book(RIGHT, before=("class Own(Exception): pass\ntry:\n    raise Own\nexcept Own: pass",))),
    Case("surrogate", wrong(double="class E(Exception): pass\nE.__name__ = 'x\\ud800'\ndef double(x):\n    raise E")),
    Case("eight-megabytes", wrong(double="class E(Exception): pass\nE.__name__ = 'x' * 8_000_000\ndef double(x):\n    raise E")),
    Case("identifier", wrong(double="def double(x):\n    raise type('x' + str(x).encode().hex(), (Exception,), {})")),
    Case("missing", wrong(double="class MissingName(Exception):\n    name = ''\ndef double(x):\n    MissingName.name = f'n{x}'\n    raise MissingName")),
    Case("module", wrong(double="def double(x):\n    raise ModuleNotFoundError(name=f'n{x}')")),
    Case("lines", wrong(before=("\n" * 900_000 + "def at(line):\n    exec(compile('\\n' * line + '1/0', '<cell 2>', 'exec'))",),
                        double="def double(x):\n    at(x % 900_000)")),
    Case("surrogate-in-source", wrong(before=("x = '\ud800'",)), book(RIGHT, before=("x = '\\ud800'",))),
]  # fmt: skip

outcome, test_attack, test_twin, test_class = family("messages", CASES, feedback=True)


@linux
@pytest.mark.parametrize("student", [f"{case.name}-attack" for case in CASES])
def test_what_is_told_of_an_attack_is_ours(outcome, student):
    for message in outcome["messages"][student]:
        assert message.isprintable() and len(message) <= LONGEST, message
        assert not re.search(r"OWNED|x[0-9a-f]{6}|n\d{3}|\d{5}|evil", message), message


@linux
@pytest.mark.parametrize("student", [f"{case.name}-attack" for case in CASES])
def test_the_head_of_a_graded_notebook_has_one_heading_and_one_table(outcome, student):
    import json

    head = json.loads(outcome["autograded"][student])["cells"][0]["source"]
    head = "".join(head)
    assert len(re.findall(r"^#", head, re.M)) == 1 and "![" not in head and "<img" not in head
    rows = [line for line in head.splitlines() if line.startswith("|")]
    assert len(rows) == 5 and all(len(re.findall(r"\|", row)) == 4 for row in rows)


@linux
def test_an_exception_of_ones_own_is_told_without_its_name_and_the_known_ones_with_it():
    """The twin: a person who makes a mistake still learns which."""
    with client.Worker() as worker:
        for source, words in (
            ("def f(): raise ZeroDivisionError", "your code raised ZeroDivisionError (cell 1, line 1)"),
            ("class Mine(Exception): pass\ndef f(): raise Mine", "an exception of your own (cell 1, line 2)"),
            ("def g(): pass", "`f` is not defined: has its cell been deleted or renamed?"),
        ):
            for label in ("1", ""):
                with worker.student(((label, source),)) as student, pytest.raises(StudentError) as caught:
                    student.begin(5)
                    student.run(call)
                told = words if label else words.replace("cell 1, ", "").replace("its cell", "it")
                assert told in str(caught.value)


def call(student):
    return student.f()
