"""A public check of density estimators: is the density normalised, and do its parts agree with each other?"""

from __future__ import annotations

import functools
import inspect
import math
import pickle

import numpy as np
from numpy.typing import ArrayLike
from scipy import special, stats

from .check_mixed import MixedCheck, is_mixed
from .cubature import integrate
from .frames import frame_like
from .global_settings import shield
from .importance_sampling import StudentMixture, bridge, spread

__all__ = ["DensityCheckError", "check_density"]

MANY_ROWS = 200  # effective rows of importance sampling from which means are near enough to normal


class DensityCheckError(AssertionError):
    """A density estimator lacks a property that `check_density` tests.

    Attributes
    ----------
    property : str
        Which one.
    value : float
        What was measured.
    tolerance : float
        The greatest value that would have passed; for a statistical test the least p-value.
    """

    def __init__(self, property: str, value: float, tolerance: float, detail: str):
        self.property = property
        self.value = value
        self.tolerance = tolerance
        super().__init__(f"{property}: {detail} Measured {value:.4g}, tolerance {tolerance:.4g}.")

    def __reduce__(self):
        return _rebuild, (self.property, self.value, self.tolerance, str(self))


def _rebuild(property, value, tolerance, message):
    error = DensityCheckError(property, value, tolerance, "")
    error.args = (message,)
    return error


@shield()
def check_density(
    estimator,
    X: ArrayLike,
    *,
    error_rate: float = 1e-3,
    n_samples: int = 4000,
    random_state: int = 0,
) -> dict[str, tuple[float, float]]:
    """Check a fitted density estimator against itself; raise at the first property that it lacks.

    Anything with ``score_samples`` (log-density of rows, in nats) and ``sample`` is checked: the estimators of this
    package, `sklearn.neighbors.KernelDensity`, `sklearn.mixture.GaussianMixture`, or one of your own. More is checked
    where there are a ``transform`` and an ``inverse_transform``.

    ===============  ==================================================================================================
    property         how it is measured
    ===============  ==================================================================================================
    finite scores    ``score_samples`` gives one number a row, none of them NaN or plus infinity
    row order        scores of the rows in another order differ by at most 1e-7, relatively
    batch            so do scores of rows one by one
    pickle           a pickled and restored copy gives the same scores bit for bit
    samples          statistical, see below: the rows of ``sample`` follow ``exp(score_samples)``
    integral         1 to within 1e-3 (one column) or 5e-3 (two), by adaptive quadrature; statistical above two columns,
                     and where the density is too rugged for quadrature
    round trip       ``inverse_transform(transform(X))`` is ``X`` to 1e-6 of each column's spread
    log-determinant  ``score_samples`` is the normal log-density of ``transform(X)`` plus the log-determinant of its
                     Jacobian, to 1e-6 relatively (by autograd; 1e-3 by differences where there is no ``flow_``)
    latent           statistical: ``transform`` makes samples independent standard normals
    ===============  ==================================================================================================

    Of a table with categories or holes the first five are checked, the samples by changes of one cell at a time;
    numbers of which draws lie on a grid are left out there.

    The last two are left out where ``flow_.n_orderings`` says that the density is a mean over several maps.

    Parameters
    ----------
    estimator : object
        A fitted estimator. It is not changed.
    X : array-like of shape (n_rows, n_features)
        Rows where the density is not tiny: the training data, say.
    error_rate : float, default=1e-3
        Probability that a correct estimator fails: shared out equally (Bonferroni) among all the statistical tests
        made.
    n_samples : int, default=4000
        Rows for the statistical tests. Errors in the sampler of the order of ``4 / sqrt(n_samples)`` are found.
    random_state : int, default=0
        Seeds every random choice of the check: with an estimator whose ``sample`` takes a ``random_state`` or has
        one, the outcome is always the same.

    Returns
    -------
    dict
        Property to (measured, tolerance).

    Raises
    ------
    DensityCheckError
        An `AssertionError` that names the property, the measured value and the tolerance.

    Notes
    -----
    *Samples.* A Markov chain that leaves ``exp(score_samples)`` invariant leaves exact samples exact. So some of the
    samples take Metropolis steps (Metropolis et al. 1953) under the density, with jumps proposed from others and from
    ``X`` (ter Braak 2006), and must not have gone anywhere on average: a paired test of normal scores, and of their
    squares, for every column, for some directions in between, and for the log-density itself. It needs no
    normalisation, keeps its error rate in any dimension, and takes the place of a test against a sample drawn from the
    density by other means.

    *Integral.* Above two columns by importance sampling from both sides (Bennett 1976): samples of the density p and
    rows of a known density q (a mixture of Student t distributions fitted to samples), as many of each as a tossed coin
    says. If the integral is one, the means of ``q / (p + q)`` over the former and of ``p / (p + q)`` over the latter
    agree: Welch's test says whether they do. Where p and q overlap too little for it, it is used that any of the rows
    is a sample with probability ``p / (p + q)``: the number of samples is compared with the exact distribution of the
    sum of such coins.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.mixture import GaussianMixture
    >>> from skflow.utils import check_density
    >>> X = load_iris().data[:, :2]
    >>> report = check_density(GaussianMixture(2, random_state=0).fit(X), X)
    >>> sorted(report)
    ['batch', 'finite scores', 'integral', 'pickle', 'row order', 'samples']
    """
    if is_mixed(X):
        report: dict[str, tuple[float, float]] = {}
        rng, require = np.random.RandomState(random_state), functools.partial(_require, report)
        MixedCheck(estimator, X, n_samples, rng, require, error_rate).run()
        return report
    return _Check(estimator, X, error_rate, n_samples, random_state).run()


def _require(report, property, value, tolerance, detail, *, at_most=True):
    """Note what was measured; raise where it is beyond the tolerance."""
    value = float(value)
    report[property] = (value, tolerance)
    if not (value <= tolerance if at_most else value >= tolerance):
        raise DensityCheckError(property, value, tolerance, detail)


class _Check:
    """The state of one call of `check_density`."""

    def __init__(self, estimator, X, error_rate, n_samples, random_state):
        self.estimator = estimator
        self.wrap = lambda rows: frame_like(X, rows)
        self.X = np.asarray(X, dtype=float)
        if self.X.ndim != 2:
            raise ValueError(f"X must be a table of rows and columns. Got an array of shape {self.X.shape} instead.")
        self.n_samples = int(n_samples)
        self.rng = np.random.RandomState(random_state)
        self.d = self.X.shape[1]
        flow = getattr(estimator, "flow_", None)
        maps = hasattr(estimator, "transform") and hasattr(estimator, "inverse_transform")
        self.checks = [self.finite, self.row_order, self.batch, self.pickle, self.samples, self.integral]
        self.checks += [self.round_trip] * maps
        one_map = getattr(flow, "n_orderings", 1) == 1
        self.checks += [self.log_determinant, self.latent] * (maps and one_map)
        self.least_p = error_rate / (2 + (maps and one_map))
        self.report: dict[str, tuple[float, float]] = {}

    def run(self):
        self.rows = self._draw()
        for check in self.checks:
            check()
        return self.report

    def require(self, property, value, tolerance, detail, *, at_most=True):
        _require(self.report, property, value, tolerance, detail, at_most=at_most)

    def score(self, rows) -> np.ndarray:
        return np.asarray(self.estimator.score_samples(self.wrap(rows)), dtype=float)

    def transform(self, rows) -> np.ndarray:
        return np.asarray(self.estimator.transform(self.wrap(rows)), dtype=float)

    def inverse(self, rows) -> np.ndarray:
        return np.asarray(self.estimator.inverse_transform(rows), dtype=float)

    def _draw(self) -> np.ndarray:
        """Three times n_samples rows in random order: some samplers return them sorted by component."""
        sample, n = self.estimator.sample, 3 * self.n_samples
        seeded = "random_state" in inspect.signature(sample).parameters
        rows = sample(n, random_state=self.rng.randint(2**31 - 1)) if seeded else sample(n)
        rows = np.asarray(rows[0] if isinstance(rows, tuple) else rows, dtype=float)
        if rows.shape != (n, self.d):
            raise DensityCheckError(
                "samples", rows.size, n * self.d, f"sample({n}) has the shape {rows.shape}, not {(n, self.d)}."
            )
        return rows[self.rng.permutation(n)]

    # --- exact properties --------------------------------------------------------------------------------------------

    def finite(self):
        scores = self.score(self.X)
        if scores.shape != (len(self.X),):
            raise DensityCheckError(
                "finite scores", scores.size, len(self.X), f"score_samples has the shape {scores.shape}."
            )
        bad = ~(scores < np.inf)
        self.require("finite scores", bad.sum(), 0, f"{bad.sum()} of {len(bad)} scores are NaN or infinite.")
        self.scores = scores

    def _differences(self, property, scores, rows, detail):
        both = np.stack([scores, self.scores[rows]])
        same = both[0] == both[1]  # minus infinity may be met twice
        gap = np.abs(np.where(same, 0, both[0] - np.where(same, 0, both[1])))
        scale = 1 + np.where(np.isfinite(both[1]), np.abs(both[1]), 0)
        self.require(property, np.max(np.nan_to_num(gap / scale, nan=np.inf)), 1e-7, detail)

    def row_order(self):
        order = self.rng.permutation(len(self.X))
        self._differences("row order", self.score(self.X[order]), order, "Scores change when the rows are reordered.")

    def batch(self):
        rows = self.rng.permutation(len(self.X))[:20]
        alone = np.array([self.score(self.X[i : i + 1])[0] for i in rows])
        self._differences("batch", alone, rows, "A row scored by itself differs from its score among others.")

    def pickle(self):
        try:
            twin = pickle.loads(pickle.dumps(self.estimator))
        except Exception as error:
            raise DensityCheckError("pickle", math.inf, 0, f"The estimator cannot be pickled ({error}).") from error
        scores = np.asarray(twin.score_samples(self.wrap(self.X)), dtype=float)
        different = (scores != self.scores).sum()
        self.require("pickle", different, 0, "Scores of the restored estimator differ, in so many rows.")

    def round_trip(self):
        rows = np.concatenate([self.X, self.rows[: min(1000, self.n_samples)]])
        back = self.inverse(self.transform(rows))
        error = np.nan_to_num(np.abs(back - rows) / (spread(rows) + 1e-4 * np.abs(rows)), nan=np.inf)
        self.require(
            "round trip", error.max(), 1e-6, "inverse_transform(transform(X)) is not X, relative to its spread."
        )

    def log_determinant(self):
        rows = self.X[self.rng.permutation(len(self.X))[:20]]
        flow = getattr(self.estimator, "flow_", None)
        jacobians, tolerance = (self._differences_of_transform, 1e-3) if flow is None else (_autograd(flow), 1e-6)
        log_det = np.linalg.slogdet(jacobians(rows))[1]
        expected = stats.norm.logpdf(self.transform(rows)).sum(1) + log_det
        scores = self.score(rows)
        inside = np.isfinite(scores)
        error = np.abs(scores - expected)[inside] / (1 + np.abs(scores[inside]))
        detail = "Scores are not the latent's normal log-density plus the log-determinant of transform."
        self.require("log-determinant", np.nan_to_num(error, nan=np.inf).max(initial=0.0), tolerance, detail)

    def _differences_of_transform(self, rows):
        step = 1e-5 * spread(self.X)
        moves = np.diag(step)
        columns = [(self.transform(rows + move) - self.transform(rows - move)) / (2 * move.max()) for move in moves]
        return np.stack(columns, -1)

    # --- statistical properties --------------------------------------------------------------------------------------

    def samples(self, n_steps: int = 40):
        start, jumps = self.rows[: self.n_samples], self.rows[self.n_samples : 2 * self.n_samples]
        jumps = np.concatenate([jumps, self.X[: self.n_samples]])  # may know clusters that the sampler does not
        end, log_p = start.copy(), self.score(start)
        n_outside = int(np.sum(~np.isfinite(log_p)))
        self.require("samples", n_outside, 0, "So many samples lie where the log-density is not finite.")
        first = log_p.copy()
        for _ in range(n_steps):
            end, log_p = self._metropolis(end, log_p, jumps)
        reference = self.rows[2 * self.n_samples :]
        features = [*self._features(start, end, reference)]
        features.append((first, log_p, self.score(reference)))
        p_values = [p for before, after, like in features for p in _paired_tests(before, after, like)]
        worst = int(np.argmin(p_values))
        name = "the log-density" if worst // 2 == len(features) - 1 else self._feature_name(worst // 2)
        what = ("mean", "spread")[worst % 2]
        detail = f"Samples do not follow the density: the {what} of {name} is off; p-value of {len(p_values)} tests."
        self.require("samples", min(1.0, min(p_values) * len(p_values)), self.least_p, detail, at_most=False)

    def _metropolis(self, rows, log_p, jumps):
        """One step: the proposal adds the difference of two other rows, which is as likely as its opposite.

        In full, it leads from cluster to cluster; shortened, it is accepted more often.
        """
        pick = self.rng.randint(len(jumps), size=(2, len(rows)))
        lengths = np.array([1.0, 0.2, 1.7 / math.sqrt(self.d)])[self.rng.randint(3, size=(len(rows), 1))]
        moved = rows + lengths * (jumps[pick[0]] - jumps[pick[1]])
        moved_log_p = self.score(moved)
        accept = np.log(self.rng.rand(len(rows))) < moved_log_p - log_p
        return np.where(accept[:, None], moved, rows), np.where(accept, moved_log_p, log_p)

    def _features(self, *tables):
        """The columns, then directions across the standardised columns."""
        for j in range(self.d):
            yield tuple(table[:, j] for table in tables)
        if self.d > 1:
            scale = spread(tables[-1])
            for direction in self.rng.randn(min(self.d, 5), self.d):
                yield tuple((table / scale) @ direction for table in tables)

    def _feature_name(self, i):
        return f"column {i}" if i < self.d else "a direction across the columns"

    def integral(self):
        if self.d <= 2:
            tolerance = (1e-3, 5e-3)[self.d - 1]
            rows = np.concatenate([self.X, self.rows[: self.n_samples]])
            value, uncertainty = integrate(self.score, rows, tolerance / 20)
            if uncertainty <= tolerance:
                detail = f"The density integrates to {value:.6g}, not to 1; difference."
                self.require("integral", abs(value - 1), tolerance + uncertainty, detail)
                return
        proposal = StudentMixture(self.rows[: self.n_samples], self.rng)
        n_both = 2 * self.n_samples
        n_ours = self.rng.binomial(n_both, 0.5)
        ours = self.rows[self.n_samples : self.n_samples + n_ours]
        rows = np.concatenate([ours, proposal.sample(n_both - n_ours)])
        log_ratio = self.score(rows) - proposal.score(rows)
        shares = special.expit(log_ratio)
        sides = 1 - shares[:n_ours], shares[n_ours:]
        if min(s.sum() ** 2 / max((s * s).sum(), 1e-300) for s in sides) >= MANY_ROWS and shares.std() > 0:
            p_value = stats.ttest_ind(*sides, equal_var=False).pvalue
        else:
            p_value = _label_count_p_value(shares, n_ours)
        value = bridge(log_ratio[:n_ours], log_ratio[n_ours:])
        detail = f"The density integrates to about {value:.4g}, not to 1; p-value."
        self.require("integral", p_value, self.least_p, detail, at_most=False)

    def latent(self):
        z = self.transform(self.rows[: self.n_samples])
        p_values = {f"column {j}": stats.kstest(z[:, j], "norm").pvalue for j in range(self.d)}
        if self.d > 1:
            p_values["the squared radius"] = stats.kstest((z * z).sum(1), "chi2", (self.d,)).pvalue
            directions = self.rng.randn(min(2 * self.d, 10), self.d)
            for i, direction in enumerate(directions / np.linalg.norm(directions, axis=1, keepdims=True)):
                p_values[f"direction {i}"] = stats.kstest(z @ direction, "norm").pvalue
        worst = min(p_values, key=p_values.get)
        corrected = min(1.0, p_values[worst] * len(p_values))
        detail = f"Transformed samples are not standard normal ({worst}); p-value of {len(p_values)} tests."
        self.require("latent", corrected, self.least_p, detail, at_most=False)


def _paired_tests(before, after, reference):
    """p-values that the normal scores, and their squares, of paired rows have equal means.

    The scores come from the ranks within rows that are neither: they are bounded, so that any density may be tested. A
    reversible chain in its stationary distribution may be run backwards, so the differences are as likely as their
    opposites, and given their sizes Hoeffding's inequality (1963, theorem 2) holds at any number of rows.
    """
    ordered = np.sort(reference)
    # In the middle of ties, so that a value met often is not pushed to one side.
    ranks = [(np.searchsorted(ordered, v) + np.searchsorted(ordered, v, "right")) / 2 for v in (before, after)]
    scores = [special.ndtri((r + 0.5) / (len(ordered) + 1)) for r in ranks]
    for power in (1, 2):
        difference = scores[1] ** power - scores[0] ** power
        square = (difference**2).sum()
        yield min(1.0, 2 * math.exp(-0.5 * difference.sum() ** 2 / square)) if square > 0 else 1.0


def _label_count_p_value(shares, count):
    """Two-sided p-value of ``count`` as the sum of independent coins that show one with probabilities ``shares``."""
    pmf = np.zeros(len(shares) + 1)
    pmf[0] = 1.0
    for n, share in enumerate(shares, 1):
        pmf[1 : n + 1] = share * pmf[:n] + (1 - share) * pmf[1 : n + 1]
        pmf[0] *= 1 - share
    return min(1.0, 2 * min(pmf[: count + 1].sum(), pmf[count:].sum()))


def _autograd(flow):
    """Jacobians of the flow's own map to its latent, row by row."""
    import torch

    def jacobians(rows):
        module = flow if next(flow.buffers()).dtype == torch.float64 else pickle.loads(pickle.dumps(flow)).double()
        parts = [
            torch.autograd.functional.jacobian(lambda r: module.to_latent(r[None])[0], row)
            for row in torch.tensor(rows, dtype=torch.float64)
        ]
        return torch.stack(parts).numpy()

    return jacobians
