"""
Saving and loading
==================

A fitted estimator is numpy arrays and torch tensors on the CPU, whatever device it was
trained on: a file written on a machine with a GPU opens on a laptop. ``save`` writes a
file that runs no code when it is opened, and `skflow.load` reads it.
"""

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import train_test_split

import skflow
from skflow import FlowDensity

data = load_breast_cancer(as_frame=True)
columns = ["mean radius", "mean texture", "mean smoothness", "mean concavity"]
benign = data.data.loc[data.target == 1, columns]
malignant = data.data.loc[data.target == 0, columns]
X, X_test = train_test_split(benign, test_size=0.4, random_state=0)
density = FlowDensity(random_state=0).fit(X)

# %%
# The whole estimator
# -------------------

folder = Path(tempfile.mkdtemp())
path = folder / "density.safetensors"
density.save(path)
loaded = skflow.load(path)
same = np.array_equal(loaded.score_samples(X), density.score_samples(X))
print(f"{path.stat().st_size / 1e3:.0f} kB; the scores are equal bit for bit: {same}")
print("columns that it expects:", list(loaded.feature_names_in_))

# %%
# Only the weights
# ----------------
# The file is a safetensors file: any program that reads those finds the tensors in it
# under the names that they have in ``flow_``.

state = density.flow_.state_dict()
print(
    f"{len(state)} tensors, {sum(t.numel() for t in state.values())} numbers, such as:",
    *list(state)[:3],
    sep="\n",
)

# %%
# The loaded model at work
# ------------------------
# Fitted to benign samples, saved, loaded, and asked about samples that it has never
# seen.

fig, ax = plt.subplots(figsize=(6, 3.2), layout="constrained")
scores = [loaded.score_samples(X_test), loaded.score_samples(malignant)]
low = min(np.quantile(s, 0.02) for s in scores)
bins = np.linspace(low, max(s.max() for s in scores), 40)
for s, name, colour in zip(
    scores, ["benign, not used in the fit", "malignant"], ["#0072B2", "#D55E00"]
):
    ax.hist(s.clip(low), bins, alpha=0.6, color=colour, label=name, density=True)
ax.set(
    xlabel="log-density under the loaded model (nats)",
    ylabel="share of the samples",
    yticks=[],
)
ax.legend()
plt.show()
