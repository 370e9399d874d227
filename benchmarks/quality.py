"""Held-out log-likelihood of the default estimator beside what scikit-learn has, and without each of its parts.

    python benchmarks/quality.py [--data FOLDER] [--tables wine,cancer] [--seeds 1]
    python benchmarks/quality.py --ablation --out docs/benchmarks/quality_ablation.inc

Tables: those that scikit-learn bundles and every .npz with an array ``X`` in FOLDER (or in SKFLOW_BENCH_DATA). Rows are
shuffled and split 80 to 20, both parts cut at 4,000 rows; columns with ties get uniform noise one grid step wide, since
a density of tied values has no upper bound. Figures are mean log-densities in nats, in the units of the table.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import platform
import time
import warnings
from collections.abc import Callable, Sequence
from datetime import date
from pathlib import Path
from unittest import mock

import numpy as np
import sklearn
import torch
from sklearn import datasets
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KernelDensity

import skflow
from skflow import FlowDensity

CAP = 4000
ABLATION = {
    "default": ({}, {}),
    "no broad component in the base": ({}, {"skflow.training.hyperparameters.BROAD_ROWS": 1e-6}),
    "no logarithmic tails": ({}, {"skflow.preprocessing.fit.TAIL": 1e30}),
    "no Gaussianized columns": ({}, {"skflow.preprocessing.fit.far_from_normal": lambda x: []}),
    "no diagonal covariances in the base": ({}, {"skflow.training.hyperparameters.ROWS_PER_DIAGONAL_COMPONENT": 1e9}),
    "a single Gaussian as the base": ({}, {"skflow.training.hyperparameters.COMPONENTS": ()}),
    "a standard normal as the base": ({"base": "normal"}, {}),
    "held-out rows stay out": ({}, {"skflow.training.hyperparameters.ROWS_TO_REFIT": (0, 0)}),
    "the start alone, untrained": ({"max_iter": 1, "learning_rate_init": 1e-12}, {}),
    "8 bins": ({"n_bins": 8}, {}),
    "5 layers": ({"depth": 5}, {}),
    "flow='maf'": ({"flow": "maf"}, {}),
    "flow='nsf-coupling'": ({"flow": "nsf-coupling"}, {}),
}


def tables(folder: Path | None) -> dict[str, np.ndarray]:
    """The tables by name."""
    found = {
        "wine": datasets.load_wine().data,
        "cancer": datasets.load_breast_cancer().data,
        "diabetes": datasets.load_diabetes(scaled=False).data,
        "digits": datasets.load_digits().data + np.random.default_rng(0).uniform(0, 1, (1797, 64)),
        "moons": datasets.make_moons(6000, noise=0.07, random_state=1)[0],
    }
    for path in sorted(folder.rglob("*.npz")) if folder else ():
        with np.load(path) as archive:
            if "X" in archive:
                found[path.stem] = archive["X"].astype(float)
    return found


def split(X: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Training and test rows, ties spread over their grid."""
    rng = np.random.default_rng(seed)
    X = X[rng.permutation(len(X))]
    X = X[:, X.std(0) > 0]
    for j, column in enumerate(X.T):
        values = np.unique(column)
        if len(values) <= 0.9 * len(column):
            gaps = np.diff(values)
            wide = gaps[gaps > 1e-4 * column.std()]
            X[:, j] += rng.uniform(-0.5, 0.5, len(X)) * (np.median(wide) if len(wide) else gaps.max())
    k = int(0.8 * len(X))
    return X[:k][:CAP], X[k:][:CAP]


def classic(estimator, grid) -> Callable:
    """A cross-validated estimator on standardised columns; its scores in the units of the table."""

    def score(train, test):
        mean, std = train.mean(0), train.std(0)
        search = GridSearchCV(estimator, grid, cv=3).fit((train - mean) / std)
        return search.best_estimator_.score_samples((test - mean) / std) - np.log(std).sum()

    return score


def flow(params, patches) -> Callable:
    """The estimator with some parameters, and with parts of it switched off."""

    def score(train, test):
        with contextlib.ExitStack() as stack:
            for target, value in patches.items():
                stack.enter_context(mock.patch(target, value))
            return FlowDensity(random_state=0, **params).fit(train).score_samples(test)

    return score


def methods(ablation: bool) -> dict[str, Callable]:
    """What is compared."""
    if ablation:
        return {name: flow(*setting) for name, setting in ABLATION.items()}
    components = {"n_components": [1, 2, 4, 8, 16, 32], "covariance_type": ["full", "diag"]}
    return {
        "FlowDensity": flow({}, {}),
        "GaussianMixture, cross-validated": classic(GaussianMixture(reg_covar=1e-4, random_state=0), components),
        "KernelDensity, cross-validated": classic(KernelDensity(), {"bandwidth": np.logspace(-1.3, 0.4, 12)}),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ablation", action="store_true", help="compare the default with parts of it switched off")
    parser.add_argument("--data", type=Path, default=os.environ.get("SKFLOW_BENCH_DATA"))
    parser.add_argument("--tables", help="names, separated by commas; all by default")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--out", type=Path, help="write the table there too, in reStructuredText")
    args = parser.parse_args()
    found = tables(Path(args.data) if args.data else None)
    names = args.tables.split(",") if args.tables else list(found)
    compared = methods(args.ablation)
    versions = f"skflow {skflow.__version__}, torch {torch.__version__}, scikit-learn {sklearn.__version__}"
    print(f"{versions}, {platform.machine()}, {torch.get_num_threads()} threads, {date.today()}", flush=True)
    rows = [["rows x columns", *compared]]
    for name in names:
        cells = []
        for score in compared.values():
            nats, start = [], time.perf_counter()
            for seed in range(args.seeds):
                train, test = split(found[name], seed)
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    nats.append(np.mean(score(train, test)))
            cells.append(f"{np.mean(nats):.2f} ({(time.perf_counter() - start) / args.seeds:.0f} s)")
        rows.append([f"{len(train)} x {train.shape[1]}", *cells])
        print(name, *(f"{method}: {cell}" for method, cell in zip(rows[0], rows[-1])), sep="  ", flush=True)
    if args.out:
        args.out.write_text(list_table(["", *names], list(zip(*rows))))


def list_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in reStructuredText."""
    lines = [".. list-table::", "   :header-rows: 1", "   :widths: auto", ""]
    for row in (header, *rows):
        lines += [f"   {'* -' if not i else '  -'} {cell}".rstrip() for i, cell in enumerate(row)]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
