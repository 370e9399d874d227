"""Fits the densities of classes: Gaussians, kernel estimates and flows, weighted by what they say of unseen rows."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..flows.bijections.bijection import Bijection
from ..flows.bijections.chain import Chain
from ..flows.distributions.class_mixture import ClassMixture
from ..flows.distributions.distribution import Distribution
from ..flows.distributions.flow_mixture import FlowMixture
from ..flows.distributions.order_average import average_over_orderings
from ..flows.flow import Flow
from ..preprocessing.fit import fit_preprocessing, is_gaussianized
from . import hyperparameters as hp
from .class_densities import LabelledRows, best_temperature, class_log_prob, log_losses, mixture_weights
from .data import TableSource
from .fit import Fit, Fitting
from .hyperparameters import resolve_flow, resolve_plan
from .initialization import build_layers, fit_bases
from .run import Run
from .table import Fold
from .trainer import Trainer


@dataclass
class Part:
    """Densities that share one weight, and what they say of the rows that they have not seen.

    Attributes
    ----------
    densities : list of Distribution
        Given the class; fitted to all rows, or each to all but a fold.
    forecast : Tensor of shape (n_held_out, C)
        Log-density of every held-out row in every class.
    """

    densities: list[Distribution]
    forecast: Tensor


@dataclass
class Classics:
    """Gaussians and kernel estimates behind one preprocessing.

    Attributes
    ----------
    preprocessing : Bijection
    z : Tensor of shape (n, d)
        All rows behind it.
    log_abs_det : Tensor of shape (n,)
    parts : list of Part
    whitenings : list of Bijection
        Of every fold, by the Gaussians of its training rows.
    """

    preprocessing: Bijection
    z: Tensor
    log_abs_det: Tensor
    parts: list[Part]
    whitenings: list[Bijection] = field(default_factory=list)


class ClassificationFitting(Fitting):
    """Fits the densities of classes, given one-hot in the context: see `Fitting`.

    Every density is judged by the rows of a fold that it has not seen. These say how Gaussians and kernel estimates are
    shrunk, when the flows stop, how much each of the three counts, and how far the posterior is to be trusted.
    """

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        table, estimator = self.table, self.estimator
        self.label = table.context[:, table.context.any(0)].argmax(1)
        self.n_classes = int(self.label.max()) + 1
        self.weight = np.ones(len(table)) if table.weight is None else table.weight
        self.folds = self._folds()
        held_out = [fold.held_out for fold in self.folds]
        self.held_out = np.concatenate(held_out) if held_out else np.empty(0, dtype=int)
        n, self.n_features = len(self.folds[0].train if self.folds else table), table.x.shape[1]
        self.settings = resolve_flow(estimator, n)
        self.plan = self._plan(n)
        self.priors = torch.bincount(self.label, torch.from_numpy(self.weight))
        self.priors = self.priors / self.priors.sum()

    def _folds(self):
        """Folds with a share of every class each; a class of one group is never held out. Of a long table one fold."""
        several = len(self.table) < hp.ROWS_TO_CROSS_FIT
        n_folds = hp.CLASS_FOLDS if several else max(2, round(1 / self.estimator.validation_fraction))
        fold, turn = np.full(len(self.table), -1), 0
        for c in range(self.n_classes):
            own = np.flatnonzero(self.label.numpy() == c)
            group = np.unique(self.table.group[own], return_inverse=True)[1].reshape(-1)
            n_groups = int(group.max()) + 1
            if n_groups > 1:
                fold[own] = (turn + self.rng.permutation(n_groups))[group] % n_folds
                turn += n_groups
        order = self.rng.permutation(len(fold))
        used = np.unique(fold[fold >= 0])[: None if several else 1]
        return [Fold(order[fold[order] != k], order[fold[order] == k][: hp.MAX_HELD_OUT]) for k in used]

    def _plan(self, n):
        """As for a density; where there is a flow for every fold, with fewer steps."""
        plan = resolve_plan(self.estimator, n, self.n_features)
        if self.estimator.max_iter != "auto" or len(self.folds) < 2:
            return plan
        n_batches = max(1, n // plan.batch_size)
        n_steps = np.clip(hp.CLASS_STEPS * hp.CLASS_WIDE / self.n_features, hp.MIN_CLASS_STEPS, hp.CLASS_STEPS)
        max_iter = min(plan.max_iter, max(1, round(n_steps / n_batches)))
        patience = plan.n_iter_no_change
        if self.estimator.n_iter_no_change == "auto":
            patience = max(hp.MIN_PATIENCE, round(hp.PATIENCE * max_iter))
        return replace(plan, max_iter=max_iter, n_steps=max_iter * n_batches, n_iter_no_change=patience)

    def from_scratch(self) -> Fit:
        """Fit the classics behind the better preprocessing, flows in front of them, and the weights of all."""
        classics = self._better([self._classics(kind) for kind in self._kinds()])
        fit, flows = self._flows(classics)
        return replace(fit, latent=self._weighted([*classics.parts, flows])) if flows else fit

    def _kinds(self):
        order = self.table.typical(self.rng.permutation(len(self.table)))
        self.preprocessings = {
            kind: fit_preprocessing(self.table.x, order, *self.bounds, kind=kind) for kind in ("linear", "gaussianized")
        }
        return ["linear", "gaussianized"] if is_gaussianized(self.preprocessings["gaussianized"]) else ["linear"]

    @torch.no_grad()
    def _classics(self, kind) -> Classics:
        """Gaussians and kernel estimates, each shrunk by the likelihood of held-out rows."""
        preprocessing, d = self.preprocessings[kind], self.n_features
        z, log_abs_det = preprocessing(self.table.x)
        rows = [self._rows(z, fold.train) for fold in self.folds]
        everything = self._rows(z, self.rng.permutation(len(z)))
        if not rows:
            return Classics(preprocessing, z, log_abs_det, [Part([everything.gaussians(math.inf, 1.0)], z[:0])])
        pseudo_rows = self._best(z, rows, [d * k for k in hp.PSEUDO_ROWS], lambda r, k: r.gaussians(k, hp.DIAGONAL))
        diagonal = self._best(z, rows, hp.DIAGONALS, lambda r, share: r.gaussians(pseudo_rows, share))
        width = self._best(z, rows, hp.KERNEL_WIDTHS, lambda r, h: r.kernels(h, diagonal))
        gaussians = [some.gaussians(pseudo_rows, diagonal) for some in rows]
        kernels = [some.kernels(width, diagonal) for some in rows]
        parts = [
            Part([everything.gaussians(pseudo_rows, diagonal)], self._forecast(z, gaussians)),
            Part([everything.kernels(width, diagonal)], self._forecast(z, kernels)),
        ]
        return Classics(preprocessing, z, log_abs_det, parts, [flow.bijection for flow in gaussians])

    def _rows(self, z, index):
        return LabelledRows(z[index], self.label[index], torch.from_numpy(self.weight[index]), self.n_classes)

    def _best(self, z, rows, values, make):
        """The value by which the densities of every fold's rows say most of the rows held out."""

        def score(value):
            total = 0.0
            for some, fold in zip(rows, self.folds):
                log_prob = make(some, value).log_prob(z[fold.held_out], self._one_hot(fold.held_out))
                total += float(torch.from_numpy(self.weight[fold.held_out]) @ log_prob)
            return total

        return max(values, key=score)

    def _one_hot(self, index):
        return F.one_hot(self.label[index], self.n_classes).double()

    @torch.no_grad()
    def _forecast(self, z, densities):
        parts = zip(self.folds, densities)
        return torch.cat([class_log_prob(d, z[fold.held_out], self.n_classes) for fold, d in parts])

    def _better(self, choices: list[Classics]) -> Classics:
        """The last one where its log-loss is surely less, else the first: straight lines stay straight."""
        if len(choices) == 1 or not self.folds:
            return choices[0]
        weight = torch.from_numpy(self.weight[self.held_out])
        weight = weight / weight.sum()
        losses = []
        for some in choices:
            mixed = self._mixed(some.parts, self._shares(some.parts))
            losses.append(log_losses(mixed, self.label[self.held_out], self.priors.log(), self._temperature(mixed)))
        gain = losses[0] - losses[-1]
        mean = weight @ gain
        error = (weight.square() @ (gain - mean).square()).sqrt()
        return choices[-1] if mean > hp.STANDARD_ERRORS * error else choices[0]

    def _shares(self, parts):
        """The weight of every part, by what it says of held-out rows of their own class."""
        if len(parts) == 1:
            return np.ones(1)
        label = self.label[self.held_out]
        own = torch.stack([part.forecast.gather(1, label[:, None])[:, 0] for part in parts], 1)
        weights = mixture_weights(own.numpy(), self.weight[self.held_out])
        weights[weights < hp.LEAST_SHARE] = 0.0
        return weights / weights.sum()

    @staticmethod
    def _mixed(parts, shares):
        log_shares = torch.from_numpy(shares).log()
        return torch.logsumexp(torch.stack([part.forecast for part in parts], 2) + log_shares, 2)

    def _temperature(self, log_prob):
        if not len(self.held_out):
            return 1.0
        weight = torch.from_numpy(self.weight[self.held_out])
        return best_temperature(log_prob, self.label[self.held_out], self.priors.log(), weight / weight.sum())

    def _weighted(self, parts: list[Part]) -> ClassMixture:
        """The mixture of all parts, without those that hardly count."""
        shares = self._shares(parts)
        temperature = self._temperature(self._mixed(parts, shares))
        pairs = [
            (density, share / len(part.densities)) for part, share in zip(parts, shares) for density in part.densities
        ]
        densities, weights = zip(*((density, weight) for density, weight in pairs if weight))
        return ClassMixture(FlowMixture(densities, torch.tensor(weights)), self.priors, temperature)

    def _flows(self, classics: Classics) -> tuple[Fit, Part | None]:
        """A flow for every fold left out, behind the whitening of each class, trained side by side."""
        fit = Fit(classics.preprocessing, self._weighted(classics.parts), self.dtype, self.settings, self.plan)
        if not self.folds:
            return fit, None
        rows = [self.table.typical(fold.train) for fold in self.folds]
        latent = [self._whitened(classics, k, some[: hp.MAX_BASE_ROWS])[0] for k, some in enumerate(rows)]
        layers = [self._layers(z, some) for z, some in zip(latent, rows)]
        judges = [self._whitened(classics, k, fold.held_out)[0] for k, fold in enumerate(self.folds)]
        trainers, densities = [], []
        for k, base in enumerate(self._bases(layers, latent, rows, judges)):
            flow = average_over_orderings(Flow(layers[k], base)).to(self.device)
            whole = Chain([classics.whitenings[k], layers[k]])
            densities.append(average_over_orderings(Flow(whole, base)))
            train, held_out = (
                self._source(classics, k, some) for some in (self.folds[k].train, self.folds[k].held_out)
            )
            generator = torch.Generator().manual_seed(self.seed + k)
            trainers.append(
                Trainer(flow, train, held_out if self.estimator.early_stopping else None, self.plan, generator)
            )
        with fit.threads():
            run = Run(trainers, self.plan)
            fit = replace(fit, latent=ClassMixture(FlowMixture(densities), self.priors), progress=run.progress)
            run.advance(on_iteration=lambda progress: self.on_iteration(fit))
        run.finish()
        densities = [density.to(device="cpu", dtype=torch.float64) for density in densities]
        return fit, Part(densities, self._forecast(classics.z, densities))

    @torch.no_grad()
    def _whitened(self, classics, k, index):
        """Rows as flow k meets them, in single precision, and what their log-density lacks to data units."""
        z, log_abs_det = classics.whitenings[k](classics.z[index], self._one_hot(index))
        return z.float(), classics.log_abs_det[index] + log_abs_det

    def _source(self, classics, k, index):
        z, log_abs_det = self._whitened(classics, k, index)
        share = torch.from_numpy(self.weight[index] / self.weight[index].sum())
        context, weight = self._one_hot(index).float().to(self.device), self.table.weight_of(index, self.device)
        return TableSource(z.to(self.device), context, weight, float(share @ log_abs_det))

    def _layers(self, z, index):
        context = self._one_hot(index[: hp.INITIAL_ROWS]).float()
        return build_layers(self.estimator.flow, self.settings, self.seed, z[: hp.INITIAL_ROWS], context)

    @torch.no_grad()
    def _bases(self, layers, latent, rows, judges):
        """A base for every fold; "auto" is a single Gaussian, since the classes have been told apart already."""
        name, held_out = self.estimator.base, [None] * len(latent)
        latent = [
            some(z, self._one_hot(index[: hp.MAX_BASE_ROWS]).float())[0] for some, z, index in zip(layers, latent, rows)
        ]
        if name == "mixture":
            held_out = [
                some(z, self._one_hot(fold.held_out).float())[0] for some, z, fold in zip(layers, judges, self.folds)
            ]
        return fit_bases(name, latent, held_out, self.rng)[0]
