"""What text looks like when it leaves: messages, labels, errors, whatever a submission may have had a hand in.

`plain` is for every text that goes to a terminal, a file or a page: one line, no control characters, a bounded length.
`markdown` is for text that becomes a part of markdown, and `lines` for a paragraph of our own that quotes names.
`own` is for what a hidden check says: it lets through what the check's source holds, and nothing that an answer brought.
`known_kind` is for the names of exceptions, which a submission can choose.
"""

from __future__ import annotations

import ast
import builtins
import re
from collections.abc import Iterable, Iterator
from functools import lru_cache

__all__ = ["KNOWN_KINDS", "known_kind", "lines", "markdown", "own", "plain", "python_kinds"]

LONGEST = 400  # characters of a message; ours are far shorter
CUT = "…"
INVISIBLE = frozenset("\u00ad\u200b\u200c\u200d\u2060\ufeff")  # without width: left out, as if they were not there
BROKEN = "\N{REPLACEMENT CHARACTER}"


# -- what can be shown ----------------------------------------------------------------------------------------------


def plain(text: object, limit: int = LONGEST) -> str:
    """A text as one line that does nothing but be read, of at most ``limit`` characters.

    White space of any kind becomes one blank. Control characters, lone surrogates, and what turns the direction of
    writing become ``\N{REPLACEMENT CHARACTER}``; what has no width goes. Letters and signs of all languages stay.
    """
    text = str(text)
    shown = cleaned(text[: 4 * limit]).strip()
    if len(shown) <= limit and len(text) <= 4 * limit:
        return shown
    return shown[: limit - 1].rstrip() + CUT


def lines(text: object, limit: int = 1000, most: int = 200) -> str:
    """A paragraph whose lines are `plain`; of very many lines the first."""
    found = str(text).split("\n", most)
    rest = [CUT] if len(found) > most else []
    return "\n".join([*(indent(line) + plain(line, limit) for line in found[:most]), *rest])


def indent(line: str) -> str:
    return " " * min(len(line) - len(line.lstrip(" ")), 20)


def cleaned(text: str) -> str:
    """A text without line ends, controls and the like, and without two blanks in a row."""
    if text.isascii() and text.isprintable() and "  " not in text:
        return text
    return re.sub(" +", " ", "".join(map(shown_as, text)))


def shown_as(letter: str) -> str:
    if letter.isprintable():
        return letter
    if letter.isspace():
        return " "
    return "" if letter in INVISIBLE else BROKEN


def harmless(text: str) -> str:
    """A text with its lines as they are, and without what a terminal would obey."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(letter if letter in "\n\t" else shown_as(letter) for letter in text)


def markdown(text: object, limit: int = LONGEST) -> str:
    """`plain` text in markdown that shows it letter for letter, with what stands in backticks as code.

    Signs are written as character references, which are text to every reader of markdown and never structure. The two
    signs with which mathematics begins are put into code, where no formula is looked for.
    """
    parts = re.split(r"`([^`]+)`", plain(text, limit))
    return "".join(f"<code>{escaped(part)}</code>" if i % 2 else prose(part) for i, part in enumerate(parts))


HARMLESS = r"(?<=[^\W_])(?:[-_](?=[^\W_])|:(?= ))"  # snake_case, well-known, and a colon that ends a word
ALIVE = r"[!#$&*+./:<>@\[\]\\^_`{|}~-]"


def escaped(text: str) -> str:
    def sign(found: re.Match) -> str:
        return NAMED.get(found[0]) or (f"&#{ord(found[1])};" if found[1] else found[0])

    return re.sub(f"{HARMLESS}|({ALIVE})", sign, text)


NAMED = {"<": "&lt;", ">": "&gt;", "&": "&amp;"}


def prose(text: str) -> str:
    return re.sub(r"&#(?:36|92);", r"<code>\g<0></code>", escaped(text))


# -- names of exceptions --------------------------------------------------------------------------------------------

LIBRARIES = """
AbsoluteLinkError AcceleratorError AnnotationError ArgumentError ArgumentTypeError AxisError BackendCompilerFailed
BadGzipFile BadZipFile BaseExceptionGroup BeartypeCallHintParamViolation BeartypeCallHintReturnViolation
BrokenBarrierError BrokenExecutor BrokenProcessPool BrokenThreadPool CalledProcessError CancelledError ComplexWarning
ConversionSyntax DataDependentOutputException DecimalException DistBackendError DistError DivisionByZero
DivisionUndefined DTypePromotionError DynamicOutputShapeException EinopsError Empty EncodingWarning Error
ExceptionGroup FloatOperation FrozenInstanceError Full GetoptError GradcheckError HTTPError Incomplete IncompleteRead
Inexact InvalidOperation InvalidStateError JSONDecodeError LibraryCall LinAlgError LZMAError NoSectionError
OperationalError OutOfMemoryError Overflow PackageNotFoundError ParseError ParsingError PatternError PickleError
PicklingError PythonFinalizationError QueueEmpty QueueFull RankWarning Rounded SameFileError StatisticsError
SubprocessError TarError TimeoutExpired TokenError TooHardError TorchRuntimeError TraitError TypeCheckError
UFuncTypeError URLError Underflow UnpicklingError UnsupportedFakeTensorException UnsupportedOperation
UnsupportedOperatorException UsageError ValidationError VisibleDeprecationWarning ZoneInfoNotFoundError
_ArrayMemoryError _LinAlgError _UFuncBinaryResolutionError _UFuncInputCastingError _UFuncNoLoopError
_UFuncOutputCastingError error gaierror herror itimer_error
"""
PYTHONS = frozenset(
    name for name, kind in vars(builtins).items() if isinstance(kind, type) and issubclass(kind, BaseException)
)
KNOWN_KINDS = PYTHONS | set(LIBRARIES.split())
"""Names of the exceptions of Python, its library, torch, numpy, einops, jaxtyping and of this grader."""
YOUR_OWN = "an exception of your own"


def known_kind(name: object) -> str:
    """The name of an exception where it is one that everybody knows; else that it is one of the student's own.

    A class may be called anything, so its name could carry whatever the code has seen.
    """
    return name if isinstance(name, str) and name in KNOWN_KINDS else YOUR_OWN


def python_kinds(names: object) -> list[str]:
    """Of some names, which a submission can choose, those of Python's own exceptions, each once."""
    named = names if isinstance(names, (list, tuple)) else ()
    return [*dict.fromkeys(name for name in named if isinstance(name, str) and name in PYTHONS)]


# -- what a check says ----------------------------------------------------------------------------------------------

LEAST_RUN = 12  # letters in a row that the source holds, from which on they count as a sentence of its own
MOST_RUNS = 12  # such runs in a message
MOST_LOOSE = 60  # letters between them: names, short numbers
MOST_DIGITS = 6  # of all these numbers together
DIGITS = 3  # of one that the source does not hold
ATOM = r"\w+"
PUNCTUATION = "()[]\"'`.,:;?!"
TOKEN = re.compile(rf"""[(\["'`]{{0,3}}{ATOM}(?:[./='-]{ATOM}){{0,3}}[)\]"'`.,:;?!]{{0,4}}""")


def own(message: str, source: str, also: Iterable[str] = ()) -> str:
    """A message as `plain` text in which nothing stands but what the ``source`` of a check says by itself.

    What stands between blanks and is neither in a string of the source nor made of its words, of names of known
    exceptions and of short numbers, becomes ``…``; ``also`` are further strings. The message must be made of a few strings
    of the source with little between them; what comes after that is cut off. So a check that repeats what it was
    answered, by mistake or in good faith, gives nothing away.
    """
    return _own(message if len(message) <= 4 * LONGEST else message[: 4 * LONGEST] + CUT, source, tuple(also))


@lru_cache(maxsize=512)
def _own(message: str, source: str, also: tuple[str, ...]) -> str:
    words, strings = said_by(source, also)

    def is_ours(token: str) -> bool:
        bare = token.strip(PUNCTUATION)
        if token in strings or (bare in strings and len(token) - len(bare) <= 4):
            return True
        atoms = re.findall(ATOM, token) if TOKEN.fullmatch(token) else [""]
        return all(atom in words or atom in KNOWN_KINDS or is_short_number(atom) for atom in atoms)

    message = " ".join(token if is_ours(token) else CUT for token in plain(message).split(" "))
    place, runs, loose, kept = 0, 0, "", []
    while place < len(message):
        length = longest_run(message, place, strings)
        piece = message[place : place + max(length, 1)]
        runs, loose = (runs + 1, loose) if length >= LEAST_RUN else (runs, loose + piece)
        if runs > MOST_RUNS or len(loose) > MOST_LOOSE or sum(map(str.isdigit, loose)) > MOST_DIGITS:
            kept.append(CUT)
            break
        kept.append(piece)
        place += len(piece)
    return re.sub(f"(?:{CUT} ?)+{CUT}", CUT, "".join(kept))


def is_short_number(atom: str) -> bool:
    return atom.isascii() and atom.isdigit() and len(atom) <= DIGITS


@lru_cache(maxsize=32)
def said_by(source: str, also: tuple[str, ...]) -> tuple[frozenset[str], str]:
    """The words of a source, and all its strings one after another."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        tree = ast.Module([], [])
    strings = [YOUR_OWN, *also, *(n.value for n in ast.walk(tree) if is_text(n))]
    return frozenset(re.findall(ATOM, "\n".join([source, *strings]))), "\n".join(map(cleaned, strings))


def is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def longest_run(message: str, place: int, strings: str) -> int:
    """How many letters of a message, from a place on, stand like this in one of the strings."""
    least, most = 0, len(message) - place
    while least < most:  # a part of what stands there stands there too
        middle = (least + most + 1) // 2
        if message[place : place + middle] in strings:
            least = middle
        else:
            most = middle - 1
    return least


def chain(error: BaseException | None) -> Iterator[BaseException]:
    """An exception, and those while or because of which it was raised."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__
