"""The training loop: batches in, the best flow by held-out likelihood out."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from ..engine import Pace
from ..flows.distributions.distribution import Distribution
from . import distributed
from . import hyperparameters as hp
from .data import Batches, Source, TableSource
from .hyperparameters import Plan
from .interrupt import keeps_the_fit
from .objectives import MaximumLikelihood
from .optimizer import Adam, ParameterVector


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

    def extrapolated_score(self, max_iter: int) -> float:
        """What the validation score may come to in ``max_iter`` passes: the last doubling's rise, over and over again.

        Curves rise about linearly in the logarithm of the number of passes, until they turn; a quarter is taken off for
        that. A start that has turned is no match for one that is still far below and rising fast.
        """
        scores = self.validation_scores
        if len(scores) < 2:
            return self.best_score
        rise = max(0.0, scores[-1] - scores[len(scores) // 2 - 1])
        doublings = math.log2(max(1.0, max_iter / len(scores)))
        return max(self.best_score, scores[-1] + hp.TRUST_IN_RISE * doublings * rise)

    def shifted(self, log_abs_det: float) -> Progress:
        """The same in other units, to which log-densities lack ``log_abs_det``."""
        curve, scores = [v - log_abs_det for v in self.loss_curve], [v + log_abs_det for v in self.validation_scores]
        return replace(self, loss_curve=curve, validation_scores=scores, best_score=self.best_score + log_abs_det)

    @property
    def still_rising(self) -> bool:
        """Whether the last pass brought the best validation score."""
        return bool(self.validation_scores) and self.best_iter == self.n_iter


@dataclass
class Pass:
    """A pass under way: its batches, the generator's state before it, the sum of the losses and the steps so far."""

    batches: Batches
    began: Tensor
    n_batches: int = 0
    total: float = 0.0
    n_steps: int = 0


class Trainer:
    """Trains a flow in place, pass by pass; where the fit is one of several processes, all of them train the same.

    Parameters
    ----------
    flow : Distribution
    train : Source
    validation : TableSource or None
        Which all processes have.
    plan : Plan
    generator : torch.Generator
        The only source of randomness.
    optimizer_state : tuple, optional
        Where an earlier run on the same flow left off.
    """

    def __init__(
        self,
        flow: Distribution,
        train: Source,
        validation: TableSource | None,
        plan: Plan,
        generator: torch.Generator,
        optimizer_state: tuple | None = None,
    ):
        self.processes = distributed.current()
        self.processes.broadcast(flow)
        self.train = train
        self.validation = validation
        self.plan = plan
        self.generator = generator
        self.objective = MaximumLikelihood(flow, plan.kernels)
        self.params = ParameterVector(flow)
        self.average = self.params.value.clone()
        self.best = self.average.clone()
        self.optimizer = Adam(self.params, plan.alpha)
        if optimizer_state is not None:
            self.optimizer.resume(optimizer_state)
        self.rate = plan.learning_rate
        self.step = self.rollbacks = 0
        self.under_way: Pass | None = None
        part = self.processes.part
        self.held_out = [] if validation is None else list(validation.in_order(hp.ROWS_TO_SCORE, part))

    def one_pass(self, n_steps: float, pace: Pace) -> float:
        """Go through the rows once, or until ``n_steps`` steps have been made in all; the mean loss in data units."""
        with self.processes.steps(self.params):
            current = self.under_way = self.under_way or self._begin()
            while self.step < n_steps and self.rollbacks <= hp.MAX_ROLLBACKS and pace.call(self._one_step, current):
                pass
        self.under_way = None
        return current.total / max(current.n_steps, 1) - self.train.log_abs_det

    @torch.no_grad()
    def score(self) -> float:
        """Mean log-density of the validation part under the averaged parameters."""
        current = self.params.value.clone()
        self.params.value.copy_(self.average)
        score = self.objective.score(self.held_out)
        self.params.value.copy_(current)
        return self.processes.sum(score)[0] + self.validation.log_abs_det

    def keep(self) -> None:
        """Remember the averaged parameters as the best so far."""
        self.best.copy_(self.average)

    def finish(self) -> None:
        """Put the best parameters into the flow and give each storage of its own."""
        self.objective.release()
        self.params.value.copy_(self.best)
        self.params.release()

    def _begin(self) -> Pass:
        """The state of the generator and, drawn from it, the order of the rows."""
        began = self.generator.get_state()
        return Pass(self.train.batches(self.plan.batch_size, self.generator, self.processes.part), began)

    def _one_step(self, current: Pass) -> bool:
        """One step of the optimiser, or back to the best state where the loss is not finite; False for no more rows."""
        params, batch = self.params, next(current.batches, None)
        n_rows = 0 if batch is None else len(batch.x)
        value = self.objective.differentiate(params, batch, self.generator) if n_rows else 0.0
        value = self.processes.average(params, value, n_rows)
        if value is None:
            return False
        current.n_batches += batch is not None
        norm = float(params.grad.norm())
        if not (math.isfinite(value) and math.isfinite(norm)):
            self._roll_back()
            return True
        current.total, current.n_steps = current.total + value, current.n_steps + 1
        if norm > hp.MAX_GRAD_NORM:
            params.grad.mul_(hp.MAX_GRAD_NORM / norm)
        self.optimizer.step(self.rate * self._schedule())
        self.step += 1
        # The average forgets its start quickly at first: its memory is a tenth of the steps so far.
        self.average.lerp_(params.value, 1 - min(hp.AVERAGING, self.step / (self.step + 9)))
        return True

    def _schedule(self):
        """Linear warm-up, then a half cosine down to a hundredth."""
        if self.plan.n_steps is None:
            return 1.0
        warmup = min(hp.WARMUP_STEPS, self.plan.n_steps // 10)
        if self.step < warmup:
            return (self.step + 1) / warmup
        share = min(1.0, (self.step - warmup) / max(1, self.plan.n_steps - warmup))
        return hp.LAST_RATE + (1 - hp.LAST_RATE) * 0.5 * (1 + math.cos(math.pi * share))

    def _roll_back(self):
        self.rollbacks += 1
        self.params.value.copy_(self.best)
        self.average.copy_(self.best)
        self.optimizer.reset()
        self.rate *= hp.RATE_AFTER_ROLLBACK


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
        self.processes = distributed.current()
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
                if max(trainer.rollbacks for trainer in self.trainers) > hp.MAX_ROLLBACKS:
                    self.stop("diverged")
                elif progress.n_iter - progress.best_iter >= plan.n_iter_no_change:
                    self.stop("no_change")
                elif progress.n_iter >= plan.max_iter:
                    self.stop("max_iter")
                if self.processes.any(on_iteration(progress)):
                    self.stop("callback")
        except KeyboardInterrupt:
            if self.processes.any(not keeps_the_fit()):
                raise
            self.stop("interrupted")

    @property
    def _validated(self):
        return self.trainers[0].validation is not None

    def stop(self, why: str) -> None:
        """End the run."""
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
