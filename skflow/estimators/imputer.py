"""The imputer: holes filled from their distribution given the rest of the row."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, OneToOneFeatureMixin, TransformerMixin, clone
from sklearn.utils.validation import check_is_fitted

from .density import FlowDensity
from .sklearn_compat import HasMethods, fit_context

if TYPE_CHECKING:
    from typing_extensions import Self


class FlowImputer(OneToOneFeatureMixin, TransformerMixin, BaseEstimator):
    """Imputation of missing values by the density of whole rows: `FlowDensity.impute` as a step of a pipeline.

    Numbers, categories, truth values and dates may be missing, from any columns of the training table and of the rows
    to be filled.

    Parameters
    ----------
    estimator : FlowDensity, optional
        The density; by default one with every parameter at its default.
    sample_posterior : bool, default=False
        Fill with draws from the distribution of what is missing given the rest of the row, as multiple imputation asks
        for. Otherwise with its mean, and categories with the likeliest one.
    random_state : int, RandomState instance or None, default=None
        Of the fit, where ``estimator`` is not given, and of the draws.

    Attributes
    ----------
    estimator_ : FlowDensity
        The fitted density.
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Only where the columns have names.

    See Also
    --------
    FlowDensity.impute : The same for a density that is fitted already.
    sklearn.impute.IterativeImputer : A regression for every column.

    Examples
    --------
    >>> import numpy as np
    >>> from skflow import FlowDensity, FlowImputer
    >>> rng = np.random.RandomState(0)
    >>> x = rng.randn(300)
    >>> X = np.column_stack([x, x + 0.1 * rng.randn(300)])
    >>> X[::7, 1] = np.nan
    >>> imputer = FlowImputer(FlowDensity(max_iter=20, random_state=0), random_state=0)
    >>> filled = imputer.fit_transform(X)
    >>> bool(np.abs(filled[::7, 1] - X[::7, 0]).mean() < 0.2)
    True
    """

    _parameter_constraints: dict = {
        "estimator": [HasMethods(["fit", "impute"]), None],
        "sample_posterior": ["boolean"],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        estimator: FlowDensity | None = None,
        *,
        sample_posterior: bool = False,
        random_state: int | np.random.RandomState | None = None,
    ):
        self.estimator = estimator
        self.sample_posterior = sample_posterior
        self.random_state = random_state

    @fit_context(prefer_skip_nested_validation=False)
    def fit(self, X: ArrayLike, y: object = None) -> Self:
        """Fit the density.

        Parameters
        ----------
        X : array-like or frame of shape (n_samples, n_features)
        y : ignored

        Returns
        -------
        self : FlowImputer
        """
        chosen = FlowDensity(random_state=self.random_state) if self.estimator is None else clone(self.estimator)
        self.estimator_ = chosen.fit(X)
        for name in ("n_features_in_", "feature_names_in_"):
            if hasattr(chosen, name):
                setattr(self, name, getattr(chosen, name))
            elif hasattr(self, name):
                delattr(self, name)
        return self

    def transform(self, X: ArrayLike) -> Any:
        """Fill what is missing.

        Parameters
        ----------
        X : array-like or frame of shape (n_samples, n_features)

        Returns
        -------
        X : ndarray or frame of shape (n_samples, n_features)
            As it came, the holes filled.
        """
        check_is_fitted(self, "estimator_")
        return self.estimator_.impute(X, "sample" if self.sample_posterior else "mean", self.random_state)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.categorical = True
        tags.input_tags.string = True
        return tags
