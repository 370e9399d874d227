"""Roots of increasing functions, element by element: how every map without a closed-form inverse is inverted."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Increasing = Callable[[Tensor], tuple[Tensor, Tensor]]

MAX_STEPS = 100


@torch.no_grad()
def bracketed_root(
    function: Increasing, target: Tensor, low: Tensor, high: Tensor, start: Tensor | None = None
) -> Tensor:
    """Solve ``function(x) = target`` between ``low`` and ``high``, number by number.

    Newton's method, replaced by bisection wherever a step would leave the bracket or does not halve the step before it
    (Dekker 1969; Brent 1973, chapter 4): at worst a bisection, near the root quadratic.

    Parameters
    ----------
    function : callable
        From a tensor to its increasing values and the logarithm of their slopes.
    target, low, high : Tensor
        Of one shape; the root lies in the closed bracket.
    start : Tensor, optional
        First guess; the middle of the bracket by default.

    Returns
    -------
    Tensor
        The point of least error among those visited, which is within a few units of rounding. No gradient runs through
        it; see `solve_monotone`.
    """
    eps = torch.finfo(target.dtype).eps
    x = 0.5 * low + 0.5 * high if start is None else torch.minimum(torch.maximum(start, low), high)
    best, least, last = x, torch.full_like(target, torch.inf), high - low
    done = torch.zeros_like(target, dtype=torch.bool)
    small = 4 * eps * (1 + target.abs())
    for _ in range(MAX_STEPS):
        value, log_slope = function(x)
        error = value - target
        better = error.abs() < least
        best, least = torch.where(better, x, best), torch.where(better, error.abs(), least)
        low, high = torch.where(error < 0, x, low), torch.where(error > 0, x, high)
        newton = x - error * torch.exp(-log_slope)
        trusted = (newton >= low) & (newton <= high) & (2 * (newton - x).abs() <= last)
        step = torch.where(trusted, newton, 0.5 * low + 0.5 * high) - x
        done |= (error.abs() <= small) | (step.abs() <= 4 * eps * (1 + x.abs()))
        if bool(done.all()):
            break
        x, last = torch.where(done, x, x + step), step.abs()
    return best


def solve_monotone(
    function: Increasing, target: Tensor, low: Tensor, high: Tensor, start: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """`bracketed_root` and the log-slope of the function there, both differentiable.

    The root takes two more Newton steps, through which gradients run: its derivatives with respect to ``target`` and to
    whatever ``function`` depends on are those of the implicit function theorem, ``dx = (dz - df) / slope``, up to
    the third. Without gradients one step is enough.

    Returns
    -------
    x : Tensor
    log_slope : Tensor
        Of ``function`` at ``x``.
    """
    x = bracketed_root(function, target, low, high, start)
    value, log_slope = function(x)
    for _ in range(2 if value.requires_grad or target.requires_grad else 1):
        x = x - (value - target) * torch.exp(-log_slope)
        value, log_slope = function(x)
    return x, log_slope
