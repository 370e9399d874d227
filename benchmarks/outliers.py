"""What each part of `FlowOutlierDetector` brings: AUC-ROC and average precision, in clean and in contaminated tables.

    python benchmarks/outliers.py FOLDER [--write docs/benchmarks/outliers_ablation.inc] [--distinct]

FOLDER (or the environment variable SKFLOW_BENCH_DATA) holds one .npz a table, with `X` and `y` (1 for anomalies), such
as the tables of ADBench. Unsupervised: the whole table is learnt, its outliers included, and the same rows are ranked.
One-class, by the protocol of Livernoche et al. (2024): train on half of the normal rows, test on the rest; tables of
fewer than 1,000 rows are first resampled to 1,000 with replacement, so that normal rows recur in the test part.
``--distinct`` leaves the resampling out. At most 8,000 rows are trained on.
"""

import argparse
import os
import platform
import time
from datetime import date
from pathlib import Path

import numpy as np
import sklearn
import torch
from sklearn.ensemble import IsolationForest
from sklearn.metrics import average_precision_score, roc_auc_score
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import KernelDensity, NearestNeighbors

from skflow import FlowOutlierDetector, engine

MAX_TRAIN = 8000


def one_class_split(X, y, seed, distinct):
    rng = np.random.RandomState(seed)
    if len(y) < 1000 and not distinct:
        rows = rng.choice(len(y), 1000)
        X, y = X[rows], y[rows]
    if len(y) > 50_000:
        rows = rng.choice(len(y), 50_000, replace=False)
        X, y = X[rows], y[rows]
    normal, anomalous = np.flatnonzero(y == 0), np.flatnonzero(y == 1)
    half = round(0.5 * len(normal))
    train, test = normal[:half], np.append(normal[half:], anomalous)
    mean, std = X[train].mean(0), X[train].std(0)
    std[std == 0] = 1
    return (X[train[:MAX_TRAIN]] - mean) / std, (X[test] - mean) / std, y[test]


def unsupervised_split(X, y, seed, distinct):
    rng = np.random.RandomState(seed)
    if len(y) > 50_000:
        rows = rng.choice(len(y), 50_000, replace=False)
        X, y = X[rows], y[rows]
    std = X.std(0)
    std[std == 0] = 1
    X = (X - X.mean(0)) / std
    return X[rng.permutation(len(X))[:MAX_TRAIN]], X, y


def classics(A, T, seed):
    yield "isolation forest", IsolationForest(random_state=seed).fit(A).score_samples(T)
    yield "5th nearest neighbour", -NearestNeighbors(n_neighbors=5).fit(A).kneighbors(T)[0][:, -1]
    mixture = GaussianMixture(min(32, max(1, len(A) // 20)), reg_covar=1e-2, random_state=seed)
    yield "Gaussian mixture, at most 32 components", mixture.fit(A).score_samples(T)
    yield "kernel density, bandwidth 0.3", KernelDensity(bandwidth=0.3).fit(A).score_samples(T)


@torch.no_grad()
def experts(detector, T):
    """Mean log-densities of the flows, of the small kernel estimates, and of both, each of shape (n,)."""
    pool = detector.flow_.base
    z = torch.cat([detector.flow_.bijection(part)[0] for part in torch.tensor(T).split(4096)])
    flows = torch.cat([torch.stack([engine.log_prob(m, part) for m in pool.members], 1) for part in z.split(4096)])
    flows, small = flows.mean(1).numpy(), pool._small(z, pool.small).mean(1).numpy()
    return flows, small, flows + small


def parts(A, T, seed):
    def fit(**params):
        return FlowOutlierDetector(random_state=seed, **params).fit(A)

    yield "five flows, plain density", fit(criterion="density", trimmed=False).score_samples(T)
    unweighted = fit(trimmed=False)
    yield "five smoothed flows, geometric mean, rows unweighted", experts(unweighted, T)[0]
    yield "the default with rows unweighted", unweighted.score_samples(T)
    default = fit()
    flows, small, both = experts(default, T)
    yield "flows of the default alone", flows
    yield "small kernel estimates of the default alone", small
    yield "both, without memory", both
    yield "the default", default.score_samples(T)


def measure(folder, distinct, names):
    splits = {"unsupervised": unsupervised_split, "one-class": one_class_split}
    if distinct:
        del splits["unsupervised"]
    table = {}
    for path in sorted(Path(folder).glob("*.npz")):
        if names and path.stem not in names:
            continue
        data = np.load(path)
        start = time.process_time()
        for protocol, split in splits.items():
            A, T, y = split(data["X"].astype(float), data["y"], 0, distinct)
            for method in (classics, parts):
                for name, score in method(A, T, 0):
                    row = 100 * roc_auc_score(y, -score), 100 * average_precision_score(y, -score)
                    table.setdefault(name, {}).setdefault(protocol, []).append(row)
        print(f"{path.stem:24s} {time.process_time() - start:6.1f} s", flush=True)
    return table


def as_rst(table, distinct):
    protocols = list(next(iter(table.values())))
    n_tables = len(table["the default"][protocols[0]])
    lines = [".. list-table::", "   :header-rows: 1", "   :widths: auto", ""]
    lines += ["   * - score", *(f"     - {p} {what}" for p in protocols for what in ("AUC-ROC", "AP"))]
    for name, columns in table.items():
        means = np.concatenate([np.mean(columns[p], 0) for p in protocols])
        lines += [f"   * - {name}", *(f"     - {v:.1f}" for v in means)]
    how = "distinct rows" if distinct else "small tables resampled in the one-class protocol"
    versions = f"torch {torch.__version__}, scikit-learn {sklearn.__version__}, numpy {np.__version__}"
    cores = f"{platform.machine()}, {os.cpu_count()} cores"
    lines += ["", f"Means over {n_tables} tables, {how}; {versions}; {cores}; {date.today()}.", ""]
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", default=os.environ.get("SKFLOW_BENCH_DATA"))
    parser.add_argument("--write", help="the file to put the table into")
    parser.add_argument("--distinct", action="store_true", help="do not resample small tables")
    parser.add_argument("--tables", help="names, separated by commas; by default all")
    options = parser.parse_args()
    if not options.folder:
        parser.error("name the folder, or set SKFLOW_BENCH_DATA")
    names = options.tables.split(",") if options.tables else None
    text = as_rst(measure(options.folder, options.distinct, names), options.distinct)
    print(text)
    if options.write:
        Path(options.write).write_text(text)


if __name__ == "__main__":
    main()
