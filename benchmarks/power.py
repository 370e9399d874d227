"""Nats against minutes: what a fit to a long table, such as POWER, has come to after how much time.

    python benchmarks/power.py TABLE [--rows N] [--passes N] [--every 1.5]

TABLE is an .npz file with the arrays ``train`` and ``test``, or an .npy file, of which the last tenth is the test part.
POWER is UCI's household power consumption as the paper on MAF prepared it: 1.66 million training rows of 6 columns.

A line is printed after the first pass that ends when the time has grown by a factor of ``--every``, and one at the end.
Passes and time are those of all starts that are tried, nats those of the best. Validation rows are those that `fit`
holds out, scored with the average of the weights as `fit` does; the best score so far counts. Test rows are scored with
the weights as they are just then, in the last line with those that the fit has ended with. The scoring of test rows is
taken off the time.
"""

from __future__ import annotations

import argparse
import math
import os
import platform
import time
from datetime import date
from pathlib import Path

import numpy as np
import torch

from skflow import FlowDensity

COLUMNS = {"passes": 6, "minutes": 10, "CPU minutes": 13, "validation": 12, "test": 10}  # and their widths


class Clock:
    """Seconds of the clock and of the processors, but for those that are taken off."""

    def __init__(self):
        self.start = self._now()

    @staticmethod
    def _now():
        return np.array([time.perf_counter(), time.process_time()])

    def seconds(self) -> np.ndarray:
        return self._now() - self.start

    def stands_still(self, call):
        """What a call gives, which takes no time."""
        before = self._now()
        result = call()
        self.start += self._now() - before
        return result


class Curve:
    """A callback of scikit-learn's that prints how good a fit is, more and more rarely."""

    def __init__(self, test: np.ndarray, every: float):
        self.test, self.every = test, every
        self.due, self.n_passes, self.best = 0.0, 0, -math.inf

    def setup(self, estimator, context):
        self.clock = Clock()

    def teardown(self, estimator, context):
        pass

    def on_fit_task_begin(self, estimator, context):
        pass

    def on_fit_task_end(self, estimator, context, *, fitted_estimator):
        seconds = self.clock.seconds()
        if context.task_name != "epoch":
            return
        self.n_passes += 1
        ahead = fitted_estimator.best_validation_score_ >= self.best
        self.best = max(self.best, fitted_estimator.best_validation_score_)
        if ahead and seconds[0] >= self.due:
            test = self.clock.stands_still(lambda: fitted_estimator.score(self.test))
            self.due = seconds[0] * self.every
            show(self.n_passes, seconds, self.best, test)


def show(n_passes: int, seconds: np.ndarray, validation: float, test: float) -> None:
    """One line of the table."""
    shown = f"{n_passes}", *(f"{minutes:.2f}" for minutes in seconds / 60), f"{validation:.4f}", f"{test:.4f}"
    print("".join(value.rjust(width) for value, width in zip(shown, COLUMNS.values())), flush=True)


def read(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Training and test rows."""
    found = np.load(path)
    if isinstance(found, np.ndarray):
        n_test = len(found) // 10
        return found[:-n_test], found[-n_test:]
    return found["train"], found["test"]


def main() -> None:
    """Fit, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", type=Path)
    parser.add_argument("--rows", type=int, help="of the training rows, the first so many; by default all")
    parser.add_argument("--passes", type=int, help="max_iter; by default 'auto'")
    parser.add_argument("--every", type=float, default=1.5, help="factor of the time from one line to the next")
    options = parser.parse_args()
    train, test = read(options.table)
    train = train[: options.rows]
    print(f"{len(train):,} rows x {train.shape[1]} columns, {date.today()}, {platform.machine()}, ", end="")
    print(f"{os.cpu_count()} cores, {torch.get_num_threads()} threads, torch {torch.__version__}")
    print("".join(name.rjust(width) for name, width in COLUMNS.items()))
    curve = Curve(test, options.every)
    density = FlowDensity(max_iter=options.passes or "auto", random_state=0).set_callbacks(curve)
    density.fit(train)
    show(curve.n_passes, curve.clock.seconds(), density.best_validation_score_, density.score(test))


if __name__ == "__main__":
    main()
