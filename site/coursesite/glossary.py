"""The glossary: English terms whose Chinese stands in brackets behind them, in the texts of the course."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

__all__ = ["Term", "glossary", "terms"]

HAN = r"[\u4e00-\u9fff]"
BRACKET = re.compile(rf"\(([^()\n\"“'=]*{HAN}[^()\n\"“'=]*)\)")
STOP = frozenset(
    "a an the of in on and or with are is be by to for from as at this that these its each every one such their our all has "
    "have had most many some more which than when where it we you they if so but not no into since makes draws gives give "
    "called what becomes offers means let dimensions bars take kept call must first shared".split()
)
STRESS, HEADING, PLAIN = 0, 1, 2


@dataclass
class Term:
    """An English term, its Chinese, and the (page, anchor, title) where it is explained first and met again."""

    english: str
    chinese: list[str]
    places: list[tuple[str, str, str]] = field(default_factory=list)


def terms(markdown: str) -> Iterable[tuple[str, str, int]]:
    """(English, Chinese, how it is written) of a text: stressed, a heading, or words of a sentence.

    >>> list(terms("The *causal mask* (因果掩码) hides. A *gated linear unit* (门控线性单元, GLU; [arXiv 1612.08083](https://x))."))
    [('causal mask', '因果掩码', 0), ('gated linear unit (GLU)', '门控线性单元', 0)]
    >>> list(terms("# 05 · Stability (稳定性)")), list(terms("reads most LLMs as pre-norm (前归一化) models"))
    ([('stability', '稳定性', 1)], [('pre-norm', '前归一化', 2)])
    """
    text = re.sub(r"(?s)```.*?```|<svg.*?</svg>", "", markdown)
    text = re.sub(r"\[([^\]]*)\]\([^()\s]*\)", r"\1", text)  # links as they are read
    text = re.sub(r"(?<=[^\n|])\n(?=[^\n#|>-])", " ", text)  # a term may go on in the next line
    for line in text.split("\n"):
        for found in BRACKET.finditer(line):
            chinese, more = parts(found[1])
            english, written = before(line[: found.start()].rstrip())
            if english and chinese:
                extra = f" ({more})" if more and more.lower() not in english.lower() else ""
                yield english + extra, chinese, written


def parts(bracket: str) -> tuple[str, str]:
    """(the Chinese of a bracket, its abbreviation or ""): sources and words in English are left out."""
    pieces = [piece.strip() for piece in re.split(r"[,;、]", bracket)]
    chinese = next((piece for piece in pieces if re.search(HAN, piece)), "")
    chinese = re.sub(r"(?<=[\u4e00-\u9fff]) [a-z].*$", "", chinese)
    if re.search(r"[a-z]{3}", chinese):  # a term that is half English, such as 在线 softmax, or a sentence
        chinese = chinese if re.fullmatch(rf"[\w{HAN[1:-1]} -]+", chinese) and len(chinese) < 16 else ""
    short = next((piece for piece in pieces if re.fullmatch(r"[A-Z][A-Za-z]{1,6}", piece)), "")
    return chinese, short


def before(line: str) -> tuple[str, int]:
    """The term in front of a bracket: what is stressed there, a heading, else up to three words of the sentence."""
    if found := re.search(r"(\*\*?|`)([^*`]+?)[,.:]?\1$", line):
        return tidy(re.sub(r"^.*[.?] (?=\w)", "", found[2])), STRESS
    if heading := re.match(r"#+ (.+)$", line):
        return tidy(re.sub(r"^(?:Assignment )?\w+ · ", "", heading[1])), HEADING
    if stressed := re.search(r"\*\*?([A-Z][^*]*)$", line):  # a bracket inside what is stressed
        return tidy(last_words(stressed[1])), STRESS
    if row := re.search(r"\|\s*([^|]+)$", line):
        return tidy(last_words(row[1])), PLAIN
    return tidy(last_words(line)), PLAIN


def last_words(text: str) -> str:
    words: list[str] = []
    for word in reversed(re.sub(r"\$[^$]*\$", " . ", text).split()):
        if word.lower().strip("*`") in STOP or re.search(r"[.,;:()?!%|]$|^[^\w*`]|^\d", word):
            break
        words.insert(0, word)
        if len(words) == 3:
            break
    return " ".join(words)


def tidy(term: str) -> str:
    """Without marks and articles, and without a capital that only a sentence or a heading gave it."""
    term = re.sub(r"[*`$?]", "", term).strip(" ,.:;–-")
    term = re.sub(r"^(?:the|a|an|A|The|An) ", "", term)
    first, *rest = term.split(" ") if term else [""]
    if first[1:] == first[1:].lower():
        first = first.lower() if len(first) > 1 else first
    return " ".join([first, *rest])


def glossary(
    pages: Iterable[tuple[str, str, Iterable[tuple[str, str]]]], names: Mapping[str, str] | None = None
) -> list[Term]:
    """The terms of pages, in alphabetical order.

    Args:
        pages: (page, its title, (anchor, Markdown) of its parts), in the order of the course.
        names: the English of a Chinese term, where a text has it only in other words.

    One Chinese term has one row: under its name, else under the English that is stressed in a text, else a heading's, else
    the shortest.
    """
    names = names or {}
    found: dict[str, dict[str, list]] = {}
    for page, title, sections in pages:
        for anchor, markdown in sections:
            for english, chinese, written in terms(markdown):
                ways = found.setdefault(chinese, {"names": [], "places": []})
                ways["names"].append((written, len(english), english))
                if all(place[0] != page for place in ways["places"]):
                    ways["places"].append((page, anchor, title))
    rows: dict[str, Term] = {}
    for chinese, ways in found.items():
        english = names.get(chinese) or min(ways["names"])[2]
        row = rows.setdefault(english.lower(), Term(english, []))
        row.chinese.append(chinese)
        row.places += [place for place in ways["places"] if place not in row.places]
    return sorted(rows.values(), key=lambda term: term.english.lower())
