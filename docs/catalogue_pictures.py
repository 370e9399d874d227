"""Draws the small pictures of the flow catalogue: what every flow learns of the same 2,000 rows.

Run ``python docs/catalogue_pictures.py [name ...]``; the pictures go to ``docs/_static/catalogue``.
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt  # noqa: E402
import numpy as np  # noqa: E402
from sklearn.exceptions import ConvergenceWarning  # noqa: E402

from skflow import FlowDensity  # noqa: E402
from skflow.flows import FLOWS  # noqa: E402

OUT = Path(__file__).parent / "_static" / "catalogue"
REACH = 3.2


def spiral(n: int, seed: int) -> np.ndarray:
    """Rows of a noisy two-armed spiral."""
    rng = np.random.RandomState(seed)
    angle = 3 * np.pi * np.sqrt(rng.rand(n))
    arm = rng.choice([-1, 1], n)
    rows = 0.28 * np.column_stack([np.cos(angle), np.sin(angle)]) * (angle * arm)[:, None]
    return rows + 0.08 * rng.randn(n, 2)


def draw(name: str, density: np.ndarray) -> None:
    """Save a density on the grid as a small picture."""
    fig = plt.figure(figsize=(1.8, 1.8), dpi=100)
    ax = fig.add_axes((0, 0, 1, 1))
    ax.imshow(density.T, origin="lower", cmap="magma", vmin=0, vmax=0.35, interpolation="bilinear")
    ax.set_axis_off()
    fig.savefig(OUT / f"{name}.png", pil_kwargs={"optimize": True})
    plt.close(fig)


def main(names: list[str]) -> None:
    """Fit and draw the named flows, or all of them and the data."""
    OUT.mkdir(parents=True, exist_ok=True)
    warnings.simplefilter("ignore", ConvergenceWarning)
    X, fresh = spiral(2000, 0), spiral(5000, 1)
    side = np.linspace(-REACH, REACH, 180)
    grid = np.stack(np.meshgrid(side, side, indexing="ij"), -1).reshape(-1, 2)
    if not names:
        counts, _, _ = np.histogram2d(*X.T, bins=90, range=[[-REACH, REACH]] * 2)
        draw("data", counts / counts.max())
    for name in names or FLOWS:
        depth = FLOWS[name].depth or 4
        if name in ("planar", "radial", "sylvester"):
            depth = 32
        flow = FlowDensity(name, depth=depth, base="normal", max_iter=100, batch_size=200, random_state=0)
        flow.fit(X)
        draw(name, np.exp(flow.score_samples(grid)).reshape(180, 180))
        print(f"{name:16s} {flow.score(fresh):7.3f} nats on fresh rows")


if __name__ == "__main__":
    main(sys.argv[1:])
