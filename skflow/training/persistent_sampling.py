"""Rows of every generation of a sampler, weighted as draws from the mixture of all densities they came from."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from . import hyperparameters as hp
from .importance_weights import effective_sample_size, log_mean

LEAST_BETA = 1e-12  # above zero


@dataclass
class Generation:
    """What a round of a sampler has come to, for those who follow it.

    Attributes
    ----------
    number : int
    beta : float
        The inverse temperature.
    n_evaluations : int
    n_effective : float
        Rows at that temperature.
    """

    number: int
    beta: float
    n_evaluations: int
    n_effective: float


class PersistentSample:
    """Persistent sampling (Karamanis & Seljak 2024): no row is thrown away.

    A row x counts at the inverse temperature b with the balance heuristic's weight (Veach & Guibas 1995)

        w_b(x) = p_0(x)^(1 - b) p(x)^b / sum_t (n_t / n) q_t(x),

    where p_0 is the normalised reference, p the target, and q_t, of which n_t rows are draws, a tempered density with
    its estimated constant, or the density of a flow.

    Parameters
    ----------
    reference : callable
        Log-density p_0 of rows (n, d), in nats, shape (n,).
    """

    def __init__(self, reference: Callable[[Tensor], Tensor]):
        self.reference = reference
        self.flows: list[Callable[[Tensor], Tensor] | None] = []  # None for a tempered density
        self.tempered: list[tuple[float, float]] = []  # its inverse temperature and log-constant
        self.sizes: list[int] = []

    def __len__(self) -> int:
        return sum(self.sizes)

    def add_draws(self, x: Tensor, on_target: Tensor, flow: Callable[[Tensor], Tensor]) -> None:
        """Rows drawn from ``flow``, a log-density."""
        self._add(x, self.reference(x), on_target, flow, (0.0, 0.0))

    def add_tempered(self, x: Tensor, on_reference: Tensor, on_target: Tensor, beta: float, log_z: float) -> None:
        """Rows at the inverse temperature ``beta``, where the constant's logarithm is ``log_z``."""
        self._add(x, on_reference, on_target, None, (beta, log_z))

    def _add(self, x, on_reference, on_target, flow, tempered):
        of_flows = torch.stack([x.new_zeros(len(x)) if q is None else q(x) for q in [*self.flows, flow]], 1)
        if self.flows:
            before = self.x.new_zeros(len(self.x)) if flow is None else flow(self.x)
            old = torch.cat([self.of_flows, before[:, None]], 1)
            x, of_flows = torch.cat([self.x, x]), torch.cat([old, of_flows])
            on_reference = torch.cat([self.on_reference, on_reference])
            on_target = torch.cat([self.on_target, on_target])
        self.x, self.of_flows, self.on_reference, self.on_target = x, of_flows, on_reference, on_target
        self.flows.append(flow)
        self.tempered.append(tempered)
        self.sizes.append(len(x) - sum(self.sizes))
        self._log_mixture = self._mixture()

    def _mixture(self):
        beta, log_z = torch.tensor(self.tempered, dtype=self.x.dtype).T
        tempered = tempered_log_density(self.on_reference[:, None], self.on_target[:, None], beta) - log_z
        is_flow = torch.tensor([q is not None for q in self.flows])
        share = torch.tensor(self.sizes, dtype=self.x.dtype) / len(self)
        return torch.logsumexp(torch.where(is_flow, self.of_flows, tempered) + share.log(), 1)

    def log_weights(self, beta: float = 1.0) -> Tensor:
        """Of all rows at an inverse temperature, shape (n,); the log of their mean is the log-constant there."""
        value = tempered_log_density(self.on_reference, self.on_target, beta) - self._log_mixture
        return value.nan_to_num(nan=-torch.inf, neginf=-torch.inf, posinf=torch.inf)

    def log_constant(self, beta: float = 1.0) -> float:
        """Of the tempered density, the mean of all weights."""
        return log_mean(self.log_weights(beta))

    def next_beta(self, beta: float, n_effective: float) -> float:
        """The inverse temperature above ``beta``, by bisection, where the effective sample size comes down to that."""
        if effective_sample_size(self.log_weights(1.0)) >= n_effective:
            return 1.0
        low, high = beta, 1.0
        for _ in range(hp.BISECTIONS):
            middle = 0.5 * (low + high) if low > 0 else math.sqrt(LEAST_BETA * high)
            enough = effective_sample_size(self.log_weights(middle)) >= n_effective
            low, high = (middle, high) if enough else (low, middle)
        return low

    def resample(self, n: int, beta: float, rng: np.random.RandomState) -> Tensor:
        """``n`` rows drawn in proportion to their weights, systematically, in random order."""
        return self.x[systematic_resampling(self.log_weights(beta), n, rng)]


def tempered_log_density(on_reference: Tensor, on_target: Tensor, beta: float | Tensor) -> Tensor:
    """Up to its constant; at zero it is the reference, whatever the target says."""
    beta = torch.as_tensor(beta, dtype=on_reference.dtype)
    return torch.where(beta > 0, (1 - beta) * on_reference + beta * on_target, on_reference)


def systematic_resampling(log_weights: Tensor, n: int, rng: np.random.RandomState) -> Tensor:
    """``n`` numbers in proportion to weights, in random order, none more than one off its expected count."""
    cumulated = torch.softmax(log_weights, 0).cumsum(0).numpy()
    points = (rng.uniform() + np.arange(n)) / n * cumulated[-1]
    index = np.searchsorted(cumulated, points, side="right").clip(max=len(cumulated) - 1)
    return torch.from_numpy(rng.permutation(index))
