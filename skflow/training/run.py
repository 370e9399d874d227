"""A run: passes until the held-out likelihood no longer rises, and the best state of them."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from ..engine import Pace
from . import checkpoint, distributed
from . import hyperparameters as hp
from .checkpoint import Arrays
from .hyperparameters import Plan
from .interrupt import keeps_the_fit
from .progress import Progress
from .trainer import Trainer


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
