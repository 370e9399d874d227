"""What each part of `FlowOutlierDetector` brings: one-class AUC-ROC and average precision, part by part.

    python benchmarks/outliers.py FOLDER [--write docs/outliers_ablation.inc] [--distinct]

FOLDER (or the environment variable SKFLOW_BENCH_DATA) holds one .npz a table, with `X` and `y` (1 for anomalies), such
as the tables of ADBench. The protocol is that of Livernoche et al. (2024): train on half of the normal rows, test on
the rest; tables of fewer than 1,000 rows are first resampled to 1,000 with replacement, so that normal rows recur in
the test part. ``--distinct`` leaves the resampling out. At most 8,000 rows are trained on.
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

from skflow import FlowOutlierDetector

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


def classics(A, T, seed):
    yield "isolation forest", IsolationForest(random_state=seed).fit(A).score_samples(T)
    yield "5th nearest neighbour", -NearestNeighbors(n_neighbors=5).fit(A).kneighbors(T)[0][:, -1]
    mixture = GaussianMixture(min(32, max(1, len(A) // 20)), reg_covar=1e-2, random_state=seed)
    yield "Gaussian mixture, at most 32 components", mixture.fit(A).score_samples(T)
    yield "kernel density, bandwidth 0.3", KernelDensity(bandwidth=0.3).fit(A).score_samples(T)


@torch.no_grad()
def flows_and_kernels(detector, T):
    """Log-densities of the members' flows, shape (n, K), and those of the kernels of all members."""
    base = detector.flow_.base
    z, log_abs_det = detector.flow_.bijection(torch.tensor(T))
    flows = torch.cat([torch.stack([m.log_prob(part) for m in base.members], 1) for part in z.split(4096)])
    kernels = None
    if len(base.centres):
        kernels = torch.cat([base._kernels(part) for part in z.split(256)]).logsumexp(1).numpy()
    return (flows + log_abs_det[:, None]).numpy(), kernels


def parts(A, T, seed):
    plain, _ = flows_and_kernels(FlowOutlierDetector(criterion="density", trimmed=False, random_state=seed).fit(A), T)
    yield "one flow, plain density", plain[:, 0]
    yield "five flows, plain density", np.logaddexp.reduce(plain, 1)
    untrimmed = FlowOutlierDetector(trimmed=False, random_state=seed).fit(A)
    smoothed, kernels = flows_and_kernels(untrimmed, T)
    yield "one flow, smoothed", smoothed[:, 0]
    yield "five flows, smoothed", np.logaddexp.reduce(smoothed, 1)
    yield "kernels alone", kernels
    scores = untrimmed.score_samples(T)
    yield "five smoothed flows and kernels", scores
    yield "the same by typicality", -np.abs(scores - untrimmed.typical_score_)
    yield "the same, trimmed: the default", FlowOutlierDetector(random_state=seed).fit(A).score_samples(T)


def measure(folder, distinct, names):
    table = {}
    for path in sorted(Path(folder).glob("*.npz")):
        if names and path.stem not in names:
            continue
        data = np.load(path)
        A, T, y = one_class_split(data["X"].astype(float), data["y"], 0, distinct)
        start = time.process_time()
        for method in (classics, parts):
            for name, score in method(A, T, 0):
                row = 100 * roc_auc_score(y, -score), 100 * average_precision_score(y, -score)
                table.setdefault(name, []).append(row)
        print(f"{path.stem:24s} {time.process_time() - start:6.1f} s", flush=True)
    return table


def as_rst(table, distinct):
    n_tables = len(next(iter(table.values())))
    lines = [".. list-table::", "   :header-rows: 1", "   :widths: 60 20 20", ""]
    lines += ["   * - score", "     - AUC-ROC", "     - AP"]
    for name, rows in table.items():
        auc, ap = np.mean(rows, 0)
        lines += [f"   * - {name}", f"     - {auc:.2f}", f"     - {ap:.2f}"]
    how = "distinct rows" if distinct else "small tables resampled"
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
