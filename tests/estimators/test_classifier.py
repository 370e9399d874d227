"""The classifier: probabilities, priors, labels of every kind, small classes, and rows of no known class."""

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_iris, load_wine, make_moons
from sklearn.discriminant_analysis import QuadraticDiscriminantAnalysis
from sklearn.metrics import log_loss, roc_auc_score
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skflow import FlowClassifier, FlowDensity

from ..helpers import fit_quietly, quick, same_flow


def brief(**params):
    return quick(FlowClassifier, **params)


@pytest.fixture(scope="module")
def iris():
    return load_iris(return_X_y=True)


@pytest.fixture(scope="module")
def fitted(iris):
    return fit_quietly(brief(), *iris)


# What Bayes' theorem says


def test_probabilities_and_log_probabilities_agree(fitted, iris):
    np.testing.assert_allclose(np.exp(fitted.predict_log_proba(iris[0])), fitted.predict_proba(iris[0]), rtol=1e-9)


def test_decision_is_log_odds_of_two_classes(iris):
    X, y = iris[0][50:], iris[1][50:]
    classifier = fit_quietly(brief(), X, y)
    log_proba = classifier.predict_log_proba(X)
    np.testing.assert_allclose(classifier.decision_function(X), log_proba[:, 1] - log_proba[:, 0])


def test_marginal_is_the_mixture_of_the_classes(fitted, iris):
    """Drawn from the classes by their priors, rows have the density that `score_samples` says."""
    X, y = fitted.sample(2000, random_state=0)
    drawn = np.mean([fitted.score_samples(X[y == c]).mean() for c in fitted.classes_])
    assert drawn == pytest.approx(fitted.score_samples(iris[0]).mean(), abs=0.5)


def test_density_integrates_to_one():
    X, y = make_moons(200, noise=0.2, random_state=0)
    classifier = fit_quietly(brief(), X, y)
    grid = np.linspace(-4, 5, 181)
    cells = np.stack(np.meshgrid(grid, grid), -1).reshape(-1, 2)
    assert np.exp(classifier.score_samples(cells)).sum() * (grid[1] - grid[0]) ** 2 == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("unit", [1e-6, 1e6])
def test_nats_follow_the_units_and_probabilities_do_not(unit, fitted, iris):
    X, y = iris
    other = fit_quietly(brief(), unit * X, y)
    shift = fitted.score_samples(X) - other.score_samples(unit * X)
    np.testing.assert_allclose(shift, 4 * np.log(unit), atol=0.02)
    np.testing.assert_allclose(other.predict_proba(unit * X), fitted.predict_proba(X), atol=0.02)


# Priors


def test_priors_of_the_data_are_weighted_shares(iris):
    X, y = iris
    weight = np.where(y == 0, 2.0, 1.0)
    np.testing.assert_allclose(fit_quietly(brief(), X, y, sample_weight=weight).class_prior_, [0.5, 0.25, 0.25])


def test_given_priors_shift_the_log_odds(fitted, iris):
    X, y = iris
    shifted = fit_quietly(brief(priors=[0.2, 0.2, 0.6]), X, y)
    odds, before = (e.predict_log_proba(X) @ [0, -1, 1] for e in (shifted, fitted))
    np.testing.assert_allclose(odds - before, np.log(3), atol=1e-6)
    np.testing.assert_allclose(shifted.class_prior_, [0.2, 0.2, 0.6])


@pytest.mark.parametrize("priors", [[0.5, 0.5], [0.5, 0.6, 0.7], [-0.5, 0.5, 1.0]])
def test_bad_priors_are_explained(priors, iris):
    with pytest.raises(ValueError, match="priors"):
        brief(priors=priors).fit(*iris)


# Labels and classes


@pytest.mark.parametrize(
    "names",
    [np.array(["ape", "bee", "cat"]), np.array(["ape", "bee", "cat"], dtype=object), np.array([-1.0, 0.0, 7.0])],
    ids=["str", "object", "float"],
)
def test_labels_of_every_kind(names, fitted, iris):
    X, y = iris
    classifier = fit_quietly(brief(), X, names[y])
    assert classifier.classes_.tolist() == names.tolist() and classifier.classes_.dtype == names.dtype
    assert (classifier.predict(X) == names[fitted.predict(X)]).all()
    assert set(classifier.sample(20, random_state=0)[1]) <= set(names)


def test_boolean_labels(iris):
    X, y = iris
    assert fit_quietly(brief(), X, y == 1).predict(X).dtype == bool


def test_labels_of_a_series(iris):
    X, y = load_iris(return_X_y=True, as_frame=True)
    assert isinstance(y, pd.Series)
    assert fit_quietly(brief(), X, y).feature_names_in_.tolist() == X.columns.tolist()


def test_one_class_is_refused_with_what_to_do(iris):
    with pytest.raises(ValueError, match=r"one class.*FlowDensity.*FlowOutlierDetector"):
        brief().fit(iris[0], np.zeros(150, int))


def test_a_class_without_weight_is_left_out(iris):
    X, y = iris
    whole = fit_quietly(brief(), X, y, sample_weight=(y != 1).astype(float))
    part = fit_quietly(brief(), X[y != 1], y[y != 1])
    assert whole.classes_.tolist() == [0, 2]
    assert same_flow(whole, part)


def test_failed_fit_keeps_the_classes(iris):
    X, y = iris
    classifier = fit_quietly(brief(), X, y)
    with pytest.raises(ValueError, match="one class"):
        classifier.fit(X, np.ones(150, int))
    assert classifier.classes_.tolist() == [0, 1, 2] and np.isfinite(classifier.predict_proba(X)).all()


# Few rows, odd columns


def is_useful(classifier, X, y):
    proba = classifier.predict_proba(np.vstack([X, 1e6 * X]))
    np.testing.assert_allclose(proba.sum(1), 1)
    assert np.isfinite(classifier.score_samples(np.vstack([X, 1e6 * X]))).all()
    assert (classifier.predict(X) == y).mean() > 0.8


@pytest.mark.parametrize("n", [1, 2, 3])
def test_a_class_of_few_rows(n, iris):
    X, y = iris
    keep = np.concatenate([np.arange(100), 100 + np.arange(n)])
    is_useful(fit_quietly(brief(), X[keep], y[keep]), X[keep], y[keep])


@pytest.mark.filterwarnings("ignore:The number of unique classes")
@pytest.mark.parametrize("n", [1, 2, 4])
def test_many_classes_of_few_rows(n):
    rng = np.random.RandomState(0)
    y = np.repeat(np.arange(30), n)
    X = 10 * rng.randn(30, 5)[y] + rng.randn(30 * n, 5)
    is_useful(fit_quietly(brief(), X, y), X, y)


def test_a_column_constant_in_one_class_and_one_everywhere(iris):
    X, y = iris
    X = np.column_stack([X, np.where(y == 0, 3.0, np.random.RandomState(0).randn(150)), np.full(150, 7.0)])
    is_useful(fit_quietly(brief(), X, y), X, y)


def test_copies_and_ties():
    rng = np.random.RandomState(0)
    X = rng.randint(0, 3, (300, 3)).astype(float)
    y = (X.sum(1) > 3).astype(int)
    is_useful(fit_quietly(brief(max_iter=20), X, y), X, y)


# Quality, at default parameters


def test_less_log_loss_than_quadratic_discriminants():
    X, y = load_wine(return_X_y=True)
    scores = []
    for seed in range(3):
        A, B, a, b = train_test_split(X, y, stratify=y, test_size=0.25, random_state=seed)
        models = FlowClassifier(random_state=0), QuadraticDiscriminantAnalysis()
        scores.append([log_loss(b, model.fit(A, a).predict_proba(B)) for model in models])
    ours, theirs = np.mean(scores, 0)
    assert ours < theirs


def test_heavy_tails_are_no_trouble():
    rng = np.random.RandomState(0)
    y = rng.randint(0, 2, 600)
    X = np.exp(2 * rng.randn(600, 3) + 1.5 * y[:, None] * [1, -1, 0])
    classifier = FlowClassifier(random_state=0).fit(X[:400], y[:400])
    truth = log_loss(y[400:], 1 / (1 + np.exp(-np.log(X[400:]) @ [1.5 / 4, -1.5 / 4, 0])))
    assert log_loss(y[400:], classifier.predict_proba(X[400:])) < truth + 0.05


def test_rows_of_no_known_class_stand_out():
    X, y = load_wine(return_X_y=True)
    known = y != 2
    classifier = FlowClassifier(random_state=0).fit(X[known][::2], y[known][::2])
    rows = np.vstack([X[known][1::2], X[~known]])
    new = np.repeat([0, 1], [known[known][1::2].size, (~known).sum()])
    assert roc_auc_score(new, -classifier.score_samples(rows)) > 0.95


# Drawing rows


def test_rows_are_drawn_with_their_classes(fitted):
    X, y = fitted.sample(300, random_state=0)
    assert X.shape == (300, 4) and y.shape == (300,)
    assert (fitted.predict(X) == y).mean() > 0.9


def test_rows_are_drawn_of_given_classes(fitted):
    assert (fitted.predict(fitted.sample(50, y=2, random_state=0)) == 2).mean() > 0.8
    X = fitted.sample(2, y=[0, 2], random_state=0)
    assert fitted.predict(X).tolist() == [0, 0, 2, 2]


def test_unknown_class_to_draw_is_explained(fitted):
    with pytest.raises(ValueError, match=r"'dog'.*\[0, 1, 2\]"):
        fitted.sample(y="dog")


# Within scikit-learn


def test_pipeline_search_and_calibration(iris):
    X, y = iris
    pipeline = make_pipeline(StandardScaler(), brief())
    search = GridSearchCV(pipeline, {"flowclassifier__priors": [None, [0.2, 0.4, 0.4]]}, cv=2)
    assert fit_quietly(search, X, y).score(X, y) > 0.9
    assert fit_quietly(CalibratedClassifierCV(brief(), cv=2), X, y).predict_proba(X).shape == (150, 3)


def test_weights_are_routed(iris):
    import sklearn

    X, y = iris
    weight = np.where(y == 0, 0.0, 1.0)
    with sklearn.config_context(enable_metadata_routing=True):
        pipeline = make_pipeline(
            StandardScaler().set_fit_request(sample_weight=False), brief().set_fit_request(sample_weight=True)
        )
        assert fit_quietly(pipeline, X, y, sample_weight=weight)[-1].classes_.tolist() == [1, 2]


def test_same_seed_same_fit_on_any_number_of_threads(iris, two_threads):
    import torch

    first = fit_quietly(brief(), *iris)
    torch.set_num_threads(1)
    assert same_flow(fit_quietly(clone(first), *iris), first)


def test_density_of_one_class_is_left_to_the_density(iris):
    """What the message about one class recommends works."""
    assert np.isfinite(fit_quietly(quick(FlowDensity), iris[0][:50]).score(iris[0][:50]))
