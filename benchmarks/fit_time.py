"""Where the seconds of a fit go: the default estimator on ten tables, stage by stage.

    python benchmarks/fit_time.py [--tables wine,rings] [--repeats 1] [--out docs/benchmarks/fit_time.inc]

Tables: those that scikit-learn bundles, and drawn ones of 4,000 to 20,000 rows. Stages are told apart by the clock
around the functions that they are made of; what is in none of them is "else". "to the best" are the passes of the start
that wins until its best validation score, "after it" those that show that none better comes.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import platform
import time
from collections import Counter
from datetime import date
from pathlib import Path
from unittest import mock

import numpy as np
import quality
import torch

import skflow
from skflow import FlowDensity
from skflow.training.density import DensityFitting
from skflow.training.selection import Candidate

STAGES = {
    "reading, ties": ["skflow.training.fit.Table"],
    "preprocessing": ["skflow.training.density.fit_preprocessing"],
    "mixtures": ["skflow.training.density.fit_bases"],
}
COLUMNS = [*STAGES, "starts that lose", "to the best", "after it", "refit", "else", "sum"]


def tables() -> dict[str, np.ndarray]:
    """Ten tables by name."""
    rng = np.random.default_rng(0)
    bundled = quality.tables(None)
    ring, angle = rng.integers(1, 5, 4800), rng.uniform(0, 2 * np.pi, 4800)
    radius = ring + 0.08 * rng.standard_normal(4800)
    found = {name: quality.split(bundled[name], 0)[0] for name in ("wine", "cancer", "diabetes", "digits", "moons")}
    found["rings"] = np.c_[radius * np.cos(angle), radius * np.sin(angle)]
    found["heavy tails"] = rng.standard_t(2, (4800, 5)) @ np.tril(np.ones((5, 5)))
    for n, d in (1000, 10), (5000, 10), (20_000, 20):
        found[f"{n:,} x {d}"] = simulated(n, d)
    return found


def simulated(n: int, d: int) -> np.ndarray:
    """Three bent clusters, a third of the columns skewed."""
    rng = np.random.default_rng(1)
    X = (
        rng.standard_normal((n, d)) @ rng.standard_normal((d, d)) / d**0.5
        + 2 * rng.standard_normal((3, d))[rng.integers(0, 3, n)]
    )
    X[:, 1:] += 0.3 * X[:, :-1] ** 2
    X[:, ::3] = np.exp(0.5 * X[:, ::3])
    return X


class Clock:
    """Seconds by stage of one fit."""

    def __init__(self):
        self.seconds: Counter[str] = Counter()
        self.by_run: Counter[int] = Counter()
        self.stack = contextlib.ExitStack()

    def __enter__(self):
        for stage, targets in STAGES.items():
            for target in targets:
                self._patch(target, lambda seconds, *args, stage=stage: self.seconds.update({stage: seconds}))
        self._patch(Candidate.advance, lambda seconds, this, *args: self.by_run.update({id(this.run): seconds}))
        self._patch(DensityFitting._on_all_rows, lambda seconds, *args: self.seconds.update({"refit": seconds}))
        self._patch(DensityFitting._finished, lambda seconds, this, winner: self._end_of_training(winner))
        return self

    def _patch(self, target, note):
        if isinstance(target, str):
            module, name = target.rsplit(".", 1)
            original = getattr(__import__(module, fromlist=[name]), name)
        else:
            module, name = target.__qualname__.split(".")
            target, original = f"{target.__module__}.{module}.{name}", target

        def timed(*args, **kwargs):
            start = time.perf_counter()
            try:
                return original(*args, **kwargs)
            finally:
                note(time.perf_counter() - start, *args)

        self.stack.enter_context(mock.patch(target, timed))

    def _end_of_training(self, winner):
        own, progress = self.by_run.pop(id(winner.run)), winner.run.progress
        share = progress.best_iter / max(1, progress.n_iter)
        self.seconds.update(
            {"starts that lose": sum(self.by_run.values()), "to the best": share * own, "after it": (1 - share) * own}
        )

    def __exit__(self, *exception):
        self.stack.close()


def measure(X: np.ndarray, repeats: int) -> list[float]:
    """Seconds of every stage, of the quickest of several fits."""
    found = []
    for _ in range(repeats):
        with Clock() as clock:
            start = time.perf_counter()
            FlowDensity(random_state=0).fit(X)
            total = time.perf_counter() - start
        stages = [clock.seconds[stage] for stage in COLUMNS[:-2]]
        # What the refit needs of the stages before stands in both.
        found.append([*stages, max(0.0, total - sum(stages)), total])
    return min(found, key=lambda row: row[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tables", help="names, separated by commas; all by default")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--out", type=Path, help="file to write the table to, in reStructuredText")
    arguments = parser.parse_args()
    FlowDensity(random_state=0).fit(simulated(1000, 5))  # what is compiled or loaded at first use
    chosen = tables()
    names = arguments.tables.split(",") if arguments.tables else list(chosen)
    lines = [
        f"Seconds of a fit with {torch.get_num_threads()} threads; skflow {skflow.__version__}, torch "
        f"{torch.__version__}, {platform.machine()} with {os.cpu_count()} cores, {date.today()}.",
        "",
        ".. list-table::",
        "   :header-rows: 1",
        "",
    ]
    for row in [["table", "rows x columns", *COLUMNS]] + [
        [name, "{:,} x {}".format(*chosen[name].shape), *(f"{s:.2f}" for s in measure(chosen[name], arguments.repeats))]
        for name in names
    ]:
        lines += [f"     - {cell}" if k else f"   * - {cell}" for k, cell in enumerate(row)]
        print("  ".join(f"{cell:>16}" for cell in row), flush=True)
    if arguments.out:
        arguments.out.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
