"""
Comparing anomaly detectors on toy tables
=========================================

scikit-learn's gallery compares its anomaly detectors on five tables in two dimensions:
255 regular rows in one or two clouds, two crescents, a bent curve or no shape at all,
and 45 outliers spread over the square. Here they are again, beside
`FlowOutlierDetector`.

Every detector is told that 15 % of the rows are outliers and draws its boundary
accordingly. The flow follows the shape of each table without a parameter chosen for it.
"""

import time

import matplotlib.pyplot as plt
import numpy as np
from sklearn.covariance import EllipticEnvelope
from sklearn.datasets import make_blobs, make_moons
from sklearn.ensemble import IsolationForest
from sklearn.neighbors import LocalOutlierFactor
from sklearn.svm import OneClassSVM

from skflow import FlowOutlierDetector

share, n_outliers, n_regular = 0.15, 45, 255

# %%
# The tables. The last one has nothing but noise: there a detector can only cut off what
# lies farthest out.

blobs = {"n_samples": n_regular, "n_features": 2, "random_state": 0}
tables = [
    make_blobs(centers=[[0, 0], [0, 0]], cluster_std=0.5, **blobs)[0],
    make_blobs(centers=[[2, 2], [-2, -2]], cluster_std=[0.5, 0.5], **blobs)[0],
    make_blobs(centers=[[2, 2], [-2, -2]], cluster_std=[1.5, 0.3], **blobs)[0],
    4 * (make_moons(n_samples=n_regular, noise=0.05, random_state=0)[0] - [0.5, 0.25]),
    14 * (np.random.RandomState(42).rand(n_regular, 2) - 0.5),
]
outliers = np.random.RandomState(42).uniform(-6, 6, size=(n_outliers, 2))
detectors = {
    "robust covariance": EllipticEnvelope(contamination=share, random_state=0),
    "one-class SVM": OneClassSVM(nu=share, gamma=0.1),
    "isolation forest": IsolationForest(contamination=share, random_state=0),
    "local outlier factor": LocalOutlierFactor(
        n_neighbors=35, contamination=share, novelty=True
    ),
    "flow": FlowOutlierDetector(contamination=share, random_state=0),
}

# %%
# Rows that a detector flags are orange, and so is the region whose rows it would flag.
# The number in the corner is the time of the fit.

label = {"facecolor": "white", "edgecolor": "none", "pad": 1}
grid = np.linspace(-7, 7, 120)
xx, yy = np.meshgrid(grid, grid)
fig, axes = plt.subplots(
    len(tables), len(detectors), figsize=(10, 10), layout="constrained"
)
for line, regular in zip(axes, tables):
    X = np.concatenate([regular, outliers])
    for ax, detector in zip(line, detectors.values()):
        start = time.perf_counter()
        detector.fit(X)
        seconds = time.perf_counter() - start
        flagged = detector.predict(X) == -1
        decision = detector.decision_function(np.c_[xx.ravel(), yy.ravel()])
        decision = decision.reshape(xx.shape)
        ax.contourf(
            xx, yy, decision < 0, levels=[0.5, 1.5], colors=["#E69F00"], alpha=0.12
        )
        ax.contour(xx, yy, decision, levels=[0], linewidths=1.2, colors="black")
        ax.scatter(*X[~flagged].T, s=6, color="#0072B2")
        ax.scatter(*X[flagged].T, s=6, color="#E69F00")
        corner = {"transform": ax.transAxes, "ha": "right", "va": "bottom"}
        ax.text(0.98, 0.02, f"{seconds:.1f} s", fontsize=8, bbox=label, **corner)
        ax.set(xlim=(-7, 7), ylim=(-7, 7), xticks=[], yticks=[])
for ax, name in zip(axes[0], detectors):
    ax.set_title(name, fontsize=10)

plt.show()
