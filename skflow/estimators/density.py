"""The density estimator."""

from __future__ import annotations

import functools
import weakref
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from sklearn.base import ClassNamePrefixFeaturesOutMixin, DensityMixin, TransformerMixin
from sklearn.utils.validation import check_array, check_is_fitted

from ..flows.distributions.mixed_distribution import MixedDistribution
from ..flows.flow import Flow
from ..inference.observed import Observed
from ..persistence.attributes import optional
from ..persistence.registry import savable
from ..training.mixed import MixedFitting
from ..utils.global_settings import shield
from .base import BaseFlow
from .encoding import TableEncoding, as_table
from .lazy import lazy_on_dask
from .mixed_tables import MixedTables
from .parameters import adds_to
from .saved import FITTED, MORE
from .saved_columns import columns_disagree, is_columns
from .shards import data_parallel, gathered, shard_fitting
from .sklearn_compat import StrOptions, fit_context, with_callbacks
from .stream import sampled
from .table_kinds import refuse_kind
from .validation import check_bounds, check_n_samples, make_seed

if TYPE_CHECKING:
    from typing_extensions import Self

STRATEGIES = "sample", "mean", "mode"
ROWS_FOR_PROPOSAL = 3_000
_PROPOSALS: weakref.WeakKeyDictionary[Flow, Flow] = weakref.WeakKeyDictionary()  # by the flow that they are near to


@savable(FITTED, {**MORE, "_columns": optional(is_columns)}, columns_disagree)
class FlowDensity(ClassNamePrefixFeaturesOutMixin, TransformerMixin, DensityMixin, MixedTables, BaseFlow):
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
    bounds : None, pair, list of pairs or dict, default=None
        ``(low, high)`` for every column, or one pair a column, with None for no bound, or a dict of pairs by the names
        of columns. The density is zero outside.
    max_iter : int or "auto", default="auto"
        Greatest number of passes over the table.
    batch_size : int or "auto", default="auto"
        Rows of a training step.
    learning_rate_init : "auto" or float, default="auto"
        Step of SOAP [4]_, Adam in the eigenbases of the gradients' covariances, after the warm-up; it decays along a
        cosine. "auto" is 0.008 up to 20,000 training rows, and falls with the fourth root of their number beyond.
    alpha : "auto" or float, default="auto"
        Decoupled weight decay of the flow's matrices, not of the base distribution. "auto" is 40 times the number of
        columns over the number of training rows, 10 at most.
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
    categorical_features : "from_dtype" or array-like, default="from_dtype"
        Which columns are categories, whose score is a probability: those of text, truth values and categorical types;
        or columns by names, by numbers, or by a truth value each. Numbers, whole ones too, have a density otherwise.
    atoms : dict, default=None
        Values that have a probability of their own, by the names or numbers of their columns, such as
        ``{"rain": 0, "score": [0, 100]}``: elsewhere the column has a density.
    handle_unknown : {"infrequent", "error"}, default="infrequent"
        What `score_samples` does about a category that the training table did not have: it has the probability of half
        a row; or it is refused.
    random_state : int, RandomState instance or None, default=None
        The source of every random choice. None takes fresh entropy and leaves numpy's global generator alone.
    device : str, default="auto"
        "auto" (a GPU where there is one), or a torch device such as "cpu". Resolved whenever a method is called.
    checkpoint : path-like or None, default=None
        A file in which `fit` keeps how far it has come, every half a minute: called again with the same parameters and
        table after its process was killed, it goes on from there and ends, bit for bit, where it would have ended. The
        file is removed at the end. None for none.
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
    .. [4] Vyas, Morwani, Zhao, Kwun, Shapira, Brandfonbrener, Janson & Kakade, "SOAP: Improving and Stabilizing Shampoo
       using Adam", ICLR 2025, algorithm 3.

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

    _answers_holes = True
    _parameter_constraints: dict = {
        **BaseFlow._parameter_constraints,
        "categorical_features": [StrOptions({"from_dtype"}), "array-like"],
        "atoms": [None, dict],
        "handle_unknown": [StrOptions({"infrequent", "error"})],
    }

    @adds_to(BaseFlow)
    def __init__(
        self,
        *,
        categorical_features: ArrayLike | str = "from_dtype",
        atoms: dict | None = None,
        handle_unknown: str = "infrequent",
    ):
        self.categorical_features = categorical_features
        self.atoms = atoms
        self.handle_unknown = handle_unknown

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
    ) -> Self:
        """Fit the flow by maximum likelihood.

        Parameters
        ----------
        X : array-like or frame of shape (n_samples, n_features), or a stream
            At least two rows, of numbers, categories, truth values, text, times and durations; NaN, None or NA where
            nothing has been observed. A stream is the path of a Parquet file or folder, a pattern such as
            ``"folder/*.parquet"``, a ``pyarrow.dataset.Dataset``, or anything that gives frames or arrays whenever it
            is iterated; its columns are numbers, and it need not fit into memory.
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
            For infinity in ``X`` (the column is named), and for weights that are negative or all zero; for a stream
            with columns of other things than numbers, or of other columns in one file than in the rest. The previous
            fit, if there is one, stays usable.
        FileNotFoundError
            Where no file matches a path.
        RuntimeError
            Where several processes fit together, and another one has failed or was lost.
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
            go_on = self.warm_start and hasattr(self, "flow_")
            X, fitting_of = sampled(self, X, go_on, sample_weight=sample_weight, groups=groups)
            own = as_table(X), sample_weight, groups
            X, sample_weight, groups, places = gathered(*own, apart=fitting_of is None and not self._is_mixed(own[0]))
            if places is not None:
                fitting_of = functools.partial(shard_fitting, self, *own, places)
            go_on = self.warm_start and not self._is_mixed(X)
            return self._fit_flow(X, y, sample_weight, groups, go_on=go_on, fitting_of=fitting_of)

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
        X = as_table(X)
        if self._is_mixed(X):
            raise ValueError(
                f"{type(self).__name__}.partial_fit takes complete tables of numbers: fit tables with categories or "
                "missing values as a whole, with fit."
            )
        with self._keep_previous_fit():
            return self._fit_flow(X, y, sample_weight, go_on=True, one_pass=True)

    @lazy_on_dask()
    @shield()
    def score_samples(self, X: ArrayLike, *, return_std: bool = False) -> np.ndarray | tuple[np.ndarray, np.ndarray]:
        """Log-density of each row, or of what is observed of it.

        Parameters
        ----------
        X : array-like or frame of shape (n_samples, n_features)
            NaN, None or NA where nothing has been observed: that is integrated out.
        return_std : bool, default=False
            Whether to return the standard error as well.

        Returns
        -------
        log_density : ndarray of shape (n_samples,)
            Natural logarithm (nats) of the density of the numbers, in the units of ``X`` (of times and durations in
            seconds), times the probability of the categories; float32 for float32 rows, else float64. Exactly ``-inf``
            outside declared ``bounds``, finite everywhere else.
        log_density_std : ndarray of shape (n_samples,)
            Its standard error: zero for complete rows, and wherever the integral is known in closed form.
        """
        X = self._table(X)
        holes = np.isnan(X.sum(dtype=float)) and np.isnan(X).any()
        if holes:
            log_density, error = self._observed().log_density(X)
        else:
            log_density, error = self._evaluator.log_density(X), np.zeros(len(X))
        return (log_density, error) if return_std else log_density

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
    def sample(self, n_samples: int = 1, random_state: int | np.random.RandomState | None = None) -> Any:
        """Draw rows from the fitted density.

        Parameters
        ----------
        n_samples : int, default=1
        random_state : int, RandomState instance or None, default=None

        Returns
        -------
        X : ndarray or frame of shape (n_samples, n_features)
            A frame of the same library, names and types where the estimator was fitted to a frame: whole numbers are
            whole, and values that lie on a grid, such as prices, are of it.
        """
        check_is_fitted(self, "flow_")
        generator = torch.Generator().manual_seed(make_seed(random_state))
        return self._decoded(self._evaluator.sample(check_n_samples(n_samples), generator))

    @shield()
    def impute(
        self, X: ArrayLike, strategy: str = "sample", random_state: int | np.random.RandomState | None = None
    ) -> Any:
        """Fill what is missing from rows, given the rest of each row.

        It is also the way to draw rows of which some is given: a table with age and sex filled in and the rest missing
        comes back with rows of that age and sex.

        Parameters
        ----------
        X : array-like or frame of shape (n_samples, n_features)
            NaN, None or NA where something is missing; every row may have other holes.
        strategy : {"sample", "mean", "mode"}, default="sample"
            Draws from the conditional distribution; or its mean (of categories the likeliest one); or the likeliest of
            64 draws.
        random_state : int, RandomState instance or None, default=None
            For "sample".

        Returns
        -------
        X : ndarray or frame of shape (n_samples, n_features)
            As it came, the holes filled.
        """
        if strategy not in STRATEGIES:
            raise ValueError(f"strategy must be one of {', '.join(map(repr, STRATEGIES))}. Got {strategy!r} instead.")
        X = as_table(X)
        numbers = self._table(X)
        generator = torch.Generator().manual_seed(make_seed(random_state))
        filled = self._observed().impute(numbers, strategy, generator)
        return self._decoded(filled, X)

    @lazy_on_dask(columns=lambda self: list(self.get_feature_names_out()))
    @shield()
    def transform(self, X: ArrayLike) -> np.ndarray:
        """Map rows to the latent space, where the fitted density is the standard normal.

        Of a table with categories the numbers are mapped, to where the flow's density given the categories is standard
        normal; a category becomes its place among those of its column, in order. What is missing from a row is first
        filled by its conditional mean, as `impute` has it. A column with atoms has one more latent column, after all
        others: the place of the atom, or one beyond the last.

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
        X = self._table(X)
        if np.isnan(X.sum(dtype=float)) and np.isnan(X).any():
            X = self._observed().impute(X, "mean", torch.Generator())
        return self._evaluator.to_latent(X)

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
        if Z.shape[1] != self._n_features_out:
            raise ValueError(
                f"Z has {Z.shape[1]} features, but {type(self).__name__} is expecting {self._n_features_out} features: "
                "one latent column for each column of the training table, and one more for each that has atoms."
            )
        X = self._evaluator.from_latent(Z)
        return X if self._n_features_out == self.n_features_in_ else TableEncoding(self._columns).joined(X)

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

    def _decoded(self, numbers, like=None):
        return numbers if self._columns is None else TableEncoding(self._columns).decode(numbers, like)

    def _observed(self) -> Observed:
        """What answers questions about rows with holes; no property, which `dir` would have computed."""
        flow = self.flow_
        if isinstance(flow.base, MixedDistribution):
            atoms = TableEncoding(self._columns).atoms
            return Observed(self._evaluator, Flow(flow.bijection, flow.base.trees), atoms)
        if flow not in _PROPOSALS:
            _PROPOSALS[flow] = self._fit_proposal()
        return Observed(self._evaluator, _PROPOSALS[flow])

    def _fit_proposal(self) -> Flow:
        """Of a flow of numbers alone, a density near it that knows its marginals, fitted to rows drawn from it."""
        rows = self._evaluator.sample(ROWS_FOR_PROPOSAL, torch.Generator().manual_seed(0)).astype(float)
        rows, bounds = rows[np.isfinite(rows).all(1)], check_bounds(self, rows[:0])
        n_categories = np.zeros(rows.shape[1], dtype=np.int64)
        where = 0, torch.device("cpu"), bounds, lambda fit: False, None
        return MixedFitting(self, rows, None, None, *where, n_categories).closed_form()

    @property
    def _n_features_out(self):
        base = self.flow_.base
        return len(base.n_categories) if isinstance(base, MixedDistribution) else self.n_features_in_

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags
