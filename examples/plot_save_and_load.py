"""
Saving and loading
==================

A fitted estimator is numpy arrays and torch tensors on the CPU, whatever device it was
trained on, so that any way to pickle it works: a file written on a machine with a GPU
opens on a laptop. As with all pickles, open only files that you trust, with the
versions of the libraries that wrote them.
"""

import tempfile
from pathlib import Path

import joblib
import matplotlib.pyplot as plt
import numpy as np
import torch
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import train_test_split

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
path = folder / "density.joblib"
joblib.dump(density, path)
loaded = joblib.load(path)
same = np.array_equal(loaded.score_samples(X), density.score_samples(X))
print(f"{path.stat().st_size / 1e3:.0f} kB; the scores are equal bit for bit: {same}")
print("columns that it expects:", list(loaded.feature_names_in_))

# %%
# Only the weights
# ----------------
# ``flow_`` is a torch module with a ``state_dict`` of tensors, which `torch.load` reads
# without running any code.

torch.save(density.flow_.state_dict(), folder / "weights.pt")
state = torch.load(folder / "weights.pt", weights_only=True)
print(f"{len(state)} tensors, {sum(t.numel() for t in state.values())} numbers")

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
