"""The regressor: the density of targets given features."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import ArrayLike
from sklearn.base import RegressorMixin
from sklearn.utils.validation import check_array, check_is_fitted, validate_data

from ..flows.distributions.flow_mixture import FlowMixture
from ..inference.predictive import Predictive, predictions
from ..outliers.conformal import conformal_half_width
from ..persistence.attributes import columns_of, is_bool, is_count, is_location, numbers, optional, reach_into_context
from ..persistence.registry import savable
from ..training.fit import Fit
from ..training.regression import RegressionFitting
from ..utils.frames import column_names, is_frame
from ..utils.global_settings import shield
from .base import BaseFlow
from .checkpoints import seeded
from .encoding import as_table, check_distinct_names, holds_only_numbers
from .features import FeatureEncoding, are_features
from .mixed_tables import taking_tables
from .parameters import adds_to
from .saved import FITTED, MORE
from .shards import data_parallel, gathered
from .sklearn_compat import StrOptions, fit_context, follow_fit, trees_of, with_callbacks
from .stream import sampled_with_targets
from .validation import (
    check_bounds,
    check_finite,
    check_n_samples,
    check_share,
    check_table,
    check_targets,
    check_weights,
    make_seed,
    resolve_device,
)

if TYPE_CHECKING:
    from typing_extensions import Self

SAMPLES_AT_A_TIME = 200_000
DRAWS = 1000  # from which quantiles and distribution functions of several targets are read
LEVELS = 0.05, 0.5, 0.95


PREDICTIVE = {
    "n_targets_": is_count,
    "_one_dimensional": is_bool,
    "weights_": numbers("kinds"),
    "fold_": numbers("n", integer=True),
    "pit_": numbers("n"),
    "_location": is_location,
}


FITTED_REGRESSOR = {**{name: kind for name, kind in FITTED.items() if name != "_stream"}, **PREDICTIVE}
MORE_OF_REGRESSOR = {**MORE, "_features": optional(are_features)}


def _disagreement(regressor):
    """What contradicts what in a loaded regressor, as a sentence; None where nothing does."""
    flow, location, d = regressor.flow_, regressor._location, regressor.n_features_in_
    mixture, k, names = getattr(flow, "base", None), regressor.n_targets_, getattr(regressor, "feature_names_in_", None)
    if not isinstance(mixture, FlowMixture) or columns_of(flow) != k:
        return f"it has {k} targets, and its flow is no mixture of flows of as many"
    n_features = d if regressor._features is None else FeatureEncoding(regressor._features).n_features
    if len(location.shift) != n_features or len(location.weights) != k or (names is not None and len(names) != d):
        return f"it has {d} features and {k} targets, and models of the mean or names of others"
    if regressor._features is not None and len(regressor._features["categories"]) != d:
        return f"it has {d} features, and remembers others"
    if reach_into_context(flow) > k + len(location.models) + n_features:
        return "its flow sees columns that its context does not have"
    fold, n_folds = regressor.fold_, len(mixture.members) // max(1, len(regressor.weights_))
    if len(regressor.pit_) != len(fold) or n_folds * len(regressor.weights_) != len(mixture.members):
        return "its folds, members and calibration are not of one fit"
    if len(fold) and not -1 <= fold.min() <= fold.max() < n_folds:
        return "a fold has no member"
    return None


@savable(FITTED_REGRESSOR, MORE_OF_REGRESSOR, _disagreement)
class FlowRegressor(RegressorMixin, BaseFlow):
    """The density of one or more targets given features, by normalizing flows.

    It is a mixture of conditional flows: some of the targets y themselves, some of what a regression m leaves of them,
    each of those given the features x and what the regression says::

        p(y | x) = w mean_k p_k(y | x) + (1 - w) mean_k q_k(y - m(x) | x, m(x))

    Member k has not seen fold k of the rows, neither have the models behind m: boosted trees, ridge regression and, up
    to 2,000 rows, a Gaussian process, stacked [1]_. The weight w is that of highest likelihood on rows that the members
    have not seen [2]_; those rows calibrate `predict_interval`, too [3]_.

    Parameters
    ----------
    flow : str or callable, default="nsf"
        As in `FlowDensity`; a callable is given the number of targets and of columns that condition them.
    depth, hidden_layer_sizes, n_bins, ordering : default="auto"
        As in `FlowDensity`. The depth "auto" is 1 for a single target. A layer that shifts and scales is added in front
        of every named flow.
    base : {"auto", "normal", "student-t", "mixture"}, default="normal"
        As in `FlowDensity`.
    bounds : sequence of pairs, optional
        Of the targets, as in `FlowDensity`.
    categorical_features : "from_dtype" or array-like, default="from_dtype"
        Which columns of ``X`` are categories, as in `FlowDensity`.
    learning_rate_init : float, default=0.01
    alpha : float, default=0.03
        Weight decay.
    max_iter, batch_size, early_stopping, n_iter_no_change, tol : default as in `FlowDensity`
        Of every member.
    validation_fraction : float
        Has no effect: the fold that a member has not seen is its validation part.
    warm_start : bool, default=False
        Has no effect.
    random_state, device, checkpoint, verbose : see below
        As in `FlowDensity`.

    Attributes
    ----------
    flow_ : skflow.flows.Flow
        The density as a torch module: ``flow_.log_prob(y, context)``, its context what the regression says of each row
        and then the features.
    weights_ : ndarray of shape (2,)
        Of the flows of the targets, w, and of those of the residuals; of the former alone, where Ctrl-C ended the fit
        before there were others.
    fold_ : ndarray of shape (n_samples,), int
        The members that have not seen the row; -1 for rows of weight zero.
    pit_ : ndarray of shape (n_samples,)
        Of one target the probability integral transform of every training row, ``F(y | x)`` by the members that have
        not seen it: uniform where the forecasts are calibrated. NaN for rows of weight zero.
    n_targets_ : int
    n_features_in_, feature_names_in_, n_iter_, loss_curve_, validation_scores_, best_validation_score_
        As in `FlowDensity`, the curves those of the kind of flows that weighs more.

    See Also
    --------
    sklearn.ensemble.HistGradientBoostingRegressor : Conditional means, or one quantile.
    sklearn.gaussian_process.GaussianProcessRegressor : A normal distribution around the mean, of one spread.

    References
    ----------
    .. [1] Breiman, "Stacked Regressions", Machine Learning 24 (1996), eq. 5.
    .. [2] Yao, Vehtari, Simpson & Gelman, "Using Stacking to Average Bayesian Predictive Distributions", Bayesian
       Analysis 13 (2018), eq. 4.
    .. [3] Chernozhukov, Wüthrich & Zhu, "Distributional conformal prediction", PNAS 118 (2021), eq. 3.

    Examples
    --------
    >>> import numpy as np
    >>> from skflow import FlowRegressor
    >>> rng = np.random.RandomState(0)
    >>> X = rng.uniform(-1, 1, (150, 1))
    >>> y = X[:, 0] + (0.1 + 0.4 * (X[:, 0] > 0)) * rng.standard_normal(150)
    >>> regressor = FlowRegressor(random_state=0).fit(X, y)
    >>> low, high = regressor.predict_interval([[-0.5], [0.5]]).T
    >>> (high - low).round(0)
    array([0., 2.])
    """

    _fitting = RegressionFitting
    _features: dict | None = None  # of a table with categories or holes: what `FeatureEncoding` knows of it
    _parameter_constraints: dict = {
        **BaseFlow._parameter_constraints,
        "categorical_features": [StrOptions({"from_dtype"}), "array-like"],
    }

    @adds_to(BaseFlow)
    def __init__(
        self,
        *,
        base: str = "normal",
        learning_rate_init: float = 1e-2,
        alpha: float = 3e-2,
        categorical_features: ArrayLike | str = "from_dtype",
    ):
        self.base = base
        self.learning_rate_init = learning_rate_init
        self.alpha = alpha
        self.categorical_features = categorical_features

    @shield()
    @data_parallel
    @fit_context(prefer_skip_nested_validation=True)
    @with_callbacks
    def fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Fit by maximum likelihood.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or a stream
            At least two rows, of numbers, categories, truth values, text, times and durations; NaN, None or NA where
            nothing has been observed. Categories become indicators; a hole counts as the median of its column, and has
            an indicator. Of a stream, such as `FlowDensity.fit` takes, 200,000 rows are drawn and
            fitted to; ``fold_`` and ``pit_`` are of these rows then.
        y : array-like of shape (n_samples,) or (n_samples, n_targets), or names of columns
            Finite numbers. Of a stream the name of the column of targets, or a list of such; the number of the column
            where columns have no names.
        sample_weight : array-like of shape (n_samples,), optional
            Non-negative weights of the rows.

        Returns
        -------
        self : FlowRegressor

        Raises
        ------
        ValueError
            For NaN, infinity or text (the column is named), and for weights that are negative or all zero. The previous
            fit, if there is one, stays usable.
        """
        with self._keep_previous_fit():
            X, y = sampled_with_targets(self, X, y, sample_weight=sample_weight)
            X, y, sample_weight, _ = gathered(X, y, sample_weight)
            X = self._reset_features(X)
            y = check_targets(self, y, len(X))
            targets = y.reshape(len(y), -1)
            weight = check_weights(sample_weight, X, least=2)
            device, bounds = resolve_device(self.device), check_bounds(self, targets, "y")
            self.n_targets_, self._one_dimensional = targets.shape[1], y.ndim == 1

            def train(on_iteration):
                rows = targets, weight, None
                more = {"context": X, "trees_of": trees_of}
                return RegressionFitting(self, *rows, seed, device, bounds, on_iteration, **more).from_scratch()

            with seeded(self, X, targets, weight) as seed:
                fit = self._followed(train, follow_fit(self, X, y))
            self._calibrate(fit, targets)
            return self

    def _fitted_attributes(self, fit: Fit) -> dict:
        n_folds = fit.fold.max() + 1
        weights = fit.latent.weights.numpy(force=True).astype(float).reshape(-1, n_folds).sum(1)
        return {**super()._fitted_attributes(fit), "fold_": fit.fold, "weights_": weights, "_location": fit.location}

    def _calibrate(self, fit, targets):
        """What the members say of the rows that they have not seen."""
        self.pit_ = np.full(len(targets), np.nan)
        present = self.fold_ >= 0
        if self.n_targets_ == 1:
            blind = self.fold_[present][:, None] == np.tile(np.arange(self.fold_.max() + 1), len(self.weights_))
            weights = blind * fit.latent.weights.numpy(force=True)
            weights /= weights.sum(1, keepdims=True)
            self.pit_[present] = self._predictive.cdf(targets[present, 0], fit.context, weights)

    def _reset_features(self, X):
        """The table as numbers, whose kinds of columns are remembered."""
        X = as_table(X)
        check_distinct_names(X)
        if isinstance(self.categorical_features, str) and holds_only_numbers(X):
            self._features = None
            return check_table(self, X, reset=True, min_rows=2)
        validate_data(self, X, reset=True, skip_check_array=True)
        self._features = FeatureEncoding.fit(X, self.categorical_features).state
        return self._encoded(X)

    def _encoded(self, X):
        encoding = FeatureEncoding(self._features)
        rows = encoding.numbers(X)
        check_finite(self, rows, column_names(X), allow_nan=True)
        return encoding.features(rows)

    def _table(self, X):
        check_is_fitted(self, "flow_")
        if self._features is None:
            return super()._table(X)
        X = as_table(X)
        X = X if is_frame(X) else check_array(X, dtype=None, ensure_all_finite=False)
        validate_data(self, X, reset=False, skip_check_array=True)
        return self._encoded(X)

    def _context(self, X) -> np.ndarray:
        """What conditions the flow: predictions and features."""
        X = self._table(X).astype(float)
        return np.hstack([predictions(self._location, X), X])

    @property
    def _predictive(self) -> Predictive:
        check_is_fitted(self, "flow_")
        return Predictive(self.flow_, resolve_device(self.device), self._kernels, self.n_targets_)

    def _shaped(self, values):
        """Targets (..., k) in the form in which they were given."""
        return values[..., 0] if self._one_dimensional else values

    def _given(self, X, y):
        context = self._context(X)
        y = check_targets(self, y, len(context)).reshape(len(context), -1)
        if y.shape[1] != self.n_targets_:
            raise ValueError(f"y has {y.shape[1]} targets, but {type(self).__name__} was fitted to {self.n_targets_}.")
        return context, y

    @shield()
    def score_samples(self, X: ArrayLike, y: ArrayLike) -> np.ndarray:
        """Log-density of each row's targets given its features.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : array-like of shape (n_samples,) or (n_samples, n_targets)

        Returns
        -------
        log_density : ndarray of shape (n_samples,)
            ``log p(y | x)``, natural logarithm (nats), in the units of ``y``. Exactly ``-inf`` outside declared
            ``bounds``, finite everywhere else.
        """
        context, y = self._given(X, y)
        return self._evaluator.log_density(y, context)

    @shield()
    def predict(self, X: ArrayLike, return_std: bool = False) -> np.ndarray | tuple[np.ndarray, np.ndarray]:
        """Conditional mean of the targets.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        return_std : bool, default=False

        Returns
        -------
        mean : ndarray of shape (n_samples,) or (n_samples, n_targets)
            Of all but the outermost 0.02 % at each end: of tails that no row has been seen in, a mean need not exist.
        std : ndarray of the same shape
            Conditional standard deviation; only where ``return_std`` is true.
        """
        mean, std = map(self._shaped, self._predictive.moments(self._context(X)))
        return (mean, std) if return_std else mean

    @shield()
    def predict_quantiles(self, X: ArrayLike, quantiles: Sequence[float] = LEVELS) -> np.ndarray:
        """Conditional quantiles, from the inverse of the flows.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        quantiles : sequence of float, default=(0.05, 0.5, 0.95)
            Levels between 0 and 1, in any order.

        Returns
        -------
        y : ndarray of shape (n_samples, n_quantiles) or (n_samples, n_quantiles, n_targets)
            Those of several targets are each target's own, from 1,000 draws.
        """
        levels = np.array([check_share("quantiles", level) for level in np.atleast_1d(quantiles)])
        return self._quantiles(self._context(X), levels)

    def _quantiles(self, context, levels):
        if self.n_targets_ > 1:
            draws = self._draws(context, DRAWS, np.random.RandomState(0))
            return np.moveaxis(np.quantile(draws, levels, axis=1), 0, 1)
        order = np.argsort(levels)
        ordered = self._predictive.quantiles(context, levels[order])
        y = np.empty_like(ordered)
        y[:, order] = ordered
        return y if self._one_dimensional else y[..., None]

    @shield()
    def predict_interval(self, X: ArrayLike, coverage: float = 0.9) -> np.ndarray:
        """Central intervals that cover new targets at a stated rate.

        Of one target, the levels of the two ends are those that would have covered this share of the training rows, as
        forecast by the members that have not seen them (conformal prediction): on new rows like these the rate holds
        whatever the flows got wrong.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        coverage : float, default=0.9

        Returns
        -------
        interval : ndarray of shape (n_samples, 2) or (n_samples, 2, n_targets)
            Lower and upper ends. Of several targets each one's own central quantiles, not calibrated.
        """
        half = 0.5 * check_share("coverage", coverage)
        context = self._context(X)
        if self.n_targets_ == 1:
            half = conformal_half_width(self.pit_[self.fold_ >= 0], coverage)
        return self._quantiles(context, np.array([0.5 - half, 0.5 + half]))

    @shield()
    def cdf(self, X: ArrayLike, y: ArrayLike) -> np.ndarray:
        """Conditional distribution function of a target, ``P(Y <= y | x)``.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : array-like of shape (n_samples,) or (n_samples, n_targets)

        Returns
        -------
        probability : ndarray of the shape of ``y``
            Of several targets each one's own, from 1,000 draws.
        """
        context, y = self._given(X, y)
        if self.n_targets_ > 1:
            return (self._draws(context, DRAWS, np.random.RandomState(0)) <= y[:, None]).mean(1)
        p = self._predictive.cdf(y[:, 0], context)
        return p if self._one_dimensional else p[:, None]

    @shield()
    def sample(
        self, X: ArrayLike, n_samples: int = 1, random_state: int | np.random.RandomState | None = None
    ) -> np.ndarray:
        """Draw targets given features.

        Parameters
        ----------
        X : array-like of shape (n_rows, n_features)
        n_samples : int, default=1
            For each row.
        random_state : int, RandomState instance or None, default=None

        Returns
        -------
        y : ndarray of shape (n_rows, n_samples) or (n_rows, n_samples, n_targets)
        """
        return self._shaped(self._draws(self._context(X), check_n_samples(n_samples), random_state))

    def _draws(self, context, n, random_state):
        """Shape (n_rows, n, n_targets)."""
        generator = torch.Generator().manual_seed(make_seed(random_state))
        parts = np.array_split(context, -(-len(context) * n // SAMPLES_AT_A_TIME))
        drawn = [self._evaluator.sample(len(part) * n, generator, np.repeat(part, n, 0)) for part in parts]
        return np.concatenate(drawn).reshape(len(context), n, self.n_targets_)

    def __sklearn_tags__(self):
        tags = taking_tables(super().__sklearn_tags__())
        tags.target_tags.multi_output = True
        return tags
