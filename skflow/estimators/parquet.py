"""What an estimator says of the rows of a table, or draws, written to Parquet chunk by chunk."""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from numbers import Integral
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from ..persistence.atomic import new_file
from ..training.progress_bar import RowBar
from ..utils.chunks import ROWS_AT_A_TIME, Chunks, ChunksInTurn, RowsInChunks, as_chunks
from ..utils.frame_columns import arrow_table, select_columns
from ..utils.frames import column_names, is_frame
from ..utils.parallel_map import parallel_map
from .validation import check_n_samples

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq


def write_parquet(
    estimator: Any,
    X: Any,
    path: str | os.PathLike,
    method: str = "score_samples",
    *,
    y: str | Sequence[str] | None = None,
    keep: Sequence[str] = (),
    random_state: int | np.random.RandomState | None = None,
    verbose: int = 0,
) -> None:
    """Write what a method of an estimator says of every row to a Parquet file, chunk by chunk.

    As many chunks are at work at a time as torch has threads, and no more than two others are in memory. The file
    stands at ``path`` once it is complete.

    Parameters
    ----------
    estimator : estimator
        Fitted.
    X : stream, table or int
        A table, a stream such as `FlowDensity.fit` takes, or a generator of chunks; for "sample" the number of rows to
        draw.
    path : path-like
        What stands there is replaced.
    method : str, default="score_samples"
        Such as "score_samples", "transform", "predict", "p_values" or "sample". What gives one number a row makes a
        column of the method's name (of "score_samples" in nats); several columns have the names that the estimator
        gives them, or the method's with a number.
    y : str or list of str, optional
        The columns of ``X`` that hold the targets, for a method that takes targets.
    keep : list of str, default=()
        Columns of ``X`` that are none of the estimator's, such as one that numbers the rows: they are written first.
    random_state : int, RandomState instance or None, default=None
        For "sample", and other methods that draw.
    verbose : int, default=0
        Whether to show the progress.

    Raises
    ------
    ValueError, TypeError
        For rows that the estimator refuses, with where they are from.
    FileNotFoundError
        Where no file matches a path.

    Examples
    --------
    >>> import os, tempfile
    >>> import numpy as np
    >>> from skflow import FlowDensity, write_parquet
    >>> density = FlowDensity(max_iter=2, random_state=0).fit(np.random.RandomState(0).randn(100, 2))
    >>> folder = tempfile.mkdtemp()
    >>> draws, scores = os.path.join(folder, "draws.parquet"), os.path.join(folder, "scores.parquet")
    >>> write_parquet(density, 1000, draws, method="sample", random_state=0)
    >>> write_parquet(density, draws, scores)
    >>> import pyarrow.parquet
    >>> pyarrow.parquet.read_table(scores).column_names
    ['score_samples']
    """
    try:
        import pyarrow.parquet  # noqa: F401
    except ImportError as error:
        raise ImportError("write_parquet takes pyarrow: pip install pyarrow.") from error
    check_is_fitted(estimator)
    if not callable(getattr(estimator, method, None)):
        raise ValueError(f"method is {method!r}, but {type(estimator).__name__} has no method of that name.")
    rng = check_random_state(np.random.RandomState() if random_state is None else random_state)
    if isinstance(X, Integral):
        if method != "sample":
            raise TypeError(f"X is the number {X}, but {method!r} needs rows: pass a table or a stream of them.")
        n_rows, items, answer = X, _numbers_of_draws(check_n_samples(X)), functools.partial(_draws, estimator, method)
    else:
        chunks, targets = _chunks(X), [y] if isinstance(y, str) else list(y or ())
        n_rows, items = chunks.n_rows, chunks.read()
        answer = functools.partial(_answers, estimator, method, targets, isinstance(y, str), list(keep))
    seeded = ((rng.randint(np.iinfo(np.int32).max), item) for item in items)
    bar, n, writer = RowBar(n_rows) if verbose else None, 0, None
    with new_file(path) as file, closing(parallel_map(answer, seeded)) as tables, ExitStack() as stack:
        for table in tables:
            writer = writer or stack.enter_context(_writer(file, table.schema))
            writer.write_table(table.cast(writer.schema))
            n += len(table)
            if bar:
                bar.update(n)
        if writer is None:
            raise ValueError("X gave no rows: there is nothing to write.")
    if bar:
        bar.close(n)


def _writer(file, schema) -> pq.ParquetWriter:
    """One that looks for repeated values where there may be some: to look among scores takes long."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    repeated = [field.name for field in schema if not pa.types.is_floating(field.type)]
    return pq.ParquetWriter(file, schema, use_dictionary=repeated)


def _chunks(X) -> Chunks:
    chunks = as_chunks(X)
    if chunks is not None:
        return chunks
    return ChunksInTurn(X) if isinstance(X, Iterator) else RowsInChunks(X if is_frame(X) else np.asarray(X))


def _numbers_of_draws(n) -> Iterator[int]:
    for first in range(0, n, ROWS_AT_A_TIME):
        yield min(ROWS_AT_A_TIME, n - first)


def _draws(estimator, method, seeded) -> pa.Table:
    seed, n = seeded
    return _table(estimator, method, estimator.sample(n, random_state=seed))


def _answers(estimator, method, targets, single, keep, seeded) -> pa.Table:
    seed, (first, origin, chunk) = seeded
    rest = chunk
    if targets or keep:
        names = _checked_names(chunk, [*targets, *keep], origin)
        rest = select_columns(chunk, [name for name in names if name not in {*targets, *keep}])
    # Rows that were drawn by an estimator without names have got some in the file.
    given = [rest if hasattr(estimator, "feature_names_in_") else np.asarray(rest)]
    if targets:
        y = np.asarray(select_columns(chunk, targets), dtype=float)
        given.append(y[:, 0] if single else y)
    call = getattr(estimator, method)
    more = {"random_state": seed} if "random_state" in inspect.signature(call).parameters else {}
    try:
        table = _table(estimator, method, call(*given, **more))
    except (ValueError, TypeError) as error:
        rows = f"{origin}, rows {first} to {first + len(chunk) - 1} of X"
        raise type(error)(f"In {rows}, counted from the first of these: {error}") from error
    kept = arrow_table(select_columns(chunk, keep)) if keep else None
    for place, name in enumerate(keep):
        table = table.add_column(place, name, kept[name])
    return table


def _checked_names(chunk, wanted, origin):
    names = column_names(chunk) or []
    for name in wanted:
        if name not in names:
            raise ValueError(
                f"{origin} has no column {name!r}; it has {', '.join(map(repr, names[:8])) or 'no names'}."
            )
    return names


def _table(estimator, method, result) -> pa.Table:
    import pyarrow as pa

    if is_frame(result):
        return arrow_table(result)
    result = np.asarray(result)
    result = result.reshape(len(result), -1)
    return pa.table(dict(zip(_result_names(estimator, method, result.shape[1]), result.T)))


def _result_names(estimator, method, k):
    if method == "transform":
        return list(map(str, estimator.get_feature_names_out()))
    if method in ("sample", "impute", "inverse_transform") and k == estimator.n_features_in_:
        names = getattr(estimator, "feature_names_in_", [f"x{j}" for j in range(k)])  # as scikit-learn calls columns
        return list(map(str, names))
    return [method] if k == 1 else [f"{method}_{j}" for j in range(k)]
