"""Docstrings that are good to read in a terminal, made good for Sphinx: absolute values, names that end in _."""

from __future__ import annotations

import re

ROLE = re.compile(r":(?:ref|term|doc):`([^`<]+?)(?:\s*<[^`>]*>)?`")


def _prose(text: str) -> str:
    """Escape what means something to Sphinx but was meant as it stands: ``|x|``, and ``name_`` within a type."""
    text = text.replace("|", r"\|")
    return re.sub(r"(?<=\()(\w+)_(?=[,)])", r"\1\\_", text)


def process(app, what, name, obj, options, lines: list[str]) -> None:
    """Change the lines of a docstring in place."""
    inherited = (getattr(obj, "__module__", None) or "").startswith("sklearn") or name.endswith("_request")
    literal, block = False, None
    for i, line in enumerate(lines):
        indent = len(line) - len(line.lstrip())
        if block is not None and line.strip() and indent <= block:
            block = None
        if block is None and not line.lstrip().startswith((">>> ", "... ", ".. ")):
            lines[i], literal = _line(ROLE.sub(r"\1", line) if inherited else line, literal)
        if line.rstrip().endswith("::"):  # what is indented under it is meant as it stands
            block = indent


def _line(line: str, literal: bool) -> tuple[str, bool]:
    """A line with its prose escaped, and whether it ends within a literal, which may go on in the next."""
    if not line.strip():
        return line, False
    out = []
    for part in re.split(r"(``)", line):
        if part == "``":
            literal = not literal
        out.append(part if literal or part == "``" else _prose(part))
    return "".join(out), literal


def setup(app) -> dict:
    """Connect it."""
    app.connect("autodoc-process-docstring", process, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
