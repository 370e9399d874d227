"""The histogram of probability integral transforms, drawn."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats
from sklearn.utils.validation import check_is_fitted

from ..utils.global_settings import shield
from .plotting import BLUE, GREY, axes_for, pyplot

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from typing_extensions import Self


class PITDisplay:
    """Histogram of the probability integral transforms of forecasts: flat where they are calibrated.

    A hump says that the forecasts are too wide, a trough that they are too narrow, a slope that they lie on one side.
    The band holds each bar with a probability of 95 % if the forecasts are calibrated.

    Parameters
    ----------
    pit : array-like of shape (n,)
        ``F(y | x)`` of every row.

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from skflow import FlowRegressor, PITDisplay
    >>> X, y = load_diabetes(return_X_y=True)
    >>> regressor = FlowRegressor(max_iter=5, random_state=0).fit(X[:80], y[:80])
    >>> PITDisplay.from_estimator(regressor).ax_.get_xlabel()
    'level of the target in its forecast'
    """

    def __init__(self, *, pit: ArrayLike):
        self.pit = pit

    @classmethod
    @shield()
    def from_estimator(
        cls, estimator, X: ArrayLike | None = None, y: ArrayLike | None = None, *, ax: Axes | None = None
    ) -> Self:
        """Draw the levels of new targets, or of the training rows under the members that have not seen them.

        Parameters
        ----------
        estimator : FlowRegressor
            Fitted to one target.
        X, y : array-like, optional
            New rows and their targets; the training rows by default.
        ax : matplotlib Axes, default=None
            By default a new figure is made.

        Returns
        -------
        display : PITDisplay
        """
        pyplot(cls.__name__)
        check_is_fitted(estimator)
        if getattr(estimator, "n_targets_", 1) > 1:
            raise ValueError(f"{cls.__name__} draws one target, but the estimator was fitted to several.")
        levels = estimator.pit_ if X is None else np.ravel(estimator.cdf(X, y))
        return cls(pit=levels[np.isfinite(levels)]).plot(ax=ax)

    @shield()
    def plot(self, ax: Axes | None = None, *, bins: int = 20) -> Self:
        """Draw the histogram.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            By default a new figure is made.
        bins : int, default=20

        Returns
        -------
        self : PITDisplay
        """
        plt = pyplot(type(self).__name__)
        self.ax_ = ax = axes_for(plt, ax, (5.0, 3.2))
        self.figure_ = ax.figure
        n = len(np.asarray(self.pit))
        ax.hist(self.pit, bins=bins, range=(0, 1), density=True, color=BLUE, alpha=0.6)
        low, high = stats.binom(n, 1 / bins).ppf([0.025, 0.975]) * bins / n
        ax.axhspan(low, high, color=GREY, alpha=0.2, linewidth=0, label="95 % if calibrated")
        ax.axhline(1, color=GREY, linewidth=1)
        ax.set(xlabel="level of the target in its forecast", ylabel="density", xlim=(0, 1))
        ax.legend(fontsize=9, loc="lower center")
        ax.spines[["top", "right"]].set_visible(False)
        return self
