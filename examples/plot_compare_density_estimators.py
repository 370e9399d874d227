"""
Against a kernel estimate and a mixture
=======================================

Three simulated tables of two columns, each with a shape of its own: thin crescents, a
checkerboard with edges, and rings. A kernel density estimate and a Gaussian mixture get
their best bandwidth and size by cross-validation; `FlowDensity` is left at its
defaults. The figure in each title is the mean log-density of 2,000 fresh rows in nats:
higher is better, and a lead of 0.1 nats means a density that is on average a tenth
higher at the rows that come next.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import make_moons
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KernelDensity

from skflow import DensityDisplay, FlowDensity

# %%
# The tables
# ----------


def moons(n, rng):
    return make_moons(n, noise=0.06, random_state=rng)[0]


def checkerboard(n, rng):
    cells = np.array([(i, j) for i in range(4) for j in range(4) if (i + j) % 2])
    return cells[rng.randint(len(cells), size=n)] + rng.rand(n, 2)


def rings(n, rng):
    radius = rng.choice([1.0, 2.0, 3.0], n) + 0.08 * rng.randn(n)
    angle = rng.uniform(0, 2 * np.pi, n)
    return radius[:, None] * np.column_stack([np.cos(angle), np.sin(angle)])


# %%
# The three methods
# -----------------
# All of them are scikit-learn estimators, so that one search serves two of them.

methods = {
    "kernel density, CV": GridSearchCV(
        KernelDensity(), {"bandwidth": np.logspace(-1.7, 0, 12)}, cv=3
    ),
    "Gaussian mixture, CV": GridSearchCV(
        GaussianMixture(random_state=0), {"n_components": [1, 2, 4, 8, 16, 32]}, cv=3
    ),
    "FlowDensity": FlowDensity(random_state=0),
}

figure, axes = plt.subplots(
    3, 4, figsize=(10, 6.6), layout="constrained", height_ratios=(0.65, 1, 1)
)
for row, draw in zip(axes, [moons, checkerboard, rings]):
    rng = np.random.RandomState(0)
    X, X_test = draw(1000, rng), draw(2000, rng)
    row[0].plot(*X.T, ".", color="0.2", markersize=2)
    row[0].set_title("1,000 rows")
    for ax, (name, method) in zip(row[1:], methods.items()):
        method.fit(X)
        DensityDisplay.from_estimator(
            method, X, ax=ax, points=False, legend=False, grid_resolution=120
        )
        # KernelDensity.score is a sum, not a mean.
        nats = method.score_samples(X_test).mean()
        ax.set(title=f"{name}: {nats:.2f}", xlabel="", ylabel="")
    for ax in row:
        ax.set(aspect="equal", xticks=[], yticks=[])
        ax.set(xlim=row[1].get_xlim(), ylim=row[1].get_ylim())
figure.suptitle(
    "Regions that hold 20, 50, 80 and 95 % of the mass; "
    "mean log-density of fresh rows in nats"
)
plt.show()
