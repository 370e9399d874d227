"""
Synthetic rows, and a test of them
==================================

``sample`` draws rows from the fitted density. Are they any good? A picture of the pairs
shows the coarse errors. A classifier shows the fine ones: trained to tell real rows
from drawn ones, it has an area under the ROC curve of 0.5 where it can't, and of 1
where it always can (the classifier two-sample test).
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_wine
from sklearn.ensemble import RandomForestClassifier
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import cross_val_score, train_test_split

from skflow import FlowDensity

names = ["alcohol", "flavanoids", "color_intensity", "proline"]
wine = load_wine(as_frame=True).data[names]
train, held_out = train_test_split(wine, test_size=0.5, random_state=0)

density = FlowDensity(random_state=0).fit(train)
drawn = density.sample(len(held_out), random_state=0).to_numpy()

# %%
# Pairs of columns
# ----------------
# Real rows that the flow has not seen below the diagonal, drawn ones above it.

fig, axes = plt.subplots(4, 4, figsize=(8, 8), layout="constrained")
real = held_out.to_numpy()
for i, j in np.ndindex(4, 4):
    ax, (x, y) = axes[i, j], (j, i)
    if i == j:
        bins = np.histogram_bin_edges(np.append(real[:, i], drawn[:, i]), 15)
        ax.hist(
            real[:, i], bins, histtype="step", color="#D55E00", label="real, held out"
        )
        ax.hist(drawn[:, i], bins, histtype="step", color="#0072B2", label="drawn")
        ax.set(yticks=[], title=names[i])
    else:
        rows, colour = (real, "#D55E00") if i > j else (drawn, "#0072B2")
        ax.plot(rows[:, x], rows[:, y], ".", color=colour, markersize=4)
        ax.set(
            xlim=wine[names[x]].agg(["min", "max"]),
            ylim=wine[names[y]].agg(["min", "max"]),
        )
    ax.tick_params(labelsize=7)
axes[0, 0].legend(fontsize=7)
plt.show()

# %%
# The classifier's verdict
# ------------------------
# Each model draws as many rows as were held out, and a random forest is cross-validated
# on the mixed table. Six draws show how much of it is chance; the first line replaces
# the draw by the training rows, the best that anything could do.


def two_sample_auc(rows):
    X = np.vstack([real, rows])
    label = np.repeat([0, 1], [len(real), len(rows)])
    forest = RandomForestClassifier(50, min_samples_leaf=5, random_state=0)
    return cross_val_score(forest, X, label, cv=4, scoring="roc_auc").mean()


rng = np.random.RandomState(0)
gaussian = GaussianMixture(1, random_state=rng).fit(train.to_numpy())
shuffled = train.sample(frac=1, random_state=0).to_numpy()
independent = np.column_stack([rng.permutation(column) for column in shuffled.T])
results = {
    "real rows": [two_sample_auc(shuffled)],
    "flow": [
        two_sample_auc(density.sample(len(real), random_state=i)) for i in range(6)
    ],
    "one Gaussian": [two_sample_auc(gaussian.sample(len(real))[0]) for _ in range(6)],
    "columns shuffled": [two_sample_auc(independent)],
}
fig, ax = plt.subplots(figsize=(6, 2.4), layout="constrained")
for i, (name, values) in enumerate(results.items()):
    ax.plot(values, [i] * len(values), "o", color="#0072B2", alpha=0.6)
    print(f"{name:18} {np.mean(values):.2f}")
ax.axvline(0.5, color="0.5", linewidth=1)
ax.set(yticks=range(len(results)), yticklabels=results)
ax.set(xlim=(0.3, 1), xlabel="area under the ROC curve")
ax.set_title("Telling drawn rows from real ones: 0.5 is a coin", fontsize=10)
ax.invert_yaxis()
plt.show()
