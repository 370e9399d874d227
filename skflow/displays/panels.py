"""What a picture of a density is drawn from: its values on grids over one and two columns."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from itertools import combinations
from numbers import Integral

import numpy as np

from ..utils.closest import closest
from ..utils.frame_columns import column_arrays
from ..utils.frames import column_names, frame_like, is_frame

MARGIN = 0.12  # of the columns' range, on either side
SHARE_OUTSIDE = 0.002  # of the rows, on either side, that the picture may leave out


class Table:
    """A table's numbers and names, and tables like it made from other rows.

    Attributes
    ----------
    rows : ndarray of shape (n, d)
        Categories by their place, NaN for what is missing.
    names : list of str
    categories : dict of int to list
        Of the columns that are no numbers.
    """

    def __init__(self, X):
        self.original = X
        self.categories = _categories(X)
        self.rows = self.numbers(X)
        if self.rows.ndim != 2 or not len(self.rows):
            raise ValueError(
                f"X must be a table of at least one row, got shape {self.rows.shape}: pass (some of) the rows that the "
                "estimator was fitted to; they set the range of the axes."
            )
        named = column_names(X)
        self.names = [f"x{j}" for j in range(self.rows.shape[1])] if named is None else [str(name) for name in named]

    def numbers(self, X) -> np.ndarray:
        """Rows of the same columns as numbers."""
        if not self.categories:
            return np.asarray(X, dtype=float)
        columns = []
        for j, (_, _, values, _) in enumerate(column_arrays(X)):
            place = {value: k for k, value in enumerate(self.categories.get(j, ()))}
            columns.append([place.get(v, np.nan) for v in values] if place else values)
        return np.array(columns, dtype=float).T

    def like(self, rows: np.ndarray):
        """A table of the same type and column names, with other rows."""
        return frame_like(self.original, rows)

    def column(self, feature: Hashable) -> int:
        """The number of a column given by number, or by a name that is none."""
        if not isinstance(feature, Integral):
            feature = str(feature)  # as the names are
            if feature not in self.names:
                raise ValueError(f"{feature!r} is not a column of X: {self.names}.{closest(feature, self.names)}")
            return self.names.index(feature)
        if not -len(self.names) <= feature < len(self.names):
            raise ValueError(f"feature {feature} is out of range: X has {len(self.names)} columns, counted from 0.")
        return int(feature) % len(self.names)


def _categories(X):
    if not is_frame(X) and np.asarray(X).dtype.kind not in "OUSb":
        return {}
    kinds = [(kind, values) for _, kind, values, _ in column_arrays(X if is_frame(X) else np.asarray(X, dtype=object))]
    out = {}
    for j, (kind, values) in enumerate(kinds):
        observed = {v for v in values.tolist() if v is not None} if values.dtype == object else set()
        numeric = all(isinstance(v, int | float) and not isinstance(v, bool) for v in observed)
        if kind in ("category", "object") and observed and not numeric:
            out[j] = sorted(observed, key=str)
    return out


def density_panels(
    estimator,
    table: Table,
    columns: Sequence[int],
    given: Mapping | str | None,
    grid_resolution: int,
    n_samples: int,
    random_state,
) -> dict:
    """Evaluate a density for a picture: the names, grids, curves and surfaces of a `DensityDisplay`.

    The arguments are those of `DensityDisplay.from_estimator`.
    """
    grids = [
        np.arange(float(len(table.categories[j])))
        if j in table.categories
        else _grid(table.rows[:, j], grid_resolution)
        for j in columns
    ]
    if table.categories and given is not None:
        raise ValueError("given holds columns of numbers fixed: leave it None for a table with categories.")
    if given is not None or (len(columns) == len(table.names) <= 2 and not table.categories):
        curves, surfaces = _slices(estimator, table, columns, grids, _point(table, given))
    else:
        curves, surfaces = _marginals(estimator, table, columns, grids, n_samples, random_state)
    panels = {"names": [table.names[j] for j in columns], "grids": grids, "curves": curves, "surfaces": surfaces}
    return panels | {"categories": {a: table.categories[j] for a, j in enumerate(columns) if j in table.categories}}


def _grid(values, resolution):
    low, high = np.nanquantile(values, [SHARE_OUTSIDE, 1 - SHARE_OUTSIDE])
    margin = MARGIN * (high - low) or max(1.0, abs(high)) * 0.5
    return np.linspace(low - margin, high + margin, resolution)


def _point(table, given):
    """One value for every column: those of ``given``, else the median."""
    point = np.median(table.rows, axis=0)
    if isinstance(given, str) and given != "median":
        raise ValueError(f"given must be None, 'median' or a dict of column to value. Got {given!r} instead.")
    for feature, value in given.items() if isinstance(given, Mapping) else ():
        point[table.column(feature)] = value
    return point


def _slices(estimator, table, columns, grids, point):
    """The density with all other columns fixed at ``point``, as a density of those that vary."""
    exact = len(columns) == len(table.names) <= 2

    def along(*axes):
        mesh = np.meshgrid(*(grids[a] for a in axes))
        rows = np.tile(point, (mesh[0].size, 1))
        rows[:, [columns[a] for a in axes]] = np.stack([values.ravel() for values in mesh], 1)
        density = _density(estimator, table, rows, exact).reshape(mesh[0].shape)
        return density if exact else density / (density.sum() * np.prod([_step(grids[a]) for a in axes]))

    surfaces = {(a, b): along(a, b) for a, b in combinations(range(len(grids)), 2)}
    if len(grids) == 2:
        return [surfaces[0, 1].sum(0) * _step(grids[1]), surfaces[0, 1].sum(1) * _step(grids[0])], surfaces
    return [along(a) for a in range(len(grids))], surfaces


def _density(estimator, table, rows, exact):
    log_density = np.asarray(estimator.score_samples(table.like(rows)), dtype=float)
    highest = log_density.max()
    if not exact and not np.isfinite(highest):
        raise ValueError("The density is zero wherever the picture looks: are the values of `given` within the bounds?")
    return np.exp(log_density if exact else log_density - highest)


def _marginals(estimator, table, columns, grids, n_samples, random_state):
    """Histograms of drawn rows, smoothed a little: what remains when the other columns are integrated out."""
    from scipy.ndimage import gaussian_filter

    if not hasattr(estimator, "sample"):
        raise TypeError(
            f"{type(estimator).__name__} has no method `sample`, from which the marginal densities of {len(columns)} "
            "out of more columns are drawn: pass `given` (a dict of column to value, or 'median') for the exact "
            "density with the other columns held fixed."
        )
    rows = table.numbers(_sample(estimator, n_samples, random_state))[:, columns]
    edges = [np.append(grid - _step(grid) / 2, grid[-1] + _step(grid) / 2) for grid in grids]

    def along(*axes):
        counts = np.histogramdd(rows[:, axes], [edges[a] for a in axes])[0]
        cell = np.prod([_step(grids[a]) for a in axes])
        width = [0.0 if columns[a] in table.categories else 1.5 * len(grids[a]) / 60 for a in axes]
        return gaussian_filter(counts, width, mode="constant") / (len(rows) * cell)

    return [along(a) for a in range(len(grids))], {(a, b): along(b, a) for a, b in combinations(range(len(grids)), 2)}


def _sample(estimator, n_samples, random_state):
    try:
        rows = estimator.sample(n_samples, random_state=random_state)
    except TypeError:  # GaussianMixture.sample takes no random_state, and returns labels too
        rows = estimator.sample(n_samples)
    return rows[0] if isinstance(rows, tuple) else rows


def _step(grid):
    return grid[1] - grid[0] if len(grid) > 1 else 1.0


def mass_levels(density: np.ndarray, shares: Sequence[float]) -> list[float]:
    """The heights above which the given shares of the mass on a grid lie, in the order of the shares."""
    ordered = np.sort(density.ravel())[::-1]
    mass = ordered.cumsum()
    return [float(ordered[np.searchsorted(mass, share * mass[-1]).clip(0, len(ordered) - 1)]) for share in shares]
