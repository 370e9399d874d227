"""The density of a target given the features of a few rows, drawn."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from ..utils.frames import some_rows
from ..utils.global_settings import shield
from .plotting import BLUE, GREEN, GREY, ORANGE, RED, axes_for, pyplot

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from typing_extensions import Self

COLOURS = BLUE, ORANGE, GREEN, RED, GREY
MAX_ROWS = 5
RANGE = 0.002  # the share of each density that may lie beyond the end of the picture


class ForecastDensityDisplay:
    """The density of one target given the features, for a few rows.

    Parameters
    ----------
    grid : ndarray of shape (m,)
        Values of the target.
    density : ndarray of shape (n, m)
        For every row.
    names : list of str
        Of the rows.
    y_true : ndarray of shape (n,) or None
        The rows' targets.

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from skflow import FlowRegressor, ForecastDensityDisplay
    >>> X, y = load_diabetes(return_X_y=True)
    >>> regressor = FlowRegressor(max_iter=5, random_state=0).fit(X[:80], y[:80])
    >>> ForecastDensityDisplay.from_estimator(regressor, X[:3], y[:3]).ax_.get_ylabel()
    'density'
    """

    def __init__(self, *, grid: np.ndarray, density: np.ndarray, names: list[str], y_true: np.ndarray | None = None):
        self.grid = grid
        self.density = density
        self.names = names
        self.y_true = y_true

    @classmethod
    @shield()
    def from_estimator(
        cls,
        estimator,
        X: ArrayLike,
        y: ArrayLike | None = None,
        *,
        names: list[str] | None = None,
        resolution: int = 400,
        ax: Axes | None = None,
    ) -> Self:
        """Draw what a regressor says of the first rows of ``X``, five at most.

        Parameters
        ----------
        estimator : FlowRegressor
            Fitted to one target.
        X : array-like of shape (n_samples, n_features)
        y : array-like of shape (n_samples,), optional
            The targets, drawn as marks.
        names : list of str, optional
            Of the rows.
        resolution : int, default=400
            Number of values at which each density is evaluated.
        ax : matplotlib Axes, default=None
            By default a new figure is made.

        Returns
        -------
        display : ForecastDensityDisplay
        """
        pyplot(cls.__name__)
        n = min(len(X), MAX_ROWS)
        X = some_rows(X, list(range(n)))
        low, high = estimator.predict_quantiles(X, [RANGE, 1 - RANGE]).T
        if np.ndim(low) != 1:
            raise ValueError(f"{cls.__name__} draws one target, but the estimator was fitted to several.")
        y_true = None if y is None else np.asarray(y, dtype=float)[:n]
        grid = np.linspace(low.min(), high.max(), resolution)
        repeated = some_rows(X, np.repeat(np.arange(n), resolution).tolist())
        density = np.exp(estimator.score_samples(repeated, np.tile(grid, n))).reshape(n, resolution)
        names = [f"row {i}" for i in range(n)] if names is None else list(names)[:n]
        return cls(grid=grid, density=density, names=names, y_true=y_true).plot(ax=ax)

    @shield()
    def plot(self, ax: Axes | None = None, **line_kwargs: Any) -> Self:
        """Draw the densities.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            By default a new figure is made.
        **line_kwargs : dict
            Passed on to ``ax.plot``.

        Returns
        -------
        self : ForecastDensityDisplay
        """
        plt = pyplot(type(self).__name__)
        self.ax_ = ax = axes_for(plt, ax, (5.6, 3.4))
        self.figure_ = ax.figure
        for i, (density, name) in enumerate(zip(self.density, self.names)):
            colour = COLOURS[i % len(COLOURS)]
            ax.plot(self.grid, density, **{"color": colour, "label": name, **line_kwargs})
            ax.fill_between(self.grid, density, color=colour, alpha=0.12, linewidth=0)
            if self.y_true is not None:
                at = np.interp(self.y_true[i], self.grid, density)
                ax.plot([self.y_true[i]] * 2, [0, at], "o-", color=colour, markevery=[1], linewidth=1)
        ax.set(xlabel="target", ylabel="density", ylim=(0, None))
        ax.legend(fontsize=9)
        ax.spines[["top", "right"]].set_visible(False)
        return self
