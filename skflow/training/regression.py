"""Fits the density of targets given features: flows of the targets and of what a regression leaves of them."""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy import special

from .. import engine
from ..flows.bijections.bounded import Bounded
from ..flows.bijections.chain import Chain
from ..flows.bijections.context_location import ContextLocation
from ..flows.distributions.flow_mixture import FlowMixture
from ..flows.registry import FLOWS
from ..flows.regression.stacking import StackedRegression
from . import hyperparameters as hp
from .density import DensityFitting
from .fit import Fit, Fitting
from .initialization import build_layers
from .location import TreesOf, fit_location
from .selection import select
from .table import Fold

ROWS_AT_A_TIME = 8192
STACKING_STEPS = 100
LEAST_WEIGHT = 1e-6


class CrossFitting(DensityFitting):
    """Fits a flow for every fold left out, side by side, and keeps all of them: see `Fitting`.

    Parameters
    ----------
    fold : ndarray of shape (n,), int
        The fold of every row.
    columns : ndarray of int
        The columns of the context that the flows see.
    first : sequence of Bijection
        Links in front of those that are fitted.
    """

    dequantised = False

    def __init__(self, *args, context: np.ndarray, fold: np.ndarray, columns: np.ndarray, first=()):
        self.fold = fold
        self.columns = torch.from_numpy(columns)
        self.first = first
        super().__init__(*args, context=context[:, columns])

    def _split(self):
        folds = []
        for k in range(self.fold.max() + 1):
            train, held_out = np.flatnonzero(self.fold != k), np.flatnonzero(self.fold == k)
            folds.append(Fold(self.rng.permutation(train), held_out if self.estimator.early_stopping else held_out[:0]))
        return folds

    def _settings(self, n):
        """As for a density; given a context, one layer is enough for a single target."""
        settings, name = super()._settings(n), self.estimator.flow
        single = self.n_features == 1 and isinstance(name, str) and FLOWS[name].depth is None
        return replace(settings, depth=1) if single and self.estimator.depth == "auto" else settings

    def _plan(self, n):
        plan = super()._plan(n)
        if self.estimator.max_iter == "auto":
            max_iter = max(1, round(hp.REGRESSION_LENGTH * plan.max_iter))
            plan = replace(plan, max_iter=max_iter, n_steps=max_iter * plan.n_steps // plan.max_iter)
        if self.estimator.n_iter_no_change == "auto":
            plan = replace(plan, n_iter_no_change=max(hp.MIN_PATIENCE, round(hp.REGRESSION_PATIENCE * plan.max_iter)))
        return plan

    def _layers(self, start, rows):
        """Scale and shift of every target, given the context, in front of a named flow; weights of their own seed."""
        some = self._scaled(start, rows[: hp.INITIAL_ROWS])
        seeds = self.rng.randint(2**31 - 1, size=2)
        layers = build_layers(self.estimator.flow, self.settings, int(seeds[0]), *some)
        if not isinstance(self.estimator.flow, str):
            return layers
        affine = build_layers("made", replace(self.settings, depth=1, ordering="auto"), int(seeds[1]), *some)
        return Chain([*affine.links, *layers.links])

    def _candidate(self, *args):
        return replace(super()._candidate(*args), combine=self._combine)

    def _combine(self, fits):
        members = [
            replace(fit, preprocessing=Chain([*self.first, fit.preprocessing]), columns=self.columns).whole()
            for fit in fits
        ]
        return replace(fits[0], preprocessing=Chain(), latent=FlowMixture(members), embedding=None)

    def from_scratch(self) -> Fit:
        """Train all of them from the best of several starts."""
        return select(self._candidates(self.folds), self.plan, self.on_iteration).finish()


@dataclass
class RegressionFit(Fit):
    """A `Fit` of targets given features.

    Attributes
    ----------
    location : StackedRegression
        Whose predictions, in front of the features, are the context of the flow.
    context : ndarray of shape (n, n_context)
        Of the training rows, by predictions that have not seen them.
    """

    location: StackedRegression | None = None
    context: np.ndarray | None = None


class RegressionFitting(Fitting):
    """Fits a mixture of flows of the targets given the features, and of their residuals from a regression.

    Every flow is blind to one fold of the rows. The weights of the two kinds are those of highest likelihood on rows
    that the flows have not seen: stacking of densities (Yao, Vehtari, Simpson & Gelman 2018, eq. 4).

    Parameters
    ----------
    trees_of : callable
        See `skflow.training.location.fit_location`.
    """

    def __init__(self, *args, trees_of: TreesOf, **kwargs):
        self.trees_of = trees_of
        super().__init__(*args, **kwargs)

    def from_scratch(self) -> RegressionFit:
        """Fit the regression, then the flows, then their weights."""
        table, X = self.table, self.table.context.numpy()
        first = Chain([] if self.bounds[0] is None else [Bounded.fit(table.x, *self.bounds)])
        with torch.no_grad():
            targets, log_abs_det = first(table.x)
        n_folds = min(hp.FOLDS_OF_FEW if len(table) < hp.FEW else hp.FOLDS, table.n_groups)
        fold = (self.rng.permutation(table.n_groups) % n_folds)[table.group]
        location, blind = fit_location(X, targets.numpy(), fold, table.weight, self.rng, self.trees_of)
        context = np.hstack([blind, X])
        numbers, n_predictions = np.arange(context.shape[1]), context.shape[1] - X.shape[1]
        residual = ContextLocation(torch.arange(targets.shape[1]))
        everywhere = np.full(len(table.present), -1)
        everywhere[table.present] = fold

        def assembled(fits, weights):
            members = [member for fit in fits for member in fit.latent.members]
            best = fits[int(weights.argmax())]
            return RegressionFit(
                first,
                FlowMixture(members, torch.from_numpy(weights / n_folds).repeat_interleave(n_folds)),
                self.dtype,
                best.settings,
                best.plan,
                fold=everywhere,
                progress=best.progress.shifted(float(log_abs_det.mean())),
                location=location,
                context=context,
            )

        def cross_fit(columns, *first):
            return self._cross_fit(
                targets, context, fold, columns, first, lambda fit: self.on_iteration(assembled([fit], np.ones(1)))
            )

        fits = [cross_fit(numbers[n_predictions:])]
        if fits[0].progress.stopped != "interrupted":
            fits.append(cross_fit(numbers, residual))
        fit = assembled(fits, self._stack(fits, targets, context, fold))
        if fits[-1].progress.stopped == "interrupted":
            fit.progress.stopped = "interrupted"
        return fit

    def _cross_fit(self, targets, context, fold, columns, first, on_iteration):
        with torch.no_grad():
            for link in first:
                targets = link(targets, torch.from_numpy(context))[0]
        rows = targets.numpy(), self.table.weight, self.table.group
        where = int(self.rng.randint(2**31 - 1)), self.device, (None, None)
        more = {"context": context, "fold": fold, "columns": columns, "first": first}
        return CrossFitting(self.estimator, *rows, *where, on_iteration, **more).from_scratch()

    def _stack(self, fits, targets, context, fold):
        """Weights of the two kinds of flows, by expectation-maximisation."""
        rows = targets, torch.from_numpy(fold), torch.from_numpy(context)
        log_prob = functools.partial(engine.log_prob, kernels=fits[0].plan.kernels)
        blind = []
        for fit in fits:
            mixture = fit.flow.base.double()
            parts = zip(*(v.split(ROWS_AT_A_TIME) for v in rows))
            blind.append(torch.cat([mixture.blind_log_prob(*part, evaluate=log_prob) for part in parts]))
        blind = torch.stack(blind, 1).numpy()
        weights = np.full(len(fits), 1 / len(fits))
        for _ in range(STACKING_STEPS):
            share = special.softmax(blind + np.log(weights), axis=1)
            weights = np.maximum(np.average(share, axis=0, weights=self.table.weight), LEAST_WEIGHT)
        return weights / weights.sum()
