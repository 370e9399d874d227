"""What the weights of draws from one density say of another: effective size, constant, and the shape of their tail."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

TRUSTED_K = 0.7  # below it a mean of weights has a standard error that can be believed (Vehtari et al. 2024)
PSEUDO_DRAWS, PRIOR_K = 10, 0.5  # of the tail, which the prior of its shape counts for (Vehtari et al. 2024, app. C)
MIN_TAIL = 5  # draws; of fewer there is no shape


def log_mean(log_weights: Tensor) -> float:
    """Logarithm of the mean weight, which for draws of a normalised density is the log-constant of the target."""
    return float(torch.logsumexp(log_weights, 0)) - math.log(len(log_weights))


def effective_sample_size(log_weights: Tensor) -> float:
    """Kish's (sum w)^2 / sum w^2."""
    if not log_weights.isfinite().any():
        return 0.0
    return float((2 * torch.logsumexp(log_weights, 0) - torch.logsumexp(2 * log_weights, 0)).exp())


def log_mean_std(log_weights: Tensor) -> float:
    """Standard error of `log_mean`, by the delta method: the coefficient of variation of the mean weight."""
    n_effective = effective_sample_size(log_weights)
    return math.sqrt(max(0.0, 1 / n_effective - 1 / len(log_weights))) if n_effective else math.inf


def pareto_smoothed(log_weights: np.ndarray) -> tuple[np.ndarray, float]:
    """Pareto-smoothed importance sampling: the greatest weights replaced by quantiles of a distribution fitted to them.

    Parameters
    ----------
    log_weights : ndarray of shape (n,)

    Returns
    -------
    log_weights : ndarray of shape (n,)
        Smoothed, none above the greatest raw one.
    k : float
        Shape of the generalised Pareto distribution: weights have about 1 / k moments. Infinite for too few draws.

    References
    ----------
    .. [1] Vehtari, Simpson, Gelman, Yao & Gabry, "Pareto Smoothed Importance Sampling", JMLR 25 (2024), algorithm 1.
    """
    n = len(log_weights)
    size = min(n // 5, math.ceil(3 * math.sqrt(n)))
    if size < MIN_TAIL:
        return log_weights, math.inf
    order = np.argsort(log_weights)
    cut, tail = log_weights[order[-size - 1]], order[-size:]
    greatest = log_weights[tail[-1]]
    if not np.isfinite(cut):
        return log_weights, math.inf  # as few draws meet the target
    excess = np.exp(log_weights[tail] - greatest) - np.exp(cut - greatest)
    if not excess[0] > 0:  # the weights agree, or as good as
        return (log_weights, 0.0) if not excess[-1] > 0 else (log_weights, math.inf)
    k, scale = fit_generalised_pareto(excess)
    shares = (np.arange(size) + 0.5) / size
    quantiles = scale * (np.expm1(-k * np.log1p(-shares)) / k if k else -np.log1p(-shares))
    smoothed = log_weights.copy()
    smoothed[tail] = np.minimum(np.log(np.exp(cut - greatest) + quantiles), 0.0) + greatest
    return smoothed, k


def tail_shape(log_weights: Tensor) -> float:
    """Shape k of the tail of weights, see `pareto_smoothed`; infinite where one of them is."""
    return math.inf if (log_weights == torch.inf).any() else pareto_smoothed(log_weights.numpy())[1]


def shape_by_target_rows(log_weights: Tensor) -> float:
    """The same shape k, where the weights p / q are those of rows of p instead of q.

    Where P_q(w > t) goes as t^(-1 / k), P_p(w > t), which is E_q[w; w > t] / E_q[w], goes as t^(1 - 1 / k): rows of p
    have weights of shape k' = k / (1 - k). They also come from where q has as good as no draws.
    """
    shape = max(0.0, tail_shape(log_weights))
    return 1.0 if shape == math.inf else shape / (1 + shape)


def fit_generalised_pareto(excess: np.ndarray) -> tuple[float, float]:
    """Shape and scale of a generalised Pareto distribution of excesses over a threshold, in ascending order.

    The posterior mean of theta = -k / scale on a grid, under a prior that the data inform, as in [1]_; the shape is
    drawn a little towards a half, as in Vehtari et al. (2024).

    References
    ----------
    .. [1] Zhang & Stephens, "A New and Efficient Estimation Method for the Generalized Pareto Distribution",
       Technometrics 51 (2009), section 3.
    """
    n = len(excess)
    m = 30 + int(math.sqrt(n))
    quartile = excess[int(n / 4 + 0.5) - 1]
    theta = 1 / excess[-1] + (1 - np.sqrt(m / (np.arange(1, m + 1) - 0.5))) / (3 * quartile)
    shape = np.log1p(-theta[:, None] * excess).mean(1)
    log_likelihood = n * (np.log(-theta / shape) - shape - 1)
    weight = np.exp(log_likelihood - log_likelihood.max())
    mean = float(theta @ weight / weight.sum())
    k = float(np.log1p(-mean * excess).mean())
    scale = -k / mean
    return (k * n + PRIOR_K * PSEUDO_DRAWS) / (n + PSEUDO_DRAWS), scale
