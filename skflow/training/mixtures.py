"""Mixtures of Gaussians as base distributions, fitted to rows in the latent space."""

from __future__ import annotations

import numpy as np
import torch
from scipy.linalg import eigvalsh
from torch import Tensor

from ..flows.distributions.gaussian_mixture import GaussianMixture
from . import hyperparameters as hp
from .expectation_maximisation import expectation_maximisation


class MixtureFitting:
    """Fits mixtures of one size or another to the same rows.

    A single Gaussian is shrunk (Ledoit & Wolf 2004) where that does not cost. One more component, broad and of the
    weight of one row, is always there: where columns are nearly dependent the others are so narrow that a single odd
    row would cost thousands of nats.

    Parameters
    ----------
    z : Tensor of shape (n, d)
    """

    def __init__(self, z: Tensor):
        from sklearn.covariance import LedoitWolf

        self.n = len(z)
        rows = z.double().numpy()
        far = np.abs(rows).max(1)
        self.rows = rows[far <= max(hp.REACH, np.median(far))]
        shrunk = LedoitWolf().fit(self.rows)
        self.mean, self.covariance = shrunk.location_, shrunk.covariance_ + 1e-6 * np.eye(z.shape[1])
        self.plain = _where_shrinkage_costs(self.rows, self.covariance)
        # Among nearly dependent columns distances mean something only where the rows are white.
        self.white = np.eye(z.shape[1]) if self.plain is None else np.linalg.cholesky(self.plain)

    def fit(self, n_components: int, rng: np.random.RandomState, *, diagonal: bool = False) -> GaussianMixture:
        """A mixture of so many components and the broad one."""
        if n_components == 1:
            weights, means = np.ones(1), self.mean[None]
            factors = np.linalg.cholesky(self.covariance if self.plain is None else self.plain)[None]
        elif diagonal:
            weights, means, covariances = expectation_maximisation(self.rows, n_components, rng, diagonal=True)
            factors = np.linalg.cholesky(covariances)
        else:
            rows = np.linalg.solve(self.white, (self.rows - self.mean).T).T
            weights, means, covariances = expectation_maximisation(rows, n_components, rng)
            factors, means = self.white @ np.linalg.cholesky(covariances), self.mean + means @ self.white.T
        return self._with_broad(weights, means, factors, diagonal)

    def _with_broad(self, weights, means, factors, diagonal):
        broad = hp.BROAD_ROWS / (self.n + hp.BROAD_ROWS)
        if self.plain is not None and not diagonal:
            # Of a narrow density's samples too few may come from it to be noticed.
            broad = min(broad, hp.BROAD_SHARE / hp.BROAD_VARIANCE * np.linalg.eigvalsh(self.plain)[0])
        weights = np.append((1 - broad) * weights, broad)
        means = np.vstack([means, self.rows.mean(0)])
        widest = np.diag(hp.BROAD_VARIANCE * (self.rows.var(0) + 1e-6)) ** 0.5
        inverses = np.linalg.inv(np.concatenate([factors, widest[None]]))
        return GaussianMixture(*(torch.tensor(a) for a in (weights, means, inverses)), diagonal=diagonal).float()


def _where_shrinkage_costs(rows, shrunk):
    """The covariance as it is, where shrinking it costs more nats a row than not shrinking it; else None.

    An estimated covariance costs about ``d (d + 3) / (4 n)`` nats; shrinking must cost twice as much. It costs the
    divergence of two normal distributions, ``(tr R - d - log |R|) / 2`` with R the one covariance over the other. Where
    there are few rows a column, the estimate knows too little of its own smallest eigenvalues to say.
    """
    n, d = rows.shape
    if n < hp.MIN_ROWS_PER_COLUMN * d:
        return None
    covariance = np.cov(rows.T, bias=True).reshape(d, d) + 1e-10 * np.eye(d)
    ratio = eigvalsh(covariance, shrunk)
    cost = 0.5 * (ratio - 1 - np.log(ratio)).sum()
    return covariance if cost > d * (d + 3) / (2 * n) else None
