"""What "auto" means: hyperparameters as functions of the number of rows and of columns."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from ._training import Plan
from ._validation import check_bounds
from .flows.registry import FLOWS, FlowSettings

MAX_TRIAL_STEPS = 1000
SMALL = 500  # training rows; a smaller network learns as much from them
MIN_COMPILED = 1000  # values in the training rows; fewer are learnt before the compiled loops are loaded
LONG, VERY_LONG = 20_000, 1_400_000  # training rows


def resolve_flow(estimator, n: int, d: int) -> FlowSettings:
    """Depth, hidden layer sizes and bins for ``n`` training rows of ``d`` columns."""
    depth = estimator.depth
    if depth == "auto":
        recipe = FLOWS.get(estimator.flow) if isinstance(estimator.flow, str) else None
        depth = (recipe.depth if recipe else None) or (2 if n < SMALL else 3)
    sizes = estimator.hidden_layer_sizes
    if isinstance(sizes, str):
        width = 32 if n < SMALL else 64 if n < LONG else 128
        sizes = (width, width)
    bins = estimator.n_bins
    if bins == "auto":
        bins = 8 if n < 1000 else 16
    hidden = tuple(int(s) for s in np.atleast_1d(sizes))
    return FlowSettings(int(depth), hidden, int(bins), estimator.ordering)


def resolve_plan(estimator, n: int, d: int) -> Plan:
    """Batch size, number of passes and patience for ``n`` training rows of ``d`` columns.

    The number of steps grows a little faster than the square root of the number of rows, and with the columns up to a
    point: beyond it each step is so dear that there are fewer. In a long table steps and batch both grow with the root,
    so that the number of passes stays; in a very long one the number of rows seen does.
    """
    root = max(1.0, min(n, VERY_LONG) / LONG) ** 0.5
    batch_size = estimator.batch_size
    if batch_size == "auto":
        batch_size = int(256 * root)
    n_batches = max(1, n // batch_size)
    n_steps = max(400.0, 850 * (min(n, LONG) / 500) ** 0.55 * root) / max(1.0, d / 64)
    max_iter = estimator.max_iter
    if max_iter == "auto":
        max_iter = max(1, round(n_steps * max(1.0, min(d, 64) / 8) ** 0.5 / n_batches))
    patience = estimator.n_iter_no_change
    if patience == "auto":
        patience = max(5, round(0.1 * n_steps / n_batches))
    return Plan(
        max_iter=int(max_iter),
        batch_size=int(batch_size),
        n_steps=int(max_iter) * n_batches,
        trial_steps=max(1, round(min(MAX_TRIAL_STEPS, (0.06 if n < SMALL else 0.15) * n_steps))),
        max_trial_steps=math.inf if n <= LONG else 0.05 * n_steps,
        learning_rate=float(estimator.learning_rate_init),
        alpha=float(estimator.alpha),
        n_iter_no_change=int(patience),
        tol=float(estimator.tol),
        kernels=n * d >= MIN_COMPILED,
    )


def resolve_bounds(estimator, d: int) -> tuple[Tensor | None, Tensor | None]:
    """Lower and upper bounds of the columns, infinite where there is none; None and None without any bounds."""
    if estimator.bounds is None:
        return None, None
    low, high = torch.tensor(check_bounds(estimator.bounds, d), dtype=torch.float64).T
    return low.contiguous(), high.contiguous()
