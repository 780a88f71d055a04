# ---
# jupyter:
#   kernelspec: {display_name: Python 3, language: python, name: python3}
#   cs336lite: {module: tokenizer, minutes: 1, prerequisites: [], device: CPU}
# ---

# %% [markdown]
# # 01 · The tokenizer (分词器)
#
# **1 minute to run on 2 cores · prerequisites: Python · device: CPU**
#
# A language model never sees text. It sees a list of integers, and gives a probability to every integer that could come
# next. A *tokenizer* is the agreement between the two worlds: `encode` turns text into integers, `decode` turns them back.
# You will build three tokenizers here, take the fourth, byte-pair encoding (BPE, 字节对编码), from assignment a1, and
# measure what each one costs.
#
# ## By the end you will have shown
#
# 1. **Nothing is lost** by characters, bytes and BPE, on text they have never seen. A word tokenizer loses words
#    even in the rest of the documentation that it was built from.
# 2. **An id is a name, not a quantity**: renumber the vocabulary and the network computes the same; the mean of two ids
#    means nothing.
# 3. **GPT-2 and GPT-4 cut the same text in different places** before any merge: numbers, code, contractions.
# 4. **BPE grows a word of *n* bytes into one token by exactly *n* − 1 joins**, and more merges never make a text longer.
# 5. **Each doubling of the vocabulary saves fewer tokens** than the doubling before it.
# 6. **"A token is about four characters" is about English**: a tokenizer trained on English alone spends more than two
#    tokens on *one* Chinese character.
# 7. **31 % of GPT-2 small is its token embedding**, and the vocabulary that costs the least compute depends on the model.
#
# Every claim is followed by a cell that measures it and stops with an error if it is false. Before each measurement there
# is a **Predict**: write your number in place of `None` before you run the cell.

# %% [markdown]
# ## Setup

# %%
import tempfile
from pathlib import Path

import numpy as np

from cs336lite.course import have
from cs336lite.course.data import SEPARATOR, chinese_passage, chinese_stories, technical_text
from cs336lite.course.measure import reveal
from cs336lite.course.plot import COLORS, axes, finish

HAVE_BPE = have("a1_bpe")  # False until assignment a1 is solved: the lecture then goes on without BPE


# %% [markdown]
# Two languages, and for each one text to build tokenizers from and *held-out* text to judge them on. The English is the
# documentation in PyTorch's source files; the Chinese is a passage and small stories written for this course. Neither needs
# a network, and both are the same on every machine.

# %%
manual = [document for document in technical_text().split(SEPARATOR) if "---" not in document]  # no tables
train = {
    "English": "".join(manual[::2])[:100_000],  # every other document, so that the rest is of the same kind
    "Chinese": "\n\n".join(chinese_stories(150, seed=1))[:40_000],
}
heldout = {"English": "".join(manual[1::2])[:12_000], "Chinese": chinese_passage()}
COLOR = {"English": COLORS["blue"], "Chinese": COLORS["vermillion"], "both": COLORS["green"]}
for language in train:
    print(f"{language}: {len(train[language]):,} characters to build from, {len(heldout[language]):,} held out")


# %% [markdown]
# ## 1 · Text is characters, stored as bytes
#
# Python's `str` is a sequence of *code points* (码点), the numbers that Unicode gives to characters: 0 to 0x10FFFF, so
# 1,114,112 of them, of which about 150,000 are assigned. Files and networks hold bytes. *UTF-8* writes a code point as 1
# to 4 bytes. So two tokenizers come for free, with nothing to learn:
#
# | | id of a token | `vocab_size` | tokens in a text |
# |---|---|---|---|
# | characters (字符) | the code point | 1,114,112 | characters |
# | bytes (字节) | the byte | 256 | UTF-8 bytes |

# %%
#| export
"""Characters, bytes and words as tokens; the pre-tokenisation patterns of GPT-2 and GPT-4; how to compare.

All tokenizers have the three members of `Tokenizer`. Byte-pair encoding is built in a1: see `cs336lite.bpe`.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from operator import index
from typing import Protocol, SupportsIndex, runtime_checkable

import regex


# %%
#| export
@runtime_checkable
class Tokenizer(Protocol):
    """What every tokenizer offers: text to ids and back, with 0 <= id < vocab_size.

    Built in notebooks/01_tokenizer.ipynb.
    """

    vocab_size: int

    def encode(self, text: str) -> list[int]: ...

    def decode(self, ids: Iterable[SupportsIndex]) -> str: ...


# %%
#| export
def checked(ids: Iterable[SupportsIndex], vocab_size: int) -> list[int]:
    """The ids as a list, each known to be in the vocabulary.

    Raises ValueError for the first id outside 0 <= id < vocab_size, and says where it stands; TypeError when an id is
    no whole number.

    Built in notebooks/01_tokenizer.ipynb.
    """
    ids = list(map(index, ids))
    for position, i in enumerate(ids):
        if not 0 <= i < vocab_size:
            raise ValueError(f"id {i} at position {position} is not in this vocabulary: ids are 0 to {vocab_size - 1}")
    return ids


# %%
#| export
def well_formed(text: str) -> str:
    """``text`` as UTF-8 can write it: a pair of surrogates becomes its character, a single one U+FFFD.

    Surrogates are code points that UTF-16 uses two by two. A file name or a PDF can leave them in a string.

    >>> well_formed("a\\ud83d\\ude42 \\ud83d")
    'a🙂 �'

    Built in notebooks/01_tokenizer.ipynb.
    """
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


# %%
#| export
class CharacterTokenizer:
    """One token per Unicode code point; the id is the code point, so nothing has to be learned.

    >>> CharacterTokenizer().encode("Aé中")
    [65, 233, 20013]
    >>> CharacterTokenizer().decode([65, 233, 20013])
    'Aé中'

    Built in notebooks/01_tokenizer.ipynb.
    """

    vocab_size = 0x110000  # code points U+0000 to U+10FFFF

    def encode(self, text: str) -> list[int]:
        return [ord(character) for character in well_formed(text)]

    def decode(self, ids: Iterable[SupportsIndex]) -> str:
        return well_formed("".join(chr(i) for i in checked(ids, self.vocab_size)))


# %%
#| export
class ByteTokenizer:
    """One token per byte of the text's UTF-8 form: 256 ids write any text there is.

    ``decode`` puts U+FFFD where the bytes are not UTF-8, as when the ids stop in the middle of a character.

    >>> ByteTokenizer().encode("Aé中")
    [65, 195, 169, 228, 184, 173]
    >>> ByteTokenizer().decode([228, 184, 173]), ByteTokenizer().decode([228, 184])
    ('中', '�')

    Built in notebooks/01_tokenizer.ipynb.
    """

    vocab_size = 256

    def encode(self, text: str) -> list[int]:
        return list(well_formed(text).encode("utf-8"))

    def decode(self, ids: Iterable[SupportsIndex]) -> str:
        return bytes(checked(ids, self.vocab_size)).decode("utf-8", errors="replace")


# %% [markdown]
# **Predict.** How many bytes does UTF-8 spend on a Chinese character? And on an average character of the Chinese text,
# punctuation included?

# %%
guess = None  # bytes per character of Chinese text

for character in "Aé中🙂":
    print(f"{character}  U+{ord(character):05X}  bytes {ByteTokenizer().encode(character)}")
per_character = {name: len(text.encode()) / len(text) for name, text in heldout.items()}
reveal("bytes per character, Chinese", f"{per_character['Chinese']:.2f}", guess)
reveal("bytes per character, English", f"{per_character['English']:.2f}")
assert len("中".encode()) == 3
assert per_character["Chinese"] > 2.5 > 1.1 > per_character["English"]

# %%
starts, lengths = [0x20, 0x80, 0x800, 0x10000, 0x110000], [1, 2, 3, 4, 4]
assert all(len(chr(s).encode()) == n == len(chr(s - 1).encode()) + 1 for s, n in zip(starts[1:4], lengths[1:4]))
fig, ax = axes(xlabel="code point (logarithmic)", ylabel="bytes in UTF-8", size=(6.4, 2.6))
ax.step(starts, lengths, where="post", color=COLORS["blue"], linewidth=2)
names = {"A": "Latin", "é": "accents", "я": "Cyrillic", "ह": "Devanagari", "中": "Chinese", "🙂": "emoji"}
for character, name in names.items():
    place = ord(character), len(character.encode())
    ax.plot(*place, "o", color=COLORS["vermillion"])
    ax.annotate(name, place, xytext=(0, 7), textcoords="offset points", ha="center")
ax.set(xscale="log", yticks=[1, 2, 3, 4], ylim=(0.7, 4.8), title="UTF-8 is shortest for the scripts numbered first")
finish(fig)


# %% [markdown]
# Both round-trip any text. A byte tokenizer needs no `<unk>`, and neither does anything built on top of bytes. The price
# is length: a Chinese text is about three times as long in bytes as in characters.

# %%
UNSEEN = "naïve café, 東京 🙂 हिन्दी\r\n\tif x ≤ 2³: print('<|endoftext|>')\x00"
for tokenizer in (CharacterTokenizer(), ByteTokenizer()):
    ids = tokenizer.encode(UNSEEN)
    assert tokenizer.decode(ids) == UNSEEN
    print(f"{type(tokenizer).__name__}: {len(ids)} tokens, largest id {max(ids):,} of {tokenizer.vocab_size:,}")

# %% [markdown]
# ## 2 · Why integers, and why discrete
#
# **Integers, because an id is a row number.** The first layer of a model is a table $E$ of shape
# `(vocab_size, d_model)`. Token $i$ becomes row $E_i$, which is the product of a one-hot vector of length `vocab_size` with
# $E$, without the multiplication. Nothing ever adds two ids or asks which is larger.
#
# **Discrete (离散), because the model answers with a distribution.** Over a finite set, softmax gives every token its own
# probability, with several peaks if need be; sampling and cross-entropy are exact. A model that answered with one
# *number*, as in regression, would learn the mean, and the mean of two good answers is usually no answer.
#
# **Predict.** Which byte follows an `s` in English? A space if the word ends there, or a letter if it goes on. Take the mean
# of the ids that follow: how often does *that* byte really come next?

# %%
guess = None  # in percent

rng = np.random.default_rng(0)
ids = np.array(ByteTokenizer().encode("a token is a row"))
E = rng.standard_normal((256, 8))  # (vocab_size, d_model)
assert np.array_equal(np.eye(256)[ids] @ E, E[ids])  # one-hot times table = look-up

new_name = rng.permutation(256)  # token i is now called new_name[i]
E_renamed = np.empty_like(E)
E_renamed[new_name] = E
assert np.array_equal(E_renamed[new_name[ids]], E[ids])  # the network sees the same vectors
print("renumbering the vocabulary changes nothing that the network computes")

text = np.array(ByteTokenizer().encode(train["English"]))
following = text[1:][text[:-1] == ord("s")]
mean = round(following.mean())
share = (following == mean).mean()
reveal(f"the mean id after 's' is {mean} = {chr(mean)!r}; it really follows, in percent", f"{100 * share:.2f}", guess)
assert share < 0.02

# %%
bytes_seen, counts = np.unique(following, return_counts=True)
percent = 100 * counts / counts.sum()
fig, ax = axes(xlabel="id of the byte after 's'", ylabel="share of cases (%)", size=(6.4, 2.8))
ax.bar(bytes_seen, percent, color=COLORS["blue"])
for value, height in zip(bytes_seen, percent):
    if height > 8:
        name = "space" if value == 32 else chr(value)
        ax.annotate(name, (value, height), xytext=(0, 3), textcoords="offset points", ha="center")
ax.axvline(mean, color=COLORS["vermillion"], linestyle="--")
ax.annotate(
    f"mean id, {chr(mean)!r}:\nhardly ever follows", (mean, 30), xytext=(-6, 0), textcoords="offset points", ha="right"
)
ax.set(xlim=(20, 130), ylim=(0, 1.15 * percent.max()), title="A distribution keeps every answer, a mean keeps none")
finish(fig)


# %% [markdown]
# ## 3 · Where does a word end?
#
# Longer tokens make shorter sequences, and words look like natural tokens. But text has no words in it, only characters,
# so somebody must say where to cut. GPT-2 and GPT-4 say it with a regular expression, tried from left to right at each
# position, first rule that matches (*pre-tokenisation*, 预分词). Python's `re` lacks `\p{L}` (any letter of any script),
# so we use `regex`.

# %%
#| export
# GPT-2 (Radford et al. 2019), in the form that tiktoken writes it
GPT2_RULES = {
    "contraction": r"'(?:[sdmt]|ll|ve|re)",  # it's, we'll: small letters only
    "letters": r" ?\p{L}+",  # a word takes the space before it along
    "numbers": r" ?\p{N}+",  # a number of any length
    "other": r" ?[^\s\p{L}\p{N}]+",  # punctuation, symbols, emoji
    "space": r"\s+(?!\S)",  # a run of whitespace, but leaves the last one for the word behind it
    "rest": r"\s+",
}
GPT2_PATTERN = "|".join(GPT2_RULES.values())
# GPT-3.5 and GPT-4, tiktoken's cl100k_base; matches the same without its possessive quantifiers
CL100K_RULES = {
    "contraction": r"'(?i:[sdmt]|ll|ve|re)",  # IT'S too
    "letters": r"[^\r\n\p{L}\p{N}]?\p{L}+",  # one space, bracket, tab or dot before the letters comes along
    "numbers": r"\p{N}{1,3}",  # at most three digits, and no space
    "other": r" ?[^\s\p{L}\p{N}]+[\r\n]*",  # punctuation takes the end of the line along
    "end": r"\s+\Z",  # whitespace at the end of the text stays together
    "line ends": r"\s*[\r\n]+",
    "space": r"\s+(?!\S)",
    "rest": r"\s+",
}
CL100K_PATTERN = "|".join(CL100K_RULES.values())


# %%
#| export
def split_pattern(text: str, pattern: str = GPT2_PATTERN) -> list[str]:
    """The pieces that a pattern cuts a text into, in order; joined, they are the text again.

    Raises ValueError when the pattern skips a character, which would then be lost.

    >>> split_pattern("We'll pay 12345!")
    ['We', "'ll", ' pay', ' 12345', '!']
    >>> split_pattern("We'll pay 12345!", CL100K_PATTERN)
    ['We', "'ll", ' pay', ' ', '123', '45', '!']

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


# %% [markdown]
# The picture shows each piece in the colour of the rule that cut it (␣ space, ↵ line end, ⇥ tab).
#
# **Predict.** Into how many pieces does each pattern cut `12345678`?

# %%
GREY = "#888888"
RULE_COLOR = dict(zip(["letters", "numbers", "other", "contraction"], COLORS.values())) | {"space": GREY}


def draw_pieces(ax, lines: list[tuple[str, list[tuple[str, str]]]]) -> None:
    """One line of boxes for each (label, [(text, colour), ...]), a fixed width for each character."""
    for row, (name, pieces) in enumerate(lines):
        x = 0
        for piece, color in pieces:
            shown = piece.replace(" ", "␣").replace("\n", "↵").replace("\t", "⇥")
            ax.barh(-row, len(shown) - 0.12, left=x + 0.06, height=0.7, color=color, alpha=0.35)
            ax.text(x + len(shown) / 2, -row, shown, ha="center", va="center", family="monospace")
            x += len(shown)
        ax.text(-0.5, -row, name, ha="right", va="center", fontsize=9)
    ax.axis("off")


def by_rule(text: str, rules: dict[str, str]) -> list[tuple[str, str]]:
    """(piece, colour of the rule that cut it), in order."""
    pattern = "|".join(f"(?P<{name.replace(' ', '_')}>{rule})" for name, rule in rules.items())
    return [(match.group(), RULE_COLOR.get(match.lastgroup, GREY)) for match in regex.finditer(pattern, text)]


# %%
guess = None  # (GPT-2, GPT-4)

counted = tuple(len(split_pattern("12345678", pattern)) for pattern in (GPT2_PATTERN, CL100K_PATTERN))
reveal("pieces of 12345678 (GPT-2, GPT-4)", counted, guess)
assert counted == (1, 3)

SAMPLES = ["It's 12345678.90!", "IT'LL WORK", "def f(x):\n\n", "\treturn x[0]", "if a:\n    b = 1"]
assert all(split_pattern(text, GPT2_PATTERN) != split_pattern(text, CL100K_PATTERN) for text in SAMPLES)
for text in [UNSEEN, *SAMPLES, *heldout.values()]:
    assert "".join(split_pattern(text, GPT2_PATTERN)) == text == "".join(split_pattern(text, CL100K_PATTERN))

fig, ax = axes(title="The same text, cut by two patterns", size=(6.4, 3.8))
rules = {"GPT-2": GPT2_RULES, "GPT-4": CL100K_RULES}
draw_pieces(ax, [(name, by_rule(text, rules[name])) for text in SAMPLES for name in rules])
for name, color in RULE_COLOR.items():
    ax.barh(0, 0, color=color, alpha=0.35, label=name)
ax.legend(loc="center right", title="rule")
finish(fig)


# %% [markdown]
# No merge will ever cross the border of a piece, so the pattern decides what *can* become a token:
#
# - **Numbers.** GPT-2 lets `12345678` become any tokens that were frequent in its training text; GPT-4 makes `123 456 78`,
#   from the left, although we group from the right (`12,345,678`). Grouping from the right made GPT-3.5 and GPT-4
#   better at sums (arXiv 2402.14903). Llama split every digit (2302.13971).
# - **Code.** GPT-4 keeps `⇥return` and `(x` and `:↵↵` whole: shorter programs.
# - **Scripts.** Chinese has no spaces, so `\p{L}+` takes a whole clause as one "word". The vowel signs of Hindi are marks
#   (`\p{M}`), not letters, so both patterns cut *inside* Hindi words. GPT-4o's pattern has `\p{M}` among the letters.

# %%
print(" │ ".join(split_pattern("小猫在河边，看见一条鱼。", GPT2_PATTERN)))
print(" │ ".join(split_pattern("小猫在河边，看见一条鱼。", CL100K_PATTERN)))
print(" │ ".join(split_pattern("हिन्दी", GPT2_PATTERN)), "  (one word)")
letters_per_piece = {}
for language, text in heldout.items():
    runs = [piece.strip() for piece in split_pattern(text) if piece.strip().isalpha()]
    letters_per_piece[language] = sum(map(len, runs)) / len(runs)
    print(f"{language}: {letters_per_piece[language]:.1f} letters in a piece, the longest {max(map(len, runs))}")
assert len(split_pattern("हिन्दी", GPT2_PATTERN)) > 1

# %% [markdown]
# ## 4 · Words, and the words you have never seen
#
# The oldest idea: collect the pieces of a training text, number them, and call everything else `<unk>` (unknown, 未登录词).


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
# **Predict.** Built from 100,000 characters of documentation, what share of the words in a held-out part of the *same*
# documentation is unknown? And in Chinese?

# %%
guess = None  # (English, Chinese), in percent

unknown = {}  # language -> (characters of training text, unknown pieces of letters in percent)
for language, text in train.items():
    sizes = np.geomspace(1_000, len(text), 8).astype(int)
    written = [piece for piece in split_pattern(heldout[language]) if piece.strip().isalpha()]
    known = [WordTokenizer(text[:size]).ids for size in sizes]
    unknown[language] = sizes, [100 * np.mean([piece not in ids for piece in written]) for ids in known]
last = {language: round(float(shares[-1]), 1) for language, (_, shares) in unknown.items()}
reveal("unknown, in percent", last, guess)
assert 2 < last["English"] < last["Chinese"]

words = WordTokenizer(train["English"])
print(words.decode(words.encode("The tokenizer mistokenized 東京.")))
assert words.decode(words.encode(UNSEEN)) != UNSEEN
once = np.mean(np.bincount(words.encode(train["English"]), minlength=words.vocab_size)[1:] == 1)
print(f"of {words.vocab_size:,} words, {100 * once:.0f} % occur once in the training text")
assert once > 1 / 3


# %%
fig, ax = axes(xlabel="characters of training text", ylabel="unknown words (%)", size=(6.4, 3))
for (language, (sizes, shares)), marker in zip(unknown.items(), "os"):
    ax.plot(sizes, shares, marker + "-", color=COLOR[language], label=language)
ax.set(xscale="log", ylim=(0, 105), title="More text does not finish the dictionary")
finish(fig)

# %% [markdown]
# A hundred times the text, and unknown words are still there: names, numbers and compounds are made faster than they can
# be listed. For Chinese this pattern fails outright: a "word" is a clause, and clauses hardly ever come twice. And a large part of the
# dictionary is learned from a single example.

# %% [markdown]
# ## 5 · Byte-pair encoding: let the text choose
#
# Gage (1994, *C Users Journal*) compressed files by giving the most frequent pair of bytes a byte of its own, again and
# again. Sennrich, Haddow and Birch (arXiv 1508.07909) made word pieces for translation this way, starting from
# characters. GPT-2 (2019) started from the **256 bytes** instead, so that no text is ever unknown.
#
# > Count all neighbours inside the pieces; join the most frequent pair into a new token; repeat until the vocabulary is
# > full. The list of pairs, in order, is the **merges** (合并规则). To encode, apply the merges in that order.
#
# You write this in assignment **a1_bpe**. Here we only use it: `train_bpe(path, vocab_size, special_tokens)` returns
# `vocab: dict[int, bytes]` and `merges: list[tuple[bytes, bytes]]`.
#
# Because merges are learned in order, **one training gives every smaller vocabulary too**: keep the first *k*.


# %%
#| export
def first_merges(
    vocab: Mapping[int, bytes], merges: list[tuple[bytes, bytes]], vocab_size: int
) -> tuple[dict[int, bytes], list[tuple[bytes, bytes]]]:
    """The BPE vocabulary and merges that training would have given had it stopped at ``vocab_size``.

    ``vocab`` must hold its merged tokens at the end, in order, as `cs336lite.bpe.train_bpe` leaves them.
    Raises ValueError when ``vocab_size`` is more than there is, or less than the tokens that are no merges.

    >>> vocab = {0: b"a", 1: b"b", 2: b"ab", 3: b"abb"}
    >>> first_merges(vocab, [(b"a", b"b"), (b"ab", b"b")], 3)
    ({0: b'a', 1: b'b', 2: b'ab'}, [(b'a', b'b')])

    Built in notebooks/01_tokenizer.ipynb.
    """
    base = len(vocab) - len(merges)
    if not base <= vocab_size <= len(vocab):
        raise ValueError(f"vocab_size is {vocab_size}, but this vocabulary can be cut to {base} to {len(vocab)} tokens")
    return {i: vocab[i] for i in range(vocab_size)}, merges[: vocab_size - base]


# %% [markdown]
# Three trainings of 2,048 tokens: English, Chinese, and half of each. `BPE` gives the tokenizer of a1 the same three
# members as the others.


# %%
class BPE:
    """The tokenizer of assignment a1, with a vocab_size."""

    def __init__(self, vocab, merges, special_tokens=None):
        from cs336lite.bpe import Tokenizer

        self.vocab, self.merges, self.vocab_size = vocab, merges, len(vocab)
        self.tokenizer = Tokenizer(vocab, merges, special_tokens)
        self.encode, self.decode = self.tokenizer.encode, self.tokenizer.decode


def train_on(text: str, vocab_size: int, special_tokens: list[str]) -> BPE:
    from cs336lite.bpe import train_bpe

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "corpus.txt")
        path.write_bytes(text.encode())
        return BPE(*train_bpe(path, vocab_size, special_tokens), special_tokens)


# %%
def readable(tokens) -> list[str]:
    """Those tokens that are whole characters."""
    return [token.decode() for token in tokens if token.decode(errors="ignore").encode() == token]


trained = {}
if not HAVE_BPE:
    print("no BPE yet: from here on the cells about it are skipped")
else:
    half = {language: text[: len(text) // 2] for language, text in train.items()}
    for name, text in {**train, "both": half["English"] + half["Chinese"]}.items():
        trained[name] = train_on(text, 2_048, [SEPARATOR])
        print(f"trained on {name}, first merges:", readable(a + b for a, b in trained[name].merges)[:9])


# %% [markdown]
# ### A word grows
#
# With the first *k* merges only, how does a word look? We take a long token of the vocabulary and undo its history.
#
# **Predict.** A *join* makes two neighbours one. How many joins make a word of 9 bytes one token, and by how many different
# merges?


# %%
def growth(bpe: BPE, token: bytes) -> list[tuple[int, list[bytes]]]:
    """[(merges applied, pieces of the token)] for every merge that changes it, from single bytes on."""
    base = bpe.vocab_size - len(bpe.merges)
    history = [(0, [token[i : i + 1] for i in range(len(token))])]
    for k, (a, b) in enumerate(bpe.merges, start=1):
        if a + b in token:  # no other merge can change it
            smaller = BPE(*first_merges(bpe.vocab, bpe.merges, base + k))
            pieces = [smaller.vocab[i] for i in smaller.encode(token.decode())]
            if pieces != history[-1][1]:
                history.append((k, pieces))
    return history


def longest_word(bpe: BPE, at_most: int, ascii_only: bool) -> bytes:
    """The longest token of letters of at most so many bytes; the earliest of equals."""
    words = [word.encode() for word in readable(bpe.vocab.values()) if word.strip().isalpha()]
    return max((word for word in words if len(word) <= at_most and word.isascii() == ascii_only), key=len)


# %%
guess = None  # (joins, merges) for a word of 9 bytes

histories = {}
if HAVE_BPE:
    for language, at_most in [("English", 9), ("Chinese", 9)]:
        token = longest_word(trained[language], at_most, language == "English")
        histories[language] = growth(trained[language], token)
        counts = [len(pieces) for _, pieces in histories[language]]
        joins, merges = -sum(np.diff(counts)), len(counts) - 1
        reveal(f"{token.decode()!r}, {len(token)} bytes, pieces {counts}: joins, merges", (int(joins), merges), guess)
        assert counts[0] == len(token) and counts[-1] == 1 and joins == len(token) - 1 >= merges
    print({character: character.encode().hex("-") for character in token.decode()})


# %%
def boxes(history: list[tuple[int, list[bytes]]]) -> list[tuple[str, list[tuple[str, str]]]]:
    """Lines for `draw_pieces`; bytes outside ASCII in hexadecimal, merged pieces in colour."""
    lines = []
    for k, pieces in history:
        names = [piece.decode() if piece.isascii() else piece.hex("-") for piece in pieces]
        colors = [COLORS["vermillion"] if len(piece) > 1 else GREY for piece in pieces]
        lines.append((f"{k:,}", list(zip(names, colors))))
    return lines


def draw_growth(histories: dict):
    rows = max(map(len, histories.values()))
    fig, both = axes(1, 2, size=(8, 0.32 * rows + 0.5), sharey=True, width_ratios=[2, 3])
    for ax, (language, history) in zip(both, histories.items()):
        draw_pieces(ax, boxes(history))
        ax.set_title(f"{language}: pieces after so many merges", fontsize=10)
    return finish(fig)


draw_growth(histories) if histories else None

# %% [markdown]
# Read each column from top to bottom; the number on the left says how many merges the tokenizer had by then. The early
# merges serve thousands of words, the last ones finish this word alone. One merge can join in two places of a word at
# once, so there may be fewer merges than joins. In Chinese the first merges glue three bytes to one character (字), and only
# then characters to words (词). So a vocabulary must pay for characters before it can have words.
#
# ### More merges never hurt
#
# Merge *k* + 1 is applied after the first *k*, and joining can only shorten. This holds for any text, also one that no
# training has seen.

# %%
SIZES = [257, 320, 400, 512, 724, 1_024, 1_448, 2_048]
tokens = {}  # (trained on, held-out language) -> tokens at each size
for name, bpe in trained.items():
    cut = [BPE(*first_merges(bpe.vocab, bpe.merges, size)) for size in SIZES]
    for language, text in heldout.items():
        encoded = [tokenizer.encode(text) for tokenizer in cut]
        assert all(tokenizer.decode(ids) == text for tokenizer, ids in zip(cut, encoded))  # nothing is lost
        tokens[name, language] = np.array([len(ids) for ids in encoded])
        assert (np.diff(tokens[name, language]) <= 0).all()  # never longer
        print(f"trained on {name:8} {language}: {tokens[name, language][0]:,} tokens → {tokens[name, language][-1]:,}")

# %% [markdown]
# ### Two surprises
#
# A token can be a **piece of a character**, so ids must be decoded together, or their bytes joined as they stream in. And
# **many lists of ids write the same text**: `encode` gives one of them, so `encode(decode(ids))` need not be `ids`, though
# `decode(encode(text))` is always `text`.

# %%
if HAVE_BPE:
    bpe = trained["English"]
    ids = bpe.encode("猫")
    print("one by one:", [bpe.decode([i]) for i in ids], " together:", bpe.decode(ids))
    assert "\ufffd" in bpe.decode(ids[:1]) and bpe.decode(ids) == "猫"

    spelled = [i for letter in "the" for i in bpe.encode(letter)]
    print(f"two ways to write 'the': {spelled} and {bpe.encode('the')}")
    assert bpe.decode(spelled) == "the" and bpe.encode(bpe.decode(spelled)) != spelled
    assert bpe.decode(bpe.encode(UNSEEN)) == UNSEEN

# %% [markdown]
# ## 6 · Special tokens
#
# Some ids stand for no text at all: the end of a document, a change of speaker, padding. They are matched as whole strings
# before the pattern cuts, take no part in counting, and no merge can make them.
#
# **Predict.** How many tokens is `<|endoftext|>` for a tokenizer that has not been told that it is special?

# %%
guess = None

print("GPT-2's pattern sees:", split_pattern("<|endoftext|>"))
if HAVE_BPE:
    told = trained["English"]
    untold = BPE(told.vocab, told.merges)
    reveal("told", told.encode("one<|endoftext|>two"))
    reveal("tokens of <|endoftext|>, not told", len(untold.encode("<|endoftext|>")), guess)
    assert told.encode("<|endoftext|>") == [0] and len(untold.encode("<|endoftext|>")) > 1

# %% [markdown]
# The same string from a stranger's prompt would end the document too. So a service encodes what users send *without*
# special tokens; tiktoken's `encode` refuses such text unless it is told what to do.

# %% [markdown]
# ## 7 · Side by side


# %%
#| export
@dataclass(frozen=True)
class Compression:
    """What one tokenizer makes of one text. Lengths in characters (code points), UTF-8 bytes and tokens.

    Built in notebooks/01_tokenizer.ipynb.
    """

    scheme: str
    text: str
    vocab_size: int
    characters: int
    bytes: int
    tokens: int
    lossless: bool

    @property
    def bytes_per_token(self) -> float:
        return self.bytes / self.tokens

    @property
    def tokens_per_character(self) -> float:
        return self.tokens / self.characters


# %%
#| export
def compare(tokenizers: Mapping[str, Tokenizer], texts: Mapping[str, str]) -> list[Compression]:
    """Every tokenizer on every text (`well_formed`), by their names. Raises ValueError for an empty text.

    >>> [row] = compare({"bytes": ByteTokenizer()}, {"Chinese": "你好"})
    >>> row.tokens, row.bytes_per_token, row.tokens_per_character, row.lossless
    (6, 1.0, 3.0, True)

    Built in notebooks/01_tokenizer.ipynb.
    """
    rows = []
    for scheme, tokenizer in tokenizers.items():
        for name, text in texts.items():
            if not text:
                raise ValueError(f"the text {name!r} is empty: it has no bytes per token")
            text = well_formed(text)
            ids = tokenizer.encode(text)
            lengths = len(text), len(text.encode("utf-8")), len(ids)
            rows.append(Compression(scheme, name, tokenizer.vocab_size, *lengths, tokenizer.decode(ids) == text))
    return rows


# %%
#| export
def bytes_per_token(tokenizer: Tokenizer, text: str) -> float:
    """UTF-8 bytes of the text divided by its tokens: higher is shorter. Raises ValueError for an empty text.

    >>> bytes_per_token(CharacterTokenizer(), "你好吗yes")
    2.0

    Built in notebooks/01_tokenizer.ipynb.
    """
    return compare({"": tokenizer}, {"": text})[0].bytes_per_token


# %% [markdown]
# Four schemes, two languages, all on held-out text; words and BPE were built from both languages.
#
# **Predict.** Which scheme has the fewest tokens, and is it one you would use?

# %%
guess = None  # a scheme

schemes = {
    "characters": CharacterTokenizer(),
    "bytes": ByteTokenizer(),
    "words": WordTokenizer(train["English"] + train["Chinese"]),
}
if HAVE_BPE:
    schemes["BPE"] = trained["both"]
table = compare(schemes, heldout)
print(f"{'scheme':<12}{'text':<9}{'vocab_size':>11}{'tokens':>9}{'bytes/token':>13}{'tokens/char':>13}   lossless")
for row in table:
    numbers = f"{row.vocab_size:>11,}{row.tokens:>9,}{row.bytes_per_token:>13.2f}{row.tokens_per_character:>13.2f}"
    print(f"{row.scheme:<12}{row.text:<9}{numbers}   {'yes' if row.lossless else 'no'}")
reveal("fewest tokens", min(table, key=lambda row: row.tokens_per_character).scheme, guess)
assert all(row.lossless == (row.scheme != "words") for row in table)

# %%
fig, (left, right) = axes(1, 2, size=(8, 3.2))
for language, marker, shift in zip(heldout, "os", (-0.2, 0.2)):
    rows = [row for row in table if row.text == language]
    left.plot([r.vocab_size for r in rows], [r.bytes_per_token for r in rows], marker, color=COLOR[language])
    places = np.arange(len(rows)) + shift
    right.barh(places, [1_000 * r.tokens_per_character for r in rows], 0.38, color=COLOR[language], label=language)
for scheme, size in {row.scheme: row.vocab_size for row in table}.items():
    top = max(row.bytes_per_token for row in table if row.scheme == scheme)
    left.annotate(scheme, (size, top), xytext=(7, 2), textcoords="offset points")
left.set(xscale="log", xlim=(120, 5e7), ylim=(0, 13.5), xlabel="vocab_size (logarithmic)", ylabel="bytes per token")
right.set(yticks=range(len(schemes)), yticklabels=schemes, xlabel="tokens for 1,000 characters", ylabel="scheme")
right.invert_yaxis()
left.set_title("vocabulary and compression")
right.set_title("length of the sequence")
finish(fig)

# %% [markdown]
# Words are shortest and lose text. Characters waste a table of a million rows, most of them never trained. Bytes are
# complete and small, and long. BPE has the completeness of bytes, and you choose how far to go towards words.
#
# ## 8 · How large a vocabulary?
#
# **Predict.** From 257 to 512 tokens, to 1,024, to 2,048: does each doubling save more tokens than the one before it, as
# many, or fewer? What does a tokenizer trained on English do for Chinese?

# %%
guess = None  # more, as many, fewer

if HAVE_BPE:
    at = [SIZES.index(size) for size in (257, 512, 1_024, 2_048)]
    for language in heldout:
        saved = -np.diff(tokens[language, language][at])
        reveal(f"{language}: tokens saved by each doubling", saved.tolist(), guess)
        assert (np.diff(saved) < 0).all()
    for name in ("English", "both"):
        english = len(heldout["English"]) / tokens[name, "English"][-1]
        chinese = len(heldout["Chinese"]) / tokens[name, "Chinese"][-1]
        print(f"trained on {name}, 2,048 tokens: {english:.2f} English, {chinese:.2f} Chinese characters per token")
    per_word = tokens["English", "English"][-1] / len(split_pattern(heldout["English"]))
    print(f"English tokens per word: {per_word:.2f}")
    assert per_word > 1
    assert tokens["English", "Chinese"][-1] > 2 * len(heldout["Chinese"])
    assert tokens["both", "Chinese"][-1] < 0.6 * tokens["English", "Chinese"][-1]


# %%
def draw_curves(tokens: dict):
    fig, both = axes(1, 2, xlabel="vocab_size (logarithmic)", ylabel="bytes per token", size=(8, 3.2), sharey=True)
    lines = {"English": "o-", "Chinese": "s--", "both": "^:"}
    for ax, (language, text) in zip(both, heldout.items()):
        for name, line in lines.items():
            ratio = len(text.encode()) / tokens[name, language]
            ax.plot(SIZES, ratio, line, color=COLOR[name], label=f"trained on {name}" if ax is both[0] else None)
        ax.set_xscale("log", base=2)
        ax.set_xticks([256, 512, 1_024, 2_048], ["256", "512", "1,024", "2,048"])
        ax.set_title(f"held-out {language}")
    return finish(fig)


draw_curves(tokens) if tokens else None

# %% [markdown]
# The English curve is nearly straight on a logarithmic axis: each doubling adds about as many bytes per token as the one
# before, and so saves fewer tokens. A vocabulary is shared by all languages that a model reads, and each is served by how
# much of it stood in the training text. Users of the other languages pay more for the same message and fit less of it in
# the context: up to 15 times as many tokens, over 17 tokenizers (arXiv 2305.15425).
#
# ## 9 · What a tokenizer costs
#
# **Parameters.** The table has `vocab_size × d_model` numbers, twice that when the output layer has its own.
# GPT-2 small: 50,257 × 768 = 38,597,376, used at both ends (*tied*). Check it by hand:

# %%
guess = None  # share of the embedding in GPT-2 small, in percent

vocab_size, context_length, d_model, n_layers = 50_257, 1_024, 768, 12  # GPT-2 small
embedding = vocab_size * d_model
positions = context_length * d_model
block = 12 * d_model**2 + 13 * d_model  # 4 d² attention, 8 d² feed-forward, the rest biases and norms: lecture 03
total = embedding + positions + n_layers * block + 2 * d_model
print(f"{embedding:,} + {positions:,} + {n_layers} × {block:,} + {2 * d_model:,} = {total:,}")
assert total == 124_439_808  # the published checkpoint
reveal("share of the embedding, in percent", f"{100 * embedding / total:.1f}", guess)
print(f"untied it would be {100 * 2 * embedding / (total + embedding):.1f} % of {total + embedding:,}")
print(f"logits of one sequence in float32: {context_length * vocab_size * 4 / 1e6:.0f} MB")
assert 0.30 < embedding / total < 0.32

# %% [markdown]
# **Compute.** With $b$ bytes per token, $n$ bytes of text are $T = n/b$ tokens, and a forward pass costs about
#
# $$T \,\big(\underbrace{24\,L\,d^2}_{\text{blocks}} + \underbrace{4\,L\,T\,d}_{\text{attention}} + \underbrace{2\,d\,V}_{\text{output}}\big)\ \text{FLOPs}$$
#
# for $L$ layers of width $d$ (lecture 02 counts them). A larger vocabulary $V$ makes $T$ smaller and the output dearer, so
# there is a cheapest $V$, and it depends on how wide the model is.
#
# **Predict.** 256 bytes of English, a tiny model ($L = 1$, $d = 64$) and GPT-2 small ($L = 12$, $d = 768$): which of our
# vocabularies is cheapest for each?

# %%
guess = None  # (tiny, GPT-2 small)


def forward_flops(
    n_bytes: float, per_token: np.ndarray, vocab_size: np.ndarray, n_layers: int, d_model: int
) -> np.ndarray:
    seq = n_bytes / per_token
    return seq * (24 * n_layers * d_model**2 + 4 * n_layers * seq * d_model + 2 * d_model * vocab_size)


models = {"tiny (1 layer, d_model 64)": (1, 64), "GPT-2 small (12 layers, d_model 768)": (12, 768)}
if HAVE_BPE:
    per_token = len(heldout["English"].encode()) / tokens["English", "English"]
    cost = {name: forward_flops(256, per_token, np.array(SIZES), *shape) for name, shape in models.items()}
    best = {name: SIZES[int(flops.argmin())] for name, flops in cost.items()}
    reveal("cheapest vocab_size", best, guess)
    tiny, small = best.values()
    assert SIZES[0] < tiny < SIZES[-1] == small


# %%
def draw_cost(cost: dict):
    fig, ax = axes(xlabel="vocab_size (logarithmic)", ylabel="forward FLOPs relative to bytes", size=(6.4, 3.2))
    for (name, flops), color, line in zip(cost.items(), COLORS.values(), ("o-", "s--")):
        relative = flops / flops[0]
        ax.plot(SIZES, relative, line, color=color, label=name)
        ax.plot(best[name], relative.min(), line[0], color=color, markersize=14, fillstyle="none")
    ax.set_xscale("log", base=2)
    ax.set_xticks([256, 512, 1_024, 2_048], ["256", "512", "1,024", "2,048"])
    ax.set(ylim=(0, 1.05), title="The cheapest vocabulary (ringed) grows with the model")
    return finish(fig)


draw_cost(cost) if HAVE_BPE else None

# %% [markdown]
# Cheapest is not best: what counts is the loss for a given compute, and there too larger models want larger vocabularies
# (arXiv 2407.13623). Compare such models in **bits per byte**, loss / (ln 2 · bytes per token): a loss *per token* is lower
# for a tokenizer with shorter tokens, whatever the model has learned.
#
# ## Often said, and what is so
#
# | often said | what is so |
# |---|---|
# | Vocabularies are 100–200K | Recent and multilingual ones are: GPT-4 100,277, Llama 3 128,256 (2407.21783), Qwen2 151,646 (2407.10671). GPT-2 has 50,257, Llama 2 32,000 (2307.09288). |
# | A token is a word, or four characters | About four characters of *English* with a large vocabulary; you measured less than half a character of Chinese with an English one (2305.15425). |
# | Byte-level BPE needs `<unk>` | All 256 bytes are in the vocabulary: any text can be written (GPT-2 2019; 1909.03341). Character-level BPE does need it. |
# | BPE was invented for language models | Gage 1994 for file compression; Sennrich et al. for translation (1508.07909), on characters; on bytes, GPT-2 2019. |
# | GPT-4 splits text like GPT-2 | Digits by three at most, line ends, brackets and tabs are cut differently: section 3. |
# | A model on bytes has no tokenizer | Bytes are tokens, with UTF-8 as the tokenizer (ByT5, 2105.13626). |
# | Lower perplexity means a better model | With the same tokenizer on the same text; otherwise compare bits per byte. |

# %% [markdown]
# ## What you built
#
# `cs336lite.tokenizer`: `CharacterTokenizer`, `ByteTokenizer`, `WordTokenizer`, all with `encode`, `decode` and
# `vocab_size`; `well_formed`; `GPT2_PATTERN`, `CL100K_PATTERN` and `split_pattern`; `first_merges`; `compare`, `Compression` and
# `bytes_per_token`.
#
# ## Limits
#
# - Our texts are small and even: 100 kB of documentation, and Chinese made by a grammar. Real corpora are a million
#   times larger and messier; expect the same shapes and other numbers.
# - Vocabularies stop at 2,048 here, so no claim about 32,000 and more is measured, only cited.
# - Text was taken as it is. The same `é` can be one code point or two (Unicode normalisation), and then has two encodings.
# - Unigram (1804.10959) and WordPiece are other ways to choose subwords; SentencePiece (1808.06226) is a library that
#   offers BPE and Unigram.
#
# ## Sources
#
# Gage, *A New Algorithm for Data Compression*, C Users Journal 12(2), 1994 · Sennrich, Haddow, Birch 2016 (arXiv
# 1508.07909) · Radford et al., *Language Models are Unsupervised Multitask Learners*, 2019 · tiktoken's published patterns ·
# Singh, Strouse 2024 (2402.14903) · Petrov et al. 2023 (2305.15425) · Tao et al. 2024 (2407.13623).
#
# ## Next
#
# Assignment **a1_bpe**: write the BPE you used here. Then lecture **02 · tensors and FLOPs**, which counts what a token
# costs.
