"""Search in English and Chinese: Chinese text is found by pairs of neighbouring characters, which needs no dictionary."""

from __future__ import annotations

import re
from typing import Any

from sphinx.search.en import SearchEnglish

__all__ = ["EnglishAndChinese", "setup", "words"]

HAN = "\u3400-\u4dbf\u4e00-\u9fff"
SPLIT = r"""
function splitQuery(query) {
  const words = [];
  for (const part of query.match(/[\u3400-\u4dbf\u4e00-\u9fff]+|[^\u3400-\u4dbf\u4e00-\u9fff]+/gu) || []) {
    if (/[\u3400-\u4dbf\u4e00-\u9fff]/.test(part)) {
      if (part.length === 1) words.push(part);
      for (let i = 0; i + 1 < part.length; i++) words.push(part.slice(i, i + 2));
    } else {
      words.push(...part.split(/[^\p{Letter}\p{Number}_\p{Emoji_Presentation}]+/gu).filter((word) => word));
    }
  }
  return words;
}
"""


def words(text: str) -> list[str]:
    """What a text is found by: its words, and of Chinese each character and each pair of neighbours.

    >>> words("RoPE (旋转位置)")
    ['RoPE', '旋', '转', '位', '置', '旋转', '转位', '位置']
    """
    found = []
    for part in re.findall(rf"[{HAN}]+|[^\W{HAN}]+", text):
        if re.match(rf"[{HAN}]", part):
            found += [*part, *(part[i : i + 2] for i in range(len(part) - 1))]
        else:
            found.append(part)
    return found


class EnglishAndChinese(SearchEnglish):
    """Sphinx' English search, with words of Chinese."""

    lang = "en-zh"
    language_name = "English"  # a part of a name in the script
    js_splitter_code = SPLIT

    def split(self, input: str) -> list[str]:
        return words(input)


def setup(app: Any) -> dict[str, bool]:
    app.add_search_language(EnglishAndChinese)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
