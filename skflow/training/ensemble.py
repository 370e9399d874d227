"""Fits an ensemble for outlier detection: a flow for every fold left out, trained on rows blurred by noise."""

from __future__ import annotations

import copy
import functools
import math
from dataclasses import replace

import numpy as np
import torch

from .. import engine
from ..flows.distributions.flow_mixture import FlowMixture
from ..flows.distributions.logarithmic_pool import LogarithmicPool
from ..flows.distributions.order_average import average_over_orderings
from ..flows.flow import Flow
from ..flows.registry import FLOWS
from ..outliers.boxplot import threshold
from ..outliers.robust import draw_centres, screen
from ..preprocessing.copies import by_group, groups_of_copies
from ..preprocessing.fit import fit_preprocessing
from . import hyperparameters as hp
from .data import NoisySource, TableSource
from .fit import Fit, Fitting
from .hyperparameters import resolve_flow, resolve_plan
from .initialization import build_layers, fit_bases, refit_base
from .run import Run
from .trainer import Trainer


class EnsembleFitting(Fitting):
    """Fits the members that a `FlowOutlierDetector` describes, side by side: see `Fitting`.

    Rows count as much as a rigid screen finds them ordinary, by their rank: a weighted likelihood. Where a share of
    outliers is given, the screen puts that share of the rows aside: a trimmed one (Neykov & Müller 2003). Where rows
    are repeated, so that a new row may be a known one, the pool remembers the rows, but for those that the trained
    members call absurd; the weight of that are the odds, by Good (1953, eq. 9), that the next row has been seen before.
    """

    dequantised = False

    def __init__(self, estimator, X, weight, groups, *args):
        super().__init__(estimator, X, weight, groups, *args)
        table = self.table
        n, self.n_features = table.x.shape
        copies = table.group if groups is None else groups_of_copies(table.x.numpy())
        share = np.mean(np.bincount(copies)[copies] > 1)
        self.memory = min(share / max(1 - share, 1e-9), hp.MOST_MEMORY)
        # Where there is one group, there is nothing to leave out but rows.
        self.group = table.group if table.group.any() else np.arange(n)
        n_groups = int(self.group.max()) + 1
        self.n_members = min(estimator.n_estimators, n_groups)
        self.fold = (self.rng.permutation(n_groups) % self.n_members)[self.group]
        self.noise = 0.0 if estimator.criterion == "density" else float(estimator.smoothing)
        self.settings = self._settings(n)
        self.plan = self._plan(max(1, round(n * (1 - 1 / self.n_members))))

    def _settings(self, n):
        """As for a density, but smaller: a blurred table leaves less to learn."""
        estimator, name = self.estimator, self.estimator.flow
        settings = resolve_flow(estimator, n)
        if estimator.depth == "auto" and isinstance(name, str) and FLOWS[name].depth is None:
            settings = replace(settings, depth=1 if FLOWS[name].ordered else 2)
        if estimator.n_bins == "auto":
            settings = replace(settings, n_bins=8 if self.n_features <= hp.WIDE else 4)
        return settings

    def _plan(self, n_train):
        """Batch size and length of the training: fewer and smaller steps where there are many columns."""
        plan = resolve_plan(self.estimator, n_train, self.n_features)
        if self.estimator.batch_size == "auto":
            batch_size = int(np.clip(plan.batch_size * hp.WIDE // self.n_features, 32, plan.batch_size))
            plan = replace(plan, batch_size=batch_size)
        self.repeats = max(1, math.ceil(hp.MIN_BATCHES * plan.batch_size / n_train))
        n_batches = max(1, n_train * self.repeats // plan.batch_size)
        n_steps = np.clip(hp.ENSEMBLE_STEPS * hp.WIDE // self.n_features, hp.MIN_ENSEMBLE_STEPS, hp.ENSEMBLE_STEPS)
        max_iter = max(1, round(n_steps / n_batches)) if self.estimator.max_iter == "auto" else plan.max_iter
        return replace(plan, max_iter=max_iter, n_steps=max_iter * n_batches)

    def from_scratch(self) -> Fit:
        """Weigh the rows, put aside the given share of outliers, train, and remember what is not absurd."""
        kept = np.ones(len(self.table), dtype=bool)
        trimmed, share = self.estimator.trimmed, self.estimator.contamination
        if trimmed:
            rank = screen(self._scaled(self._preprocessing(kept)).double().numpy(), self.rng)
            self.table.weigh(rank / rank.max())
            if share != "auto":
                kept = rank >= np.quantile(rank, share)
        fit, trainers = self._start(kept)
        with fit.threads():
            run = Run(trainers, self.plan)
            fit = replace(fit, progress=run.progress)
            run.advance(on_iteration=lambda progress: self.on_iteration(fit))
        run.finish()
        if self.noise and self.memory >= hp.LEAST_MEMORY:
            if trimmed:
                scores = self._forecasts(fit)
                median = np.median(scores)
                kept &= scores >= median - hp.FORGOTTEN * (median - threshold(scores))
            fit.latent.remember(*self._remembered(fit, kept), hp.MEMORY_WIDTH, self.memory)
        return fit

    def _remembered(self, fit, kept):
        """Rows and their folds for the sharp estimate; none where a member would be left without."""
        rows = self.rng.permutation(np.flatnonzero(kept))[: hp.MAX_CENTRES]
        if not all((self.fold[rows] != k).any() for k in range(self.n_members)):
            rows = rows[:0]
        z = self._scaled(fit.preprocessing)[rows]
        return z.to(self.device), torch.tensor(self.fold[rows], device=self.device)

    @torch.no_grad()
    def _scaled(self, preprocessing):
        return preprocessing(self.table.x)[0].float()

    @torch.no_grad()
    def _forecasts(self, fit):
        """The log-density of every row under the member that is blind to it."""
        z, log_abs_det = fit.preprocessing(self.table.x)
        ensemble = copy.deepcopy(fit.latent).to(device="cpu", dtype=torch.float64)
        fold = torch.tensor(self.fold)
        log_prob = functools.partial(engine.log_prob, kernels=self.plan.kernels)
        parts = zip(z.split(8192), fold.split(8192))
        scores = torch.cat([ensemble.blind_log_prob(*part, evaluate=log_prob) for part in parts])
        return (scores + log_abs_det).numpy()

    def _preprocessing(self, kept):
        return fit_preprocessing(self.table.x, np.flatnonzero(kept), *self.bounds, kind="winsorised")

    def _start(self, kept):
        """Preprocessing, members at their start and the kernels, from the rows in ``kept``."""
        preprocessing, base = self._preprocessing(kept), None
        z = self._scaled(preprocessing)
        members, trainers = [], []
        for k in range(self.n_members):
            rows = np.flatnonzero(kept & (self.fold != k))
            if not len(rows):
                rows = np.flatnonzero(self.fold != k)
            member, trainer, base = self._member(z, *by_group(self.rng.permutation(rows), self.group), base)
            members.append(member)
            trainers.append(trainer)
        fold = np.full(len(self.table.present), -1)
        fold[self.table.present] = self.fold
        ensemble = self._ensemble(members, z, kept)
        return Fit(preprocessing, ensemble, self.dtype, self.settings, self.plan, fold=fold), trainers

    def _ensemble(self, members, z, kept):
        if not self.noise:
            return FlowMixture(members).to(self.device)
        some = self.rng.permutation(len(z))[: hp.MAX_ROWS_TO_DRAW]
        weight = kept if self.table.weight is None else self.table.weight * kept
        small = draw_centres(z[some].numpy(), weight[some].astype(float), self.fold[some], self.n_members, self.rng)
        return LogarithmicPool(members, torch.from_numpy(small)).to(self.device)

    def _member(self, z, rows, begins, base):
        """A flow, its trainer and its base at the start; ``base`` is that of the member before, of the same kind."""
        estimator, seed = self.estimator, int(self.rng.randint(2**31 - 1))
        generator = torch.Generator().manual_seed(seed)
        split = estimator.early_stopping and len(begins) >= hp.MIN_ROWS_TO_SPLIT
        share = estimator.validation_fraction * len(rows)
        first = np.clip(np.searchsorted(begins, round(share)), 1, len(begins) - 1) if split else 0
        held_out, rows = np.split(rows, [int(begins[first])])
        typical = self._typical(z, rows, generator, hp.EM_ROWS)
        layers = build_layers(estimator.flow, self.settings, seed, typical)
        noisy = self._typical(z, held_out, generator, hp.VALIDATION_ROWS) if split else None
        with torch.no_grad():
            latent, held_out_latent = (None if some is None else layers(some)[0] for some in (typical, noisy))
        if base is None:
            name = "mixture" if estimator.base == "auto" else estimator.base
            # Diagonal components, which need fewer rows, would make room for a cloud of outliers.
            base = fit_bases(name, [latent], [held_out_latent], self.rng, diagonal=False)[-1][0]
        else:
            base = refit_base(base, latent, self.rng)
        member = average_over_orderings(Flow(layers, base)).to(self.device)
        weight = self.table.weight_of(rows, self.device)
        train = NoisySource(z[rows].to(self.device), weight, self.noise, generator, self.repeats)
        validation = TableSource(noisy.to(self.device)) if split else None
        return member, Trainer(member, train, validation, self.plan, generator), base

    def _typical(self, z, rows, generator, limits):
        """Rows under noise, drawn in proportion to their weights: mixtures know none."""
        n = int(np.clip(len(rows), *limits)) if self.noise else min(len(rows), limits[1])
        return NoisySource(z[self.table.typical(rows)], None, self.noise, generator).draw(n)
