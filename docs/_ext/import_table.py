"""The directives ``folder-table`` and ``architecture-table``: the folders from the top down, and every module of each.

Purposes and imports are read off the source, the order of the folders off the test that holds modules to it.
"""

from __future__ import annotations

import ast
from pathlib import Path

from docutils import nodes
from docutils.parsers.rst import Directive
from docutils.statemachine import StringList

import skflow

ROOT = Path(skflow.__file__).parent
TEST = Path(__file__).parents[2] / "tests" / "test_imports.py"


def folders() -> dict[str, tuple[set[str], set[str]]]:
    """By folder, from the top down: the folders below that it imports, and the packages from elsewhere."""
    wanted = [
        node
        for node in ast.parse(TEST.read_text()).body
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") in ("NUMBERS", "FOLDERS")
    ]
    namespace: dict = {}
    exec(compile(ast.Module(wanted, []), TEST.name, "exec"), namespace)
    return dict(reversed(namespace["FOLDERS"].items()))


def _modules() -> dict[str, Path]:
    paths = (path for path in sorted(ROOT.rglob("*.py")) if path.name != "__init__.py")
    return {".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in paths}


def _purpose(path: Path) -> str:
    """The first paragraph of a module's docstring."""
    return " ".join((ast.get_docstring(ast.parse(path.read_text())) or "").partition("\n\n")[0].split())


def _imports(name: str, path: Path, modules: dict[str, Path]) -> set[str]:
    """Modules of the package that a module imports, relatively, as all of them do."""
    package = name.split(".")[:-1]
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = package[: len(package) - node.level + 1]
            stem = ".".join([*base, *([node.module] if node.module else [])])
            found |= {stem, *(f"{stem}.{alias.name}" for alias in node.names)}
    return found & modules.keys() - {name}


def folder_table() -> list[tuple[str, str, list[str]]]:
    """Rows of folder, purpose, and what it may import: folders below it and packages from elsewhere."""
    table = folders()
    return [
        (
            name.replace(".", "/"),
            _purpose(ROOT.joinpath(*name.split("."), "__init__.py")),
            [*(below for below in table if below in own), *sorted(packages)],
        )
        for name, (own, packages) in table.items()
        if name != "utils"
    ]


def table() -> list[tuple[str, str, list[str]]]:
    """Rows of module, purpose and imports: by folder from the top down, in each from the ground up."""
    modules, places = _modules(), list(folders())
    below = {name: _imports(name, path, modules) for name, path in modules.items()}
    level: dict[str, int] = {}

    def height(name: str) -> int:
        if name not in level:
            level[name] = 1 + max((height(other) for other in below[name]), default=-1)
        return level[name]

    def place(name: str) -> int:
        return places.index(max((row for row in places if name.startswith(row + ".")), key=len))

    order = sorted(modules, key=lambda name: (place(name), height(name), name))
    return [(name, _purpose(modules[name]), sorted(below[name])) for name in order]


class _Table(Directive):
    """Puts a table into a page."""

    def run(self):
        lines = [".. list-table::", "   :header-rows: 1", "   :widths: 22 48 30", "   :class: import-table", ""]
        for cells in [self.head, *((f"``{name}``", *rest) for name, *rest in self.rows())]:
            first, purpose, imports = cells
            if not isinstance(imports, str):
                imports = ", ".join(f"``{other}``" for other in imports) or "nothing"
            lines += [f"   * - {first}", f"     - {purpose}", f"     - {imports}"]
        holder = nodes.container()
        self.state.nested_parse(StringList(lines, source=type(self).__name__), self.content_offset, holder)
        return holder.children


class FolderTable(_Table):
    """The folders."""

    head = ("Folder", "What it knows", "What it may import")
    rows = staticmethod(folder_table)


class ArchitectureTable(_Table):
    """The modules."""

    head = ("Module", "What it is for", "What of the package it imports")
    rows = staticmethod(table)


def setup(app) -> dict:
    """Register the directives."""
    app.add_directive("folder-table", FolderTable)
    app.add_directive("architecture-table", ArchitectureTable)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
