"""The maximum-likelihood loop: a table in, the best flow by held-out likelihood out."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from . import engine
from ._interrupt import keeps_the_fit
from ._optimizer import Adam, ParameterVector
from .engine import Pace
from .flows.flow import Flow

MAX_GRAD_NORM = 5.0
MAX_ROLLBACKS = 8
WARMUP_STEPS = 50
ROWS_TO_SCORE = 2048  # at a time


@dataclass(frozen=True)
class Plan:
    """Hyperparameters of a run, every one resolved to a number.

    ``n_steps`` is the length of the learning-rate schedule; None keeps the rate constant. ``trial_steps`` are what a
    start is given before it is compared with others, ``max_trial_steps`` what it is given at most until one is chosen.
    ``kernels`` says whether compiled loops may be loaded.
    """

    max_iter: int
    batch_size: int
    n_steps: int | None
    trial_steps: int
    learning_rate: float
    alpha: float
    n_iter_no_change: int
    tol: float
    max_trial_steps: float = math.inf
    averaging: float = 0.99
    kernels: bool = True


@dataclass(frozen=True)
class Part:
    """Rows on the scale of the network, their weights (mean one) and what their log-densities lack to data units."""

    x: Tensor
    weight: Tensor | None = None
    log_abs_det: float = 0.0

    def batch(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Some rows (n, d), by their numbers (n,), and the weight of each in their mean (n,)."""
        x, n = self.x[rows], len(rows)
        return x, x.new_full((n,), 1 / n) if self.weight is None else self.weight[rows] / n


@dataclass
class Progress:
    """What a run has seen so far, in nats per row and in data units."""

    loss_curve: list[float] = field(default_factory=list)
    validation_scores: list[float] = field(default_factory=list)
    best_score: float = -math.inf
    best_iter: int = 0
    best_step: int = 0
    n_iter: int = 0
    stopped: str = "max_iter"

    def outlook(self, max_iter: int) -> float:
        """What the validation score may come to in ``max_iter`` passes: the last doubling's rise, over and over again.

        Curves rise about linearly in the logarithm of the number of passes, until they turn; a quarter is taken off for
        that. A start that has turned is no match for one that is still far below and rising fast.
        """
        scores = self.validation_scores
        if len(scores) < 2:
            return self.best_score
        rise = max(0.0, scores[-1] - scores[len(scores) // 2 - 1])
        doublings = math.log2(max(1.0, max_iter / len(scores)))
        return max(self.best_score, scores[-1] + 0.75 * doublings * rise)

    @property
    def still_rising(self) -> bool:
        """Whether the last pass brought the best validation score."""
        return bool(self.validation_scores) and self.best_iter == self.n_iter


class Trainer:
    """Raises the weighted mean log-likelihood of a table under a flow, in place, pass by pass.

    Parameters
    ----------
    flow : Flow
    train : Part
    validation : Part or None
    plan : Plan
    generator : torch.Generator
        The only source of randomness.
    optimizer_state : tuple, optional
        Where an earlier run on the same flow left off.
    """

    def __init__(
        self,
        flow: Flow,
        train: Part,
        validation: Part | None,
        plan: Plan,
        generator: torch.Generator,
        optimizer_state: tuple | None = None,
    ):
        self.flow = flow
        self.train = train
        self.validation = validation
        self.plan = plan
        self.generator = generator
        self.params = ParameterVector(flow)
        self.average = self.params.value.clone()
        self.best = self.average.clone()
        self.optimizer = Adam(self.params, plan.alpha)
        if optimizer_state is not None:
            self.optimizer.resume(optimizer_state)
        self.rate = plan.learning_rate
        self.step = self.rollbacks = 0
        held_out = [] if validation is None else torch.arange(len(validation.x)).split(ROWS_TO_SCORE)
        self.held_out = [
            (len(rows) / len(validation.x), *validation.batch(rows.to(validation.x.device))) for rows in held_out
        ]
        self.programs: dict[tuple[int, bool], Callable | None] = {}  # by the number of rows, with gradients or without

    def one_pass(self, n_steps: float, pace: Pace) -> float:
        """Go through the rows once, or until ``n_steps`` steps have been made in all; the mean loss in data units."""
        n = len(self.train.x)
        n_batches = n // min(self.plan.batch_size, n)
        order = torch.randperm(n, generator=self.generator).to(self.train.x.device)
        total = count = 0
        for b in range(n_batches):
            if self.step >= n_steps or self.rollbacks > MAX_ROLLBACKS:
                break
            rows = order[b * n // n_batches : (b + 1) * n // n_batches]
            value = pace.call(self._one_step, *self.train.batch(rows))
            if value is not None:
                total, count = total + value, count + 1
        return total / max(count, 1) - self.train.log_abs_det

    @torch.no_grad()
    def score(self) -> float:
        """Mean log-density of the validation part under the averaged parameters."""
        current = self.params.value.clone()
        self.params.value.copy_(self.average)
        pace = Pace()
        means = [
            part * float(pace.call(self._program(x, gradients=False) or self.flow.log_prob, x).mul(share).sum())
            for part, x, share in self.held_out
        ]
        self.params.value.copy_(current)
        return sum(means) + self.validation.log_abs_det

    def keep(self) -> None:
        """Remember the averaged parameters as the best so far."""
        self.best.copy_(self.average)

    def finish(self) -> None:
        """Put the best parameters into the flow and give each storage of its own."""
        self.programs.clear()
        self.params.value.copy_(self.best)
        self.params.release()

    def _one_step(self, x, share):
        """One step of the optimiser; the loss, or None where it was not finite and the state was rolled back."""
        params = self.params
        value = self._differentiate(x, share)
        norm = float(params.grad.norm())
        if not (math.isfinite(value) and math.isfinite(norm)):
            self._roll_back()
            return None
        if norm > MAX_GRAD_NORM:
            params.grad.mul_(MAX_GRAD_NORM / norm)
        self.optimizer.step(self.rate * self._schedule())
        self.step += 1
        # The average forgets its start quickly at first: its memory is a tenth of the steps so far.
        self.average.lerp_(params.value, 1 - min(self.plan.averaging, self.step / (self.step + 9)))
        return value

    def _differentiate(self, x, share):
        """Set the gradient to that of the mean loss of some rows; the loss."""
        program = self._program(x, gradients=True)
        if program is None:
            loss = -(self.flow.log_prob(x, generator=self.generator) * share).sum()
            self.params.differentiate(loss)
            return float(loss.detach())
        log_prob = program(x)
        self.params.take(program.gradients(-share))
        return -float(log_prob @ share)

    def _program(self, x, gradients):
        """For as many rows as ``x`` has, where there is one: the last such, or a new one."""
        key = len(x), gradients
        if key not in self.programs:
            kernels = self.plan.kernels
            self.programs[key] = engine.log_density(self.flow, x, gradients=gradients, kernels=kernels)
        return self.programs[key]

    def _schedule(self):
        """Linear warm-up, then a half cosine down to a hundredth."""
        if self.plan.n_steps is None:
            return 1.0
        warmup = min(WARMUP_STEPS, self.plan.n_steps // 10)
        if self.step < warmup:
            return (self.step + 1) / warmup
        share = min(1.0, (self.step - warmup) / max(1, self.plan.n_steps - warmup))
        return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * share))

    def _roll_back(self):
        self.rollbacks += 1
        self.params.value.copy_(self.best)
        self.average.copy_(self.best)
        self.optimizer.reset()
        self.rate *= 0.5


class Run:
    """Trains until the validation score stops rising; may be run in instalments.

    Parameters
    ----------
    trainers : list of Trainer
        One a fold, run in step: the validation score is their mean, and the state before the first pass counts too.
    plan : Plan
    """

    def __init__(self, trainers: list[Trainer], plan: Plan):
        self.trainers = trainers
        self.plan = plan
        self.pace = Pace()
        self.done = False
        self.progress = Progress()
        if self._validated:
            self.progress.best_score = self._score()

    def advance(
        self, n_steps: float = math.inf, on_iteration: Callable[[Progress], bool] = lambda progress: False
    ) -> None:
        """Train until ``n_steps`` steps have been made in all, or until the plan ends the run."""
        progress, plan = self.progress, self.plan
        try:
            while not self.done and self.trainers[0].step < n_steps:
                progress.loss_curve.append(_mean([trainer.one_pass(n_steps, self.pace) for trainer in self.trainers]))
                progress.n_iter += 1
                self._keep_best()
                if max(trainer.rollbacks for trainer in self.trainers) > MAX_ROLLBACKS:
                    self._stop("diverged")
                elif progress.n_iter - progress.best_iter >= plan.n_iter_no_change:
                    self._stop("no_change")
                elif progress.n_iter >= plan.max_iter:
                    self._stop("max_iter")
                if on_iteration(progress):
                    self._stop("callback")
        except KeyboardInterrupt:
            if not keeps_the_fit():
                raise
            self._stop("interrupted")

    @property
    def _validated(self):
        return self.trainers[0].validation is not None

    def _stop(self, why):
        self.done, self.progress.stopped = True, why

    def _keep_best(self):
        progress = self.progress
        if self._validated:
            score = self._score()
            progress.validation_scores.append(score)
            if not score > progress.best_score + self.plan.tol:
                return
            progress.best_score = score
        progress.best_iter, progress.best_step = progress.n_iter, self.trainers[0].step
        for trainer in self.trainers:
            trainer.keep()

    def _score(self):
        return _mean([trainer.score() for trainer in self.trainers])


def _mean(values):
    return sum(values) / len(values)
