"""Fits an ensemble for outlier detection: a flow for every fold left out, trained on rows blurred by noise."""

from __future__ import annotations

import copy
import functools
import math
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from . import engine
from ._fitting import build_layers
from ._screen import screen
from ._settings import resolve_bounds, resolve_flow, resolve_plan
from ._start import fit_bases, refit_base
from ._threshold import threshold
from ._training import Part, Plan, Progress, Run, Trainer
from .engine import threads_for
from .flows.bijection import Bijection, Chain
from .flows.ensemble import SmoothedEnsemble
from .flows.flow import Flow
from .flows.preprocessing import Bounded, Standardize
from .flows.registry import FLOWS, FlowSettings

MIN_ROWS_TO_SPLIT = 10
MIN_STEPS = 100
N_STEPS = 250  # of every member: a blurred table is learnt soon
MIN_BATCHES = 4  # of a pass: a small table is gone through several times, under other noise
EM_ROWS = (1000, 5000)  # at least, by repetition under other noise, and at most
VALIDATION_ROWS = (500, 2000)
WIDE = 64  # columns
MAX_CENTRES = 4096
KERNEL_WIDTHS = (1.0, 0.5)  # in units of the noise
CONSTANT = 0.01  # of its value is the spread of a constant column
CLIPPED = 0.01  # of the numbers at each end of a column, before its standard deviation is taken


class NoisyRows:
    """Rows that come with fresh noise whenever they are asked for; the trainer takes it for a tensor.

    Parameters
    ----------
    z : Tensor of shape (n, d)
    noise : float
        Standard deviation.
    repeats : int
        How often a pass goes through the rows.
    generator : torch.Generator
    """

    def __init__(self, z: Tensor, noise: float, repeats: int, generator: torch.Generator, device: torch.device):
        self.z = z
        self.noise = noise
        self.repeats = repeats
        self.generator = generator
        self.target = device
        self.device = z.device

    def __len__(self) -> int:
        return len(self.z) * self.repeats

    def __getitem__(self, rows: Tensor) -> Tensor:
        z = self.z[rows % len(self.z)]
        if self.noise:
            z = z + self.noise * torch.randn(z.shape, generator=self.generator)
        return z.to(self.target)

    def draw(self, n: int) -> Tensor:
        """``n`` rows, every row about equally often."""
        order = torch.randperm(len(self.z), generator=self.generator)
        return self[order[torch.arange(n) % len(order)]]


@dataclass
class EnsembleFit:
    """An ensemble under way or done; what `BaseFlow` reads of a `Fit`, and the fold of every row."""

    preprocessing: Bijection
    ensemble: SmoothedEnsemble
    dtype: torch.dtype
    settings: FlowSettings
    plan: Plan
    fold: np.ndarray
    progress: Progress = field(default_factory=Progress)
    optimizer_state: None = None

    @property
    def flow(self) -> Flow:
        """The whole density, in data units, on the CPU; a copy, so that training may go on."""
        return copy.deepcopy(Flow(self.preprocessing, self.ensemble)).to(device="cpu", dtype=self.dtype)


class EnsembleFitting:
    """Fits the members that ``estimator`` describes, side by side; only its parameters are read.

    Where a share of outliers is given, a rigid screen puts that share of the rows aside: a trimmed likelihood (Neykov &
    Müller 2003). In any case the kernels of the rows that the trained members call outliers are removed, so that no
    outlier vouches for itself.

    Parameters
    ----------
    estimator : FlowOutlierDetector
    X : ndarray of shape (n, d)
    weight : ndarray of shape (n,) or None
    seed : int
    device : torch.device
    on_iteration : callable
        Told of the `EnsembleFit` after every pass of all members; true stops it.
    """

    def __init__(self, estimator, X, weight, seed, device, on_iteration=lambda fit: False):
        self.estimator = estimator
        self.seed = seed
        self.device = device
        self.on_iteration = on_iteration
        self.dtype = torch.float32 if X.dtype == np.float32 else torch.float64
        weight = np.ones(len(X)) if weight is None else weight
        self.present = weight > 0
        self.x = torch.tensor(X[self.present], dtype=torch.float64)
        self.weight = weight[self.present]
        self.weighted = bool((self.weight != self.weight[0]).any())
        n, self.n_features = self.x.shape
        self.rng = np.random.RandomState(seed)
        self.n_members = min(estimator.n_estimators, n)
        self.fold = self.rng.permutation(n) % self.n_members
        self.noise = 0.0 if estimator.criterion == "density" else float(estimator.smoothing)
        self.settings = self._settings(n)
        self.plan = self._plan(max(1, round(n * (1 - 1 / self.n_members))))

    def _settings(self, n):
        """As for a density, but smaller: a blurred table leaves less to learn."""
        estimator, name = self.estimator, self.estimator.flow
        settings = resolve_flow(estimator, n, self.n_features)
        if estimator.depth == "auto" and isinstance(name, str) and FLOWS[name].depth is None:
            settings = replace(settings, depth=1 if FLOWS[name].ordered else 2)
        if estimator.n_bins == "auto":
            settings = replace(settings, n_bins=8 if self.n_features <= WIDE else 4)
        return settings

    def _plan(self, n_train):
        """Batch size and length of the training: fewer and smaller steps where there are many columns."""
        plan = resolve_plan(self.estimator, n_train, self.n_features)
        if self.estimator.batch_size == "auto":
            batch_size = int(np.clip(plan.batch_size * WIDE // self.n_features, 32, plan.batch_size))
            plan = replace(plan, batch_size=batch_size)
        self.repeats = max(1, math.ceil(MIN_BATCHES * plan.batch_size / n_train))
        n_batches = max(1, n_train * self.repeats // plan.batch_size)
        n_steps = np.clip(N_STEPS * WIDE // self.n_features, MIN_STEPS, N_STEPS)
        max_iter = max(1, round(n_steps / n_batches)) if self.estimator.max_iter == "auto" else plan.max_iter
        return replace(plan, max_iter=max_iter, n_steps=max_iter * n_batches)

    def from_scratch(self) -> EnsembleFit:
        """Put aside the given share of outliers, start, train, and forget what turns out to be outliers."""
        kept = np.ones(len(self.x), dtype=bool)
        trimmed, share = self.estimator.trimmed, self.estimator.contamination
        if trimmed and share != "auto":
            scores = screen(self._scaled(self._preprocessing(kept)).numpy(), self.seed)
            kept = scores >= np.quantile(scores, share)
        fit, trainers = self._start(kept)
        with threads_for(self.plan.batch_size * max(p.numel() for p in fit.ensemble.parameters())):
            run = Run(trainers, self.plan)
            fit = replace(fit, progress=run.progress)
            run.advance(on_iteration=lambda progress: self.on_iteration(fit))
        for trainer in trainers:
            trainer.finish()
        if trimmed and len(fit.ensemble.centres):
            scores = self._forecasts(fit)
            kept &= scores >= (threshold(scores) if share == "auto" else np.quantile(scores, share))
            fit.ensemble = self._ensemble(list(fit.ensemble.members), self._scaled(fit.preprocessing), kept)
        return fit

    @torch.no_grad()
    def _scaled(self, preprocessing):
        return preprocessing(self.x)[0].float()

    @torch.no_grad()
    def _forecasts(self, fit):
        """The log-density of every row under the member that is blind to it."""
        z, log_abs_det = fit.preprocessing(self.x)
        ensemble = copy.deepcopy(fit.ensemble).to(device="cpu", dtype=torch.float64)
        fold = torch.tensor(self.fold)
        log_prob = functools.partial(engine.log_prob, kernels=self.plan.kernels)
        scores = torch.cat([ensemble.blind_log_prob(*part, log_prob) for part in zip(z.split(8192), fold.split(8192))])
        return (scores + log_abs_det).numpy()

    def _preprocessing(self, kept):
        return fit_scale(self.x[kept], *resolve_bounds(self.estimator, self.n_features))

    def _start(self, kept):
        """Preprocessing, members at their start and the kernels, from the rows in ``kept``."""
        preprocessing, base = self._preprocessing(kept), None
        z = self._scaled(preprocessing)
        members, trainers = [], []
        for k in range(self.n_members):
            rows = np.flatnonzero(kept & (self.fold != k))
            if not len(rows):
                rows = np.flatnonzero(self.fold != k)
            flow, trainer, base = self._member(k, z, self.rng.permutation(rows), base)
            members.append(flow)
            trainers.append(trainer)
        ensemble = self._ensemble(members, z, kept)
        return EnsembleFit(preprocessing, ensemble, self.dtype, self.settings, self.plan, self._all_folds()), trainers

    def _all_folds(self):
        fold = np.full(len(self.present), -1)
        fold[self.present] = self.fold
        return fold

    def _ensemble(self, members, z, kept):
        rows = np.flatnonzero(kept)
        if len(rows) > MAX_CENTRES:
            rows = np.sort(self.rng.choice(rows, MAX_CENTRES, replace=False))
        seen_by_all = len(rows) and all((self.fold[rows] != k).any() for k in range(self.n_members))
        if not self.noise or not seen_by_all:
            rows = rows[:0]
        fold, weight = torch.tensor(self.fold[rows]), torch.tensor(self.weight[rows]).float()
        ensemble = SmoothedEnsemble(members, z[rows], fold, weight, [w * self.noise for w in KERNEL_WIDTHS])
        return ensemble.to(self.device)

    def _member(self, k, z, rows, base):
        estimator, seed = self.estimator, int(self.rng.randint(2**31 - 1))
        generator = torch.Generator().manual_seed(seed)
        split = estimator.early_stopping and len(rows) >= MIN_ROWS_TO_SPLIT
        n_validation = max(1, round(estimator.validation_fraction * len(rows))) if split else 0
        held_out, rows = rows[:n_validation], rows[n_validation:]
        train = NoisyRows(z[rows], self.noise, self.repeats, generator, self.device)
        layers = build_layers(estimator.flow, self.n_features, 0, self.settings, seed)
        typical = NoisyRows(z[self._typical(rows)], self.noise, 1, generator, torch.device("cpu"))
        typical = typical.draw(int(np.clip(len(rows), *EM_ROWS)) if self.noise else min(len(rows), EM_ROWS[1]))
        validation = latent_validation = None
        if split:
            chosen = self._typical(held_out)
            noisy = NoisyRows(z[chosen], self.noise, 1, generator, torch.device("cpu"))
            noisy = noisy.draw(
                int(np.clip(n_validation, *VALIDATION_ROWS)) if self.noise else min(n_validation, VALIDATION_ROWS[1])
            )
            validation = Part(noisy.to(self.device))
        with torch.no_grad():
            layers.initialise(typical)
            latent = layers(typical)[0]
            latent_validation = layers(noisy)[0] if split else None
        if base is None:
            name = "mixture" if estimator.base == "auto" else estimator.base
            # Diagonal components, which need fewer rows, would make room for a cloud of outliers.
            base = fit_bases(name, [latent], [latent_validation], self.rng, diagonal=False)[-1][0]
        else:
            base = refit_base(base, latent, self.rng)
        flow = Flow(layers, base).to(self.device)
        weight = None
        if self.weighted:
            weight = torch.tensor(self.weight[rows] / self.weight[rows].mean()).float().repeat(self.repeats)
            weight = weight.to(self.device)
        return flow, Trainer(flow, Part(train, weight), validation, self.plan, generator), base

    def _typical(self, rows):
        """Rows drawn in proportion to their weights: mixtures know none."""
        if not self.weighted:
            return rows
        weight = self.weight[rows]
        return rows[self.rng.choice(len(rows), len(rows), p=weight / weight.sum())]


def fit_scale(x: Tensor, low: Tensor | None, high: Tensor | None) -> Chain:
    """Bounds, then median and clipped standard deviation of every column, linear so that noise means the same anywhere.

    Parameters
    ----------
    x : Tensor of shape (n, d)
    low, high : Tensor of shape (d,) or None
    """
    links: list[Bijection] = []
    if low is not None:
        links.append(Bounded.fit(x, low, high))
        with torch.no_grad():
            x = links[0](x)[0]
    robust = Standardize.fit(x)
    ends = np.quantile(x.numpy(), [CLIPPED, 1 - CLIPPED], axis=0)
    scale = torch.minimum(torch.maximum(x, torch.tensor(ends[0])), torch.tensor(ends[1])).std(0, correction=0)
    tiny = torch.finfo(x.dtype).eps * robust.shift.abs()
    constant = torch.where(robust.shift != 0, CONSTANT * robust.shift.abs(), 1.0)
    links.append(Standardize(robust.shift, torch.where(scale > tiny, scale, constant)))
    return Chain(links)
