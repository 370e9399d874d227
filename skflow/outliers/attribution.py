"""Why: a row's distance from a typical score, split over its features by repairing the most telling ones first."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Generator, Iterable, Iterator

import numpy as np

N_VALUES = 16
LOWEST = -1e300  # stands for a density of zero while features are compared
NUMBERS_AT_A_TIME = 2_000_000  # in the tables that wait for their scores
SCREENED = 3072  # swaps of one feature at least, if there are as many, when all features are tried
FEWEST_VALUES = 3
LOOKED_AT = 16  # features that are tried again after every step
SHARE_A_STEP = 16  # a step repairs one in so many features at most
TRIED_AGAIN_AFTER = (1, 16)  # repairs, and once more where nothing gains any more
NARROW, NARROW_AFTER = 4, 16  # values of a feature that are tried again after so many repairs
USEFUL = 1e-9  # of the distance to the target

Score = Callable[[np.ndarray], np.ndarray]
Asking = Generator[np.ndarray, np.ndarray, np.ndarray]  # yields tables of rows, is sent their scores


def repair_values(X: np.ndarray) -> np.ndarray:
    """What a feature may be repaired to: quantiles of its column, of what is not NaN, shape (d, N_VALUES)."""
    p = (np.arange(N_VALUES) + 0.5) / N_VALUES
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of columns of which nothing is observed
        return np.nan_to_num(np.nanquantile(X, p, axis=0, method="nearest").T)


def repair_contributions(score: Score, X: np.ndarray, values: np.ndarray, target: float) -> np.ndarray:
    """Split ``score(x) - target`` of every row over the features, exactly.

    A row below the target is repaired: of all features, the one whose best value raises the score most is set to that
    value, and what the step gains counts against it; then the next, until the target is reached. The last step counts
    only as far as the target. What no single feature can gain is shared equally. Features outside the support, where
    the density is zero, take minus infinity.

    The surplus of a row above the target is shared in proportion to what each feature would lose, on average over its
    values: the more a row's score depends on a feature, the more of the surplus is that feature's.

    Up to 16 features the repair is a greedy search: every step takes the best value of the best feature. More features
    are repaired several at a time, in the order of the gains last seen, as long as each still gains at least half of
    that: the steps count as they are, one feature after the other, so the sum stays exact. All features are tried only
    at the start, after 1 and 16 repairs and where nothing gains any more, the most promising ones before every step
    (lazy greedy; Minoux 1978). So the rows to be scored grow with the number of features, not with its square.

    Parameters
    ----------
    score : callable
        From rows (n, d) to scores (n,).
    X : ndarray of shape (n, d)
    values : ndarray of shape (d, v)
        Candidates for each feature, in order.
    target : float

    Returns
    -------
    ndarray of shape (n, d)
        Negative for what speaks against a row; each sums to ``score(x) - target``.

    References
    ----------
    .. [1] Minoux, "Accelerated greedy algorithms for maximizing submodular set functions", Optimization
       Techniques, LNCIS 7 (1978), 234-243.
    """
    starts = score(X)
    d, v = values.shape
    at_once = max(1, NUMBERS_AT_A_TIME // (d * min(max(SCREENED, d * FEWEST_VALUES), d * v)))
    out = []
    for first in range(0, len(X), at_once):
        rows = slice(first, first + at_once)
        pairs = zip(X[rows], starts[rows])
        out += _answers(score, [_contributions(x, start, values, target) for x, start in pairs])
    return np.reshape(out, X.shape)


def _answers(score: Score, asking: Iterable[Asking]) -> list[np.ndarray]:
    """The results of generators that ask for scores, the questions of all of them put together."""
    asking = list(asking)
    results, waiting = [None] * len(asking), {}

    def go_on(i, scores):
        try:
            waiting[i] = asking[i].send(scores)
        except StopIteration as end:
            results[i] = end.value

    for i in range(len(asking)):
        go_on(i, None)
    while waiting:
        tables, waiting = waiting, {}
        scores = np.fmax(score(np.concatenate(list(tables.values()))), LOWEST)
        for i, part in zip(tables, np.split(scores, np.cumsum([len(t) for t in tables.values()])[:-1])):
            go_on(i, part)
    return results


def _contributions(x, start, values, target) -> Asking:
    if start >= target:
        return (yield from _shares(x, start, values, start - target))
    if not np.isneginf(start):
        gains = yield from _gains(x, start, values, target)
        return _close(-gains, start - target)
    outside = yield from _without_density(x, values)
    state, start = x.copy(), LOWEST
    if outside.any():
        state[outside] = values[outside, values.shape[1] // 2]
        start = (yield state[None])[0]
    out = -(yield from _gains(state, start, values, target))
    out[outside if outside.any() else out.argmin()] = -np.inf
    return out


def _close(out, total):
    """Share what is left equally, and leave the rounding error to the largest contribution."""
    out = out + (total - out.sum()) / len(out)
    out[np.abs(out).argmax()] += total - out.sum()
    return out


def _shares(x, start, values, surplus) -> Asking:
    d = len(x)
    scores = yield from _swapped(x, np.arange(d), values[:, _spread_out(d, values.shape[1])])
    loss = np.maximum(start - scores.mean(1), 0)
    return _close(loss * (surplus / loss.sum()) if loss.sum() > 0 else np.full(d, surplus / d), surplus)


def _without_density(x, values) -> Asking:
    """Which features of a row have a density of zero by themselves, among middling values of the others."""
    middling = values[:, values.shape[1] // 2]
    scores = yield from _swapped(middling, np.arange(len(x)), x[:, None])
    return scores[:, 0] <= LOWEST


class _Repair:
    """A row under repair, and what is known of the gains: the best value of every feature when it was last tried."""

    def __init__(self, x, score, values):
        self.x, self.score, self.values = x.copy(), score, values
        self.gain, self.place = np.zeros(len(x)), np.zeros(len(x), dtype=int)

    def try_features(self, features, places) -> Asking:
        """Swap ``features`` for their values at ``places``, of shape (len(features), k)."""
        scores = yield from _swapped(self.x, features, self.values[features[:, None], places])
        best = scores.argmax(1)[:, None]
        self.gain[features] = np.take_along_axis(scores, best, 1)[:, 0] - self.score
        self.place[features] = np.take_along_axis(places, best, 1)[:, 0]

    def around(self, features, width):
        """Places about the best one, of shape (len(features), width)."""
        first = np.clip(self.place[features] - (width - 1) // 2, 0, self.values.shape[1] - width)
        return first[:, None] + np.arange(width)

    def path(self, features) -> Asking:
        """Scores after one feature after the other has been set to its best value."""
        if len(features) == 1:  # it has just been tried
            return self.score + self.gain[features]
        rows = np.tile(self.x, (len(features), 1))
        for i, j in enumerate(features):
            rows[i:, j] = self.values[j, self.place[j]]
        return (yield from _in_parts(len(features), lambda part: rows[part], len(self.x)))

    def set(self, features, score):
        self.x[features] = self.values[features, self.place[features]]
        self.gain[features] = 0
        self.score = score


def _gains(x, start, values, target) -> Asking:
    """What the repair of each feature gains on the way to the target."""
    d, v = values.shape
    everything, places, few = np.arange(d), _spread_out(d, v), d <= LOOKED_AT
    most, width = max(1, d // SHARE_A_STEP), len(places)
    again = [] if few else [*TRIED_AGAIN_AFTER, np.inf]
    out, repair = np.zeros(d), _Repair(x, start, values)
    yield from repair.try_features(everything, np.tile(places, (d, 1)))
    n_repaired, size = 0, 1
    for _ in range(2 * d + len(again)):
        distance = target - repair.score
        if distance <= 0:
            break
        look = np.argsort(-repair.gain, kind="stable")[:LOOKED_AT]
        if n_repaired or width < v:
            narrow = n_repaired >= NARROW_AFTER and not few
            yield from repair.try_features(look, repair.around(look, min(width, NARROW) if narrow else width))
        others = np.setdiff1d(everything, look)
        order = np.concatenate([part[np.argsort(-repair.gain[part], kind="stable")] for part in (look, others)])
        stuck = repair.gain[order[0]] <= USEFUL * distance
        if again and (stuck or n_repaired >= again[0]):
            again = again[1:]
            yield from repair.try_features(everything, repair.around(everything, max(1, width // 2)))
            continue
        if stuck:
            break
        chosen = order[:size]
        chosen = chosen[repair.gain[chosen] > USEFUL * distance]
        scores = yield from repair.path(chosen)
        steps = np.diff(scores, prepend=repair.score)
        kept = np.append((steps >= 0.5 * repair.gain[chosen])[1:], False)
        n = 1 + int(min(kept.argmin(), np.searchsorted(np.maximum.accumulate(scores), target)))
        n = min(n, len(chosen))
        out[chosen[:n]] += steps[:n]
        out[chosen[n - 1]] -= max(0, scores[n - 1] - target)
        repair.set(chosen[:n], scores[n - 1])
        n_repaired += n
        size = min(2 * size if n == len(chosen) else n, most)
    return out


def _spread_out(d, v):
    """Places of some of v values, at equal distances: the fewer, the more features there are."""
    n = min(v, max(FEWEST_VALUES, SCREENED // d))
    return np.round((np.arange(n) + 0.5) * v / n - 0.5).astype(int)


def _swapped(x, features, values) -> Asking:
    """Scores of a row with one of ``features`` after the other set to each of its ``values``, of the shape of these."""
    place, value = np.repeat(features, values.shape[1]), values.ravel()

    def rows(part):
        table = np.tile(x, (len(place[part]), 1))
        table[np.arange(len(table)), place[part]] = value[part]
        return table

    return (yield from _in_parts(len(place), rows, len(x))).reshape(values.shape)


def _in_parts(n: int, rows: Callable[[slice], np.ndarray], d: int) -> Asking:
    """Ask for the scores of n rows of d features, some at a time."""
    size = max(1, NUMBERS_AT_A_TIME // d)
    parts: Iterator[slice] = (slice(first, first + size) for first in range(0, n, size))
    scores = []
    for part in parts:
        scores.append((yield rows(part)))
    return np.concatenate(scores)
