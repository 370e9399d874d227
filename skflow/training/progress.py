"""How far a run has come: its curves, its best state, and what may come of it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

from . import hyperparameters as hp


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
