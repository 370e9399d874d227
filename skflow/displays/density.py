"""A density drawn over one, two or more columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils.validation import check_is_fitted

from ..utils.global_settings import shield
from .panels import Table, density_panels, mass_levels
from .plotting import BLUE, LOG_CMAP, MASS_CMAP, axes_for, pyplot

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from typing_extensions import Self

MAX_CORNER = 8  # columns of a corner plot
MAX_POINTS = 2000  # rows drawn over a density


class DensityDisplay:
    """A density over one or two columns with its marginals, or over more as a corner plot.

    It is best made by `from_estimator`, for any estimator with ``score_samples`` (and, where columns have to be
    integrated out, ``sample``): scikit-learn's ``KernelDensity`` and ``GaussianMixture`` too.

    Parameters
    ----------
    names : list of str
        The columns in the picture.
    grids : list of ndarray of shape (m,)
        Where the density was evaluated, column by column, evenly spaced.
    curves : list of ndarray of shape (m,)
        The density of each single column.
    surfaces : dict of (int, int) to ndarray of shape (m, m)
        The density of columns i < j, with column i along the second axis.
    points : ndarray of shape (n, k), optional
        Rows to draw over the density.
    categories : dict of int to list, optional
        Of the columns that are no numbers: their values, at 0, 1, ... of their grid.

    Attributes
    ----------
    ax_ : matplotlib Axes, or ndarray of Axes of shape (k, k) for a corner plot
    marginal_ax_ : list of matplotlib Axes
        Of the two marginals beside a single pair of columns; empty otherwise.
    figure_ : matplotlib Figure

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skflow import DensityDisplay, FlowDensity
    >>> X = load_iris(as_frame=True).data[["petal length (cm)", "petal width (cm)"]]
    >>> density = FlowDensity(max_iter=20, random_state=0).fit(X)
    >>> display = DensityDisplay.from_estimator(density, X)
    >>> display.ax_.get_xlabel()
    'petal length (cm)'
    """

    def __init__(
        self,
        *,
        names: list[str],
        grids: list[np.ndarray],
        curves: list[np.ndarray],
        surfaces: dict[tuple[int, int], np.ndarray],
        points: np.ndarray | None = None,
        categories: dict[int, list] | None = None,
    ):
        self.names = names
        self.grids = grids
        self.curves = curves
        self.surfaces = surfaces
        self.points = points
        self.categories = categories

    @classmethod
    @shield()
    def from_estimator(
        cls,
        estimator,
        X: ArrayLike,
        *,
        features: int | str | Sequence[int | str] | None = None,
        given: Mapping[int | str, float] | str | None = None,
        grid_resolution: int = 80,
        n_samples: int = 20_000,
        random_state: int | None = 0,
        ax: Axes | None = None,
        **plot_params: Any,
    ) -> Self:
        """Evaluate an estimator's density and draw it.

        Parameters
        ----------
        estimator : fitted estimator
            With ``score_samples``.
        X : array-like of shape (n, d)
            Rows that set the range of the axes and are drawn over the density. Text, categories and truth values have
            a bar for each value, and colours beside other columns.
        features : int, str or list of them, default=None
            Columns of the picture; by default all of up to eight.
        given : None, "median" or dict of column to value, default=None
            What happens to the columns that a panel does not show. None integrates them out: for one or two columns in
            all there is nothing to integrate and the density is exact; otherwise the panels are smoothed histograms of
            ``n_samples`` rows drawn from the estimator. With "median" or a dict they are held fixed, at the median of
            ``X`` where the dict names no value, and every panel is the exact density given those values.
        grid_resolution : int, default=80
            Points along each axis.
        n_samples : int, default=20_000
            Rows to draw where columns are integrated out.
        random_state : int or None, default=0
            For those draws.
        ax : matplotlib Axes, default=None
            Axes of a single panel; by default a new figure is made.
        **plot_params : dict
            Passed on to `plot`.

        Returns
        -------
        display : DensityDisplay
        """
        pyplot(cls.__name__)
        check_is_fitted(estimator)
        table = Table(X)
        columns = _columns(table, features)
        if len(columns) > MAX_CORNER:
            raise ValueError(
                f"A corner plot of {len(columns)} columns would be too small to read: choose up to {MAX_CORNER} of "
                f"them with features=, for example features={table.names[:3]}."
            )
        panels = density_panels(estimator, table, columns, given, grid_resolution, n_samples, random_state)
        display = cls(**panels, points=table.rows[:, columns])
        return display.plot(ax=ax, **plot_params)

    def plot(
        self,
        ax: Axes | None = None,
        *,
        quantity: str = "mass",
        levels: Sequence[float] = (0.2, 0.5, 0.8, 0.95),
        points: bool = True,
        legend: bool = True,
        cmap: Any = None,
    ) -> Self:
        """Draw the density.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes of a single panel (then without marginals beside it); by default a new figure is made.
        quantity : {"mass", "log_density"}, default="mass"
            What the colours of two columns mean: the smallest regions that hold the shares ``levels`` of the mass, or
            the log-density in nats.
        levels : sequence of float, default=(0.2, 0.5, 0.8, 0.95)
            Shares of the mass, between 0 and 1.
        points : bool, default=True
            Draw the rows (at most 2,000 of them) over the density.
        legend : bool, default=True
            Say which colour holds which share of the mass.
        cmap : str or matplotlib Colormap, default=None

        Returns
        -------
        self : DensityDisplay
        """
        plt = pyplot(type(self).__name__)
        if quantity not in ("mass", "log_density"):
            raise ValueError(f"quantity must be 'mass' or 'log_density'. Got {quantity!r} instead.")
        if not len(levels) or not all(0 < level < 1 for level in levels):
            raise ValueError(f"levels must be shares of the mass between 0 and 1. Got {levels!r} instead.")
        cmap = cmap or (MASS_CMAP if quantity == "mass" else LOG_CMAP)
        style = {"quantity": quantity, "levels": sorted(levels), "points": points, "cmap": cmap}
        self.marginal_ax_: list[Axes] = []
        if len(self.names) == 1:
            self.ax_ = axes_for(plt, ax, (4.8, 3.2))
            self._curve(self.ax_, 0, points)
            self.ax_.set(xlabel=self.names[0], ylabel="probability" if self._is_category(0) else "density")
            self._label(self.ax_.xaxis, 0)
        elif len(self.names) == 2:
            self.ax_ = self._pair_axes(plt) if ax is None else ax
            drawn = self._surface(self.ax_, 0, 1, **style)
            self.ax_.set(xlabel=self.names[0], ylabel=self.names[1])
            self._label(self.ax_.xaxis, 0)
            self._label(self.ax_.yaxis, 1)
            if quantity == "log_density":
                beside = [self.ax_, *self.marginal_ax_[1:]] if self.marginal_ax_ else self.ax_
                self.ax_.figure.colorbar(drawn, ax=beside, label="log-density (nats)", extend="min")
            elif legend and not self.categories:
                self._legend(self.ax_, style["levels"], cmap)
        elif ax is not None:
            raise ValueError("A corner plot makes its own figure: leave ax=None, or choose one or two features.")
        else:
            self._corner(plt, style)
            if legend and quantity == "mass":
                self._legend(self.ax_[0, 1], style["levels"], cmap)
        self.figure_ = np.ravel(self.ax_)[-1].figure
        return self

    def _pair_axes(self, plt):
        figure = plt.figure(figsize=(5.2, 5.2), layout="constrained")
        grid = figure.add_gridspec(2, 2, width_ratios=(5, 1), height_ratios=(1, 5))
        ax = figure.add_subplot(grid[1, 0])
        top = figure.add_subplot(grid[0, 0], sharex=ax)
        right = figure.add_subplot(grid[1, 1], sharey=ax)
        for side, axis, (a, swap) in ((top, "y", (0, False)), (right, "x", (1, True))):
            self._curve(side, a, True, swap)
            side.tick_params(labelbottom=False, labelleft=False)
            side.set(**{f"{axis}ticks": [], f"{axis}label": "probability" if self._is_category(a) else "density"})
            side.spines[["top", "right"]].set_visible(False)
        self.marginal_ax_ = [top, right]
        return ax

    def _corner(self, plt, style):
        k = len(self.names)
        size = max(1.5, min(2.4, 11 / k))
        figure, axes = plt.subplots(k, k, figsize=(size * k, size * k), squeeze=False, layout="constrained")
        for row in range(k):
            for column in range(k):
                panel = axes[row, column]
                if column > row:
                    panel.set_axis_off()
                elif column == row:
                    self._curve(panel, row, style["points"])
                    panel.set(yticks=[], ylabel="density" if k <= 4 and row == 0 else "")
                else:
                    self._surface(panel, column, row, **style)
                panel.set_xlim(self._range(column))
                if column < row:
                    self._label(panel.yaxis, row)
                self._label(panel.xaxis, column)
                panel.tick_params(labelbottom=row == k - 1, labelleft=column == 0 < row, labelsize=8)
                if row == k - 1:
                    panel.set_xlabel(self.names[column], fontsize=9)
                if column == 0 < row:
                    panel.set_ylabel(self.names[row], fontsize=9)
        self.ax_ = axes

    def _curve(self, ax, a, points, swap=False):
        """The density of one column, over a histogram of the rows; ``swap`` turns it by a right angle."""
        grid, curve = self.grids[a], self.curves[a]
        if self._is_category(a):
            (ax.barh if swap else ax.bar)(grid, curve, color=BLUE, label="probability")
            (ax.set_xlim if swap else ax.set_ylim)(0, None)
            return
        if points and self.points is not None:
            rows = self.points[~np.isnan(self.points[:, a]), a]
            bins = _bins(rows, grid)
            weights = np.full(len(rows), 1 / (max(1, len(rows)) * (bins[1] - bins[0])))
            way = "horizontal" if swap else "vertical"
            ax.hist(rows, bins, weights=weights, color="0.85", orientation=way, label="rows")
        ax.plot(*((curve, grid) if swap else (grid, curve)), color=BLUE, label="density")
        (ax.set_xlim if swap else ax.set_ylim)(0, None)

    def _surface(self, ax, a, b, *, quantity, levels, points, cmap):
        first, second, density = self.grids[a], self.grids[b], self.surfaces[a, b]
        if self._is_category(a) or self._is_category(b):
            drawn = ax.pcolormesh(first, second, density, cmap=cmap, vmin=0, shading="nearest", rasterized=True)
        elif quantity == "log_density":
            with np.errstate(divide="ignore"):
                height = np.log(density)
            highest = height.max()
            drawn = ax.pcolormesh(
                first, second, height, cmap=cmap, vmin=highest - 12, vmax=highest, shading="nearest", rasterized=True
            )
        else:
            heights = np.unique([*mass_levels(density, levels), density.max()])
            heights = heights if len(heights) > 1 else np.array([0, density.max()])
            drawn = ax.contourf(first, second, density, heights, colors=_colours(cmap, len(heights) - 1))
        if points and self.points is not None:
            rows = self.points[:: -(-len(self.points) // MAX_POINTS)]
            colour, size = "0.1" if quantity == "mass" else "white", float(np.clip(80 / len(rows) ** 0.5, 2, 5))
            ax.plot(
                self._spread(rows, a),
                self._spread(rows, b),
                ".",
                color=colour,
                markersize=size,
                alpha=0.6,
                markeredgewidth=0,
                zorder=3,
            )
        ax.set_xlim(self._range(a))
        ax.set_ylim(self._range(b))
        return drawn

    def _is_category(self, a):
        return a in (self.categories or {})

    def _range(self, a):
        """What an axis shows: half a step more on either side of categories."""
        low, high = self.grids[a][[0, -1]]
        return (low - 0.5, high + 0.5) if self._is_category(a) else (low, high)

    def _spread(self, rows, a):
        """A column of rows; rows of one category lie beside each other."""
        if not self._is_category(a):
            return rows[:, a]
        return rows[:, a] + np.random.RandomState(1_000 + a).uniform(-0.25, 0.25, len(rows))

    def _label(self, axis, a):
        if self._is_category(a):
            axis.set_ticks(self.grids[a], [str(value)[:12] for value in self.categories[a]])

    def _legend(self, ax, levels, cmap):
        from matplotlib.patches import Patch

        colours = _colours(cmap, len(levels))[::-1]
        handles = [Patch(color=c, label=f"{level:.0%}") for c, level in zip(colours, levels)]
        corner = len(self.names) > 2
        ax.legend(
            handles=handles,
            title="densest",
            loc="center" if corner else "best",
            fontsize=8,
            title_fontsize=8,
            framealpha=0.8,
        )


def _columns(table, features):
    if features is None:
        return list(range(len(table.names)))
    chosen = [features] if isinstance(features, (str, int, np.integer)) else list(features)
    columns = [table.column(feature) for feature in chosen]
    if not columns or len(set(columns)) < len(columns):
        raise ValueError(f"features must name at least one column, and each only once. Got {features!r} instead.")
    return columns


def _bins(values, grid):
    """Edges of a histogram: thirty over the grid, or one bin for each value of a column of few."""
    few = np.unique(values)
    step = np.diff(few).min() if 1 < len(few) <= 30 else 0.0
    if step and few[-1] - few[0] < 100 * step:
        return np.arange(few[0] - step / 2, few[-1] + step, step)
    return np.linspace(grid[0], grid[-1], 31)


def _colours(cmap, n):
    """``n`` colours of a map, from the outermost region to the innermost."""
    import matplotlib as mpl

    cmap = mpl.colormaps[cmap] if isinstance(cmap, str) else cmap
    return [cmap(v) for v in np.linspace(0.25, 0.9, n)]
