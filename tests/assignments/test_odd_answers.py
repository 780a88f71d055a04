"""Answers of a1 in odd forms: a right solution, one function of which gives its answer as something else.

No check stumbles over one, none speaks of a misconception where there is no value to speak of, and a type that the hidden
checks refuse is refused by the public ones, too.
"""

import random
import re
import signal
from collections import ChainMap, Counter, OrderedDict, deque, namedtuple
from types import MappingProxyType, SimpleNamespace

import catalogue
import numpy as np
import pytest
import torch
from catalogue import DetachedStudent, solutions, spec

from cs336lite.course.spec import LocalStudent, StudentError
from cs336lite.grading import wire

A1 = "a1_bpe"
SOURCE = next(one.source for one in solutions(A1, "right") if one.name == "right_in_parts")
MEASURED = (
    *("train.does_not_recount_everything", "train.does_not_scan_all_words"),
    *("encode.costs_what_the_text_is_long", "train.cost_of_a_merge"),
)
HIDDEN, PUBLIC = ([one for one in spec(A1, side) if one.id not in MEASURED] for side in ("hidden", "public"))


class Thing:
    pass


class Number(int):
    pass


class Text(str):
    pass


class Stream:
    """Iterable, and nothing else."""

    def __init__(self, parts):
        self.parts = parts

    def __iter__(self):
        return iter(self.parts)


def generator(parts):
    yield from parts


def deep(answer):
    for _ in range(200):
        answer = [answer]
    return answer


def inside_itself(answer):
    endless = []
    endless.append(endless)
    return endless


Both = namedtuple("Both", "vocab merges")

NOTHING = {  # has no value of the answer's
    "None": lambda answer: None,
    "Ellipsis": lambda answer: ...,
    "zero": lambda answer: 0,
    "True": lambda answer: True,
    "nan": lambda answer: float("nan"),
    "a large number": lambda answer: 2**80,
    "an empty string": lambda answer: "",
    "an empty list": lambda answer: [],
    "an empty dict": lambda answer: {},
    "an empty set": lambda answer: set(),
    "a thing": lambda answer: Thing(),
    "a class": lambda answer: Thing,
    "a function": lambda answer: lambda: answer,
    "an exception": lambda answer: ValueError("x"),
    "a 0-d tensor": lambda answer: torch.tensor(3),
    "a tensor of nan": lambda answer: torch.tensor([float("nan")]),
    "a numpy number": lambda answer: np.int64(3),
    "in a list": lambda answer: [answer],
    "in a tuple": lambda answer: (answer,),
    "deep": deep,
    "inside itself": inside_itself,
}
PARTS = {  # the same parts in another container
    "generator": generator,
    "tuple": tuple,
    "iterator": iter,
    "deque": deque,
    "iterable": Stream,
    "values": lambda answer: dict(enumerate(answer)).values(),
    "numpy": lambda answer: np.array(list(answer)),
    "each in a list": lambda answer: [[part] for part in answer],
    "numbered": lambda answer: list(enumerate(answer)),
    "one more": lambda answer: [*answer, None],
}
IDS = PARTS | {
    "numpy numbers": lambda answer: [np.int64(i) for i in answer],
    "0-d tensors": lambda answer: [torch.tensor(i) for i in answer],
    "a tensor": lambda answer: torch.tensor(list(answer)),
    "of a subclass": lambda answer: [Number(i) for i in answer],
    "floats": lambda answer: [float(i) for i in answer],
    "floats of numpy": lambda answer: [np.float32(i) for i in answer],
    "a tensor of floats": lambda answer: torch.tensor([float(i) for i in answer]),
    "strings": lambda answer: [str(i) for i in answer],
    "large": lambda answer: [i + 2**70 for i in answer],
    "complex": lambda answer: [complex(i) for i in answer],
}
STRING = {
    "bytes": str.encode,
    "bytearray": lambda answer: bytearray(answer.encode()),
    "letters": list,
    "generator": generator,
    "of a subclass": Text,
    "numpy's": np.str_,
    "a numpy array": np.array,
    "a tuple": lambda answer: (answer,),
}
COUNTS = {
    "Counter": Counter,
    "items": lambda answer: list(answer.items()),
    "floats": lambda answer: {pair: float(times) for pair, times in answer.items()},
    "numpy numbers": lambda answer: {pair: np.int64(times) for pair, times in answer.items()},
    "0-d tensors": lambda answer: {pair: torch.tensor(times) for pair, times in answer.items()},
    "joined": lambda answer: {left + right: times for (left, right), times in answer.items()},
    "turned round": lambda answer: dict(reversed(answer.items())),
    "no numbers": dict.fromkeys,
    "numbers alone": lambda answer: list(answer.values()),
}
WORD = {
    "list": list,
    "generator": generator,
    "joined": b"".join,
    "strings": lambda answer: tuple(token.decode("latin-1") for token in answer),
    "lists of numbers": lambda answer: tuple(map(list, answer)),
    "numpy": lambda answer: np.array(answer, dtype=object),
    "with a flag": lambda answer: (answer, True),
}
MERGES = {
    "tuple": tuple,
    "generator": generator,
    "lists": lambda merges: [list(pair) for pair in merges],
    "generators": lambda merges: [generator(pair) for pair in merges],
    "by rank": lambda merges: dict(enumerate(merges)),
    "strings": lambda merges: [tuple(token.decode("latin-1") for token in pair) for pair in merges],
    "joined": lambda merges: [left + right for left, right in merges],
    "threes": lambda merges: [(*pair, b"".join(pair)) for pair in merges],
    "with ranks": lambda merges: [(pair, rank) for rank, pair in enumerate(merges)],
    "byte arrays": lambda merges: [tuple(map(bytearray, pair)) for pair in merges],
    "memory": lambda merges: [tuple(map(memoryview, pair)) for pair in merges],
    "numpy": lambda merges: np.array(merges, dtype=object),
    "ones": lambda merges: [(left,) for left, _ in merges],
    "lines": lambda merges: [b" ".join(pair) for pair in merges],
    "dicts": lambda merges: [dict([pair]) for pair in merges],
    "Nones": lambda merges: [None for _ in merges],
    "None": lambda merges: None,
}
VOCAB = {
    "OrderedDict": OrderedDict,
    "read only": MappingProxyType,
    "ChainMap": ChainMap,
    "turned": lambda vocab: {token: i for i, token in vocab.items()},
    "tokens": lambda vocab: list(vocab.values()),
    "items": lambda vocab: list(vocab.items()),
    "strings as keys": lambda vocab: {str(i): token for i, token in vocab.items()},
    "floats as keys": lambda vocab: {float(i): token for i, token in vocab.items()},
    "bools as keys": lambda vocab: {bool(i) if i < 2 else i: token for i, token in vocab.items()},
    "tensors as keys": lambda vocab: {torch.tensor(i): token for i, token in vocab.items()},
    "tuples as keys": lambda vocab: {(i,): token for i, token in vocab.items()},
    "nan as keys": lambda vocab: {float("nan"): token for token in vocab.values()},
    "large keys": lambda vocab: {i + 2**70: token for i, token in vocab.items()},
    "numpy keys": lambda vocab: {np.int64(i): token for i, token in vocab.items()},
    "strings": lambda vocab: {i: token.decode("latin-1") for i, token in vocab.items()},
    "lists": lambda vocab: {i: list(token) for i, token in vocab.items()},
    "words": lambda vocab: {i: (token,) for i, token in vocab.items()},
    "tensors": lambda vocab: {i: torch.tensor(list(token)) for i, token in vocab.items()},
    "memory": lambda vocab: {i: memoryview(token) for i, token in vocab.items()},
    "Nones": dict.fromkeys,
    "None": lambda vocab: None,
}
TRAINED = {
    **{f"merges: {name}": lambda answer, odd=odd: (answer[0], odd(answer[1])) for name, odd in MERGES.items()},
    **{f"vocab: {name}": lambda answer, odd=odd: (odd(answer[0]), answer[1]) for name, odd in VOCAB.items()},
    "list": list,
    "turned": lambda answer: answer[::-1],
    "named": lambda answer: Both(*answer),
    "attributes": lambda answer: SimpleNamespace(vocab=answer[0], merges=answer[1]),
    "dict": lambda answer: {"vocab": answer[0], "merges": answer[1]},
    "generator": generator,
    "three": lambda answer: (*answer, 5),
    "vocabulary alone": lambda answer: answer[0],
    "merges alone": lambda answer: answer[1],
    "numpy": lambda answer: np.array(answer, dtype=object),
}
FORMS = {
    "pretokenize": PARTS,
    "count_pairs": COUNTS,
    "merge_pair": WORD,
    "train_bpe": TRAINED,
    "Tokenizer": {},
    "Tokenizer.from_files": {},
    "Tokenizer.encode": IDS,
    "Tokenizer.decode": STRING,
    "Tokenizer.encode_iterable": IDS,
}
SEEN_BY_HIDDEN = [name for name in FORMS if name[0] == "T" or name == "train_bpe"]


def odd_solution(name, odd):
    """The names of a right solution of which the function ``name`` gives what ``odd`` makes of its answer."""
    names = catalogue.namespace(SOURCE, "odd") | {"odd": odd}
    method = name.rpartition(".")[2]
    given = "odd(list(old(*given)))" if method == "encode_iterable" else "odd(old(*given))"
    made = "staticmethod(new)" if method == "from_files" else "new"
    source = f"old = {name}\ndef new(*given):\n    return {given}\n{name} = {made}\n"
    exec(compile(source, "<odd>", "exec"), names)
    return names


class WiredStudent(DetachedStudent):
    """Answers pass as between the grader's processes."""

    def run(self, driver, *args):
        alone = {}
        exec(catalogue.code_of(driver), alone)
        answer = LocalStudent.run(self, alone[driver.__name__], *map(catalogue.wired, args))
        try:
            frame = wire.pack("value", answer)
        except wire.WireError:
            raise StudentError("BadAnswer", "the answer has a type that is not asked for") from None
        return wire.unpack(frame[: wire.PREFIX.size], frame[wire.PREFIX.size :])["value"]


class Endless(BaseException):
    """A word that grows with each merge is merged for ever: the grader's budget ends it, and here a clock."""


def judged(checks, kind, names):
    """The results of all checks that end."""
    student, results = kind(names), []

    def ring(*_):
        raise Endless

    before = signal.signal(signal.SIGVTALRM, ring)
    try:
        for one in checks:
            signal.setitimer(signal.ITIMER_VIRTUAL, 5)
            try:
                results.append(one.run(student, "odd"))
            except Endless:
                continue
            finally:
                signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    finally:
        signal.signal(signal.SIGVTALRM, before)
        student.close()
    return results


OF_FORM = re.compile(
    "returned|must return|must yield|must be a list of pairs|could not be used|has a type that|this is judged when"
    "|came back|come out|comes out|came out|do not spell the text|does not give|do not give|is judged by|your code raised"
    "|does not take the arguments|must map ids|not as many merges|is measured when|whole input is read|must be bytes"
)
"""What can be said of an answer without any value."""


def expect_true_sentences(name, odd, nothing):
    names = odd_solution(name, odd)
    public = judged(PUBLIC, LocalStudent, names)
    hidden = judged(HIDDEN, WiredStudent, names) if name in SEEN_BY_HIDDEN else []
    assert not [(one.id, one.fault) for one in [*public, *hidden] if one.fault]
    assert not [one.message for one in hidden if "does not have the form" in one.message]
    if nothing:
        said = {one.message for one in hidden if not one.passed}
        assert not [message for message in said if not OF_FORM.search(message)]
        assert said or name in ("pretokenize", "count_pairs", "merge_pair")
    if not all(one.passed for one in hidden):
        assert not all(one.passed for one in public), "what the hidden checks refuse passes all public ones"


def every(sample, nothing):
    """One case for each function and odd form of it; all but a few of each function, drawn by a seed, are slow."""
    cases = []
    for name, forms in FORMS.items():
        forms = NOTHING if nothing else forms
        quick = random.Random(name).sample(list(forms), min(sample, len(forms)))
        for form, odd in forms.items():
            marks = [] if form in quick else [pytest.mark.slow]
            cases.append(pytest.param(name, odd, id=f"{name}, {form}", marks=marks))
    return pytest.mark.parametrize(("name", "odd"), cases)


pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.skipif(not hasattr(signal, "SIGVTALRM"), reason="an endless loop is ended by a signal"),
]


@every(2, nothing=True)
def test_an_answer_without_a_value_hears_of_its_form_alone(name, odd):
    expect_true_sentences(name, odd, nothing=True)


@every(3, nothing=False)
def test_an_answer_of_another_type_stops_no_check(name, odd):
    expect_true_sentences(name, odd, nothing=False)
