"""The training loop: batches in, the best flow by held-out likelihood out."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from ..engine import Pace
from ..flows.distributions.distribution import Distribution
from . import checkpoint, distributed
from . import hyperparameters as hp
from .checkpoint import Arrays
from .data import Batches, Source, TableSource
from .hyperparameters import Plan
from .interrupt import keeps_the_fit
from .objectives import MaximumLikelihood
from .parameters import ParameterVector
from .soap import MOMENTS, Soap


@dataclass
class Progress:
    """What a run has seen so far, in nats per row and in data units."""

    loss_curve: list[float] = field(default_factory=list)
    validation_scores: list[float] = field(default_factory=list)
    start_score: float = -math.inf  # before the first pass
    best_score: float = -math.inf
    best_iter: int = 0
    latest_iter: int = 0  # the best one, or that after which the rate was lowered last
    best_step: int = 0
    n_iter: int = 0
    stopped: str = "max_iter"
    done: bool = False

    def extrapolated_score(self, max_iter: int) -> float:
        """What the validation score may come to in ``max_iter`` passes, where it goes on rising.

        The best score so far rises about linearly in the logarithm of the number of passes, until it stays: every
        doubling to come counts for ``hp.TRUST_IN_RISE`` times the rise of the last one. What a start first lost and
        then regained is no rise.
        """
        scores = self.validation_scores
        if len(scores) < 2:
            return self.best_score
        rise = self.best_score - max(self.start_score, *scores[: (len(scores) + 1) // 2])
        doublings = math.log2(max(1.0, max_iter / len(scores)))
        return max(self.best_score, scores[-1] + hp.TRUST_IN_RISE * doublings * rise)

    def shifted(self, log_abs_det: float) -> Progress:
        """The same in other units, to which log-densities lack ``log_abs_det``."""
        curve, scores = [v - log_abs_det for v in self.loss_curve], [v + log_abs_det for v in self.validation_scores]
        start, best = self.start_score + log_abs_det, self.best_score + log_abs_det
        return replace(self, loss_curve=curve, validation_scores=scores, start_score=start, best_score=best)

    def copy(self) -> Progress:
        """The same, with curves of its own."""
        return replace(self, loss_curve=list(self.loss_curve), validation_scores=list(self.validation_scores))

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
        self.journal = checkpoint.current()
        self.train = train
        self.validation = validation
        self.plan = plan
        self.generator = generator
        self.objective = MaximumLikelihood(flow, plan.kernels)
        self.params = ParameterVector(flow)
        self.average = self.params.value.clone()
        self.best = self.average.clone()
        self.optimizer = Soap(self.params, plan.alpha)
        if optimizer_state is not None:
            self.optimizer.resume(optimizer_state)
        self.rate = plan.learning_rate
        self.step = self.rollbacks = self.n_undone = 0
        self.drops: list[int] = []  # steps from which the rate is lower
        self.under_way: Pass | None = None
        self.due = False  # a checkpoint
        part = self.processes.part
        self.held_out = [] if validation is None else list(validation.in_order(hp.ROWS_TO_SCORE, part))

    def one_pass(self, n_steps: float, pace: Pace) -> float:
        """Go through the rows once, or until ``n_steps`` steps have been made in all; the mean loss in data units.

        A pass that is under way, since a checkpoint was written in it, is gone on with.
        """
        with self.processes.steps(self.params):
            current = self.under_way = self.under_way or self._begin()
            while self.step < n_steps and self.rollbacks <= hp.MAX_ROLLBACKS and pace.call(self._one_step, current):
                if self.due:
                    self.journal.write()
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

    def state(self) -> tuple[dict, Arrays]:
        """All that changes while training, in numbers and arrays."""
        *moments, n_steps = self.optimizer.state()
        vectors = {"value": self.params.value, "average": self.average, "best": self.best}
        document = {
            "step": self.step,
            "rollbacks": self.rollbacks,
            "n_undone": self.n_undone,
            "drops": list(self.drops),
            "n_optimizer_steps": n_steps,
            "pass": None,
        }
        floats = [self.rate]
        states = {"generator": self.generator.get_state()}
        if self.under_way is not None:
            document["pass"] = [self.under_way.n_batches, self.under_way.n_steps]
            floats.append(self.under_way.total)
            states["pass"] = self.under_way.began
        tensors = {**vectors, **dict(zip(MOMENTS, moments)), **states}
        return document, {"floats": np.array(floats), **{k: v.numpy(force=True).copy() for k, v in tensors.items()}}

    def resume(self, document: dict, arrays: Arrays) -> None:
        """Go on from a `state`."""
        for into, name in ((self.params.value, "value"), (self.average, "average"), (self.best, "best")):
            into.copy_(torch.from_numpy(arrays[name]))
        moments = (torch.from_numpy(arrays[name]) for name in MOMENTS)
        self.optimizer.resume((*moments, document["n_optimizer_steps"]))
        self.step, self.rollbacks, self.rate = document["step"], document["rollbacks"], float(arrays["floats"][0])
        self.n_undone, self.drops = document["n_undone"], document["drops"]
        if document["pass"] is not None:
            self.generator.set_state(torch.from_numpy(arrays["pass"]))
            self.under_way = self._begin()
            self.under_way.n_batches, self.under_way.n_steps = document["pass"]
            self.under_way.total = float(arrays["floats"][1])
            self.under_way.batches.skip(self.under_way.n_batches)
        self.generator.set_state(torch.from_numpy(arrays["generator"]))

    def _begin(self) -> Pass:
        """The state of the generator and, drawn from it, the order of the rows."""
        began = self.generator.get_state()
        return Pass(self.train.batches(self.plan.batch_size, self.generator, self.processes.part), began)

    def _one_step(self, current: Pass) -> bool:
        """One step of the optimiser, or back to the best state where the loss is not finite; False for no more rows."""
        params, batch = self.params, next(current.batches, None)
        n_rows = 0 if batch is None else len(batch.x)
        value = self.objective.differentiate(params, batch, self.generator) if n_rows else 0.0
        value, self.due = self.processes.average(params, value, n_rows, self.journal.step())
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
        """Linear warm-up, then a half cosine down to a hundredth, or the same rate for ever where there is no end."""
        if self.plan.n_steps is None:
            return min(1.0, (self.optimizer.n_steps + 1) / hp.WARMUP_STEPS)
        warmup = min(hp.WARMUP_STEPS, int(hp.MAX_WARMUP_SHARE * self.plan.n_steps))
        share = min(1.0, max(0, self.step - warmup) / max(1, self.plan.n_steps - warmup))
        drops = sum(step <= self.step for step in self.drops)
        factor = hp.RATE_AFTER_DROP**drops * min(1.0, (self.step + 1) / max(1, warmup))
        return factor * (hp.LAST_RATE + (1 - hp.LAST_RATE) * 0.5 * (1 + math.cos(math.pi * share)))

    def back_to_best(self, step: int) -> None:
        """Go back to the best state, which was that after ``step`` steps, and on from there at a lower rate."""
        self.params.value.copy_(self.best)
        self.average.copy_(self.best)
        self.n_undone += self.step - step
        self.step = step
        self.drops.append(step)

    def _roll_back(self):
        self.rollbacks += 1
        self.params.value.copy_(self.best)
        self.average.copy_(self.best)
        self.optimizer.reset()
        self.rate *= hp.RATE_AFTER_ROLLBACK


class Run:
    """Trains until the validation score stops rising; may be run in instalments.

    Where the fit is kept in a journal that knows the run already, those instalments that it has been through give at
    once what they gave then.

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
        self.progress = Progress()
        self.losses: list[float] = []  # of the trainers that have ended the present pass
        self.n_instalments = 0
        self.history: list[Progress] = []  # after every instalment
        self.latest: Progress | None = None  # of an earlier fit, from where to go on behind these
        self.journal = checkpoint.current()
        earlier = self.journal.enter(self)
        if earlier is not None:
            self._resume(*earlier)
        elif self._validated:
            self.progress.start_score = self.progress.best_score = self._score()

    def advance(
        self, n_steps: float = math.inf, on_iteration: Callable[[Progress], bool] = lambda progress: False
    ) -> None:
        """Train until ``n_steps`` steps have been made in all, or until the plan ends the run."""
        self.n_instalments += 1
        if self.n_instalments <= len(self.history):
            vars(self.progress).update(vars(self.history[self.n_instalments - 1].copy()))
            return
        if self.latest is not None:
            vars(self.progress).update(vars(self.latest))
            self.latest = None
        self._advance(n_steps, on_iteration)
        self.history.append(self.progress.copy())

    def _advance(self, n_steps, on_iteration):
        progress, plan = self.progress, self.plan
        try:
            while not self.done and (self._within_a_pass or self.trainers[0].step < n_steps):
                while len(self.losses) < len(self.trainers):
                    self.losses.append(self.trainers[len(self.losses)].one_pass(n_steps, self.pace))
                progress.loss_curve.append(_mean(self.losses))
                self.losses.clear()
                progress.n_iter += 1
                self._keep_best()
                if max(trainer.rollbacks for trainer in self.trainers) > hp.MAX_ROLLBACKS:
                    self.stop("diverged")
                elif progress.n_iter - progress.latest_iter >= plan.n_iter_no_change:
                    self._lower_the_rate_or_stop()
                elif progress.n_iter >= plan.max_iter:
                    self.stop("max_iter")
                if self.processes.any(on_iteration(progress)):
                    self.stop("callback")
        except KeyboardInterrupt:
            if self.processes.any(not keeps_the_fit()):
                raise
            self.journal.interrupt()
            self.stop("interrupted")

    def _lower_the_rate_or_stop(self):
        plan, n_drops = self.plan, len(self.trainers[0].drops)
        at_the_end = self.progress.n_iter >= plan.max_iter
        if n_drops == hp.MAX_DROPS or not self._validated or plan.n_steps is None or at_the_end:
            self.stop("no_change")
            return
        self.progress.latest_iter = self.progress.n_iter
        for trainer in self.trainers:
            trainer.back_to_best(self.progress.best_step)

    @property
    def _within_a_pass(self):
        """Whether it was left when some trainer had yet to end the pass, as a checkpoint may."""
        return bool(self.losses) or self.trainers[0].under_way is not None

    @property
    def _validated(self):
        return self.trainers[0].validation is not None

    def stop(self, why: str) -> None:
        """End the run."""
        self.progress.done, self.progress.stopped = True, why

    @property
    def done(self) -> bool:
        """Whether the run is at its end."""
        return self.progress.done

    def state(self, *, with_tensors: bool) -> tuple[dict, Arrays]:
        """How far it has come, in plain values and arrays."""
        now = self.latest or self.progress
        noted = [*self.history, now]
        document = {
            "progress": [
                [
                    len(p.loss_curve),
                    len(p.validation_scores),
                    p.best_iter,
                    p.latest_iter,
                    p.best_step,
                    p.n_iter,
                    p.stopped,
                    p.done,
                ]
                for p in noted
            ],
            "trainers": [],
        }
        arrays = {
            "loss_curve": np.array(now.loss_curve, dtype=float),
            "validation_scores": np.array(now.validation_scores, dtype=float),
            "best_scores": np.array([[p.start_score, p.best_score] for p in noted]),
            "losses": np.array(self.losses, dtype=float),
        }
        for k, trainer in enumerate(self.trainers if with_tensors else []):
            more, own = trainer.state()
            document["trainers"].append(more)
            arrays.update({f"{k}.{name}": value for name, value in own.items()})
        return document, arrays

    def _resume(self, document, arrays):
        losses, scores = (arrays[name].tolist() for name in ("loss_curve", "validation_scores"))
        *self.history, self.latest = (
            Progress(losses[:n_losses], scores[:n_scores], *best_scores, *more)
            for (n_losses, n_scores, *more), best_scores in zip(document["progress"], arrays["best_scores"].tolist())
        )
        self.losses = arrays["losses"].tolist()
        for k, (trainer, more) in enumerate(zip(self.trainers, document["trainers"])):
            start = f"{k}."
            own = {name.removeprefix(start): v for name, v in arrays.items() if name.startswith(start)}
            trainer.resume(more, own)

    def finish(self) -> None:
        """Leave the flows in their best state."""
        for trainer in self.trainers:
            trainer.finish()
        self.journal.close(self, trained=True)

    def drop(self) -> None:
        """Note that this run will not be gone on with."""
        self.journal.close(self, trained=False)

    def _keep_best(self):
        progress = self.progress
        if self._validated:
            score = self._score()
            progress.validation_scores.append(score)
            if not score > progress.best_score + self.plan.tol:
                return
            progress.best_score = score
        progress.best_iter = progress.latest_iter = progress.n_iter
        progress.best_step = self.trainers[0].step
        for trainer in self.trainers:
            trainer.keep()

    def _score(self):
        return _mean([trainer.score() for trainer in self.trainers])


def _mean(values):
    return sum(values) / len(values)
