"""A user's log-density, as a function of torch rows whose answers are checked."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

CONTRACT = {
    (True, True): "a tensor of shape (n, d) to a tensor of shape (n,)",
    (True, False): "an array of shape (n, d) to an array of shape (n,)",
    (False, True): "a tensor of shape (d,) to a tensor with a single number",
    (False, False): "an array of shape (d,) to a number",
}


class LogDensity:
    """Calls a user's function, in float64 and row by row where that is asked for.

    Parameters
    ----------
    function : callable
    vectorized : bool
        Whether it takes all rows at once.
    gradient : bool
        Whether it takes and returns tensors that torch can follow, rather than arrays.
    """

    def __init__(self, function: Callable, *, vectorized: bool, gradient: bool):
        if not callable(function):
            raise TypeError(
                f"log_density must be a function that maps {CONTRACT[vectorized, gradient]}. Got {function!r} instead."
            )
        self.function = function
        self.vectorized = vectorized
        self.gradient = gradient

    def __call__(self, x: Tensor) -> Tensor:
        """The log-density of rows ``x`` (n, d), float64, in nats, shape (n,)."""
        rows = x if self.gradient else x.detach().numpy()
        if self.vectorized:
            return self._checked(self.function(rows), len(x))
        values = [self._checked(self.function(row), 1) for row in rows]
        return torch.cat(values) if values else x.new_zeros(0)

    def _checked(self, value, n):
        tensor = value if isinstance(value, Tensor) else torch.as_tensor(np.asarray(value, dtype=float))
        right = (n,) if self.vectorized else ()
        if tuple(tensor.shape) != right and not (not self.vectorized and tensor.numel() == 1):
            raise ValueError(
                f"log_density returned shape {tuple(tensor.shape)} where {right} was expected: with "
                f"vectorized={self.vectorized} and gradient={self.gradient} it maps "
                f"{CONTRACT[self.vectorized, self.gradient]}. Sum over the columns, or set vectorized=False for a "
                "function of one row."
            )
        return tensor.to(torch.float64).reshape(n)
