"""What a table may be made of, and the words with which the rest is refused; columns of whatever names."""

from datetime import datetime
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from numpy.lib.recfunctions import structured_to_unstructured
from scipy import sparse

from skflow import DensityDisplay, ExplanationDisplay, FlowDensity, FlowOutlierDetector
from skflow.utils.frames import columns, frame_like, is_frame, some_rows

from ..helpers import ALL, ESTIMATORS, fit_quietly, quick, same_flow, scores

X = np.random.RandomState(0).randn(60, 3)
D = pd.DataFrame(X, columns=["a", "b", "c"])
P = pl.DataFrame(dict(zip("abc", X.T)))
WHEN = pd.date_range("2024-01-01", periods=len(X), freq="h")
NAMES = {
    "int": [10, 20, 30],
    "float": [0.5, 1.5, 2.5],
    "tuple": pd.MultiIndex.from_tuples([("a", "x"), ("a", "y"), ("b", "x")]),
    "str": ["a", "b", "c"],
}


def masked(*cells):
    out = np.ma.masked_array(X.copy(), mask=np.zeros(X.shape, bool))
    for cell in cells:
        out[cell] = np.ma.masked
    return out


ACCEPTED = {
    "masked array without a masked value": masked(),
    "list of such": list(masked()),
    "fields made columns": structured_to_unstructured(np.rec.fromarrays(X.T, names="a,b,c")),
    "objects": X.astype(object),
    "frame of objects": D.astype(object),
    "one column of objects": D.astype({"b": object}),
    "decimals": D.apply(lambda column: column.map(Decimal)),
    "fractions": D.apply(lambda column: column.map(Fraction).astype(object)),
    "polars' objects": pl.DataFrame({c: pl.Series(D[c].map(Fraction).tolist(), dtype=pl.Object) for c in D}),
    "text of numbers": X.astype(str),
    "big-endian": X.astype(">f8"),
    "nullable": D.astype("Float64"),
    "polars": P,
    "tensor": torch.tensor(X),
    "integer names": D.set_axis([10, 20, 30], axis=1),
}
REFUSED = {
    "masked": (masked((7, 1), (8, 2)), ["2 masked values", "column 1", "row 7", "compress_rows", "SimpleImputer"]),
    "masked in a list": (list(masked((7, 1))), ["masked", "column 1", "row 7"]),
    "masked constant": ([[1.0, 2.0], [3.0, np.ma.masked], [4.0, 5.0]], ["NaN", "column 1", "row 1"]),
    "records": (np.rec.fromarrays(X.T, names="a,b,c"), ["'a', 'b', 'c'", "2 dim", "structured_to_unstructured(X)"]),
    "dates": (D.assign(when=WHEN), ["'when'", "datetime64", "X['when'] - X['when'].min()", "drop"]),
    "dates of a zone": (D.assign(when=WHEN.tz_localize("UTC")), ["'when'", "UTC", "seconds"]),
    "dates alone": (pd.DataFrame({"when": WHEN, "then": WHEN}), ["'when'", "datetime64"]),
    "time differences": (D.assign(lag=WHEN - WHEN[0]), ["'lag'", "timedelta64", "seconds in X['lag'],"]),
    "periods": (D.assign(when=WHEN.to_period("h")), ["'when'", "period[h]", "numbers"]),
    "text": (D.assign(kind=["u", "v"] * 30), ["'kind'", "'u'", "OrdinalEncoder"]),
    "categories": (D.assign(kind=pd.Categorical(["u", "v"] * 30)), ["'kind'", "dtype category", "OrdinalEncoder"]),
    "objects": (D.assign(thing=[object()] * 60), ["'thing'", "dtype object", "numbers"]),
    "lists": (D.assign(thing=[[1, 2]] * 60), ["'thing'", "[1, 2]", "numbers"]),
    "text under a tuple": (pd.DataFrame({("a", "x"): X[:, 0], ("a", "y"): "u"}), ["('a', 'y')", "OrdinalEncoder"]),
    "NaN under an integer": (
        pd.DataFrame(np.where(X == X[4, 1], np.nan, X), columns=[10, 20, 30]),
        ["column 20", "row 4"],
    ),
    "polars dates": (P.with_columns(when=pl.lit(datetime(2024, 1, 1))), ["'when'", "Datetime", "seconds"]),
    "polars text": (P.with_columns(kind=pl.lit("u")), ["'kind'", "String", "OrdinalEncoder"]),
    "polars category": (P.with_columns(kind=pl.lit("u").cast(pl.Categorical)), ["'kind'", "Categorical"]),
    "numpy dates": (np.full((60, 2), "2024-01-01", "M8[D]"), ["datetime64[D]", "seconds in X - X.min()"]),
    "dates among objects": (np.c_[X.astype(object), [datetime(2024, 1, 1)] * 60], ["Column 3", "datetime", "numbers"]),
    "generator": ((row for row in X), ["generator", "list(X)"]),
    "dict": ({"a": X[:, 0]}, ["dict", "pandas.DataFrame(X)"]),
    "set": ({1.0, 2.0}, ["set", "n_features"]),
    "path": ("table.csv", ["str", "n_features"]),
    "scalar": (np.array(3.0), ["2D", "reshape"]),
    "three dimensions": (X[None], ["dim 3", "reshape"]),
    "ragged": ([[1.0, 2.0], [3.0]], ["same number of columns"]),
    "complex": (X * 1j, ["real and imaginary parts"]),
    "sparse": (sparse.csr_array(X), ["toarray"]),
    "sparse by key": (sparse.dok_array(X), ["toarray"]),
    "sparse frame": (D.astype(pd.SparseDtype(float)), ["to_dense"]),
    "half a float": (torch.tensor(X).bfloat16(), ["float()"]),
}

# What a density takes as it comes.
MIXED = {
    *("dates", "dates of a zone", "dates alone", "time differences", "text", "categories", "text under a tuple"),
    *("NaN under an integer", "polars dates", "polars text", "polars category"),
}


@pytest.fixture(scope="module")
def plain():
    return fit_quietly(quick(max_iter=2), X)


@pytest.mark.parametrize("kind", ACCEPTED)
def test_kinds_that_mean_the_same(kind, plain):
    assert same_flow(fit_quietly(quick(max_iter=2), ACCEPTED[kind]), plain)


@pytest.mark.usefixtures("few_folds")
@pytest.mark.parametrize("cls", ALL)
def test_a_frame_of_objects_and_one_of_floats_are_one_table(cls):
    objects = D.astype(object)
    of_floats, of_objects = (fit_quietly(quick(cls, max_iter=2), frame) for frame in (D, objects))
    expected = scores(of_floats, D)
    for estimator, frame in ((of_objects, objects), (of_floats, objects), (of_objects, D)):
        np.testing.assert_array_equal(scores(estimator, frame), expected)


def test_objects_are_missing_where_floats_are():
    """To a density of complete numbers: NA among objects is NaN."""
    rows = D[:2].astype(object)
    rows.iloc[0, 1] = pd.NA
    density = fit_quietly(quick(max_iter=2), D)
    np.testing.assert_array_equal(density.score_samples(rows), density.score_samples(rows.astype("Float64")))


def test_a_frame_of_objects_may_be_a_batch():
    batch = quick().partial_fit(D.astype(object))
    np.testing.assert_array_equal(batch.score_samples(D), quick().partial_fit(D).score_samples(D))


@pytest.mark.parametrize("cls", ESTIMATORS)
@pytest.mark.parametrize("kind", REFUSED)
def test_kinds_that_are_refused_say_what_to_do(kind, cls):
    table, words = REFUSED[kind]
    if kind in MIXED:  # every estimator takes tables as they come
        estimator = fit_quietly(quick(cls, max_iter=2), table, np.arange(60) % 2)
        assert np.isfinite(estimator.score_samples(table)).all()
        if cls is FlowDensity:
            assert type(estimator.sample(3)) is type(table)
        return
    with pytest.raises((ValueError, TypeError, FileNotFoundError)) as error:
        fit_quietly(quick(cls), table)
    absent = [word for word in words if word not in str(error.value)]
    assert not absent, f"{absent} not in: {error.value}"


@pytest.mark.parametrize("kind", ["masked", "records", "dates", "generator", "numpy dates"])
def test_they_are_refused_in_scoring_too(kind, plain):
    with pytest.raises((ValueError, TypeError)) as error:
        plain.score_samples(REFUSED[kind][0])
    assert any(word in str(error.value) for word in REFUSED[kind][1])


def test_latent_rows_and_weights_may_not_be_masked(plain):
    with pytest.raises(ValueError, match="Z holds 1 masked"):
        plain.inverse_transform(masked((0, 0)))
    with pytest.raises(ValueError, match="sample_weight holds 1 masked"):
        quick().fit(X, sample_weight=np.ma.masked_less(np.arange(60.0), 1))


# Names


@pytest.fixture(scope="module", params=NAMES)
def named(request):
    frame = pd.DataFrame(X, columns=NAMES[request.param], index=np.arange(60) + 100)
    return frame, *(fit_quietly(quick(cls, max_iter=2), frame) for cls in (FlowDensity, FlowOutlierDetector))


def test_every_method_takes_columns_of_any_name(named, plain):
    frame, density, detector = named
    assert same_flow(density, plain)
    for estimator, methods in (
        (density, ["score_samples", "score", "transform", "bic", "aic"]),
        (detector, ["score_samples", "decision_function", "predict", "p_values"]),
    ):
        for method in methods:
            np.testing.assert_array_equal(
                getattr(estimator, method)(frame), getattr(estimator, method)(frame.copy()), err_msg=method
            )
    assert fit_quietly(quick(max_iter=2), frame).partial_fit(frame).score(frame) > -np.inf


def test_explain_gives_a_frame_with_the_names_and_the_index(named):
    frame, _, detector = named
    out = detector.explain(frame[:5])
    assert isinstance(out, pd.DataFrame)
    assert out.columns.equals(frame.columns)
    assert out.index.equals(frame.index[:5])


def test_pictures_take_columns_of_any_name(named):
    plt = pytest.importorskip("matplotlib.pyplot")
    plt.switch_backend("Agg")
    frame, density, detector = named
    ax = ExplanationDisplay.from_estimator(detector, frame, row=3).ax_
    labels = {label.get_text().rpartition(" = ")[0] for label in ax.get_yticklabels()}
    assert labels == {str(name) for name in frame.columns}
    display = DensityDisplay.from_estimator(density, frame, features=[0, 1], grid_resolution=8, n_samples=200)
    assert display.names == [str(name) for name in frame.columns[:2]]
    plt.close("all")


def test_a_column_may_be_chosen_by_a_name_that_is_a_tuple():
    from skflow.displays.panels import Table

    assert Table(D.set_axis(NAMES["tuple"], axis=1)).column(("a", "y")) == 1
    assert Table(D.set_axis(NAMES["float"], axis=1)).column(2.5) == 2


def test_explain_on_a_frame_of_an_array_fit():
    detector = fit_quietly(quick(FlowOutlierDetector, max_iter=2), X)
    with pytest.warns(UserWarning, match="feature names"):
        out = detector.explain(D[:4])
    assert out.columns.tolist() == ["a", "b", "c"]
    assert isinstance(detector.explain(X[:4]), np.ndarray)


def test_explain_of_polars_is_polars():
    detector = fit_quietly(quick(FlowOutlierDetector, max_iter=2), P)
    out = detector.explain(P[:4])
    assert isinstance(out, pl.DataFrame)
    assert out.columns == ["a", "b", "c"]
    np.testing.assert_array_equal(out.to_numpy(), detector.explain(D[:4]).to_numpy())


class ArrowLike:
    """As much of a `pyarrow.Table` as is looked at."""

    def __init__(self, columns, column_names):
        self.columns, self.column_names = columns, column_names

    @classmethod
    def from_arrays(cls, arrays, names):
        return cls(arrays, names)

    def take(self, numbers):
        return ArrowLike([column[numbers] for column in self.columns], self.column_names)

    def __len__(self):
        return len(self.columns[0])


@pytest.mark.parametrize("frame", [D, P, ArrowLike(list(X.T), ["a", "b", "c"])], ids=["pandas", "polars", "pyarrow"])
def test_frames(frame):
    assert is_frame(frame) and not is_frame(X)
    assert [name for name, _ in columns(frame)] == ["a", "b", "c"]
    np.testing.assert_array_equal(columns(some_rows(frame, [-1, 2]))[1][1], X[[-1, 2], 1])
    like = frame_like(frame, X[:2])
    assert type(like) is type(frame)
    np.testing.assert_array_equal(columns(like)[2][1], X[:2, 2])
