"""The compiled loops, where numba is installed: loaded late, and kept on disk by the sources that they are made of."""

from __future__ import annotations

import ctypes
import functools
import importlib
from collections.abc import Callable
from types import ModuleType

import torch


@functools.cache
def load(name: str) -> ModuleType | None:
    """A module of loops, or None where numba is missing or finds no folder to keep what it compiles in."""
    try:
        return importlib.import_module(".kernels." + name, __package__)
    except (ImportError, RuntimeError):
        return None


@functools.cache
def loop(module: str, function: str, univariate: str | None = None, part: str | None = None) -> Callable:
    """The loop over the items of a kernel; ``part`` of a univariate map's module is what its `evaluate` stands for."""
    own = getattr(load(univariate), part) if univariate else None
    return load("queue").shared(getattr(load(module), function), own, f"{univariate}-{part}" if univariate else "")


@functools.cache
def compile(loop: Callable, dtype: torch.dtype) -> tuple[object, Callable]:
    """A loop for numbers of a type: what numba makes of it, and a function of the address of its arguments."""
    from numba import cfunc, types

    number = {torch.float32: types.float32, torch.float64: types.float64}[dtype]
    body = cfunc(types.void(types.CPointer(number)), cache=True, error_model="numpy")(loop)
    return body, ctypes.CFUNCTYPE(None, ctypes.c_void_p)(body.address)
