"""A first look at a table with outliers in it, by two models too rigid to follow a small cluster of them.

What they need of scikit-learn takes as long to import as all the rest of this package, and few fits ask for it.
"""

from __future__ import annotations

import numpy as np

from ._threshold import lower_fence

MAX_STEPS = 10
SHARE = 0.5  # of the rows that the Gaussian is fitted to
MAX_ROWS = 20_000
N_NEIGHBOURS, MAX_NEIGHBOURS = 5, 2000
SMALLEST = 1e-3  # distance that is told apart from smaller ones


def screen(z: np.ndarray, seed: int) -> np.ndarray:
    """Rank the rows, high for ordinary ones: the mean rank of an isolation forest and of a robust Gaussian.

    A flexible density learns a cluster of outliers as it learns any other; these two do not. The forest judges columns,
    the Gaussian how they go together.

    Parameters
    ----------
    z : ndarray of shape (n, d)
        Rows with columns of about unit spread.
    seed : int
    """
    from scipy.stats import rankdata
    from sklearn.ensemble import IsolationForest

    forest = IsolationForest(random_state=seed).fit(z[:MAX_ROWS])
    return rankdata(forest.score_samples(z)) + rankdata(-robust_distance(z.astype(float)))


def isolated(z: np.ndarray, group: np.ndarray) -> np.ndarray:
    """Rows that stand alone: the distance to their fifth neighbour is beyond the fence of these distances' logarithms.

    A density that has seen such a row vouches for it, however little the rest of the table does. A small cluster of
    rows is not alone.

    Parameters
    ----------
    z : ndarray of shape (n, d)
        Rows with columns of about unit spread.
    group : ndarray of shape (n,), int
        Rows of one group are no neighbours.
    """
    from sklearn.metrics import pairwise_distances_chunked

    some = np.random.RandomState(0).permutation(len(z))[:MAX_NEIGHBOURS]
    if len(some) <= N_NEIGHBOURS + 1:
        return np.zeros(len(z), dtype=bool)

    def nearest(distance, start):
        rows = slice(start, start + len(distance))
        distance[group[rows, None] == group[some]] = np.inf
        return np.partition(distance, N_NEIGHBOURS - 1, axis=1)[:, N_NEIGHBOURS - 1]

    chunks = pairwise_distances_chunked(z, z[some], reduce_func=nearest)
    distance = np.log(np.maximum(np.concatenate(list(chunks)), SMALLEST))
    return -distance < lower_fence(-distance)


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
        precision = np.linalg.inv(gaussian.covariance_ + 1e-2 * np.eye(z.shape[1]))
        centred = z - gaussian.location_
        distance = ((centred @ precision) * centred).sum(1)
        central = distance[: len(rows)] <= np.quantile(distance[: len(rows)], SHARE)
        if (central == kept).all() or central.sum() < 2:
            break
        kept = central
    return distance
