"""A fit on the workers of a cluster: they form a group of torch.distributed, each with the partitions that it holds."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import numpy as np
import torch
from torch import distributed as group

from ..training.distributed import DistributedFitError
from ..utils.frames import concatenated

if TYPE_CHECKING:
    from distributed import Client, Future

SECONDS_BETWEEN_LOOKS = 1.0  # for a worker that is lost
MINUTES_TO_WAIT = 30  # for the slowest worker, at every step


class WorkerLostError(RuntimeError):
    """A fit has ended because a worker of the cluster is no longer there."""


def fit_on_workers(client: Client, estimator: Any, X: Any, sample_weight: Any) -> Any:
    """Fit an estimator to a collection on the workers that hold its partitions.

    Parameters
    ----------
    client : distributed.Client
    estimator : BaseFlow
        Not fitted; it stays so.
    X, sample_weight : Dask array or DataFrame, Dask array or Series or None
        Of the same partitions.

    Returns
    -------
    BaseFlow
        The fitted one, which is the same on all workers.

    Raises
    ------
    ValueError
        For a partition without rows, or what the fit refuses.
    WorkerLostError
    """
    held = _held_by(client, _partitions(X, sample_weight))
    addresses = list(held)
    host = urlsplit(addresses[0]).hostname
    port = client.submit(_free_port, workers=addresses[:1], pure=False).result() if len(addresses) > 1 else 0
    fits = [
        client.submit(
            _fit, estimator, held[address], rank, len(addresses), host, port,
            workers=[address], allow_other_workers=False, pure=False, retries=0,
        )
        for rank, address in enumerate(addresses)
    ]  # fmt: skip
    try:
        _wait(client, fits, addresses)
        return fits[0].result()
    finally:
        client.cancel(fits)


def _partitions(X, sample_weight):
    """Rows and weights of each partition, delayed."""
    from dask import delayed

    rows = _delayed(X.rechunk({1: -1}) if hasattr(X, "rechunk") else X)
    weights = [None] * len(rows) if sample_weight is None else _delayed(sample_weight)
    if len(weights) != len(rows):
        raise ValueError(
            f"sample_weight has {len(weights)} partitions and X {len(rows)}: give both the same, such as by rechunk or "
            "repartition."
        )
    return [delayed(_pair)(*part) for part in zip(rows, weights)]


def _delayed(collection):
    return np.ravel(collection.to_delayed()).tolist()


def _pair(rows, weight):
    if weight is not None and len(weight) != len(rows):
        raise ValueError(f"A partition of X has {len(rows)} rows, and that of sample_weight {len(weight)}.")
    return rows, weight


def _held_by(client, partitions) -> dict[str, list[Future]]:
    """The partitions that every worker holds, once all have been computed; by the address of the worker."""
    from distributed import wait

    futures = client.compute(partitions)
    wait(futures)
    for k, n in enumerate(client.gather(client.map(_n_rows, futures))):
        if not n:
            raise ValueError(
                f"Partition {k} of X has no rows, and a worker that has no others would have nothing to train on: "
                "leave it out, or spread the rows evenly (repartition of a DataFrame, rechunk of an array)."
            )
    where = client.who_has(futures)
    held: dict[str, list[Future]] = {}
    for future in futures:
        held.setdefault(where[future.key][0], []).append(future)
    return held


def _n_rows(part):
    return len(part[0])


def _free_port():
    with socket.socket() as free:
        free.bind(("", 0))
        return free.getsockname()[1]


def _wait(client, fits, addresses):
    """Until all are done; whatever goes wrong is raised, and where the original error is known, that."""
    from distributed import wait

    done = False
    while not done:
        with contextlib.suppress(TimeoutError):
            wait(fits, timeout=SECONDS_BETWEEN_LOOKS)
            done = True
        there = client.ncores()
        for rank, address in enumerate(addresses):
            if address not in there:
                raise WorkerLostError(
                    f"The worker {address}, rank {rank} of {len(addresses)}, was lost during the fit, which has ended "
                    "on all of them: see its log (memory is the usual reason), and fit again, on smaller partitions or "
                    "on more workers."
                )
    errors = {address: fit.exception() for address, fit in zip(addresses, fits) if fit.status == "error"}
    for address, error in sorted(errors.items(), key=lambda item: isinstance(item[1], DistributedFitError)):
        if isinstance(error, ValueError | TypeError):
            raise type(error)(f"On the worker {address}, which counts the rows that it has: {error}") from error
        raise error


def _fit(estimator, parts, rank, size, host, port):
    """On a worker: join the group and fit; the estimator on the first rank, else None."""
    rows, weights = zip(*parts)
    X = concatenated(rows)
    weight = None if weights[0] is None else concatenated(weights)
    with _joined(rank, size, host, port), _threads():
        fitted = estimator.fit(X, sample_weight=weight)
    return fitted if rank == 0 else None


@contextlib.contextmanager
def _joined(rank, size, host, port) -> Iterator[None]:
    """A block in which the workers are the group of torch.distributed."""
    if size == 1:
        yield
        return
    if group.is_initialized():
        raise RuntimeError(
            "torch.distributed has been initialised on a worker already, by another fit or by a task of yours: one "
            "fit at a time."
        )
    local = host in ("127.0.0.1", "localhost", "::1") and "GLOO_SOCKET_IFNAME" not in os.environ
    if local:
        os.environ["GLOO_SOCKET_IFNAME"] = "lo"  # the name of this machine need not lead to it
    try:
        where = f"tcp://{f'[{host}]' if ':' in host else host}:{port}"
        group.init_process_group("gloo", where, timedelta(minutes=MINUTES_TO_WAIT), rank=rank, world_size=size)
        yield
    finally:
        if group.is_initialized():
            group.destroy_process_group()
        if local:
            del os.environ["GLOO_SOCKET_IFNAME"]


@contextlib.contextmanager
def _threads() -> Iterator[None]:
    """A block with as many threads as the worker has."""
    from distributed import get_worker

    before = torch.get_num_threads()
    torch.set_num_threads(get_worker().state.nthreads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
