"""Estimators for the tests: every one of the package, in a size that fits in a blink."""

import inspect
import warnings
from contextlib import contextmanager

import numpy as np
import pytest
from sklearn.base import is_regressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import get_tags

import skflow
from skflow.estimators.base import BaseFlow
from skflow.flows import FLOWS
from skflow.persistence import registry
from skflow.training import hyperparameters

FAMILY = [  # the imputer is a coat over one of them
    cls for name in skflow.__all__ if inspect.isclass(cls := getattr(skflow, name)) and issubclass(cls, BaseFlow)
]
ALL = [cls for cls in FAMILY if cls is not skflow.FlowPosterior]  # fitted to tables; that is fitted to a function
ESTIMATORS = [cls for cls in ALL if not is_regressor(cls())]  # whose methods ask for rows alone
SAVABLE = [entry.cls for entry in registry.ESTIMATORS.values()]
FITTED_TO_TABLES = [cls for cls in SAVABLE if cls in ALL]
# Of autoregressive, coupling and residual layers, splines among them. Where a fit of each named flow takes a while, the
# others are left to the tests that take long; what every flow promises is asked of all of them in tests/flows.
REPRESENTATIVE = "maf", "nsf", "planar", "realnvp"
EVERY_FLOW = [name if name in REPRESENTATIVE else pytest.param(name, marks=pytest.mark.long) for name in sorted(FLOWS)]
SMALL = {"depth": 1, "hidden_layer_sizes": (8,), "n_bins": 4, "max_iter": 2, "random_state": 0}


def quick(cls=skflow.FlowDensity, **params):
    """An estimator whose fit takes a fraction of a second; what is tested with it holds however good the fit is."""
    few = {"max_evaluations": 20_000} if cls is skflow.FlowPosterior else {}
    return cls(**{**SMALL, **few, **params})


@contextmanager
def few_folds():
    """Regressors of two folds instead of ten, in a fifth of the time: for what holds with any number of them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hyperparameters, "FOLDS_OF_FEW", 2)
        yield


def target(estimator, X):
    """The y to fit with: None, or for an estimator that requires one, whether the first column is above its median."""
    if not get_tags(estimator).target_tags.required:
        return None
    try:
        first = np.asarray(X, dtype=float)[:, 0]
        return first > np.median(first)
    except (ValueError, TypeError, IndexError):  # a table that is to be refused, before y is looked at
        return np.arange(20) % 2


def fit_quietly(estimator, X, y=None, **kwargs):
    """Fit without the warning that so few passes may not be enough; with `target` where a y is required.

    What is fitted to no table is fitted to a density with the table's columns.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        if isinstance(estimator, skflow.FlowPosterior):
            return estimator.fit(_exponential, X.shape[1])
        return estimator.fit(X, target(estimator, X) if y is None else y, **kwargs)


def _exponential(x):
    return -x.abs().sum(1)


def same_flow(a, b):
    """Whether two fitted flows are equal bit for bit."""
    a, b = a.flow_.state_dict(), b.flow_.state_dict()
    return a.keys() == b.keys() and all(np.array_equal(a[k].numpy(), b[k].numpy()) for k in a)


def scores(estimator, X):
    """Its log-densities, a regressor's those of `target`."""
    return estimator.score_samples(*([X, target(estimator, X)] if is_regressor(estimator) else [X]))
