"""Speed beside zuko and nflows, where they are installed: a training step, scoring and sampling at one architecture.

    python benchmarks/speed.py [--cases small,medium,large] [--flows maf,nsf] [--rounds 3]
    python benchmarks/speed.py --scaling docs/_static/scaling.svg
    python benchmarks/speed.py --busy

The flow has the same layers, hidden sizes, bins, batch and optimiser everywhere. ``fit`` is milliseconds a step with
all that a call of ``fit`` does, over twenty steps; the others train in a plain loop over one tensor. ``score`` and
``sample`` are rows a second. Medians over interleaved rounds: machines are noisy, so read the ratios.

``--scaling`` times them along rows, columns and depth, prints the exponents of the growth and draws the curves.
``--busy`` times 200 steps of the large maf beside processes that never rest.
"""

from __future__ import annotations

import argparse
import platform
import subprocess
import sys
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

    def __init__(self, flow: str, d: int, hidden: tuple[int, ...], batch: int, depth: int = DEPTH):
        bins = {"n_bins": BINS} if flow == "nsf" else {}
        self.density = FlowDensity(
            flow, depth=depth, hidden_layer_sizes=hidden, batch_size=batch, max_iter=1, early_stopping=False,
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


def make_zuko(flow, d, hidden, batch, depth=DEPTH):
    import zuko

    kind, bins = (zuko.flows.MAF, {}) if flow == "maf" else (zuko.flows.NSF, {"bins": BINS})
    module = kind(d, 0, transforms=depth, hidden_features=hidden, **bins)
    return Peer(module, lambda x: module().log_prob(x), lambda n: module().sample((n,)), batch)


def make_nflows(flow, d, hidden, batch, depth=DEPTH):
    from nflows import distributions, flows, transforms

    shared = {"hidden_features": hidden[0], "num_blocks": len(hidden), "use_residual_blocks": False}
    links = []
    for _ in range(depth):
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


MAKERS = {"skflow": Skflow, "zuko": make_zuko, "nflows": make_nflows}


def rivals(flow: str, X: np.ndarray, hidden: tuple[int, ...], batch: int, depth: int = DEPTH) -> dict:
    """The flow in every library that is installed, fitted once so that nothing is timed for the first time."""
    out = {}
    for name, make in MAKERS.items():
        try:
            out[name] = make(flow, X.shape[1], hidden, batch, depth)
        except ImportError:
            continue
        out[name].fit(X[: STEPS * batch])
    return out


# What grows: axis -> (values, rows and columns and depth at a value)
AXES = {
    "rows": ((2_000, 8_000, 32_000, 128_000), lambda v: (v, 10, DEPTH)),
    "columns": ((4, 8, 16, 32, 64), lambda v: (5_120, v, DEPTH)),
    "depth": ((1, 2, 4, 8), lambda v: (5_120, 10, v)),
}
JOBS = {
    "fit": lambda rival, X: rival.fit(X),
    "score": lambda rival, X: rival.score(X),
    "sample": lambda rival, X: rival.sample(),
}


def scaling(path: str, rounds: int) -> None:
    """Seconds of a pass over the rows, of scoring them and of drawing 2,048 rows, along every axis, for ``nsf``."""
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(len(JOBS), len(AXES), figsize=(10, 8), sharey="row", layout="constrained")
    for column, (axis, (values, at)) in enumerate(AXES.items()):
        seconds = {}
        for value in values:
            n, d, depth = at(value)
            X = np.random.default_rng(0).standard_normal((n, d)).astype(np.float32)
            for name, rival in rivals("nsf", X, (64, 64), 256, depth).items():
                for job, call in JOBS.items():
                    times = [clock(call, rival, X) for _ in range(rounds)]
                    seconds.setdefault((job, name), []).append(np.median(times))
        for row, job in enumerate(JOBS):
            panel = panels[row, column]
            for name in MAKERS:
                if (job, name) not in seconds:
                    continue
                curve = seconds[job, name]
                exponent = np.polyfit(np.log(values[-3:]), np.log(curve[-3:]), 1)[0]
                print(f"{axis:8s} {job:7s} {name:7s} seconds {np.round(curve, 4)}  exponent {exponent:.2f}", flush=True)
                panel.loglog(values, curve, "o-", label=name)
            panel.set_title(f"{job}, s")
            panel.set_xlabel(axis)
            panel.set_xticks(values, [f"{value:,}" for value in values])
            panel.minorticks_off()
    panels[0, 0].legend()
    figure.savefig(path)


def busy(rounds: int) -> None:
    """A fit beside no, one and two processes that never rest, with torch's threads as they are and with one."""
    d, hidden, batch = CASES["large"]
    X = np.random.default_rng(0).standard_normal((STEPS * batch, d)).astype(np.float32)
    rival, n_threads = Skflow("maf", d, hidden, batch), torch.get_num_threads()
    rival.density.set_params(max_iter=10)
    rival.fit(X)
    for threads in (n_threads, 1):
        torch.set_num_threads(threads)
        for n in range(3):
            others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(n)]
            try:
                seconds = np.median([clock(rival.fit, X) for _ in range(rounds)])
            finally:
                for other in others:
                    other.kill()
            print(f"torch.set_num_threads({threads})  {n} busy  fit {seconds:5.1f} s", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", default=",".join(CASES))
    parser.add_argument("--flows", default="maf,nsf")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--scaling", metavar="PICTURE", help="time along rows, columns and depth, and draw it")
    parser.add_argument("--busy", action="store_true", help="time a fit beside processes that never rest")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    print(f"torch {torch.__version__}, {platform.machine()}, {torch.get_num_threads()} threads, {date.today()}")
    if args.scaling:
        return scaling(args.scaling, args.rounds)
    if args.busy:
        return busy(args.rounds)
    for flow in args.flows.split(","):
        for case in args.cases.split(","):
            d, hidden, batch = CASES[case]
            X = np.random.default_rng(0).standard_normal((STEPS * batch, d)).astype(np.float32)
            present = rivals(flow, X, hidden, batch)
            times = {name: [] for name in present}
            for _ in range(args.rounds):
                for name, rival in present.items():
                    times[name].append((clock(rival.fit, X), clock(rival.score, X), clock(rival.sample)))
            for name, rounds in times.items():
                fit, score, sample = np.median(rounds, axis=0)
                figures = (
                    f"fit {1e3 * fit / STEPS:7.2f} ms a step  score {len(X) / score:9.0f}  sample {DRAWS / sample:8.0f}"
                )
                print(f"{flow} {case:6s} {name:6s}  {figures} rows/s", flush=True)


if __name__ == "__main__":
    main()
