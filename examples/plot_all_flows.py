"""
Every flow on one picture
=========================

The same 500 rows and the same short training for every flow that has a name. The shape
that each leaves behind is characteristic: volume-preserving shifts (nice), affine
couplings that drag a filament from one crescent to the other (realnvp, maf), splines
with their crisp edges (nsf), ripples of planar and radial flows, which need many more
layers.

The mean log-density of 2,000 fresh rows, in nats, stands in the titles. It ranks the
flows on these rows after a short training and not in general; the default,
``FlowDensity()``, starts better and trains longer than any of these.
"""

import matplotlib.pyplot as plt
from sklearn.datasets import make_moons

from skflow import DensityDisplay, FlowDensity
from skflow.flows import FLOWS

X, _ = make_moons(500, noise=0.1, random_state=0)
fresh, _ = make_moons(2000, noise=0.1, random_state=1)

# %%
# ``base="normal"`` shows what the layers do by themselves, without a mixture's help,
# and without early stopping each of them makes the same number of steps.

short = {
    "base": "normal",
    "max_iter": 40,
    "batch_size": 100,
    "early_stopping": False,
    "learning_rate_init": 0.01,
}
names = sorted(FLOWS)
columns = 6
rows = -(-len(names) // columns)
fig, axes = plt.subplots(
    rows, columns, figsize=(2 * columns, 1.9 * rows), layout="constrained"
)
for ax in axes.ravel():
    ax.set_axis_off()
for ax, name in zip(axes.ravel(), names):
    density = FlowDensity(
        name, **short, hidden_layer_sizes=(32, 32), random_state=0
    ).fit(X)
    DensityDisplay.from_estimator(density, X, ax=ax, legend=False, grid_resolution=70)
    ax.set_title(f"{name}: {density.score(fresh):.2f}", fontsize=9)
plt.show()
