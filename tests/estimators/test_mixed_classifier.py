"""Classes of rows with categories and holes."""

import numpy as np
import pandas as pd
import pytest

import skflow
from skflow import FlowClassifier


@pytest.fixture(scope="module")
def table():
    rng = np.random.RandomState(0)
    y = rng.choice(["bought", "left"], 500, p=[0.3, 0.7])
    bought = y == "bought"
    device = np.where(rng.uniform(size=500) < np.where(bought, 0.8, 0.2), "desktop", "phone")
    minutes = np.exp(np.where(bought, 2.5, 1.0) + 0.5 * rng.standard_normal(500))
    frame = pd.DataFrame({"device": device, "minutes": minutes, "returning": rng.uniform(size=500) < 0.5})
    frame.loc[rng.uniform(size=500) < 0.2, "minutes"] = np.nan
    frame.loc[rng.uniform(size=500) < 0.1, "device"] = None
    return frame, y


@pytest.fixture(scope="module")
def fitted(table):
    return FlowClassifier(max_iter=5, hidden_layer_sizes=(8,), n_bins=4, random_state=0).fit(*table)


def test_probabilities_are_near_those_of_the_truth(table, fitted):
    """Of rows without the minutes: by Bayes' theorem for the device alone."""
    rows = pd.DataFrame({"device": ["desktop", "phone"], "minutes": np.nan, "returning": [True, False]})
    truth = 0.3 * 0.8 / (0.3 * 0.8 + 0.7 * 0.2), 0.3 * 0.2 / (0.3 * 0.2 + 0.7 * 0.8)
    np.testing.assert_allclose(fitted.predict_proba(rows)[:, 0], truth, atol=0.08)


def test_most_rows_are_told_apart(table, fitted):
    assert fitted.score(*table) > 0.85


def test_a_row_without_anything_has_the_priors(fitted):
    row = pd.DataFrame({"device": [None], "minutes": [np.nan], "returning": [None]})
    np.testing.assert_allclose(fitted.predict_proba(row)[0], fitted.class_prior_, atol=1e-6)
    np.testing.assert_allclose(fitted.class_prior_, [0.3, 0.7], atol=0.05)


def test_the_marginal_density_sums_over_the_classes(table, fitted):
    rows = table[0].dropna()[:10]
    classes = fitted._mixed_classes.class_log_density(fitted._table(rows))
    np.testing.assert_allclose(np.exp(fitted.score_samples(rows)), np.exp(classes) @ fitted.class_prior_)


def test_draws_are_rows_of_their_class(table, fitted):
    drawn = fitted.sample(300, y="bought", random_state=0)
    assert (drawn["device"] == "desktop").mean() == pytest.approx(0.8, abs=0.1)
    X, y = fitted.sample(300, random_state=0)
    assert list(X.columns) == list(table[0].columns) and (y == "bought").mean() == pytest.approx(0.3, abs=0.1)


def test_priors_count(table):
    X, y = table[0][:100], table[1][:100]
    odds = {}
    for share in (0.3, 0.9):
        fitted_with = FlowClassifier(
            priors=[share, 1 - share], max_iter=5, hidden_layer_sizes=(8,), n_bins=4, random_state=0
        ).fit(X, y)
        odds[share] = fitted_with.decision_function(X)
    expected = np.log(0.7 / 0.3) - np.log(0.1 / 0.9)
    np.testing.assert_allclose(odds[0.3] - odds[0.9], expected, rtol=1e-6)


def test_a_file_keeps_it(table, fitted, tmp_path):
    fitted.save(tmp_path / "classifier.skflow")
    loaded = skflow.load(tmp_path / "classifier.skflow")
    np.testing.assert_array_equal(loaded.predict_proba(table[0]), fitted.predict_proba(table[0]))
