"""The latent rows against the distribution that they should follow, drawn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils.validation import check_is_fitted

from ..utils.global_settings import shield
from .plotting import BLUE, GREY, grid_axes, pyplot

if TYPE_CHECKING:
    from typing_extensions import Self

MAX_LATENT = 16  # panels unless the user chooses


class LatentDisplay:
    """Quantile plots of the latent columns against the standard normal that they should follow.

    A flow that fits maps rows to independent standard normals, so that every panel shows points on the diagonal, within
    the band that holds each of them with a probability of 95 % if that is so. Rows that were not used in the fit give
    an honest picture. Points off the diagonal at the ends say that the tails are too thin or too heavy.

    Parameters
    ----------
    latent : ndarray of shape (n, k)
        Latent rows.
    names : list of str
        Names of the k columns.

    Attributes
    ----------
    ax_ : ndarray of matplotlib Axes of shape (k,)
    figure_ : matplotlib Figure

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skflow import FlowDensity, LatentDisplay
    >>> X = load_iris().data
    >>> density = FlowDensity(max_iter=20, random_state=0).fit(X)
    >>> LatentDisplay.from_estimator(density, X).ax_.shape
    (4,)
    """

    def __init__(self, *, latent: np.ndarray, names: list[str]):
        self.latent = latent
        self.names = names

    @classmethod
    @shield()
    def from_estimator(
        cls,
        estimator,
        X: ArrayLike,
        *,
        features: int | Sequence[int] | None = None,
        ax: Any = None,
        **plot_params: Any,
    ) -> Self:
        """Map rows to the latent space and draw their quantiles.

        Parameters
        ----------
        estimator : fitted estimator
            With a ``transform`` to the latent space, such as `FlowDensity`.
        X : array-like of shape (n, d)
            Rows that the estimator has not seen, if possible.
        features : int or list of int, default=None
            Latent columns to draw; by default all, up to the first 16.
        ax : array-like of matplotlib Axes, default=None
            One for each panel; by default a new figure is made.
        **plot_params : dict
            Passed on to `plot`.

        Returns
        -------
        display : LatentDisplay
        """
        pyplot(cls.__name__)
        check_is_fitted(estimator)
        if not hasattr(estimator, "transform"):
            raise TypeError(
                f"{type(estimator).__name__} has no method `transform` to a latent space: pass a fitted FlowDensity."
            )
        latent = np.asarray(estimator.transform(X), dtype=float)
        chosen = range(min(latent.shape[1], MAX_LATENT)) if features is None else np.atleast_1d(features).tolist()
        if not all(-latent.shape[1] <= j < latent.shape[1] for j in chosen):
            raise ValueError(
                f"features must be numbers of latent columns from 0 to {latent.shape[1] - 1}. Got {features!r} instead."
            )
        display = cls(latent=latent[:, list(chosen)], names=[f"z{j % latent.shape[1]}" for j in chosen])
        return display.plot(ax=ax, **plot_params)

    @shield()
    def plot(self, ax: Any = None, *, n_columns: int = 4) -> Self:
        """Draw the panels.

        Parameters
        ----------
        ax : array-like of matplotlib Axes, default=None
            One for each panel; by default a new figure is made.
        n_columns : int, default=4
            Panels beside each other in a new figure.

        Returns
        -------
        self : LatentDisplay
        """
        from scipy.stats import beta, norm

        plt = pyplot(type(self).__name__)
        axes = grid_axes(plt, ax, self.latent.shape[1], type(self).__name__, n_columns)
        n = len(self.latent)
        rank = np.arange(1, n + 1)
        expected = norm.ppf((rank - 0.5) / n)
        low, high = (norm.ppf(beta.ppf(p, rank, n + 1 - rank)) for p in (0.025, 0.975))
        for i, (panel, name) in enumerate(zip(axes, self.names)):
            panel.fill_between(expected, low, high, color="0.88", label="95 % band")
            panel.axline((0, 0), slope=1, color=GREY, linewidth=0.8)
            panel.plot(expected, np.sort(self.latent[:, i]), ".", color=BLUE, markersize=3, label="latent rows")
            panel.set_title(name, fontsize=10)
            panel.spines[["top", "right"]].set_visible(False)
            if ax is not None or i % n_columns == 0:
                panel.set_ylabel("latent quantile")
            if ax is not None or i + n_columns >= len(axes):
                panel.set_xlabel("normal quantile")
        self.ax_ = np.array(axes, dtype=object)
        self.figure_ = axes[0].figure
        return self
