"""Importance sampling from both sides: the integral of a density in any number of columns."""

from __future__ import annotations

import math

import numpy as np
from scipy import special, stats


def spread(rows):
    """Interquartile range of each column, its standard deviation or one where that vanishes."""
    low, high = np.quantile(rows, [0.25, 0.75], axis=0)
    spread = np.where(high > low, high - low, rows.std(0))
    return np.where(spread > 0, spread, 1.0)


class StudentMixture:
    """A mixture of multivariate Student t distributions (5 degrees of freedom) around the clusters of some rows."""

    df = 5

    def __init__(self, rows, rng):
        from sklearn.cluster import KMeans

        self.rng = rng
        self.shift, self.scale = np.median(rows, 0), spread(rows)
        rows = (rows - self.shift) / self.scale
        n_clusters = int(np.clip(len(rows) // (50 * rows.shape[1]), 1, 12))
        clipped = np.clip(rows, -10, 10)
        labels = KMeans(n_clusters, n_init=1, random_state=rng.randint(2**31 - 1)).fit_predict(clipped)
        self.weights, self.means, self.factors = [], [], []
        for k in range(n_clusters):
            part = clipped[labels == k]
            if len(part) <= 2 * rows.shape[1]:
                part = clipped
            covariance = np.cov(part.T) + 1e-4 * np.eye(rows.shape[1])
            self.weights.append(len(part))
            self.means.append(part.mean(0))
            self.factors.append(np.linalg.cholesky(covariance))
        self.weights = np.array(self.weights) / np.sum(self.weights)

    def sample(self, n):
        d = len(self.shift)
        component = self.rng.choice(len(self.weights), n, p=self.weights)
        noise = self.rng.randn(n, d) / np.sqrt(self.rng.chisquare(self.df, (n, 1)) / self.df)
        rows = np.array([self.means[k] + self.factors[k] @ e for k, e in zip(component, noise)])
        return self.shift + self.scale * rows

    def score(self, rows):
        rows = (rows - self.shift) / self.scale
        terms = [
            stats.multivariate_t.logpdf(rows, mean, factor @ factor.T, self.df) + math.log(weight)
            for weight, mean, factor in zip(self.weights, self.means, self.factors)
        ]
        return special.logsumexp(np.reshape(terms, (len(terms), -1)), axis=0) - np.log(self.scale).sum()


def bridge(log_ratio_p, log_ratio_q, steps=100):
    """Bennett's estimate (1976, eq. 12) of the integral of p, from log(p/q) at equally many rows of p and of q."""
    log_z = 0.0
    for _ in range(steps):
        over_q = special.expit(log_ratio_q - log_z).mean()
        over_p = special.expit(log_z - log_ratio_p).mean()
        if not (over_q > 0 and over_p > 0):
            break
        log_z += math.log(over_q / over_p)
    return math.exp(np.clip(log_z, -700, 700))
