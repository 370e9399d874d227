"""Speed beside zuko and nflows, where they are installed: a training step, scoring and sampling at one architecture.

    python benchmarks/speed.py [--cases small,medium,large] [--flows maf,nsf] [--rounds 3]

The flow has the same layers, hidden sizes, bins, batch and optimiser everywhere. ``fit`` is milliseconds a step with
all that a call of ``fit`` does, over twenty steps; the others train in a plain loop over one tensor. ``score`` and
``sample`` are rows a second. Medians over interleaved rounds: machines are noisy, so read the ratios.
"""

from __future__ import annotations

import argparse
import platform
import time
import warnings
from collections.abc import Callable
from datetime import date

import numpy as np
import torch

from skflow import FlowDensity

CASES = {"small": (6, (64, 64), 256), "medium": (21, (128, 128), 512), "large": (43, (128, 128), 1024)}
DEPTH, BINS, STEPS, DRAWS = 5, 8, 20, 2048


class Skflow:
    """`FlowDensity` without early stopping and with a normal base, as the others have it."""

    def __init__(self, flow: str, d: int, hidden: tuple[int, ...], batch: int):
        bins = {"n_bins": BINS} if flow == "nsf" else {}
        self.density = FlowDensity(
            flow, depth=DEPTH, hidden_layer_sizes=hidden, batch_size=batch, max_iter=1, early_stopping=False,
            base="normal", random_state=0, **bins,
        )  # fmt: skip

    def fit(self, X):
        self.density.fit(X)

    def score(self, X):
        self.density.score_samples(X)

    def sample(self):
        self.density.sample(DRAWS, random_state=0)


class Peer:
    """A module with ``log_prob`` and ``sample``, trained in a plain loop."""

    def __init__(self, module, log_prob: Callable, draw: Callable, batch: int):
        self.log_prob, self.draw, self.batch = log_prob, draw, batch
        self.optimizer = torch.optim.Adam(module.parameters(), 1e-3)

    def fit(self, X):
        for rows in torch.from_numpy(X)[torch.randperm(len(X))].split(self.batch):
            self.optimizer.zero_grad()
            (-self.log_prob(rows).mean()).backward()
            self.optimizer.step()

    def score(self, X):
        with torch.inference_mode():
            for rows in torch.from_numpy(X).split(4096):
                self.log_prob(rows)

    def sample(self):
        with torch.inference_mode():
            self.draw(DRAWS)


def make_zuko(flow, d, hidden, batch):
    import zuko

    kind, bins = (zuko.flows.MAF, {}) if flow == "maf" else (zuko.flows.NSF, {"bins": BINS})
    module = kind(d, 0, transforms=DEPTH, hidden_features=hidden, **bins)
    return Peer(module, lambda x: module().log_prob(x), lambda n: module().sample((n,)), batch)


def make_nflows(flow, d, hidden, batch):
    from nflows import distributions, flows, transforms

    shared = {"hidden_features": hidden[0], "num_blocks": len(hidden), "use_residual_blocks": False}
    links = []
    for _ in range(DEPTH):
        links.append(transforms.ReversePermutation(d))
        if flow == "maf":
            links.append(transforms.MaskedAffineAutoregressiveTransform(d, **shared))
        else:
            spline = transforms.MaskedPiecewiseRationalQuadraticAutoregressiveTransform
            links.append(spline(d, num_bins=BINS, tails="linear", tail_bound=5.0, **shared))
    module = flows.Flow(transforms.CompositeTransform(links), distributions.StandardNormal([d]))
    return Peer(module, module.log_prob, module.sample, batch)


def clock(call: Callable, *args) -> float:
    start = time.perf_counter()
    call(*args)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", default=",".join(CASES))
    parser.add_argument("--flows", default="maf,nsf")
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    print(f"torch {torch.__version__}, {platform.machine()}, {torch.get_num_threads()} threads, {date.today()}")
    for flow in args.flows.split(","):
        for case in args.cases.split(","):
            d, hidden, batch = CASES[case]
            X = np.random.default_rng(0).standard_normal((STEPS * batch, d)).astype(np.float32)
            rivals = {}
            for name, make in (("skflow", Skflow), ("zuko", make_zuko), ("nflows", make_nflows)):
                try:
                    rivals[name] = make(flow, d, hidden, batch)
                except ImportError:
                    continue
                rivals[name].fit(X)
            times = {name: [] for name in rivals}
            for _ in range(args.rounds):
                for name, rival in rivals.items():
                    times[name].append((clock(rival.fit, X), clock(rival.score, X), clock(rival.sample)))
            for name, rounds in times.items():
                fit, score, sample = np.median(rounds, axis=0)
                figures = (
                    f"fit {1e3 * fit / STEPS:7.2f} ms a step  score {len(X) / score:9.0f}  sample {DRAWS / sample:8.0f}"
                )
                print(f"{flow} {case:6s} {name:6s}  {figures} rows/s", flush=True)


if __name__ == "__main__":
    main()
