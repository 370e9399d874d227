"""Steps of the optimiser, pass by pass, with the averaged weights, the best of them and a schedule of the rate."""

from __future__ import annotations

import math
from dataclasses import dataclass

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
from .objectives import MaximumLikelihood
from .parameters import ParameterVector
from .soap import MOMENTS, Soap


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
