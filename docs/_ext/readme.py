"""The directive ``readme``: a section of the README, so that its numbers stand in one place."""

from __future__ import annotations

import re
from pathlib import Path

from docutils import nodes
from docutils.parsers.rst import Directive
from docutils.statemachine import StringList

README = Path(__file__).parents[2] / "README.md"


def section(text: str, title: str) -> str:
    """What stands under a heading, up to the next one."""
    found = re.search(rf"^#+ {re.escape(title)}\n(.*?)(?=^#|\Z)", text, flags=re.DOTALL | re.MULTILINE)
    if not found:
        raise ValueError(f"{README.name} has no heading {title!r}")
    return found[1].strip()


def to_rst(text: str) -> list[str]:
    """Paragraphs, tables, code spans and links to pages, in the syntax of Sphinx."""
    text = re.sub(r"`([^`]+)`", r"``\1``", text)
    text = re.sub(r"\[([^]]+)\]\(docs/([^)]+)\.rst\)", r":doc:`\1 </\2>`", text)
    if other := re.search(r"\[[^]]+\]\([^)]+\)", text):
        raise ValueError(f"a link to something else than a page: {other[0]}")
    lines = []
    for paragraph in text.split("\n\n"):
        rows = paragraph.splitlines()
        lines += [*(_table(rows) if rows[0].startswith("|") else rows), ""]
    return lines


def _table(rows: list[str]) -> list[str]:
    lines = [".. list-table::", "   :header-rows: 1", "   :widths: auto", ""]
    for row in rows[:1] + rows[2:]:  # the second one is a rule
        for i, cell in enumerate(row.strip("|").split("|")):
            lines.append(f"   {'  -' if i else '* -'} {cell.strip()}".rstrip())
    return lines


class Readme(Directive):
    """Puts a section into a page, without its heading."""

    required_arguments = 1
    final_argument_whitespace = True

    def run(self):
        self.state.document.settings.env.note_dependency(str(README))
        try:
            lines = to_rst(section(README.read_text(), self.arguments[0]))
        except ValueError as error:
            raise self.error(str(error)) from error
        holder = nodes.container()
        self.state.nested_parse(StringList(lines, source=README.name), self.content_offset, holder)
        return holder.children


def setup(app) -> dict:
    """Register the directive."""
    app.add_directive("readme", Readme)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
