"""The density estimator."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import ArrayLike
from sklearn.base import ClassNamePrefixFeaturesOutMixin, DensityMixin, TransformerMixin
from sklearn.utils.validation import check_array, check_is_fitted

from ..persistence.registry import savable
from ..utils.global_settings import shield
from .base import BaseFlow
from .saved import FITTED, MORE, disagreement
from .sklearn_compat import fit_context, with_callbacks
from .table_kinds import refuse_kind
from .validation import check_n_samples, make_seed

if TYPE_CHECKING:
    from typing_extensions import Self


@savable(FITTED, MORE, disagreement)
class FlowDensity(ClassNamePrefixFeaturesOutMixin, TransformerMixin, DensityMixin, BaseFlow):
    """Density estimation by a normalizing flow.

    A flow maps a row x through bijections f to a latent row z with a simple base distribution; the change of variables
    gives an exact, normalised density in the units of the data::

        log p(x) = log p_Z(f(x)) + log |det df/dx|

    Every preprocessing step is a bijection of the chain and pays its log-determinant, so nothing needs scaling before.

    Parameters
    ----------
    flow : str or callable, default="nsf"
        The flow: "nice" (Dinh et al. 2014), "realnvp" (Dinh et al. 2017), "glow" (Kingma & Dhariwal 2018), "made" and
        "made-mog" (Germain et al. 2015), "maf" and "maf-mog" (Papamakarios et al. 2017), "iaf" (Kingma et al. 2016),
        "nsf" (autoregressive) and "nsf-coupling" (Durkan et al. 2019), "naf" (Huang et al. 2018), "bpf" (Ramasinghe
        et al. 2021), "sos" (Jaini et al. 2019), "gaussianization" (Meng et al. 2020), "planar" and "radial" (Rezende
        & Mohamed 2015), "sylvester" (van den Berg et al. 2018); or a callable ``(n_features, n_context) ->
        skflow.flows.Bijection``. The catalogue of flows in the documentation says when to choose which.
    depth : int or "auto", default="auto"
        Number of flow layers.
    hidden_layer_sizes : array-like of int or "auto", default="auto"
        Units of the hidden layers of each layer's network.
    n_bins : int or "auto", default="auto"
        Bins of the splines of "nsf" and "nsf-coupling", components of the mixtures of "made-mog", "maf-mog" and
        "gaussianization", units of "naf", degree of the polynomials of "bpf" and (half of it, before squaring) "sos".
    base : {"auto", "normal", "student-t", "mixture"}, default="auto"
        The base distribution: standard normal; independent Student t columns with learned degrees of freedom; or a
        mixture of full-covariance Gaussians that starts from expectation-maximisation, with its size chosen by held-out
        likelihood, and has one more broad component of the weight of a row. The last two are trained along. "auto"
        tries a mixture and a single Gaussian side by side.
    ordering : {"auto", "natural", "reversed", "random", "agnostic"}, default="auto"
        In which order the autoregressive flows ("made", "made-mog", "maf", "maf-mog", "iaf", "nsf", "naf", "bpf",
        "sos") condition the columns on each other: as they stand; last to first, turned round from layer to layer; or
        drawn at random for every layer. "auto" begins with the natural order and then turns round and draws at random
        by turns. "agnostic" draws a fresh order for every mini-batch, so that one network learns them all, and the
        fitted density is the mean of the densities under 8 fixed orders [3]_.
    bounds : None, pair or list of pairs, default=None
        ``(low, high)`` for every column, or one pair a column, with None for no bound. The density is zero outside.
    max_iter : int or "auto", default="auto"
        Greatest number of passes over the table.
    batch_size : int or "auto", default="auto"
        Rows of a training step.
    learning_rate_init : float, default=3e-3
        Step of AdamW after the warm-up; it decays along a cosine.
    alpha : float, default=1e-4
        Decoupled weight decay of the networks' weights and biases.
    early_stopping : bool, default=True
        Hold out rows, stop when their likelihood stops rising, and keep the state where it was highest.
    validation_fraction : float, default=0.1
        Share of the rows held out, at most 50,000 rows. Of fewer than 400 rows two parts of a fifth are held out, one
        at a time. With fewer than 500 rows a column (always under 1,000 rows, never beyond 10,000) the flow is in the
        end trained once more on all rows, for as many steps as were best.
    n_iter_no_change : int or "auto", default="auto"
        Passes without a better validation score after which the fit stops.
    tol : float, default=0.0
        Rise of the validation score, in nats a row, that counts as better.
    warm_start : bool, default=False
        Let `fit` go on from the previous solution.
    random_state : int, RandomState instance or None, default=None
        The source of every random choice. None takes fresh entropy and leaves numpy's global generator alone.
    device : str, default="auto"
        "auto" (a GPU where there is one), or a torch device such as "cpu". Resolved whenever a method is called.
    verbose : int, default=0
        Whether to show the progress of a fit.

    Attributes
    ----------
    flow_ : skflow.flows.Flow
        The torch module: ``flow_.log_prob(x)`` and ``flow_.sample(n)`` work on raw data units.
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Only where the columns have names.
    depth_, hidden_layer_sizes_, n_bins_, batch_size_
        What "auto" came to.
    n_iter_ : int
        Passes made.
    loss_curve_ : list of float
        Mean negative log-likelihood of the training rows in each pass, in nats.
    validation_scores_ : list of float or None
        Mean log-likelihood of the held-out rows after each pass, in nats.
    best_validation_score_ : float or None

    See Also
    --------
    sklearn.mixture.GaussianMixture : A mixture of Gaussians.
    sklearn.neighbors.KernelDensity : A kernel estimate.

    References
    ----------
    .. [1] Papamakarios, Nalisnick, Rezende, Mohamed & Lakshminarayanan, "Normalizing Flows for Probabilistic Modeling
       and Inference", JMLR 22 (2021), eq. 1.
    .. [2] Durkan, Bekasov, Murray & Papamakarios, "Neural Spline Flows", NeurIPS 2019.
    .. [3] Germain, Gregor, Murray & Larochelle, "MADE: Masked Autoencoder for Distribution Estimation", ICML 2015,
       section 4.2.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skflow import FlowDensity
    >>> X = load_iris().data
    >>> density = FlowDensity(random_state=0).fit(X)
    >>> density.score_samples(X[:3]).shape
    (3,)
    >>> density.sample(5, random_state=0).shape
    (5, 4)
    """

    @shield()
    @fit_context(prefer_skip_nested_validation=True)
    @with_callbacks
    def fit(
        self,
        X: ArrayLike,
        y: object = None,
        sample_weight: ArrayLike | None = None,
        groups: ArrayLike | None = None,
    ) -> Self:
        """Fit the flow by maximum likelihood.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Finite numbers, at least two rows.
        y : ignored
        sample_weight : array-like of shape (n_samples,), optional
            Non-negative weights of the rows, in the training and in the validation likelihood alike.
        groups : array-like of shape (n_samples,), optional
            Labels of rows that belong together, such as those of one patient: they are held out together. Rows that are
            copies of each other always are.

        Returns
        -------
        self : FlowDensity

        Raises
        ------
        ValueError
            For NaN, infinity or text in ``X`` (the column is named), and for weights that are negative or all zero. The
            previous fit, if there is one, stays usable.
        KeyboardInterrupt
            Where the fit is one of many, see below. The previous one stays usable then, too.

        Notes
        -----
        Ctrl-C ends a fit that was called by itself, or as a step of a Pipeline, with a warning; the best flow so far is
        kept. Within a search, a cross-validation, an ensemble, joblib, or a process started by others, the interrupt is
        passed on, so that they end instead of going on with the next fit. So is a second Ctrl-C within two seconds,
        which also ends a loop of your own.
        """
        with self._keep_previous_fit():
            return self._fit_flow(X, y, sample_weight, groups, go_on=self.warm_start)

    @shield()
    @fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X: ArrayLike, y: object = None, sample_weight: ArrayLike | None = None) -> Self:
        """Train on a batch of rows: one pass, without a validation part.

        Preprocessing and base distribution come from the first 2,000 rows: until then the fit starts again from all
        rows so far whenever their number has doubled. A sample of the rows is kept; where it shows, later on, that a
        column has left its range, the fit starts again from that sample, with a warning.

        Ctrl-C is passed on, and leaves the estimator as it was before the batch.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : ignored
        sample_weight : array-like of shape (n_samples,), optional

        Returns
        -------
        self : FlowDensity
        """
        with self._keep_previous_fit():
            return self._fit_flow(X, y, sample_weight, go_on=True, one_pass=True)

    @shield()
    def score_samples(self, X: ArrayLike) -> np.ndarray:
        """Log-density of each row.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        log_density : ndarray of shape (n_samples,)
            Natural logarithm (nats) of the density in the units of ``X``; float32 for float32 rows, else float64.
            Exactly ``-inf`` outside declared ``bounds``, finite everywhere else.
        """
        return self._evaluator.log_density(self._table(X))

    @shield()
    def score(self, X: ArrayLike, y: object = None) -> float:
        """Mean log-density of the rows, in nats: higher is better.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : ignored

        Returns
        -------
        score : float
        """
        return float(np.mean(self.score_samples(X), dtype=float))

    @shield()
    def sample(self, n_samples: int = 1, random_state: int | np.random.RandomState | None = None) -> np.ndarray:
        """Draw rows from the fitted density.

        Parameters
        ----------
        n_samples : int, default=1
        random_state : int, RandomState instance or None, default=None

        Returns
        -------
        X : ndarray of shape (n_samples, n_features)
        """
        check_is_fitted(self, "flow_")
        generator = torch.Generator().manual_seed(make_seed(random_state))
        return self._evaluator.sample(check_n_samples(n_samples), generator)

    @shield()
    def transform(self, X: ArrayLike) -> np.ndarray:
        """Map rows to the latent space, where the fitted density is the standard normal.

        With ``ordering="agnostic"`` the density is a mean over column orderings, and no one map makes it normal: this
        is then the map of the first ordering, invertible as ever, under which that ordering's density is standard
        normal.

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
        """Map latent rows back to data: the inverse of `transform`.

        Parameters
        ----------
        Z : array-like of shape (n_samples, n_features)

        Returns
        -------
        X : ndarray of shape (n_samples, n_features)
        """
        check_is_fitted(self, "flow_")
        refuse_kind(Z, "Z")
        Z = check_array(Z, dtype=[np.float64, np.float32], input_name="Z")
        if Z.shape[1] != self.n_features_in_:
            raise ValueError(
                f"Z has {Z.shape[1]} features, but {type(self).__name__} is expecting {self.n_features_in_} features: "
                "one latent column for each column of the training table."
            )
        return self._evaluator.from_latent(Z)

    @shield()
    def bic(self, X: ArrayLike) -> float:
        """Bayesian information criterion on ``X``: lower is better.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        bic : float
        """
        log_density = self.score_samples(X)
        return float(-2 * log_density.sum(dtype=float) + self.flow_.n_parameters() * np.log(len(log_density)))

    @shield()
    def aic(self, X: ArrayLike) -> float:
        """Akaike information criterion on ``X``: lower is better.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        aic : float
        """
        log_density = self.score_samples(X)
        return float(-2 * log_density.sum(dtype=float) + 2 * self.flow_.n_parameters())

    @property
    def _n_features_out(self):
        return self.n_features_in_

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags
