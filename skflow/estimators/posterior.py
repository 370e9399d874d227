"""The posterior: a density known up to a constant."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from numbers import Integral
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import ArrayLike
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.validation import check_array, check_is_fitted

from ..persistence.registry import savable
from ..training.importance_weights import TRUSTED_K, effective_sample_size, log_mean, log_mean_std
from ..training.posterior import PosteriorFit, PosteriorFitting
from ..training.progress_bar import GenerationLines
from ..training.target import Target
from ..utils.global_settings import shield
from ..utils.user_warnings import warn_user
from .base import BaseFlow
from .importance_sampling import EVIDENCE, ImportanceSampling
from .log_density import LogDensity
from .parameters import adds_to
from .saved import FITTED, MORE, disagreement
from .sklearn_compat import Interval, Options, fit_context, follow_fit, with_callbacks
from .validation import check_bounds, check_finite, check_n_samples, make_seed, resolve_device

if TYPE_CHECKING:
    from typing_extensions import Self


@savable({**FITTED, **EVIDENCE}, MORE, disagreement)
class FlowPosterior(ImportanceSampling, BaseFlow):
    """A posterior, or any density known up to a constant, by variational inference with a normalizing flow.

    Given log p~(x), the flow q is fitted to p = p~ / Z, and its draws are weighted by w = p~ / q::

        log Z = log E_q[w] >= E_q[log w]

    the left side is the log-evidence, the right side the evidence lower bound [1]_. Draws come from a wide density
    first, then from flows at falling temperatures [2]_, so that separate modes are found; where ``log_density`` has
    gradients, those of the reverse KL divergence along the path of a draw [3]_ carry flows to where no draw has been.
    The flow that is kept is fitted by maximum likelihood (forward KL divergence) to the weighted draws of all
    temperatures [4]_.

    Parameters
    ----------
    flow, depth, hidden_layer_sizes, n_bins, base, ordering : see below
        The flow that is kept, as in `FlowDensity`.
    max_evaluations : int, default=500_000
        Rows at which ``log_density`` may be evaluated in a fit, at least 10,000.
    vectorized : bool, default=True
        Whether ``log_density`` takes all rows at once, or one row at a time.
    gradient : bool, default=True
        Whether ``log_density`` takes and returns tensors that torch can differentiate, or numpy arrays.
    bounds : None, pair, list of pairs or dict, default=None
        ``(low, high)`` of the support for every column, or one pair a column, with None for no bound, or a dict of
        pairs by ``feature_names``. Rows outside are never asked about.
    feature_names : array-like of str, default=None
        Names of the columns.
    max_iter, batch_size, learning_rate_init, alpha : as in `FlowDensity`
        Of the fit of that flow to all draws.
    early_stopping, validation_fraction, n_iter_no_change, tol : as in `FlowDensity`
        Likewise.
    warm_start : False
        Nothing else: every fit starts from scratch.
    checkpoint : None
        Nothing else: no file keeps how far a fit to a function has come.
    random_state, device, verbose : see below
        As in `FlowDensity`. ``device`` is where flows are trained; ``log_density`` is given rows on the CPU.

    Attributes
    ----------
    flow_ : skflow.flows.Flow
        The torch module, float64: ``flow_.log_prob(x)`` and ``flow_.sample(n)`` in the units of the columns;
        ``flow_.to_latent`` and ``flow_.from_latent`` precondition other samplers.
    log_evidence_ : float
        log Z in nats, estimated with draws of the fitted flow.
    log_evidence_std_ : float
        Its standard error; to be believed only where ``pareto_k_`` is below 0.7.
    elbo_ : float
        Evidence lower bound, in nats. A single draw far out, where the flow has a heavier tail, can carry it far below
        `log_evidence_`; it is minus infinity where a draw has a density of zero.
    effective_sample_size_ : float
        Of 4,000 draws, or of fewer where ``max_evaluations`` allows no more, Kish's effective number.
    pareto_k_ : float
        Shape of the tail of the weights [5]_: above 0.7 neither weights nor evidence can be trusted, above 1 the
        weights have no mean at all. The greatest of several: that of the flow's draws, and those of rows of the density
        that come from elsewhere, from the sampler and from Hamiltonian chains, which may know of places where the flow
        has no draws.
    n_evaluations_ : int
        Rows at which the fit has evaluated ``log_density``.
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Only with ``feature_names``.
    depth_, hidden_layer_sizes_, n_bins_, batch_size_, n_iter_, loss_curve_, validation_scores_, best_validation_score_
        Of the last fit to all draws, as in `FlowDensity`.

    See Also
    --------
    FlowDensity : The density of a table of draws.

    References
    ----------
    .. [1] Rezende & Mohamed, "Variational Inference with Normalizing Flows", ICML 2015, eq. 15.
    .. [2] Karamanis & Seljak, "Persistent Sampling", 2024; Karamanis, Beutler, Peacock, Nabergoj & Seljak,
       "Accelerating astronomical and cosmological inference with preconditioned Monte Carlo", MNRAS 516 (2022).
    .. [3] Roeder, Wu & Duvenaud, "Sticking the Landing", NeurIPS 2017, eq. 8.
    .. [4] Cornuet, Marin, Mira & Robert, "Adaptive Multiple Importance Sampling", Scandinavian Journal of Statistics 39
       (2012).
    .. [5] Vehtari, Simpson, Gelman, Yao & Gabry, "Pareto Smoothed Importance Sampling", JMLR 25 (2024), section 3.

    Examples
    --------
    >>> import torch
    >>> from skflow import FlowPosterior
    >>> def log_density(x):  # two modes, without the constant
    ...     return torch.logaddexp(-2 * (x - 3).square().sum(1), -2 * (x + 3).square().sum(1))
    >>> posterior = FlowPosterior(max_evaluations=20_000, max_iter=30, random_state=0).fit(log_density, n_features=2)
    >>> bool(abs(posterior.log_evidence_ - 1.145) < 0.1)  # log pi
    True
    >>> posterior.sample(5, random_state=0).shape
    (5, 2)
    """

    _parameter_constraints: dict = {
        **BaseFlow._parameter_constraints,
        "max_evaluations": [Interval(Integral, 10_000, None, closed="left")],
        "vectorized": ["boolean"],
        "gradient": ["boolean"],
        "feature_names": [None, "array-like"],
        "warm_start": [Options(bool, {False})],
        "checkpoint": [None],
    }

    @adds_to(BaseFlow)
    def __init__(
        self,
        *,
        max_evaluations: int = 500_000,
        vectorized: bool = True,
        gradient: bool = True,
        feature_names: Sequence[str] | None = None,
    ):
        self.max_evaluations = max_evaluations
        self.vectorized = vectorized
        self.gradient = gradient
        self.feature_names = feature_names

    @shield()
    @fit_context(prefer_skip_nested_validation=True)
    @with_callbacks
    def fit(self, log_density: Callable, n_features: int | None = None, *, init: ArrayLike | None = None) -> Self:
        """Fit the flow to a density known up to a constant.

        Parameters
        ----------
        log_density : callable
            Maps rows, a float64 tensor of shape (n, d), to the logarithm of the density up to a constant, in nats, a
            tensor of shape (n,); minus infinity where the density is zero, which is also what NaN is taken for. See
            ``vectorized`` and ``gradient`` for plain functions.
        n_features : int, optional
            Number of columns d, where neither ``feature_names``, ``bounds`` nor ``init`` says it.
        init : array-like of shape (d,) or (n, d), optional
            Where the mass is thought to lie: a point, or rows whose spread is thought to be about right. By default
            densities around zero of scales between 2^-8 and 2^12 are tried.

        Returns
        -------
        self : FlowPosterior

        Raises
        ------
        TypeError
            Where ``log_density`` is no function.
        ValueError
            Where the number of columns isn't known, and where ``log_density`` returns a wrong shape or is finite
            nowhere. The previous fit, if there is one, stays usable.

        Warns
        -----
        UserWarning
            Where ``pareto_k_`` is above 0.7.

        Notes
        -----
        Ctrl-C ends a fit that was called by itself with a warning, as that of `FlowDensity`: a flow is kept that has
        been fitted to the draws so far, at their temperature.
        """
        with self._keep_previous_fit():
            function = LogDensity(log_density, vectorized=self.vectorized, gradient=self.gradient)
            d = self._set_features(n_features, init)
            bounds = check_bounds(self, np.empty((0, d)))
            init = self._check_init(init)
            target = Target(function, self.max_evaluations, differentiable=self.gradient)
            device, seed = resolve_device(self.device), make_seed(self.random_state)
            posterior = None

            def train(on_iteration):
                nonlocal posterior
                follow = GenerationLines().write if self.verbose else lambda generation: None
                fitting = PosteriorFitting(self, target, d, seed, device, bounds, init, on_iteration, follow)
                posterior = fitting.from_scratch()
                return posterior.fit

            self._followed(train, follow_fit(self, None, None))
            self._stream = None
            self.n_evaluations_ = target.n_evaluations
            self._weigh(posterior)
            self._know_log_density(function)
            return self

    def _set_features(self, n_features, init):
        """Set and return the number of columns; what says it has to agree."""
        known = {}
        if n_features is not None:
            if isinstance(n_features, bool) or not isinstance(n_features, Integral) or n_features < 1:
                raise ValueError(f"n_features must be an integer of at least 1. Got {n_features!r} instead.")
            known["n_features"] = int(n_features)
        if self.feature_names is not None:
            known["feature_names"] = len(self.feature_names)
        if init is not None:
            known["init"] = np.shape(init)[-1] if np.ndim(init) else 1
        bounds = self.bounds
        if bounds is not None and not isinstance(bounds, Mapping) and any(map(np.iterable, bounds)):
            known["bounds"] = len(bounds)
        if not known:
            raise ValueError(
                "The number of columns isn't known: pass n_features to fit, or give feature_names or one pair of "
                f"bounds a column. Got n_features={n_features!r}, feature_names={self.feature_names!r} and "
                f"bounds={self.bounds!r}."
            )
        if len(set(known.values())) > 1:
            found = ", ".join(f"{value} by {name}" for name, value in known.items())
            raise ValueError(f"The numbers of columns disagree: {found}. Let them agree, or leave all but one out.")
        self.n_features_in_ = next(iter(known.values()))
        if self.feature_names is not None:
            self.feature_names_in_ = np.asarray(self.feature_names, dtype=object)
        elif hasattr(self, "feature_names_in_"):
            del self.feature_names_in_
        return self.n_features_in_

    def _check_init(self, init):
        """Rows to start around, within the bounds."""
        if init is None:
            return None
        rows = np.array(init, dtype=float).reshape(-1, self.n_features_in_)
        check_finite(self, rows)
        check_bounds(self, rows)
        return torch.from_numpy(rows)

    def _weigh(self, posterior: PosteriorFit):
        """Set what the weights of draws say of the fit, and warn where they are not to be trusted."""
        weights = posterior.sample.log_weights
        self.log_evidence_, self.log_evidence_std_ = log_mean(weights), log_mean_std(weights)
        self.elbo_ = float(weights.mean())
        self.effective_sample_size_ = effective_sample_size(weights)
        self.pareto_k_ = float(posterior.pareto_k)
        if not self.pareto_k_ <= TRUSTED_K:
            warn_user(
                f"{type(self).__name__}: pareto_k_ is {self.pareto_k_:.2g}, above {TRUSTED_K}: the flow misses a part "
                "of the density, and log_evidence_, its standard error and the weights can't be trusted. Raise "
                f"max_evaluations (now {self.max_evaluations}; {self.n_evaluations_} were made), pass init, write the "
                "density in columns whose spreads depend less on each other, or try another flow (now "
                f"{self.flow!r}).",
                ConvergenceWarning,
            )

    @shield()
    def score_samples(self, X: ArrayLike) -> np.ndarray:
        """Log-density of each row under the fitted flow, which is normalised.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        log_density : ndarray of shape (n_samples,)
            In nats. Exactly ``-inf`` outside declared ``bounds``, finite everywhere else.
        """
        return self._evaluator.log_density(self._table(X))

    @shield()
    def sample(self, n_samples: int = 1, random_state: int | np.random.RandomState | None = None) -> np.ndarray:
        """Draw rows from the fitted flow, as they are: `resample` has those that are weighted.

        Parameters
        ----------
        n_samples : int, default=1
        random_state : int, RandomState instance or None, default=None

        Returns
        -------
        X : ndarray of shape (n_samples, n_features)
        """
        generator = torch.Generator().manual_seed(make_seed(random_state))
        return self._evaluator.sample(check_n_samples(n_samples), generator)

    @shield()
    def transform(self, X: ArrayLike) -> np.ndarray:
        """Map rows to the latent space, where the fitted density is the standard normal.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        Z : ndarray of shape (n_samples, n_features)
        """
        return self._evaluator.to_latent(self._table(X))

    @shield()
    def inverse_transform(self, Z: ArrayLike) -> np.ndarray:
        """Map latent rows back: the inverse of `transform`.

        Parameters
        ----------
        Z : array-like of shape (n_samples, n_features)

        Returns
        -------
        X : ndarray of shape (n_samples, n_features)
        """
        check_is_fitted(self, "flow_")
        Z = check_array(Z, dtype=[np.float64, np.float32], input_name="Z")
        if Z.shape[1] != self.n_features_in_:
            raise ValueError(
                f"Z has {Z.shape[1]} features, but {type(self).__name__} is expecting {self.n_features_in_} features: "
                "one latent column for each column."
            )
        return self._evaluator.from_latent(Z)
