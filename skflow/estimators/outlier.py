"""The outlier detector."""

from __future__ import annotations

import functools
from numbers import Integral, Real
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from sklearn.base import OutlierMixin
from sklearn.utils.validation import check_is_fitted

from .. import engine
from ..flows.bijections.columnwise import Columnwise
from ..flows.distributions.flow_mixture import FlowMixture
from ..flows.flow import Flow
from ..outliers.attribution import repair_contributions, repair_values
from ..outliers.boxplot import standard_error_of_share, threshold
from ..outliers.conformal import cross_conformal_p_values
from ..persistence.attributes import is_number, numbers, optional
from ..persistence.registry import savable
from ..training.ensemble import EnsembleFitting
from ..training.fit import Fit
from ..training.mixed_ensemble import MixedEnsembleFitting
from ..utils.frames import frame_like
from ..utils.global_settings import shield
from .base import AUTO, NON_NEGATIVE, BaseFlow
from .encoding import as_table
from .lazy import lazy_on_dask
from .mixed_tables import MixedTables
from .parameters import adds_to
from .saved import FITTED, MORE, disagreement
from .saved_columns import is_columns
from .shards import data_parallel, gathered
from .sklearn_compat import Interval, StrOptions, fit_context, with_callbacks
from .stream import sampled
from .validation import check_weights

ROWS_FOR_HOLES = 1_000  # by which it is known what values of a column add to the log-density
MARGIN = 1e-3  # of the way to a typical row: the threshold lies that far above the row it is to flag, clear of rounding


CALIBRATED = {
    "offset_": is_number,
    "contamination_": is_number,
    "contamination_std_": is_number,
    "typical_score_": is_number,
    "calibration_scores_": numbers("n"),
    "fold_": numbers("n", integer=True),
    "_calibration_weight": numbers("n present"),
    "_typical_log_density": is_number,
    "_repair_values": numbers("d", "values"),
}


def _disagreement(detector):
    """As `disagreement`, and of the calibration."""
    fold, n = detector.fold_, len(detector.fold_)
    if not isinstance(detector.flow_, Flow) or not isinstance(detector.flow_.base, FlowMixture):
        return "its flow is no ensemble"
    if len(detector.calibration_scores_) != n or len(detector._calibration_weight) != np.count_nonzero(fold >= 0):
        return f"it has folds of {n} rows, and scores or weights of others"
    if n and fold.max() >= len(detector.flow_.base.members):
        return "a fold has no member"
    if isinstance(detector.flow_.bijection, Columnwise):
        if detector._columns is None or len(detector._columns["columns"]) != detector.n_features_in_:
            return "it has forgotten what its columns are"
        if len(getattr(detector, "_hole_log_density", ())) != detector.n_features_in_:
            return "it does not know what its columns add"
    return disagreement(detector)


@savable(
    {**FITTED, **CALIBRATED},
    {**MORE, "_columns": optional(is_columns), "_hole_log_density": numbers("d")},
    _disagreement,
)
class FlowOutlierDetector(OutlierMixin, MixedTables, BaseFlow):
    """Outlier and novelty detection by the density of normalizing flows.

    The score is robust by its making, whether the table is clean or holds outliers: the log of a geometric mean of two
    kinds of densities, each normalised [5]_. Flows ``f_k``, trained on rows blurred by noise (`smoothing`) [1]_, know
    how columns depend on each other; member k has not seen fold k of the rows. Kernel estimates ``r_j`` of the width of
    a column, on 32 rows each, are too small to follow a cluster of outliers::

        log p(x) = [ mean_k log f_k(x) + mean_j log r_j(x) ] / 2

    Rows count as much, in both, as a robust Gaussian and such kernel estimates find them ordinary: by their rank. Where
    rows of the table are repeated, a sharp kernel estimate of the rows joins the mean, with the odds that a new row is
    a known one as its weight. What each member says of its own fold calibrates the threshold and `p_values` [2]_.

    A table with categories or with holes is scored by the mean of the members' densities, without kernels: each is a
    mixture of latent trees, which knows the density of whatever is observed of a row. What is missing counts as much as
    values of its column do on the average, given the rest of their rows, so that rows with other holes can be compared.
    The parameters of flows, `smoothing`, `trimmed` and the criterion "smoothed" have no effect there.

    Parameters
    ----------
    flow : str or callable, default="nsf"
        As in `FlowDensity`.
    contamination : "auto" or float in (0, 0.5], default="auto"
        The share of the training rows to flag. With "auto" the threshold is the highest of three: the lower fence of
        the boxplot of the calibration scores, adjusted for their skewness [3]_, beyond which lie outliers that stand
        apart; the score that one training row in a hundred falls short of before it has been seen, which flags 1 % of
        new rows of a clean table; and the score of the least likely training row.
    criterion : {"smoothed", "density", "typicality"}, default="smoothed"
        The score. "smoothed" is the log of the geometric mean above; in nats, it shifts with units as a log-density
        does, but its integral is less than one. "density" is the plain log-density of the flows, the mean of theirs,
        without noise and kernels. "typicality" is minus the distance of the smoothed score from the median one, in
        nats: rows of too high a density are suspicious too [4]_.
    n_estimators : int, default=5
        K, at least 2.
    smoothing : float, default=0.3
        Standard deviation of the noise, as a share of each column's own (winsorised by a twentieth at each end). 0 is
        "density".
    trimmed : bool, default=True
        Weigh the rows by their rank; and where `contamination` is a share, put aside that share of the rows before
        anything is trained.
    categorical_features : "from_dtype" or array-like, default="from_dtype"
        As in `FlowDensity`.
    depth, hidden_layer_sizes, n_bins, base, ordering, bounds : default="auto" or None
        As in `FlowDensity`, for each member. The depth "auto" is 1 for an autoregressive flow.
    max_iter, batch_size, learning_rate_init, alpha, early_stopping, validation_fraction, n_iter_no_change, tol : number
        As in `FlowDensity`, for each member.
    warm_start : bool, default=False
        Has no effect: members of another split can't go on.
    random_state, device, checkpoint, verbose : see below
        As in `FlowDensity`.

    Attributes
    ----------
    offset_ : float
        Rows of a lower score are outliers.
    contamination_ : float
        The share of the training rows that is flagged. Outliers that lie scattered are counted; of clusters of outliers
        that make up a good part of the table it sees too few.
    contamination_std_ : float
        Standard deviation of that share over bootstrap samples of the calibration scores.
    typical_score_ : float
        The median of the calibration scores (0 for "typicality"); `explain` measures the distance from it.
    calibration_scores_ : ndarray of shape (n_samples,)
        Of every training row, under the member that has not seen it; NaN for rows of weight zero.
    fold_ : ndarray of shape (n_samples,), int
        The member that has not seen the row; -1 for rows of weight zero.
    flow_ : skflow.flows.Flow
        The score as a torch module, ``flow_.log_prob(x)`` on raw data units; ``flow_.sample(n)`` draws from the flows.
    n_features_in_, feature_names_in_, n_iter_, loss_curve_, validation_scores_, best_validation_score_
        As in `FlowDensity`; the curves are means over the members.

    See Also
    --------
    sklearn.ensemble.IsolationForest : Outliers are isolated by few random splits.
    sklearn.neighbors.LocalOutlierFactor : Outliers are less dense than their neighbours.

    References
    ----------
    .. [1] Chapelle, Weston, Bottou & Vapnik, "Vicinal Risk Minimization", NIPS 2000, eq. 5.
    .. [2] Vovk, "Cross-conformal predictors", Annals of Mathematics and Artificial Intelligence 74 (2015), eq. 3.
    .. [3] Hubert & Vandervieren, "An adjusted boxplot for skewed distributions", CSDA 52 (2008), eq. 5.
    .. [4] Nalisnick, Matsukawa, Teh & Lakshminarayanan, "Detecting Out-of-Distribution Inputs to Deep Generative Models
       Using Typicality", 2019, eq. 5.
    .. [5] Genest & Zidek, "Combining Probability Distributions: A Critique and an Annotated Bibliography", Statistical
       Science 1 (1986), eq. 3.11.

    Examples
    --------
    >>> import numpy as np
    >>> from skflow import FlowOutlierDetector
    >>> X = np.random.RandomState(0).randn(200, 2)
    >>> detector = FlowOutlierDetector(random_state=0).fit(X)
    >>> detector.predict([[0.0, 0.0], [0.0, 8.0]])
    array([ 1, -1])
    >>> bool(detector.p_values([[0.0, 8.0]])[0] < 0.01)
    True
    >>> detector.explain([[0.0, 8.0]]).argmin(1)
    array([1])
    """

    _fitting = EnsembleFitting
    _mixed_fitting = MixedEnsembleFitting
    _parameter_constraints: dict = {
        **BaseFlow._parameter_constraints,
        "contamination": [AUTO, Interval(Real, 0, 0.5, closed="right")],
        "criterion": [StrOptions({"smoothed", "density", "typicality"})],
        "n_estimators": [Interval(Integral, 2, None, closed="left")],
        "smoothing": [NON_NEGATIVE],
        "trimmed": ["boolean"],
        "categorical_features": [StrOptions({"from_dtype"}), "array-like"],
    }

    @adds_to(BaseFlow)
    def __init__(
        self,
        *,
        contamination: float | str = "auto",
        criterion: str = "smoothed",
        n_estimators: int = 5,
        smoothing: float = 0.3,
        trimmed: bool = True,
        categorical_features: ArrayLike | str = "from_dtype",
    ):
        self.contamination = contamination
        self.criterion = criterion
        self.n_estimators = n_estimators
        self.smoothing = smoothing
        self.trimmed = trimmed
        self.categorical_features = categorical_features

    @shield()
    @data_parallel
    @fit_context(prefer_skip_nested_validation=True)
    @with_callbacks
    def fit(
        self,
        X: ArrayLike,
        y: object = None,
        sample_weight: ArrayLike | None = None,
        groups: ArrayLike | None = None,
    ) -> FlowOutlierDetector:
        """Fit the members, the threshold and the calibration of `p_values`.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or a stream
            At least two rows, of numbers, categories, truth values, text, times and durations; NaN, None or NA where
            nothing has been observed. Of a stream, such as `FlowDensity.fit` takes, 200,000 rows are drawn, and
            the members learn those; ``calibration_scores_`` and ``fold_`` are of these rows then.
        y : ignored
        sample_weight : array-like of shape (n_samples,), optional
            Non-negative weights of the rows.
        groups : array-like of shape (n_samples,), optional
            Labels of rows that belong together: they are in one fold. Rows that are copies of each other always are.

        Returns
        -------
        self : FlowOutlierDetector

        Raises
        ------
        ValueError
            For infinity in ``X`` (the column is named), and for weights that are negative or all zero. The
            previous fit, if there is one, stays usable.
        KeyboardInterrupt
            As in `FlowDensity.fit`: Ctrl-C ends a lone fit, which keeps the best so far, or the search that the fit is
            part of.
        """
        with self._keep_previous_fit():
            X, _ = sampled(self, X, False, sample_weight=sample_weight, groups=groups)
            X, sample_weight, groups, _ = gathered(as_table(X), sample_weight, groups)
            self._fit_flow(X, y, sample_weight, groups, go_on=False)
            self._calibrate(self._table(X), sample_weight)
        return self

    def _fitted_attributes(self, fit: Fit) -> dict:
        return {**super()._fitted_attributes(fit), "fold_": fit.fold}

    def _calibrate(self, X, sample_weight):
        present = self.fold_ >= 0
        weight = check_weights(sample_weight, X)
        self._calibration_weight = np.ones(int(present.sum())) if weight is None else weight[present]
        rows, fold = X[present], self.fold_[present]
        self._hole_log_density = self._log_density_of_holes(rows)
        own = self._blind_log_density(rows, fold)
        self._typical_log_density = float(np.median(own))
        self.typical_score_ = 0.0 if self.criterion == "typicality" else self._typical_log_density
        self.calibration_scores_ = np.full(len(X), np.nan)
        self.calibration_scores_[present] = scores = self._to_score(own)
        self._repair_values = repair_values(rows.astype(float))
        seen = self._to_score(self._log_density(rows))
        if self.contamination == "auto":
            self.offset_ = threshold(scores)
            if not getattr(self.flow_.base, "memory", 0):  # scores of rows that are remembered say nothing of new ones
                lowest = float(seen.min())
                self.offset_ = max(self.offset_, lowest + MARGIN * (float(np.median(scores)) - lowest))
        else:
            self.offset_ = float(np.percentile(seen, 100 * self.contamination))
        self.contamination_ = float(np.mean(seen < self.offset_))
        self.contamination_std_ = standard_error_of_share(scores, self.contamination)

    def _log_density_of_holes(self, rows):
        """For every column what its values add to the log-density of their rows on the average, shape (d,)."""
        out = np.zeros(rows.shape[1])
        if self._fitted_to_mixed:
            some = rows[:: -(-len(rows) // ROWS_FOR_HOLES)]
            for j in np.flatnonzero(np.isnan(rows).any(0)):
                known = some[~np.isnan(some[:, j])]
                if len(known):
                    without = known.copy()
                    without[:, j] = np.nan
                    gain = self._evaluator.log_density(known) - self._evaluator.log_density(without)
                    out[j] = gain.mean()
        return out

    def _log_density(self, X):
        """Of all columns, whatever is missing."""
        return self._evaluator.log_density(X) + self._of_holes(X)

    def _of_holes(self, X):
        return np.isnan(X) @ self._hole_log_density if self._fitted_to_mixed else 0.0

    def _blind_log_density(self, rows, fold):
        """Of every row under the member that has not seen it."""
        log_prob = functools.partial(engine.log_prob, kernels=self._kernels)
        out = np.empty(len(rows))
        for k in np.unique(fold):

            def blind(flow, x, k=int(k)):
                z, log_abs_det = flow.bijection(x)
                return (
                    flow.base.blind_log_prob(z, torch.full((len(z),), k, device=z.device), evaluate=log_prob)
                    + log_abs_det
                )

            out[fold == k] = self._evaluator.by_chunks(blind, rows[fold == k])
        return out + self._of_holes(rows)

    def _member_log_density(self, X):
        log_prob = functools.partial(engine.log_prob, kernels=self._kernels)

        def members(flow, x):
            z, log_abs_det = flow.bijection(x)
            return flow.base.member_log_prob(z, evaluate=log_prob) + log_abs_det[:, None]

        return self._evaluator.by_chunks(members, X) + np.reshape(self._of_holes(X), (-1, 1))

    def _to_score(self, log_density):
        if self.criterion != "typicality":
            return log_density
        return -np.abs(log_density - self._typical_log_density)

    @lazy_on_dask()
    @shield()
    def score_samples(self, X: ArrayLike) -> np.ndarray:
        """The score of each row, in nats: high is normal.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        scores : ndarray of shape (n_samples,)
            What `criterion` says; log-densities are in the units of ``X``. float32 for float32 rows, else float64.
        """
        return self._to_score(self._log_density(self._table(X)))

    @lazy_on_dask()
    @shield()
    def decision_function(self, X: ArrayLike) -> np.ndarray:
        """``score_samples(X) - offset_``: negative for outliers.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        scores : ndarray of shape (n_samples,)
        """
        return self.score_samples(X) - self.offset_

    @lazy_on_dask(dtype=int)
    @shield()
    def predict(self, X: ArrayLike) -> np.ndarray:
        """Label each row: -1 for outliers, 1 for the rest.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        labels : ndarray of shape (n_samples,), int
        """
        return np.where(self.decision_function(X) < 0, -1, 1)

    @lazy_on_dask(dtype=float)
    @shield()
    def p_values(self, X: ArrayLike) -> np.ndarray:
        """How often rows like the training rows are as unusual as these: cross-conformal p-values.

        A new row from the distribution of the training rows has a p-value below 0.01 one time in a hundred, whatever
        that distribution is and however good the flow. Every training row is judged by the member that has not seen it,
        and the new row by the same member, so no rows are lost to a calibration set.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            New rows. Training rows get p-values that are too high: some members have seen them.

        Returns
        -------
        p_values : ndarray of shape (n_samples,)
            In [1 / (n + 1), 1] for n training rows, low for outliers.

        See Also
        --------
        skflow.benjamini_hochberg : Adjusts them for the false discovery rate of a batch.
        """
        scores = self._to_score(self._member_log_density(self._table(X)).astype(float))
        present = self.fold_ >= 0
        return cross_conformal_p_values(
            scores, self.calibration_scores_[present], self.fold_[present], self._calibration_weight
        )

    @shield()
    def explain(self, X: ArrayLike) -> Any:
        """Which features make each row less, or more, normal than a typical row, and by how many nats.

        Features are repaired, the most telling first, until the row scores as a typical row does; a feature's number is
        what its repair gains. A row that scores above a typical one shares its surplus over the features on which its
        score depends.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        contributions : ndarray or DataFrame of shape (n_samples, n_features)
            Negative for what speaks against a row. Each row sums to ``score_samples(x) - typical_score_``. For a
            DataFrame one of the same library, with its column names and its index.
        """
        check_is_fitted(self, "flow_")
        rows = self._table(X).astype(float)
        out = np.zeros_like(rows)
        for holes in np.unique(np.isnan(rows), axis=0):  # there is nothing to repair about what is missing
            own = (np.isnan(rows) == holes).all(1)

            def log_density(table, holes=holes):
                whole = np.full((len(table), len(holes)), np.nan)
                whole[:, ~holes] = table
                return self._log_density(whole)

            if not holes.all():
                known = np.ix_(own, ~holes)
                values = self._repair_values[~holes]
                out[known] = repair_contributions(log_density, rows[known], values, self._typical_log_density)
        if self.criterion == "typicality":
            out[out.sum(1) > 0] *= -1
        return frame_like(X, out, index=True)
