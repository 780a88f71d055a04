"""Texts to try things out with; short ones, for trying out is not judged."""

import os
import tempfile
from pathlib import Path

SEPARATOR = "<|endoftext|>"
STORY = "Once upon a time there was a little dog. It found a red ball and ran home. The end."
CHINESE = "语言模型读一段文字，再猜下一个词。读得多了，它就猜得准一些。\n"


class Text(str):
    """A short text that passes for a long one: each of its parts is all of it."""

    def __getitem__(self, key):
        return str(self) if isinstance(key, slice) else super().__getitem__(key)


def technical_text():
    return Text("A tensor holds numbers of one type. Returns a new tensor with the same data, of another shape.\n" * 8)


def chinese_passage():
    return CHINESE * 8


def stories(n, seed=0):
    return [STORY] * n


def chinese_stories(n, seed=0):
    return [CHINESE.strip()] * n


def data_folder():
    return Path(tempfile.gettempdir())


def default_corpus(folder=None, *, size=20_000):
    path = Path(folder or data_folder()) / "corpus.txt"
    path.write_text(f"\n{SEPARATOR}\n".join([STORY, technical_text(), CHINESE] * (min(size, 20_000) // 1000 + 1)))
    return path


def load(name, *, max_bytes=None, folder=None, progress=True):
    return default_corpus(folder)


def documents(path, *, chunk_size=1 << 20):
    with open(os.fspath(path), encoding="utf-8", errors="replace", newline="") as file:
        yield from filter(None, map(str.strip, file.read().split(SEPARATOR)))
