"""The description of a module while it is being built: what of it is checked, and against what."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..errors import FileFormatError

UNIVARIATE = "univariate"  # the key under which a scheme has its map


def require(condition: Any, message: str) -> None:
    """Raise the error of a file whose modules can't be built."""
    if not condition:
        raise FileFormatError(f"The parts of a module in the file don't fit together: {message}.")


@dataclass
class Sizes:
    """What all modules of one flow must agree on; the first that knows a size sets it."""

    n_features: int | None = None
    n_context: int | None = None

    def agree(self, n_features: int | None = None, n_context: int | None = None) -> None:
        """Set or compare."""
        for name, value in (("n_features", n_features), ("n_context", n_context)):
            known = getattr(self, name)
            require(value is None or known in (None, value), f"{name} is {known} and {value}")
            setattr(self, name, known if value is None else value)


@dataclass
class Node:
    """The description of a module while it is being built.

    Attributes
    ----------
    config, modules, tensors : mapping
    sizes : Sizes
        Of this module and those beside it.
    within : Sizes
        Of the modules within: the same ones, but where those see another context.
    own : mapping of str to list of Sizes
        Of the modules within that see other columns, one by one.
    """

    config: Mapping[str, Any]
    modules: Mapping[str, Any]
    tensors: Mapping[str, Tensor]
    sizes: Sizes
    within: Sizes
    own: Mapping[str, list[Sizes]] = field(default_factory=dict)

    def size(self, name: str, most: float = math.inf) -> int:
        """A positive integer of the config."""
        value = self.config[name]
        require(type(value) is int and 0 < value <= most, f"{name} is {str(value)[:30]}")
        return value

    def count(self, name: str) -> int:
        """An integer of the config that may be zero."""
        value = self.config[name]
        require(type(value) is int and value >= 0, f"{name} is {str(value)[:30]}")
        return value

    def number(self, name: str) -> float:
        """A finite number of the config."""
        value = self.config[name]
        require(type(value) in (int, float) and math.isfinite(value), f"{name} is {str(value)[:30]}")
        return value

    def tensor(self, name: str, *shape: int | None, integer: bool = False, infinite: bool = False) -> Tensor:
        """A tensor, after its shape (None for any size), its kind of numbers and their being finite are checked."""
        require(name in self.tensors, f"there is no tensor {name!r}")
        tensor = self.tensors[name]
        fits = tensor.dim() == len(shape) and all(b in (None, a) for a, b in zip(tensor.shape, shape))
        require(fits, f"{name!r} has the shape {list(tensor.shape)}, not {list(shape)}")
        if integer:
            require(tensor.dtype == torch.int64, f"{name!r} is of {tensor.dtype}")
        else:
            require(tensor.dtype in (torch.float32, torch.float64), f"{name!r} is of {tensor.dtype}")
            numbers = tensor.numpy()
            bad = np.isnan(numbers) if infinite else ~np.isfinite(numbers)
            require(not bad.any(), f"{name!r} holds numbers that are not finite")
        return tensor

    def child(self, name: str, kind: type) -> Any:
        """A module within, of the given kind."""
        require(isinstance(self.modules.get(name), kind), f"{name!r} is no {kind.__name__}")
        return self.modules[name]

    def children(self, name: str, kind: type) -> list:
        """A list of modules within, of the given kind."""
        found = self.modules.get(name)
        require(isinstance(found, list) and all(isinstance(m, kind) for m in found), f"{name!r} holds others")
        return found

    def hidden_layer_sizes(self, prefix: str, n_in: int, n_units: int) -> list[int]:
        """Of a network's layers, all of whose tensors have been compared with what it takes and gives."""
        sizes: list[int] = []
        while (name := f"{prefix}hidden.{len(sizes)}.affine") in self.tensors:
            sizes.append(self.tensor(name, None, 1 + n_in).shape[0])
            n_in = sizes[-1]
            require(n_in > 0, "a hidden layer is empty")
        self.tensor(f"{prefix}output.affine", n_units, 1 + n_in)
        return sizes


@dataclass(frozen=True)
class Rule:
    """How modules of one class are kept.

    Attributes
    ----------
    build : callable
        Of a `Node`, the module; its parameters and buffers are set afterwards to the tensors of the file.
    config : callable
        Of a module, the numbers that ``build`` needs beside its tensors.
    modules : tuple of str
        Attributes that hold a module, or a list of modules.
    derived : tuple of str
        Buffers that follow from others and are not kept.
    own : tuple of str
        Of ``modules``, those that see other columns and another context than this one.
    """

    build: Callable[[Node], nn.Module]
    config: Callable[[Any], dict] = field(default=lambda module: {})
    modules: tuple[str, ...] = ()
    derived: tuple[str, ...] = ()
    own: tuple[str, ...] = ()
