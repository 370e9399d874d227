"""From a table to a trained flow: split, start from several good densities, train, keep the best, refit."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from . import engine
from ._rows import Fold, Rows
from ._settings import resolve_bounds, resolve_flow, resolve_plan
from ._start import MAX_ROWS_FOR_MIXTURES, fit_bases, fit_preprocessing, is_bent, n_base_rows, refit_base
from ._training import Part, Plan, Progress, Run, Trainer
from .engine.threads import fork_safe_lock, threads_for
from .flows.bijection import Bijection, Chain
from .flows.flow import Flow
from .flows.registry import FlowSettings, build_flow

ROWS_TO_REFIT = 1000, 10_000  # fewer are too few to do without the held-out rows: at least, at most
ROWS_TO_REFIT_PER_COLUMN = 500
INITIAL_ROWS = 1000  # from which layers set what they read off data
_BUILD_LOCK = fork_safe_lock()


@dataclass
class Fit:
    """A fit under way or done.

    Attributes
    ----------
    preprocessing : Bijection
        From data units to the scale of the network, in float64.
    latent : Flow
        The trained part, in the precision and on the device of training.
    dtype : torch.dtype
        The precision of the finished flow.
    optimizer_state : tuple or None
        To go on from; None while training.
    """

    preprocessing: Bijection
    latent: Flow
    dtype: torch.dtype
    settings: FlowSettings
    plan: Plan
    progress: Progress = field(default_factory=Progress)
    optimizer_state: tuple | None = None

    @property
    def flow(self) -> Flow:
        """The whole flow, in data units, on the CPU; while training goes on, a copy."""
        flow = Flow(Chain([self.preprocessing, self.latent.bijection]), self.latent.base)
        if self.optimizer_state is None:
            flow = copy.deepcopy(flow)
        return flow.to(device="cpu", dtype=self.dtype)

    def threads(self) -> AbstractContextManager[None]:
        """A block with the threads that a step can feed."""
        return threads_for(self.plan.batch_size * max((p.numel() for p in self.latent.parameters()), default=0))


def build_layers(flow: str | Callable, n_features: int, n_context: int, settings: FlowSettings, seed: int) -> Bijection:
    """Build the trainable part of a flow with weights from ``seed``; torch's own generator is left as it was."""
    with _BUILD_LOCK, torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        if isinstance(flow, str):
            return build_flow(flow, n_features, n_context, settings).float()
        layers = flow(n_features, n_context)
    if not isinstance(layers, Bijection):
        raise TypeError(
            f"flow={flow!r} returned {type(layers).__name__}; a callable flow takes (n_features, n_context) and "
            "returns a skflow.flows.Bijection."
        )
    return layers.float()  # whatever the caller's default dtype is


@dataclass(frozen=True)
class Start:
    """Preprocessing fitted to a fold, and the fold's rows behind it."""

    preprocessing: Bijection
    train: Part
    validation: Part | None


@dataclass
class Candidate:
    """A flow to train from the start of each fold, and the run that trains it."""

    fits: list[Fit]
    run: Run
    bent: bool = True

    def advance(self, n_steps: float, on_iteration: Callable[[Fit], bool]) -> None:
        """Train up to ``n_steps`` steps in all."""
        fit = self.fits[0]
        with fit.threads():
            self.run.advance(n_steps, lambda progress: on_iteration(fit))

    def outlook(self) -> float:
        """What its validation score may come to."""
        progress = self.run.progress
        return progress.best_score if self.run.done else progress.outlook(self.run.plan.max_iter)

    @property
    def interrupted(self) -> bool:
        """Whether Ctrl-C has ended its training."""
        return self.run.progress.stopped == "interrupted"

    def finish(self, stopped: str | None = None) -> Fit:
        """The fit of the first fold, in its best state; ``stopped`` says why, where its own run does not know."""
        for trainer in self.run.trainers:
            trainer.finish()
        self.run.progress.stopped = stopped or self.run.progress.stopped
        return replace(self.fits[0], optimizer_state=self.run.trainers[0].optimizer.state())


class Fitting:
    """Fits the flow that ``estimator`` describes; only its parameters are read.

    Parameters
    ----------
    estimator : BaseFlow
    X : ndarray of shape (n, d)
    weight, groups : ndarray of shape (n,) or None
    seed : int
        From which every random choice follows.
    device : torch.device
        Where to train.
    on_iteration : callable
        Told of the `Fit` after every pass; true stops it.
    """

    def __init__(self, estimator, X, weight, groups, seed, device, on_iteration=lambda fit: False):
        self.estimator = estimator
        self.seed = seed
        self.device = device
        self.on_iteration = on_iteration
        self.dtype = torch.float32 if X.dtype == np.float32 else torch.float64
        self.n_features = X.shape[1]
        self.bounds = resolve_bounds(estimator, self.n_features)
        share = estimator.validation_fraction if estimator.early_stopping else 0.0
        self.table = Rows(X, weight, groups, share, np.random.RandomState(seed))
        n = len(self.table.folds[0].train)
        distinct = max(1, round(n * self.table.n_groups / len(self.table.x)))
        self.settings = resolve_flow(estimator, distinct, self.n_features)
        self.plan = resolve_plan(estimator, n, self.n_features)

    def from_scratch(self) -> Fit:
        """Train from the best of several starts; of a small table then once more on all rows."""
        candidates = self._candidates(self.table.folds)
        n_steps, limit = self.plan.trial_steps, self.plan.max_trial_steps
        while len(candidates) > 1 and n_steps <= limit and not all(candidate.run.done for candidate in candidates):
            for candidate in candidates:
                candidate.advance(n_steps, self.on_iteration)
                if candidate.interrupted:
                    return _best(candidates).finish(stopped="interrupted")
            candidates = _undominated(candidates)
            n_steps *= 2
        winner = _best(candidates)
        winner.advance(math.inf, self.on_iteration)
        fit = winner.finish()
        few = len(self.table.x) < np.clip(ROWS_TO_REFIT_PER_COLUMN * self.n_features, *ROWS_TO_REFIT)
        return self._on_all_rows(fit, winner.bent) if few and len(self.table.folds[0].held_out) else fit

    def further(self, flow: Flow, optimizer_state: tuple | None) -> Fit:
        """Train a fitted flow further; its preprocessing stays."""
        return self._further(self.table.folds[0], flow, optimizer_state)

    def one_pass(self, flow: Flow | None, optimizer_state: tuple | None) -> Fit:
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
        latent = Flow(layers, copy.deepcopy(flow.base)).float()
        starts = [self._start(fold, preprocessing.double())]
        candidate = self._candidate(starts, [latent], True, optimizer_state)
        candidate.advance(math.inf, self.on_iteration)
        return candidate.finish()

    def _candidates(self, folds: list[Fold]) -> list[Candidate]:
        """Every start worth a trial: marginals bent or straight, times the bases."""
        table = self.table
        typical = [table.typical(fold.train) for fold in folds]
        mixtures = self.estimator.base == "mixture" or len(typical[0]) <= MAX_ROWS_FOR_MIXTURES
        judges = [fold.held_out[: None if mixtures else 0] for fold in folds]
        candidates: list[Candidate] = []
        for bent in (True, False):
            preprocessing = [fit_preprocessing(table.x, rows, *self.bounds, bent=bent) for rows in typical]
            if bent and not any(map(is_bent, preprocessing)):
                continue
            starts = [self._start(fold, first) for fold, first in zip(folds, preprocessing)]
            layers = [self._layers(*some) for some in zip(preprocessing, typical)]
            latent, held_out = (
                [self._latent(*some) if len(some[-1]) else None for some in zip(preprocessing, layers, parts)]
                for parts in (typical, judges)
            )
            choices = fit_bases(self.estimator.base, latent, held_out, table.rng)
            copies = [layers, *(copy.deepcopy(layers) for _ in choices[1:])]
            for some, bases in zip(copies, choices):
                candidates.append(self._candidate(starts, list(map(Flow, some, bases)), bent))
            if not len(folds[0].held_out):
                break
        return candidates

    def _start(self, fold: Fold, preprocessing: Bijection) -> Start:
        parts = (self.table.part(rows, preprocessing, self.device) for rows in (fold.train, fold.held_out))
        return Start(preprocessing, *parts)

    def _candidate(self, starts: list[Start], flows, bent, optimizer_state=None) -> Candidate:
        trainers, fits = [], []
        for start, flow in zip(starts, flows):
            generator = torch.Generator().manual_seed(self.seed)
            parts = start.train, start.validation
            trainers.append(Trainer(flow.to(self.device), *parts, self.plan, generator, optimizer_state))
            fits.append(Fit(start.preprocessing, flow, self.dtype, self.settings, self.plan))
        with fits[0].threads():
            run = Run(trainers, self.plan)
        return Candidate([replace(fit, progress=run.progress) for fit in fits], run, bent)

    def _layers(self, preprocessing, rows):
        layers = build_layers(self.estimator.flow, self.n_features, 0, self.settings, self.seed)
        if layers.reads_rows:
            with torch.no_grad():
                layers.initialise(preprocessing(self.table.x[rows[:INITIAL_ROWS]])[0].float())
        return layers

    @torch.no_grad()
    def _latent(self, preprocessing, layers, rows):
        """Rows as the base of an untrained flow meets them."""
        rows = rows[: n_base_rows(self.estimator.base)]
        if not len(rows):
            return torch.empty(0, self.n_features, dtype=torch.float32)
        z = preprocessing(self.table.x[rows])[0].float()
        return (engine.forward(layers, z, kernels=self.plan.kernels) or layers)(z)[0]

    def _on_all_rows(self, fit: Fit, bent: bool) -> Fit:
        """The same start and the same number of steps on all rows: none is left out of the final flow."""
        if fit.progress.stopped in ("interrupted", "diverged"):
            return fit
        everything = self.table.everything
        typical = self.table.typical(everything.train)
        preprocessing = fit_preprocessing(self.table.x, typical, *self.bounds, bent=bent)
        layers = self._layers(preprocessing, typical)
        base = refit_base(fit.latent.base, self._latent(preprocessing, layers, typical), self.table.rng)
        candidate = self._candidate([self._start(everything, preprocessing)], [Flow(layers, base)], bent)
        candidate.advance(fit.progress.best_step, self.on_iteration)
        if candidate.interrupted:
            fit.progress.stopped = "interrupted"
            return fit
        return replace(candidate.finish(), progress=fit.progress)


def _best(candidates: list[Candidate]) -> Candidate:
    """The one with the highest validation score."""
    return max(candidates, key=lambda candidate: candidate.run.progress.best_score)


def _undominated(candidates: list[Candidate]) -> list[Candidate]:
    """Those to which no other is superior both in what it has reached and in its outlook; of equals the first."""
    ranked = sorted(candidates, key=lambda candidate: -candidate.run.progress.best_score)
    kept: list[Candidate] = []
    for candidate in ranked:
        if all(candidate.outlook() > other.outlook() for other in kept):
            kept.append(candidate)
    return kept
