"""What speaks for and against a row, drawn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from ..utils.frames import column_names, some_rows
from ..utils.global_settings import shield
from .plotting import BLUE, GREY, RED, axes_for, pyplot

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from typing_extensions import Self


class ExplanationDisplay:
    """The contributions of the features to one row's distance from a typical score, as bars.

    Parameters
    ----------
    contributions : array-like of shape (n_features,)
        In nats, such as a row of `FlowOutlierDetector.explain`.
    values : array-like of shape (n_features,)
        The row.
    feature_names : sequence of str, default=None
        By default "x0", "x1" and so on.
    p_value : float, default=None
        Shown in the title where it is given.

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure

    Examples
    --------
    >>> import numpy as np
    >>> from skflow import ExplanationDisplay, FlowOutlierDetector
    >>> X = np.random.RandomState(0).randn(200, 2)
    >>> detector = FlowOutlierDetector(max_iter=20, random_state=0).fit(X)
    >>> ExplanationDisplay.from_estimator(detector, [[0.0, 8.0]]).ax_.get_xlabel()
    'contribution to the score (nats)'
    """

    def __init__(
        self,
        *,
        contributions: ArrayLike,
        values: ArrayLike,
        feature_names: Sequence[str] | None = None,
        p_value: float | None = None,
    ):
        self.contributions = contributions
        self.values = values
        self.feature_names = feature_names
        self.p_value = p_value

    @classmethod
    @shield()
    def from_estimator(
        cls, estimator, X: ArrayLike, *, row: int = 0, ax: Axes | None = None, **plot_params: Any
    ) -> Self:
        """Explain a row and draw it.

        Parameters
        ----------
        estimator : FlowOutlierDetector
            Fitted.
        X : array-like of shape (n_samples, n_features)
        row : int, default=0
            Which row of ``X``, counted from zero.
        ax : matplotlib Axes, default=None
            By default a new figure is made.
        **plot_params : dict
            Passed on to `plot`.

        Returns
        -------
        display : ExplanationDisplay
        """
        pyplot(cls.__name__)
        if not hasattr(estimator, "explain"):
            raise TypeError(
                f"{type(estimator).__name__} has no explain method: pass a fitted FlowOutlierDetector (of a Pipeline "
                "its last step, with transformed rows)."
            )
        one = some_rows(X, [row])
        display = cls(
            contributions=np.asarray(estimator.explain(one))[0],
            values=np.asarray(one)[0],
            feature_names=names if (names := column_names(X)) else getattr(estimator, "feature_names_in_", None),
            p_value=float(estimator.p_values(one)[0]),
        )
        return display.plot(ax=ax, **plot_params)

    @shield()
    def plot(self, ax: Axes | None = None, *, max_features: int = 10) -> Self:
        """Draw the bars, the largest on top.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            By default a new figure is made.
        max_features : int, default=10
            Further features share the last bar.

        Returns
        -------
        self : ExplanationDisplay
        """
        plt = pyplot(type(self).__name__)
        out, values = np.asarray(self.contributions, dtype=float), np.asarray(self.values)
        names = self.feature_names if self.feature_names is not None else [f"x{j}" for j in range(len(out))]
        order = np.argsort(-np.abs(out), kind="stable")
        shown = order if len(order) <= max_features else order[: max_features - 1]
        labels = [f"{names[j]} = {values[j]:.4g}" for j in shown]
        lengths = list(out[shown])
        if len(shown) < len(order):
            labels.append(f"{len(order) - len(shown)} others")
            lengths.append(out[order[len(shown) :]].sum())
        self.ax_ = ax = axes_for(plt, ax, (5.6, 0.9 + 0.32 * len(labels)))
        self.figure_ = ax.figure
        colours = [RED if v < 0 else BLUE for v in lengths]
        colours[len(shown) :] = [GREY] * (len(lengths) - len(shown))
        ax.barh(range(len(labels)), lengths, color=colours)
        ax.axvline(0, color=GREY, linewidth=0.8)
        ax.set_yticks(range(len(labels)), labels)
        ax.invert_yaxis()
        title = f"{out.sum():+.3g} nats from a typical row"
        ax.set_title(title if self.p_value is None else f"{title}, p = {self.p_value:.2g}", fontsize=10)
        ax.set_xlabel("contribution to the score (nats)")
        ax.spines[["top", "right", "left"]].set_visible(False)
        ax.tick_params(axis="y", length=0)
        return self
