"""Checks of a user's input whose messages name the column or parameter, the value and the remedy."""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Integral, Real

import numpy as np
import torch
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_array, validate_data

from ..utils.closest import closest
from ..utils.frames import column_names, with_nan
from .table_kinds import column_without_numbers, refuse_kind, refuse_masked

LEAST_WEIGHT = 1e-30  # of the largest one: float32 holds it
REMEDIES = {  # of errors of scikit-learn's and torch's, by a part of the message
    "minimum of": "Pass a table of at least one column.",
    "Complex data": "Pass the real and imaginary parts as columns of their own.",
    "with dim": "Give X two dimensions: X.reshape(len(X), -1) makes one row of each sample.",
    "COO matrix": "Pass dense columns: X.sparse.to_dense().",
    "inhomogeneous": "Every row of X needs the same number of columns.",
    "ScalarType": "Pass X.float() or X.double().",
}


def check_table(
    estimator, X, *, reset: bool, min_rows: int = 1, allow_nan: bool = False, first_row: int = 0
) -> np.ndarray:
    """Validate a table for ``estimator``; float32 and float64 pass as they are, everything else becomes float64.

    Where ``allow_nan`` is true, NaN stands for what is missing. Rows are counted from ``first_row`` on.

    Raises
    ------
    ValueError, TypeError
        As `sklearn.utils.validation.validate_data`, but naming the column that holds text, dates, NaN or infinity; and
        for kinds of tables that would be misread.
    """
    original = X
    refuse_kind(X)
    try:
        X = validate_data(
            estimator,
            with_nan(X),
            reset=reset,
            dtype=[np.float64, np.float32],
            ensure_all_finite=False,
            ensure_min_samples=min_rows,
        )
    except (ValueError, TypeError) as error:
        remedy = _remedy(str(error), original, min_rows)
        if not remedy:
            raise
        raise type(error)(f"{str(error).rstrip('.')}. {remedy}") from error
    check_finite(estimator, X, column_names(original), allow_nan=allow_nan, first_row=first_row)
    return X.copy() if min(X.strides) < 0 else X  # torch reads no array backwards


def _remedy(message, X, min_rows):
    """What to do about an error of scikit-learn's that does not say so itself."""
    if X is None:
        return "X is None: pass a table of shape (n_samples, n_features)."
    if "minimum of" in message and "sample" in message:
        return f"Pass at least {min_rows} row{'s' if min_rows > 1 else ''}."
    known = (remedy for part, remedy in REMEDIES.items() if part in message)
    return next(known, None) or ("" if "Expected" in message else column_without_numbers(X))


def check_finite(estimator, X: np.ndarray, names=None, *, allow_nan: bool = False, first_row: int = 0) -> None:
    """Refuse infinity, and NaN where it is not allowed, by the names of their columns."""
    if np.isfinite(X.sum(dtype=float)):  # one pass without a temporary; the columns are looked at only where it fails
        return
    bad = np.isinf(X) if allow_nan else ~np.isfinite(X)
    if not bad.any():
        return
    i, j = _first(bad)
    kind, remedy = (
        ("NaN", "drop those rows or impute them, for example with sklearn.impute.SimpleImputer")
        if np.isnan(X[i, j])
        else ("infinity", "replace or drop those values")
    )
    raise ValueError(
        f"Input X contains {kind}: {column_name(estimator, j, names)}, first at row {first_row + i} "
        f"({int(bad.sum())} such values in {int(bad.any(0).sum())} columns). {type(estimator).__name__} needs finite "
        f"numbers; {remedy}."
    )


def _first(mask):
    """Row and column of the first entry of the first column that has any."""
    j, i = np.argwhere(mask.T)[0]
    return i, j


def check_weights(sample_weight, X: np.ndarray, *, least: int = 1) -> np.ndarray | None:
    """Validate weights: one per row, finite, none negative, not all zero, and at least ``least`` of them positive.

    Returns
    -------
    ndarray of shape (n,) or None
        Those above zero with a mean of one, whatever factor they have in common; None where all are equal. One that
        vanishes beside the largest stays positive.
    """
    if sample_weight is None:
        return None
    refuse_masked(sample_weight, "sample_weight")
    try:
        weight = np.asarray(sample_weight, dtype=float)
    except (ValueError, TypeError) as error:
        raise ValueError(f"sample_weight must hold numbers, one for each row of X ({error}).") from error
    if weight.ndim == 0:
        weight = np.full(len(X), float(weight))
    if weight.ndim != 1:
        raise ValueError(
            f"sample_weight must be 1D array or scalar, got shape {weight.shape}: pass one weight per row."
        )
    if len(weight) != len(X):
        raise ValueError(
            f"sample_weight.shape == {weight.shape}, expected {(len(X),)}: pass one weight for each row of X."
        )
    for bad, problem, demand in (
        (~np.isfinite(weight), "Input sample_weight contains NaN or infinity", "finite"),
        (weight < 0, "Negative values in data passed to `sample_weight`", ">= 0"),
    ):
        if bad.any():
            i = int(bad.argmax())
            raise ValueError(f"{problem}: {weight[i]} at row {i}; weights must be {demand}.")
    if not weight.any():
        raise ValueError("sample_weight is zero for every row: at least one row needs a positive weight.")
    if np.count_nonzero(weight) < least:
        raise ValueError("sample_weight leaves one row with a positive weight: at least 2 are needed to fit a density.")
    largest = weight.max()
    if weight.min() == largest:
        return None
    weight = np.where(weight > 0, np.maximum(weight / largest, LEAST_WEIGHT), 0.0)  # first, so that no sum overflows
    return weight / weight[weight > 0].mean()


def check_groups(groups, X: np.ndarray) -> np.ndarray | None:
    """Validate groups: a label per row, of any kind; returned as numbers from 0 on, shape (n,)."""
    if groups is None:
        return None
    groups = np.asarray(groups)
    if groups.shape != (len(X),):
        raise ValueError(
            f"groups has shape {groups.shape}, expected {(len(X),)}: pass one label for each row of X, the same "
            "for rows that belong together."
        )
    try:
        return np.unique(groups, return_inverse=True)[1].reshape(-1)
    except TypeError as error:
        raise TypeError(f"groups must hold labels of one kind, all numbers or all text ({error}).") from error


def check_bounds(
    estimator, X: np.ndarray, input_name: str = "X", first_row: int = 0
) -> tuple[torch.Tensor, torch.Tensor] | tuple[None, None]:
    """Lower and upper bounds of the columns, infinite where there is none; None and None without any.

    Rows to fit to that lie outside, where the density is zero, are refused; they are counted from ``first_row`` on.
    """
    # Of a table, columns that say where others have atoms come after those that the user knows.
    bounds, n_features = estimator.bounds, estimator.n_features_in_ if input_name == "X" else X.shape[1]
    if bounds is None:
        return None, None
    if isinstance(bounds, Mapping):
        bounds = _bounds_by_name(estimator, bounds, n_features)
    if len(bounds) == 2 and not any(np.iterable(b) and not isinstance(b, str) for b in bounds):
        bounds = [bounds] * n_features
    if len(bounds) != n_features:
        raise ValueError(
            f"bounds has {len(bounds)} entries, but {input_name} has {n_features} columns: give one pair (low, high) "
            "for all, or one pair (or None) a column."
        )
    low, high = np.array([_check_pair(pair, j) for j, pair in enumerate(bounds)]).T.copy()
    n_more = X.shape[1] - n_features
    low, high = np.append(low, np.full(n_more, -np.inf)), np.append(high, np.full(n_more, np.inf))
    outside = (X < low) | (X > high)
    if outside.any():
        i, j = _first(outside)
        column = column_name(estimator, j) if input_name == "X" else f"column {j}"
        raise ValueError(
            f"{column} of {input_name} has {int(outside[:, j].sum())} values outside its bounds "
            f"({low[j]}, {high[j]}), first {X[i, j]} at row {first_row + i}: widen the 'bounds' parameter, or drop "
            "those rows."
        )
    return torch.from_numpy(low), torch.from_numpy(high)


def _bounds_by_name(estimator, bounds, n_features):
    """One pair a column; None for those that are not named."""
    names = list(getattr(estimator, "feature_names_in_", range(n_features)))
    for name in bounds:
        if name not in names:
            raise ValueError(
                f"bounds names the column {name!r}, but the columns are {', '.join(map(repr, names[:8]))}"
                f"{'...' if len(names) > 8 else ''}.{closest(str(name), map(str, names))}"
            )
    return [bounds.get(name) for name in names]


def _check_pair(pair, j):
    try:
        low, high = (None, None) if pair is None else pair
        low = -np.inf if low is None else float(low)
        high = np.inf if high is None else float(high)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"bounds of column {j} must be a pair (low, high) of numbers or None. Got {pair!r} instead."
        ) from error
    if not low < high:
        raise ValueError(f"bounds of column {j} are ({low}, {high}): the lower one must be below the upper one.")
    return low, high


def column_name(estimator, j: int, names=None) -> str:
    """Such as "column 3", or "column 'age'" where columns have names, the estimator's or else the given ones."""
    names = getattr(estimator, "feature_names_in_", names)
    return f"column {j}" if names is None else f"column {names[j]!r}"


def make_seed(random_state) -> int:
    """An integer seed from ``random_state``; None draws fresh entropy and leaves numpy's generator alone."""
    if random_state is None:
        return int(np.random.SeedSequence().generate_state(1)[0])
    return int(check_random_state(random_state).randint(np.iinfo(np.int32).max))


def check_hidden_layer_sizes(sizes) -> None:
    """Refuse hidden layer sizes that are not positive integers."""
    if isinstance(sizes, str):
        return
    if not all(isinstance(s, Integral) and s >= 1 for s in np.ravel(np.asarray(sizes, dtype=object))):
        raise ValueError(f"hidden_layer_sizes must hold positive integers, such as (64, 64). Got {sizes!r} instead.")


def resolve_device(name: str) -> torch.device:
    """The torch device that ``name`` means today; "auto" takes a GPU where there is one."""
    if name == "auto":
        forked = torch.cuda._is_in_bad_fork()  # from a process that has used the GPU: it can't be used here
        return torch.device("cuda" if torch.cuda.is_available() and not forked else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(
            f"The 'device' parameter must be 'auto' or a torch device of this machine, such as 'cpu' or 'cuda:0'. Got "
            f"{name!r} instead ({error})."
        ) from error
    return device


def check_targets(estimator, y, n: int) -> np.ndarray:
    """Validate targets: finite numbers, one row for each row of X; float64 of shape (n,) or (n, n_targets)."""
    if y is None:
        raise ValueError(
            f"{type(estimator).__name__} requires y to be passed, but the target y is None: pass one target, or one "
            "row of targets, for each row of X."
        )
    refuse_masked(y, "y")
    y = check_array(y, ensure_2d=False, dtype=np.float64, input_name="y", estimator=estimator)
    if y.ndim not in (1, 2) or len(y) != n:
        raise ValueError(f"y has shape {y.shape}, expected ({n},) or ({n}, n_targets): one target for each row of X.")
    return y


def check_share(name: str, value) -> float:
    """Validate a share strictly between zero and one."""
    if isinstance(value, bool) or not isinstance(value, Real) or not 0 < value < 1:
        raise ValueError(f"{name} must be a number between 0 and 1, both excluded. Got {value!r} instead.")
    return float(value)


def check_n_samples(n_samples) -> int:
    """Validate a number of samples."""
    if isinstance(n_samples, bool) or not isinstance(n_samples, Integral) or n_samples < 1:
        raise ValueError(f"n_samples must be an integer of at least 1. Got {n_samples!r} instead.")
    return int(n_samples)
