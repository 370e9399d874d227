"""Answers written to Parquet: the same as in memory, row for row, and a file that is there as a whole or not at all."""

import contextlib
import io

import numpy as np
import pandas as pd
import pytest
import torch

from skflow import FlowOutlierDetector, FlowRegressor, write_parquet
from skflow.estimators import parquet
from skflow.utils import chunks

from ..helpers import fit_quietly, quick

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")
NAMES = list("abcd")


@pytest.fixture(autouse=True)
def short(monkeypatch):
    """Several chunks of a small table."""
    monkeypatch.setattr(chunks, "ROWS_AT_A_TIME", 100)
    monkeypatch.setattr(parquet, "ROWS_AT_A_TIME", 100)


@pytest.fixture(scope="module")
def named(table):
    return fit_quietly(quick(), pd.DataFrame(table, columns=NAMES))


@pytest.fixture
def source(table, tmp_path):
    path = tmp_path / "source.parquet"
    pq.write_table(pa.table({"id": np.arange(len(table)), **dict(zip(NAMES, table.T))}), path, row_group_size=90)
    return path


def written(tmp_path, *args, **kwargs):
    write_parquet(*args[:2], tmp_path / "out.parquet", *args[2:], **kwargs)
    return pq.read_table(tmp_path / "out.parquet")


@pytest.mark.parametrize("form", ["array", "generator", "list", "pandas"])
def test_scores_are_those_in_memory(form, density, table, tmp_path):
    parts = [table[:100], table[100:]]
    X = {"array": table, "generator": iter(parts), "list": parts, "pandas": pd.DataFrame(table)}[form]
    out = written(tmp_path, density, X)
    assert out.column_names == ["score_samples"]
    np.testing.assert_allclose(out["score_samples"].to_numpy(), density.score_samples(table), rtol=0, atol=1e-7)


def test_columns_of_a_file_are_kept_beside_the_scores(named, table, source, tmp_path):
    out = written(tmp_path, named, source, keep=["id"])
    assert out.column_names == ["id", "score_samples"] and out["id"].to_pylist() == list(range(len(table)))


def test_latent_rows_have_their_names(named, table, source, tmp_path):
    out = written(tmp_path, named, source, "transform", keep=["id"])
    assert out.column_names == ["id", *named.get_feature_names_out()]


def test_labels_are_those_in_memory(table, tmp_path):
    detector = fit_quietly(quick(FlowOutlierDetector), table)
    out = written(tmp_path, detector, table, "predict")
    np.testing.assert_array_equal(out["predict"].to_numpy(), detector.predict(table))


def test_targets_are_columns_of_the_table(table, source, tmp_path):
    frame = pd.DataFrame(table, columns=NAMES)
    regressor = quick(FlowRegressor).fit(frame[["a", "b"]], frame["c"])
    out = written(tmp_path, regressor, source, y="c", keep=["id", "d"])
    expected = regressor.score_samples(frame[["a", "b"]], frame["c"])
    np.testing.assert_allclose(out["score_samples"].to_numpy(), expected, rtol=0, atol=1e-7)


def test_draws_have_the_names_of_the_columns(named, tmp_path):
    out = written(tmp_path, named, 250, "sample", random_state=0)
    assert out.column_names == NAMES and len(out) == 250
    assert len(np.unique(out["a"].to_numpy())) == 250


def test_draws_follow_from_the_seed(density, tmp_path):
    first, again = (written(tmp_path, density, 150, "sample", random_state=1) for _ in range(2))
    assert first.equals(again) and first.column_names == ["x0", "x1", "x2", "x3"]


def test_the_number_of_threads_has_no_say_in_draws(density, tmp_path, two_threads):
    drawn = written(tmp_path, density, 350, "sample", random_state=1)
    torch.set_num_threads(1)
    assert drawn.equals(written(tmp_path, density, 350, "sample", random_state=1))


def test_draws_of_a_table_with_categories_are_of_its_types(tmp_path):
    frame = pd.DataFrame({"a": np.arange(60.0), "k": ["u", "v", "w"] * 20})
    out = written(tmp_path, fit_quietly(quick(max_iter=1), frame), 250, "sample")
    assert set(out["k"].to_pylist()) <= {"u", "v", "w"} and len(out) == 250


def test_a_bad_row_is_named_and_the_file_that_stood_there_stays(density, table, tmp_path):
    written(tmp_path, density, table[:5])
    bad = table.copy()
    bad[150, 2] = np.inf
    with pytest.raises(ValueError, match="the table, rows 100 to 199 of X.*column 2, first at row 50"):
        written(tmp_path, density, bad)
    assert len(pq.read_table(tmp_path / "out.parquet")) == 5
    assert [path.name for path in tmp_path.iterdir()] == ["out.parquet"]


@pytest.mark.parametrize(
    ("X", "params", "error", "words"),
    [
        (10, {}, TypeError, "needs rows"),
        (np.zeros((2, 4)), {"method": "forecast"}, ValueError, "no method of that name"),
        (np.zeros((2, 4)), {"keep": ["id"]}, ValueError, "no column 'id'; it has no names"),
        (iter(()), {}, ValueError, "gave no rows"),
        ("nothing.parquet", {}, FileNotFoundError, "no Parquet file matches"),
    ],
)
def test_what_is_wrong_is_said(X, params, error, words, density, tmp_path):
    with pytest.raises(error, match=words):
        written(tmp_path, density, X, **params)


def test_progress_is_shown(density, table, tmp_path):
    with contextlib.redirect_stdout(io.StringIO()) as out:
        written(tmp_path, density, table, verbose=1)
    assert "240 rows of 240" in out.getvalue() and "done" in out.getvalue()
