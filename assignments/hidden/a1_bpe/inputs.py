"""Words and texts drawn from the generator."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from itertools import pairwise
from string import ascii_letters, ascii_lowercase

from cs336lite.course.spec import drawn

from .definition import ENCODER, RIGHT, SEPARATORS, Encoder, Pair, Trainer, Word, merge, spell, vocab_of
from .mistakes_in_encoding import BYTES_ONLY, HIGHEST_RANK, LEFTMOST_PAIR, LONGEST_MATCH
from .mistakes_in_training import LINES, NOTHING_NEW, SMALLEST, SPACES, STALE, UNWEIGHTED, WHOLE


def draw(make: Callable[[], bytes | str | list], good: Callable[..., bool]):
    """The first input made that is good for its purpose."""
    for _ in range(500):
        made = make()
        if good(made):
            return made
    raise AssertionError("no suitable input was found")


def agree(data: bytes, number: int, *trainers: Trainer, special_tokens: tuple[str, ...] = ()) -> bool:
    """Whether these trainers' merges are the right ones: their difficulty does not show in this input."""
    right = RIGHT.merges(data, number, special_tokens)
    return all(trainer.merges(data, number, special_tokens) == right for trainer in trainers)


def differ(data: bytes, number: int, *trainers: Trainer, special_tokens: tuple[str, ...] = ()) -> bool:
    """Whether all of these trainers go wrong on this input."""
    right = RIGHT.merges(data, number, special_tokens)
    return all(trainer.merges(data, number, special_tokens) != right for trainer in trainers)


def letters(rng: random.Random, number: int, alphabet: str = ascii_lowercase) -> list[str]:
    return rng.sample(alphabet, number)


def planted(rng: random.Random, hot: dict[str, int], *, before: str = "", after: str = "", bare: str = "") -> list[str]:
    """Distinct words in which each string of ``hot`` stands so many times among letters that are rare.

    Pairs inside the strings are frequent, all others rare, and each word occurs once: neither weights nor what
    happens at the borders of words has a part in the first merges. ``bare`` takes letters out of the rare ones.
    """
    used = set("".join(hot)) | set(bare)
    rare = [letter for letter in ascii_letters if letter not in used]
    words: list[str] = []
    for string, times in hot.items():
        frames = rng.sample([(a, b) for a in rare for b in rare], times)
        words += [before + a + string + b + after for a, b in frames]
    rng.shuffle(words)
    return words


def scattered(rng: random.Random, words: list[str]) -> bytes:
    """A file of these words, between separators of so many kinds that no pair across a border is frequent."""
    return "".join(word + rng.choice(SEPARATORS) for word in words).encode()


def spread(rng: random.Random, number: int, low: int, step: int) -> list[int]:
    """Well separated counts in random order."""
    counts = [low + step * i + rng.randrange(max(step - 1, 1)) for i in range(number)]
    rng.shuffle(counts)
    return counts


def random_name(rng: random.Random) -> str:
    """A name for a special token without any character that means something in a regular expression."""
    return "<" + "".join(rng.choices(ascii_lowercase, k=rng.randint(4, 8))) + ">"


def small_language(rng: random.Random, number_of_letters: int, number_of_words: int) -> list[str]:
    """Words over a few letters, so that merges build on merges."""
    alphabet = letters(rng, number_of_letters)
    return ["".join(rng.choices(alphabet, k=rng.randint(2, 9))) for _ in range(number_of_words)]


COMMON = """the of and to in that it was he for on with as his they be at one have this from or had by not but what were
we when your can said there use an each which she do how their if will up other about out many then them these so some
her would make like him into time has look two more write go see way could my than first been call who its now find
long down day did get come made may part""".split()


def invented_words(rng: random.Random, number: int) -> list[str]:
    """Words as a language may have them, in none of which a pair of letters stands twice."""

    def word() -> str:
        starts, middles, ends = "bcdfghlmnprstvwy", "aeiou", ["", "n", "r", "s", "st", "nd", "l", "ck", "ng"]
        syllables = [rng.choice(starts) + rng.choice(middles) + rng.choice(ends) for _ in range(rng.randint(1, 3))]
        return "".join(syllables)

    def simple(word: str) -> bool:
        pairs = [*pairwise(word)]
        return len({*pairs}) == len(pairs)

    found: dict[str, None] = {}
    while len(found) < number:
        found[draw(word, simple)] = None
    return list(found)


def sentences(rng: random.Random, lexicon: list[str], number: int) -> Iterator[str]:
    """Sentences with commas, quotes, numbers and contractions, in ASCII."""
    weights = [1 / (place + 3) for place in range(len(lexicon))]
    for _ in range(number):
        words = rng.choices(lexicon, weights, k=rng.randint(5, 14))
        words[0] = words[0].capitalize()
        at = rng.randrange(1, len(words))
        words[at] = rng.choice(
            [words[at]] * 6 + [f"{words[at]},", f"{words[at]}'s", f'"{words[at]}"', str(rng.randint(2, 1999)), "don't"]
        )
        yield " ".join(words) + rng.choice("....!?")


def ordinary_text(rng: random.Random, lexicon: list[str], number: int) -> str:
    """Paragraphs of such sentences."""
    text = ""
    for sentence in sentences(rng, lexicon, number):
        text += sentence + rng.choice([" ", " ", " ", "\n", "\n\n"])
    return text.strip() + "\n"


def ordinary_words(rng: random.Random, number: int = 110) -> list[str]:
    """Words of a text, the frequent ones first."""
    return rng.sample(COMMON[:40], 40) + rng.sample([*COMMON[40:], *invented_words(rng, number)], number)


@drawn
def borders_with_frequent_pairs(rng) -> bytes:
    def make() -> bytes:
        last, *first = letters(rng, 4)
        words = []
        for start, times in zip(first, (24, 16, 9), strict=True):
            words += [start + word[0] + word[-1] + last for word in planted(rng, {start: times}, bare=last)]
        rng.shuffle(words)
        return ("".join(" " + word for word in words) + "\n").encode()

    return draw(make, lambda d: agree(d, 3, UNWEIGHTED, SMALLEST, STALE) and differ(d, 3, WHOLE, SPACES, LINES))


@drawn
def pairs_that_share_letters(rng) -> list[bytes]:
    """Pairs with a frequent neighbour, once on their right and once on their left."""

    def make(turned: bool) -> bytes:
        x, y, z, p, q = letters(rng, 5)
        three, two = (z + x + y, z + x) if turned else (x + y + z, y + z)
        hot = {
            three: rng.randint(19, 21),
            x + y: rng.randint(8, 10),
            two: rng.randint(4, 6),
            p + q: rng.randint(14, 16),
        }
        return scattered(rng, planted(rng, hot))

    def good(data: bytes) -> bool:
        return agree(data, 3, SMALLEST, WHOLE, UNWEIGHTED) and differ(data, 3, STALE, NOTHING_NEW)

    return [draw(lambda turned=turned: make(turned), good) for turned in (False, True, False, True)]


@drawn
def frequent_pairs(rng) -> bytes:
    """A file whose first six merges are of six letter pairs with different counts, for nearly every trainer."""

    def make() -> bytes:
        names = letters(rng, 12)
        strings = [a + b for a, b in zip(names[:6], names[6:], strict=True)]
        return scattered(rng, planted(rng, dict(zip(strings, spread(rng, 6, 10, 4), strict=True))))

    return draw(make, lambda d: agree(d, 6, SMALLEST, WHOLE, UNWEIGHTED))


@drawn
def names_in_no_order(rng) -> list[str]:
    """Special tokens, one of which is a longer form of another, not ordered by length or by letters."""
    names = sorted({random_name(rng) for _ in range(6)}, key=lambda name: (len(name), name))
    names = [names[0], names[-1], names[2], names[0][:-1] + "longer>"]
    orders = [sorted(names, key=key, reverse=turned) for key in (len, str) for turned in (False, True)]
    return draw(lambda: rng.sample(names, len(names)), lambda shuffled: all(shuffled != order for order in orders))


BY_RANK = Encoder(merge=lambda piece, merges: by_rank(piece, merges))


def by_rank(piece: str, merges: list[Pair]) -> Word:
    """What the definition gives, looking only for merges that the word can have."""
    ranks = {pair: rank for rank, pair in enumerate(merges)}
    word = spell(piece)
    while found := {*pairwise(word)} & ranks.keys():
        word = merge(word, min(found, key=ranks.__getitem__))
    return word


@drawn
def text_and_its_merges(rng) -> tuple[list[Pair], list[str]]:
    """Merges learned from ordinary text, and other text of the same words and of new ones."""

    def make() -> tuple[list[Pair], list[str]]:
        lexicon = ordinary_words(rng)
        merges = RIGHT.merges(ordinary_text(rng, lexicon, 200).encode(), 100)
        merges = list({a + b: (a, b) for a, b in reversed(merges)}.values())[::-1]
        other = [*lexicon, *invented_words(rng, 60)]
        return merges, [ordinary_text(rng, other, 12) for _ in range(3)]

    def good(made: tuple[list[Pair], list[str]]) -> bool:
        merges, texts = made
        vocab = vocab_of(merges)
        wrong = (LONGEST_MATCH, LEFTMOST_PAIR, HIGHEST_RANK, BYTES_ONLY)
        right = ENCODER.encode_all(vocab, merges, texts)
        return right == BY_RANK.encode_all(vocab, merges, texts) and all(
            encoder.encode_all(vocab, merges, texts) != right for encoder in wrong
        )

    return draw(make, good)
