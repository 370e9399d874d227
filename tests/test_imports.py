"""Imports go one way, from folder to folder, and what is optional is imported only where it is used."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import skflow

ROOT = Path(skflow.__file__).parent
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts): path
    for path in sorted(ROOT.rglob("*.py"))
    if path.name != "__init__.py"
}
STANDARD = set(sys.stdlib_module_names) | {"typing_extensions"}  # which is for type checkers alone

# The house from the ground up. A folder imports itself and what is listed with it, and of other packages only these.
NUMBERS = {"numpy", "scipy"}
FOLDERS = {
    "utils": ({}, {*NUMBERS, "sklearn", "torch", "pandas", "polars", "pyarrow", "dask"}),
    "flows": ({}, {*NUMBERS, "torch"}),
    "engine": ({"flows"}, {"torch"}),
    "engine.kernels": ({"engine"}, {"numba", "llvmlite", "numpy"}),
    "outliers": ({}, {*NUMBERS, "sklearn"}),
    "preprocessing": ({"flows"}, {*NUMBERS, "torch"}),
    "training": ({"flows", "engine", "outliers", "preprocessing"}, {*NUMBERS, "sklearn", "torch", "threadpoolctl"}),
    "inference": ({"flows", "engine"}, {*NUMBERS, "torch"}),
    "persistence": ({"utils", "flows"}, {"numpy", "sklearn", "torch"}),
    "persistence.onnx": ({"flows"}, {"numpy", "torch", "onnx"}),
    "displays": ({"utils"}, {"numpy", "scipy", "sklearn", "matplotlib"}),
    "metrics": ({}, {"numpy"}),
    "estimators": (
        {"utils", "flows", "engine", "outliers", "preprocessing", "training", "inference", "persistence"},
        {"numpy", "sklearn", "torch", "pyarrow", "arviz"},
    ),
    "dask": (
        {"utils", "training", "estimators"},
        {"numpy", "sklearn", "torch", "dask", "distributed"},
    ),
}
# Everything of the network and below can be read by somebody who knows torch and no other package.
PLAIN = ("flows.bijections.bijection", "flows.bijections.chain", "flows.univariate.univariate", "flows.networks.")
COMPAT = "estimators.sklearn_compat"
KERNELS = {name for name in MODULES if name.startswith("engine.kernels.")}  # `engine.compiler.load` imports them late


def folder(name):
    """The folder that a module belongs to: the longest of the table."""
    return max((row for row in FOLDERS if name.startswith(row + ".")), key=len)


def imports(name):
    """Absolute names of everything a module imports, at its top or inside a function."""
    package = ("skflow." + name).rpartition(".")[0]
    found = set()
    for node in ast.walk(ast.parse(MODULES[name].read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            stem = ".".join([*base, *([node.module] if node.module else [])])
            found |= {f"{stem}.{alias.name}" for alias in node.names}
    return found


def own(name):
    """Names within this package that a module imports."""
    return {t.removeprefix("skflow.") for t in imports(name) if t.startswith("skflow")}


def others(name):
    """Packages from elsewhere that a module imports."""
    return {target.partition(".")[0] for target in imports(name)} - STANDARD - {"skflow"}


def test_the_table_is_read():
    """The reader of imports sees what is there, or the tests below could not fail."""
    assert "flows.bijections.conditional.Conditional" in own("flows.bijections.coupling")
    assert "sklearn" in others("estimators.base") and "torch" in others("flows.bijections.bijection")
    assert folder("engine.kernels.queue") == "engine.kernels" and folder("engine.door") == "engine"


@pytest.mark.parametrize("name", MODULES)
def test_every_module_lives_in_a_folder(name):
    assert folder(name)


@pytest.mark.parametrize("name", MODULES)
def test_imports_go_down(name):
    below, _ = FOLDERS[folder(name)]
    allowed = (folder(name), *below)
    wrong = {t for t in own(name) if not t.startswith(tuple(row + "." for row in allowed)) and t not in allowed}
    assert not wrong, f"{name} imports {wrong}, which stands beside or above it"


@pytest.mark.parametrize("name", MODULES)
def test_a_folder_knows_its_packages(name):
    _, packages = FOLDERS[folder(name)]
    packages = {"torch"} if name.startswith(PLAIN) else packages | ({"numba"} if name == "engine.compiler" else set())
    assert others(name) <= packages, f"{name} imports {others(name) - packages}"


@pytest.mark.parametrize("name", sorted(MODULES.keys() - {COMPAT}))
def test_what_is_private_in_sklearn_is_imported_in_one_place(name):
    assert not _private_in_sklearn(name)


def test_what_is_private_in_sklearn_is_recognised():
    found = _private_in_sklearn(COMPAT)
    assert {"sklearn.base._fit_context", "sklearn.callback.with_callbacks"} <= found


def _private_in_sklearn(name):
    """What it may rename, move or not have yet: names with an underscore in front, and the callbacks."""
    theirs = {target for target in imports(name) if target.startswith("sklearn.")}
    return {target for target in theirs if "._" in target or target.startswith("sklearn.callback")}


@pytest.mark.parametrize("name", sorted(MODULES.keys() - KERNELS))
def test_compiled_loops_are_imported_late(name):
    """Only `load` imports them, and they each other."""
    assert not {target for target in own(name) if target.startswith("engine.kernels")}


def test_no_import_cycles():
    below = {}
    for name in MODULES:
        names = own(name)
        below[name] = {m for m in MODULES if any(t == m or t.startswith(m + ".") for t in names)} - {name}
    while below:
        ground = [name for name, some in below.items() if not some & below.keys()]
        assert ground, f"these import each other: {sorted(below)}"
        for name in ground:
            del below[name]


REQUIRED = {"numpy", "scipy", "sklearn", "torch", "joblib", "threadpoolctl"}  # scikit-learn brings two of them along


@pytest.mark.parametrize("name", MODULES)
def test_extras_are_imported_where_they_are_used(name):
    top = [node for node in ast.parse(MODULES[name].read_text()).body if isinstance(node, ast.Import | ast.ImportFrom)]
    names = {
        alias.name if isinstance(node, ast.Import) else node.module or ""
        for node in top
        if not getattr(node, "level", 0)
        for alias in node.names
    }
    at_hand = STANDARD | REQUIRED | ({"numba", "llvmlite"} if name in KERNELS else set())
    extras = {target.partition(".")[0] for target in names} - at_hand
    assert not extras, f"{name} imports {extras} at its top"


def test_importing_the_package_leaves_what_takes_long():
    late = "{'numba', 'matplotlib', 'sklearn.ensemble', 'sklearn.mixture'}"
    code = f"import sys, skflow; print({late} & set(sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "set()"
