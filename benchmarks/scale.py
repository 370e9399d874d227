"""A table longer than memory: fitted and scored from Parquet, beside the same table in memory; and by Dask.

    python benchmarks/scale.py [--rows 20000000] [--columns 10] [--folder DIR] [--parts stream,memory,one,dask]

Every part runs in a process of its own. ``stream`` fits to a Parquet file in one pass and writes the scores of all its
rows to another; ``memory`` does the same with an array. Peaks are over what the process has once skflow is imported.
``dask`` scores half of the rows by two worker processes of one thread each, ``one`` by one process of one thread; both
use the density of ``stream``, and their peaks are over what a process has after a first call.

Every column is normal by itself, so that there is one start and every step is a step of the pass; together they are
not.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from datetime import date
from pathlib import Path

import numpy as np

ROWS_AT_A_TIME = 250_000
MIB = 1024


def rows(n: int, d: int, seed: int) -> np.ndarray:
    """Each column correlated with the one before, with the sign of the one before that."""
    x = np.random.default_rng(seed).standard_normal((n, d))
    for j in range(1, d):
        sign = np.sign(x[:, j - 2]) if j > 1 else 1.0
        x[:, j] = 0.8 * sign * x[:, j - 1] + 0.6 * x[:, j]
    return x


def write_table(path: Path, n: int, d: int) -> None:
    """The table of the benchmark in row groups of a quarter of a million rows."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema([(f"x{j}", pa.float64()) for j in range(d)])
    with pq.ParquetWriter(path, schema) as writer:
        for k, first in enumerate(range(0, n, ROWS_AT_A_TIME)):
            x = rows(min(ROWS_AT_A_TIME, n - first), d, k)
            writer.write_table(pa.table(dict(zip(schema.names, x.T)), schema=schema))


def read_table(path: Path, n: int) -> np.ndarray:
    """The first ``n`` rows, into one array."""
    import pyarrow.parquet as pq

    file = pq.ParquetFile(path)
    x, first = np.empty((n, len(file.schema.names))), 0
    for batch in file.iter_batches(65_536):
        part = np.stack([column.to_numpy() for column in batch.columns], 1)[: n - first]
        x[first : first + len(part)] = part
        first += len(part)
    return x


def peak() -> float:
    """Most memory that the process has had so far, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / MIB


def make_density():
    """One pass over all rows."""
    from skflow import FlowDensity

    return FlowDensity(max_iter=1, random_state=0)


def timed(call: Callable[[], object]) -> tuple[float, float]:
    """Seconds by the clock, and of all threads of the process."""
    start, before = time.perf_counter(), os.times()
    call()
    after = os.times()
    return time.perf_counter() - start, after.user + after.system - before.user - before.system


def measured(n: int, before: float, fit: Callable, score: Callable) -> dict:
    """Rows a second by the clock and a second of the processors, and the memory that it took."""
    fitted = timed(fit)
    after_fit, scored = peak(), timed(score)
    rates = {"fit": n / fitted[0], "per CPU s": n / fitted[1], "score": n / scored[0], "score per CPU s": n / scored[1]}
    return rates | {"fit MiB": after_fit - before, "MiB": peak() - before}


def stream(path: Path, n: int) -> dict:
    """Fit and score from file to file."""
    import pyarrow.dataset  # noqa: F401

    import skflow

    density, out = make_density(), path.with_name("scores.parquet")
    result = measured(n, peak(), lambda: density.fit(path), lambda: skflow.write_parquet(density, path, out))
    density.save(path.with_name("density.safetensors"))
    return result | held_out(density)


def memory(path: Path, n: int) -> dict:
    """Fit and score an array."""
    density, before = make_density(), peak()
    X = read_table(path, n)
    return measured(n, before, lambda: density.fit(X), lambda: density.score_samples(X)) | held_out(density)


def held_out(density) -> dict:
    """Nats a row on rows of another seed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # an array has no names of columns
        return {"nats": density.score(rows(100_000, density.n_features_in_, 10**6))}


def scored_by_dask(density, path: Path, n: int, **compute) -> float:
    """Rows a second of scoring the first ``n`` rows of the file, of which nothing but a sum comes back."""
    import dask.dataframe as dd

    frame = dd.read_parquet(path, split_row_groups=1).partitions[: -(-n // ROWS_AT_A_TIME)]
    seconds, _ = timed(lambda: density.score_samples(frame).sum().compute(**compute))
    return min(n, ROWS_AT_A_TIME * frame.npartitions) / seconds


def one(path: Path, n: int) -> dict:
    """Score half of the rows by Dask in this process, with one thread."""
    import skflow

    density = skflow.load(path.with_name("density.safetensors"))
    scored_by_dask(density, path, 1, scheduler="synchronous")  # what is compiled is compiled
    before = peak()
    return {"score": scored_by_dask(density, path, n // 2, scheduler="synchronous"), "MiB": peak() - before}


def dask(path: Path, n: int) -> dict:
    """The same by two worker processes of one thread each; the memory is that of the larger one."""
    from distributed import Client, LocalCluster

    import skflow

    density = skflow.load(path.with_name("density.safetensors"))
    options = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": ":0", "memory_limit": None}
    with LocalCluster(**options) as cluster, Client(cluster) as client:
        scored_by_dask(density, path, 4 * ROWS_AT_A_TIME)  # both workers have compiled
        before = client.run(peak)
        rate = scored_by_dask(density, path, n // 2)
        return {"score": rate, "MiB": max(after - before[worker] for worker, after in client.run(peak).items())}


PARTS = {"stream": stream, "memory": memory, "one": one, "dask": dask}


def main() -> None:
    """Make the table, run every part in a process of its own, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=20_000_000)
    parser.add_argument("--columns", type=int, default=10)
    parser.add_argument("--folder", type=Path, help="where the table is written; by default a temporary folder")
    parser.add_argument("--parts", default=",".join(PARTS))
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(PARTS[options.one](options.folder / "table.parquet", options.rows)))
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        write_table(folder / "table.parquet", options.rows, options.columns)
        import torch

        threads = os.environ.get("OMP_NUM_THREADS", "default")
        print(f"{options.rows:,} rows x {options.columns} columns, {date.today()}, {platform.machine()}, ", end="")
        print(f"{os.cpu_count()} cores, OMP_NUM_THREADS {threads}, torch {torch.__version__}")
        for part in options.parts.split(","):
            command = [sys.executable, __file__, "--one", part, "--folder", str(folder), "--rows", str(options.rows)]
            environment = os.environ | ({"OMP_NUM_THREADS": "1"} if part in ("one", "dask") else {})
            done = subprocess.run(command, capture_output=True, text=True, env=environment)
            if done.returncode:
                sys.exit(done.stderr)
            values = json.loads(done.stdout.splitlines()[-1])
            shown = (f"{name} {value:,.{3 * (name == 'nats')}f}" for name, value in values.items())
            print(part.ljust(8), *shown, sep="  ", flush=True)


if __name__ == "__main__":
    main()
