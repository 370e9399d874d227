"""scikit-learn's callbacks, from its version 1.9 on: ``set_callbacks(ProgressBar())`` follows a fit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

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
