"""The directive ``architecture-table``: every module, what it is for and what it imports, read off the source."""

from __future__ import annotations

import ast
from pathlib import Path

from docutils import nodes
from docutils.parsers.rst import Directive
from docutils.statemachine import StringList

import skflow

ROOT = Path(skflow.__file__).parent


def _modules() -> dict[str, Path]:
    paths = (path for path in sorted(ROOT.rglob("*.py")) if path.name != "__init__.py")
    return {".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in paths}


def _imports(name: str, tree: ast.Module, modules: dict[str, Path]) -> set[str]:
    """Modules of the package that a module imports, relatively, as all of them do."""
    package = name.split(".")[:-1]
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = package[: len(package) - node.level + 1]
            stem = ".".join([*base, *([node.module] if node.module else [])])
            found |= {stem, *(f"{stem}.{alias.name}" for alias in node.names)}
    return found & modules.keys() - {name}


def table() -> list[tuple[str, str, list[str]]]:
    """Rows of name, purpose and imports, from the ground up."""
    modules = _modules()
    trees = {name: ast.parse(path.read_text()) for name, path in modules.items()}
    below = {name: _imports(name, trees[name], modules) for name in modules}
    level: dict[str, int] = {}

    def height(name: str) -> int:
        if name not in level:
            level[name] = 1 + max((height(other) for other in below[name]), default=-1)
        return level[name]

    order = sorted(modules, key=lambda name: (not name.startswith("flows."), height(name), name))
    return [(name, (ast.get_docstring(trees[name]) or "").partition("\n\n")[0], sorted(below[name])) for name in order]


class ArchitectureTable(Directive):
    """Puts the table into a page."""

    def run(self):
        lines = [".. list-table::", "   :header-rows: 1", "   :widths: 22 48 30", "   :class: import-table", ""]
        lines += ["   * - Module", "     - What it is for", "     - What of the package it imports"]
        for name, purpose, imports in table():
            lines += [
                f"   * - ``{name}``",
                "     - " + " ".join(purpose.split()),
                "     - " + (", ".join(f"``{other}``" for other in imports) or "nothing"),
            ]
        holder = nodes.container()
        self.state.nested_parse(StringList(lines, source="architecture-table"), self.content_offset, holder)
        return holder.children


def setup(app) -> dict:
    """Register the directive."""
    app.add_directive("architecture-table", ArchitectureTable)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
