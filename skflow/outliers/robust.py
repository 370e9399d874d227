"""A first look at a table that may hold outliers, by two models too rigid to follow a small cluster of them."""

from __future__ import annotations

import numpy as np

MAX_STEPS = 10
SHARE = 0.5  # of the rows that the Gaussian is fitted to
MAX_ROWS = 20_000  # to which it is fitted
RIDGE = 1e-2  # is added to its variances
N_ESTIMATES, N_CENTRES = 60, 32  # small kernel estimates, and the rows that each has seen
PAIRS_PER_CHUNK = 2_000_000


def screen(z: np.ndarray, rng: np.random.RandomState) -> np.ndarray:
    """Rank the rows, from one for the oddest: by the sum of a robust Gaussian's and small kernel estimates' scores.

    A flexible density learns a cluster of outliers as it learns any other; these two do not. Each score is divided by
    the distance of its upper quartile from its median, which outliers hardly move.

    Parameters
    ----------
    z : ndarray of shape (n, d)
        Rows with columns of about unit spread.
    rng : RandomState

    Returns
    -------
    rank : ndarray of shape (n,)
    """
    from scipy.stats import rankdata

    small = small_estimates(z, draw_centres(z, np.ones(len(z)), np.full(len(z), -1), 1, rng)).mean(1)
    return rankdata(_scaled(-robust_distance(z)) + _scaled(small))


def _scaled(score):
    median, upper = np.quantile(score, [0.5, 0.75])
    return score / max(upper - median, 1e-9)


def draw_centres(
    z: np.ndarray, weight: np.ndarray, fold: np.ndarray, n_folds: int, rng: np.random.RandomState
) -> np.ndarray:
    """Rows for small kernel estimates, drawn in proportion to their weights; estimate j has none of fold j mod K.

    A cluster of outliers is seen by few of them, and by those in few rows: the reason why isolation forests, each tree
    of which sees 256 rows, find clusters that a density learns (Liu, Ting & Zhou 2008, section 3).

    Parameters
    ----------
    z : ndarray of shape (n, d)
    weight : ndarray of shape (n,)
    fold : ndarray of shape (n,), int
    n_folds : int
        K.
    rng : RandomState

    Returns
    -------
    centres : ndarray of shape (n_estimates, n_centres, d)
    """
    n_estimates = n_folds * round(N_ESTIMATES / n_folds)
    others = [fold != k for k in range(n_folds)]
    shares = [weight * other if weight[other].any() else 1.0 * other for other in others]
    m = min(N_CENTRES, max(1, len(z) // 2), *(np.count_nonzero(share) for share in shares))
    rows = [
        rng.choice(len(z), m, replace=False, p=shares[j % n_folds] / shares[j % n_folds].sum())
        for j in range(n_estimates)
    ]
    return z[np.stack(rows)]


def small_estimates(z: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """Log-densities under kernel estimates of width one, but for a constant.

    Parameters
    ----------
    z : ndarray of shape (n, d)
    centres : ndarray of shape (r, m, d)

    Returns
    -------
    ndarray of shape (n, r)
    """
    from scipy.special import logsumexp

    flat = centres.reshape(-1, z.shape[1])
    half, out = 0.5 * (flat * flat).sum(1), []
    for part in np.array_split(z, 1 + len(z) * len(flat) // PAIRS_PER_CHUNK):
        exponents = part @ flat.T - half - 0.5 * (part * part).sum(1)[:, None]
        out.append(logsumexp(np.minimum(exponents, 0).reshape(len(part), *centres.shape[:2]), axis=2))
    return np.concatenate(out)


def robust_distance(z: np.ndarray) -> np.ndarray:
    """Squared Mahalanobis distances to the central half of the rows (Rousseeuw & Van Driessen 1999, theorem 1).

    Concentration steps: fit a Gaussian, keep the nearest half of the rows, fit again, until the half stays the same.
    The covariance is shrunk, so that there may be more columns than rows.

    Parameters
    ----------
    z : ndarray of shape (n, d)
    """
    from sklearn.covariance import LedoitWolf

    rows = z[:MAX_ROWS]
    kept = np.ones(len(rows), dtype=bool)
    for _ in range(MAX_STEPS):
        gaussian = LedoitWolf().fit(rows[kept])
        precision = np.linalg.inv(gaussian.covariance_ + RIDGE * np.eye(z.shape[1]))
        centred = z - gaussian.location_
        distance = ((centred @ precision) * centred).sum(1)
        central = distance[: len(rows)] <= np.quantile(distance[: len(rows)], SHARE)
        if (central == kept).all() or central.sum() < 2:
            break
        kept = central
    return distance
