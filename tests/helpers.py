"""Estimators for the tests: every one of the package, in a size that fits in a blink."""

import inspect
import warnings

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning

import skflow

ALL = [
    cls for name in skflow.__all__ if inspect.isclass(cls := getattr(skflow, name)) and issubclass(cls, BaseEstimator)
]
SUPERVISED = [cls for cls in ALL if cls().__sklearn_tags__().target_tags.required]
ESTIMATORS = [cls for cls in ALL if cls not in SUPERVISED]  # which are fitted to a table alone
SMALL = {"depth": 1, "hidden_layer_sizes": (8,), "n_bins": 4, "max_iter": 5, "random_state": 0}


def quick(cls=skflow.FlowDensity, **params):
    """An estimator whose fit takes a fraction of a second; what is tested with it holds however good the fit is."""
    return cls(**{**SMALL, **params})


def fit_quietly(estimator, X, **kwargs):
    """Fit without the warning that so few passes may not be enough."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return estimator.fit(X, **kwargs)


def same_flow(a, b):
    """Whether two fitted flows are equal bit for bit."""
    a, b = a.flow_.state_dict(), b.flow_.state_dict()
    return a.keys() == b.keys() and all(np.array_equal(a[k].numpy(), b[k].numpy()) for k in a)
