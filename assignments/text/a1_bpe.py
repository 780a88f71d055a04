# ---
# jupyter:
#   kernelspec: {display_name: Python 3, language: python, name: python3}
#   cs336lite: {module: bpe, minutes: 300, prerequisites: [01_tokenizer], device: CPU}
# ---

# %% [markdown]
# # Assignment 1 · A byte-pair encoding tokenizer (字节对编码)
#
# **about 5 hours of work · prerequisites: lecture 01 · device: CPU · 100 points**
#
# A language model reads integers. *Byte-pair encoding* (BPE) decides which: it starts from the 256 bytes, so that no
# text is ever out of vocabulary, and joins the pair of neighbours that occurs most often, again and again. What it
# joins often enough becomes a token. You will train such a vocabulary on a file, then encode and decode with it, and
# later lectures and assignments will run on your code.
#
# | exercise | what you write | points |
# |---|---|---:|
# | `pretokenize` | cut text into the pieces that merges never cross | 5 |
# | `count_pairs` | count neighbours | 6 |
# | `merge` | join one pair in one word | 6 |
# | `train` | learn a vocabulary from a file | 33 |
# | `encode` | text to ids | 27 |
# | `decode` | ids to text | 6 |
# | `special_tokens` | text with markers that are never cut | 7 |
# | `encode_iterable` | ids from text that streams | 10 |
#
# ## How to work
#
# - Replace each `raise NotImplementedError` with your code. Keep names and arguments as they are; add cells and helper
#   functions wherever you like.
# - `check("a1_bpe", "train")` runs the public checks of an exercise, `hint("a1_bpe", "train")` gives one hint more each
#   time you ask, and `status()` shows where you stand. Hidden checks follow when you hand in: they judge the same things
#   on other inputs, and only through `train_bpe` and `Tokenizer`.
# - Use the standard library and `regex`. **One process is enough**: where your code is graded no other can be started, and
#   the jobs of a pool are done one after the other in yours. So `multiprocessing` is no mistake, and no gain.
# - A cell whose first line is `#| export` becomes a part of the module `cs336lite.bpe`: keep that line. Functions,
#   classes and imports that such a cell needs go along from whatever cell they stand in.
# - The last cell writes this module into your copy of the package and runs the public checks on it. It reads the file of
#   this notebook, so save first (Ctrl+S, on a Mac Cmd+S).
#
# Most points are for an ordinary text that is learned, encoded, decoded and streamed without a mistake. The other checks
# look at one difficulty each and say why it is not so yet.
#
# ## What differs from CS336
#
# The interface is that of the first assignment of Stanford's CS336. Where that leaves something open, this is asked for:
#
# | | here |
# |---|---|
# | ids | special tokens first, in the order given, then the bytes 0 to 255, then merges |
# | bytes that are not UTF-8 | become U+FFFD, in training and in `decode`: `errors="replace"` and not `"ignore"` |
# | line ends | stay as they are: `\r\n` is two bytes, so open the file in binary mode or with `newline=""` |
# | special tokens | any number, also none: `[]` and `None` cut nothing; of several at one place the longest counts, in training as well |
# | arguments that cannot be right | a `ValueError`, not an `AssertionError`; an unknown id in `decode`, too |
# | what you are given | vocabulary, merges and special tokens stay as they are |
#
# Each of these costs a point or less, and nothing else.
#
# Above each exercise stand its difficulty, how much the rest depends on it, and the minutes it takes most people.
#
# Sources: Sennrich, Haddow and Birch 2016, [Neural Machine Translation of Rare Words with Subword
# Units](https://arxiv.org/abs/1508.07909); Radford et al. 2019, [Language Models are Unsupervised Multitask
# Learners](https://cdn.openai.com/better-language-models/language_models_are_unsupervised_multitask_learners.pdf) (GPT-2);
# Gage 1994, *A New Algorithm for Data Compression*. The interface is that of Stanford's CS336.

# %% locked="setup"
from cs336lite.course import check, hint, status

# %%
#| export
"""Byte-pair encoding (字节对编码): train a vocabulary on a file, then turn text into ids and ids into text.

Sennrich et al. 2016, "Neural Machine Translation of Rare Words with Subword Units", section 3.2, on bytes as in
Radford et al. 2019, "Language Models are Unsupervised Multitask Learners" (GPT-2), section 2.2.

Built in assignments/source/a1_bpe/a1_bpe.ipynb.
"""

# %% [markdown]
# ## Imports and the pattern
#
# All of these come with Python, except `regex`, which knows the character classes of Unicode that `re` lacks (`\p{L}`: any
# letter). You may not need all of them.
#
# `PATTERN` is GPT-2's. Its alternatives are tried from the left at each place of the text:
#
# | alternative | finds |
# |---|---|
# | `'(?:[sdmt]\|ll\|ve\|re)` | the end of a contraction: `'s`, `'ll` |
# | ` ?\p{L}+` | letters, with the space before them |
# | ` ?\p{N}+` | digits, with the space before them |
# | ` ?[^\s\p{L}\p{N}]+` | anything else that is not white space, with the space before it |
# | `\s+(?!\S)` | white space, up to the last one before something else |
# | `\s+` | white space |

# %%
#| export
import json
import os
import re
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import ClassVar, SupportsIndex

import regex

PATTERN = r"""'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"""


# %% [markdown]
# ## 1 · Pre-tokens (`pretokenize`)
#
# **Difficulty ●○○○○ · Importance ●●●○○ · 15 minutes · 5 points**
#
# Merging across words would waste the vocabulary on `dog.`, `dog!` and `dog,`. So text is first cut into *pre-tokens*
# (预分词), and no merge ever crosses from one into the next. A pre-token usually takes the space before it along:
#
# `It's 42 degrees!  ok` → `It` · `'s` · ` 42` · ` degrees` · `!` · ` ` · ` ok`
#
# Special tokens such as `<|endoftext|>` mark borders between documents. They are no text, and nothing may be learned
# from them, so they are cut out before the pattern looks at anything:
#
# $$\text{text} = t_0\, s_1\, t_1\, s_2 \dots s_n\, t_n \quad\Rightarrow\quad
# \text{pretokenize} = \text{find}(t_0) + \text{find}(t_1) + \dots + \text{find}(t_n)$$
#
# Rules:
# - Special tokens are found from the left; where several begin at the same place, the longest one counts.
# - They mean exactly what they say: the `|` in `<|endoftext|>` is a bar and not "or".
# - Nothing is lost: with the special tokens put back, the pieces joined are the text.


# %% solution="pretokenize"
#| export
def pretokenize(text: str, special_tokens: Iterable[str] = ()) -> list[str]:
    """The pre-tokens of ``text`` in order: what PATTERN finds between special tokens, which are left out.

    >>> pretokenize("It's 42<|end|> degrees", ["<|end|>"])
    ['It', "'s", ' 42', ' degrees']
    """
    ### BEGIN SOLUTION
    return [pretoken for part in re.split(_any_of(*special_tokens), text) for pretoken in _find_pretokens(part)]


import errno
import heapq
import pickle
import shutil
import subprocess
import sys
from array import array
from bisect import bisect_left
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from functools import cache, cached_property
from itertools import chain, compress, islice, product, repeat
from operator import add, index
from tempfile import TemporaryDirectory


@cache
def _any_of(*special_tokens: str) -> str:
    """A pattern for all special tokens, the longest first because the first that matches wins; ``(?!)`` never does."""
    return "|".join(map(re.escape, sorted(special_tokens, key=len, reverse=True))) or "(?!)"


def _find_pretokens(text: str, pattern: str = "gpt2") -> list[str]:
    """What a pattern of PATTERNS finds. For GPT-2's and ASCII a plain pattern finds the same, more than twice as fast."""
    if pattern != "gpt2":
        return regex.findall(PATTERNS[pattern], text)
    return _ASCII.findall(text) if text.isascii() else _FINE.findall(text)


# Other models keep up to three digits together, or one, and line ends with what stands before them.
_WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+"
_REST = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
PATTERNS = {
    "gpt2": PATTERN,
    "gpt4": "|".join([_WORDS, r"\p{N}{1,3}", r"\s+\Z", _REST]),  # tiktoken's cl100k_base
    "qwen2": "|".join([_WORDS, r"\p{N}", _REST]),  # as their files tokenizer.json write it
    "llama3": "|".join([_WORDS, r"\p{N}{1,3}", _REST]),
}
_FINE = regex.compile(PATTERN)
_ASCII = re.compile(
    r" ?[A-Za-z]++|'(?:[sdmt]|ll|ve|re)| ?[0-9]++| ?[^\t-\r A-Za-z0-9]++|[\t-\r ]+(?![^\t-\r ])|[\t-\r ]+"
)
# White space as PATTERN sees it (Unicode White_Space); the \s of `re` would also take U+001C to U+001F.
_SPACE = r"\t-\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
# Text cut at white space alone: each piece is a whole number of pre-tokens.
_COARSE = re.compile(rf" ?[^{_SPACE}]++|[{_SPACE}]+(?![^{_SPACE}])|[{_SPACE}]+")
# White space after something else. Text can be cut before it: no pre-token and no lookahead reaches across.
_BORDER = rf"(?<=[^{_SPACE}])[{_SPACE}]"
# The other patterns of PATTERNS take line ends along with what stands before them.
_BORDER_IN_LINE = rf"(?<=[^{_SPACE}])(?![\r\n])[{_SPACE}]"


def _border(pattern: str) -> str:
    return _BORDER if pattern == "gpt2" else _BORDER_IN_LINE


def _well_formed(text: str) -> str:
    """``text`` as UTF-8 can write it, as tiktoken makes it: surrogates that are a pair are joined, others are U+FFFD."""
    if not isinstance(text, str):
        raise TypeError(f"only a string can be encoded, and this is {type(text).__name__}: {text!r:.40}")
    if text.isascii() or not _SURROGATE.search(text):
        return text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


_SURROGATE = re.compile("[\ud800-\udfff]")
### END SOLUTION


# %% grade="pretokenize" points=5
check("a1_bpe", "pretokenize")

# %% [markdown]
# ## 2 · Counting pairs (`count_pairs`)
#
# **Difficulty ●○○○○ · Importance ●●●○○ · 10 minutes · 6 points**
#
# A corpus says ` the` a million times, so training keeps each distinct pre-token once, with its count. A *word* here is
# a tuple of tokens, each a byte string: at first single bytes, later whatever has been merged.
#
# $$\text{count}(a, b) = \sum_{w} n_w \cdot \left|\{\, i : (w_i, w_{i+1}) = (a, b) \,\}\right|$$
#
# With `(h, u, g)` 10 times and `(h, u, g, s)` 5 times: `(h, u)` 15, `(u, g)` 15, `(g, s)` 5. Every place counts, also where
# two places overlap: `(a, a, a)` holds `(a, a)` twice. A pair that does not occur is not in the answer.


# %% solution="count_pairs"
#| export
def count_pairs(words: dict[tuple[bytes, ...], int]) -> dict[tuple[bytes, bytes], int]:
    """How often each pair of neighbouring tokens occurs; a word counts as often as ``words`` says it occurs.

    >>> count_pairs({(b"a", b"b", b"a", b"b"): 2, (b"a",): 5})
    {(b'a', b'b'): 4, (b'b', b'a'): 2}
    """
    ### BEGIN SOLUTION
    counts = defaultdict(int)
    for word, n in words.items():
        for pair in pairwise(word):
            counts[pair] += n
    return dict(counts)
    ### END SOLUTION


# %% grade="count_pairs" points=6
check("a1_bpe", "count_pairs")

# %% [markdown]
# ## 3 · Merging a pair (`merge`)
#
# **Difficulty ●●○○○ · Importance ●●●○○ · 15 minutes · 6 points**
#
# Go through the word from left to right. Where the two tokens at hand are the pair, write the joined token and step over
# both; else write one token and step over it. A token that was just made takes no part in the same pass:
#
# | word | pair | result |
# |---|---|---|
# | `h e l l o` | `l l` | `h e ll o` |
# | `a a a` | `a a` | `aa a` |
# | `a a a a` | `a a` | `aa aa` |
# | `ab c` | `b c` | `ab c`: the tokens are `ab` and `c` |
#
# The word that is given stays as it is.


# %% solution="merge"
#| export
def merge_pair(word: tuple[bytes, ...], pair: tuple[bytes, bytes]) -> tuple[bytes, ...]:
    """``word`` with each occurrence of ``pair`` joined into one token, from left to right, without overlaps.

    >>> merge_pair((b"a", b"a", b"a", b"b"), (b"a", b"a"))
    (b'aa', b'a', b'b')
    """
    ### BEGIN SOLUTION
    merged, i = [], 0
    while i < len(word):
        width = 2 if word[i : i + 2] == pair else 1
        merged.append(b"".join(word[i : i + width]))
        i += width
    return tuple(merged)
    ### END SOLUTION


# %% grade="merge" points=6
check("a1_bpe", "merge")

# %% [markdown]
# ### Look: a word grows together
#
# Your two functions are all that training needs. Here are four words, and after each step what they look like. Which pair
# do you expect first?

# %%
words = {
    tuple(bytes([b]) for b in word.encode()): n for word, n in {"low": 5, "lower": 2, "widest": 3, "newest": 6}.items()
}
for step in range(8):
    counts = count_pairs(words)
    best = max(counts, key=lambda pair: (counts[pair], pair))
    words = {merge_pair(word, best): n for word, n in words.items()}
    shown = "   ".join(" ".join(token.decode() for token in word) for word in words)
    print(f"{step + 1}. {best[0].decode():>3} + {best[1].decode():<3} {counts[best]:>2} times   {shown}")

# %% [markdown]
# ### Given: how GPT-2 writes bytes
#
# Vocabulary files are text, and a byte such as 0x0A or 0xFF is not. GPT-2 shows every byte as one visible character. You
# need this table only to read and write files.


# %%
#| export
def gpt2_byte_to_unicode() -> dict[int, str]:
    """GPT-2's printable character for each byte, in which vocabulary files are written.

    A byte that is a visible Latin-1 character stands for itself; the other 68 take U+0100 and onward in order, so a
    space is ``Ġ`` and a newline ``Ċ``.

    >>> "".join(gpt2_byte_to_unicode()[b] for b in b" the")
    'Ġthe'
    """
    visible = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    hidden = [b for b in range(256) if b not in visible]
    return {b: chr(b) if b in visible else chr(0x100 + hidden.index(b)) for b in range(256)}


# %% [markdown]
# ### Given: what is no text
#
# You need this only if you want your training to refuse what it cannot read.


# %%
#| export
def refuse_other_formats(path: str | os.PathLike, start: bytes) -> None:
    """Raises ValueError where the first bytes of a file show that it is compressed, in UTF-16, or a pointer of Git LFS."""
    if re.match(rb"\x1f\x8b\x08|BZh[1-9]1AY&SY|\xfd7zXZ\x00|\x28\xb5\x2f\xfd|PK\x03\x04", start):
        raise ValueError(f"{path} is compressed: decompress it first")
    if start.startswith((b"\xff\xfe", b"\xfe\xff")) and b"\0" in start:
        raise ValueError(f"{path} is text in UTF-16: save it as UTF-8 first")
    if start.startswith(b"version https://git-lfs"):
        raise ValueError(f"{path} is a pointer of Git LFS and not the file itself: run `git lfs pull` there")


# %% [markdown]
# ## 4 · Training (`train`)
#
# **Difficulty ●●●●○ · Importance ●●●●● · 120 minutes · 33 points**
#
# Read the file, count its pre-tokens, and learn. In words, slow and right:
#
# 1. A word is a pre-token as a tuple of single bytes; `words` holds each with its count.
# 2. Count all pairs. If there is none, stop.
# 3. Take the pair with the highest count. **Of several, take the greatest**, as Python compares `(bytes, bytes)`.
# 4. Note it as the next merge, merge it in every word, and go to 2 until the vocabulary is full.
#
# A tie: with `(b"a", b"b")`, `(b"a", b"ba")` and `(b"B", b"z")` all most frequent, `(b"a", b"ba")` is merged. The tokens are
# compared one by one, not as they read when joined.
#
# Rules:
# - The file's **exact bytes** count: `\r\n` stays `\r\n`. They are decoded as UTF-8 with `errors="replace"`.
# - Ids: the special tokens in their order, then the bytes 0 to 255, then one token for each merge, up to `vocab_size`. If
#   no pair is left, training ends early.
# - Special tokens are cut out as in exercise 1. They are in the vocabulary even if the file holds none.
# - `ValueError`, with words that help, when `vocab_size` has no room for 256 bytes and the special tokens, when a
#   special token is empty, and when one is given twice. The arguments stay as they are.
# - The keyword-only arguments belong to the course's own solution. Leave them in place and ignore them.
#
# **Steps 2 to 4 as written count everything again for every merge, and that earns all but 4 of the points.** A merge
# changes only the words that hold its pair, though, and in these only the pairs beside it. Two points are for counts that
# are kept from merge to merge, and two more for a merge that does not even look at the words without its pair: keep for
# each pair the words that hold it. The checks measure how the cost grows with words that have nothing to do with the
# merges. Write the slow version first, keep it, and compare the fast one with it on small random text.


# %% solution="train"
#| export
def train_bpe(
    input_path: str | os.PathLike,
    vocab_size: int,
    special_tokens: list[str],
    *,
    tie_break: str = "cs336",
    num_processes: int | None = None,
    progress: bool = False,
) -> tuple[dict[int, bytes], list[tuple[bytes, bytes]]]:
    """The vocabulary (id to bytes) and the merges, in order, that byte-pair encoding learns from a file.

    Args:
        input_path: a file or a pipe, read as the bytes that it holds and decoded as UTF-8 with ``errors="replace"``.
        vocab_size: how many ids to make at most. Special tokens come first, in order, then the 256 bytes, then one
            token a merge; training stops early when no pair is left.
        special_tokens: the text is cut at these before anything is counted.
        tie_break: which of several most frequent pairs is merged: the greatest ``(bytes, bytes)`` (``"cs336"``), or
            the lowest pair of ids as the library of that name numbers them (``"huggingface"``, ``"rustbpe"``).
        num_processes: how many processes count pre-tokens; None chooses by the size of the file.
        progress: show a progress bar.

    Raises ValueError when ``vocab_size`` has no room for the bytes and the special tokens, and when a special token is
    empty or given twice.
    """
    ### BEGIN SOLUTION
    _check_arguments(vocab_size, special_tokens, tie_break, num_processes)
    with _file_to_count(input_path) as path:
        counts = _count_file(path, special_tokens, num_processes, progress)
    merges = _learn_merges(counts, vocab_size - 256 - len(special_tokens), tie_break, progress)
    tokens = [*map(str.encode, special_tokens), *(bytes([b]) for b in range(256)), *(a + b for a, b in merges)]
    return dict(enumerate(tokens)), merges


def _check_arguments(vocab_size: int, special_tokens: list[str], tie_break: str, num_processes: int | None) -> None:
    if isinstance(special_tokens, str):
        raise ValueError(f"special_tokens is one string, {special_tokens!r}: give a list of strings")
    if special_tokens is None or not all(isinstance(token, str) for token in special_tokens):
        raise TypeError(f"special_tokens is {special_tokens!r}: give a list of strings, [] for none")
    if "" in special_tokens:
        raise ValueError("special_tokens holds an empty string, which would match everywhere: leave it out")
    if len(set(special_tokens)) < len(special_tokens):
        twice = Counter(special_tokens).most_common(1)[0][0]
        raise ValueError(f"special_tokens holds {twice!r} more than once: an id belongs to one token")
    if broken := list(filter(_SURROGATE.search, special_tokens)):
        raise ValueError(f"special_tokens holds {broken[0]!r}: a surrogate is no character, and no file can hold it")
    if not hasattr(vocab_size, "__index__"):
        raise TypeError(f"vocab_size is {vocab_size!r}: give a whole number")
    if vocab_size < 256 + len(special_tokens):
        needed = f"256 bytes and {len(special_tokens)} special tokens need at least {256 + len(special_tokens)}"
        raise ValueError(f"vocab_size is {vocab_size}, but {needed}")
    if tie_break not in ("cs336", "huggingface", "rustbpe"):
        raise ValueError(f"tie_break is {tie_break!r}: give 'cs336', 'huggingface' or 'rustbpe'")
    if num_processes is not None and (not hasattr(num_processes, "__index__") or num_processes < 1):
        raise ValueError(f"num_processes is {num_processes}: give at least 1, or None to let the file's size decide")


@contextmanager
def _file_to_count(input_path: str | os.PathLike) -> Iterator[Path]:
    """The path of a file that can be read from any offset. What only streams, as a pipe does, is copied to one."""
    path = Path(os.fsdecode(input_path))
    if os.path.isdir(path):
        raise IsADirectoryError(errno.EISDIR, "train_bpe reads one file, and this is a folder", str(path))
    if not os.path.exists(path):  # also for a name that no system allows
        wrong = "no such file (train_bpe takes a path, not the text itself)"
        raise FileNotFoundError(errno.ENOENT, wrong, str(path)[:200])
    streams = _only_streams(path)
    with TemporaryDirectory() if streams else nullcontext() as folder:
        copy = Path(folder) / "stream" if streams else path
        if streams:
            with open(path, "rb") as source, open(copy, "wb") as target:
                shutil.copyfileobj(source, target)
        with open(copy, "rb") as file:
            refuse_other_formats(path, file.read(1 << 16))
        yield copy


def _only_streams(path: Path) -> bool:
    """Whether a file has no size to go by: a pipe, or a file of /proc, whose size reads 0 and which holds something."""
    if path.is_file() and path.stat().st_size == 0:
        with open(path, "rb") as file:
            return bool(file.read(1))
    return not path.is_file()


_CHUNK_BYTES = 1 << 20  # counted at once; while it is counted a chunk takes about twenty times its size
_WINDOW_BYTES = 1 << 14  # read at once to find the end of a chunk
_COARSE_PIECES = 1 << 17  # distinct coarse pieces kept before they are broken up
_FOLLOWED_PAIRS = 300  # pairs whose counts are kept, at the least
_LONG_WORD = 1_000  # characters from which a word is kept token by token; below, to split it is quicker


def _count_file(path: Path, special_tokens: list[str], num_processes: int | None, progress: bool) -> dict[str, int]:
    """How often each pre-token occurs in the file. This process and ``num_processes - 1`` others share the chunks."""
    size = path.stat().st_size
    chunks = list(pairwise(_chunk_cuts(path, size, special_tokens)))
    if num_processes is None:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        num_processes = cores if size >= 1_000_000 else 1
    if __name__ == "__main__" or getattr(sys.modules.get(__name__), "_serve", None) is not _serve:
        num_processes = 1  # code typed into a notebook cannot be imported by another process
    own, *others = [chunks[i::num_processes] for i in range(max(1, min(num_processes, len(chunks))))]
    with (
        _progress(progress, total=size, desc="count pre-tokens", unit="B", unit_scale=True) as report,
        ThreadPoolExecutor(len(others) or 1) as pool,
    ):
        answers = [pool.submit(_count_elsewhere, path, special_tokens, share) for share in others]
        counts = _count_chunks(path, special_tokens, own, report)
        for answer, share in zip(answers, others):
            for pretoken, n in (answer.result() or _count_chunks(path, special_tokens, share)).items():
                counts[pretoken] = counts.get(pretoken, 0) + n
            report(sum(end - start for start, end in share))
    return counts


@contextmanager
def _progress(shown: bool, **options) -> Iterator[Callable[[int], object]]:
    """A function to report progress to. tqdm takes 10 MB, as much as Python itself: only who wants to see it pays."""
    if not shown:
        yield lambda done: None
        return
    from tqdm.auto import tqdm

    with tqdm(**options) as bar:
        yield bar.update


def _chunk_cuts(path: Path, size: int, special_tokens: list[str]) -> list[int]:
    """Offsets, about ``_CHUNK_BYTES`` apart, at which the file can be cut without any change to its pre-tokens.

    A cut lies before ASCII white space (so between two characters, even where the bytes are not UTF-8) that follows a
    character which is not white space (so no run of white space is cut), and inside no special token.
    """
    encoded = [token.encode() for token in special_tokens]
    margin = max(map(len, encoded), default=0) + 4
    cuts, start = [0], _CHUNK_BYTES
    with open(path, "rb") as file:
        while start < size:
            base = max(0, start - margin)
            file.seek(base)
            window = file.read(start - base + _WINDOW_BYTES + margin)
            at = _first_cut(window, start - base, start - base + _WINDOW_BYTES, encoded)
            if at is None:
                start += _WINDOW_BYTES  # the chunk goes on: without a cut in the whole file, to its end
            else:
                cuts.append(base + at)
                start = cuts[-1] + _CHUNK_BYTES
    return [*cuts, size] if size else [0]


def _first_cut(window: bytes, start: int, end: int, special_tokens: list[bytes]) -> int | None:
    for match in re.compile(rb"[\t-\r ]").finditer(window, start, end):
        at = match.start()
        before = window[max(0, at - 4) : at].decode(errors="replace")
        inside = any(window.find(s, max(0, at - len(s) + 1), at + len(s) - 1) >= 0 for s in special_tokens)
        if before and not before[-1].isspace() and not inside:
            return at
    return None


def _count_elsewhere(*job) -> dict[str, int] | None:
    """The answer of a fresh interpreter to `_count_chunks`; None when there is none, as where processes are forbidden.

    Unlike a fork this is safe beside threads, and unlike `multiprocessing` it never runs the caller's script again: it
    works in a notebook and on every platform.
    """
    code = f"import sys; sys.path[:] = {sys.path!r}; import {__name__} as module; module._serve()"
    try:
        done = subprocess.run([sys.executable, "-c", code], input=pickle.dumps(job), capture_output=True)
    except OSError:
        return None
    return pickle.loads(done.stdout) if done.returncode == 0 else None


def _serve() -> None:
    pickle.dump(_count_chunks(*pickle.load(sys.stdin.buffer)), sys.stdout.buffer)


def _count_chunks(
    path: Path, special_tokens: list[str], chunks: list[tuple[int, int]], report: Callable = lambda done: None
) -> dict[str, int]:
    """How often each pre-token occurs in these chunks (start, end) of the file; ``report`` hears of the bytes done."""
    specials = re.compile(_any_of(*special_tokens))
    counts, pieces = {}, Counter()
    with open(path, "rb") as file:
        for start, end in chunks:
            file.seek(start)
            for text in specials.split(file.read(end - start).decode(errors="replace")):
                pieces.update(_COARSE.findall(text))
            if len(pieces) > _COARSE_PIECES or end == chunks[-1][1]:
                for piece, n in pieces.items():
                    for pretoken in _find_pretokens(piece):
                        counts[pretoken] = counts.get(pretoken, 0) + n
                pieces.clear()
            report(end - start)
    return counts


def _learn_merges(counts: dict[str, int], wanted: int, tie_break: str, progress: bool) -> list[tuple[bytes, bytes]]:
    """At most ``wanted`` merges. Empties ``counts``.

    A token is one character here, so a word is a string, a pair is a string of two, and a merge is a split and a join.
    The bytes are the first 256 characters. A pair's count can only fall once it exists, and most pairs are far too
    rare ever to be merged. So only pairs that occur ``floor`` times or more are followed; when none of these is left,
    all are counted again and the floor is lowered to at most half, which happens a few times in all.
    To split a word costs as much as it is long, so long words are kept in another way: see `_Words`.
    """
    shown = gpt2_byte_to_unicode()
    alphabet = sorted(range(256), key=shown.get) if tie_break == "huggingface" else range(256)
    tokens = [bytes([b]) for b in alphabet]
    as_characters = bytes(alphabet.index(b) for b in range(256))
    words, freqs = [], []
    while counts:
        pretoken, n = counts.popitem()
        words.append(pretoken.encode().translate(as_characters).decode("latin-1"))
        freqs.append(n)
    order = _greatest_first(tokens) if tie_break == "cs336" else _lowest_first
    merges = []
    floor = sys.maxsize
    with _progress(progress, total=wanted, desc="merge") as report:
        while len(merges) < wanted and floor > 1:
            words, freqs = _lay_out(words, freqs)
            pairs, where, floor = _frequent_pairs(words, freqs, floor, wanted - len(merges))
            heap = [(-n, order(pair), pair) for pair, n in pairs.items()]
            heapq.heapify(heap)
            while heap and len(merges) < wanted:
                n, tie, pair = heap[0]
                if pairs[pair] != -n:  # it has fallen since: put it back where it belongs, or drop it
                    if pairs[pair] >= floor:
                        heapq.heapreplace(heap, (-pairs[pair], tie, pair))
                    else:
                        heapq.heappop(heap)
                        del pairs[pair], where[pair]
                    continue
                heapq.heappop(heap)
                first, second = tokens[ord(pair[0])], tokens[ord(pair[1])]
                merges.append((first, second))
                tokens.append(first + second)
                for new in _merge_everywhere(pair, chr(len(tokens) - 1), words, freqs, pairs, where, floor):
                    heapq.heappush(heap, (-pairs[new], order(new), new))
                report(1)
            words, freqs = _take_up(words, freqs)
    return merges


def _lowest_first(pair: str) -> str:
    return pair  # characters are numbered as ids are


def _greatest_first(tokens: list[bytes]):
    """A key that sorts the greatest (bytes, bytes) first: bytes turned round, each token ended by more than any byte."""
    turned = bytes(range(255, -1, -1))
    keys = []

    def key(pair: str) -> str:
        for token in tokens[len(keys) :]:
            keys.append(token.translate(turned).decode("latin-1") + "\u0100")
        return keys[ord(pair[0])] + keys[ord(pair[1])]

    return key


class _Words:
    """Short words, each a string, and long words token by token, linked: there a merge costs what it changes.

    A place i is the word ``short[i]`` or, from ``start = len(short)`` on, the token ``tokens[i - start]``. A token is ""
    at both ends of a word, and where a merge took it away. ``before`` and ``after`` are its neighbours' indices.
    """

    def __init__(self, short: Iterable[str], long: Iterable[str]) -> None:
        self.short, self.tokens, self.ends = list(short), [], [0]
        for word in long:
            self.tokens.extend(("", *word))
            self.ends.append(len(self.tokens))
        self.tokens.append("")
        self.before = array("q", range(-1, len(self.tokens) - 1))
        self.after = array("q", range(1, len(self.tokens) + 1))


def _lay_out(words: list[str], freqs: list[int]) -> tuple[_Words, list[int]]:
    """The words that hold a pair as `_Words`, and how often what is at each place occurs."""
    short = [1 < len(word) < _LONG_WORD for word in words]
    long = [len(word) >= _LONG_WORD for word in words]
    laid = _Words(compress(words, short), compress(words, long))
    counts = list(compress(freqs, short))
    for n, (end, next_end) in zip(compress(freqs, long), pairwise(laid.ends)):
        counts.extend(repeat(n, next_end - end))
    return laid, counts


def _take_up(words: _Words, freqs: list[int]) -> tuple[list[str], list[int]]:
    """All words as strings again, and how often each occurs."""
    start = len(words.short)
    long_words = ["".join(words.tokens[end:next_end]) for end, next_end in pairwise(words.ends)]
    return words.short + long_words, freqs[:start] + [freqs[start + end] for end in words.ends[:-1]]


def _frequent_pairs(words: _Words, freqs: list[int], floor: int, wanted: int) -> tuple[dict, dict, int]:
    """The counts of the pairs that reach a new floor, the places (once a pair) that hold them, and that floor."""
    where = defaultdict(list)
    for i, word in enumerate(words.short):
        for pair in map(add, word, word[1:]):
            where[pair].append(i)
    for i, (first, second) in enumerate(pairwise(words.tokens), start=len(words.short)):
        if first and second:
            where[first + second].append(i)
    pairs = {pair: sum(map(freqs.__getitem__, places)) for pair, places in where.items()}
    most = max(_FOLLOWED_PAIRS, wanted // 5)
    floor = max(1, min(floor // 2, heapq.nlargest(most, pairs.values())[-1])) if len(pairs) > most else 1
    pairs = {pair: n for pair, n in pairs.items() if n >= floor}
    return pairs, {pair: where[pair] for pair in pairs}, floor


def _merge_everywhere(
    pair: str, new: str, words: _Words, freqs: list[int], pairs: dict, where: dict, floor: int
) -> list[str]:
    """Merge ``pair`` into ``new`` in every word and keep ``pairs`` and ``where`` true; the new pairs worth following.

    Where x stands on the left, (x, first) becomes (x, new), and so on the right: what one loses the other gains.
    """
    left, right, twins = defaultdict(list), defaultdict(list), []
    places, short = where.pop(pair), words.short
    for i in places:
        if i >= len(short):
            break  # the short words come first
        parts = short[i].split(pair)
        if len(parts) == 1:
            continue  # the pair was here once, and went with an earlier merge
        short[i] = new.join(parts)
        head, *middle, tail = parts
        if head:
            left[head[-1]].append(i)
        if tail:
            right[tail[0]].append(i)
        for part in middle:
            if part:
                right[part[0]].append(i)
                left[part[-1]].append(i)
            else:
                twins.append(i)
    if words.ends[-1]:
        _merge_by_token(pair, new, words, places, left, right, twins)
    first, second = pair
    changes = [(x + first, x + new, places) for x, places in left.items()]
    changes += [(second + y, new + y, places) for y, places in right.items()]
    changes += [(second + first, new + new, twins)] if twins else []
    del pairs[pair]
    born = []
    for old, made, places in changes:
        n = sum(map(freqs.__getitem__, places))
        if old in pairs:
            pairs[old] -= n
        if n >= floor:
            pairs[made], where[made] = n, places
            born.append(made)
    return born


def _merge_by_token(
    pair: str, new: str, words: _Words, places: list[int], left: dict, right: dict, twins: list[int]
) -> None:
    """Merge ``pair`` into ``new`` in long words, the places in ascending order; note the places of new pairs."""
    first, second = pair
    start, tokens, before, after = len(words.short), words.tokens, words.before, words.after
    merged = []
    for place in islice(places, bisect_left(places, start), None):
        i = place - start
        j = after[i]
        if tokens[i] == first and tokens[j] == second:  # else one of them went with an earlier merge
            tokens[i], tokens[j] = new, ""
            after[i] = after[j]
            before[after[i]] = i
            merged.append(i)
    for i in merged:
        x, y = tokens[before[i]], tokens[after[i]]
        if x and x != new:
            left[x].append(start + before[i])
        if y == new:
            twins.append(start + i)
        elif y:
            right[y].append(start + i)


### END SOLUTION


# %% grade="train" points=33
check("a1_bpe", "train")

# %% [markdown]
# ### Look: what is learned from documentation
#
# PyTorch's documentation is in every installation of it. Its most useful tokens come first; which kinds of text would
# you know by their longest ones?

# %%
import tempfile

from cs336lite.course.data import chinese_passage, technical_text

with tempfile.TemporaryDirectory() as folder:
    corpus = Path(folder) / "manual.txt"
    corpus.write_text(technical_text()[:300_000], "utf-8", newline="")
    vocab, merges = train_bpe(corpus, 1_000, ["<|endoftext|>"])
print("first  ", [(a + b).decode(errors="replace") for a, b in merges[:14]])
print("longest", sorted((token.decode(errors="replace") for token in vocab.values()), key=len)[-9:])

# %% [markdown]
# ## Given: the tokenizer
#
# The class holds the vocabulary and calls what you write in the next four exercises: `Encoder`, `decode_ids`,
# `split_special` and `safe_segments`. Python looks these names up when a method runs, so the class may stand before
# them. Read it: it shows what each of them is for, and that a special token missing from the vocabulary gets the next
# free id.


# %%
#| export
class Tokenizer:
    """Text to ids and back, with a trained vocabulary: `encode`, `decode`, and `encode_iterable` for text that streams.

    Args:
        vocab: id to bytes.
        merges: pairs of tokens, in the order in which they were learned.
        special_tokens: strings that are never cut, each with one id; one that ``vocab`` lacks gets the next free id.
        pattern: whose pre-tokens: ``"gpt2"``, and with the course's own `Encoder` also ``"gpt4"``, ``"qwen2"``, ``"llama3"``.

    Raises ValueError when a special token is empty and when a merge makes a token that ``vocab`` lacks.
    """

    def __init__(
        self,
        vocab: dict[int, bytes],
        merges: list[tuple[bytes, bytes]],
        special_tokens: list[str] | None = None,
        *,
        pattern: str = "gpt2",
    ) -> None:
        self.vocab, self.merges, self.pattern = dict(vocab), list(merges), pattern
        self.special_ids = {}
        if pattern not in known_patterns():
            raise ValueError(f"pattern is {pattern!r}: this Encoder knows {', '.join(map(repr, known_patterns()))}")
        if isinstance(special_tokens, str):
            raise ValueError(f"special_tokens is one string, {special_tokens!r}: give a list of strings")
        id_of = {token: i for i, token in reversed(self.vocab.items())}
        for token in special_tokens or []:
            if not isinstance(token, str):
                raise TypeError(f"special_tokens holds {token!r}: give a list of strings")
            if not token:
                raise ValueError("special_tokens holds an empty string, which would match everywhere: leave it out")
            if token.encode(errors="replace").decode() != token:
                raise ValueError(f"special_tokens holds {token!r}: a surrogate is no character, and no text holds it")
            self.special_ids[token] = id_of.setdefault(token.encode(), max(self.vocab, default=-1) + 1)
            self.vocab[self.special_ids[token]] = token.encode()
        for rank, (first, second) in enumerate(self.merges):
            if first + second not in id_of:
                raise ValueError(f"merge {rank} makes {first + second!r}, which the vocabulary lacks")
        self.encoder = Encoder(dict(vocab), self.merges)
        self._other = {} if pattern == "gpt2" else {"pattern": pattern}  # what you write need not know other patterns
        vars(self.encoder).update(self._other)

    def encode(self, text: str) -> list[int]:
        """The ids of ``text``; special tokens match leftmost, then longest."""
        if not self.special_ids:
            return self.encoder.encode(text)
        ids = []
        for part in split_special(text, list(self.special_ids)):
            ids.extend([self.special_ids[part]] if part in self.special_ids else self.encoder.encode(part))
        return ids

    def encode_iterable(self, iterable: Iterable[str]) -> Iterator[int]:
        """The ids of all the strings joined, one by one, without ever holding much of the text."""
        for segment in safe_segments(iterable, list(self.special_ids), **self._other):
            yield from self.encode(segment)

    def decode(self, ids: Iterable[SupportsIndex]) -> str:
        """The text of ``ids``. Raises ValueError for an id that the vocabulary lacks."""
        return decode_ids(ids, self.vocab)

    @classmethod
    def from_files(
        cls,
        vocab_path: str | os.PathLike,
        merges_path: str | os.PathLike,
        special_tokens: list[str] | None = None,
        *,
        pattern: str | None = None,
    ) -> "Tokenizer":
        """A tokenizer from files in GPT-2's formats: ``vocab.json`` and ``merges.txt``.

        Ids that the files of Hugging Face beside them add count too. ``pattern`` None takes what a ``tokenizer.json``
        there tells, else GPT-2's. Raises ValueError, with file and line, for what is not in these formats, and for
        merges that GPT-2's pattern cannot have given.
        """
        beside, merges = settings_beside(vocab_path), read_merges(merges_path)
        vocab = read_vocab(vocab_path, merges, special_tokens or [])
        added = added_tokens(vocab_path, beside, vocab)
        # first, so that a special token is found there, and ordinary text in the vocabulary's own ids
        vocab = added | {i: token for i, token in vocab.items() if i not in added}
        check_merges(merges_path, merges, vocab)
        pattern = pattern or find_pattern(beside, merges_path, merges)
        return cls(vocab, list(merges), special_tokens, pattern=pattern)

    def save(self, vocab_path: str | os.PathLike, merges_path: str | os.PathLike) -> None:
        """Write GPT-2's two files; `from_files` reads them back."""
        character = gpt2_byte_to_unicode()
        vocab = {"".join(map(character.get, token)): i for i, token in self.vocab.items()}
        if len(vocab) < len(self.vocab):
            raise ValueError(
                "two ids have the same bytes, and vocab.json can hold only one of them: nothing is written"
            )
        lines = [" ".join("".join(map(character.get, token)) for token in pair) for pair in self.merges]
        for path, text in (
            (Path(vocab_path), json.dumps(vocab, ensure_ascii=False)),
            (Path(merges_path), "\n".join(["#version: 0.2", *lines, ""])),
        ):
            path.with_name(path.name + ".part").write_text(text, "utf-8", newline="\n")
        for path in (Path(vocab_path), Path(merges_path)):  # both are there: neither is replaced alone
            path.with_name(path.name + ".part").replace(path)


# %% [markdown]
# ### Given, and not needed for the exercises: files as people have them
#
# `from_files` reads with these functions. They say in which line of which file something is wrong, and they refuse
# files of a tokenizer that cuts text in another way than yours, because it would give other ids without a word.


# %%
#| export
def read_text(path: str | os.PathLike) -> str:
    """The text of a UTF-8 file, with or without a byte order mark. Raises ValueError for other files, with the line."""
    data = Path(path).read_bytes()
    refuse_other_formats(path, data)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = 1 + data[: error.start].count(b"\n")
        raise ValueError(f"{path}, line {line}: byte {data[error.start]:#04x} is not UTF-8 text") from None


# %%
#| export
def read_merges(path: str | os.PathLike) -> dict[tuple[bytes, bytes], int]:
    """The merges of a ``merges.txt`` in order, each with its line. Raises ValueError for a line that is no merge."""
    lines_of = {}
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        tokens = line.split()
        if not tokens or line.startswith("#version"):
            continue
        if len(tokens) != 2:
            raise ValueError(f"{path}, line {number}: a merge is two tokens, and here are {len(tokens)}: {line!r:.60}")
        pair = tuple(map(shown_bytes, tokens))
        if pair in lines_of:
            raise ValueError(f"{path}, line {number}: {line!r:.60} stands in line {lines_of[pair]} already")
        lines_of[pair] = number
    return lines_of


def shown_bytes(token: str) -> bytes:
    """The bytes that `gpt2_byte_to_unicode` shows; what holds another character stands for itself."""
    return bytes(map(BYTE_OF.get, token)) if BYTE_OF.keys() >= set(token) else token.encode(errors="surrogatepass")


BYTE_OF = {character: b for b, character in gpt2_byte_to_unicode().items()}


# %%
#| export
def read_vocab(
    path: str | os.PathLike, merges: Iterable[tuple[bytes, bytes]], special_tokens: list[str]
) -> dict[int, bytes]:
    """Id to bytes from a ``vocab.json``. A special token may stand there as it is, as Hugging Face writes it, or in
    GPT-2's characters. Raises ValueError where the file has another form."""
    ids = read_json(path)
    if isinstance(ids.get("model"), dict):
        raise ValueError(f"{path} is a tokenizer.json: write its model.vocab and model.merges to two files")
    wrong = [(token, i) for token, i in ids.items() if type(i) is not int or i < 0]
    if wrong:
        raise ValueError(
            f"{path}: the id of {wrong[0][0]!r:.60} is {wrong[0][1]!r:.60}, and must be a whole number from 0 on"
        )
    token_of = {}
    for token, i in ids.items():
        if token_of.setdefault(i, token) != token:
            raise ValueError(f"{path}: {token_of[i]!r} and {token!r} have the same id, {i}")
    ordinary = {first + second for first, second in merges}
    as_they_are = [t for t in special_tokens if t in ids and len(t) > 1 and shown_bytes(t) not in ordinary]
    vocab = {ids[token]: token.encode() for token in as_they_are}  # first, so that they are found first
    return vocab | {i: shown_bytes(token) for token, i in ids.items() if i not in vocab}


def read_json(path: str | os.PathLike) -> dict:
    """The object in a JSON file. Raises ValueError, with the line, where there is none."""
    try:
        found = json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}, line {error.lineno}: not JSON ({error.msg}). Is it the merges file?") from None
    if not isinstance(found, dict):
        raise ValueError(f"{path} holds a JSON {type(found).__name__}: it must map tokens to ids, {{token: id, ...}}")
    return found


# %%
#| export
def check_merges(path: str | os.PathLike, merges: dict[tuple[bytes, bytes], int], vocab: dict[int, bytes]) -> None:
    """Raises ValueError for the first merge whose token the vocabulary lacks."""
    known = set(vocab.values())
    for (first, second), line in merges.items():
        if first + second not in known:
            raise ValueError(f"{path}, line {line}: the merge makes {first + second!r}, which the vocabulary lacks")


# %%
#| export
def settings_beside(vocab_path: str | os.PathLike) -> dict:
    """What the ``tokenizer.json`` in the folder of a ``vocab.json`` says; nothing if it has another vocabulary.

    Warns of settings that `Tokenizer` does not follow.
    """
    path = Path(vocab_path).with_name("tokenizer.json")
    settings = read_json(path) if path.is_file() and not path.samefile(vocab_path) else {}
    model = settings.get("model") or {}
    if not settings or model.get("vocab") != read_json(vocab_path):
        return {}
    told = {"normalizer": settings.get("normalizer"), "ignore_merges": model.get("ignore_merges")}
    told["add_prefix_space"] = any(step.get("add_prefix_space") for step in cutting_steps(settings))
    told["lstrip or rstrip"] = any(t.get("lstrip") or t.get("rstrip") for t in settings.get("added_tokens") or [])
    if others := [name for name, value in told.items() if value]:
        warnings.warn(f"{path} has {', '.join(others)}, which is not followed here: some ids will differ", stacklevel=3)
    return settings


def cutting_steps(settings: dict) -> list[dict]:
    cutting = settings.get("pre_tokenizer") or {}
    return cutting.get("pretokenizers") or [cutting]


def pattern_told(settings: dict) -> str | None:
    """The regular expression by which a ``tokenizer.json`` cuts text; None if it does so in another way."""
    first, *rest = cutting_steps(settings)
    if first.get("type") == "ByteLevel" and first.get("use_regex", True) and not rest:
        return PATTERN
    isolated = first.get("type") == "Split" and first.get("behavior") == "Isolated" and not first.get("invert")
    plain = [(step.get("type"), step.get("use_regex", True)) for step in rest] == [("ByteLevel", False)]
    return first.get("pattern", {}).get("Regex") if isolated and plain else None


# %%
#| export
def added_tokens(vocab_path: str | os.PathLike, settings: dict, vocab: dict[int, bytes]) -> dict[int, bytes]:
    """The tokens that a ``tokenizer.json`` (``settings``) and other files of Hugging Face beside a ``vocab.json`` add to it.

    Raises ValueError where they are not as Hugging Face writes them, or give a token another id than the vocabulary.
    """
    beside = (Path(vocab_path).with_name(name) for name in ("added_tokens.json", "tokenizer_config.json"))
    plain, config = (read_json(path) if path.is_file() else {} for path in beside)
    try:
        added = {i: token for token, i in plain.items()}
        added |= {int(i): entry["content"] for i, entry in (config.get("added_tokens_decoder") or {}).items()}
        added |= {entry["id"]: entry["content"] for entry in settings.get("added_tokens") or []}
        added = {index(i): str.encode(token) for i, token in added.items()}
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"the added tokens beside {vocab_path} are not as Hugging Face writes them: {error!r}"
        ) from None
    for i, token in added.items():
        if vocab.get(i, token) not in (token, shown_bytes(token.decode())):
            raise ValueError(f"{vocab_path}: id {i} is {vocab[i]!r}, and in another file beside it {token!r}")
    return added


# %%
#| export
def find_pattern(settings: dict, merges_path: str | os.PathLike, merges: dict[tuple[bytes, bytes], int]) -> str:
    """The name of the pattern with which merges were learned: what ``tokenizer.json`` says, else ``"gpt2"``.

    Raises ValueError when `Encoder` does not know it, and when a merge joins what GPT-2's pattern keeps apart.
    """
    give = f"Give pattern= one of {', '.join(map(repr, known_patterns()))} if it is the right one"
    if settings:
        names = [name for name, pattern in known_patterns().items() if pattern == pattern_told(settings)]
        if not names:
            raise ValueError(f"the tokenizer.json beside {merges_path} cuts text as no pattern known here does. {give}")
        return names[0]
    for (first, second), line in merges.items():
        text = (first + second).decode(errors="ignore")  # a token may begin or end inside a character
        if not GPT2_PART.fullmatch(text):
            raise ValueError(
                f"{merges_path}, line {line}: GPT-2's pattern cuts {text!r} into pieces, so these merges were learned with"
                f" another one, and with GPT-2's the ids would be others. {give}"
            )
    return "gpt2"


def known_patterns() -> dict[str, str]:
    """The ways to cut text that `Encoder` knows, by name: the course's own knows those of other models too."""
    return getattr(Encoder, "patterns", {"gpt2": PATTERN})


GPT2_PART = regex.compile(r" ?\p{L}*| ?\p{N}*| ?[^\s\p{L}\p{N}]*|'(?:[sdmt]|ll?|ve?|re?)|\s*")


# %% [markdown]
# ## 5 · Encoding (`encode`)
#
# **Difficulty ●●●○○ · Importance ●●●●○ · 45 minutes · 27 points**
#
# The merges are a list of rules *in order*, and a new text must go through them as the training text did. For each
# pre-token by itself, beginning with its single bytes: **of all pairs of neighbours that some merge joins, join the one
# whose merge was learned first** (lowest rank), the leftmost of these, until no merge applies.
#
# $$\text{rank}(a, b) = \text{place of } (a, b) \text{ in the merges}, \qquad
# i^* = \arg\min_i\ \text{rank}(w_i, w_{i+1})$$
#
# With the merges `b c`, `a b` in this order, `abc` becomes `a bc`: going from the left would give `ab c`. It is also not
# the longest token that counts: even if `abc` were in the vocabulary, no merge leads to it.
#
# Rules:
# - Nothing is special here: `<|endoftext|>` is text like any other (exercise 7 changes that).
# - No case may be quadratic: a run of 100,000 `a`s is one pre-token. Nor may a word take longer because there are more
#   merges: look up its own pairs. The pre-tokens of ordinary text are short and come again and again, which is worth using.
# - A word that stands in the vocabulary as a whole is no exception: only its merges make tokens.


# %% solution="encode"
#| export
class Encoder:
    """Encodes text in which nothing is special: each pre-token by itself, its pairs merged in the order of the merges."""

    def __init__(self, vocab: dict[int, bytes], merges: list[tuple[bytes, bytes]]) -> None:
        self.ids = {token: i for i, token in vocab.items()}
        self.ranks = {pair: rank for rank, pair in enumerate(merges)}

    def encode(self, text: str) -> list[int]:
        """The ids of ``text``.

        >>> Encoder({0: b"a", 1: b"b", 2: b"ab"}, [(b"a", b"b")]).encode("aabb")
        [0, 2, 1]
        """
        ### BEGIN SOLUTION
        ids, start = [], 0
        text, border = _well_formed(text), re.compile(_border(self.pattern))
        while start < len(text):  # block by block, so that there is never a list of all pre-tokens
            cut = border.search(text, start + 10_000)
            end = cut.start() if cut else len(text)
            pretokens = _find_pretokens(text[start:end], self.pattern)
            ids.extend(chain.from_iterable(map(self._known.__getitem__, pretokens)))
            start = end
        return ids

    patterns: ClassVar = PATTERNS
    pattern = "gpt2"

    @cached_property
    def _known(self) -> "_Memo":
        """The ids of pre-tokens seen lately."""
        return _Memo(self._encode_pretoken)

    @cached_property
    def _rules(self) -> tuple[dict[tuple[int, int], int], list[int | None]]:
        """What a pair of codes becomes, and the id of each code.

        A byte is its own code and the merge of rank r makes code 256 + r: the lower the code, the earlier the merge.
        """
        codes = {bytes([b]): [b] for b in range(256)}
        for rank, (first, second) in enumerate(self.ranks):
            codes.setdefault(first + second, []).append(256 + rank)
        becomes = {}
        for rank, (first, second) in enumerate(self.ranks):
            for pair in product(codes.get(first, ()), codes.get(second, ())):
                becomes.setdefault(pair, 256 + rank)
        id_of = {code: self.ids.get(token) for token, same in codes.items() for code in same}
        return becomes, [id_of[code] for code in range(len(id_of))]

    def _encode_pretoken(self, pretoken: str) -> list[int]:
        becomes, id_of = self._rules
        word = list(pretoken.encode())
        merge = _merge_short if len(word) < 100 else _merge_long
        ids = [id_of[code] for code in merge(word, becomes)]
        if None in ids:
            raise ValueError(f"the vocabulary lacks a byte of {pretoken!r}: it needs all 256 bytes to encode any text")
        return ids


_NEVER = sys.maxsize


def _merge_short(word: list[int], becomes: dict[tuple[int, int], int]) -> list[int]:
    """``word`` after all merges, the lowest rank first. Looks at the whole word for each merge: quadratic, but quick."""
    made = list(map(becomes.get, pairwise(word), repeat(_NEVER)))
    while made and (new := min(made)) < _NEVER:
        i = made.index(new)
        word[i : i + 2] = [new]
        del made[i]
        if i > 0:
            made[i - 1] = becomes.get((word[i - 1], new), _NEVER)
        if i < len(made):
            made[i] = becomes.get((new, word[i + 1]), _NEVER)
    return word


def _merge_long(word: list[int], becomes: dict[tuple[int, int], int]) -> list[int]:
    """The same with a heap of (rank, position) and links to both neighbours: n log n for n bytes without a space."""
    n = len(word)
    before, after = list(range(-1, n - 1)), list(range(1, n + 1))
    heap = [(becomes[pair], i) for i, pair in enumerate(pairwise(word)) if pair in becomes]
    heapq.heapify(heap)
    while heap:
        new, i = heapq.heappop(heap)
        j = after[i]
        if j == n or becomes.get((word[i], word[j])) != new:
            continue  # one of the two has gone with an earlier merge
        word[i], word[j], after[i] = new, _NEVER, after[j]
        if after[i] < n:
            before[after[i]] = i
            if (pair := (new, word[after[i]])) in becomes:
                heapq.heappush(heap, (becomes[pair], i))
        if before[i] >= 0 and (pair := (word[before[i]], new)) in becomes:
            heapq.heappush(heap, (becomes[pair], before[i]))
    return [code for code in word if code != _NEVER]


class _Memo(dict):
    """Answers of a function to short strings, those of long ago forgotten: a stream of any length takes this much."""

    def __init__(self, function, size: int = 1 << 16) -> None:
        self.function, self.size, self.older = function, size, {}

    def __missing__(self, text: str) -> tuple[int, ...]:
        answer = self.older.get(text) or tuple(self.function(text))
        if len(self) >= self.size:
            self.older = dict(self)
            self.clear()
        if len(text) <= 64:
            self[text] = answer
        return answer


### END SOLUTION


# %% grade="encode" points=27
check("a1_bpe", "encode")

# %% [markdown]
# ## 6 · Decoding (`decode`)
#
# **Difficulty ●○○○○ · Importance ●●●●○ · 10 minutes · 6 points**
#
# $$\text{decode}(i_1, \dots, i_n) = \text{utf8}\big(\text{vocab}[i_1] \mathbin\Vert \dots \mathbin\Vert \text{vocab}[i_n]\big)$$
#
# Bytes first, text afterwards: `字` is three bytes, and a token may end between them. A model can also produce bytes that
# are no UTF-8; these become `�` (U+FFFD), as `errors="replace"` does. An id that the vocabulary lacks is a `ValueError` that
# names the id. The ids may come one by one, from a generator that can be gone through only once.


# %% solution="decode"
#| export
def decode_ids(ids: Iterable[SupportsIndex], vocab: dict[int, bytes]) -> str:
    """The text of ``ids``: the bytes of all of them joined, then decoded as UTF-8 with ``errors="replace"``.

    Raises ValueError that names an id which ``vocab`` lacks.

    >>> decode_ids([0, 1], {0: bytes([0xC3]), 1: bytes([0xA9])})
    'é'
    """
    ### BEGIN SOLUTION
    try:  # `index` makes an int of the numbers of torch and numpy too, and of nothing else
        return b"".join(map(vocab.__getitem__, map(index, ids))).decode(errors="replace")
    except KeyError as error:
        raise ValueError(f"the vocabulary has no id {error.args[0]!r}") from None
    except TypeError as error:
        raise TypeError(f"ids are whole numbers in one flat sequence, such as [5, 0], not {ids!r:.60}") from error
    ### END SOLUTION


# %% grade="decode" points=6
check("a1_bpe", "decode")

# %% [markdown]
# ## 7 · Special tokens (`special_tokens`)
#
# **Difficulty ●●○○○ · Importance ●●●○○ · 20 minutes · 7 points**
#
# Models need marks that no text can imitate by accident: the end of a document, the turn of a speaker. In exercise 1 you
# cut them out; now they stay, each in its place, and `Tokenizer.encode` gives each its one id. As before: from the left,
# and the longest where several begin. With `<a>` and `<a><b>`:
#
# `x<a><b>y<a>` → `x` · `<a><b>` · `y` · `<a>`
#
# Without special tokens the text comes back in one piece; an empty text gives no pieces.


# %% solution="special_tokens"
#| export
def split_special(text: str, special_tokens: list[str]) -> list[str]:
    """``text`` cut before and after each special token, which are kept; nothing in the result is empty.

    >>> split_special("one<|end|>two", ["<|end|>"])
    ['one', '<|end|>', 'two']
    """
    ### BEGIN SOLUTION
    return list(filter(None, re.split(f"({_any_of(*special_tokens)})", _well_formed(text))))
    ### END SOLUTION


# %% grade="special_tokens" points=7
check("a1_bpe", "special_tokens")

# %% [markdown]
# ## 8 · Streams (`encode_iterable`)
#
# **Difficulty ●●●●○ · Importance ●●○○○ · 60 minutes · 10 points**
#
# A corpus does not fit into memory, so `Tokenizer.encode_iterable` takes an iterable of strings, an open file for example, and
# gives ids one by one. Where the strings happen to end must not matter:
#
# $$\text{encode}(\text{segment}_1) + \text{encode}(\text{segment}_2) + \dots
# = \text{encode}(\text{chunk}_1 \mathbin\Vert \text{chunk}_2 \mathbin\Vert \dots)$$
#
# Encoding each chunk by itself is wrong: `["hel", "lo"]` is one word; a line that ends in `\n` may be followed by another
# `\n` or by spaces, which belong to the same white space; and `<|endof` may be half a special token. Encoding line by line
# gives several per cent more tokens on source code than encoding the file.
#
# Your generator yields segments at whose borders the text can be cut without any change. Which places are these? Look at
# what each alternative of the pattern needs to see before it can stop.
#
# Rules:
# - **Lazy**: nothing is read before the first segment is asked for, and a segment is given out as soon as it is
#   certain.
# - **Bounded**: keep no more than the text since the last place where a cut is safe.
# - The segments joined are the text; none is empty.
# - Chunks may be of any size, also single characters or empty strings.


# %% solution="encode_iterable"
#| export
def safe_segments(chunks: Iterable[str], special_tokens: list[str], *, pattern: str = "gpt2") -> Iterator[str]:
    """The text of all ``chunks`` in segments that can be encoded one by one, each given out as soon as it is certain.

    >>> list(safe_segments(["the c", "at s", "at"], []))
    ['the', ' cat', ' sat']
    """
    ### BEGIN SOLUTION
    longest = max(map(len, special_tokens), default=1)
    special = regex.compile(_any_of(*special_tokens))
    last_border = regex.compile(f"(?r){_border(pattern)}")
    news = regex.compile(f"{_any_of(*special_tokens)}|{_border(pattern)}")
    held, tail = [], ""
    for chunk in _whole_characters(chunks):
        held.append(chunk)
        window = tail + chunk
        tail = window[-longest:]
        if not news.search(window):
            continue  # nothing to cut at, and what is held is not looked at again: no quadratic case
        text = "".join(held)
        # What begins before the horizon can no longer be, or become, another special token.
        horizon, cut = max(0, len(text) - longest + 1), 0
        for match in special.finditer(text):
            if match.start() >= horizon:
                break
            cut = match.end()
        border = last_border.search(text, cut, min(horizon + 1, len(text)))
        if border:
            cut = border.start()
        if cut:
            yield text[:cut]
            held, tail = [text[cut:]], text[cut:][-longest:]
    if any(held):
        yield "".join(held)


def _whole_characters(chunks: Iterable[str]) -> Iterator[str]:
    """The chunks as `_well_formed` makes them; half a surrogate pair at the end of one waits for the next."""
    half = ""
    for chunk in chunks:
        if not isinstance(chunk, str):
            raise TypeError(f"a stream of strings is needed, and this is {type(chunk).__name__}: open files as text")
        chunk = half + chunk
        half = chunk[-1:] if "\ud800" <= chunk[-1:] <= "\udbff" else ""
        yield _well_formed(chunk.removesuffix(half))
    yield _well_formed(half)


### END SOLUTION


# %% grade="encode_iterable" points=10
check("a1_bpe", "encode_iterable")

# %% [markdown]
# ## Look: what your tokenizer thinks of a text
#
# Trained on English documentation, it has to spell Chinese byte by byte. How many bytes go into a token, for text of the
# kind that it knows, for other text, and for source code?

# %%
import inspect

tokenizer = Tokenizer(vocab, merges, ["<|endoftext|>"])
samples = {
    "documentation, not seen in training": technical_text()[300_000:340_000],
    "Chinese": chinese_passage(),
    "Python source": inspect.getsource(inspect),
}
for name, text in samples.items():
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert list(tokenizer.encode_iterable(text.splitlines(keepends=True))) == ids
    print(f"{name:<36} {len(text.encode()) / len(ids):.2f} bytes a token")

# %% [markdown]
# ## Where you stand
#
# Run `status()`, then save the notebook and run the last cell: your solution becomes `cs336lite.bpe`, and lecture 01 and
# all that follows use it.

# %%
status()

# %% locked="export"
from cs336lite.course import export_solution

export_solution("a1_bpe")
