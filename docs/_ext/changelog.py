"""The changelog as a page: the little Markdown that it uses, as reStructuredText."""

from __future__ import annotations

import re
from pathlib import Path

UNDERLINES = {1: "=", 2: "-", 3: "~"}


def to_rst(text: str) -> str:
    """Headings, lists, links and code spans of Markdown in the syntax of Sphinx."""
    lines = []
    for line in text.splitlines():
        line = re.sub(r"`([^`]+)`", r"``\1``", line)
        line = re.sub(r"\[([^]]+)\]\(([^)]+)\)", r"`\1 <\2>`__", line)
        if heading := re.match(r"(#{1,3}) (.*)", line):
            title = heading[2]
            lines += [title, UNDERLINES[len(heading[1])] * len(title)]
        else:
            lines.append(line)
    return "\n".join(lines) + "\n"


def write_changelog(source: Path, target: Path) -> None:
    """Write the page, unless it is there and unchanged."""
    text = ".. This file is written by docs/_ext/changelog.py from CHANGELOG.md.\n\n" + to_rst(source.read_text())
    if not target.exists() or target.read_text() != text:
        target.write_text(text)
