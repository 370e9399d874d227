"""Hamiltonian Monte Carlo with leaps of all lengths."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from . import hyperparameters as hp


def hamiltonian_monte_carlo(
    x: Tensor, log_density: Callable[[Tensor], Tensor], n_moves: int, n_leaps: int, generator: torch.Generator
) -> Tensor:
    """Move rows by Markov chains, one for each, that leave a density invariant.

    A move follows Hamilton's equations by leapfrog steps [1]_, eq. 5.18 to 5.20, with the covariance of the rows as the
    inverse mass. How long the leaps are is drawn for every chain and move, since a narrow place needs shorter ones than
    the rest. Where torch can't follow ``log_density`` slopes are zero, and a move is one of random-walk Metropolis.

    Parameters
    ----------
    x : Tensor of shape (n, d)
    log_density : callable
        Maps rows to nats, Tensor of shape (n,), up to a constant.
    n_moves, n_leaps : int
        Rows evaluated are n (1 + n_moves n_leaps).
    generator : torch.Generator

    Returns
    -------
    Tensor of shape (n, d)

    References
    ----------
    .. [1] Neal, "MCMC Using Hamiltonian Dynamics", in Handbook of Markov Chain Monte Carlo (2011), section 5.2.
    """
    factor, (shortest, longest) = _factor(x), hp.LEAP_LENGTHS

    def value_and_slope(x):
        x = x.detach().requires_grad_(True)
        value = log_density(x)
        slope = torch.autograd.grad(value.sum(), x)[0] if value.requires_grad else torch.zeros_like(x)
        return value.detach(), slope.nan_to_num(0.0, 0.0, 0.0) @ factor

    value, slope = value_and_slope(x)
    for _ in range(n_moves):
        share = torch.rand(len(x), 1, generator=generator, dtype=x.dtype)
        leap = longest * (shortest / longest) ** share
        start = momentum = torch.randn(x.shape, generator=generator, dtype=x.dtype)
        new, new_value, new_slope = x, value, slope
        for _ in range(n_leaps):
            momentum = momentum + 0.5 * leap * new_slope
            ahead = new + leap * momentum @ factor.T
            new = torch.where(ahead.isfinite().all(1, keepdim=True), ahead, new)
            new_value, new_slope = value_and_slope(new)
            momentum = momentum + 0.5 * leap * new_slope
        ratio = new_value - value - 0.5 * (momentum.square() - start.square()).sum(1)
        ratio = ratio.nan_to_num(nan=-math.inf, neginf=-math.inf, posinf=math.inf)
        accepted = torch.rand(len(x), generator=generator, dtype=x.dtype).log() < ratio
        x, slope = torch.where(accepted[:, None], new, x), torch.where(accepted[:, None], new_slope, slope)
        value = torch.where(accepted, new_value, value)
    return x


def _factor(x):
    """Of the covariance of rows, drawn towards its diagonal as if there were d more rows without correlations."""
    n, d = x.shape
    scale = x.std(0).clamp_min(1e-300)
    white = (x - x.mean(0)) / scale
    covariance = (white.T @ white + d * torch.eye(d, dtype=x.dtype)) / (n + d)
    return scale[:, None] * torch.linalg.cholesky(covariance)
