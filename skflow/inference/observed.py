"""Rows of which some is missing: the density of what is observed, and draws of what is not."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..flows.distributions.mixed_distribution import MixedDistribution
from ..flows.flow import Flow
from .evaluator import Evaluator

DRAWS_TO_SCORE, DRAWS_TO_IMPUTE = 256, 64  # of what is missing from a row
ROWS_AT_A_TIME = 256
MARGIN = 1e-9  # that uniform numbers keep from 0 and 1


@dataclass(frozen=True)
class Observed:
    """A density p of complete rows, asked about rows with holes by way of one, q, that knows its marginals.

    For a row with the observed part ``o``, and draws ``m`` of the missing part from ``q(m | o)``,::

        p(o) = q(o) E[p(o, m) / q(o, m)]

    is estimated without bias by a mean over draws [1]_. The draws of all rows come from the same points of a scrambled
    Sobol sequence: what is said of a row does not depend on the others, and is the same whenever it is asked.

    Parameters
    ----------
    evaluator : Evaluator
        Of p.
    proposal : Flow
        q: a `Columnwise` bijection in front of a mixture of latent trees, in float64.

    References
    ----------
    .. [1] Owen, "Monte Carlo theory, methods and examples", 2013, section 9.1.
    """

    evaluator: Evaluator
    proposal: Flow

    def log_density(self, X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Log-density of what is observed of each row, in nats, and its standard error, both of shape (n,).

        The error is zero where the answer is known in closed form.
        """
        holes = np.isnan(X)
        log_density, error = np.zeros(len(X)), np.zeros(len(X))
        complete = ~holes.any(1)
        if complete.any():
            log_density[complete] = self.evaluator.log_density(X[complete])
        closed, estimated = self._closed(holes), ~complete
        noise = self._noise(X.shape[1], DRAWS_TO_SCORE)
        for rows in self._chunks(np.flatnonzero(estimated)):
            x = torch.from_numpy(X[rows].astype(float))
            with torch.no_grad():
                log_density[rows] = self.proposal.log_prob(x).numpy()
            rest = rows[~closed[rows]]
            if len(rest):
                log_ratio = self._draws(X[rest], noise.repeat(len(rest), 1, 1))[1]
                most = log_ratio.max(1, keepdims=True)
                weight = np.exp(log_ratio - most)
                log_density[rest] += most[:, 0] + np.log(weight.mean(1))
                error[rest] = weight.std(1, ddof=1) / weight.mean(1) / np.sqrt(DRAWS_TO_SCORE)
        return log_density, error

    def impute(self, X: np.ndarray, strategy: str, generator: torch.Generator) -> np.ndarray:
        """Rows whose holes are filled: by draws given the rest of the row, or by the mean or the mode of such draws."""
        filled = X.astype(float)
        categories = self._categories(X.shape[1])
        for rows in self._chunks(np.flatnonzero(np.isnan(X).any(1))):
            if strategy == "sample":
                shape = len(rows) * DRAWS_TO_IMPUTE, X.shape[1] + 1, 2
                noise = torch.rand(shape, generator=generator, dtype=torch.float64).clamp(MARGIN, 1 - MARGIN)
            else:
                noise = self._noise(X.shape[1], DRAWS_TO_IMPUTE).repeat(len(rows), 1, 1)
            draws, log_ratio = self._draws(X[rows], noise)
            weight = np.exp(log_ratio - log_ratio.max(1, keepdims=True))
            weight /= weight.sum(1, keepdims=True)
            if strategy == "sample":
                uniform = torch.rand(len(rows), 1, generator=generator, dtype=torch.float64).numpy()
                chosen = np.minimum((uniform > weight.cumsum(1)).sum(1), DRAWS_TO_IMPUTE - 1)
                answer = draws[np.arange(len(rows)), chosen]
            else:
                answer = (
                    np.einsum("nm,nmd->nd", weight, draws)
                    if strategy == "mean"
                    else draws[np.arange(len(rows)), weight.argmax(1)]
                )
                for j in np.flatnonzero(categories):
                    votes = weight[:, :, None] * (draws[:, :, j, None] == np.arange(categories[j]))
                    answer[:, j] = votes.sum(1).argmax(1)
            filled[rows] = np.where(np.isnan(X[rows]), answer, X[rows])
        return filled

    def _draws(self, X: np.ndarray, noise: Tensor) -> tuple[np.ndarray, np.ndarray]:
        """Completed rows (n, m, d), and of each the logarithm of p over q (n, m)."""
        m = len(noise) // len(X)
        x = torch.from_numpy(X.astype(float))
        row = torch.arange(len(X)).repeat_interleave(m)
        with torch.no_grad():
            z, _ = self.proposal.bijection(x)
            drawn = self.proposal.base.fill(z, noise, row)
            completed = torch.where(x[row].isnan(), self.proposal.bijection.inverse(drawn)[0], x[row])
            log_q = self.proposal.log_prob(completed).numpy()
        if self._is_exact():
            log_ratio = np.zeros(len(row))
        else:
            log_ratio = self.evaluator.log_density(completed.numpy()) - log_q
        return completed.numpy().reshape(len(X), m, -1), log_ratio.reshape(len(X), m)

    def _is_exact(self):
        base = getattr(self.evaluator.flow, "base", None)
        return isinstance(base, MixedDistribution) and base.flow is None

    def _closed(self, holes):
        """Rows whose density is known in closed form: of a mixed density all without an observed number."""
        base = getattr(self.evaluator.flow, "base", None)
        if not isinstance(base, MixedDistribution):
            return holes.all(1)
        return (holes | ~base.numbers.numpy()).all(1) | self._is_exact()

    def _categories(self, d):
        base = getattr(self.evaluator.flow, "base", None)
        return base.n_categories.numpy() if isinstance(base, MixedDistribution) else np.zeros(d, dtype=int)

    @staticmethod
    def _noise(d, n_draws):
        points = torch.quasirandom.SobolEngine(2 * d + 2, scramble=True, seed=0).draw(n_draws, dtype=torch.float64)
        return points.clamp(MARGIN, 1 - MARGIN).view(n_draws, d + 1, 2)

    @staticmethod
    def _chunks(rows):
        return [rows[i : i + ROWS_AT_A_TIME] for i in range(0, len(rows), ROWS_AT_A_TIME)]
