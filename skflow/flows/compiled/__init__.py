"""Loops that numba compiles, where it is installed: torch's operations stand in for all of them.

`skflow.flows.compiled.loops` imports numba; the others ask for its modules with `load`.
"""

from __future__ import annotations

import functools
import importlib
from types import ModuleType


@functools.cache
def load(name: str) -> ModuleType | None:
    """A module of loops, or None where numba is missing or finds no folder to keep what it compiles in."""
    try:
        return importlib.import_module(".loops." + name, __name__)
    except (ImportError, RuntimeError):
        return None
