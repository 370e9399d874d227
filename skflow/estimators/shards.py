"""What the processes of a fit make of their tables: one and the same table, or a sample of it and their own rows."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from ..training import distributed
from ..training import hyperparameters as hp
from ..training.shards import Rows, ShardFitting, number_rows
from ..utils.fingerprint import fingerprint
from ..utils.frames import column_names, concatenated, some_rows
from .validation import check_bounds, check_groups, check_table, check_weights


def data_parallel(fit: Callable) -> Callable:
    """Decorate a ``fit``: where ``torch.distributed`` has been initialised, all its processes fit together."""

    @functools.wraps(fit)
    def together(self, *args, **kwargs):
        group = distributed.world()
        if group.alone or not distributed.current().alone:  # a fit within a fit goes along
            return fit(self, *args, **kwargs)
        with self._keep_previous_fit(), distributed.together(group):
            return fit(self, *args, **kwargs)

    return together


def gathered(X: Any, *others: Any, apart: bool = False) -> tuple[Any, ...]:
    """What a fit is given, of all processes: as it is where all have the same, else one after the other, by rank.

    Parameters
    ----------
    X : array-like or frame
    others : array-like or None
        What else there is of every row.
    apart : bool, default=False
        Whether the fit needs no more than a sample of the rows of other processes.

    Returns
    -------
    X, *others
        Of all rows, or of a sample of `hp.SAMPLE_ROWS` where ``apart`` is true on all processes and there are more.
    places : ndarray of int or None
        Of a sample, which rows of this process are in it; else None.

    Raises
    ------
    ValueError
        Where the tables have different columns.
    """
    group = distributed.current()
    if group.alone:
        return X, *others, None
    names, width = column_names(X), np.shape(X)[1:]
    mine = fingerprint(X, *others), (type(X), names, width), [v is not None for v in others], np.shape(X)[:1], apart
    all_of = list(zip(*group.gather(mine)))
    if len(set(all_of[0])) == 1 or not all(all_of[3]):
        return X, *others, None
    for rank, (kind, given) in enumerate(zip(*all_of[1:3])):
        if kind != all_of[1][0]:
            raise ValueError(
                f"The shards of X differ: rank {rank} has a {_described(kind)}, rank 0 a {_described(all_of[1][0])}. "
                "Give all processes the same columns, in the same order."
            )
        if given != all_of[2][0]:
            raise ValueError(
                f"y, sample_weight and groups must be given on all processes or on none; on rank {rank} others are "
                "None than on rank 0."
            )
    n_rows = [n for (n,) in all_of[3]]
    places = None
    if all(all_of[4]) and sum(n_rows) > hp.SAMPLE_ROWS:
        rank = group.part.rank
        size = max(1, round(hp.SAMPLE_ROWS * n_rows[rank] / sum(n_rows)))
        places = np.sort(np.random.RandomState(rank).choice(n_rows[rank], min(size, n_rows[rank]), replace=False))
    some = [v if places is None or v is None or not np.ndim(v) else some_rows(v, places) for v in (X, *others)]
    parts = zip(*group.gather(some))
    return *(v[0] if v[0] is None or not np.ndim(v[0]) else concatenated(v) for v in parts), places


def _described(kind):
    cls, names, width = kind
    shown = f"columns {names}" if names is not None and len(names) <= 20 else f"{', '.join(map(str, width))} columns"
    return f"{cls.__name__} of {shown}"


def shard_fitting(
    estimator, X: Any, sample_weight: Any, groups: Any, places: np.ndarray, sample: np.ndarray
) -> Callable[..., ShardFitting]:
    """What fits a flow to the rows of all processes, given the rows of this one and a sample of all.

    Parameters
    ----------
    estimator : BaseFlow
        Which has been shown the columns of the sample.
    X, sample_weight, groups
        As the user gave them to this process.
    places : ndarray of int
        Which rows of ``X`` are in the sample.
    sample : ndarray of shape (m, d)
    """
    processes = distributed.current()
    rank = processes.part.rank
    X = check_table(estimator, X, reset=False)
    check_bounds(estimator, X)
    weight, groups = check_weights(sample_weight, X), check_groups(groups, X)
    groups = None if groups is None else number_rows(int(groups.max()) + 1, rank)[groups]
    if sample_weight is not None:  # in the units that all processes share
        weight = np.broadcast_to(np.asarray(sample_weight, dtype=float), (len(X),))
    rows = Rows(X, number_rows(len(X), rank), weight, groups)
    sampled = rows.some(places)
    number, group = (
        None if v is None else np.concatenate(processes.gather(v)) for v in (sampled.number, sampled.group)
    )
    if weight is not None:
        rows = rows.some(np.flatnonzero(weight > 0))
    (n_rows,) = processes.sum(len(rows.X))
    sampled = Rows(sample, number, None, group)
    return functools.partial(ShardFitting, shard=rows, sample=sampled, n_rows=int(n_rows))
