"""Fits one flow: several starts, the best of them trained to its end, and of a small table once more on all rows."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from .. import engine
from ..flows.bijections.bijection import Bijection
from ..flows.bijections.embedded_context import EmbeddedContext
from ..flows.distributions.distribution import Distribution
from ..flows.distributions.order_average import average_over_orderings
from ..flows.flow import Flow
from ..flows.registry import FlowSettings
from ..preprocessing.fit import fit_preprocessing, is_gaussianized
from . import hyperparameters as hp
from .data import TableSource
from .fit import Fit, Fitting
from .hyperparameters import Plan, resolve_flow, resolve_plan
from .initialization import build_layers, fit_bases, refit_base
from .objectives import MaximumLikelihood
from .run import Run
from .selection import Candidate, select
from .table import Fold
from .trainer import Trainer


@dataclass(frozen=True)
class Start:
    """First links fitted to a fold, and the fold's rows behind them."""

    preprocessing: Bijection
    embedding: Bijection | None
    train: TableSource
    validation: TableSource | None


class DensityFitting(Fitting):
    """Fits a flow with one base distribution, given a context or not: see `Fitting`."""

    kinds: tuple[str, ...] = ("gaussianized", "linear")  # of preprocessing to try

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        table = self.table
        self.n_features = table.x.shape[1]
        self.folds = self._split()
        n = len(self.folds[0].train)
        self.settings = self._settings(max(1, round(n * table.n_groups / len(table))))
        self.plan = self._plan(n)

    def _split(self) -> list[Fold]:
        estimator = self.estimator
        return self.table.split(estimator.validation_fraction if estimator.early_stopping else 0.0)

    def _settings(self, n: int) -> FlowSettings:
        return resolve_flow(self.estimator, n)

    def _plan(self, n: int) -> Plan:
        return resolve_plan(self.estimator, n, self.n_features)

    def from_scratch(self) -> Fit:
        """Train from the best of several starts; of a small table then once more on all rows."""
        winner = select(self._candidates(self.folds), self.plan, self.on_iteration)
        fit = winner.finish()
        self._finished(winner)
        few = len(self.table) < np.clip(hp.ROWS_TO_REFIT_PER_COLUMN * self.n_features, *hp.ROWS_TO_REFIT)
        return self._on_all_rows(fit, winner) if few and len(self.folds[0].held_out) else fit

    def _finished(self, winner: Candidate) -> None:
        """Told of the best start in its best state, before it is trained again on all rows."""

    def further(self, flow: Distribution, optimizer_state: tuple | None) -> Fit:
        """Train a fitted flow further; its preprocessing stays."""
        return self._further(self.folds[0], flow, optimizer_state)

    def one_pass(self, flow: Distribution | None, optimizer_state: tuple | None) -> Fit:
        """Go through the rows once, at a constant rate and without a validation part."""
        self.plan = replace(self.plan, max_iter=1, n_steps=None)
        if flow is not None:
            fit = self._further(self.table.everything, flow, optimizer_state)
        else:
            (candidate,) = self._candidates([self.table.everything])
            candidate.advance(math.inf, self.on_iteration)
            fit = candidate.finish()
        if fit.progress.stopped == "interrupted":
            raise KeyboardInterrupt  # a batch is one of many: the loop over them is to end
        return fit

    def _further(self, fold, flow, optimizer_state):
        preprocessing, layers = copy.deepcopy(flow.bijection).links
        embedding = None
        if isinstance(layers, EmbeddedContext):
            layers, embedding = layers.bijection, layers.embedding.double()
        latent = Flow(layers, copy.deepcopy(flow.base)).float()
        start = self._start(fold, preprocessing.double(), embedding)
        candidate = self._candidate([start], [latent], "gaussianized", optimizer_state)
        candidate.advance(math.inf, self.on_iteration)
        return candidate.finish()

    def _candidates(self, folds: list[Fold]) -> list[Candidate]:
        """Every start worth a trial: columns turned normal or left as they are, times the bases."""
        table, name = self.table, self.estimator.base
        typical = [table.typical(fold.train) for fold in folds]
        embeddings = [self._embedding(rows) for rows in typical]
        mixtures = name == "mixture" or len(typical[0]) <= hp.MAX_ROWS_FOR_MIXTURES
        judges = [fold.held_out[: None if mixtures else 0] for fold in folds]
        candidates: list[Candidate] = []
        for kind in self.kinds:
            preprocessing = [fit_preprocessing(table.x, rows, *self.bounds, kind=kind) for rows in typical]
            if kind == "gaussianized" and not any(map(is_gaussianized, preprocessing)):
                continue
            starts = [self._start(*some) for some in zip(folds, preprocessing, embeddings)]
            layers = [self._layers(*some) for some in zip(starts, typical)]
            latent, held_out = (
                [self._latent(*some) if len(some[-1]) else None for some in zip(starts, layers, rows)]
                for rows in (typical, judges)
            )
            choices = fit_bases(name, latent, held_out, table.rng)
            copies = [layers, *(copy.deepcopy(layers) for _ in choices[1:])]
            for some, bases in zip(copies, choices):
                candidates.append(self._candidate(starts, list(map(Flow, some, bases)), kind))
            if not len(folds[0].held_out):
                break
        return candidates

    def _embedding(self, rows):
        context = self.table.context
        return None if context is None else fit_preprocessing(context, rows, None, None)

    def _start(self, fold: Fold, preprocessing: Bijection, embedding: Bijection | None) -> Start:
        parts = (self.table.source(rows, preprocessing, embedding, self.device) for rows in (fold.train, fold.held_out))
        return Start(preprocessing, embedding, *parts)

    def _candidate(self, starts: list[Start], flows, kind, optimizer_state=None) -> Candidate:
        trainers, fits = [], []
        for start, flow in zip(starts, flows):
            flow = average_over_orderings(flow).to(self.device)
            generator = torch.Generator().manual_seed(self.seed)
            trainers.append(Trainer(flow, start.train, start.validation, self.plan, generator, optimizer_state))
            fits.append(Fit(start.preprocessing, flow, self.dtype, self.settings, self.plan, start.embedding))
        with fits[0].threads():
            run = Run(trainers, self.plan)
        return Candidate([replace(fit, progress=run.progress) for fit in fits], run, kind)

    @torch.no_grad()
    def _scaled(self, start, rows) -> tuple[Tensor, ...]:
        """Rows on the scale of the network, and their contexts where there are any."""
        z = start.preprocessing(self.table.x[rows])[0].float()
        return (z,) if start.embedding is None else (z, self.table.embedded(rows, start.embedding))

    def _layers(self, start, rows):
        rows = self._scaled(start, rows[: hp.INITIAL_ROWS])
        return build_layers(self.estimator.flow, self.settings, self.seed, *rows)

    @torch.no_grad()
    def _latent(self, start, layers, rows):
        """Rows as the base of an untrained flow meets them; a standard normal has nothing to be fitted to them."""
        if self.estimator.base == "normal":
            return torch.empty(0, self.n_features)
        some = self._scaled(start, rows[: hp.MAX_BASE_ROWS])
        return engine.forward(layers, *some, kernels=self.plan.kernels)(*some)[0]

    def _on_all_rows(self, fit: Fit, winner: Candidate) -> Fit:
        """The same start, rates and number of steps on all rows: none is left out of the final flow.

        Where columns are nearly dependent a few steps may lead astray, and no rows are held out that would tell: a flow
        to which the rows it has seen are less likely than those held out were to the first is not taken.
        """
        if fit.progress.stopped in ("interrupted", "diverged"):
            return fit
        everything = self.table.everything
        typical = self.table.typical(everything.train)
        preprocessing = fit_preprocessing(self.table.x, typical, *self.bounds, kind=winner.kind)
        start = self._start(everything, preprocessing, self._embedding(typical))
        layers = self._layers(start, typical)
        base = refit_base(fit.latent.base, self._latent(start, layers, typical), self.table.rng)
        candidate = self._candidate([start], [Flow(layers, base)], winner.kind)
        candidate.run.trainers[0].drops = winner.run.trainers[0].drops
        candidate.advance(fit.progress.best_step, self.on_iteration)
        if candidate.interrupted:
            fit.progress.stopped = "interrupted"
            return fit
        refitted = replace(candidate.finish(), progress=fit.progress)
        objective = MaximumLikelihood(refitted.latent, self.plan.kernels)
        score = objective.score(list(start.train.in_order(hp.ROWS_TO_SCORE))) + start.train.log_abs_det
        return refitted if score >= fit.progress.best_score else fit
