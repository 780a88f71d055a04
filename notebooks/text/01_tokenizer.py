# ---
# jupyter:
#   kernelspec: {display_name: Python 3, language: python, name: python3}
#   cs336lite: {module: tokenizer, minutes: 1, prerequisites: [], device: CPU}
# ---

# %% [markdown]
# # 01 · The tokenizer (分词器)
#
# {badge} · prerequisites: Python · device: CPU
#
# A language model never sees text. It sees a list of integers and gives a probability to every integer that could come
# next. A *tokenizer* is the bridge: `encode` turns text into integers, `decode` turns integers back into text.
# Everything that a model reads or writes passes over this bridge, so its choices are felt everywhere: in the price of
# a request, in the length of a context, in how well a model adds numbers or writes Chinese.
#
# ## Questions
#
# 1. How does a computer store text, and how much room does a character take in English and in Chinese?
# 2. Why does a model read integers, and may it treat them as quantities?
# 3. Why not simply take words as tokens?
# 4. How does byte-pair encoding choose its tokens, and does it lose anything?
# 5. Who decides where a token may begin and end, and why do numbers and white space depend on it?
# 6. How much shorter does a larger vocabulary make a text, and for whom?
# 7. What does a vocabulary cost, and which one is the cheapest?
#
# The answers stand at the end, each with the numbers that your run has measured. Before a measurement there is a
# **Predict** box: write your guess in place of `None` and run the cell, then the folded one below it, which says how far
# off you were and why. Five exercises ask you to write a few lines yourself. None is graded, and the lecture runs to its end with all of them
# solved or none.

# %%
import codecs
from collections import defaultdict
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path

import numpy as np

from cs336lite.course import check, finished, hint, whose
from cs336lite.course.claims import claim, claims
from cs336lite.course.data import chinese_stories, technical_text
from cs336lite.course.diagram import Diagram, columns
from cs336lite.course.exercise import solution
from cs336lite.course.measure import reveal
from cs336lite.course.plot import COLORS, axes, finish

# %% folded=true
d = Diagram(88, 6.2)
text = d.box(1, 1, "the cat", color="blue")
ids = d.row(19, 1, ["1169", "3797"], "orange")
model = d.box(43, 0.5, "the model\n(lectures 02 to 08)", height=2.3, color="grey")
next_id = d.box(76, 1, "3332", color="orange")
d.arrow(text.right, ids.left, "encode", color="blue")
d.arrow(ids.right, model.left)
d.arrow(model.right, next_id.left, "choose")
d.line(next_id.bottom, (next_id.bottom[0], 4.6), color="blue")
d.line((next_id.bottom[0], 4.6), (5.5, 4.6), color="blue")
d.arrow((5.5, 4.6), (5.5, 2.4), color="blue")
d.text(41, 5.3, "decode: ' sat' is written behind the text, and the model is asked again", align="middle", color="blue")
d.show()

# %% [markdown]
# The blue parts are this lecture. The numbers are GPT-2's: `the`, ` cat` and ` sat` are rows 1169, 3797 and 3332 of its
# vocabulary.
#
# We need text in two languages. The English is the documentation in PyTorch's source files; every second document is
# *held out*: we judge on it and never learn from it. The Chinese is a set of children's stories that this course tells
# by a small grammar of six plots. We learn from four plots and hold out the other two, so that held-out stories have
# the style and the everyday words of the training text, and sentences of their own.

# %%
manual = [document for document in technical_text().split("<|endoftext|>") if "---" not in document]  # no tables
tales = chinese_stories(300, seed=1)
unseen = [tale for tale in tales if "声音" in tale or "颜色" in tale]  # the plots of the noise and of the colour
train_text = {
    "English": "".join(manual[::2])[:60_000],
    "Chinese": "\n\n".join(tale for tale in tales if tale not in unseen)[:30_000],
}
held_out = {"English": "".join(manual[1::2])[:20_000], "Chinese": "\n\n".join(unseen)[:6_000]}
COLOR = {"English": COLORS["blue"], "Chinese": COLORS["vermillion"], "both": COLORS["green"]}
for language in train_text:
    print(f"{language}: {len(train_text[language]):,} characters to learn from, {len(held_out[language]):,} held out")


# %% [markdown]
# ## 1 · Characters and bytes
#
# **What is text to a computer?** Two things. In a program it is a sequence of *code points* (码点), the numbers that
# Unicode gives to characters. In a file it is a sequence of *bytes*, numbers from 0 to 255. The rule that turns one
# into the other is UTF-8.
#
# Four characters by hand. `A` has the number 65, which fits into one byte. `中` has the number 20013, which does not.
# UTF-8 spreads its 15 binary digits over three bytes. The first bits of each byte, set apart in the picture, say how to
# read it: `0` means one byte alone, `110`, `1110` and `11110` open two, three and four bytes, `10` continues. The other
# digits of `中`, put together, are 0100111000101101, and that is 20013 again.

# %% folded=true
d = Diagram(76, 8.9)
d.text(1, 0.7, "character")
d.text(15.5, 0.7, "code point", align="middle")
d.text(29, 0.7, "its UTF-8 bytes, in binary digits")
for i, character in enumerate("Aé中🙂"):
    y = 1.4 + 1.9 * i
    bits = [f"{byte:08b}" for byte in character.encode()]
    prefixes = [digits.index("0") + 1 for digits in bits]  # the bits that say how to read the byte
    left = d.box(1, y, character, width=4, color="blue")
    number = d.box(11, y, f"{ord(character):,}", width=9, color="green")
    row = d.row(29, y, [f"{digits[:n]} {digits[n:]}" for digits, n in zip(bits, prefixes)], "orange")
    d.arrow(left.right, number.left)
    d.arrow(number.right, row.left)
d.show()

# %% [markdown]
# Both views are tokenizers that need no training: one token for each code point, or one for each byte. Here they are.
# `#| export` at the top of a cell puts it into this course's package, as `cs336lite.tokenizer`. The folded cell holds
# two small helpers: one repairs broken text, one names an id that is out of range.

# %% folded=true
#| export
"""Characters, bytes and words as tokens, and the pre-tokenisation patterns of GPT-2 and GPT-4.

All tokenizers have `encode`, `decode` and `vocab_size`. Byte-pair encoding is built in a1: see `cs336lite.bpe`.
"""

from collections import Counter
from collections.abc import Iterable
from operator import index
from typing import SupportsIndex

import regex


def well_formed(text: str) -> str:
    """``text`` as UTF-8 can write it: a pair of surrogates becomes its character, a single one U+FFFD.

    Surrogates are code points that UTF-16 uses two by two. A file name or a PDF can leave them in a string.

    >>> well_formed("a\\ud83d\\ude42 \\ud83d")
    'a🙂 �'

    Built in notebooks/01_tokenizer.ipynb.
    """
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def checked(ids: Iterable[SupportsIndex], vocab_size: int) -> list[int]:
    """The ids as a list. Raises ValueError for the first that is not in the vocabulary, TypeError for no whole number.

    Built in notebooks/01_tokenizer.ipynb.
    """
    ids = list(map(index, ids))
    for position, i in enumerate(ids):
        if not 0 <= i < vocab_size:
            raise ValueError(f"id {i} at position {position} is not in this vocabulary: ids are 0 to {vocab_size - 1}")
    return ids


# %%
#| export
class CharacterTokenizer:
    """One token per Unicode code point.

    >>> CharacterTokenizer().encode("Aé中")
    [65, 233, 20013]

    Built in notebooks/01_tokenizer.ipynb.
    """

    vocab_size = 0x110000  # code points U+0000 to U+10FFFF

    def encode(self, text: str) -> list[int]:
        return [ord(character) for character in well_formed(text)]

    def decode(self, ids: Iterable[SupportsIndex]) -> str:
        return well_formed("".join(chr(i) for i in checked(ids, self.vocab_size)))


class ByteTokenizer:
    """One token per byte of the text's UTF-8 form. ``decode`` puts U+FFFD where the bytes are not UTF-8.

    >>> ByteTokenizer().encode("Aé中")
    [65, 195, 169, 228, 184, 173]

    Built in notebooks/01_tokenizer.ipynb.
    """

    vocab_size = 256

    def encode(self, text: str) -> list[int]:
        return list(well_formed(text).encode("utf-8"))

    def decode(self, ids: Iterable[SupportsIndex]) -> str:
        return bytes(checked(ids, self.vocab_size)).decode("utf-8", errors="replace")


# %% [markdown]
# **Predict.** How many bytes does a character of our held-out Chinese stories take on average, punctuation included?

# %%
guess = None  # bytes per character

per_character = {language: len(text.encode()) / len(text) for language, text in held_out.items()}

# %% folded=true
# run this cell to compare your guess
because = {
    1: "one byte is enough for 256 characters, and Unicode has more than 150,000",
    2: "UTF-16 takes two bytes for most Chinese characters; UTF-8 needs room to say where a character begins",
    4: "four bytes are for what comes after U+FFFF, such as emoji",
    "too small": "what lies above U+07FF takes three bytes, and Chinese begins at U+4E00",
}
reveal("bytes per Chinese character", per_character["Chinese"], guess, within=1.1, because=because)
print(f"bytes per English character: {per_character['English']:.2f}")
claim(
    1,
    "Characters are code points, stored as UTF-8 bytes: held-out English takes {english:.2f} bytes a character, Chinese {chinese:.2f}.",
    lambda english, chinese: english < 1.05 and 2.5 < chinese <= 3,
    english=per_character["English"],
    chinese=per_character["Chinese"],
)

# %% [markdown]
# English text is nearly all ASCII, one byte a character. Every common Chinese character takes three; line ends pull the
# average a little below that. Bytes are no measure of meaning: one Chinese character also *says* more than one English
# letter. But a tokenizer that begins with bytes begins with three of them for each Chinese character.
#
# The staircase below is UTF-8's whole rule. New lengths begin at 0x80, 0x800 and 0x10000.

# %% folded=true
starts, lengths = [0x20, 0x80, 0x800, 0x10000, 0x110000], [1, 2, 3, 4, 4]
fig, ax = axes(xlabel="code point (logarithmic)", ylabel="bytes in UTF-8", size=(6.4, 2.6))
ax.step(starts, lengths, where="post", color=COLORS["blue"], linewidth=2)
names = {"A": "Latin", "é": "accents", "я": "Cyrillic", "ह": "Devanagari", "中": "Chinese", "🙂": "emoji"}
for character, name in names.items():
    place = ord(character), len(character.encode())
    ax.plot(*place, "o", color=COLORS["vermillion"])
    ax.annotate(name, place, xytext=(0, 7), textcoords="offset points", ha="center")
ax.set_xticks([0x20, 0x80, 0x800, 0x10000], ["0x20", "0x80", "0x800", "0x10000"])
ax.set(xscale="log", yticks=[1, 2, 3, 4], ylim=(0.7, 4.8), title="Bytes that UTF-8 spends on a character")
ax.set_xticks([0x20, 0x80, 0x800, 0x10000], ["0x20", "0x80", "0x800", "0x10000"])
ax.minorticks_off()
finish(fig)


# %% exercise="utf8_length" minutes=5 difficulty=1
def utf8_length(code_point: int) -> int:
    """How many bytes UTF-8 spends on a code point. Do not encode it: compare it with the three borders."""
    ### BEGIN SOLUTION
    borders = (0x80, 0x800, 0x10000)
    return 1 + sum(code_point >= border for border in borders)
    ### END SOLUTION


# %% [markdown]
# Bytes have a great virtue: nothing is ever unknown. Text in any script goes through 256 ids and comes back whole.

# %%
UNSEEN = "naïve café, 東京 🙂 हिन्दी\r\n\tif x ≤ 2³: print('<|endoftext|>')\x00"
for tokenizer in (CharacterTokenizer(), ByteTokenizer()):
    ids = tokenizer.encode(UNSEEN)
    same = tokenizer.decode(ids) == UNSEEN
    print(f"{type(tokenizer).__name__}: {len(ids)} tokens, largest id {max(ids):,}, comes back whole: {same}")
print("lengths by your rule or ours:", [utf8_length(ord(character)) for character in "Aé中🙂"])

# %% [markdown]
# ## 2 · Why integers, and why discrete
#
# **Why integers?** Because an id is a *row number*. The first layer of a model is a table $E$ with one row of numbers
# for each token. Token 3 is replaced by row 3, and the model computes with that row. Nothing ever adds two ids or asks
# which is larger. So an id is a name, like a number on a football shirt.

# %% folded=true
d = Diagram(86, 7.6)
ids = d.row(2, 2.6, ["0", "3", "1"], "orange")
d.text(2, 4.6, "ids (seq)")
rows = [
    ["the", "0.2", "-1.1", "0.5"],
    ["cat", "1.3", "0.4", "-0.2"],
    ["dog", "0.9", "0.1", "-0.6"],
    ["sat", "-0.7", "2.0", "0.1"],
]
for i, row in enumerate(rows):
    d.text(32, 1.15 + 1.3 * i, f"{i}  {row[0]}", align="end", mono=True)
table = d.grid(33, 0.5, [row[1:] for row in rows], "blue", width=6.5)
d.text(33, 6.4, "table E (vocab_size, d_model)")
picked = d.grid(64, 1.1, [rows[i][1:] for i in (0, 3, 1)], "green", width=6.5)
d.text(64, 5.7, "E[ids] (seq, d_model)")
d.arrow((ids.right[0] + 0.5, ids.right[1]), (24.5, ids.right[1]))
d.arrow((table.right[0] + 0.5, table.right[1]), (63.5, table.right[1]), "look up")
d.show()

# %% [markdown]
# **Why discrete (离散)?** Because several answers can be right at once. The model gives every token its own probability,
# so it can say "perhaps a space, perhaps a `t`, hardly ever a `q`". A model that answered with one *number* would be
# trained towards the mean of the right answers, and the mean of two good answers need not be a good answer.
#
# By hand: after `s` comes a space (byte 32) half of the time and `t` (byte 116) the other half. The mean is 74, the
# letter `J`. Is real text so different?
#
# **Predict.** Take all bytes that follow an `s` in our English text, and round the mean of their ids to a whole byte.
# In what percentage of the cases does that byte really follow?

# %%
guess = None  # percent

stream_of_ids = np.array(ByteTokenizer().encode(train_text["English"]))
following = stream_of_ids[1:][stream_of_ids[:-1] == ord("s")]
mean = round(following.mean())
share = 100 * (following == mean).mean()

# %% folded=true
# run this cell to compare your guess
because = {"too large": "the mean falls into the gap between the space (32) and the small letters (97 to 122)"}
reveal("percent of cases", share, guess, margin=1, because=because, shown=f"{share:.2f}")
claim(
    2,
    "An id is a row number, no quantity: the mean of the bytes after an 's' is {letter!r}, which follows in {share:.2f} % of the cases; the commonest byte follows in {top:.0f} %.",
    lambda letter, share, top: share < 2 and top > 10 * share,
    letter=chr(mean),
    share=share,
    top=100 * np.bincount(following).max() / len(following),
)

# %% folded=true
bytes_seen, counts = np.unique(following, return_counts=True)
percent = 100 * counts / counts.sum()
fig, ax = axes(xlabel="id of the byte after 's'", ylabel="share of cases (%)", size=(6.4, 2.8))
ax.bar(bytes_seen, percent, color=COLORS["blue"])
for value, height in zip(bytes_seen, percent):
    if height > 8:
        name = "space" if value == 32 else chr(value)
        ax.annotate(name, (value, height), xytext=(0, 3), textcoords="offset points", ha="center")
ax.axvline(mean, color=COLORS["vermillion"], linestyle="--")
ax.annotate(f"the mean, {chr(mean)!r}", (mean, 0.8 * percent.max()), xytext=(6, 0), textcoords="offset points")
ax.set(
    xlim=(5, 130), ylim=(0, 1.15 * percent.max()), title=f"What follows an 's' in English ({len(following):,} cases)"
)
finish(fig)

# %% [markdown]
# The distribution has several peaks and gaps between them. One probability for each token (a *softmax*, lecture 02) can
# describe it exactly; one number cannot. This is about text as tokens. Models of sound and images do predict continuous
# values, with other outputs than a plain mean.
#
# ## 3 · Words, and the words you have never seen
#
# **Why not take words?** They carry meaning, and a sentence has few of them. The oldest tokenizers did it: collect the
# words of a training text, number them, and call everything else `<unk>` (unknown, 未登录词).
#
# By hand: from *the cat sat* we get the vocabulary `the` 1, ` cat` 2, ` sat` 3. Then *the cats sat* becomes `1 0 3`,
# and comes back as *the`<unk>` sat*. One letter more, and the word is lost.
#
# Text has no words in it, only characters, so a rule must say where to cut. We take GPT-2's rule here and look at it
# closely in section 5.

# %%
#| export
# GPT-2 (Radford et al. 2019)
GPT2_RULES = {
    "contraction": r"'(?:[sdmt]|ll|ve|re)",  # it's, we'll: small letters only
    "letters": r" ?\p{L}+",  # \p{L} is any letter of any script; a word takes the space before it along
    "numbers": r" ?\p{N}+",  # a number of any length
    "other": r" ?[^\s\p{L}\p{N}]+",  # punctuation, symbols, emoji
    "space": r"\s+(?!\S)",  # white space, but it leaves the last one for the word behind it
    "rest": r"\s+",
}
GPT2_PATTERN = "|".join(GPT2_RULES.values())


def split_pattern(text: str, pattern: str = GPT2_PATTERN) -> list[str]:
    """The pieces that a pattern cuts a text into, in order; joined, they are the text again.

    Raises ValueError when the pattern skips a character, which would then be lost.

    >>> split_pattern("We'll pay 12345!")
    ['We', "'ll", ' pay', ' 12345', '!']

    Built in notebooks/01_tokenizer.ipynb.
    """
    pieces, end = [], 0
    for match in regex.finditer(pattern, text):
        if match.start() != end:
            break
        if match.group():
            pieces.append(match.group())
            end = match.end()
    if end != len(text):
        raise ValueError(f"the pattern skips {text[end]!r} at position {end}: give it a rule for every character")
    return pieces


# %%
#| export
class WordTokenizer:
    """One token per piece of `split_pattern` in a training text, numbered by falling frequency; else ``<unk>``, id 0.

    >>> words = WordTokenizer("one two two three three three")
    >>> ids = words.encode("one two four three")
    >>> ids, words.decode(ids), words.vocab_size
    ([3, 2, 0, 1], 'one two<unk> three', 4)

    Built in notebooks/01_tokenizer.ipynb.
    """

    def __init__(self, text: str, pattern: str = GPT2_PATTERN) -> None:
        counts = Counter(split_pattern(well_formed(text), pattern))
        self.pattern, self.pieces = pattern, ["<unk>", *(piece for piece, _ in counts.most_common())]
        self.ids = {piece: i for i, piece in enumerate(self.pieces)}
        self.vocab_size = len(self.pieces)

    def encode(self, text: str) -> list[int]:
        return [self.ids.get(piece, 0) for piece in split_pattern(well_formed(text), self.pattern)]

    def decode(self, ids: Iterable[SupportsIndex]) -> str:
        return "".join(self.pieces[i] for i in checked(ids, self.vocab_size))


# %% [markdown]
# **Predict.** We build the dictionary from 60,000 characters of documentation. What percentage of the words in *other
# documents of the same manual* is then unknown?

# %%
guess = None  # percent

written = [piece for piece in split_pattern(held_out["English"]) if piece.strip().isalpha()]
sizes = np.geomspace(1_000, len(train_text["English"]), 8).astype(int)
dictionaries = [WordTokenizer(train_text["English"][:size]) for size in sizes]
unknown = [100 * np.mean([piece not in words.ids for piece in written]) for words in dictionaries]
words = dictionaries[-1]

# %% folded=true
# run this cell to compare your guess
because = {
    "too small": "most *different* words of a text are rare, and a new document brings its own",
    "too large": "it is the same manual: the frequent words of its documents are the same",
}
reveal("unknown words, in percent", unknown[-1], guess, within=1.5, because=because, shown=f"{unknown[-1]:.1f}")
lower = {piece.strip().lower() for piece in words.pieces}
missing = Counter(piece.strip().lower() for piece in written if piece.strip().lower() not in lower)
print(f"without regard to spaces and capitals: {100 * missing.total() / len(written):.1f}, such as", *list(missing)[:8])
once = 100 * np.mean(np.bincount(words.encode(train_text["English"]), minlength=words.vocab_size)[1:] == 1)
claim(
    3,
    "A dictionary stays incomplete: {unknown:.1f} % of the words in held-out documents of the same manual are unknown, and {once:.0f} % of the dictionary was seen once.",
    lambda unknown, once: unknown > 2 and once > 33,
    unknown=unknown[-1],
    once=once,
)

# %% folded=true
fig, ax = axes(xlabel="characters of training text (logarithmic)", ylabel="unknown words (%)", size=(6.4, 2.8))
ax.plot(sizes, unknown, "o-", color=COLOR["English"])
ax.set(xscale="log", ylim=(0, 100), title="Unknown words by size of the training text (held-out English)")
ax.set_xticks([1_000, 3_000, 10_000, 30_000, 60_000], ["1,000", "3,000", "10,000", "30,000", "60,000"])
ax.minorticks_off()
finish(fig)

# %% [markdown]
# Sixty times the text still leaves nearly a quarter of the words unknown. A part of it is our rule, for which `The` at
# the start of a line and `␣the` are different words. The rest are ordinary words that 60,000 characters do not happen to
# hold, such as those printed, and names. And much of the dictionary is spent on words that a model would see once. For
# Chinese the idea has a second problem: it is written without spaces, so another program must first find the words
# (分词).
#
# ## 4 · Byte-pair encoding by hand
#
# **Can we have both**, the safety of bytes and the short sequences of words? *Byte-pair encoding* (BPE, 字节对编码) starts
# with the smallest pieces and joins what often stands together. Gage (1994) invented it to compress files. Sennrich,
# Haddow and Birch (arXiv 1508.07909) used it for translation. GPT-2 (2019) let it start from the 256 bytes.
#
# Take ten words: *low* four times, *lower* twice, *newest* three times, *widest* once. Cut them into letters and count
# every pair of neighbours. A pair in a word that occurs four times counts four times.

# %%
TEN_WORDS = "low low low low lower lower newest newest newest widest".split()


def count_neighbours(words, times):
    """How often each pair of neighbours stands in the words; a word counts as often as it occurs."""
    counts = defaultdict(int)
    for word, n in zip(words, times):
        for pair in pairwise(word):
            counts[pair] += n
    return counts


distinct = Counter(TEN_WORDS)
counts = count_neighbours([list(word) for word in distinct], distinct.values())
print("  ".join(f"{a}{b} {n}" for (a, b), n in sorted(counts.items(), key=lambda item: -item[1])))


# %% folded=true
def put_words(d, y, words, times, pair=None):
    """One line of words as boxes of letters, tokens of several letters in orange, a line under each place of a pair."""
    x = 1
    for word, n in zip(words, times):
        d.text(x, y + 0.65, f"{n}×", mono=True)
        x += 3.2
        for i, token in enumerate(word):
            box = d.box(x, y, token, color="orange" if len(token) > 1 else "grey")
            if pair and (i + 1 < len(word)) and (token, word[i + 1]) == pair:
                d.line(
                    (x + 0.2, y + 1.6),
                    (x + box.width + columns(word[i + 1]) + 1.3, y + 1.6),
                    color="vermillion",
                    width=3,
                )
            x += box.width + 0.3
        x += 2


d = Diagram(88, 4.4)
d.text(1, 0.6, "two pairs stand six times: l o and o w")
put_words(d, 1.4, [list(word) for word in distinct], distinct.values(), ("o", "w"))
d.text(1, 3.9, "underlined: o w, in four low and two lower", color="vermillion")
d.show()

# %% [markdown]
# `l o` and `o w` both stand six times. BPE needs a rule for such a tie, or two programs would learn two vocabularies.
# Ours, and that of Stanford's CS336, takes the greatest pair in the order of a dictionary: `o w` comes after `l o`.
# Which rule does not matter much. That it is *fixed* does.


# %% exercise="best_pair" minutes=8 difficulty=1
def best_pair(counts: dict) -> tuple:
    """The pair with the highest count; of several, the greatest pair, as Python compares tuples."""
    ### BEGIN SOLUTION
    return max(counts, key=lambda pair: (counts[pair], pair))
    ### END SOLUTION


# %% [markdown]
# The second half of a step joins the pair wherever it stands. We copy a word token by token. Where the last token that
# we wrote and the next one are the pair, they become one.


# %%
def join(word, pair):
    """The word with each place of the pair made one token, from left to right."""
    made = []
    for token in word:
        if made and (made[-1], token) == pair:
            made[-1] = made[-1] + token
        else:
            made.append(token)
    return made


print(join(list("lower"), ("o", "w")), join(list("aaa"), ("a", "a")))


# %% [markdown]
# Count, pick, join, and again. That is all of BPE's training. It is slow, for it counts the whole text anew for each
# merge. It is also obviously right, and a fast trainer can be tested against it: assignment a1 asks for one.


# %%
def train(pieces, n_merges, start=list):
    """The first merges of BPE, in order. ``start`` cuts a piece into its first tokens."""
    distinct = Counter(pieces)
    words, times, merges = [start(piece) for piece in distinct], distinct.values(), []
    while len(merges) < n_merges:
        counts = count_neighbours(words, times)
        if not counts:
            break  # every word is one token
        pair = best_pair(counts)
        words = [join(word, pair) if pair[0] in word else word for word in words]
        merges.append(pair)
    return merges


# %% [markdown]
# **Predict.** The first merge makes `ow`. Which two tokens are joined by the second one?

# %%
guess = None  # such as "n e"

merges = train(TEN_WORDS, 8)
lowest = list("lowest")
for pair in merges:
    lowest = join(lowest, pair)

# %% folded=true
# run this cell to compare your guess
because = {
    "w e": "w e stood five times, but the w of both lower is now part of ow: three are left",
    "l o": "there is no l o any more: its o is now part of ow",
    "low": "that is what comes out; which two tokens are joined?",
    "s t": "s t stands four times; look for a pair with the new token in it",
    "ow e": "ow e stands only in lower, twice",
}
reveal("second merge", " ".join(merges[1]), guess, because=because)
made = ["".join(pair) for pair in merges]
claim(
    4,
    "BPE joins the most frequent pair, over and over: of ten words merge {low} makes low and merge {est} makes est, so lowest, which is none of the ten, takes {tokens} tokens.",
    lambda low, est, tokens: low < est and tokens == 2,
    low=made.index("low") + 1,
    est=made.index("est") + 1,
    tokens=len(lowest),
)

# %% folded=true
rows = [[list(word) for word in distinct]]
for pair in merges[:6]:
    rows.append([join(word, pair) for word in rows[-1]])
d = Diagram(88, 2.1 * len(rows) + 0.2)
for i, row in enumerate(rows):
    upcoming = merges[i] if i < len(rows) - 1 else None
    put_words(d, 0.3 + 2.1 * i, row, distinct.values(), upcoming)
    if upcoming:
        d.text(74, 0.95 + 2.1 * i, f"join {upcoming[0]} {upcoming[1]}", color="vermillion", mono=True)
d.show()

# %% [markdown]
# Read from top to bottom. After two merges `low` is one token. Then `st` and `est` appear, a suffix that *newest* and
# *widest* share: nobody has told BPE about suffixes, it found one by counting. So *lowest*, which is none of the ten
# words, is `low` and `est`: a new word made of known parts.
#
# **Try it.** Add `wider` twice to `TEN_WORDS` and run the cells again. Which merge changes first, and why?
#
# <details><summary>An answer</summary>
#
# The first four merges stay. `e r` now stands four times, in *lower* and in *wider*, as often as `e s` and `s t`. Of
# the three `s t` is the greatest, and after it `e st` is greater than `e r`. So the fifth merge is `e r`, where `w est`
# was with three. The sixth is `w i`. New words change the order from the place on where their pairs are frequent
# enough.
#
# </details>
#
# ### From letters to bytes
#
# For real text we start from bytes, so that every text can be written: a vocabulary is then 256 bytes and one token for
# each merge. The pieces come from `split_pattern`, and no merge crosses from one piece to the next.


# %%
def to_bytes(piece: str) -> list[bytes]:
    return [bytes([byte]) for byte in piece.encode()]


def shown(token: bytes) -> str:
    """A token as a reader sees it: as text where it is text, else its bytes in hexadecimal."""
    text = token.decode(errors="ignore")
    return text.replace(" ", "␣").replace("\n", "↵").replace("\t", "⇥") if text.encode() == token else token.hex("-")


N_MERGES = 2_048 - 256
merges = {"English": train(split_pattern(train_text["English"]), N_MERGES, to_bytes)}
print(*(shown(a + b) for a, b in merges["English"][:24]))

# %% [markdown]
# The very first merges are runs of spaces, for the manual is full of indented code. Then come letters that often stand
# together in English, and short words with the space before them. Three trainings serve the rest of the lecture:
# English, Chinese, and half of each. Once you have solved a1 and your trainer agrees with the slow one on English, it
# does the other two (folded cell); until then the slow one does all three.


# %% folded=true
def train_fast(text: str, n_merges: int) -> list[tuple[bytes, bytes]]:
    """The merges of assignment a1's trainer, which reads a file."""
    import tempfile

    from cs336lite.bpe import train_bpe

    with tempfile.TemporaryDirectory() as folder:
        with open(f"{folder}/corpus.txt", "wb") as file:
            file.write(text.encode())
        return list(train_bpe(f"{folder}/corpus.txt", 256 + n_merges, [])[1])


# %% tags=["timing"] folded=true
HAVE_BPE = whose("bpe", lecture="01_tokenizer")  # false until assignment a1 is solved
said = "learns other merges than the slow one"
try:
    agrees = HAVE_BPE and train_fast(train_text["English"], N_MERGES) == merges["English"]
except Exception as error:  # the lecture goes on without it
    agrees, said = False, f"raised {type(error).__name__}"
half = {language: text[: len(text) // 2] for language, text in train_text.items()}
for name, text in {"Chinese": train_text["Chinese"], "both": half["English"] + half["Chinese"]}.items():
    merges[name] = train_fast(text, N_MERGES) if agrees else train(split_pattern(text), N_MERGES, to_bytes)
    print(f"{name:8} last merges:", *(shown(a + b) for a, b in merges[name][-3:]))
if HAVE_BPE and not agrees:
    print(f'the trainer of a1 {said}: run check("a1_bpe", "train")')
print("trained by", "a1's train_bpe, which agrees with the slow trainer" if agrees else "the slow trainer above")

# %% [markdown]
# The last merges of the Chinese training are whole clauses. A grammar repeats itself, and BPE learns whatever repeats.
#
# To *encode*, start from bytes and apply the merges in the order in which they were learned. The order matters: only
# then is a word cut as it was cut in training.


# %% exercise="spell" minutes=10 difficulty=2
def spell(text: str, merges: list[tuple[bytes, bytes]]) -> list[bytes]:
    """The tokens of one piece of text: its bytes, with the merges applied in their order. `to_bytes` and `join` help."""
    ### BEGIN SOLUTION
    word = to_bytes(text)
    for pair in merges:
        word = join(word, pair)
    return word
    ### END SOLUTION


# %% [markdown]
# Now watch two words grow, ` parameters` and 看见了 ("saw"). Every box is as wide as its bytes, so both columns keep their
# width from top to bottom. The number on the left says how many merges the tokenizer has learned by then. The first
# row shows the characters, for in the rows below a character is visible only where all its bytes are in one token.


# %%
def growth(token: str, merges) -> list[tuple[int, list[bytes]]]:
    """[(merges learned, tokens)] for every merge that changes a word, from single bytes on."""
    history = [(0, to_bytes(token))]
    for k, pair in enumerate(merges, start=1):
        tokens = join(history[-1][1], pair)
        if tokens != history[-1][1]:
            history.append((k, tokens))
    return history


histories = {" parameters": growth(" parameters", merges["English"]), "看见了": growth("看见了", merges["Chinese"])}
for word, history in histories.items():
    print(f"{word!r}: {len(history[0][1])} bytes, {len(history[-1][1])} token after {history[-1][0]:,} merges")

# %% folded=true
rows = max(map(len, histories.values()))
d = Diagram(96, 1.7 * rows + 2.5)
for x, (word, history) in zip((1, 52), histories.items()):
    width = 3.5 if word.isascii() else 3.9  # columns for a byte
    d.text(x + 5, 0.95, "merges", align="end")
    d.row(x + 6.5, 0.3, word.replace(" ", "␣"), "blue", widths=[width * len(c.encode()) for c in word])
    for i, (k, tokens) in enumerate(history):
        y = 2.3 + 1.7 * i
        d.text(x + 5, y + 0.65, f"{k:,}", align="end", mono=True)
        colors = ["orange" if len(token) > 1 else "grey" for token in tokens]
        d.row(x + 6.5, y, [shown(token) for token in tokens], colors, widths=[width * len(t) for t in tokens])
d.show()

# %% [markdown]
# Blue boxes are characters, grey ones single bytes, orange ones merged. English builds word parts (`er`, `am`), then
# the word. Chinese must first join bytes, three for one character (字), before there can be a word (词). And merges know
# nothing of characters: the token `e7-9c-8b-e8` is 看 and the first byte of 见.
#
# So a token can be a **piece of a character**, and decoded alone it shows as `�`. The bytes of all tokens must be
# joined first and decoded then. A chat program that prints token by token has to hold back what is not yet whole:


# %% exercise="stream" minutes=15 difficulty=3
def stream(tokens: Iterable[bytes]) -> Iterable[str]:
    """The text of tokens as they arrive: after each token what is whole by then, at the end U+FFFD for what never was."""
    ### BEGIN SOLUTION
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    for token in tokens:
        yield decoder.decode(token)
    yield decoder.decode(b"", final=True)
    ### END SOLUTION


# %% [markdown]
# Does BPE lose anything? We encode text that no training has seen, byte by byte and merge by merge, and decode it.


# %%
def encode(text: str, merges) -> list[bytes]:
    """All tokens of a text, piece by piece; each distinct piece is spelled once."""
    pieces = split_pattern(text)
    spelled = {piece: spell(piece, merges) for piece in set(pieces)}
    return [token for piece in pieces for token in spelled[piece]]


tests = [UNSEEN, held_out["English"][:3_000], held_out["Chinese"][:1_500]]
encoded = [encode(text, merges["both"]) for text in tests]
whole = sum("".join(stream(tokens)) == text for tokens, text in zip(encoded, tests))
claim(
    4,
    "BPE from bytes loses nothing: trained on both languages it gives {whole} of {texts} unseen texts back whole, {characters:,} characters with {tokens:,} tokens.",
    lambda whole, texts, characters, tokens: whole == texts and tokens < 0.75 * characters,
    whole=whole,
    texts=len(tests),
    characters=sum(map(len, tests)),
    tokens=sum(map(len, encoded)),
)

# %% [markdown]
# Nothing is lost, because every byte is in the vocabulary. One surprise remains. **Many lists of tokens write the same
# text**: `t h e` and `the` decode alike, and `encode` gives only one of them. So `decode(encode(text))` is always
# `text`, but `encode(decode(ids))` need not be `ids`.
#
# ## 5 · Where a token may begin and end
#
# **Who decides** that `dog.` and `dog!` do not become two tokens of their own, each with everything about dogs to learn
# anew? The pattern that cuts text before any merge (*pre-tokenisation*, 预分词). A merge never crosses a cut, so the
# pattern decides what can become a token at all. Its rules are tried from left to right at each place, and the first
# that matches wins. GPT-4 changed the pattern:

# %%
#| export
# GPT-3.5 and GPT-4: cl100k_base of tiktoken, in its own words. X++ takes all it can and gives nothing back: it is faster.
CL100K_RULES = {
    "contraction": r"'(?i:[sdmt]|ll|ve|re)",  # IT'S too
    "letters": r"[^\r\n\p{L}\p{N}]?+\p{L}++",  # one space, bracket, tab or dot before the letters comes along
    "numbers": r"\p{N}{1,3}+",  # at most three digits, and no space
    "other": r" ?[^\s\p{L}\p{N}]++[\r\n]*+",  # punctuation takes the end of the line along
    "end": r"\s++$",  # white space at the end of the text stays together
    "line ends": r"\s*[\r\n]",
    "space": r"\s+(?!\S)",
    "rest": r"\s",
}
CL100K_PATTERN = "|".join(CL100K_RULES.values())

# %% [markdown]
# **Predict.** Into how many pieces does GPT-4's pattern cut `12345678`? And the indented line `␣␣␣␣return x`, with four
# spaces in front?

# %%
guess_number = guess_line = None

number, line = "12345678", "    return x"

# %% folded=true
# run this cell to compare your guess
because = {
    1: "that is GPT-2's rule; GPT-4 takes three digits at most",
    8: "Llama takes single digits; GPT-4 takes three",
    "too small": "a piece has three digits at most",
    "too large": "a piece has three digits where there are three left",
}
reveal("pieces of the number", len(split_pattern(number, CL100K_PATTERN)), guess_number, within=1, because=because)
because = {
    2: "letters take one character before them along, not four",
    4: "the last of the four spaces goes with `return`, and the one before `x` goes with `x`",
    "too large": "a run of spaces is one piece, less its last, which goes with the word behind it",
}
reveal("pieces of the line", len(split_pattern(line, CL100K_PATTERN)), guess_line, within=1, because=because)
for name, pattern in {"GPT-2": GPT2_PATTERN, "GPT-4": CL100K_PATTERN}.items():
    print(name, split_pattern(number, pattern), split_pattern(line, pattern))


# %% folded=true
RULE_COLOR = {"letters": "blue", "numbers": "vermillion", "other": "green", "contraction": "orange"}
SAMPLES = ["It's 12345678.90!", "IT'LL WORK", "def f(x):\n\n", "\treturn x[0]", "if a:\n    b = 1"]


def by_rule(text, rules):
    """([piece, as it is shown], [colour of the rule that cut it])."""
    pattern = "|".join(f"(?P<{name.replace(' ', '_')}>{rule})" for name, rule in rules.items())
    found = list(regex.finditer(pattern, text))
    return [shown(m.group().encode()) for m in found], [RULE_COLOR.get(m.lastgroup, "grey") for m in found]


d = Diagram(72, 1.75 * 2 * len(SAMPLES) + 2.2)
for i, sample in enumerate(SAMPLES):
    for j, (name, rules) in enumerate({"GPT-2": GPT2_RULES, "GPT-4": CL100K_RULES}.items()):
        y = 0.4 + 3.5 * i + 1.55 * j
        d.text(1, y + 0.65, name)
        pieces, colors = by_rule(sample, rules)
        d.row(9, y, pieces, colors, widths=[1.35 * columns(piece) + 0.8 for piece in pieces])
x = 1
for name, color in {**RULE_COLOR, "white space": "grey"}.items():
    x = d.box(x, 3.5 * len(SAMPLES) + 0.3, name, color=color).right[0] + 1
d.show()

# %% [markdown]
# Each box is a piece in the colour of its rule (␣ is a space, ↵ a line end, ⇥ a tab).
#
# **White space.** Code is full of it. GPT-2 takes `⇥` and `return` apart, and `(` and `x`; GPT-4 keeps `⇥return`, `(x`
# and `):↵↵` together. It is often said that this makes programs shorter. We count below.
#
# **Numbers.** A model can learn to add only what it can see. Under GPT-2's rule a number may become any tokens that
# were frequent in the training text, so two numbers of the same length are often cut in different places and their
# digits do not line up. Under GPT-4's rule every four-digit number is three digits and one. We ask our own English
# vocabulary:
#
# **Predict.** In how many different ways (such as `10|24` or `1|0|2|4`) does it cut the numbers from 1000 to 9999?

# %%
guess = None

base = merges["English"]
digit_merges = [pair for pair in base if (pair[0] + pair[1]).strip().isdigit()]
shapes = Counter(tuple(len(token) for token in spell(str(n), digit_merges)) for n in range(1_000, 10_000))
fours = {tuple(map(len, split_pattern(str(n), CL100K_PATTERN))) for n in range(1_000, 10_000)}

# %% folded=true
# run this cell to compare your guess
because = {
    1: "merges follow frequency, and pairs of digits such as 10 were more frequent than others",
    "too large": "there are three places to cut, so at most 8 ways",
    "too small": "each of the three places is cut in some numbers and whole in others, which makes up to 8 ways",
}
reveal("ways to cut a four-digit number", len(shapes), guess, within=1, because=because)
print({"|".join("•" * part for part in shape): n for shape, n in shapes.most_common()})
claim(
    5,
    "The pattern decides, before any merge: on GPT-2's, our vocabulary cuts four-digit numbers in {ours} ways; on GPT-4's, all are cut in {gpt4} way.",
    lambda ours, gpt4: ours > 2 and gpt4 == 1,
    ours=len(shapes),
    gpt4=len(fours),
)

# %% [markdown]
# But GPT-4 counts its threes from the left (`123 456 78`), and people count from the right (`12,345,678`). So the last
# digits of two numbers still need not line up. Grouping from the right, with commas in the prompt, made GPT-3.5 and
# GPT-4 clearly better at sums (Singh and Strouse, arXiv 2402.14903). Llama cuts every digit apart (2302.13971), which
# costs more tokens and always lines up.


# %% exercise="group_digits" minutes=8 difficulty=2
def group_digits(number: str) -> list[str]:
    """The digits of a number in groups of three from the right, as people write it: ``["12", "345", "678"]``."""
    ### BEGIN SOLUTION
    first = len(number) % 3
    groups = [number[:first]] if first else []
    return groups + [number[i : i + 3] for i in range(first, len(number), 3)]
    ### END SOLUTION


# %%
for number in ("999", "1000", "12345678"):
    print(f"{number:>9}  from the left {split_pattern(number, CL100K_PATTERN)}  from the right {group_digits(number)}")

# %% [markdown]
# **Predict.** Here are seven lines of Python, and the source files of PyTorch's Transformer, convolutions and Adam. In
# how many of the four does GPT-4's pattern make fewer pieces than GPT-2's?

# %%
guess = None  # 0 to 4

SEVEN = "def total(xs):\n    s = 0\n    for x in xs:\n        if x > 0:\n            s += x\n\n    return s\n"
torch_folder = Path(find_spec("torch").origin).parent
programs = {"seven lines": SEVEN}
for name in ("nn/modules/transformer.py", "nn/modules/conv.py", "optim/adam.py"):
    programs[name] = (torch_folder / name).read_text(encoding="utf-8")
pieces = {
    name: [len(split_pattern(code, p)) for p in (GPT2_PATTERN, CL100K_PATTERN)] for name, code in programs.items()
}

# %% folded=true
# run this cell to compare your guess
because = {
    4: "in the seven lines the line ends are cut from the spaces behind them, and little else is joined",
    "too small": "in the files GPT-4 joins brackets and points with names: (x, .view, _size",
}
fewer = sum(gpt4 < gpt2 for gpt2, gpt4 in pieces.values())
reveal("programs with fewer pieces", fewer, guess, within=1, because=because)
for name, (gpt2, gpt4) in pieces.items():
    print(f"{name:26} {gpt2:>6,} pieces with GPT-2's pattern, {gpt4:>6,} with GPT-4's")
saved = np.array([100 * (1 - gpt4 / gpt2) for name, (gpt2, gpt4) in pieces.items() if name != "seven lines"])
claim(
    5,
    "GPT-4's pattern cuts source files into fewer pieces, from {least:.0f} to {most:.0f} % fewer in {files} files of PyTorch.",
    lambda least, most, files: files == 3 and 2 < least <= most,
    least=saved.min(),
    most=saved.max(),
    files=len(saved),
)

# %% [markdown]
# A small example can mislead: the seven lines become *more* pieces, because GPT-4 takes the line end from the spaces
# behind it and the space from the digit. Real code is full of `(x`, `.view` and `_size`, which GPT-4's pattern joins.
# And a pattern only says what *may* be one token. A vocabulary learned from much code also holds long runs of spaces.
#
# **Scripts.** `\p{L}+` takes a whole Chinese clause as one "word", since there are no spaces. The vowel signs of Hindi
# are marks (`\p{M}`) and no letters, so both patterns cut *inside* Hindi words; GPT-4o's pattern counts them in.
#
# ### Special tokens
#
# Some ids stand for no text at all: the end of a document, a change of speaker. They are found as whole strings before
# the pattern cuts, and no merge can make them.

# %% folded=true
d = Diagram(60, 6)
d.text(1, 0.7, "told that <|endoftext|> is special")
d.row(1, 1.2, ["one", "<|endoftext|>", "two"], ["grey", "purple", "grey"])
d.text(1, 3.7, "not told: ordinary text, cut by GPT-2's pattern")
d.row(1, 4.2, split_pattern("one<|endoftext|>two"), "grey")
d.show()

# %% [markdown]
# **Predict.** How many tokens is `<|endoftext|>` for our English vocabulary when it has not been told that it is
# special?

# %%
guess = None

tokens = encode("<|endoftext|>", merges["English"])

# %% folded=true
# run this cell to compare your guess
because = {
    1: "only a tokenizer that has been told makes it one",
    3: "those are the pieces; a small vocabulary has no token for the whole of `endoftext`",
    13: "it has 13 bytes, and some of their pairs are frequent",
    "too small": "a small vocabulary has no token for the whole of `endoftext`",
    "too large": "it has 13 bytes, and some of their pairs are frequent",
}
reveal("tokens of <|endoftext|>, not told", len(tokens), guess, within=1, because=because)
print(" ".join(map(shown, tokens)))

# %% [markdown]
# The same string in a stranger's prompt would end the document as well. So a service encodes what users send *without*
# special tokens, and tiktoken's `encode` refuses such a text unless it is told what to do.
#
# ## 6 · Side by side
#
# **How do all these relate?** They stand on one line, from small pieces to large ones. Bytes and words are its ends,
# and *subwords* (子词) lie between. Three ways of choosing subwords are in use:

# %% folded=true
d = Diagram(92, 11)
d.arrow((6, 9.2), (88, 9.2))
d.text(6, 10.1, "small pieces, long sequences, nothing unknown")
d.text(88, 10.1, "large pieces, short sequences, unknown words", align="end")
d.box(2, 6.6, "bytes\n256", width=11, height=2, color="blue")
d.box(19, 6.6, "characters\n~150,000 assigned", width=21, height=2, color="blue")
sub = d.box(47, 6.6, "subwords\n32,000 to 200,000", width=22, height=2, color="orange")
d.box(76, 6.6, "words\nmillions", width=14, height=2, color="blue")
bpe = d.box(2, 0.5, "BPE\njoins the commonest pair", width=28, height=2, color="green")
piece = d.box(33, 0.5, "WordPiece\njoins what raises likelihood", width=31, height=2, color="green")
unigram = d.box(67, 0.5, "Unigram\ndrops what costs least", width=24, height=2, color="green")
for box, x in ((bpe, 51), (piece, 58), (unigram, 65)):
    d.arrow(box.bottom, (x, 6.5), color="green")
d.text(14, 3.9, "from below", color="green")
d.text(37, 4.4, "from below", color="green")
d.text(76, 4.0, "from above", color="green")
d.show()

# %% [markdown]
# - **BPE** (GPT, Llama 3, Qwen) joins the most frequent pair, over and over, and encodes by the same merges.
# - **WordPiece** (BERT) also joins. It is described as taking the pair whose parts belong together most, by the count of
#   the pair divided by the product of the counts of its parts; Google's trainer was never published. It encodes by
#   taking the longest token that fits.
# - **Unigram** (T5; Kudo, arXiv 1804.10959) starts with far too many pieces, gives each a probability, and drops those
#   without which the text stays most likely. It encodes by the most likely way to cut.
#
# *SentencePiece* is a library (1808.06226) that offers BPE and Unigram. On characters, BPE and WordPiece need an
# `<unk>`; on bytes they do not.
#
# We compare four schemes on held-out text. Words and BPE were built from both languages.
#
# **Predict.** Words take the fewest tokens, and bytes the most. Which takes fewer for held-out Chinese: characters or BPE?

# %%
guess = None  # characters or BPE

both = WordTokenizer(half["English"] + half["Chinese"])
schemes = {"characters": CharacterTokenizer().encode, "bytes": ByteTokenizer().encode, "words": both.encode}
schemes["BPE"] = lambda text: encode(text, merges["both"])
length = {language: {name: len(f(text)) for name, f in schemes.items()} for language, text in held_out.items()}

# %% folded=true
# run this cell to compare your guess
because = {"BPE": "a character that the training text does not have stays three bytes, and so three tokens"}
fewer = "characters" if length["Chinese"]["characters"] < length["Chinese"]["BPE"] else "BPE"
reveal("fewer tokens for Chinese", fewer, guess, because=because)
new = [character for character in held_out["Chinese"] if character not in half["Chinese"]]
print(
    f"{100 * len(new) / len(held_out['Chinese']):.0f} % of held-out Chinese are characters that training had not seen"
)
for language, text in held_out.items():
    ids = both.encode(text)
    print(f"{language}: {100 * ids.count(0) / len(ids):.0f} % of the words (and other pieces) are <unk>")

# %% folded=true
fig, ax = axes(
    xlabel="tokens for 1,000 characters of held-out text", ylabel="scheme, and its vocabulary", size=(7.4, 3.4)
)
labels = {"characters": "characters", "bytes": "bytes", "words": "words (text is lost)", "BPE": "BPE"}
sizes = {"characters": 0x110000, "bytes": 256, "words": both.vocab_size, "BPE": 256 + len(merges["both"])}
for shift, (language, lengths_by) in zip((-0.2, 0.2), length.items()):
    values = [1_000 * n / len(held_out[language]) for n in lengths_by.values()]
    bars = ax.barh(np.arange(4) + shift, values, 0.38, color=COLOR[language], label=language)
    ax.bar_label(bars, fmt=" {:,.0f}")
ax.set(yticks=range(4), yticklabels=[f"{labels[name]}\n{sizes[name]:,} ids" for name in labels], xlim=(0, 3_400))
ax.set_title("Length of the sequence by scheme")
ax.invert_yaxis()
finish(fig)

# %% [markdown]
# Words are shortest and lose text. (The "words" of Chinese are whole clauses here, since nothing in the pattern cuts
# them.) Bytes need few rows and lose nothing, and make long sequences. Characters need a table of a million rows, most
# of them never trained. BPE keeps the completeness of bytes, and you choose how far to go towards words. Ours has not
# come far in Chinese: 2,048 tokens are few for two languages, and a character that training never saw takes three.
#
# ## 7 · How large a vocabulary?
#
# **What does a larger vocabulary buy?** Because merges are learned in order, one training holds every smaller
# vocabulary: keep the first *k* merges. So one pass through the merges gives a whole curve.

# %%
SIZES = [256, 320, 400, 512, 724, 1_024, 1_448, 2_048]


def tokens_by_size(text: str, merges) -> np.ndarray:
    """Tokens of a text for each vocabulary size in SIZES."""
    distinct = Counter(split_pattern(text))
    words, times, found = [to_bytes(piece) for piece in distinct], list(distinct.values()), []
    for k in range(SIZES[-1] - 256 + 1):
        if 256 + k in SIZES:
            found.append(sum(n * len(word) for word, n in zip(words, times)))
        if k < len(merges):
            words = [join(word, merges[k]) if merges[k][0] in word else word for word in words]
    return np.array(found)


tokens = {(name, lang): tokens_by_size(text, merges[name]) for name in merges for lang, text in held_out.items()}

# %% [markdown]
# **Predict.** Take a quarter of our vocabulary, then half of it, then all. Each step doubles it and saves tokens on
# held-out English: is the saving of the second doubling larger, equal or smaller than that of the first?

# %%
guess = None  # larger, equal or smaller

at = [SIZES.index(size) for size in (256, 512, 1_024, 2_048)]
first, second, third = (-np.diff(tokens["English", "English"][at])).tolist()
verdict = "smaller" if third < second else "larger" if third > second else "equal"

# %% folded=true
# run this cell to compare your guess
because = {
    "larger": "the most frequent pairs were joined first; later merges serve rarer words",
    "equal": "twice as many merges, but each of them serves rarer words",
}
reveal("the second saving", verdict, guess, because=because)
claim(
    6,
    "Each doubling saves less: from 256 to 512, 1,024 and 2,048 tokens held-out English gets shorter by {a:,}, {b:,} and {c:,}.",
    lambda a, b, c: 0 < c < b < a,
    a=first,
    b=second,
    c=third,
)

# %%
per_chinese = {name: tokens[name, "Chinese"][-1] / len(held_out["Chinese"]) for name in merges}
claim(
    6,
    "For whom depends on the training text: a Chinese character costs {english:.2f} tokens after training on English, {both:.2f} after both, {chinese:.2f} after Chinese.",
    lambda english, both, chinese: english > 2 and chinese < both < 0.6 * english,
    english=per_chinese["English"],
    both=per_chinese["both"],
    chinese=per_chinese["Chinese"],
)

# %% folded=true
fig, (left, right) = axes(1, 2, xlabel="vocabulary size (logarithmic)", ylabel="characters per token", size=(8, 3.2))
for ax, (language, text) in zip((left, right), held_out.items()):
    for name, style in {"English": "o-", "Chinese": "s--", "both": "^:"}.items():
        ax.plot(
            SIZES,
            len(text) / tokens[name, language],
            style,
            color=COLOR[name],
            label=f"trained on {name}" if ax is left else None,
        )
    ax.set_xscale("log", base=2)
    ax.set_xticks([256, 512, 1_024, 2_048], ["256", "512", "1,024", "2,048"])
    ax.set(title=f"held-out {language}", ylim=(0, 4.2 if ax is left else 1.05))
left.legend(loc="upper left")
finish(fig)

# %% [markdown]
# Left: English becomes steadily denser, and each doubling saves fewer tokens than the one before. Right: Chinese climbs
# from a third of a character per token towards one, and then flattens: a grammar of four plots has few words to teach,
# and the held-out plots bring characters that the training text never had. The tokenizer that has seen no Chinese stays
# at the bottom, three tokens for each character.
#
# A vocabulary is shared by all languages that a model reads. How well it serves a language depends on how much of it
# stood in the training text. For the same message some languages need up to 15 times as many tokens as others (Petrov
# et al., arXiv 2305.15425): their users pay more and fit less into the context. So "a token is about four characters"
# is true of English with a large vocabulary, and of little else.
#
# ## 8 · What a vocabulary costs
#
# **Why not take a million tokens?** Because each is a row of the table, and each is a possible answer. By hand, for
# GPT-2 small: 50,257 tokens and rows of 768 numbers are 50,257 × 768 = 38,597,376 parameters. The rest of the model is
# 12 blocks and a table of positions.
#
# **Predict.** What percentage of all parameters of GPT-2 small is its token table?

# %%
guess = None  # percent

vocab_size, context_length, d_model, n_layers = 50_257, 1_024, 768, 12
embedding = vocab_size * d_model
positions = context_length * d_model
block = 12 * d_model**2 + 13 * d_model  # 4 d² attention, 8 d² feed-forward, the rest biases and norms: lecture 03
total = embedding + positions + n_layers * block + 2 * d_model

# %% folded=true
# run this cell to compare your guess
because = {
    "too small": "12 blocks of 7 million are 85 million, so 39 million are no small part",
    "too large": "12 blocks of 7 million are 85 million, twice the table",
}
reveal(
    "share of the table, in percent",
    100 * embedding / total,
    guess,
    because=because,
    shown=f"{100 * embedding / total:.1f}",
)
print(f"{embedding:,} + {positions:,} + {n_layers} × {block:,} + {2 * d_model:,} = {total:,}")
PUBLISHED = 124_439_808  # parameters of the released checkpoint
claim(
    7,
    "A vocabulary costs parameters: the table holds {share:.1f} % of GPT-2 small's {total:,} parameters (published: {published:,}).",
    lambda share, total, published: 20 < share < 50 and total == published,
    share=100 * embedding / total,
    total=total,
    published=PUBLISHED,
)

# %% [markdown]
# Compute has two sides. A larger vocabulary $V$ makes a text shorter, so fewer tokens go through the blocks. It also
# makes every output dearer, for each token is one more answer to score. With $L$ layers of width $d$ and $b(V)$ bytes
# per token, a byte of text costs about this many floating-point operations (FLOPs, 浮点运算):
#
# $$\frac{24\,L\,d^2 + 2\,d\,V}{b(V)}\ \text{FLOPs}$$
#
# (lecture 02 counts them; attention over the sequence is left out here, it favours shorter texts a little more).
# Somewhere the two sides balance. A wide, deep model gains more from shorter text, so its balance lies at a larger $V$.
#
# **Predict.** Which of our sizes, from 256 to 2,048, is cheapest for a model of one layer and width 64? And for two
# layers of width 128?

# %%
guess_tiny = guess_small = None

bytes_per_token = len(held_out["English"].encode()) / tokens["English", "English"]
models = {"1 layer, d = 64": (1, 64), "2 layers, d = 128": (2, 128), "GPT-2 small: 12 layers, d = 768": (12, 768)}
cost = {name: (24 * layers * d**2 + 2 * d * np.array(SIZES)) / bytes_per_token for name, (layers, d) in models.items()}
tiny, small, gpt2 = (SIZES[int(flops.argmin())] for flops in cost.values())

# %% folded=true
# run this cell to compare your guess
because = {
    "too large": "the text is shorter there, but each of its tokens has more answers to score",
    "too small": "scoring fewer answers is cheap, but the text is longer and goes through the blocks more often",
}
reveal("one layer, width 64", tiny, guess_tiny, within=1.5, because=because)
reveal("two layers, width 128", small, guess_small, within=1.5, because=because)
claim(
    7,
    "The cheapest size grows with the model: for a byte of English it is {tiny:,} tokens with 1 layer of width 64 and {small:,} with 2 of width 128, both inside our grid from {low} to {high:,}.",
    lambda tiny, small, low, high: low < tiny < small < high,
    tiny=tiny,
    small=small,
    low=SIZES[0],
    high=SIZES[-1],
)

# %% folded=true
fig, ax = axes(xlabel="vocabulary size (logarithmic)", ylabel="FLOPs per byte, relative to V = 256", size=(6.8, 3.2))
for (name, flops), color, style in zip(cost.items(), COLORS.values(), ("o-", "s--", "^:")):
    relative, best = flops / flops[0], int(flops.argmin())
    ax.plot(SIZES, relative, style, color=color, label=name)
    if 0 < best < len(SIZES) - 1:
        ax.plot(SIZES[best], relative[best], "o", color=color, markersize=14, fillstyle="none")
ax.set_xscale("log", base=2)
ax.set_xticks([256, 512, 1_024, 2_048], ["256", "512", "1,024", "2,048"])
ax.set(ylim=(0.2, 1.05), title="Cheapest vocabulary, ringed where it lies inside the grid")
finish(fig)

# %% [markdown]
# Two models have their cheapest vocabulary inside our grid, and the larger one's is larger. Both valleys are flat: the
# sizes beside the ring cost a few percent more. GPT-2 small has no ring: its curve still falls at 2,048, so its optimum
# lies somewhere above. Its makers chose 50,257.
#
# Cheapest is not best. What counts is the loss for a given compute, and there too larger models want larger
# vocabularies (Tao et al., arXiv 2407.13623). Losses of models with different tokenizers must be compared in **bits per
# byte** (lecture 02). A loss *per token* is lower where tokens are shorter, whatever the model has learned.
#
# **Try it.** Add a model of one layer of width 256 to `models`. Its curve lies exactly on that of two layers of width
# 128. Why?
#
# <details><summary>An answer</summary>
#
# Divide the formula by 2·d: what is left is (12·L·d + V) / b(V). So only the product L·d decides which V is cheapest,
# and 1 × 256 = 2 × 128. GPT-2 small has 12 × 768 = 9,216, which is 36 times as much.
#
# </details>
#
# ## Answers
#
# Every sentence below was tested on the numbers in it while this notebook ran; a false one would have stopped its cell.

# %%
claims()

# %% [markdown]
# ## Often said, and what is true
#
# | often said | what is true |
# |---|---|
# | Vocabularies are 100–200K | Recent and multilingual ones are: Llama 3 128,256 (2407.21783), Qwen2 151,646 (2407.10671). GPT-2 has 50,257, Llama 2 32,000 (2307.09288). |
# | GPT-4 has a vocabulary of 100,277 | That is its largest id + 1. It has 100,256 bytes and merges and 5 special tokens. |
# | A token is a word, or four characters | About four characters of *English* with a large vocabulary; question 6 has our numbers for Chinese (and see 2305.15425). |
# | Byte-level BPE needs `<unk>` | All 256 bytes are in the vocabulary, so any text can be written (GPT-2 2019; 1909.03341). Character-level BPE does need it. |
# | BPE was invented for language models | Gage 1994 for compression; Sennrich et al. for translation, on characters (1508.07909); on bytes, GPT-2 2019. |
# | GPT-4 splits text like GPT-2 | Digits, line ends, brackets, tabs and capital contractions are cut differently: section 5. |
# | GPT-4's pattern makes every program shorter | Our files became shorter, our seven lines longer: section 5. |
# | A model on bytes has no tokenizer | Bytes are tokens, and UTF-8 is the tokenizer (ByT5, 2105.13626). |
# | Lower perplexity means a better model | With the same tokenizer on the same text; otherwise compare bits per byte. |
#
# ## What you built
#
# `cs336lite.tokenizer`: `CharacterTokenizer`, `ByteTokenizer`, `WordTokenizer`; `well_formed`; `GPT2_PATTERN`,
# `CL100K_PATTERN` and `split_pattern`. The tests of this course compare both patterns with those of tiktoken, on random
# strings.
#
# ## Limits
#
# - Our texts are small: 60 kB of documentation, and Chinese told by a grammar. Real corpora are a million times larger
#   and messier. Expect the same shapes and other numbers.
# - Vocabularies stop at 2,048 here. What is said of 32,000 and more is cited, not measured.
# - English and Chinese were of different kinds, a manual and stories, so their curves must not be compared number by
#   number.
# - The same `é` can be one code point or two (Unicode normalisation), and then has two encodings. We took text as it
#   is.
#
# ## Exercises for longer evenings
#
# - Make `train` count only what a merge has changed. How much faster is it? (This is the heart of a1.)
# - Train on GPT-4's pattern instead of GPT-2's and repeat the measurement of four-digit numbers.
# - Write WordPiece's rule as another `best_pair`, and compare the first fifty merges.
#
# ## Sources
#
# Gage, *A New Algorithm for Data Compression*, C Users Journal 12(2), 1994 · Sennrich, Haddow, Birch 2016 (arXiv
# 1508.07909) · Radford et al., *Language Models are Unsupervised Multitask Learners*, 2019 · Schuster, Nakajima,
# *Japanese and Korean Voice Search*, 2012 (WordPiece) · Kudo 2018 (1804.10959) · tiktoken's published patterns · Singh,
# Strouse 2024 (2402.14903) · Petrov et al. 2023 (2305.15425) · Tao et al. 2024 (2407.13623).
#
# ## Next
#
# Assignment **a1_bpe**. This lecture's trainer counts all words anew for each merge and knows no special tokens. In a1
# you write one that is fast and knows them, and an encoder that streams. Then lecture **02 · tensors and FLOPs** counts
# what a token costs.

# %%
finished("01_tokenizer")
