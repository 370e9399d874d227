"""Several processes, one fit: what two ranks bring on this machine, and what a model makes of more of them.

    python benchmarks/processes.py [--rounds 3]

Prints seconds a pass of one rank and of two, one thread each, for a batch of 2,048 rows of 21 columns, and the
validation scores that both end with. From the measured parts of a step it then says what more processes would do with a
table of a billion rows. Run it on an idle machine of two cores.

The model. A step of P processes takes as long as the slowest of them takes for its share of the batch, and then the sum
of the gradient: in a ring every process sends 2 (P - 1) / P times its bytes, in 2 (P - 1) messages one after the other.
What a step costs, and what a row, are measured with batches of several sizes. ``--latency`` and ``--bandwidth`` are
those of the network, and assumed. Stragglers are simulated: the time of every process varies from step to step by a
gamma distribution with ``--spread``, and all wait for the latest.
"""

import argparse
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from datetime import date, timedelta

import numpy as np
import torch

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--rows", type=int, default=100_000)
parser.add_argument("--columns", type=int, default=21)
parser.add_argument("--batch", type=int, default=2048)
parser.add_argument("--passes", type=int, default=3)
parser.add_argument("--rounds", type=int, default=3)
parser.add_argument("--latency", type=float, default=50e-6, help="of a message between machines, in seconds")
parser.add_argument("--bandwidth", type=float, default=1.25e9, help="of a link, in bytes a second (10 Gbit/s)")
parser.add_argument("--spread", type=float, default=0.1, help="of the time of a step, as a share of its mean")
parser.add_argument("--worker", nargs=3, help=argparse.SUPPRESS)


def table(n, d):
    """Rows on a bent surface with heavy tails: something to learn for many passes."""
    rng = np.random.RandomState(0)
    X = rng.standard_t(5, size=(n, d)) @ rng.randn(d, d)
    X[:, 1:] += 0.3 * np.abs(X[:, :-1])
    return X


def work(args):
    """Of one rank: seconds a pass of `FlowDensity.fit`, the validation score and the number of parameters."""
    import skflow

    rank, size, file = args.worker
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    if int(size) > 1:
        where = {"rank": int(rank), "world_size": int(size), "timeout": timedelta(minutes=10)}
        torch.distributed.init_process_group("gloo", f"file://{file}", **where)
    ends = []
    density = Timed(
        skflow.FlowDensity, ends, base="normal", batch_size=args.batch, max_iter=args.passes + 1, random_state=0
    )
    density.fit(table(args.rows, args.columns))
    seconds = np.median(np.diff(ends, axis=0), axis=0)  # the first pass loads the compiled loops
    print(*seconds, density.validation_scores_[-1], density.flow_.n_parameters())
    if int(size) > 1:
        torch.distributed.destroy_process_group()


def Timed(cls, ends, **params):
    """An estimator that notes when a pass ends."""

    class Noted(cls):
        def _followed(self, train, follow):
            def noted(on_iteration):
                return train(lambda fit: ends.append((time.perf_counter(), time.process_time())) or on_iteration(fit))

            return super()._followed(noted, follow)

    Noted.__name__ = cls.__name__
    return Noted(**params)


def run(size, options):
    """Seconds a pass by the clock and of the processor, validation score, number of parameters, of so many ranks."""
    file = os.path.join(tempfile.mkdtemp(), "rendezvous")
    command = [sys.executable, __file__, *options]
    env = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    ranks = [
        subprocess.Popen([*command, "--worker", str(r), str(size), file], stdout=subprocess.PIPE, text=True, env=env)
        for r in range(size)
    ]
    answers = [rank.communicate()[0].split() for rank in ranks]
    if any(rank.returncode for rank in ranks):
        raise SystemExit("a rank has failed: see above")
    return [float(v) for v in answers[0]]


def step_times(n_rows, d, repeats=30):
    """Processor time of the steps of one rank with so many rows of a long table, and the bytes that ranks add up."""
    from skflow import FlowDensity
    from skflow.engine import Pace
    from skflow.flows import Flow, StandardNormal, build_flow
    from skflow.training.data import TableSource
    from skflow.training.hyperparameters import Plan, resolve_flow
    from skflow.training.trainer import Trainer

    torch.manual_seed(0)
    flow = Flow(build_flow("nsf", d, 0, resolve_flow(FlowDensity(), 10**9)), StandardNormal(d)).float()
    source = TableSource(torch.randn(n_rows * (repeats + 3), d))
    plan = Plan(1, n_rows, None, 1, 1e-3, 1e-4, 10, 0.0)
    trainer = Trainer(flow, source, None, plan, torch.Generator().manual_seed(0))
    seconds, pace = [], Pace()
    for n in range(repeats + 3):
        start = time.process_time()
        trainer.one_pass(n + 1, pace)
        seconds.append(time.process_time() - start)
    return np.array(seconds[3:]), trainer.params.message.nbytes


def model(args):
    """What more processes would do, each on a core of a machine of its own network."""
    torch.set_num_threads(1)
    sizes = [2, 8, 32, 128, 512, 2048]
    measured = [step_times(n, args.columns) for n in sizes]
    n_bytes = measured[0][1]
    medians = [float(np.median(seconds)) for seconds, _ in measured]
    by_row, by_step = np.polyfit(sizes, medians, 1, w=1 / np.array(medians))
    print(f"\nprocessor time of one core: a step takes {1e3 * by_step:.2f} ms and {1e6 * by_row:.2f} us a row")
    for n, seconds in zip(sizes, medians):
        print(f"  {n:5d} rows  {1e3 * seconds:8.2f} ms   {n / seconds:9.0f} rows a second")
    seen = 100 * np.std(measured[3][0]) / np.mean(measured[3][0])
    print(f"  {n_bytes:,d} bytes are added up a step; steps of 128 rows varied by {seen:.0f} % of their mean")
    print(
        f"assumed: messages of {1e6 * args.latency:.0f} us, links of {args.bandwidth / 1e9:.2f} GB a second, "
        f"steps that vary by {100 * args.spread:.0f} %"
    )
    rng, n_rows, shape = np.random.RandomState(0), 1_000_000_000, 1 / args.spread**2
    for title, batch_of in (
        (f"a batch of {args.batch} rows, shared by all", lambda p: args.batch),
        (f"a batch of {args.batch} rows for every process", lambda p: p * args.batch),
    ):
        print(f"\n1 G rows, one pass; {title}")
        print("processes   rows a step     compute    all-reduce     waiting     hours    speed-up   efficiency")
        alone = None
        for p in (1, 2, 8, 64, 512):
            batch = batch_of(p)
            own = by_step + by_row * batch / p
            reduce = 2 * (p - 1) * args.latency + 2 * (p - 1) / p * n_bytes / args.bandwidth
            waiting = float(np.mean(rng.gamma(shape, own / shape, size=(2000, p)).max(1))) - own if p > 1 else 0.0
            seconds = n_rows / batch * (own + reduce + waiting)
            alone = alone or seconds
            parts = "".join(f"{1e3 * v:10.2f} ms" for v in (own, reduce, waiting))
            print(
                f"{p:9d} {batch:13,d} {parts}{seconds / 3600:10.2f}{alone / seconds:11.1f}x"
                f"{100 * alone / seconds / p:11.0f} %"
            )


def main():
    args, options = parser.parse_args(), sys.argv[1:]
    if args.worker:
        return work(args)
    versions = f"Python {platform.python_version()}, torch {torch.__version__}, {os.cpu_count()} cores"
    print(f"{date.today()}, {platform.machine()}, {versions}")
    print(f"{args.rows:,d} rows of {args.columns} columns, batch {args.batch}, one thread a rank")
    rounds = [(run(1, options), run(2, options)) for _ in range(args.rounds)]  # by turns: a machine's speed varies
    for k, what in enumerate(("by the clock", "of the processor")):
        one, two = (statistics.median(pair[i][k] for pair in rounds) for i in (0, 1))
        ratio = statistics.median(a[k] / b[k] for a, b in rounds)
        print(f"a pass {what}: one rank {one:.2f} s, each of two ranks {two:.2f} s, {ratio:.2f}x")
    print("the bar is 1.8x by the clock, of a machine that does nothing else")
    print(f"validation score {rounds[0][0][2]:.4f} nats with one, {rounds[0][1][2]:.4f} nats with two")
    print(f"{int(rounds[0][0][3]):,d} parameters")
    model(args)


if __name__ == "__main__":
    main()
