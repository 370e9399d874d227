"""Fits an ensemble for outlier detection: a flow for every fold left out, trained on rows blurred by noise."""

from __future__ import annotations

import copy
import functools
import math
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from scipy import special
from torch import Tensor

from . import engine
from ._copies import by_group, groups_of_copies
from ._fitting import build_layers
from ._screen import draw_centres, screen
from ._settings import resolve_bounds, resolve_flow, resolve_plan
from ._start import fit_bases, refit_base
from ._threshold import threshold
from ._training import Part, Plan, Progress, Run, Trainer
from .engine import threads_for
from .flows.bijection import Bijection, Chain
from .flows.ensemble import FlowMixture, LogarithmicPool
from .flows.flow import Flow
from .flows.preprocessing import (
    Bounded,
    Standardize,
    location_and_spread,
    log_tails,
    mean_and_deviation,
    root_mean_square,
)
from .flows.registry import FLOWS, FlowSettings

MIN_ROWS_TO_SPLIT = 10
MIN_STEPS = 100
N_STEPS = 250  # of every member: a blurred table is learnt soon
MIN_BATCHES = 4  # of a pass: a small table is gone through several times, under other noise
EM_ROWS = (1000, 5000)  # at least, by repetition under other noise, and at most
VALIDATION_ROWS = (500, 2000)
WIDE = 64  # columns
MAX_CENTRES = 4096
MAX_ROWS_TO_DRAW = 20_000  # from which the centres of small estimates are drawn
MEMORY_WIDTH = 0.15  # standard deviations of a column: about as near are rows that are one and the same
LEAST_MEMORY, MOST_MEMORY = 0.05, 3.0  # odds of a repeated row from which rows are remembered, and that count at most
FORGOTTEN = 3.0  # times as far below the median as the threshold are rows that are not remembered
NARROW = 1e-3  # of its standard deviation is the winsorised one of a column that as good as agrees but for a tenth
CONSTANT = 0.01  # of its value is the spread of a constant column
FAR = 100.0  # standard deviations, where the logarithmic tails begin


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
            z = z + self.noise * torch.randn(z.shape, generator=self.generator, dtype=z.dtype)
        return z.to(self.target)

    def draw(self, n: int) -> Tensor:
        """``n`` rows, every row about equally often."""
        order = torch.randperm(len(self.z), generator=self.generator)
        return self[order[torch.arange(n) % len(order)]]


@dataclass
class EnsembleFit:
    """An ensemble under way or done; what `BaseFlow` reads of a `Fit`, and the fold of every row."""

    preprocessing: Bijection
    ensemble: FlowMixture
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

    Rows count as much as a rigid screen finds them ordinary, by their rank: a weighted likelihood. Where a share of
    outliers is given, the screen puts that share of the rows aside: a trimmed one (Neykov & Müller 2003). Where rows
    are repeated, so that a new row may be a known one, the pool remembers the rows, but for those that the trained
    members call absurd; the weight of that are the odds, by Good (1953, eq. 9), that the next row has been seen before.

    Parameters
    ----------
    estimator : FlowOutlierDetector
    X : ndarray of shape (n, d)
    weight, groups : ndarray of shape (n,) or None
    seed : int
    device : torch.device
    on_iteration : callable
        Told of the `EnsembleFit` after every pass of all members; true stops it.
    """

    def __init__(self, estimator, X, weight, groups, seed, device, on_iteration=lambda fit: False):
        self.estimator = estimator
        self.seed = seed
        self.device = device
        self.on_iteration = on_iteration
        self.dtype = torch.float32 if X.dtype == np.float32 else torch.float64
        weight = np.ones(len(X)) if weight is None else weight
        self.present = weight > 0
        self.x = torch.tensor(X[self.present], dtype=torch.float64)
        self.weight = weight[self.present]
        n, self.n_features = self.x.shape
        self.rng = np.random.RandomState(seed)
        copies = groups_of_copies(X[self.present])
        share = np.mean(np.bincount(copies)[copies] > 1)
        self.memory = min(share / max(1 - share, 1e-9), MOST_MEMORY)
        self.group = copies if groups is None else groups_of_copies(X[self.present], groups[self.present])
        if not self.group.any():  # one group: nothing to leave out but rows
            self.group = np.arange(n)
        n_groups = int(self.group.max()) + 1
        self.n_members = min(estimator.n_estimators, n_groups)
        self.fold = (self.rng.permutation(n_groups) % self.n_members)[self.group]
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
        """Weigh the rows, put aside the given share of outliers, start, train, and remember what is not absurd."""
        kept = np.ones(len(self.x), dtype=bool)
        trimmed, share = self.estimator.trimmed, self.estimator.contamination
        if trimmed:
            rank = screen(self._scaled(self._preprocessing(kept)).double().numpy(), self.rng)
            self.weight = self.weight * rank / rank.max()
            if share != "auto":
                kept = rank >= np.quantile(rank, share)
        self.weighted = bool((self.weight != self.weight[0]).any())
        fit, trainers = self._start(kept)
        with threads_for(self.plan.batch_size * max(p.numel() for p in fit.ensemble.parameters())):
            run = Run(trainers, self.plan)
            fit = replace(fit, progress=run.progress)
            run.advance(on_iteration=lambda progress: self.on_iteration(fit))
        for trainer in trainers:
            trainer.finish()
        if self.noise and self.memory >= LEAST_MEMORY:
            if trimmed:
                scores = self._forecasts(fit)
                median = np.median(scores)
                kept &= scores >= median - FORGOTTEN * (median - threshold(scores))
            fit.ensemble.remember(*self._remembered(fit, kept), MEMORY_WIDTH, self.memory)
        return fit

    def _remembered(self, fit, kept):
        """Rows and their folds for the sharp estimate; none where a member would be left without."""
        rows = self.rng.permutation(np.flatnonzero(kept))[:MAX_CENTRES]
        if not all((self.fold[rows] != k).any() for k in range(self.n_members)):
            rows = rows[:0]
        z = self._scaled(fit.preprocessing)[rows]
        return z.to(self.device), torch.tensor(self.fold[rows], device=self.device)

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
            flow, trainer, base = self._member(k, z, *by_group(self.rng.permutation(rows), self.group), base)
            members.append(flow)
            trainers.append(trainer)
        ensemble = self._ensemble(members, z, kept)
        return EnsembleFit(preprocessing, ensemble, self.dtype, self.settings, self.plan, self._all_folds()), trainers

    def _all_folds(self):
        fold = np.full(len(self.present), -1)
        fold[self.present] = self.fold
        return fold

    def _ensemble(self, members, z, kept):
        if not self.noise:
            return FlowMixture(members).to(self.device)
        some = self.rng.permutation(len(z))[:MAX_ROWS_TO_DRAW]
        small = draw_centres(z[some], (self.weight * kept)[some], self.fold[some], self.n_members, self.rng)
        return LogarithmicPool(members, small).to(self.device)

    def _member(self, k, z, rows, begins, base):
        estimator, seed = self.estimator, int(self.rng.randint(2**31 - 1))
        generator = torch.Generator().manual_seed(seed)
        split = estimator.early_stopping and len(begins) >= MIN_ROWS_TO_SPLIT
        share = estimator.validation_fraction * len(rows)
        first = np.clip(np.searchsorted(begins, round(share)), 1, len(begins) - 1) if split else 0
        n_validation = int(begins[first])
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
    """Bounds, then median and winsorised deviation of every column: linear, so that noise means the same anywhere.

    The deviation is that of the column with a twentieth of the numbers at each end pulled in, consistent for normal
    columns. Only what lies as far as nothing else does is pulled in as well, by logarithmic tails, so that no square
    overflows.

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
    shift, scale = location_and_spread(x)[0], winsorised_deviation(x)
    tiny = torch.finfo(x.dtype).eps * shift.abs()
    deviation = mean_and_deviation(x)[1]
    scale = torch.where(scale > NARROW * deviation, scale, deviation)
    constant = torch.where(shift != 0, CONSTANT * shift.abs(), 1.0)
    links.append(Standardize(shift, torch.where(scale > tiny, scale, constant)))
    return Chain([*links, log_tails(torch.full_like(shift, FAR), low, high)])


def winsorised_deviation(x: Tensor, share: float = 0.05) -> Tensor:
    """Standard deviation of each column with a share of the numbers at each end pulled in, consistent for normal ones.

    Parameters
    ----------
    x : Tensor of shape (n, d)
    share : float, default=0.05
    """
    low, high = (
        torch.from_numpy(np.quantile(x.numpy(), q, axis=0, method=method))
        for q, method in ((share, "higher"), (1 - share, "lower"))
    )
    inner = torch.minimum(torch.maximum(x, low), high)
    mean = (inner / len(x)).sum(0)
    edge = -special.ndtri(share)
    square = 1 - 2 * share - 2 * edge * math.exp(-0.5 * edge**2) / math.sqrt(2 * math.pi) + 2 * share * edge**2
    return root_mean_square((inner - mean).t()) / math.sqrt(square)
