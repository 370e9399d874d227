"""The course of a fit, drawn."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils.validation import check_is_fitted

from ..utils.global_settings import shield
from .plotting import BLUE, ORANGE, RED, axes_for, pyplot

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from typing_extensions import Self


class LossCurveDisplay:
    """The likelihood of training and held-out rows over the epochs of a fit, with the epoch that was kept.

    Parameters
    ----------
    train : array-like of shape (n_epochs,)
        Mean log-likelihood of the training rows in each epoch, in nats a row.
    validation : array-like of shape (n_epochs,) or None
        That of the held-out rows after each epoch.
    best_score : float or None
        That of the state which was kept.

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skflow import FlowDensity, LossCurveDisplay
    >>> density = FlowDensity(max_iter=20, random_state=0).fit(load_iris().data)
    >>> LossCurveDisplay.from_estimator(density).ax_.get_xlabel()
    'epoch'
    """

    def __init__(self, *, train: ArrayLike, validation: ArrayLike | None = None, best_score: float | None = None):
        self.train = train
        self.validation = validation
        self.best_score = best_score

    @classmethod
    @shield()
    def from_estimator(cls, estimator, *, ax: Axes | None = None, **plot_params: Any) -> Self:
        """Draw the latest fit of an estimator.

        Parameters
        ----------
        estimator : fitted estimator of this package
        ax : matplotlib Axes, default=None
            By default a new figure is made.
        **plot_params : dict
            Passed on to `plot`.

        Returns
        -------
        display : LossCurveDisplay
        """
        pyplot(cls.__name__)
        check_is_fitted(estimator)
        if not hasattr(estimator, "loss_curve_"):
            raise TypeError(
                f"{type(estimator).__name__} has no loss_curve_: pass a fitted FlowDensity (of a Pipeline its last "
                "step, of a GridSearchCV its best_estimator_)."
            )
        display = cls(
            train=-np.asarray(estimator.loss_curve_),
            validation=estimator.validation_scores_,
            best_score=estimator.best_validation_score_,
        )
        return display.plot(ax=ax, **plot_params)

    @property
    def best_epoch(self) -> int | None:
        """The epoch whose state was kept, counted from one; 0 is the state before training, None without validation."""
        if self.validation is None or self.best_score is None:
            return None
        epoch = int(np.argmax(self.validation))
        return epoch + 1 if self.validation[epoch] >= self.best_score else 0

    @shield()
    def plot(self, ax: Axes | None = None) -> Self:
        """Draw the curves.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            By default a new figure is made.

        Returns
        -------
        self : LossCurveDisplay
        """
        plt = pyplot(type(self).__name__)
        self.ax_ = ax = axes_for(plt, ax, (5.6, 3.4))
        self.figure_ = ax.figure
        train = np.asarray(self.train, dtype=float)
        epochs = np.arange(1, len(train) + 1)
        marker = "o" if len(train) == 1 else None
        ax.plot(epochs, train, color=BLUE, marker=marker, label="training rows")
        seen = train
        if self.validation is not None:
            seen = np.append(train, self.validation)
            ax.plot(epochs[: len(self.validation)], self.validation, color=ORANGE, marker=marker, label="held-out rows")
        if (best := self.best_epoch) is not None:
            ax.plot(best, self.best_score, "o", color=RED, zorder=3, label=f"kept: epoch {best}, {self.best_score:.4g}")
        low, high = np.quantile(seen, 0.05), seen.max()
        if high > low:  # the first epochs may lie far below all others
            ax.set_ylim(max(seen.min(), low - (high - low)) - 0.05 * (high - low), high + 0.15 * (high - low))
        ax.set(xlabel="epoch", ylabel="mean log-likelihood (nats per row)")
        ax.legend(loc="lower right", fontsize=9)
        ax.spines[["top", "right"]].set_visible(False)
        return self
