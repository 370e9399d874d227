"""What `check_density` checks of a table with categories or holes."""

from __future__ import annotations

import inspect
import math
import pickle
from collections.abc import Callable

import numpy as np
from scipy import stats

from .frame_columns import column_arrays, frame_of, library_of
from .frames import is_frame

UNTIED = 0.9  # of the values of a number have to be different ones, or draws of it are brought to a grid


def is_mixed(X) -> bool:
    """Whether a table has other things than complete numbers."""
    if not is_frame(X):
        X = np.asarray(X)
        return X.dtype.kind not in "fiu" or bool(X.dtype.kind == "f" and np.isnan(X).any())
    return any(kind not in ("number",) or np.isnan(values).any() for _, kind, values, _ in column_arrays(X))


class MixedCheck:
    """The state of one check.

    Parameters
    ----------
    estimator : object
    X : frame or array of shape (n, d)
    n_samples : int
    rng : RandomState
    require : callable
        Of a property, its value, the tolerance, a sentence, and whether at most that is asked: notes it, or raises.
    least_p : float
    """

    def __init__(self, estimator, X, n_samples: int, rng: np.random.RandomState, require: Callable, least_p: float):
        self.estimator, self.X, self.n_samples = estimator, X, n_samples
        self.rng, self.require, self.least_p = rng, require, least_p

    def run(self) -> None:
        """Check everything."""
        scores = self._score(self.X)
        n = len(scores)
        bad = ~(scores < np.inf)
        self.require("finite scores", bad.sum(), 0, f"{bad.sum()} of {n} scores are NaN or infinite.")
        order = self.rng.permutation(n)
        self._differences("row order", self._score(_rows(self.X, order)), scores[order])
        alone = np.array([self._score(_rows(self.X, order[i : i + 1]))[0] for i in range(min(20, n))])
        self._differences("batch", alone, scores[order[:20]])
        twin = pickle.loads(pickle.dumps(self.estimator))
        different = (np.asarray(twin.score_samples(self.X), dtype=float) != scores).sum()
        self.require("pickle", different, 0, "Scores of the restored estimator differ, in so many rows.")
        self.samples()

    def _score(self, rows):
        return np.asarray(self.estimator.score_samples(rows), dtype=float)

    def _differences(self, property, scores, expected):
        gap = np.abs(scores - expected) / (1 + np.abs(expected))
        worst = np.nan_to_num(gap, nan=0.0).max()
        self.require(property, worst, 1e-7, "Scores of the same rows differ.")

    def samples(self) -> None:
        """Draws of the estimator must stay such draws under steps that leave its density invariant.

        One cell of every row is proposed another value (Metropolis et al. 1953): a category one of the table's, a
        number one that differs from it as two draws do; where it is accepted in proportion to the density, no category
        may become more frequent, no number larger, and no row likelier, on the average.
        """
        sample = self.estimator.sample
        seeded = "random_state" in inspect.signature(sample).parameters
        n = 2 * self.n_samples
        rows = sample(n, random_state=self.rng.randint(2**31 - 1)) if seeded else sample(n)
        columns, before = column_arrays(rows), self._score(_rows(rows, np.arange(self.n_samples)))
        p_values = [1.0]
        for j, (_, kind, values, _) in enumerate(columns):
            own, others = values[: self.n_samples], values[self.n_samples :]
            if kind in ("number", "time", "duration"):
                if len(np.unique(values)) < UNTIED * len(values):
                    continue
                moved, log_q = own + others - others[self.rng.permutation(len(others))], 0.0
            else:
                moved = others[self.rng.permutation(len(others))]
                share = {value: np.mean(values == value) for value in set(values.tolist())}
                log_q = np.log([share[v] for v in own]) - np.log([share[v] for v in moved])
            proposed = [(name, k, v[: self.n_samples], dtype) for name, k, v, dtype in columns]
            proposed[j] = (*columns[j][:2], moved, columns[j][3])
            after = self._score(frame_of(library_of(rows), proposed))
            with np.errstate(invalid="ignore"):
                accepted = np.log(self.rng.uniform(size=len(own))) < after - before + log_q
            moved = np.where(accepted, moved, own)
            p_values.append(_p_value(np.where(accepted & np.isfinite(before), after - before, 0.0)))
            if kind in ("number", "time", "duration"):
                p_values.append(_p_value(moved - own))
            else:
                p_values.extend(_p_value((moved == v).astype(float) - (own == v)) for v in share)
        p = min(1.0, min(p_values) * len(p_values))
        detail = "Draws change when steps are made under the density: they are not drawn from it (p-value)."
        self.require("samples", p, self.least_p, detail, at_most=False)


def _p_value(change):
    """Of a mean of zero."""
    error = change.std(ddof=1) / math.sqrt(len(change))
    return 1.0 if error == 0 else float(2 * stats.norm.sf(abs(change.mean()) / error))


def _rows(X, index):
    """Some rows of a table."""
    if hasattr(X, "iloc"):
        return X.iloc[index]
    return X.take(index) if hasattr(X, "take") and is_frame(X) and not hasattr(X, "shape") else X[index]
