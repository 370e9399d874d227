"""A regression on tables with categories and holes."""

import numpy as np
import pandas as pd
import polars as pl
import pytest

import skflow
from skflow import FlowRegressor

from ..helpers import few_folds

pytestmark = pytest.mark.usefixtures("few_folds")


@pytest.fixture(scope="module")
def table():
    rng = np.random.RandomState(0)
    city, size = rng.choice(["Bonn", "Ulm", "Hof"], 400), rng.uniform(20, 200, 400)
    price = 10 * size + np.where(city == "Bonn", 900, 0) + 50 * rng.standard_normal(400)
    frame = pd.DataFrame({"city": city, "size": size, "built": rng.randint(1900, 2020, 400), "lift": size > 150})
    frame.loc[rng.uniform(size=400) < 0.2, "size"] = np.nan
    frame.loc[rng.uniform(size=400) < 0.1, "city"] = None
    return frame, price


def _quick():
    return FlowRegressor(max_iter=5, hidden_layer_sizes=(8,), n_bins=4, random_state=0)


@pytest.fixture(scope="module")
def fitted(table):
    with few_folds():
        return _quick().fit(*table)


def test_categories_matter(fitted):
    rows = pd.DataFrame({"city": ["Bonn", "Ulm"], "size": 100.0, "built": 1960, "lift": False})
    bonn, ulm = fitted.predict(rows)
    assert bonn - ulm == pytest.approx(900, abs=300)


def test_a_hole_is_no_median(table, fitted):
    """Sizes are missing at random: the forecast is the mean over them."""
    frame, price = table
    rows = pd.DataFrame({"city": ["Ulm"], "size": np.nan, "built": 1960, "lift": True})
    own = price[(frame["city"] == "Ulm") & frame["lift"]]
    assert fitted.predict(rows)[0] == pytest.approx(own.mean(), abs=200)


def test_an_unknown_category_is_of_no_known_one(fitted):
    rows = pd.DataFrame({"city": ["Aachen"], "size": 100.0, "built": 1960, "lift": False})
    assert np.isfinite(fitted.predict(rows)).all()


def test_a_file_keeps_the_features(table, fitted, tmp_path):
    fitted.save(tmp_path / "regressor.skflow")
    loaded = skflow.load(tmp_path / "regressor.skflow")
    np.testing.assert_array_equal(loaded.score_samples(*table), fitted.score_samples(*table))


def test_polars_says_the_same(table, fitted):
    frame, price = table
    columns = {name: [None if pd.isna(v) else v for v in frame[name]] for name in frame}
    other = _quick().fit(pl.DataFrame(columns), price)
    np.testing.assert_allclose(other.predict(pl.DataFrame(columns)), fitted.predict(frame))


def test_numbers_that_are_categories(table):
    frame, price = table
    codes = np.column_stack([frame["built"] % 3, frame["built"]]).astype(float)
    regressor = FlowRegressor(max_iter=2, categorical_features=[0], random_state=0).fit(codes, 10 * codes[:, 0])
    assert regressor.predict([[2.0, 1950.0]])[0] == pytest.approx(20, abs=2)


def test_infinity_is_refused_by_name(table):
    frame, price = table
    with pytest.raises(ValueError, match="size"):
        _quick().fit(frame.assign(size=np.inf), price)


def test_a_table_of_numbers_without_holes_still_refuses_them():
    X = np.random.RandomState(0).standard_normal((60, 2))
    with pytest.raises(ValueError, match="NaN"):
        _quick().fit(X, X[:, 0]).predict([[0.0, np.nan]])
