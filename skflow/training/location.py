"""Models of the conditional mean, each blind to one fold of the rows, and the best combination of them."""

from __future__ import annotations

import warnings

import numpy as np
from scipy.optimize import nnls
from threadpoolctl import threadpool_limits

from . import hyperparameters as hp

RIDGE = np.logspace(-3, 3, 7)
LENGTH_SCALES, NOISE = (1e-2, 1e3), (1e-6, 1e1)  # limits, in standard deviations


class Location:
    """Predictions of each target by several kinds of models, and their stack (Breiman 1996, "Stacked Regressions").

    The kinds are boosted trees, ridge regression and, for a table that is not too long, a Gaussian process. Every kind
    is fitted once for every fold, to the rows of the others; the weights of the kinds are non-negative and fitted to
    what they say of rows that they have not seen.

    Attributes
    ----------
    weights : ndarray of shape (k, n_kinds)
        Of the stack, for every target.
    """

    def fit(
        self, X: np.ndarray, Y: np.ndarray, fold: np.ndarray, weight: np.ndarray | None, rng: np.random.RandomState
    ) -> np.ndarray:
        """Fit the models and their weights.

        Parameters
        ----------
        X : ndarray of shape (n, p)
        Y : ndarray of shape (n, k)
        fold : ndarray of shape (n,), int
        weight : ndarray of shape (n,) or None
        rng : RandomState

        Returns
        -------
        ndarray of shape (n, k * (1 + n_kinds))
            What `predict` gives, but of each row by the models that have not seen it.
        """
        self._shift, scale = X.mean(0), X.std(0)
        self._scale = np.where(scale > 0, scale, 1.0)
        X = self._scaled(X)
        kinds = [_trees, _ridge]
        if len(X) <= hp.MAX_ROWS_FOR_PROCESS and weight is None:
            kinds.append(_process)
        self._models: list[list[list]] = []  # by target, kind and fold
        self.weights = np.empty((Y.shape[1], len(kinds)))
        blind = np.empty((len(X), Y.shape[1], len(kinds)))
        with warnings.catch_warnings(), threadpool_limits(1, "blas"):
            warnings.simplefilter("ignore")  # of kernels' parameters that end at their limits
            for j, y in enumerate(Y.T):
                self._models.append([_by_fold(kind(X, y, rng), X, y, fold, weight, rng) for kind in kinds])
                for i, models in enumerate(self._models[j]):
                    for k, model in enumerate(models):
                        blind[fold == k, j, i] = model.predict(X[fold == k])
                self.weights[j] = _stack(blind[:, j], y, weight)
        return self._with_stack(blind)

    def _scaled(self, X):
        return (X - self._shift) / self._scale

    def _with_stack(self, each):
        return np.concatenate([(each * self.weights).sum(2), each.reshape(len(each), -1)], axis=1)

    def predict(self, X: np.ndarray) -> np.ndarray:
        """The stack for every target, and then what every kind says of each: means over the folds.

        Parameters
        ----------
        X : ndarray of shape (n, p)

        Returns
        -------
        ndarray of shape (n, k * (1 + n_kinds))
        """
        X = self._scaled(X)
        each = [[np.mean([model.predict(X) for model in models], axis=0) for models in kinds] for kinds in self._models]
        return self._with_stack(np.moveaxis(np.array(each), 2, 0))


def _by_fold(make, X, y, fold, weight, rng):
    """One model for every fold, fitted to the rows of the others, or to as many of them as are enough."""
    models = []
    for k in range(fold.max() + 1):
        rows = np.flatnonzero(fold != k)
        if len(rows) > hp.MAX_ROWS_FOR_LOCATION:
            rows = rng.choice(rows, hp.MAX_ROWS_FOR_LOCATION, replace=False)
        models.append(make().fit(X[rows], y[rows], *([] if weight is None else [weight[rows]])))
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


def _trees(X, y, rng):
    from sklearn.ensemble import HistGradientBoostingRegressor

    seed = rng.randint(2**31 - 1)
    return lambda: HistGradientBoostingRegressor(random_state=seed)


def _ridge(X, y, rng):
    from sklearn.linear_model import RidgeCV

    return lambda: RidgeCV(RIDGE)


def _process(X, y, rng):
    """A Gaussian process; its kernel is tuned on some of the rows."""
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel

    scales = np.ones(X.shape[1] if X.shape[1] <= hp.MAX_COLUMNS_FOR_SCALES else 1)
    kernel = ConstantKernel() * RBF(scales, LENGTH_SCALES) + WhiteKernel(0.1, NOISE)
    some = rng.permutation(len(X))[: hp.ROWS_TO_TUNE_PROCESS]
    tuned = GaussianProcessRegressor(kernel, normalize_y=True, random_state=0).fit(X[some], y[some]).kernel_
    return lambda: GaussianProcessRegressor(tuned, normalize_y=True, optimizer=None)
