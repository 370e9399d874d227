"""What the fitted attributes of an estimator may be, each of a declared kind."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from numbers import Integral, Real
from typing import Any

import numpy as np
import torch

from ..flows.bijections.context_location import ContextLocation
from ..flows.bijections.embedded_context import EmbeddedContext
from ..flows.bijections.standardize import Standardize
from ..flows.distributions.distribution import Distribution
from ..flows.distributions.latent_tree import LatentTree
from ..flows.distributions.mixed_distribution import MixedDistribution
from ..flows.regression.stacking import StackedRegression
from .errors import FileFormatError

Check = Callable[[Any], bool]


def is_flow(value: Any) -> bool:
    """A density."""
    return isinstance(value, Distribution)


def is_location(value: Any) -> bool:
    """Models of the conditional mean."""
    return isinstance(value, StackedRegression)


def is_count(value: Any) -> bool:
    """A number of things."""
    return isinstance(value, Integral) and not isinstance(value, bool) and 0 <= value < 2**53


def is_number(value: Any) -> bool:
    """A number, or NaN or infinity."""
    return isinstance(value, Real) and not isinstance(value, bool)


def is_bool(value: Any) -> bool:
    """True or false."""
    return isinstance(value, bool | np.bool_)


def numbers(*shape: str | int, integer: bool = False) -> Check:
    """An array of numbers of as many dimensions as names or sizes are given."""

    def check(value):
        if not isinstance(value, np.ndarray) or value.dtype.kind not in ("iu" if integer else "iuf"):
            return False
        return value.ndim == len(shape) and all(isinstance(a, str) or a == b for a, b in zip(shape, value.shape))

    return check


def is_text(value: Any) -> bool:
    """A vector of names or labels: text, numbers, or both."""
    return isinstance(value, np.ndarray) and value.ndim == 1 and value.dtype.kind in "OUiufb"


def list_of(check: Check, kinds: type | tuple = (list, tuple)) -> Check:
    """A list or a tuple of such values."""
    return lambda value: isinstance(value, kinds) and all(map(check, value))


def dict_of(check: Check) -> Check:
    """A dict of such values."""
    return lambda value: isinstance(value, dict) and all(map(check, value.values()))


def optional(check: Check) -> Check:
    """None, or such a value."""
    return lambda value: value is None or check(value)


def instance_of(*classes: type) -> Check:
    """An object of one of these classes."""
    return lambda value: isinstance(value, classes)


def is_optimizer_state(value: Any) -> bool:
    """The vectors of `skflow.training.soap.Soap`, or of Adam as in earlier files, and the number of steps."""
    if not isinstance(value, tuple) or len(value) not in (3, 5) or not is_count(value[-1]):
        return False
    return all(isinstance(v, torch.Tensor) and v.dtype == torch.float32 and v.dim() == 1 for v in value[:-1])


def checked(name: str, values: Mapping[str, Any], kinds: Mapping[str, Check]) -> None:
    """Refuse attributes that are not declared, or not of their kind.

    Parameters
    ----------
    name : str
        Of the estimator's class.
    values : mapping of str to object
    kinds : mapping of str to callable
        By the name of the attribute.

    Raises
    ------
    FileFormatError
    """
    for attribute, value in values.items():
        if attribute not in kinds:
            raise FileFormatError(f"{name} has no attribute {attribute[:100]!r} that a file could hold.")
        if not kinds[attribute](value):
            shown = (
                repr(value)[:100] if isinstance(value, str | int | float | None) else f"such a {type(value).__name__}"
            )
            raise FileFormatError(f"The attribute {attribute!r} of {name} can't be {shown}.")


def columns_of(flow: Distribution) -> int | None:
    """Number of columns of a fitted flow, whose first links always bring columns to one scale, or are one for each."""
    mixed = next((module for module in flow.modules() if isinstance(module, MixedDistribution)), None)
    if mixed is not None:
        return len(mixed.n_categories) - int((mixed.indicator >= 0).sum())  # those of atoms are no one's own
    tree = next((module for module in flow.modules() if isinstance(module, LatentTree)), None)
    if tree is not None:
        return len(tree.n_categories)
    return next((len(module.scale) for module in flow.modules() if isinstance(module, Standardize)), None)


def reach_into_context(flow: Distribution) -> int:
    """How many columns a context must have, so that every module finds those that it picks."""
    picking = (module for module in flow.modules() if isinstance(module, ContextLocation | EmbeddedContext))
    return 1 + max((int(module.columns.max()) for module in picking if module.columns is not None), default=-1)
