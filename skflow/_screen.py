"""A first look at a table with outliers in it, by two models too rigid to follow a small cluster of them.

What they need of scikit-learn takes as long to import as all the rest of this package, and few fits ask for it.
"""

from __future__ import annotations

import numpy as np

MAX_STEPS = 10
SHARE = 0.5  # of the rows that the Gaussian is fitted to
MAX_ROWS = 20_000


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
