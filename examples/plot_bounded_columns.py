"""
Positive and bounded columns
============================

A density that is not told about an edge leaks across it: some of its mass lies where no
row can ever be. ``bounds`` tells it. Outside them the density is exactly zero (a
log-density of ``-inf``), and inside nothing is lost at the edge.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.neighbors import KernelDensity

from skflow import DensityDisplay, FlowDensity

rng = np.random.RandomState(0)
wait = rng.exponential(2.0, 600)
share = rng.beta(0.7 + 0.4 * wait, 1.6)
X = np.column_stack([wait, share])

# %%
# The waiting time is positive, the share lies between 0 and 1. A pair for each column
# says so; None is no bound.

free = FlowDensity(max_iter=120, random_state=0).fit(X)
bounded = FlowDensity(bounds=[(0, None), (0, 1)], max_iter=120, random_state=0).fit(X)
kernel = KernelDensity(bandwidth=0.15).fit(X)

drawn = {
    "kernel density": kernel.sample(20_000, random_state=0),
    "without bounds": free.sample(20_000, random_state=0),
}
drawn["with bounds"] = bounded.sample(20_000, random_state=0)
for name, rows in drawn.items():
    outside = (rows[:, 0] < 0) | (rows[:, 1] < 0) | (rows[:, 1] > 1)
    print(f"{name:15} {outside.mean():6.1%} of the drawn rows lie outside")
print(
    "log-density at a negative waiting time:", bounded.score_samples([[-0.1, 0.5]])[0]
)

# %%
# The picture: dashed lines are the edges.

fig, axes = plt.subplots(
    1, 3, figsize=(10, 3.4), layout="constrained", sharex=True, sharey=True
)
models = {"kernel density": kernel, "without bounds": free, "with bounds": bounded}
for ax, (name, model) in zip(axes, models.items()):
    DensityDisplay.from_estimator(
        model, X, ax=ax, legend=model is bounded, grid_resolution=150
    )
    ax.axvline(0, color="#D55E00", linestyle="--", linewidth=1)
    for edge in (0, 1):
        ax.axhline(edge, color="#D55E00", linestyle="--", linewidth=1)
    ax.set(title=name, xlabel="waiting time (hours)", ylabel="")
    ax.set(xlim=(-1, 9), ylim=(-0.2, 1.2))
axes[0].set_ylabel("share")
plt.show()

# %%
# One column, against the truth
# -----------------------------

grid = np.linspace(-1, 8, 400)[:, None]
truth = np.where(grid[:, 0] < 0, 0, np.exp(-grid[:, 0] / 2) / 2)
column = X[:, :1]
alone = {
    "without bounds": FlowDensity(max_iter=120, random_state=0),
    "with bounds": FlowDensity(bounds=(0, None), max_iter=120, random_state=0),
}
fig, ax = plt.subplots(figsize=(6, 3.2), layout="constrained")
ax.fill_between(grid[:, 0], truth, color="0.88", label="truth")
for (name, model), colour in zip(alone.items(), ["#E69F00", "#0072B2"]):
    density = np.exp(model.fit(column).score_samples(grid))
    ax.plot(grid, density, color=colour, label=name)
ax.set(xlabel="waiting time (hours)", ylabel="density (1 / hour)")
ax.legend()
plt.show()
