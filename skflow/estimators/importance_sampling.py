"""Draws of a fitted posterior, weighted by what the density says of them."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted

from ..flows.flow import Flow
from ..persistence.attributes import is_count, is_number
from ..training.importance_sample import importance_sample
from ..training.importance_weights import pareto_smoothed
from ..training.persistent_sampling import systematic_resampling
from ..training.target import Target
from ..utils.global_settings import shield
from .inference_data import inference_data
from .log_density import LogDensity
from .validation import check_n_samples, make_seed

if TYPE_CHECKING:
    from arviz import InferenceData

DRAWS_PER_ROW = 4  # of the flow, for each that is resampled
_LOG_DENSITIES: weakref.WeakKeyDictionary[Flow, LogDensity] = weakref.WeakKeyDictionary()  # by the flow fitted to each
EVIDENCE = {
    "log_evidence_": is_number,
    "log_evidence_std_": is_number,
    "elbo_": is_number,
    "effective_sample_size_": is_number,
    "pareto_k_": is_number,
    "n_evaluations_": is_count,
}


class ImportanceSampling:
    """What an estimator with a ``flow_`` fitted to a log-density can do with that density."""

    flow_: Flow
    vectorized: bool
    gradient: bool

    @shield()
    def importance_sample(
        self,
        n_samples: int = 1000,
        log_density: Callable | None = None,
        random_state: int | np.random.RandomState | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Draw rows from the fitted flow and weigh them by what the density says.

        Parameters
        ----------
        n_samples : int, default=1000
        log_density : callable, optional
            By default that of the fit, which neither files nor pickles nor copies keep. Another one, such as that under
            another prior, is weighed as well.
        random_state : int, RandomState instance or None, default=None

        Returns
        -------
        X : ndarray of shape (n_samples, n_features)
        log_weights : ndarray of shape (n_samples,)
            ``log p~(x) - log q(x)`` in nats: the mean of the weights estimates the evidence, and weighted means of a
            function of the rows its expectation.
        """
        target = Target(self._log_density(log_density), check_n_samples(n_samples))
        generator = torch.Generator().manual_seed(make_seed(random_state))
        sample = importance_sample(self.flow_, target, n_samples, generator)
        return sample.x.numpy(), sample.log_weights.numpy()

    @shield()
    def resample(
        self,
        n_samples: int = 1000,
        log_density: Callable | None = None,
        random_state: int | np.random.RandomState | None = None,
    ) -> np.ndarray:
        """Draw rows of the density itself.

        They are picked from four times as many draws of the flow, in proportion to their Pareto-smoothed weights; a row
        whose weight is large comes more than once.

        Parameters
        ----------
        n_samples : int, default=1000
        log_density : callable, optional
            As in `importance_sample`.
        random_state : int, RandomState instance or None, default=None

        Returns
        -------
        X : ndarray of shape (n_samples, n_features)
        """
        rng = np.random.RandomState(make_seed(random_state))
        X, log_weights = self.importance_sample(DRAWS_PER_ROW * check_n_samples(n_samples), log_density, rng)
        smoothed = torch.from_numpy(pareto_smoothed(log_weights)[0])
        return X[systematic_resampling(smoothed, n_samples, rng).numpy()]

    @shield()
    def to_arviz(
        self,
        n_samples: int = 1000,
        log_density: Callable | None = None,
        random_state: int | np.random.RandomState | None = None,
    ) -> InferenceData:
        """Draws of the density as ArviZ knows them: one chain of `resample`, a variable a column.

        It needs the package arviz.

        Parameters
        ----------
        n_samples : int, default=1000
        log_density : callable, optional
            As in `importance_sample`.
        random_state : int, RandomState instance or None, default=None

        Returns
        -------
        data : arviz.InferenceData, or from arviz 1.0 on xarray.DataTree
            Its group "posterior" has the draws, its group "sample_stats" the logarithm ``lp`` of the flow's density in
            nats and the ``log_weight`` that each draw had; the evidence and its diagnostics are attributes.
        """
        rng = np.random.RandomState(make_seed(random_state))
        X = self.resample(n_samples, log_density, rng)
        lp = self._evaluator.log_density(X)
        on_target = self._log_density(log_density)(torch.from_numpy(X)).detach().numpy()
        names = getattr(self, "feature_names_in_", [f"x{j}" for j in range(X.shape[1])])
        groups = {
            "posterior": {str(name): column[None] for name, column in zip(names, X.T)},
            "sample_stats": {"lp": lp[None], "log_weight": (on_target - lp)[None]},
        }
        return inference_data(groups, {name.rstrip("_"): getattr(self, name) for name in EVIDENCE})

    def _know_log_density(self, log_density: LogDensity) -> None:
        """Remember the density that the present flow has been fitted to."""
        _LOG_DENSITIES[self.flow_] = log_density

    def _log_density(self, log_density) -> LogDensity:
        check_is_fitted(self, "flow_")
        if log_density is not None:
            return LogDensity(log_density, vectorized=self.vectorized, gradient=self.gradient)
        if self.flow_ not in _LOG_DENSITIES:
            raise ValueError(
                f"This {type(self).__name__} doesn't know its log_density any more, which neither files nor pickles "
                "nor copies keep: pass log_density."
            )
        return _LOG_DENSITIES[self.flow_]
