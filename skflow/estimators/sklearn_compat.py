"""What is private in scikit-learn, or not in every version of it: it is imported here and nowhere else.

Its callbacks, from version 1.9 on, follow a fit: ``set_callbacks(ProgressBar())``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
from sklearn.base import _fit_context as fit_context  # noqa: F401
from sklearn.utils._param_validation import HasMethods as HasMethods
from sklearn.utils._param_validation import Interval as Interval
from sklearn.utils._param_validation import InvalidParameterError as InvalidParameterError
from sklearn.utils._param_validation import Options as Options
from sklearn.utils._param_validation import StrOptions as StrOptions

from ..flows.regression.boosted_trees import Tree

try:
    from sklearn.callback import CallbackSupportMixin as CallbackSupport
    from sklearn.callback import with_callbacks
except ImportError:  # scikit-learn before 1.9

    class CallbackSupport:
        """No callbacks: this scikit-learn has none."""

    def with_callbacks(method):
        """Leave the method as it is."""
        return method


CALLBACK_STATE = {"_callback_fit_ctx", "_skl_callbacks_to_teardown"}  # scikit-learn removes these itself, after a fit


@contextmanager
def follow_fit(estimator, X, y) -> Iterator[Callable[[Callable[[], dict]], bool]]:
    """Announce a fit to the estimator's callbacks and yield the function that announces one of its iterations.

    Parameters
    ----------
    estimator : CallbackSupport
    X, y : array-like
        The training data, handed to the callbacks.

    Yields
    ------
    callable
        To call after every iteration with a function that returns the fitted attributes as of now; true where a
        callback asks to stop.
    """
    if not getattr(estimator, "_skl_callbacks", None):
        yield lambda fitted: False
        return
    data = {"estimator": estimator, "X": X, "y": y}
    root = estimator._init_callback_context(max_subtasks=None)
    root.call_on_fit_task_begin(**data)
    latest: dict = {}

    def announce(fitted: Callable[[], dict]) -> bool:
        latest["fitted"] = fitted
        epoch = root.subcontext(task_name="epoch")
        epoch.call_on_fit_task_begin(**data)
        return bool(epoch.call_on_fit_task_end(**data, reconstruction_attributes=fitted))

    yield announce
    root.call_on_fit_task_end(**data, reconstruction_attributes=latest.get("fitted"))


def trees_of(model) -> tuple[list[Tree], float]:
    """The trees of a fitted `HistGradientBoostingRegressor` of numbers without holes, and what they are added to.

    Raises
    ------
    ValueError
        For splits by categories.
    """
    trees = []
    for (predictor,) in model._predictors:
        nodes = predictor.nodes
        if nodes["is_categorical"].any():
            raise ValueError("A tree has a split by categories, which can't be evaluated: encode them as numbers.")
        left, right = (np.where(nodes["is_leaf"], -1, nodes[side].astype(int)) for side in ("left", "right"))
        trees.append(Tree(nodes["feature_idx"], nodes["num_threshold"], left, right, nodes["value"]))
    return trees, float(np.ravel(model._baseline_prediction)[0])


def visual_block(estimator, caption: str):
    """The block of an estimator in scikit-learn's HTML diagram, with a line under its name."""
    try:
        from sklearn.utils._repr_html.estimator import _VisualBlock
    except ImportError:  # scikit-learn before 1.8
        from sklearn.utils._estimator_html_repr import _VisualBlock

    name = type(estimator).__name__
    return _VisualBlock("single", estimator, names=name, name_details=str(estimator), name_caption=caption)
