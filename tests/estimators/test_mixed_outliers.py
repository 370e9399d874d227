"""Outliers in tables with categories and holes."""

import numpy as np
import pandas as pd
import polars as pl
import pytest

import skflow
from skflow import FlowOutlierDetector

ODD = {
    "a category against another": ({"sex": "m", "height": 178.0, "pregnant": True}, "pregnant"),
    "a number": ({"height": 250.0}, "height"),
    "a number beside a hole": ({"height": 250.0, "income": np.nan}, "height"),
    "an unknown category": ({"sex": "q"}, "sex"),
}


@pytest.fixture(scope="module")
def frame():
    rng = np.random.RandomState(0)
    sex = rng.choice(["f", "m"], 500)
    frame = pd.DataFrame(
        {
            "sex": sex,
            "height": np.where(sex == "f", 165, 178) + 6 * rng.standard_normal(500),
            "income": np.round(np.exp(10 + 0.5 * rng.standard_normal(500)), 2),
            "pregnant": (sex == "f") & (rng.uniform(size=500) < 0.2),
        }
    )
    frame.loc[rng.uniform(size=500) < 0.15, "income"] = np.nan
    return frame


@pytest.fixture(scope="module")
def fitted(frame):
    return FlowOutlierDetector(n_estimators=2, random_state=0).fit(frame)


@pytest.mark.parametrize("name", ODD)
def test_what_is_odd_is_found_and_named(fitted, name):
    changes, column = ODD[name]
    row = pd.DataFrame([{"sex": "f", "height": 165.0, "income": 20_000.0, "pregnant": False} | changes])
    assert fitted.p_values(row)[0] < 0.05
    assert fitted.explain(row).iloc[0].idxmin() == column


def test_explanations_add_up(frame, fitted):
    rows = frame[:20]
    total = fitted.explain(rows).sum(axis=1)
    np.testing.assert_allclose(total, fitted.score_samples(rows) - fitted.typical_score_, atol=1e-9)


def test_a_hole_explains_nothing(frame, fitted):
    rows = frame[frame["income"].isna()]
    assert (fitted.explain(rows)["income"] == 0).all()


def test_holes_are_neither_odd_nor_normal(frame, fitted):
    scores, holes = fitted.score_samples(frame), frame["income"].isna()
    assert scores[holes].mean() == pytest.approx(scores[~holes].mean(), abs=0.5)


def test_few_of_the_rows_are_flagged(frame, fitted):
    assert (fitted.predict(frame) == -1).mean() == pytest.approx(fitted.contamination_) and fitted.contamination_ < 0.05


def test_a_file_keeps_it(frame, fitted, tmp_path):
    fitted.save(tmp_path / "detector.skflow")
    loaded = skflow.load(tmp_path / "detector.skflow")
    np.testing.assert_array_equal(loaded.score_samples(frame), fitted.score_samples(frame))


def test_polars_and_arrays(frame, fitted):
    table = pl.DataFrame({name: frame[name].tolist() for name in frame}).with_columns(pl.col("income").fill_nan(None))
    detector = FlowOutlierDetector(n_estimators=2, random_state=0).fit(table)
    np.testing.assert_allclose(detector.score_samples(table), fitted.score_samples(frame))
    numbers = np.where(np.random.RandomState(1).uniform(size=(200, 2)) < 0.1, np.nan, frame[["height", "income"]][:200])
    of_numbers = FlowOutlierDetector(n_estimators=2, random_state=0).fit(numbers)
    assert of_numbers.predict([[400.0, np.nan]])[0] == -1


def test_a_table_of_numbers_without_holes_still_refuses_them(frame):
    X = np.random.RandomState(0).standard_normal((60, 2))
    detector = FlowOutlierDetector(n_estimators=2, max_iter=2, random_state=0).fit(X)
    with pytest.raises(ValueError, match="NaN"):
        detector.score_samples([[0.0, np.nan]])
