"""Where scores stop being ordinary: the lower fence of the adjusted boxplot."""

from __future__ import annotations

import numpy as np

LEVEL = 0.01  # of regular rows are flagged at least
MAX_ROUNDS = 3
MAX_VALUES = 800  # of the medcouple, which looks at every pair


def medcouple(values: np.ndarray) -> float:
    """A measure of skewness in [-1, 1] that a quarter of outliers can't break (Brys, Hubert & Struyf 2004, eq. 2.1).

    The median, over all pairs of a value above the median and a value below it, of the difference of their distances
    from the median, as a share of the distance between them.

    Parameters
    ----------
    values : ndarray of shape (n,)

    Returns
    -------
    float
        Positive for a longer right tail.
    """
    values = np.asarray(values, dtype=float)
    if len(values) > MAX_VALUES:
        values = np.quantile(values, (np.arange(MAX_VALUES) + 0.5) / MAX_VALUES)
    centred = np.sort(values) - np.median(values)
    above, below = centred[centred >= 0][:, None], centred[centred <= 0]
    distance = above - below
    pairs = np.divide(above + below, distance, out=np.zeros_like(distance), where=distance > 0)
    return float(np.median(pairs))


def lower_fence(scores: np.ndarray) -> float:
    """The lower fence of the boxplot adjusted for skewness (Hubert & Vandervieren 2008, eq. 5), outliers set aside.

        Q1 - 1.5 exp(-4 MC) IQR  for a medcouple MC >= 0,  Q1 - 1.5 exp(-3 MC) IQR  for MC < 0

    About 0.7 % of regular scores lie outside both fences, whatever their skewness. Outliers make the scores more skewed
    than they are and so move the fence away: scores beyond it are left out and it is drawn again, twice at most.

    Parameters
    ----------
    scores : ndarray of shape (n,)

    Returns
    -------
    float
    """
    scores = np.sort(np.asarray(scores, dtype=float))
    for _ in range(MAX_ROUNDS):
        low, high = np.quantile(scores, [0.25, 0.75])
        skewness = medcouple(scores)
        fence = low - 1.5 * np.exp((-4 if skewness >= 0 else -3) * skewness) * (high - low)
        if scores[0] >= fence:
            break
        scores = scores[scores >= fence]
    return float(fence)


def threshold(scores: np.ndarray) -> float:
    """The lower fence, or the level that one score in a hundred falls short of, whichever is higher."""
    return max(lower_fence(scores), float(np.quantile(scores, LEVEL)))


def standard_error_of_share(scores: np.ndarray, contamination: float | str, n_samples: int = 20) -> float:
    """Standard deviation, over bootstrap samples of the scores, of the share of them that lies below the threshold.

    Parameters
    ----------
    scores : ndarray of shape (n,)
    contamination : float or "auto"
        A given share has no error.
    n_samples : int, default=20
    """
    if contamination != "auto":
        return 0.0
    rng = np.random.RandomState(0)
    samples = [rng.choice(scores, len(scores)) for _ in range(n_samples)]
    return float(np.std([np.mean(sample < threshold(sample)) for sample in samples]))
