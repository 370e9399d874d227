"""Writes the API listing from what the package exports, so that nothing public is left out of it."""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path

HEADER = """.. This file is written by docs/_ext/api_pages.py from what the package exports.

.. _api:

API reference
=============

Everything public, by module. Shapes and units are given with every argument: densities are natural logarithms (nats).
"""
SECTION = """
{title}
{underline}

{text}

.. currentmodule:: {module}

.. autosummary::
   :toctree: generated
   :nosignatures:

{names}
"""


def _public(module: str) -> dict[str, object]:
    try:
        namespace = importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module:
            raise
        return {}
    return {name: getattr(namespace, name) for name in sorted(namespace.__all__)}


def _section(title: str, text: str, module: str, names: list[str]) -> str:
    if not names:
        return ""
    listing = "\n".join(f"   {name}" for name in names)
    return SECTION.format(title=title, underline="-" * len(title), text=text, module=module, names=listing)


def write_listing(folder: Path) -> None:
    """Write ``index.rst`` into ``folder``, unless it is there and unchanged."""
    top = _public("skflow")
    displays = [name for name in top if name.endswith("Display")]
    utils = _public("skflow.utils")
    flows = _public("skflow.flows")
    classes = [name for name, thing in flows.items() if inspect.isclass(thing)]
    functions = [name for name, thing in flows.items() if inspect.isfunction(thing)]
    text = HEADER + "".join(
        [
            _section(
                "Estimators",
                "The estimators follow scikit-learn's interface.",
                "skflow",
                [name for name, thing in top.items() if inspect.isclass(thing) and name not in displays],
            ),
            _section("Functions", "", "skflow", [name for name, thing in top.items() if inspect.isfunction(thing)]),
            _section(
                "Dask",
                "Fits on the workers of a cluster; they need dask and distributed.",
                "skflow.dask",
                list(_public("skflow.dask")),
            ),
            _section("Displays", "Pictures of a fitted estimator; they need matplotlib.", "skflow", displays),
            _section("Utilities", "Checks for these and anybody's density estimators.", "skflow.utils", list(utils)),
            _section(
                "Files",
                "What is wrong with a file that `skflow.load` refuses.",
                "skflow.persistence",
                [name for name in _public("skflow.persistence") if name not in top],
            ),
            _section(
                "Flows for those who build their own",
                "Torch modules, which know nothing of scikit-learn. `skflow.flows.FLOWS` maps the names that an "
                "estimator's ``flow`` parameter takes to their recipes.",
                "skflow.flows",
                functions + classes,
            ),
        ]
    )
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / "index.rst"
    if not target.exists() or target.read_text() != text:
        target.write_text(text)
