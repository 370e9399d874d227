"""What checkpoints cost, and whether a fit that is killed at random moments ends where it would have ended.

    python benchmarks/checkpoint.py [--kills 20]

Prints the size of a checkpoint and the time that it takes, and what share of a fit that is. Then it kills a fit with
SIGKILL, again and again, and compares the scores of those that come to their end, bit for bit, with those of a fit that
nobody has killed.
"""

import argparse
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from datetime import date
from pathlib import Path

import numpy as np
import torch

from skflow import FlowDensity
from skflow.persistence.checkpoints import CheckpointFiles
from skflow.training import hyperparameters as hp
from skflow.training.checkpoint import Journal

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--rows", type=int, default=50_000)
parser.add_argument("--columns", type=int, default=21)
parser.add_argument("--seconds", type=float, default=1.0, help="between checkpoints, where they are counted")
parser.add_argument("--kills", type=int, default=20)
parser.add_argument("--worker", default=None, help=argparse.SUPPRESS)


def timed_fit(path, X, max_iter=3):
    """Seconds of a fit, and of each of its checkpoints as a whole."""
    write, spent = Journal.write, []

    def timed(self):
        start = time.perf_counter()
        write(self)
        spent.append(time.perf_counter() - start)

    Journal.write = timed
    try:
        start = time.perf_counter()
        FlowDensity(max_iter=max_iter, random_state=0, checkpoint=path).fit(X)
        return time.perf_counter() - start, spent
    finally:
        Journal.write = write


def costs(args, folder):
    X = np.random.RandomState(0).standard_t(5, size=(args.rows, args.columns))
    FlowDensity(max_iter=1, random_state=0).fit(X[:2000])  # loads the compiled loops
    default, share = hp.CHECKPOINT_SECONDS, hp.CHECKPOINT_SHARE
    hp.CHECKPOINT_SECONDS, hp.CHECKPOINT_SHARE = args.seconds, 1.0
    sizes, write = [], CheckpointFiles.write

    def sized(self, checkpoint):
        write(self, checkpoint)
        sizes.append(self.path.stat().st_size)

    CheckpointFiles.write = sized
    seconds, spent = timed_fit(folder / "fit.checkpoint", X)
    CheckpointFiles.write = write
    hp.CHECKPOINT_SECONDS, hp.CHECKPOINT_SHARE = default, share
    mean = float(np.mean(spent))
    print(f"{len(spent)} checkpoints in a fit of {seconds:.1f} s, of {np.mean(sizes) / 1e6:.1f} MB each")
    print(f"a checkpoint takes {1e3 * mean:.1f} ms, the slowest of them {1e3 * max(spent):.1f} ms")
    print(f"every {args.seconds:g} s they take {100 * sum(spent) / seconds:.2f} % of the fit")
    interval = max(default, mean / share)
    print(f"every {interval:g} s, as by default, {100 * mean / interval:.3f} % (the bar is 2 %)")


def work(path):
    """A fit that writes a checkpoint fifty times a second; prints a hash of its scores."""
    torch.set_num_threads(1)
    hp.CHECKPOINT_SECONDS, hp.CHECKPOINT_SHARE = 0.02, 1.0
    X = np.random.RandomState(0).standard_t(5, size=(1000, 3))
    print("ready", flush=True)
    density = FlowDensity(depth=1, max_iter=100, random_state=0, checkpoint=path or None).fit(X)
    print(density.score_samples(X).tobytes().hex())


def run(path, seconds=None):
    """What a worker prints, and how long its fit takes; None where it was killed after so many seconds."""
    command = [sys.executable, __file__, "--worker", str(path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    process.stdout.readline()
    start = time.perf_counter()
    if seconds is not None:
        time.sleep(seconds)
        process.send_signal(signal.SIGKILL)
    return process.communicate()[0] or None, time.perf_counter() - start


def kills(args, folder):
    path, rng, killed, answers = folder / "killed.checkpoint", np.random.RandomState(0), 0, []
    expected, seconds = run("")
    while killed < args.kills:
        found, _ = run(path, rng.uniform(0, 0.7) * seconds)
        killed += found is None
        answers += [] if found is None else [found]
    answers.append(run(path)[0])
    equal = sum(answer == expected for answer in answers)
    print(
        f"killed at {killed} random moments; of {len(answers)} fits that ended, {equal} have the scores of one unkilled"
    )


def main():
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    if args.worker is not None:
        return work(args.worker)
    versions = f"Python {platform.python_version()}, torch {torch.__version__}, {os.cpu_count()} cores"
    print(f"{date.today()}, {platform.machine()}, {versions}; {args.rows:,d} rows of {args.columns} columns")
    folder = Path(tempfile.mkdtemp())
    costs(args, folder)
    kills(args, folder)


if __name__ == "__main__":
    main()
