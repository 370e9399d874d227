"""Tumours in ten measurements: what is normal and odd, and what new ones would be like.

Fits `FlowDensity()` to the ten mean measurements of scikit-learn's breast cancer table
and compares it, on rows that none has seen, with a Gaussian mixture and a kernel
density whose settings are chosen by cross-validation. Then it lists the oddest rows and
draws two of the columns: data, density and samples.

Run it with ``make demo`` or ``python examples/demo.py [--output demo.png]``.
"""

import argparse
import time
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_breast_cancer
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.neighbors import KernelDensity
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from skflow import FlowDensity

# Blue and vermilion of Okabe and Ito, told apart by everybody.
DATA, ODD = "#0072B2", "#D55E00"
PICTURED = ["mean radius", "mean fractal dimension"]
N_ODD = 5


def load():
    """The ten mean measurements of 569 tumours, as a table with its column names."""
    bunch = load_breast_cancer()
    return bunch.data[:, :10], list(bunch.feature_names[:10])


class Standardised:
    """A density of standardised columns, scored in the units of the table.

    Each column costs log(scale) nats.
    """

    def __init__(self, density):
        self.density = density
        self.scaler = StandardScaler()

    def fit(self, X):
        with threadpool_limits(1):  # a table this small is faster on one thread
            self.density.fit(self.scaler.fit_transform(X))
        return self

    def score(self, X):
        rows = self.scaler.transform(X)
        return (
            self.density.best_estimator_.score_samples(rows).mean()
            - np.log(self.scaler.scale_).sum()
        )


def competitors():
    mixture = {"n_components": range(1, 7), "covariance_type": ["full", "diag"]}
    return {
        "FlowDensity()": FlowDensity(random_state=0),
        "GaussianMixture, cross-validated": Standardised(
            GridSearchCV(GaussianMixture(reg_covar=1e-4, random_state=0), mixture, cv=5)
        ),
        "KernelDensity, cross-validated": Standardised(
            GridSearchCV(
                KernelDensity(), {"bandwidth": np.logspace(-1.5, 0.5, 30)}, cv=5
            )
        ),
    }


def compare(X):
    """Print held-out log-likelihoods and times; return the fitted flow."""
    train, test = train_test_split(X, test_size=0.3, random_state=0)
    print(
        f"Breast cancer table: {len(train)} rows to fit, {len(test)} held out, "
        f"{X.shape[1]} columns, nothing scaled.\n"
    )
    print(f"{'':34}{'held-out log-likelihood':>26}{'fit':>10}")
    for name, estimator in competitors().items():
        start = time.perf_counter()
        estimator.fit(train)
        seconds = time.perf_counter() - start
        print(
            f"{name:34}{estimator.score(test):>15.2f} nats a row{seconds:>8.1f} s",
            flush=True,
        )
        if isinstance(estimator, FlowDensity):
            density = estimator
    print(
        "\nHigher is better; one nat a row means that each new row is 2.7 times "
        "as likely under the model.\n"
    )
    return density


def list_odd_rows(density, X, names):
    """Print the rows of lowest density, and where each stands out."""
    scores = density.score_samples(X)
    typical = np.median(scores)
    print(f"The oddest rows (a typical row has {typical:.1f} nats):")
    middle, spread = np.median(X, 0), np.subtract(*np.percentile(X, [75, 25], axis=0))
    for row in np.argsort(scores)[:N_ODD]:
        offset = (X[row] - middle) / spread
        column = int(np.argmax(np.abs(offset)))
        rarer = (typical - scores[row]) / np.log(10)
        print(
            f"  row {row:3d} {scores[row]:7.1f} nats: "
            f"10^{rarer:.0f} times less likely than a typical row; "
            f"farthest out in {names[column]} "
            f"({X[row, column]:g}, median {middle[column]:g})"
        )


def draw(X, names, path):
    """Two columns three ways: the data, their density, and new rows drawn from it."""
    X = X[:, [names.index(name) for name in PICTURED]]
    density = FlowDensity(random_state=0).fit(X)
    scores = density.score_samples(X)
    odd = np.argsort(scores)[:N_ODD]
    low, high = X.min(0), X.max(0)
    margin = 0.08 * (high - low)
    box = np.array([low - margin, high + margin])
    axes_of_grid = [np.linspace(*box[:, j], 200) for j in range(2)]
    grid = np.stack(np.meshgrid(*axes_of_grid), -1)
    heights = density.score_samples(grid.reshape(-1, 2)).reshape(grid.shape[:2])
    top = heights.max()

    figure, (left, centre, right) = plt.subplots(
        1, 3, figsize=(13, 4.3), sharex=True, sharey=True, layout="constrained"
    )
    left.scatter(*X.T, s=9, color=DATA, alpha=0.6, linewidths=0)
    left.scatter(
        *X[odd].T,
        s=70,
        facecolors="none",
        edgecolors=ODD,
        linewidths=1.6,
        label=f"the {N_ODD} oddest",
    )
    left.legend(loc="upper right", frameon=False)
    left.set_title(f"The data: {len(X)} tumours")

    levels = np.arange(-10, 0.5)
    filled = centre.contourf(
        *axes_of_grid, heights - top, levels=levels, cmap="cividis", extend="min"
    )
    centre.contour(
        *axes_of_grid,
        heights - top,
        levels=levels[::2],
        colors="white",
        linewidths=0.5,
        linestyles="solid",
    )
    centre.set_title("The density that FlowDensity() learned")
    bar = figure.colorbar(filled, ax=centre, ticks=[-10, -8, -6, -4, -2, 0])
    bar.set_label("log-density below the peak (nats)")

    right.scatter(
        *density.sample(len(X), random_state=1).T,
        s=9,
        color=DATA,
        alpha=0.6,
        linewidths=0,
    )
    right.set_title(f"{len(X)} new rows drawn from it")

    for axes in (left, centre, right):
        axes.set_xlabel(PICTURED[0])
    left.set_ylabel(PICTURED[1])
    left.set(xlim=box[:, 0], ylim=box[:, 1])
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    print(
        f"\nThe picture is in {path}: data, density and samples of "
        f"{PICTURED[0]} and {PICTURED[1]}."
    )


def main():
    parser = argparse.ArgumentParser(description="FlowDensity on a real table.")
    parser.add_argument(
        "--output",
        type=Path,
        default=Path("build/demo.png"),
        help="where the picture goes",
    )
    output = parser.parse_args().output
    X, names = load()
    density = compare(X)
    list_odd_rows(density, X, names)
    draw(X, names, output)


if __name__ == "__main__":
    main()
