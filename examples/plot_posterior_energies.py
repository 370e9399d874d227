"""
Four energies, three kinds of flows
===================================

Figure 3 of the paper that brought flows to variational inference (Rezende & Mohamed
2015): densities known up to a constant, which a Gaussian can't follow, and what planar
and radial flows of some depth make of them; splines, too.
"""

import math

import matplotlib.pyplot as plt
import numpy as np
import torch

from skflow import FlowPosterior


def w1(x):
    return torch.sin(2 * math.pi * x[:, 0] / 4)


def w2(x):
    return 3 * torch.exp(-0.5 * ((x[:, 0] - 1) / 0.6) ** 2)


def w3(x):
    return 3 * torch.sigmoid((x[:, 0] - 1) / 0.3)


def wave(x, height, width):
    return -0.5 * ((x[:, 1] - height) / width) ** 2


# %%
# The last three of the paper's waves never end, and have no constant: a wide normal
# factor in the first column gives them one.


def u1(x):
    ring = 0.5 * ((x.norm(dim=1) - 2) / 0.4) ** 2
    left, right = (-0.5 * ((x[:, 0] - side) / 0.6) ** 2 for side in (-2, 2))
    return torch.logaddexp(left, right) - ring


def u2(x):
    return wave(x, w1(x), 0.4) - 0.5 * (x[:, 0] / 3) ** 2


def u3(x):
    both = torch.logaddexp(wave(x, w1(x), 0.35), wave(x, w1(x) - w2(x), 0.35))
    return both - 0.5 * (x[:, 0] / 3) ** 2


def u4(x):
    both = torch.logaddexp(wave(x, w1(x), 0.4), wave(x, w1(x) - w3(x), 0.35))
    return both - 0.5 * (x[:, 0] / 3) ** 2


# %%
# One row an energy: the density itself, and four fits. Effective draws, in the titles,
# say how close each is without knowing the constant.

grid = np.linspace(-4.5, 4.5, 120)
settings = {"base": "normal", "max_evaluations": 40_000, "random_state": 0}
rows = np.stack(np.meshgrid(grid, grid), -1).reshape(-1, 2)
flows = [("planar", 2), ("planar", 32), ("radial", 32), ("nsf", "auto")]
fig, axes = plt.subplots(4, 5, figsize=(10, 8.4), layout="constrained")
for line, energy in zip(axes, (u1, u2, u3, u4)):
    pictures = [(f"{energy.__name__}", energy(torch.tensor(rows)).exp().numpy())]
    for flow, depth in flows:
        posterior = FlowPosterior(flow, depth=depth, **settings)
        posterior.fit(energy, n_features=2)
        share = posterior.effective_sample_size_ / 4000
        name = flow if depth == "auto" else f"{flow}, depth {depth}"
        pictures.append((f"{name}: {share:.0%}", np.exp(posterior.score_samples(rows))))
    for ax, (title, density) in zip(line, pictures):
        ax.pcolormesh(
            grid, grid, density.reshape(120, 120), cmap="Blues", shading="gouraud"
        )
        ax.set_title(title, fontsize=9)
        ax.set(xticks=[], yticks=[], aspect="equal")
plt.show()
