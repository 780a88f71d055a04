"""Where the pages of the site are, and what a link to a file of the repository becomes on a page."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from cs336lite.course.plan import Item

__all__ = ["Links", "page_of"]

GUIDES = {
    "README.md": "index.md",
    "docs/learning.md": "guides/learning.md",
    "docs/teaching.md": "guides/teaching.md",
    "docs/grader.md": "guides/grader.md",
    "CONTRIBUTING.md": "guides/contributing.md",
}
"""The page of each file that is shown as it stands, and the index in README's place."""

FOLDERS = {"lecture": "lectures", "appendix": "appendices", "assignment": "assignments"}


def page_of(item: Item) -> str:
    """The source of a text's page, as a path in the site."""
    return f"{FOLDERS[item.kind]}/{item.name}.ipynb"


@dataclass
class Links:
    """The pages by the files that they are made from, and the repository on GitHub where it is known."""

    root: Path
    items: list[Item]
    repository: str = ""  # "owner/name"
    branch: str = "main"

    def __post_init__(self) -> None:
        self.pages = dict(GUIDES)
        for item in self.items:
            self.pages[item.notebook.relative_to(self.root).as_posix()] = self.pages[item.source] = page_of(item)

    def to(self, target: str, page: str) -> str:
        """A page as it is written on another one."""
        return os.path.relpath(target, os.path.dirname(page) or ".").replace(os.sep, "/")

    def on_page(self, file: str, page: str, link: str) -> str:
        """A link of a file of the repository, as it stands on a page; "" for what is neither on the site nor on GitHub."""
        if re.match(r"[a-z]+:|#", link):
            return link
        target, _, part = link.partition("#")
        path = os.path.normpath(PurePosixPath(file).parent / target).replace(os.sep, "/")
        part = f"#{part}" if part else ""
        if path in self.pages:
            return self.to(self.pages[path], page) + part
        if self.repository and (self.root / path).exists():
            return f"https://github.com/{self.repository}/blob/{self.branch}/{path}{part}"
        return ""

    def markdown(self, source: str, file: str, page: str) -> str:
        """Markdown with its links as `on_page` gives them; a link that leads nowhere leaves its text."""

        def one(found: re.Match) -> str:
            link = self.on_page(file, page, found[3])
            return f"{found[1]}[{found[2]}]({link})" if link else found[2]

        return re.sub(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^()\s]+)\)", one, source)

    def html(self, source: str, file: str, page: str) -> str:
        """The same for HTML."""

        def one(found: re.Match) -> str:
            link = self.on_page(file, page, found[1])
            return f'href="{re.sub(r"[.](ipynb|md)(?=$|#)", ".html", link)}"' if link else ""

        return re.sub(r'href="([^"]+)"', one, source)

    def colab(self, notebook: str) -> str:
        return f"https://colab.research.google.com/github/{self.repository}/blob/{self.branch}/{notebook}"

    def binder(self, notebook: str) -> str:
        return f"https://mybinder.org/v2/gh/{self.repository}/{self.branch}?labpath={notebook}"
