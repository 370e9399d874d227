"""The choice between starts: all are trained side by side until one is superior."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from operator import itemgetter

from . import hyperparameters as hp
from .fit import Fit
from .hyperparameters import Plan
from .run import Run


@dataclass
class Candidate:
    """A flow to train from the start of each fold, and the run that trains it.

    Attributes
    ----------
    fits : list of Fit
        One a fold.
    run : Run
    kind : str
        The kind of preprocessing that it starts from.
    combine : callable
        Makes one fit of those of all folds; by default that of the first.
    """

    fits: list[Fit]
    run: Run
    kind: str
    combine: Callable[[list[Fit]], Fit] = itemgetter(0)

    @functools.cached_property
    def fit(self) -> Fit:
        """What the fits of all folds come to."""
        return self.combine(self.fits)

    def advance(self, n_steps: float, on_iteration: Callable[[Fit], bool]) -> None:
        """Train up to ``n_steps`` steps in all."""
        with self.fits[0].threads():
            self.run.advance(n_steps, lambda progress: on_iteration(self.fit))

    @property
    def best_score(self) -> float:
        """The validation score of its best state."""
        return self.run.progress.best_score

    @property
    def extrapolated_score(self) -> float:
        """What its validation score may come to: see `Progress.extrapolated_score`."""
        progress = self.run.progress
        return progress.best_score if self.run.done else progress.extrapolated_score(self.run.plan.max_iter)

    @property
    def cut_short(self) -> bool:
        """Whether trials have ended in the middle of passes so long that a large share of the plan would be missing."""
        plan, trainer = self.run.plan, self.run.trainers[0]
        if plan.n_steps is None:
            return False
        in_whole_passes = self.run.progress.n_iter * plan.n_steps / plan.max_iter
        n_made = trainer.step + trainer.rollbacks + trainer.n_undone
        return in_whole_passes - n_made > hp.MAX_SHARE_CUT_SHORT * plan.n_steps

    @property
    def interrupted(self) -> bool:
        """Whether Ctrl-C has ended its training."""
        return self.run.progress.stopped == "interrupted"

    def restarted(self) -> Candidate:
        """The same flows as they are now, with all of the plan's passes before them."""
        self.run.drop()  # the tensors are those of the run to come
        with self.fits[0].threads():
            run = Run(self.run.trainers, self.run.plan)
        # Of the state that the trainers remember as the best:
        run.progress.start_score = run.progress.best_score = self.best_score
        return Candidate([replace(fit, progress=run.progress) for fit in self.fits], run, self.kind, self.combine)

    def finish(self) -> Fit:
        """The fit in its best state."""
        self.run.finish()
        return replace(self.fit, optimizer_state=self.run.trainers[0].optimizer.state())


def select(candidates: list[Candidate], plan: Plan, on_iteration: Callable[[Fit], bool]) -> Candidate:
    """Train the best of several candidates to its end: see `best_start`.

    Where passes are so long that trials ended within them, the steps of the trials count as none of the passes.

    Returns
    -------
    Candidate
        Where Ctrl-C has ended the training of one, its own is at an end, too.
    """
    best = best_start(candidates, plan, on_iteration)
    if best.cut_short and not best.interrupted:
        best = best.restarted()
    best.advance(math.inf, on_iteration)
    return best


def best_start(candidates: list[Candidate], plan: Plan, on_iteration: Callable[[Fit], bool]) -> Candidate:
    """Train candidates by turns, and drop those that are inferior, the more often the fewer steps each has made.

    Parameters
    ----------
    candidates : list of Candidate
    plan : Plan
        Says after how many steps they are compared first, and when the best is chosen at the latest.
    on_iteration : callable
        Told of the fit after every pass of each; true stops it.

    Returns
    -------
    Candidate
        The best, as far as it has been trained. Where Ctrl-C has ended the training of one, its own is at an end, too.
    """
    n_steps = plan.trial_steps
    while len(candidates) > 1 and n_steps <= plan.max_trial_steps and not all(c.run.done for c in candidates):
        for candidate in candidates:
            candidate.advance(plan.in_whole_passes(n_steps), on_iteration)
            if candidate.interrupted:
                best = _best(candidates)
                best.run.stop("interrupted")
                return best
        candidates = _kept(_undominated(candidates), candidates)
        n_steps *= hp.TRIAL_GROWTH
    (best,) = _kept([_best(candidates)], candidates)
    return best


def _kept(some, candidates):
    for candidate in candidates:
        if not any(candidate is one for one in some):
            candidate.run.drop()
    return some


def _best(candidates):
    return max(candidates, key=lambda candidate: candidate.best_score)


def _undominated(candidates):
    """Those to which no other is superior both in what it has reached and in what it may reach; of equals the first."""
    kept: list[Candidate] = []
    for candidate in sorted(candidates, key=lambda candidate: -candidate.best_score):
        if all(candidate.extrapolated_score > other.extrapolated_score for other in kept):
            kept.append(candidate)
    return kept
