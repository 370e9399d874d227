"""Estimators fitted to streams: the same as to the table in memory, and what is wrong with a chunk is said."""

import numpy as np
import pandas as pd
import polars as pl
import pytest

from skflow import FlowDensity, FlowOutlierDetector, FlowRegressor
from skflow.estimators.stream import CheckedRows
from skflow.training import hyperparameters as hp
from skflow.utils.chunks import as_chunks

from ..helpers import fit_quietly, quick, same_flow

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")
pytestmark = pytest.mark.usefixtures("few_folds")
NAMES = list("abc")


def rows(n, seed=0):
    """Skewed, bimodal, and a sum of both with noise."""
    rng = np.random.default_rng(seed)
    a, b = rng.gamma(2.0, size=n), np.where(rng.random(n) < 0.4, -2.0, 2.0) + 0.5 * rng.normal(size=n)
    return np.c_[a, b, a + b + rng.normal(size=n)]


X = rows(4000)


@pytest.fixture
def long(monkeypatch):
    """A table of a few thousand rows counts as one that does not fit into memory."""
    monkeypatch.setattr(hp, "SAMPLE_ROWS", 2000)
    monkeypatch.setattr(hp, "SHUFFLE_ROWS", 1000)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("stream") / "table.parquet"
    pq.write_table(pa.table(dict(zip(NAMES, X.T))), path, row_group_size=500)
    return path


def frame(rows):
    return pd.DataFrame(rows, columns=NAMES)


def in_parts(table, n=8):
    size = len(table) // n
    return [table[i : i + size] for i in range(0, len(table), size)]


@pytest.mark.parametrize("cls", [FlowDensity, FlowOutlierDetector])
def test_a_short_stream_is_the_table(cls, table):
    stream = in_parts(table)
    assert same_flow(fit_quietly(quick(cls), stream), fit_quietly(quick(cls), table))


def test_a_regressor_finds_its_targets_in_the_stream(table):
    frame = pd.DataFrame(table[:80], columns=list("abcd"))
    streamed = quick(FlowRegressor).fit(in_parts(frame), "c")
    assert list(streamed.feature_names_in_) == ["a", "b", "d"]
    assert same_flow(streamed, quick(FlowRegressor).fit(frame[["a", "b", "d"]], frame["c"]))


def test_a_regressor_finds_them_by_number_where_columns_have_no_names(table):
    streamed = quick(FlowRegressor).fit(in_parts(table[:80]), [2])
    assert streamed.n_features_in_ == 3 and streamed.predict(table[:2, [0, 1, 3]]).shape == (2, 1)


@pytest.mark.parametrize(("y", "words"), [("e", "names the column 'e'"), (np.ones(240), "name of the column as y")])
def test_a_regressor_says_which_target_is_missing(y, words, table):
    with pytest.raises(ValueError, match=words):
        quick(FlowRegressor).fit(in_parts(pd.DataFrame(table, columns=list("abcd"))), y)


@pytest.mark.parametrize("kind", ["pandas", "parquet"])
def test_a_stream_gives_the_density_of_the_table(kind, path, long):
    new, params = frame(rows(4000, 1)), {"max_iter": 12, "random_state": 0, "base": "normal"}
    streamed = fit_quietly(FlowDensity(**params), in_parts(frame(X)) if kind == "pandas" else path).score(new)
    assert streamed == pytest.approx(
        fit_quietly(FlowDensity(**params), frame(X)).score(new), abs=0.02
    )  # seeds differ by 0.01


def test_a_stream_is_reproducible(path, long):
    assert same_flow(fit_quietly(quick(max_iter=2), path), fit_quietly(quick(max_iter=2), path))


def test_a_stream_is_trained_on_to_its_end(long):
    density = fit_quietly(quick(max_iter=2, batch_size=100, base="normal"), in_parts(X))
    n_train = len(X) - 400
    assert density._optimizer_state[-1] >= 2 * (n_train // 100) and density.n_iter_ == 2


def test_held_out_rows_are_as_many_as_of_a_table(long):
    in_memory, streamed = (fit_quietly(quick(max_iter=1), some) for some in (X, in_parts(X)))
    assert streamed.batch_size_ == in_memory.batch_size_
    assert streamed.best_validation_score_ == pytest.approx(in_memory.best_validation_score_, abs=0.5)


def test_a_stream_of_whole_numbers_has_the_density_of_its_grid(long):
    X = np.random.default_rng(0).poisson(20, (4000, 2)).astype(float)
    density = fit_quietly(quick(max_iter=8, base="normal"), in_parts(X))
    assert density.score(X) == pytest.approx(-2 * 2.9, abs=0.2)  # the entropy of a column is 2.91


def test_a_stream_goes_on_from_an_earlier_fit(long):
    density = fit_quietly(quick(max_iter=1, warm_start=True), in_parts(X))
    before = density.score(X)
    assert fit_quietly(density.set_params(max_iter=4), in_parts(X)).score(X) > before


def test_names_and_types_come_back_in_samples(path, long):
    density = fit_quietly(quick(max_iter=1), path)
    assert list(density.feature_names_in_) == NAMES and type(density.sample(2)) is pa.Table


@pytest.mark.parametrize("kind", [pd.DataFrame, pl.DataFrame, pa.table], ids=["pandas", "polars", "pyarrow"])
@pytest.mark.parametrize("last", [7.0, 6.5])
def test_a_column_is_of_whole_numbers_where_all_chunks_say_so(kind, last):
    chunks = [kind({"a": np.arange(5)}), kind({"a": np.array([5, last], dtype=int if last == 7 else float)})]
    rows = CheckedRows(quick(), as_chunks(chunks), fitted=False)
    table = rows.table(np.concatenate([X for _, X in rows.read()]))
    assert type(table) is type(chunks[0])
    np.testing.assert_array_equal(np.asarray(table)[:, 0], [0, 1, 2, 3, 4, 5, last])


def test_a_generator_is_refused_with_what_to_pass_instead():
    with pytest.raises(TypeError, match="generator.*gone through once.*gives them anew"):
        quick().fit(part for part in in_parts(X))


def test_a_bad_value_is_named_by_its_row_in_the_stream(long):
    table = X.copy()
    table[2345, 1] = np.inf
    with pytest.raises(ValueError, match="infinity: column 1, first at row 2345"):
        quick().fit(in_parts(table))


def test_a_row_outside_bounds_is_named_by_its_number_in_the_stream():
    with pytest.raises(ValueError, match=r"column 0 of X has 1 values outside.* at row 3999"):
        quick(bounds=[(None, 50), None, None]).fit(in_parts(np.r_[X[:-1], [[60.0, 0, 0]]]))


@pytest.mark.parametrize(
    ("chunk", "error", "words"),
    [
        (pd.DataFrame({"a": [1.0], "c": [1.0]}), ValueError, "chunk 1 has no column 'b'"),
        (pd.DataFrame({"a": [], "b": []}), ValueError, "chunk 1 of X has no rows"),
        ([1.0, 2.0], TypeError, "chunk 1 of X is a list"),
    ],
    ids=["columns", "empty", "no table"],
)
def test_a_chunk_that_does_not_fit_is_named(chunk, error, words):
    first = pd.DataFrame({"a": [1.0, 2.0], "b": [1.0, 3.0]})

    class Chunks:
        def __iter__(self):
            return iter([first, chunk])

    with pytest.raises(error, match=words):
        quick().fit(Chunks())


@pytest.mark.parametrize("values", [["u", "v"], [True, False], pd.to_datetime(["2024-01-01", "2024-01-02"])])
def test_a_column_that_holds_no_numbers_is_named(values):
    with pytest.raises(ValueError, match="Column 'k' of the stream.*numbers alone.*in memory"):
        quick().fit([pd.DataFrame({"a": [1.0, 2.0], "k": values})] * 2)


@pytest.mark.parametrize("name", ["sample_weight", "groups"])
def test_what_comes_with_a_table_alone_is_refused(name):
    with pytest.raises(ValueError, match=f"{name} comes with a table in memory"):
        quick().fit(in_parts(X), **{name: np.ones(len(X))})


def test_columns_of_categories_are_refused():
    with pytest.raises(ValueError, match="categorical_features names columns, but X is a stream"):
        quick(categorical_features=[0]).fit(in_parts(X))


def test_a_stream_that_gives_nothing_is_refused():
    with pytest.raises(ValueError, match="gave no chunk"):
        quick().fit(type("Nothing", (), {"__iter__": lambda self: iter(())})())


def test_a_failed_fit_to_a_stream_leaves_the_previous_one(table):
    density = fit_quietly(quick(), table)
    before = density.score(table)
    with pytest.raises(ValueError):
        density.fit([X, np.full((5, 3), np.nan)])
    assert density.score(table) == before
