"""What `train` asks for beside right merges: no work that grows with all words at each merge."""

from __future__ import annotations

from collections.abc import Sequence
from string import ascii_lowercase

from cs336lite.course.answers import either, fits, list_of
from cs336lite.course.spec import Fail, check, drawn, expect

from .asking import MERGES, SHAPE, TOO_FEW, expect_pairs, frequent_choices
from .definition import ABSENT, RIGHT, Pair, Word, spell
from .drivers import drive_merges
from .inputs import draw, letters
from .train import expect_learning


def drive_recount(student, words, passes):
    """What a full recount costs: count all pairs, find the greatest, go through all words to merge; ``passes`` times."""
    from itertools import pairwise

    words = {tuple(bytes([byte]) for byte in word): 1 for word in words.split(b"\n")}
    left, right = b"\x00", b"\x01"
    for _ in range(passes):
        counts = {}
        for word, number in words.items():
            for pair in pairwise(word):
                counts[pair] = counts.get(pair, 0) + number
        max(counts, key=lambda pair: (counts[pair], pair))
        for word in words:
            merged, at = [], 0
            while at < len(word):
                if at < len(word) - 1 and word[at] == left and word[at + 1] == right:
                    merged.append(left + right)
                    at += 2
                else:
                    merged.append(word[at])
                    at += 1
    return passes


def expect_words_learnt(merges: Sequence[Pair], frequent: dict[Word, int], data: bytes, few: int) -> bool:
    """Fail unless these merges are learnt from the text; whether they join what stands in the frequent words.

    Only such merges cost what right ones cost. Whose counts are wrong may merge other pairs of the same words, and is
    judged by the cost all the same.
    """
    joined, words = [left + right for left, right in merges], [b"".join(word) for word in frequent]
    begins = merges[0:1] == [*RIGHT.merges(data, 1, (ABSENT,))]
    grows = 4 * sum(len(token) > 2 for token in joined) > len(joined)
    inside = all(any(token in word for word in words) for token in joined)
    if not (begins and grows and inside) and 2 * frequent_choices(frequent, merges) <= len(merges):
        expect_learning(merges, data, few, [ABSENT])
    return inside


@drawn
def frequent_and_rare_words(rng) -> tuple[dict[str, int], list[str]]:
    """Words that win every merge, with their counts, and words that none touches: each of their 169 pairs is rare."""
    cold = letters(rng, 13)
    hot = [letter for letter in ascii_lowercase if letter not in cold]
    filler = ["".join(rng.choices(cold, k=30)) for _ in range(300)]
    return {"".join(rng.choices(hot, k=9)): rng.randint(150, 210) for _ in range(12)}, filler


@drawn
def written_anew(rng, hot: tuple[tuple[str, int], ...], filler: tuple[str, ...]) -> tuple[bytes, dict[Word, int]]:
    """A file of these words in another order and with other letters, which costs the same; its frequent words."""
    letter = str.maketrans(ascii_lowercase, "".join(rng.sample(ascii_lowercase, 26)))
    words = [*filler, *(word for word, times in hot for _ in range(times))]
    data = "\n".join(rng.sample(words, len(words))).translate(letter)
    return data.encode(), {spell(word.translate(letter)): times for word, times in hot}


@check("train", points=2, title="a merge costs what it changes: no full recount", seconds=120)
def does_not_recount_everything(student, rng):
    hot, filler = frequent_and_rare_words(rng)
    few, many, passes = 4, 44, 11
    least = dict.fromkeys(("recount", "recounts", "few", "many"), float("inf"))  # a busy machine only adds to a time

    def recount(name: str, times: int) -> None:  # where no code of the student's ever ran
        least[name] = min(least[name], student.yardstick(drive_recount, "\n".join(filler).encode(), times))

    def learn(name: str, number: int) -> None:  # another file each time, so that nothing can be known before
        data, frequent = written_anew(rng, tuple(hot.items()), tuple(filler))
        job = drive_merges, [256 + 1 + number], [[ABSENT]], student.file(data)
        answer, seconds = student.timed(*job)
        (merges,) = fits(answer, list_of(either(MERGES, type(None)), 1))
        expect(merges is not None, SHAPE)
        expect_pairs(merges)
        expect(abs(len(merges) - number) <= 1, TOO_FEW)  # who is off by one has paid for that
        expect_words_learnt(merges, frequent, data, few)
        least[name] = min(least[name], seconds)

    for _ in range(2):
        recount("recount", 1)
        learn("many", many)
        if least["many"] / many < least["recount"] / 4:
            return  # a merge is cheap even if it is charged with reading the file
    for rounds in range(1, 6):
        recount("recount", 1)
        recount("recounts", passes)
        learn("few", few)
        learn("many", many)
        per_recount = max(min(least["recount"], (least["recounts"] - least["recount"]) / (passes - 1)), 1e-9)
        # what a run of few merges takes beyond reason is not taken off a run of many
        per_merge = (least["many"] - min(least["few"], (few + 4) * per_recount)) / (many - few)
        ratio = per_merge / per_recount
        if ratio < 0.6 or ratio > (3 if rounds < 3 else 1):  # beyond what noise can do
            break
    if ratio < 0.85:  # going through all words to find the pair costs up to 0.7, counting all pairs again more than 1
        return
    raise Fail(
        "each merge costs as much as counting all pairs again: change the counts of words that hold the pair and of no others, "
        "and hold a word that stands often only once"
    )


@drawn
def words_that_no_merge_touches(rng) -> tuple[dict[str, int], list[str]]:
    """Words that win every merge, with their counts, and thousands of others, of which each pair is rarer than these."""
    cold = letters(rng, 13)
    hot = [letter for letter in ascii_lowercase if letter not in cold]
    filler = draw(lambda: ["".join(rng.choices(cold, k=5)) for _ in range(8000)], lambda made: len({*made}) > 7000)
    return {"".join(rng.choices(hot, k=9)): rng.randint(300, 400) for _ in range(12)}, filler


@check("train", points=2, title="a merge leaves alone the words that do not hold its pair", seconds=120)
def does_not_scan_all_words(student, rng):
    hot, filler = words_that_no_merge_touches(rng)
    few, many, small = 4, 54, 300
    least: dict[tuple[int, int], float] = {}  # the least time for so many words and merges

    def learn(words: int, number: int) -> None:
        data, frequent = written_anew(rng, tuple(hot.items()), tuple(filler[:words]))
        answer, seconds = student.timed(drive_merges, [256 + 1 + number], [[ABSENT]], student.file(data))
        (merges,) = fits(answer, list_of(either(MERGES, type(None)), 1))
        expect(merges is not None, SHAPE)
        expect_pairs(merges)
        expect(abs(len(merges) - number) <= 1, TOO_FEW)
        if not expect_words_learnt(merges, frequent, data, few):
            raise OtherWords
        least[words, number] = min(seconds, least.get((words, number), seconds))

    def recount(passes: int) -> None:
        seconds = student.yardstick(drive_recount, "\n".join(filler).encode(), passes)
        least[0, passes] = min(seconds, least.get((0, passes), seconds))

    share = 1.0
    for rounds in range(9):  # more of them where it is not clear: a busy machine only adds to a time
        for passes in (1, 5):
            recount(passes)
        try:
            for number in (few, many):
                for words in (small, len(filler)):
                    learn(words, number)
        except OtherWords:
            return  # wrong counts, for which other checks take points: these merges have to go through many words
        once = max((least[0, 5] - least[0, 1]) / 4, 1e-9)
        # what a run of few merges or on few words takes beyond reason is not taken off the others
        work_of_all = least[len(filler), many] - min(least[len(filler), few], 40 * once)
        work_of_few = least[small, many] - min(least[small, few], 40 * once)
        touched = min(work_of_few, (many - few) * once / 20)
        share = (work_of_all - touched) / (many - few) / once
        clear = share < SCANNED / 2 or (rounds > 1 and share < SCANNED) or (rounds > 3 and share > 4 * SCANNED)
        if clear:
            break
    expect(
        share < SCANNED or (work_of_all - work_of_few) / (many - few) / once > SCANNED,
        "a merge costs far more than changing the few words that hold its pair: keep each distinct word once, with its count",
    )
    expect(
        share < SCANNED,
        "each merge goes through all words, also those without its pair: keep for each pair the words that hold it",
    )


class OtherWords(Exception):
    """The merges are of words that no right merge touches."""


SCANNED = 0.06  # of a full recount: the greatest of all pairs takes up to 0.02, going through all words 0.15 and more
