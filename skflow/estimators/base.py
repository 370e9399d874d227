"""What every estimator of the family shares: parameters, the numpy-torch boundary, fitting and scoring."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from numbers import Integral, Real

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.validation import check_is_fitted

from ..engine import threads_for
from ..flows.bijections.bijection import Bijection
from ..flows.registry import FLOWS, ORDERINGS, check_ordering
from ..inference.evaluator import Evaluator
from ..training import distributed
from ..training.density import DensityFitting
from ..training.fit import Fit, Fitting
from ..training.mixed import MixedFitting
from ..training.progress_bar import ProgressBar
from ..training.reservoir import Stream
from ..utils.closest import closest
from ..utils.user_warnings import warn_user
from .checkpoints import seeded
from .repr import ReprSupport
from .saved import Saving
from .sklearn_compat import CALLBACK_STATE, CallbackSupport, Interval, InvalidParameterError, StrOptions, follow_fit
from .validation import (
    check_bounds,
    check_groups,
    check_hidden_layer_sizes,
    check_table,
    check_weights,
    column_name,
    make_seed,
    resolve_device,
)

AUTO = StrOptions({"auto"})
AT_LEAST_ONE = Interval(Integral, 1, None, closed="left")
POSITIVE = Interval(Real, 0, None, closed="neither")
NON_NEGATIVE = Interval(Real, 0, None, closed="left")


class BaseFlow(Saving, ReprSupport, CallbackSupport, BaseEstimator):
    """Base of the estimators: fits a normalizing flow by maximum likelihood and scores rows with it.

    Not to be used by itself; the parameters are described in `FlowDensity`.
    """

    # What fits the flow, given the parameters and a table of numbers, or one with categories or holes.
    _fitting = DensityFitting
    _mixed_fitting: type[Fitting] = MixedFitting
    _parameter_constraints: dict = {
        "flow": [StrOptions(set(FLOWS)), callable],
        "depth": [AUTO, AT_LEAST_ONE],
        "hidden_layer_sizes": [AUTO, "array-like", AT_LEAST_ONE],
        "n_bins": [AUTO, AT_LEAST_ONE],
        "base": [StrOptions({"auto", "normal", "student-t", "mixture"})],
        "ordering": [StrOptions(set(ORDERINGS))],
        "bounds": [None, "array-like", dict],
        "max_iter": [AUTO, AT_LEAST_ONE],
        "batch_size": [AUTO, AT_LEAST_ONE],
        "learning_rate_init": [POSITIVE, AUTO],
        "alpha": [NON_NEGATIVE, AUTO],
        "early_stopping": ["boolean"],
        "validation_fraction": [Interval(Real, 0, 1, closed="neither")],
        "n_iter_no_change": [AUTO, AT_LEAST_ONE],
        "tol": [NON_NEGATIVE],
        "warm_start": ["boolean"],
        "random_state": ["random_state"],
        "device": [str],
        "checkpoint": [None, str, os.PathLike],
        "verbose": ["verbose"],
    }

    def __init__(
        self,
        flow: str | Callable[[int, int], Bijection] = "nsf",
        *,
        depth: int | str = "auto",
        hidden_layer_sizes: ArrayLike | str = "auto",
        n_bins: int | str = "auto",
        base: str = "auto",
        ordering: str = "auto",
        bounds: Sequence | None = None,
        max_iter: int | str = "auto",
        batch_size: int | str = "auto",
        learning_rate_init: float | str = "auto",
        alpha: float | str = "auto",
        early_stopping: bool = True,
        validation_fraction: float = 0.1,
        n_iter_no_change: int | str = "auto",
        tol: float = 0.0,
        warm_start: bool = False,
        random_state: int | np.random.RandomState | None = None,
        device: str = "auto",
        checkpoint: str | os.PathLike | None = None,
        verbose: int = 0,
    ):
        self.flow = flow
        self.depth = depth
        self.hidden_layer_sizes = hidden_layer_sizes
        self.n_bins = n_bins
        self.base = base
        self.ordering = ordering
        self.bounds = bounds
        self.max_iter = max_iter
        self.batch_size = batch_size
        self.learning_rate_init = learning_rate_init
        self.alpha = alpha
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.tol = tol
        self.warm_start = warm_start
        self.random_state = random_state
        self.device = device
        self.checkpoint = checkpoint
        self.verbose = verbose

    def _validate_params(self):
        if isinstance(self.flow, str) and self.flow not in FLOWS:
            raise InvalidParameterError(
                f"The 'flow' parameter of {type(self).__name__} must be a str among {sorted(FLOWS)} or a callable "
                f"(n_features, n_context) -> Bijection. Got {self.flow!r} instead.{closest(self.flow, FLOWS)}"
            )
        super()._validate_params()
        check_hidden_layer_sizes(self.hidden_layer_sizes)
        check_ordering(self.flow, self.ordering)

    @contextmanager
    def _keep_previous_fit(self) -> Iterator[None]:
        """Leave the estimator as it was if the block raises: nothing is lost on bad input."""
        before = dict(vars(self))
        try:
            yield
        except BaseException:
            for name in set(vars(self)) - set(before) - CALLBACK_STATE:
                delattr(self, name)
            vars(self).update(before)
            raise

    def _fit_flow(
        self, X, y, sample_weight, groups=None, *, go_on: bool, one_pass: bool = False, given=None, fitting_of=None
    ):
        """Fit from scratch or, where ``go_on`` is true and there is one, train the present flow further.

        ``given`` makes the context of the validated rows and weights. Where ``X`` is a sample of more rows,
        ``fitting_of`` makes of the validated sample what fits a flow to all of them.
        """
        go_on = go_on and hasattr(self, "flow_")
        X, kinds = self._numbers(X, reset=not go_on, min_rows=1 if go_on else 2)
        bounds = check_bounds(self, X)
        weight, groups = check_weights(sample_weight, X, least=1 if go_on else 2), check_groups(groups, X)
        context = None if given is None else given(X, weight)
        device = resolve_device(self.device)
        previous = (self.flow_, self._optimizer_state) if go_on else (None, None)
        batches = self._joined_stream(X, weight) if one_pass else None
        if batches is not None and batches.starts:
            previous = (None, None)
            if batches.n_seen > len(X):
                X, weight = batches.X, batches.weight

        fitting = None if fitting_of is None else fitting_of(X)

        def train(on_iteration):
            rows = X, weight, groups, seed, device, bounds, on_iteration, context
            if kinds is not None:
                fits = self._mixed_fitting(self, *rows, *kinds)
            else:
                fits = (fitting or self._fitting)(self, *rows)
            if one_pass:
                return fits.one_pass(*previous)
            return fits.further(*previous) if go_on else fits.from_scratch()

        tables = [X, weight, groups, context]
        if go_on:
            tables += [tensor.numpy() for tensor in self.flow_.state_dict().values()]
        if fitting is not None:
            tables += fitting.keywords.get("shard", ())  # what this process has besides the sample
        # A pass over one batch is no fit to follow or to keep: callbacks and checkpoints belong to `fit` alone.
        with seeded(self, *tables, resumable=not one_pass) as seed:
            self._followed(train, nullcontext(lambda fitted: False) if one_pass else follow_fit(self, X, y))
        self._stream = batches
        return self

    def _numbers(self, X, *, reset: bool, min_rows: int = 1) -> tuple[np.ndarray, tuple[np.ndarray, ...] | None]:
        """The table as numbers, and of one with categories or holes the kinds of its columns: see `Fitting`."""
        return check_table(self, X, reset=reset, min_rows=min_rows), None

    def _followed(self, train: Callable[[Callable[[Fit], bool]], Fit], follow) -> Fit:
        """Train, with a progress bar and callbacks, and take over what comes of it."""
        bar, processes = None, distributed.current()

        def on_iteration(fit: Fit) -> bool:
            nonlocal bar
            if self.verbose and processes.part.rank == 0:
                bar = bar or ProgressBar(fit.plan.max_iter)
                bar.update(fit.progress)
            return announce(lambda: self._fitted_attributes(fit))

        # All but the training is many small operations, one after the other.
        with follow as announce, threads_for(0):
            fit = train(on_iteration)
        for module in fit.modules():  # machines may differ in the last digit
            processes.broadcast(module)
        if bar:
            bar.close(fit.progress)
        vars(self).update(self._fitted_attributes(fit))
        self._warn_about(fit)
        return fit

    def _joined_stream(self, X, weight):
        """What is remembered of the batches of `partial_fit`, this one included; None where `fit` came first."""
        fitted = hasattr(self, "flow_")
        if fitted and self._stream is None:
            return None
        stream = (self._stream if fitted else Stream(make_seed(self.random_state))).joined(X, weight)
        if len(stream.left):
            some = ", ".join(column_name(self, j) for j in stream.left[:5])
            warn_user(
                f"{type(self).__name__}: after {stream.n_seen} rows, columns lie elsewhere than in the first batches "
                f"({some}). The fit starts again from a sample of {len(stream.X)} rows; mix the rows of a table before "
                "they come in batches."
            )
        return stream

    def _fitted_attributes(self, fit: Fit) -> dict:
        progress, settings = fit.progress, fit.settings
        return {
            "flow_": fit.flow,
            "depth_": settings.depth,
            "hidden_layer_sizes_": settings.hidden_layer_sizes,
            "n_bins_": settings.n_bins,
            "batch_size_": fit.plan.batch_size,
            "n_iter_": progress.n_iter,
            "loss_curve_": list(progress.loss_curve),
            "validation_scores_": list(progress.validation_scores) or None,
            "best_validation_score_": progress.best_score if progress.validation_scores else None,
            "_optimizer_state": fit.optimizer_state or None,
            "_kernels": fit.plan.kernels,
        }

    def _warn_about(self, fit: Fit) -> None:
        name, how = type(self).__name__, fit.progress.stopped
        if how == "interrupted":
            warn_user(f"{name}: fit interrupted; the best flow so far is kept.")
        elif how == "diverged":
            warn_user(
                f"{name}: the likelihood kept turning non-finite; the best flow so far is kept. Lower "
                f"learning_rate_init (now {fit.plan.learning_rate:.3g}) or raise alpha (now {fit.plan.alpha:.3g}).",
                ConvergenceWarning,
            )
        elif how == "max_iter" and self.max_iter != "auto" and fit.progress.still_rising:
            warn_user(
                f"{name}: max_iter={self.max_iter} was reached while the validation score was still rising. Raise it, "
                "or leave it at 'auto'.",
                ConvergenceWarning,
            )

    def _table(self, X) -> np.ndarray:
        check_is_fitted(self, "flow_")
        return check_table(self, X, reset=False)

    @property
    def _evaluator(self) -> Evaluator:
        check_is_fitted(self, "flow_")
        return Evaluator(self.flow_, resolve_device(self.device), self._kernels)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = False
        return tags
