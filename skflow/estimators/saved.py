"""Estimators that outlive the process: their own files, pickles that know their version, and skops."""

from __future__ import annotations

import copyreg
import os
import warnings

import numpy as np
from sklearn.exceptions import InconsistentVersionWarning

from ..persistence import files
from ..persistence.attributes import (
    columns_of,
    dict_of,
    instance_of,
    is_bool,
    is_count,
    is_flow,
    is_number,
    is_optimizer_state,
    is_text,
    list_of,
    optional,
)
from ..persistence.errors import FileFormatError
from ..persistence.values import PLAIN, Plain
from ..training.reservoir import Stream
from ..training.soap import state_lengths
from ..utils.version import __version__

FITTED = {
    "flow_": is_flow,
    "depth_": is_count,
    "hidden_layer_sizes_": list_of(is_count),
    "n_bins_": is_count,
    "batch_size_": is_count,
    "n_iter_": is_count,
    "n_features_in_": is_count,
    "loss_curve_": list_of(is_number),
    "validation_scores_": optional(list_of(is_number)),
    "best_validation_score_": optional(is_number),
    "_optimizer_state": optional(is_optimizer_state),
    "_kernels": is_bool,
    "_stream": optional(instance_of(Stream)),
}
MORE = {
    "feature_names_in_": is_text,
    "_sklearn_output_config": dict_of(lambda value: value in ("default", "pandas", "polars")),
}


def disagreement(estimator, n_more: int = 0) -> str | None:
    """What contradicts what in a loaded estimator with one flow, as a sentence; None where nothing does.

    The flow may have some more columns than the table.
    """
    d, flow, names = estimator.n_features_in_, estimator.flow_, getattr(estimator, "feature_names_in_", None)
    if columns_of(flow) != d + n_more:
        return f"it has {d} features and a flow of {columns_of(flow)}"
    if names is not None and len(names) != d:
        return f"it has {d} features and {len(names)} names"
    state = estimator._optimizer_state
    if state is not None and [len(vector) for vector in state[:-1]] != state_lengths(flow)[: len(state) - 1]:
        return "its optimizer is of another flow"
    if estimator._stream is not None and estimator._stream.X.shape[1] != d:
        return f"it has {d} features and remembers rows of others"
    return None


STREAM_STATE = ("rng", "n_seen", "next_look", "X", "weight", "start", "starts", "left")


def _restored_stream(state):
    stream = Stream(0)
    X, weight, start = state["X"], state["weight"], state["start"]
    rows = isinstance(X, np.ndarray) and X.ndim == 2 and X.dtype.kind == "f" and np.isfinite(X).all()
    if not rows or not isinstance(weight, np.ndarray) or weight.shape != X.shape[:1] or weight.dtype.kind != "f":
        raise ValueError("it has no rows and weights")
    if not isinstance(state["rng"], np.random.RandomState) or not is_bool(state["starts"]):
        raise ValueError("it has no source of random numbers")
    if not all(map(is_count, (state["n_seen"], state["next_look"]))) or state["n_seen"] < len(X):
        raise ValueError("it has seen fewer rows than it remembers")
    if not isinstance(start, tuple) or len(start) != 3 or not is_count(start[2]):
        raise ValueError("it does not know where columns began")
    if any(not isinstance(v, np.ndarray) or v.shape != X.shape[1:] or v.dtype != float for v in start[:2]):
        raise ValueError("it does not know where columns began")
    left = state["left"]
    if not isinstance(left, np.ndarray) or left.dtype.kind != "i" or not np.isin(left, range(X.shape[1])).all():
        raise ValueError("columns have left that it does not have")
    vars(stream).update({name: state[name] for name in STREAM_STATE})
    return stream


PLAIN["Stream"] = Plain(Stream, lambda stream: {name: getattr(stream, name) for name in STREAM_STATE}, _restored_stream)


class SkflowVersionWarning(InconsistentVersionWarning):
    """A pickle was written by another version of skflow, and may not work."""

    def __str__(self):
        return (
            f"This {self.estimator_name} was pickled by skflow {self.original_sklearn_version} and is opened by "
            f"{self.current_sklearn_version}: it may break or give other results. Files of estimator.save(path) can be "
            "read by every later version."
        )


FILE, VERSION = "_skflow_file", "_skflow_version"


class Saving:
    """What every estimator can do to be kept.

    Pickle, copy and joblib take the attributes as they are (``__reduce_ex__``). Whoever asks for ``__getstate__``, as
    skops does, gets the file that `save` writes, in one array of bytes: nothing else than that need be trusted.
    """

    def save(self, path: str | os.PathLike) -> None:
        """Write the estimator to a file from which `skflow.load` reads it without running any code.

        The file is a safetensors file: every tensor and array, and in its header the class, the parameters, all fitted
        numbers, the names of the columns and the versions of the libraries. It is written as a whole or not at all.

        Parameters
        ----------
        path : path-like
            By custom with the ending ``.safetensors``.

        Returns
        -------
        None

        Raises
        ------
        TypeError
            Where something that is named can't be kept without pickle, such as layers of a class of your own.

        See Also
        --------
        skflow.load : Reads the file.
        """
        files.save(self, path)

    def __reduce_ex__(self, protocol):
        return copyreg.__newobj__, (type(self),), {**vars(self), VERSION: __version__}

    def __getstate__(self):
        return {FILE: np.frombuffer(files.to_bytes(self), dtype=np.uint8)}

    def __setstate__(self, state):
        state = dict(state)
        if FILE in state:
            loaded = files.from_bytes(np.asarray(state[FILE], dtype=np.uint8).tobytes())
            if type(loaded) is not type(self):
                raise FileFormatError(f"The file of a {type(self).__name__} holds a {type(loaded).__name__}.")
            vars(self).update(vars(loaded))
            return
        version = state.pop(VERSION, "unknown")
        if version != __version__:
            warnings.warn(
                SkflowVersionWarning(
                    estimator_name=type(self).__name__,
                    current_sklearn_version=__version__,
                    original_sklearn_version=version,
                ),
                stacklevel=2,
            )
        vars(self).update(state)
