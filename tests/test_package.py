"""The package as it is shipped: names, types, documentation."""

import importlib.metadata
import inspect
import re
from pathlib import Path

import numpy as np
import pytest

import skflow

from .helpers import FAMILY

ROOT = Path(__file__).parent.parent
PAGES = [page for pattern in ("*.md", "docs/**/*.md", "docs/**/*.rst", "examples/*.py") for page in ROOT.glob(pattern)]
METHODS = [
    (cls, name)
    for cls in FAMILY
    for name, method in inspect.getmembers(cls, inspect.isfunction)
    if not name.startswith("_") and inspect.unwrap(method).__module__.startswith("skflow.")
]


def test_version_is_that_of_the_distribution():
    assert skflow.__version__ == importlib.metadata.version("skflow-density")


def test_everything_public_exists():
    assert all(hasattr(skflow, name) for name in skflow.__all__)
    assert all(hasattr(skflow.flows, name) for name in skflow.flows.__all__)


def test_type_hints_are_announced():
    assert (Path(skflow.__file__).parent / "py.typed").exists()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_pages_install_the_right_distribution(page):
    """The name skflow belongs to an unrelated package."""
    assert not re.findall(r"pip3? install (?:-\S+ )*[\"']?skflow(?!-density)", page.read_text())


def test_there_are_pages():
    assert {"README.md", "CONTRIBUTING.md", "CHANGELOG.md"} <= {page.name for page in PAGES}


@pytest.mark.parametrize("cls, name", METHODS, ids=lambda value: getattr(value, "__name__", value))
def test_public_method_is_annotated(cls, name):
    signature = inspect.signature(inspect.unwrap(getattr(cls, name)))
    bare = [p.name for p in list(signature.parameters.values())[1:] if p.annotation is p.empty]
    assert not bare, f"{cls.__name__}.{name}: {bare}"
    assert signature.return_annotation is not signature.empty


@pytest.mark.parametrize("cls, name", METHODS, ids=lambda value: getattr(value, "__name__", value))
def test_public_method_is_documented(cls, name):
    doc = inspect.getdoc(getattr(cls, name)) or ""
    parameters = list(inspect.signature(inspect.unwrap(getattr(cls, name))).parameters)[1:]
    assert all(re.search(rf"^(.*, )?{p}(,| :)", doc, re.MULTILINE) for p in parameters), doc
    assert "Returns\n-------" in doc


@pytest.mark.parametrize("cls", FAMILY)
def test_every_parameter_is_documented(cls):
    documented = re.findall(r"^    ([\w, ]+) : .*$", cls.__doc__, re.MULTILINE)
    documented = {name for line in documented for name in line.split(", ")}
    assert set(inspect.signature(cls).parameters) <= documented


@pytest.mark.parametrize("cls", FAMILY)
def test_documented_defaults_are_the_defaults(cls):
    for name, parameter in inspect.signature(cls).parameters.items():
        line = re.search(rf"^    {name} : .*default=(.+)$", cls.__doc__, re.MULTILINE)
        if line:
            value = eval(line[1], {"inf": np.inf})  # noqa: S307 our own docstring
            assert value == parameter.default, name


@pytest.mark.parametrize("cls", FAMILY)
def test_class_has_an_example_that_runs(cls):
    assert ">>> " in cls.__doc__


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_readme_example_runs():
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert "FlowDensity(random_state=0)" in code
    exec(code.replace("FlowDensity(random_state=0)", "FlowDensity(random_state=0, depth=1, max_iter=1)"), {})
