"""One density, fitted by several processes.

    torchrun --nproc-per-node 2 examples/torchrun_fit.py

Every process draws a shard of its own, as it would read its own files. ``fit`` sees
that torch.distributed has been initialised, and needs no more: the processes average
their gradients and end with the same flow. A checkpoint lets them go on after they were
killed.
"""

import argparse
import hashlib
import os

import numpy as np
import torch

from skflow import FlowDensity

parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
)
parser.add_argument("--rows", type=int, default=150_000, help="of every process")
parser.add_argument("--max-iter", type=int, default=3)
parser.add_argument("--checkpoint", default=None)


def shard(rank: int, n: int) -> np.ndarray:
    """Rows of a two-armed spiral with noise, other ones in every process."""
    rng = np.random.RandomState(rank)
    t = 3 * np.pi * np.sqrt(rng.uniform(size=n))
    arm = np.where(rng.uniform(size=n) < 0.5, 1.0, -1.0)
    spiral = (arm * t)[:, None] * np.stack([np.cos(t), np.sin(t)], 1)
    return spiral + 0.3 * rng.randn(n, 2)


def main() -> None:
    args = parser.parse_args()
    # On GPUs "nccl", and torch.cuda.set_device(int(os.environ["LOCAL_RANK"])) before.
    torch.distributed.init_process_group("gloo")
    rank, size = torch.distributed.get_rank(), torch.distributed.get_world_size()
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // size))
    density = FlowDensity(
        max_iter=args.max_iter,
        random_state=0,
        checkpoint=args.checkpoint,
        verbose=1,  # the first rank draws the bar
    )
    density.fit(shard(rank, args.rows))
    content = b"".join(v.numpy().tobytes() for v in density.flow_.state_dict().values())
    score = density.score(shard(size, 10_000))
    name = hashlib.sha256(content).hexdigest()[:12]
    print(f"rank {rank} of {size}: flow {name}, {score:.4f} nats a new row", flush=True)
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main()
