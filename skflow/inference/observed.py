"""Rows of which some is missing: the density of what is observed, and draws of what is not."""

from __future__ import annotations

import copy
import functools
import itertools
from dataclasses import dataclass, field

import numpy as np
import torch
from scipy import special
from torch import Tensor

from ..flows.distributions.mixed_distribution import MixedDistribution
from ..flows.flow import Flow
from .evaluator import Evaluator

DRAWS_TO_SCORE = 64  # of what is missing from a row, at first
MOST_VALUES = 128  # of missing categories that are summed over
ERROR_TO_GO_ON = 0.1  # nats: where the standard error is larger, there are four times as many
DRAWS_TO_IMPUTE = {"sample": 16, "mean": 64, "mode": 64}  # at first
LEAST_EFFECTIVE = 0.4  # of them has the effective sample size to be, or there are four times as many
MOST_DRAWS_TO_SCORE, MOST_DRAWS = 256, 1024
DRAWS_AT_A_TIME = 16_384
MARGIN = 1e-9  # that uniform numbers keep from 0 and 1


@dataclass(eq=False)
class Observed:
    """A density p of complete rows, asked about rows with holes by way of one, q, that knows its marginals.

    For a row with the observed part ``o``, and draws ``m`` of the missing part from ``q(m | o)``,::

        p(o) = q(o) E[p(o, m) / q(o, m)]

    is estimated without bias by a mean over draws [1]_. Where the first draws differ much, more are made in their
    place; that this depends on the draws is the one source of bias. The draws of all rows come from the same points of
    a scrambled Sobol sequence: what is said of a row does not depend on the others, and is the same whenever it is
    asked.

    Parameters
    ----------
    evaluator : Evaluator
        Of p.
    proposal : Flow
        q: a `Columnwise` bijection in front of a mixture of latent trees, in float64.
    atoms : dict of {int: (int, ndarray)}
        For a number with atoms the column that says which of them it is at, and their values.

    References
    ----------
    .. [1] Owen, "Monte Carlo theory, methods and examples", 2013, section 9.1.
    """

    evaluator: Evaluator
    proposal: Flow
    atoms: dict[int, tuple[int, np.ndarray]] = field(default_factory=dict)

    def log_density(self, X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Log-density of what is observed of each row, in nats, and its standard error, both of shape (n,).

        The error is zero where the answer is known in closed form.
        """
        holes = self._holes(X)
        log_density, error = np.zeros(len(X)), np.zeros(len(X))
        complete = ~holes.any(1)
        if complete.any():
            log_density[complete] = self.evaluator.log_density(X[complete])
        estimated = np.flatnonzero(~complete)
        for rows in self._chunks(estimated, 1):
            with torch.no_grad():
                log_density[rows] = self.proposal.log_prob(torch.from_numpy(X[rows].astype(float))).numpy()
        rows, n_draws = estimated[~self._closed(holes)[estimated]], DRAWS_TO_SCORE
        rows = self._sum_out(X, holes, rows, log_density)
        known = log_density.copy()
        while len(rows) and n_draws <= MOST_DRAWS_TO_SCORE:
            noise = self._noise(X.shape[1], n_draws)
            for some in self._chunks(rows, n_draws):
                log_ratio = self._draws(X[some], noise.repeat(len(some), 1, 1))[1]
                most = log_ratio.max(1, keepdims=True)
                weight = np.exp(log_ratio - most)
                log_density[some] = known[some] + most[:, 0] + np.log(weight.mean(1))
                error[some] = weight.std(1, ddof=1) / weight.mean(1) / np.sqrt(n_draws)
            rows, n_draws = rows[error[rows] > ERROR_TO_GO_ON], 4 * n_draws
        return log_density, error

    def _sum_out(self, X, holes, rows, log_density):
        """Sum over the values of missing categories, where they are few and no number is missing; the other rows."""
        if self._mixed is None:
            return rows
        sizes = self._mixed.n_categories.numpy() + 1  # and unknown ones
        rest = []
        for pattern in np.unique(holes[rows], axis=0):
            own, columns = rows[(holes[rows] == pattern).all(1)], np.flatnonzero(pattern)
            n_values = int(np.prod(sizes[columns], dtype=float))
            if self._mixed.numbers.numpy()[columns].any() or n_values > MOST_VALUES:
                rest.append(own)
                continue
            values = np.array(list(itertools.product(*map(range, sizes[columns]))))
            for some in self._chunks(own, n_values):
                completed = X[some].repeat(n_values, axis=0).astype(float)
                completed[:, columns] = np.tile(values, (len(some), 1))
                every = self.evaluator.log_density(completed).reshape(len(some), n_values)
                log_density[some] = special.logsumexp(every, axis=1)
        return np.sort(np.concatenate(rest)) if rest else rows[:0]

    def impute(self, X: np.ndarray, strategy: str, generator: torch.Generator) -> np.ndarray:
        """Rows whose holes are filled: by draws given the rest of the row, or by the mean or the mode of such draws.

        Where few draws carry the weight, more of them are made.
        """
        filled = X.astype(float)
        rows, n_draws = np.flatnonzero(self._holes(X).any(1)), DRAWS_TO_IMPUTE[strategy]
        while len(rows) and n_draws <= MOST_DRAWS:
            heavy = []
            for some in self._chunks(rows, n_draws):
                draws, weight = self._weighted(X[some], strategy, generator, n_draws)
                answer = self._answer(draws, weight, strategy, generator)
                filled[some] = np.where(np.isnan(X[some]), answer, X[some])
                heavy.append(some[1 / (weight**2).sum(1) < LEAST_EFFECTIVE * DRAWS_TO_IMPUTE[strategy]])
            rows, n_draws = np.concatenate(heavy), 4 * n_draws
        return filled

    def _weighted(self, X, strategy, generator, n_draws):
        """Completed rows (n, m, d), and the share of each (n, m)."""
        if strategy == "sample":
            shape = len(X) * n_draws, X.shape[1] + 1, 2
            noise = torch.rand(shape, generator=generator, dtype=torch.float64).clamp(MARGIN, 1 - MARGIN)
        else:
            noise = self._noise(X.shape[1], n_draws).repeat(len(X), 1, 1)
        draws, log_ratio = self._draws(X, noise)
        weight = np.exp(log_ratio - log_ratio.max(1, keepdims=True))
        return draws, weight / weight.sum(1, keepdims=True)

    def _answer(self, draws, weight, strategy, generator):
        n, m, d = draws.shape
        if strategy == "sample":
            uniform = torch.rand(n, 1, generator=generator, dtype=torch.float64).numpy()
            return draws[np.arange(n), np.minimum((uniform > weight.cumsum(1)).sum(1), m - 1)]
        categories = np.zeros(d, dtype=int) if self._mixed is None else self._mixed.n_categories.numpy()
        if strategy == "mean":
            for j, (i, values) in self.atoms.items():
                at_none = draws[:, :, i] == len(values)
                draws[:, :, j] = np.where(at_none, draws[:, :, j], np.append(values, 0)[draws[:, :, i].astype(int)])
            answer = np.einsum("nm,nmd->nd", weight, draws)
        else:
            answer = draws[np.arange(n), weight.argmax(1)]
        for j in np.flatnonzero(categories):
            votes = weight[:, :, None] * (draws[:, :, j, None] == np.arange(categories[j]))
            answer[:, j] = votes.sum(1).argmax(1)
        if strategy == "mean":
            for i, values in self.atoms.values():
                answer[:, i] = len(values)  # the mean is at no atom
        return answer

    def _draws(self, X: np.ndarray, noise: Tensor) -> tuple[np.ndarray, np.ndarray]:
        """Completed rows (n, m, d), and of each the logarithm of p over q (n, m)."""
        m = len(noise) // len(X)
        x = torch.from_numpy(X.astype(float))
        row = torch.arange(len(X)).repeat_interleave(m)
        mixed = self._mixed
        with torch.no_grad():
            z, _ = self.proposal.bijection(x)
            drawn = self.proposal.base.fill(z, noise, row)
            drawn = drawn if mixed is None else mixed.without_atoms(drawn)
            completed = torch.where(x[row].isnan(), self.proposal.bijection.inverse(drawn)[0], x[row])
            if mixed is not None:
                log_ratio = self._single.log_gain(drawn.float()).double().numpy()
            else:
                log_q = self.proposal.log_prob(completed).numpy()
                log_ratio = self.evaluator.log_density(completed.numpy()) - log_q
        return completed.numpy().reshape(len(X), m, -1), log_ratio.reshape(len(X), m)

    @property
    def _mixed(self) -> MixedDistribution | None:
        base = getattr(self.evaluator.flow, "base", None)
        return base if isinstance(base, MixedDistribution) else None

    @functools.cached_property
    def _single(self) -> MixedDistribution:
        """In single precision, twice as fast: the weights of draws need no more digits."""
        return copy.deepcopy(self._mixed).float()

    def _holes(self, X):
        """What is not observed; of a number at an atom there is nothing to observe."""
        holes = np.isnan(X)
        return holes if self._mixed is None else holes & ~self._mixed.at_atom(torch.from_numpy(X.astype(float))).numpy()

    def _closed(self, holes):
        """Rows whose density is known in closed form: of a mixed density all without an observed number."""
        if self._mixed is None:
            return holes.all(1)
        return (holes | ~self._mixed.numbers.numpy()).all(1) | (self._mixed.flow is None)

    @staticmethod
    def _noise(d, n_draws):
        points = torch.quasirandom.SobolEngine(2 * d + 2, scramble=True, seed=0).draw(n_draws, dtype=torch.float64)
        return points.clamp(MARGIN, 1 - MARGIN).view(n_draws, d + 1, 2)

    @staticmethod
    def _chunks(rows, n_draws):
        size = max(1, DRAWS_AT_A_TIME // n_draws)
        return [rows[i : i + size] for i in range(0, len(rows), size)]
