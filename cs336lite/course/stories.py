"""Tell small stories from a grammar: English and Chinese text for a model to learn when there is no network.

A story is a *plot* told about people, places and things that are drawn at random. The plots are in ``stories_en.txt`` and
``stories_zh.txt``: a title, the plot's own draws, an empty line, and the template that tells it.

    == lost                                 the title; the draws of section ``*`` belong to every plot
    place = the park | the river            {place} is one of these
    one, two = here | there | nowhere       several names: different choices
    why, then =                             one choice a line; columns belong together
        it rained ; got wet
        it snowed ; got cold
    thing x = ball | shoes                  a noun with a colour: {x} {x.noun} {x.they} {x.was} agree in number

    [a|b|c]                                 in a template: one of the choices, which may hold choices and may be empty
    {a} {a.he} {b.his} {m.kind}             hero, friend, grown-up: names, pronouns, what they are
    a(n) X                                  "a" or "an", whichever X asks for

A model finds near rules in such text (spelling, articles, tense), middle ones (pronouns, plurals, quotation marks) and far
ones (whose ball it was, what three things to buy, how many pears are left). The vocabulary is that of small children, as
in TinyStories (Eldan and Li 2023, arXiv 2305.07759); every sentence is our own.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from typing import TypeVar

__all__ = ["chinese_stories", "stories"]

T = TypeVar("T")

COLORS = "red blue green yellow purple orange white pink brown silver"
NUMBERS = "zero one two three four five six seven eight nine ten"
GIRLS = "Lily Mia Anna Zoe Nora Ella Ruby Maya Sara Mei Aisha Tina Lucy Rosa Hana Emma"
BOYS = "Tom Ben Max Sam Leo Jack Omar Finn Tim Noah Kai Raj Hugo Peter Luis Adam"
SHE_ANIMALS = "Daisy Luna Willow Clover Olive Poppy Pearl Hazel Maple Fern"
HE_ANIMALS = "Rusty Bruno Pip Biscuit Acorn Pepper Moss Button Teddy Bramble"
ANIMALS = "rabbit fox bear mouse duck squirrel hedgehog badger cat puppy"
FAMILY = {"mom": True, "dad": False, "grandma": True, "grandpa": False, "aunt": True, "uncle": False}

CHINESE_NUMBERS = "零 一 两 三 四 五 六 七 八 九 十"
CHINESE_GIRLS = "小梅 小雨 婷婷 丽丽 安安 朵朵 小兰 月月"
CHINESE_BOYS = "小明 大伟 乐乐 天天 阿宝 冬冬 小刚 强强"
CHINESE_FAMILY = {"妈妈": True, "爸爸": False, "奶奶": True, "爷爷": False}


class Draw:
    """Random choices, the same in every version of Python: only ``random.Random.random`` promises that."""

    def __init__(self, seed: str) -> None:
        self._random = random.Random(seed)

    def below(self, n: int) -> int:
        return int(self._random.random() * n)

    def one(self, choices: Sequence[T]) -> T:
        return choices[self.below(len(choices))]

    def some(self, choices: Sequence[T], n: int) -> list[T]:
        """``n`` different choices, in random order."""
        pool = list(choices)
        return [pool.pop(self.below(len(pool))) for _ in range(n)]

    def expand(self, template: str) -> str:
        """The template with every ``[a|b]`` replaced by one of its choices, innermost first."""
        while "[" in template:
            template = re.sub(r"\[([^\[\]]*)\]", lambda match: self.one(match[1].split("|")), template)
        return template


@dataclass(frozen=True)
class Person:
    """A character and the forms of its name: ``{a}`` Lily, ``{a.he}`` she, ``{a.kind}`` girl."""

    name: str
    female: bool
    kind: str

    def __str__(self) -> str:
        return self.name

    he = property(lambda self: "she" if self.female else "he")
    him = property(lambda self: "her" if self.female else "him")
    his = property(lambda self: "her" if self.female else "his")
    himself = property(lambda self: "herself" if self.female else "himself")
    He = property(lambda self: self.he.capitalize())
    His = property(lambda self: self.his.capitalize())


@dataclass(frozen=True)
class ChinesePerson:
    name: str
    female: bool
    kind: str

    def __str__(self) -> str:
        return self.name

    he = property(lambda self: "她" if self.female else "他")


@dataclass(frozen=True)
class Thing:
    """A noun with an adjective: ``{x}`` red ball, ``{x.some}`` a red ball or some red shoes, ``{x.they}`` it or they."""

    noun: str
    adjective: str

    def __str__(self) -> str:
        return f"{self.adjective} {self.noun}"

    plural = property(lambda self: self.noun in ("shoes", "mittens", "marbles"))
    some = property(lambda self: f"{'some' if self.plural else 'a(n)'} {self}")
    they = property(lambda self: "they" if self.plural else "it")
    them = property(lambda self: "them" if self.plural else "it")
    was = property(lambda self: "were" if self.plural else "was")
    are = property(lambda self: "are" if self.plural else "is")
    this = property(lambda self: "these" if self.plural else "this")


# a rule draws values for names: (names, choices); a plot is its rules and its template
Rule = tuple[list[str], list[str]]
Plot = tuple[list[Rule], str]


def read_plots(text: str) -> list[Plot]:
    """The plots in the text of a plot file, each with the rules of section ``*`` before its own."""
    shared: list[Rule] = []
    plots = []
    for section in re.split(r"^== ", text, flags=re.MULTILINE)[1:]:
        head, _, template = section.partition("\n\n")
        title, *lines = head.split("\n")
        rules: list[Rule] = []
        for line in lines:
            names, equals, choices = line.partition(" =")
            if line.startswith(" "):  # the choices of the rule above, one a line
                rules[-1][1].append(line.strip())
            elif equals:
                rules.append((names.split(", "), [choice.strip() for choice in split_outside(choices)]))
        if title.strip() == "*":
            shared = rules
        else:
            plots.append((shared + rules, template))
    return plots


def split_outside(choices: str) -> list[str]:
    """Choices separated by ``|`` outside brackets; [] for an empty text."""
    parts = re.findall(r"(?:\[(?:[^\[\]]|\[[^\[\]]*\])*\]|[^\[\]|])+", choices)
    return [part for part in parts if part.strip()]


def draw_rules(draw: Draw, rules: list[Rule]) -> dict[str, object]:
    """Values for the names of a plot's rules."""
    values: dict[str, object] = {}
    for names, choices in rules:
        if names[0].startswith("thing "):
            values[names[0].removeprefix("thing ")] = Thing(draw.one(choices), draw.one(COLORS.split()))
        elif " ; " in choices[0]:
            values.update(zip(names, draw.one(choices).split(" ; "), strict=True))
        else:
            values.update(zip(names, draw.some(choices, len(names)), strict=True))
    return values


def tell(draw: Draw, template: str, values: dict[str, object]) -> str:
    """A template with its choices drawn and its names filled in, again for what the values bring in themselves."""
    while "[" in template or "{" in template:
        template = draw.expand(template).format(**values)
    return template


def numbers(draw: Draw, words: list[str]) -> dict[str, object]:
    """Words with given + left = total, 2 <= given < left."""
    total = 5 + draw.below(6)
    given = 2 + draw.below((total - 1) // 2 - 1)
    return {"total": words[total], "given": words[given], "left": words[total - given]}


def english_story(draw: Draw, plots: list[Plot]) -> str:
    rules, template = draw.one(plots)
    animals = draw.below(3) == 0
    girls, boys = (SHE_ANIMALS, HE_ANIMALS) if animals else (GIRLS, BOYS)
    names = draw.some([(name, True) for name in girls.split()] + [(name, False) for name in boys.split()], 3)
    kinds = draw.some(ANIMALS.split(), 3) if animals else ["girl" if female else "boy" for _, female in names]
    a, b, c = (Person(name, female, kind) for (name, female), kind in zip(names, kinds))
    word, female = draw.one(list(FAMILY.items()))
    m = Person(f"{a.his} {word}", female, word.capitalize())
    text = tell(
        draw, template, {"a": a, "b": b, "c": c, "m": m} | numbers(draw, NUMBERS.split()) | draw_rules(draw, rules)
    )
    paragraphs = [" ".join(paragraph.split()) for paragraph in text.strip().split("\n\n")]
    text = re.sub(r"\ba\(n\) (?=(\w))", lambda match: "an " if match[1] in "aeiou" else "a ", "\n\n".join(paragraphs))
    # a sentence begins with a capital letter; "..., she said" and "..." she said "..." go on with a small one
    return re.sub(
        r"(^|\n|[a-z0-9][.!?] |(?:^|\n|[.!?:] |\" )\")([a-z])", lambda match: match[1] + match[2].upper(), text
    )


def chinese_story(draw: Draw, plots: list[Plot]) -> str:
    rules, template = draw.one(plots)
    girls, boys = CHINESE_GIRLS.split(), CHINESE_BOYS.split()
    names = draw.some([(name, True) for name in girls] + [(name, False) for name in boys], 2)
    a, b = (ChinesePerson(name, female, "小女孩" if female else "小男孩") for name, female in names)
    m, m_female = draw.one(list(CHINESE_FAMILY.items()))
    they, both = ("她们" if a.female and other else "他们" for other in (b.female, m_female))
    cast = (
        {"a": a, "b": b, "m": m, "they": they, "both": both}
        | numbers(draw, CHINESE_NUMBERS.split())
        | draw_rules(draw, rules)
    )
    text = tell(draw, template, cast)
    return "\n\n".join("".join(paragraph.split()) for paragraph in text.strip().split("\n\n"))


def _plots(language: str) -> list[Plot]:
    return read_plots(
        resources.files("cs336lite.course").joinpath(f"stories_{language}.txt").read_text(encoding="utf-8")
    )


def stories(n: int, seed: int = 0) -> list[str]:
    """``n`` small English stories; story ``i`` depends on ``seed`` and ``i`` alone, on every machine.

    >>> stories(2)[0] == stories(1)[0]
    True
    """
    plots = _plots("en")
    return [english_story(Draw(f"en/{seed}/{i}"), plots) for i in range(n)]


def chinese_stories(n: int, seed: int = 0) -> list[str]:
    """``n`` small Chinese stories (中文小故事); story ``i`` depends on ``seed`` and ``i`` alone, on every machine."""
    plots = _plots("zh")
    return [chinese_story(Draw(f"zh/{seed}/{i}"), plots) for i in range(n)]
