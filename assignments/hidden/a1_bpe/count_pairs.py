"""What `count_pairs` asks for: pairs counted at every position, as often as their word stands in the text."""

from __future__ import annotations

from cs336lite.course.spec import check, drawn

from .asking import Lesson, judge_merges
from .inputs import agree, differ, draw, letters, pairs_that_share_letters, planted, scattered
from .mistakes_in_training import ONCE_PER_WORD, SMALLEST, UNWEIGHTED, WHOLE, WITHOUT_OVERLAP, named


@drawn
def words_of_different_weight(rng) -> bytes:
    def make() -> bytes:
        a, b, c, d, e, f = letters(rng, 6)
        few, many = rng.randint(34, 40), rng.randint(22, 26)
        words = planted(rng, {a + b: many, c + d: 14}, bare=e + f) + [e + f] * few
        rng.shuffle(words)
        return scattered(rng, words)

    return draw(make, lambda d: agree(d, 3, SMALLEST, WHOLE) and differ(d, 3, UNWEIGHTED))


@check("count_pairs", points=2, title="a word's pairs count as often as the word occurs")
def weighs_words_by_their_count(student, rng):
    message = "a text in which one word comes again and again gives wrong merges: does each time count, before a merge and after it?"
    judge_merges(student, rng, Lesson(words_of_different_weight(rng), 3, message))


@drawn
def pairs_twice_in_a_word(rng) -> bytes:
    def make() -> bytes:
        a, b, c, d, x = letters(rng, 5)
        times = rng.randint(12, 15)
        words = planted(rng, {a + b + x + a + b: times, c + d: times + times // 2}, bare=x)
        return scattered(rng, [word.replace(x, rng.choice("ÀÂÇÈÉÊËÎÏÑÔÛÜ".lower() + "AEIOU")) for word in words])

    return draw(make, lambda d: agree(d, 2, SMALLEST, WHOLE, UNWEIGHTED) and differ(d, 2, ONCE_PER_WORD))


@drawn
def four_in_a_row(rng) -> bytes:
    def make() -> bytes:
        a, c, d = letters(rng, 3)
        times = rng.randint(12, 15)
        return scattered(rng, planted(rng, {a * 4: times, c + d: 2 * times + times // 2}))

    wrong = [WITHOUT_OVERLAP, ONCE_PER_WORD]
    return draw(make, lambda d: agree(d, 2, SMALLEST, WHOLE, UNWEIGHTED) and differ(d, 2, *wrong))


@check("count_pairs", points=2, title="every position counts, overlapping ones too")
def counts_every_position(student, rng):
    twice = "a text with words that hold a pair twice gives wrong merges: it counts twice there"
    runs = "a text with four equal letters in a row gives wrong merges: they hold three pairs"
    judge_merges(
        student,
        rng,
        Lesson(pairs_twice_in_a_word(rng), 2, twice),
        Lesson(four_in_a_row(rng), 2, runs, wrong=named(WITHOUT_OVERLAP)),
    )


@check("count_pairs", points=2, title="counts follow the merges made so far")
def follows_earlier_merges(student, rng):
    message = (
        "where pairs share letters the merges go wrong: does a merge remove the pairs beside it, and make new ones?"
    )
    judge_merges(student, rng, *(Lesson(data, 3, message) for data in pairs_that_share_letters(rng)))
