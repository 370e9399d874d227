"""
How a flow bends the plane
==========================

A flow is a chain of invertible maps. Each one moves the rows a little nearer to a
standard normal and bends the plane as it does so. Where it squeezes the plane, the
density of the data is low; where it stretches it, high: that is the change of
variables, ``log p(x) = log p_Z(f(x)) + log |det df/dx|``.
"""

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.collections import LineCollection
from sklearn.datasets import make_moons

from skflow import DensityDisplay, FlowDensity, LatentDisplay

X, label = make_moons(600, noise=0.08, random_state=0)
density = FlowDensity("nsf", depth=3, base="normal", max_iter=150, random_state=0)
density = density.fit(X)

# %%
# A grid, link by link
# --------------------
# ``flow_`` is a torch module. Its bijection is a chain of two: the preprocessing, which
# standardises the columns, and the layers. We carry the rows and a square grid through
# them and stop at every layer.

lines = np.linspace(-1, 1, 17)
fine = np.linspace(-1, 1, 400)
center, half = X.mean(0), 1.25 * np.ptp(X, axis=0) / 2
upright = [[(a, b) for b in fine] for a in lines]
level = [[(b, a) for b in fine] for a in lines]
grid = np.array(upright + level) * half + center

preprocessing, layers = density.flow_.bijection.links
stages = [("data", None), ("preprocessed", preprocessing)]
depth = 0
for link in layers.links:
    if type(link).__name__ == "Permutation":
        stages.append((None, link))  # turns the columns round; no picture of its own
    else:
        depth += 1
        stages.append((f"after layer {depth}", link))

fig, axes = plt.subplots(
    1, depth + 2, figsize=(2.7 * (depth + 2), 2.9), layout="constrained"
)
rows, points = torch.tensor(X), torch.tensor(grid.reshape(-1, 2))
panels = iter(axes)
with torch.no_grad():
    for title, link in stages:
        if link is not None:
            rows, points = link(rows)[0], link(points)[0]
        if title is None:
            continue
        ax = next(panels)
        bent = points.numpy().reshape(grid.shape)
        ax.add_collection(LineCollection(bent, colors="0.75", linewidths=0.6))
        for k, colour in enumerate(["#0072B2", "#E69F00"]):
            ax.plot(*rows[label == k].numpy().T, ".", color=colour, markersize=2.5)
        size = 1.3 * np.abs(rows.numpy() - rows.numpy().mean(0)).max(0)
        middle = rows.numpy().mean(0)
        ax.set(
            xlim=(middle[0] - size[0], middle[0] + size[0]),
            ylim=(middle[1] - size[1], middle[1] + size[1]),
        )
        ax.set(title=title, xticks=[], yticks=[])
plt.show()

# %%
# And back
# --------
# Circles that hold 20, 50, 80 and 95 % of a standard normal, carried back by
# ``inverse_transform``, are the shape of the density. A square grid in the latent space
# becomes a net over the data.

fig, axes = plt.subplots(1, 2, figsize=(8, 3.6), layout="constrained")
angle = np.linspace(0, 2 * np.pi, 400)
circle = np.column_stack([np.cos(angle), np.sin(angle)])
circles = [np.sqrt(-2 * np.log(1 - share)) * circle for share in (0.2, 0.5, 0.8, 0.95)]
net = 2.5 * (grid - center) / half
latent = density.transform(X)
for ax, rows, carry, title in (
    (axes[0], latent, lambda z: z, "latent space"),
    (axes[1], X, density.inverse_transform, "data"),
):
    ax.add_collection(
        LineCollection([carry(line) for line in net], colors="0.85", linewidths=0.6)
    )
    ax.add_collection(
        LineCollection(
            [carry(circle) for circle in circles], colors="0.2", linewidths=1.5
        )
    )
    for k, colour in enumerate(["#0072B2", "#E69F00"]):
        ax.plot(*rows[label == k].T, ".", color=colour, markersize=3)
    ax.set(title=title)
axes[0].set(xlim=(-3.2, 3.2), ylim=(-3.2, 3.2), aspect="equal")
plt.show()

# %%
# Is the latent space normal?
# ---------------------------
# Quantiles of fresh rows in the latent space against those of a standard normal: points
# within the band agree.

fresh, _ = make_moons(600, noise=0.08, random_state=1)
LatentDisplay.from_estimator(density, fresh)
DensityDisplay.from_estimator(density, X, quantity="log_density", grid_resolution=120)
plt.show()
