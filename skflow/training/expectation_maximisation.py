"""Gaussian mixtures by expectation-maximisation, in single precision: a start for what is trained on."""

from __future__ import annotations

import warnings

import numpy as np

MAX_ITER, K_MEANS_MAX_ITER = 60, 100
TOL = 1e-3  # nats a row
LEAST_VARIANCE = 1e-4  # is added in every direction
ROWS_AT_A_TIME = 1024  # whose deviations from all means stay in the cache
LEAST_COUNT = 1e-6  # rows of a component


def expectation_maximisation(
    x: np.ndarray, n_components: int, rng: np.random.RandomState, *, diagonal: bool = False
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Fit a mixture of Gaussians, from the clusters of k-means (Dempster, Laird & Rubin 1977).

    Parameters
    ----------
    x : ndarray of shape (n, d)
        Columns of about unit variance.
    n_components : int
        K.
    rng : RandomState
    diagonal : bool, default=False
        Whether covariances are.

    Returns
    -------
    weights : ndarray of shape (K,)
    means : ndarray of shape (K, d)
    covariances : ndarray of shape (K, d, d)
    """
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    (n, d), k = x.shape, n_components
    x = np.ascontiguousarray(x, dtype=np.float32)
    k_means = KMeans(k, n_init=1, max_iter=K_MEANS_MAX_ITER, random_state=rng.randint(2**31))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # of rows that are as good as equal
        posterior = np.eye(k, dtype=np.float32)[:, k_means.fit(x).labels_]
    i, j = (np.arange(d),) * 2 if diagonal else np.tril_indices(d)
    products, columns = x[:, i] * x[:, j], np.ascontiguousarray(x.T)
    before = -np.inf
    for _ in range(MAX_ITER):
        count = posterior.sum(1, dtype=np.float64) + LEAST_COUNT
        means = posterior @ x / count[:, None]
        covariances = np.zeros((k, d, d))
        covariances[:, i, j] = covariances[:, j, i] = posterior @ products / count[:, None] - means[:, i] * means[:, j]
        variances = np.einsum("kii->ki", covariances)
        variances[:] = np.maximum(variances, 0) + LEAST_VARIANCE
        posterior = _log_prob(columns, count / n, means, covariances, diagonal)
        top = posterior.max(0)
        np.exp(np.subtract(posterior, top, out=posterior), out=posterior)
        total = posterior.sum(0)
        posterior /= total
        likelihood = float((np.log(total) + top).mean(dtype=np.float64))
        if abs(likelihood - before) < TOL:
            break
        before = likelihood
    return count / count.sum(), means, covariances


def _log_prob(columns, weights, means, covariances, diagonal):
    """Of every component at every row, times its weight, but for a constant; shape (K, n)."""
    (k, d), n = means.shape, columns.shape[1]
    if diagonal:
        scales = 1 / np.sqrt(np.einsum("kii->ki", covariances))
        log_det, offset = np.log(scales).sum(1), scales * means
    else:
        factors = np.linalg.inv(np.linalg.cholesky(covariances))
        log_det, offset = np.log(np.einsum("kii->ki", factors)).sum(1), (factors @ means[:, :, None])[:, :, 0]
        turn = np.float32(factors.reshape(k * d, d))
    offset, constant = np.float32(offset)[:, :, None], np.float32(np.log(weights) + log_det)[:, None]
    log_prob = np.empty((k, n), dtype=np.float32)
    for start in range(0, n, ROWS_AT_A_TIME):
        some = columns[:, start : start + ROWS_AT_A_TIME]
        white = np.float32(scales)[:, :, None] * some if diagonal else (turn @ some).reshape(k, d, -1)
        white -= offset
        log_prob[:, start : start + ROWS_AT_A_TIME] = constant - 0.5 * np.square(white, out=white).sum(1)
    return log_prob
