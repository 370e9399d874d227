"""Imports go one way, and what is optional is imported only where it is used."""

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
STANDARD = set(sys.stdlib_module_names)

# From the ground up: a module imports from the rows below its own only. Modules that are not named here only have to
# keep the graph free of cycles and `flows` free of scikit-learn.
LAYERS = [
    ["flows.bijection", "flows.univariate", "flows.networks", "flows.mixture_cdf"],
    ["flows.base_distribution", "flows.conditional", "flows.linear", "flows.residual", "flows.preprocessing"],
    ["flows.flow"],
    ["flows.registry"],
    ["engine.tiles", "engine.tape", "engine.blocks", "engine.threads", "engine.compiler"],
    ["engine.calls"],
    ["engine.networks", "engine.univariate", "engine.sequential"],
    ["engine.bijections", "engine.distributions"],
    ["engine.conditional", "engine.preprocessing", "engine.ensemble", "engine.programs"],
    ["engine.dispatch"],
    ["engine.door"],
    ["_training"],
    ["_fitting"],
    ["_base"],
    ["_density", "_outlier"],
    ["_display", "utils"],
]
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}
# The foundations know torch and nothing else; of their own, at most each other and the modules that split them up.
FOUNDATIONS = ["flows.bijection", "flows.univariate", "flows.networks", "flows.mixture_cdf"]

# What needs an extra: `engine.compiler.load` imports these late, and the others do without where it is missing.
KERNELS = {name for name in MODULES if name.startswith("engine.kernels.")}


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
    """Modules of this package that a module imports."""
    found = set()
    for target in imports(name):
        if target.startswith("skflow"):
            target = target.removeprefix("skflow").removeprefix(".")
            found |= {m for m in MODULES if target == m or target.startswith(m + ".")}
    return found - {name}


def others(name):
    """Packages from elsewhere that a module imports."""
    return {target.partition(".")[0] for target in imports(name)} - STANDARD - {"skflow"}


def test_the_table_is_read():
    """The reader of imports sees what is there, or the tests below could not fail."""
    assert {"flows.bijection"} <= own("flows.conditional")
    assert "sklearn" in others("_base") and "torch" in others("flows.bijection")


@pytest.mark.parametrize("name", [name for name in MODULES if name.startswith("flows.")])
def test_flows_never_import_scikit_learn(name):
    """torch does the work; numpy and scipy may supply constants such as quadrature nodes, beyond the foundations."""
    allowed = {"torch"} if name in FOUNDATIONS else {"torch", "numpy", "scipy"}
    assert others(name) <= allowed, f"{name} imports {others(name) - allowed}"


@pytest.mark.parametrize("name", [name for name in MODULES if name.startswith("engine.")])
def test_the_engine_knows_torch_flows_and_numba(name):
    allowed = {"numba", "llvmlite", "numpy"} if name in KERNELS else {"torch"}
    allowed = allowed | {"numba"} if name == "engine.compiler" else allowed
    assert others(name) <= allowed, f"{name} imports {others(name) - allowed}"
    above = {target for target in own(name) if not target.startswith(("flows.", "engine."))}
    assert not above, f"{name} imports {above}"


@pytest.mark.parametrize("name", sorted(MODULES.keys() - KERNELS))
def test_compiled_loops_are_imported_late(name):
    """Only `load` imports them, and they each other."""
    assert not own(name) & KERNELS


@pytest.mark.parametrize("name", [name for name in MODULES if name.startswith("flows.")])
def test_flows_import_nothing_from_above(name):
    """The engine least of all: the modules know nothing of speed."""
    above = {target for target in own(name) if not target.startswith("flows.")}
    assert not above, f"{name} imports {above}"


@pytest.mark.parametrize("name", FOUNDATIONS)
def test_foundations_stand_alone(name):
    above = {target for target in own(name) if LEVEL.get(target, 0) > 0}
    assert not above, f"{name} imports {above}"


@pytest.mark.parametrize("name", [name for name in LEVEL if name in MODULES])
def test_imports_go_down(name):
    wrong = {target for target in own(name) if LEVEL.get(target, -1) > LEVEL[name]}
    assert not wrong, f"{name} imports {wrong}, which stands above it"


def test_no_import_cycles():
    below = {name: own(name) for name in MODULES}
    while below:
        ground = [name for name, targets in below.items() if not targets & below.keys()]
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
