"""Prediction intervals along one feature, with the data, drawn."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from ..utils.closest import closest
from ..utils.frames import column_names
from ..utils.global_settings import shield
from .plotting import BLUE, GREY, RED, axes_for, pyplot

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from typing_extensions import Self


class PredictionIntervalDisplay:
    """Prediction intervals of one target along a feature, and the rows that they are for.

    Parameters
    ----------
    feature : ndarray of shape (n,)
        Values of the feature.
    interval : ndarray of shape (n, 2)
        Lower and upper ends.
    center : ndarray of shape (n,)
        Conditional medians.
    y_true : ndarray of shape (n,) or None
        The targets.
    coverage : float
    name : str
        Of the feature.

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from skflow import FlowRegressor, PredictionIntervalDisplay
    >>> X, y = load_diabetes(return_X_y=True)
    >>> regressor = FlowRegressor(max_iter=5, random_state=0).fit(X[:80], y[:80])
    >>> PredictionIntervalDisplay.from_estimator(regressor, X, y, feature=2).ax_.get_ylabel()
    'target'
    """

    def __init__(self, *, feature, interval, center, coverage: float, name: str, y_true=None):
        self.feature = feature
        self.interval = interval
        self.center = center
        self.coverage = coverage
        self.name = name
        self.y_true = y_true

    @classmethod
    @shield()
    def from_estimator(
        cls,
        estimator,
        X: ArrayLike,
        y: ArrayLike | None = None,
        *,
        feature: int | str = 0,
        coverage: float = 0.9,
        ax: Axes | None = None,
    ) -> Self:
        """Draw the intervals of a regressor.

        Parameters
        ----------
        estimator : FlowRegressor
            Fitted to one target.
        X : array-like of shape (n_samples, n_features)
        y : array-like of shape (n_samples,), optional
            The targets, drawn as points: grey where they lie within their interval.
        feature : int or str, default=0
            Number or name of the column along which the rows are drawn.
        coverage : float, default=0.9
        ax : matplotlib Axes, default=None
            By default a new figure is made.

        Returns
        -------
        display : PredictionIntervalDisplay
        """
        pyplot(cls.__name__)
        names, values = column_names(X), np.asarray(X)
        number = feature
        if isinstance(feature, str):
            if names is None or feature not in names:
                raise ValueError(f"feature={feature!r} is no column of X.{closest(feature, map(str, names or []))}")
            number = names.index(feature)
        interval = estimator.predict_interval(X, coverage)
        if interval.ndim != 2:
            raise ValueError(f"{cls.__name__} draws one target, but the estimator was fitted to several.")
        display = cls(
            feature=values[:, number].astype(float),
            interval=interval,
            center=estimator.predict_quantiles(X, [0.5])[:, 0],
            coverage=coverage,
            name=f"column {number}" if names is None else str(names[number]),
            y_true=None if y is None else np.asarray(y, dtype=float),
        )
        return display.plot(ax=ax)

    @shield()
    def plot(self, ax: Axes | None = None) -> Self:
        """Draw the intervals.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            By default a new figure is made.

        Returns
        -------
        self : PredictionIntervalDisplay
        """
        plt = pyplot(type(self).__name__)
        self.ax_ = ax = axes_for(plt, ax, (5.6, 3.6))
        self.figure_ = ax.figure
        low, high = self.interval.T
        label = f"{100 * self.coverage:g} % interval"
        ax.vlines(self.feature, low, high, color=BLUE, alpha=0.25, linewidth=2, label=label)
        ax.plot(self.feature, self.center, ".", color=BLUE, markersize=3, label="median")
        if self.y_true is not None:
            inside = (low <= self.y_true) & (self.y_true <= high)
            ax.plot(self.feature[inside], self.y_true[inside], ".", color=GREY, markersize=4, label="targets")
            ax.plot(self.feature[~inside], self.y_true[~inside], "x", color=RED, markersize=4, label="outside")
            ax.set_title(f"{100 * inside.mean():.1f} % of the targets lie inside", fontsize=10)
        ax.set(xlabel=self.name, ylabel="target")
        ax.legend(fontsize=9)
        ax.spines[["top", "right"]].set_visible(False)
        return self
