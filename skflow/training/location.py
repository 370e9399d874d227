"""Models of the conditional mean, each blind to one fold of the rows, and the best combination of them."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
from scipy.optimize import nnls
from threadpoolctl import threadpool_limits
from torch import nn

from ..flows.regression.boosted_trees import MAX_LEAVES, BoostedTrees, Tree
from ..flows.regression.gaussian_process import GaussianProcessRegression
from ..flows.regression.linear import LinearRegression
from ..flows.regression.stacking import StackedRegression
from . import hyperparameters as hp

RIDGE = np.logspace(-3, 3, 7)
LENGTH_SCALES, NOISE = (1e-2, 1e3), (1e-6, 1e1)  # limits, in standard deviations

TreesOf = Callable[[Any], tuple[Iterable[Tree], float]]
Fit = Callable[[np.ndarray], nn.Module]  # of the numbers of rows


def fit_location(
    X: np.ndarray,
    Y: np.ndarray,
    fold: np.ndarray,
    weight: np.ndarray | None,
    rng: np.random.RandomState,
    trees_of: TreesOf,
) -> tuple[StackedRegression, np.ndarray]:
    """Fit several kinds of models for each target, and their stack (Breiman 1996, "Stacked Regressions").

    The kinds are boosted trees, ridge regression and, for a table that is not too long, a Gaussian process. Every kind
    is fitted once for every fold, to the rows of the others; the weights of the kinds are non-negative and fitted to
    what they say of rows that they have not seen. The models of a kind become one, the mean over the folds.

    Parameters
    ----------
    X : ndarray of shape (n, p)
    Y : ndarray of shape (n, k)
    fold : ndarray of shape (n,), int
    weight : ndarray of shape (n,) or None
    rng : RandomState
    trees_of : callable
        Of a fitted `HistGradientBoostingRegressor`, its trees and what they are added to.

    Returns
    -------
    location : StackedRegression
    blind : ndarray of shape (n, k * (1 + n_kinds))
        What it gives, but of each row by the models that have not seen it.
    """
    shift, scale = X.mean(0), X.std(0)
    scale = np.where(scale > 0, scale, 1.0)
    X = (X - shift) / scale
    kinds = [functools.partial(_trees, trees_of), _ridge]
    if len(X) <= hp.MAX_ROWS_FOR_PROCESS and weight is None:
        kinds.append(_process)
    means: list[nn.Module] = []
    weights = np.empty((Y.shape[1], len(kinds)))
    blind = np.empty((len(X), Y.shape[1], len(kinds)))
    with warnings.catch_warnings(), threadpool_limits(1, "blas"), torch.no_grad():
        warnings.simplefilter("ignore")  # of kernels' parameters that end at their limits
        for j, y in enumerate(Y.T):
            for i, kind in enumerate(kinds):
                models = _by_fold(kind(X, y, weight, rng), fold, rng)
                for k, model in enumerate(models):
                    blind[fold == k, j, i] = model(torch.from_numpy(X[fold == k])).numpy()
                means.append(type(models[0]).mean(models))
            weights[j] = _stack(blind[:, j], y, weight)
    location = StackedRegression(torch.tensor(shift), torch.tensor(scale), means, torch.tensor(weights))
    return location, np.concatenate([(blind * weights).sum(2), blind.reshape(len(blind), -1)], axis=1)


def _by_fold(fit: Fit, fold, rng):
    """One model for every fold, fitted to the rows of the others, or to as many of them as are enough."""
    models = []
    for k in range(fold.max() + 1):
        rows = np.flatnonzero(fold != k)
        if len(rows) > hp.MAX_ROWS_FOR_LOCATION:
            rows = rng.choice(rows, hp.MAX_ROWS_FOR_LOCATION, replace=False)
        models.append(fit(rows))
    return models


def _stack(blind, y, weight):
    """Non-negative weights that add up to one, of least squared error."""
    root = np.ones(len(y)) if weight is None else np.sqrt(weight)
    mean, spread = y.mean(), y.std() or 1.0
    rows = root[:, None] * (blind - mean) / spread
    heavy = 1e3 * np.sqrt(len(y))  # holds the sum to one
    weights = nnls(np.vstack([rows, np.full((1, rows.shape[1]), heavy)]), np.append(root * (y - mean) / spread, heavy))[
        0
    ]
    return weights / weights.sum()


def _trees(trees_of: TreesOf, X, y, weight, rng) -> Fit:
    from sklearn.ensemble import HistGradientBoostingRegressor

    seed = rng.randint(2**31 - 1)

    def fit(rows):
        model = HistGradientBoostingRegressor(max_leaf_nodes=MAX_LEAVES, random_state=seed)
        return BoostedTrees.of(*trees_of(model.fit(X[rows], y[rows], None if weight is None else weight[rows])))

    return fit


def _ridge(X, y, weight, rng) -> Fit:
    from sklearn.linear_model import RidgeCV

    def fit(rows):
        model = RidgeCV(RIDGE).fit(X[rows], y[rows], None if weight is None else weight[rows])
        return LinearRegression(torch.tensor(model.coef_), torch.tensor(model.intercept_))

    return fit


def _process(X, y, weight, rng) -> Fit:
    """A Gaussian process; its kernel is tuned on some of the rows."""
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel

    scales = np.ones(X.shape[1] if X.shape[1] <= hp.MAX_COLUMNS_FOR_SCALES else 1)
    kernel = ConstantKernel() * RBF(scales, LENGTH_SCALES) + WhiteKernel(0.1, NOISE)
    some = rng.permutation(len(X))[: hp.ROWS_TO_TUNE_PROCESS]
    tuned = GaussianProcessRegressor(kernel, random_state=0).fit(X[some], _standardised(y[some])[0]).kernel_
    variance, radial = tuned.k1.k1.constant_value, tuned.k1.k2
    length_scale = np.broadcast_to(radial.length_scale, X.shape[1:])
    centres = torch.tensor(X / length_scale)

    def fit(rows):
        z, mean, spread = _standardised(y[rows])
        alpha = np.zeros(len(X))  # a row left out is a centre, too, so that the mean over the folds has as many
        alpha[rows] = variance * spread * GaussianProcessRegressor(tuned, optimizer=None).fit(X[rows], z).alpha_
        return GaussianProcessRegression(centres, torch.tensor(alpha), torch.tensor(length_scale), torch.tensor(mean))

    return fit


def _standardised(y):
    """With its mean and its standard deviation, or one where that is zero."""
    mean, spread = y.mean(), y.std() or 1.0
    return (y - mean) / spread, mean, spread
