"""The classifier."""

from __future__ import annotations

import functools
from numbers import Integral

import numpy as np
import torch
from numpy.typing import ArrayLike
from sklearn.base import ClassifierMixin
from sklearn.utils import assert_all_finite, check_consistent_length, column_or_1d
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted

from .. import engine
from ..flows.distributions.class_mixture import ClassMixture
from ..flows.distributions.mixed_distribution import MixedDistribution
from ..flows.flow import Flow
from ..inference.mixed_classes import MixedClasses
from ..inference.observed import Observed
from ..persistence.attributes import is_number, is_text, numbers, optional
from ..persistence.registry import savable
from ..training.classification import ClassificationFitting
from ..training.fit import Fit
from ..training.mixed_classification import MixedClassificationFitting
from ..utils.global_settings import shield
from .base import BaseFlow
from .encoding import TableEncoding, as_table
from .mixed_tables import MixedTables
from .parameters import adds_to
from .saved import FITTED, MORE, disagreement
from .saved_columns import columns_disagree, is_columns
from .shards import data_parallel, gathered
from .sklearn_compat import StrOptions, fit_context, with_callbacks
from .table_kinds import refuse_masked
from .validation import make_seed

CLASSES = {"classes_": is_text, "class_prior_": numbers("C"), "temperature_": is_number}


def _disagreement(classifier):
    """As `disagreement`, and of the classes."""
    mixture, n = getattr(classifier.flow_, "base", None), len(classifier.classes_)
    if isinstance(mixture, MixedDistribution):
        if len(classifier.class_prior_) != n or int(mixture.n_categories[-1]) != n:
            return f"it has {n} classes, and a density or priors of others"
        return columns_disagree(classifier, n_more=1)
    if not isinstance(mixture, ClassMixture):
        return "its flow is no mixture of classes"
    if len(mixture.priors) != n or len(classifier.class_prior_) != n:
        return f"it has {n} classes, and densities or priors of others"
    if len(set(classifier.classes_.tolist())) != n:
        return "a class stands twice among its classes"
    return disagreement(classifier)


@savable({**FITTED, **CLASSES}, {**MORE, "_columns": optional(is_columns)}, _disagreement)
class FlowClassifier(ClassifierMixin, MixedTables, BaseFlow):
    """Classification by the densities of the classes.

    Every class c has a density p(x | c); Bayes' theorem gives the probabilities of the classes, and the marginal
    density says which rows are of no known class [1]_::

        p(c | x) = pi_c p(x | c)^(1/T) / sum_k pi_k p(x | k)^(1/T)        p(x) = sum_c pi_c p(x | c)

    p(x | c) is a mixture of three kinds of densities that share what the classes have in common: Gaussians, whose
    covariances are shrunk towards the one within all classes and its diagonal [2]_; kernel estimates; and conditional
    flows behind the whitening of each class, one for each of five folds left out. What they say of the rows that they
    have not seen decides how much is shrunk, when the flows stop, how much each kind counts, and the temperature T, of
    one at least, that makes the probabilities calibrated [3]_.

    A table with categories or with holes is fitted as `FlowDensity` fits it, the class one more category, and p(x | c)
    is the density of what is observed of x; T is one.

    Parameters
    ----------
    flow : str or callable, default="nsf"
        As in `FlowDensity`; the context of the flow is the class, one-hot.
    categorical_features : "from_dtype" or array-like, default="from_dtype"
        As in `FlowDensity`.
    priors : array-like of shape (n_classes,) or None, default=None
        The probabilities pi_c of the classes in the order of `classes_`. None takes their shares of the rows.
    depth, hidden_layer_sizes, n_bins, ordering, bounds : default="auto" or None
        As in `FlowDensity`.
    base : {"auto", "normal", "student-t", "mixture"}, default="auto"
        As in `FlowDensity`, of the whitened rows; "auto" is a Gaussian.
    max_iter, batch_size, learning_rate_init, alpha, early_stopping, n_iter_no_change, tol : number
        As in `FlowDensity`, for each flow.
    validation_fraction : float, default=0.1
        Share of the rows held out of a table of 10,000 rows or more, which has one flow. Of a smaller table every fifth
        of the rows is held out once.
    warm_start : bool, default=False
        Has no effect: flows of another split can't go on.
    random_state, device, checkpoint, verbose : see below
        As in `FlowDensity`.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The labels; those of rows of weight zero alone are not among them.
    class_prior_ : ndarray of shape (n_classes,)
        The probabilities of the classes before a row is seen.
    temperature_ : float
        T.
    flow_ : skflow.flows.Flow
        The marginal density as a torch module, ``flow_.log_prob(x)`` on raw data units.
    n_features_in_, feature_names_in_, n_iter_, loss_curve_, validation_scores_, best_validation_score_
        As in `FlowDensity`; the curves are means over the flows, of log p(x | c) in nats.

    See Also
    --------
    sklearn.discriminant_analysis.QuadraticDiscriminantAnalysis : A Gaussian for every class.
    sklearn.naive_bayes.GaussianNB : Independent columns.

    References
    ----------
    .. [1] Hastie, Tibshirani & Friedman, "The Elements of Statistical Learning", 2nd edition (2009), eq. 4.7.
    .. [2] Friedman, "Regularized Discriminant Analysis", JASA 84 (1989), eq. 18.
    .. [3] Guo, Pleiss, Sun & Weinberger, "On Calibration of Modern Neural Networks", ICML 2017, eq. 9.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skflow import FlowClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> classifier = FlowClassifier(random_state=0).fit(X, y)
    >>> classifier.predict(X[:3])
    array([0, 0, 0])
    >>> classifier.predict_proba(X[:3]).shape
    (3, 3)
    >>> known, unknown = classifier.score_samples([X[0], 3 * X[0]])
    >>> bool(known > unknown + 10)
    True
    """

    _fitting = ClassificationFitting
    _mixed_fitting = MixedClassificationFitting
    _parameter_constraints: dict = {
        **BaseFlow._parameter_constraints,
        "categorical_features": [StrOptions({"from_dtype"}), "array-like"],
        "priors": [None, "array-like"],
    }

    @adds_to(BaseFlow)
    def __init__(self, *, priors: ArrayLike | None = None, categorical_features: ArrayLike | str = "from_dtype"):
        self.priors = priors
        self.categorical_features = categorical_features

    @shield()
    @data_parallel
    @fit_context(prefer_skip_nested_validation=True)
    @with_callbacks
    def fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> FlowClassifier:
        """Fit the densities of the classes.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Numbers, categories, truth values, text, times and durations; NaN, None or NA where nothing has been
            observed.
        y : array-like of shape (n_samples,)
            Labels of two classes or more: numbers, strings or booleans.
        sample_weight : array-like of shape (n_samples,), optional
            Non-negative weights of the rows; they count in the shares of the classes, too.

        Returns
        -------
        self : FlowClassifier

        Raises
        ------
        ValueError
            For infinity in ``X`` (the column is named), for weights that are negative or all zero, and for
            rows of one class alone. The previous fit, if there is one, stays usable.
        KeyboardInterrupt
            As in `FlowDensity.fit`.
        """
        with self._keep_previous_fit():
            X, y, sample_weight, _ = gathered(as_table(X), y, sample_weight)
            self._fit_flow(X, y, sample_weight, go_on=False, given=functools.partial(self._one_hot, y))
            self._set_priors()
        return self

    def _one_hot(self, y, X, weight):
        """The classes of the rows, and as a side effect `classes_`; a class of rows of weight zero has no column."""
        if y is None:
            raise ValueError(
                f"{type(self).__name__} requires y to be passed, but the target y is None: pass a label for each row."
            )
        refuse_masked(y, "y")
        y = column_or_1d(y, warn=True)
        assert_all_finite(y, input_name="y")
        check_classification_targets(y)
        check_consistent_length(X, y)
        present = np.ones(len(y), dtype=bool) if weight is None else weight > 0
        self.classes_, label = np.unique(y[present], return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(
                f"y holds one class, {self.classes_[0]!r}, among the rows of positive weight: {type(self).__name__} "
                "needs rows of at least 2 classes. For the density of one class take skflow.FlowDensity, and for what "
                "does not belong to it skflow.FlowOutlierDetector."
            )
        self._check_priors()
        out = np.zeros((len(y), len(self.classes_)))
        out[np.flatnonzero(present), label] = 1
        return out

    def _check_priors(self):
        if self.priors is None:
            return
        priors, n = np.asarray(self.priors, dtype=float), len(self.classes_)
        if priors.shape != (n,):
            raise ValueError(
                f"priors has shape {priors.shape}, but y holds {n} classes: give one probability for each of "
                f"{self.classes_.tolist()}, in this order."
            )
        if not (priors >= 0).all() or not np.isclose(priors.sum(), 1):
            raise ValueError(
                f"The 'priors' parameter must hold probabilities that add up to 1. Got {self.priors!r} instead: divide "
                "them by their sum."
            )

    def _set_priors(self):
        if self._fitted_to_mixed:
            prior = np.exp(self._mixed_classes.log_prior()) if self.priors is None else np.asarray(self.priors, float)
            self.class_prior_ = prior / prior.sum()
            return
        mixture = self.flow_.base
        if self.priors is not None:
            mixture.priors = torch.tensor(np.asarray(self.priors, dtype=float) / np.sum(self.priors)).to(mixture.priors)
        self.class_prior_ = mixture.priors.double().numpy().copy()

    def _fitted_attributes(self, fit: Fit) -> dict:
        return {**super()._fitted_attributes(fit), "temperature_": getattr(fit.latent, "temperature", 1.0)}

    @property
    def _mixed_classes(self) -> MixedClasses:
        """What answers for a table with categories or holes."""
        flow = self.flow_
        observed = Observed(self._evaluator, Flow(flow.bijection, flow.base.trees))
        return MixedClasses(observed, len(self.classes_))

    def _log_joint(self, X):
        """Log-density of the rows of a table with categories or holes in every class, and of the class."""
        with np.errstate(divide="ignore"):  # a prior may be zero
            return self._mixed_classes.class_log_density(X) + np.log(self.class_prior_)

    def _log_posterior(self, X):
        X = self._table(X)
        if self._fitted_to_mixed:
            joint = self._log_joint(X)
            return joint - np.logaddexp.reduce(joint, axis=1, keepdims=True)
        log_prob = functools.partial(engine.log_prob, kernels=self._kernels)

        def posterior(flow, x):
            mixture = flow.base
            return mixture.posterior(mixture.class_log_prob(flow.bijection(x)[0], evaluate=log_prob))

        return self._evaluator.by_chunks(posterior, X).astype(float)

    @shield()
    def predict_log_proba(self, X: ArrayLike) -> np.ndarray:
        """Logarithms of the probabilities of the classes.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        log_proba : ndarray of shape (n_samples, n_classes)
            In the order of `classes_`.
        """
        return self._log_posterior(X)

    @shield()
    def predict_proba(self, X: ArrayLike) -> np.ndarray:
        """Probabilities of the classes.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        proba : ndarray of shape (n_samples, n_classes)
            In the order of `classes_`.
        """
        proba = np.exp(self._log_posterior(X))
        return proba / proba.sum(1, keepdims=True)

    @shield()
    def decision_function(self, X: ArrayLike) -> np.ndarray:
        """Log-odds of the second class where there are two, else the log-probabilities of all.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        scores : ndarray of shape (n_samples,) or (n_samples, n_classes)
        """
        log_proba = self._log_posterior(X)
        return log_proba[:, 1] - log_proba[:, 0] if len(self.classes_) == 2 else log_proba

    @shield()
    def predict(self, X: ArrayLike) -> np.ndarray:
        """The most probable class of each row.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        labels : ndarray of shape (n_samples,)
        """
        best = self._log_posterior(X).argmax(1)
        return self.classes_[best]

    @shield()
    def score_samples(self, X: ArrayLike) -> np.ndarray:
        """Log-density of each row, whatever its class: low for rows of no known class.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        log_density : ndarray of shape (n_samples,)
            Natural logarithm (nats) of ``sum_c class_prior_[c] p(x | c)`` in the units of ``X``; float32 for float32
            rows, else float64.
        """
        X = self._table(X)
        if self._fitted_to_mixed:
            return np.logaddexp.reduce(self._log_joint(X), axis=1)
        log_prob = functools.partial(engine.log_prob, kernels=self._kernels)

        def marginal(flow, x):
            z, log_abs_det = flow.bijection(x)
            return flow.base.log_prob(z, evaluate=log_prob) + log_abs_det

        return self._evaluator.by_chunks(marginal, X)

    @shield()
    def sample(
        self, n_samples: int = 1, y: ArrayLike | None = None, random_state: int | np.random.RandomState | None = None
    ) -> np.ndarray | tuple[np.ndarray, np.ndarray]:
        """Draw rows: of all classes with their labels, or of given ones.

        Parameters
        ----------
        n_samples : int, default=1
            Number of rows; for a list of labels the number of rows of each.
        y : label or array-like of labels of shape (n_labels,), optional
            One or several of `classes_`.
        random_state : int, RandomState instance or None, default=None

        Returns
        -------
        X : ndarray of shape (n_samples, n_features), or (n_labels * n_samples, n_features) for a list of labels
        y : ndarray of shape (n_samples,)
            Only where ``y`` is None: the classes, drawn by `class_prior_`.
        """
        check_is_fitted(self, "flow_")
        if isinstance(n_samples, bool) or not isinstance(n_samples, Integral) or n_samples < 1:
            raise ValueError(f"n_samples must be an integer of at least 1. Got {n_samples!r} instead.")
        generator = torch.Generator().manual_seed(make_seed(random_state))
        if self._fitted_to_mixed:
            return self._sample_mixed(int(n_samples), y, generator)
        mixture = self.flow_.base
        with torch.no_grad():
            if y is None:
                z, label = mixture.sample_with_label(int(n_samples), generator)
            else:
                label = torch.from_numpy(np.repeat(self._places(y), int(n_samples)))
                z = mixture.sample_of(label, generator)
            X = self.flow_.bijection.inverse(z)[0].numpy()
        return X if y is not None else (X, self.classes_[label.numpy()])

    def _sample_mixed(self, n_samples, y, generator):
        if y is None:
            prior = torch.from_numpy(self.class_prior_)
            label = torch.multinomial(prior, n_samples, replacement=True, generator=generator).numpy()
        else:
            label = np.repeat(self._places(y), n_samples)
        X = TableEncoding(self._columns).decode(self._mixed_classes.sample(label, generator))
        return X if y is not None else (X, self.classes_[label])

    def _places(self, y):
        """Where labels stand in `classes_`."""
        place = {label: i for i, label in enumerate(self.classes_.tolist())}
        labels = np.atleast_1d(np.asarray(y)).tolist()
        unknown = [label for label in labels if label not in place]
        if unknown:
            raise ValueError(f"y holds {unknown[0]!r}, which is none of the classes {list(place)}.")
        return np.array([place[label] for label in labels], dtype=int)
