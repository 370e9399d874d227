"""Estimators as ONNX graphs, run by onnxruntime: the same numbers, for any number of rows."""

import numpy as np
import pytest
import torch

import skflow
from skflow.flows import FLOWS
from skflow.flows.regression.boosted_trees import BoostedTrees, Tree
from skflow.persistence.onnx.dense import dense
from skflow.persistence.onnx.trace import traced

from ..helpers import fit_quietly, quick

onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnx")

pytestmark = pytest.mark.usefixtures("few_folds")
BY_ITERATION = {"made-mog", "maf-mog", "naf", "bpf", "sos", "gaussianization", "planar", "sylvester"}


@pytest.fixture(scope="module")
def bounded(table):
    """A table that needs all of the preprocessing: bounds on both sides and on one, a heavy tail."""
    heavy = np.random.RandomState(0).standard_t(2, size=len(table))
    return np.column_stack([table[:, 0], table[:, 1] / 10, heavy]).astype(np.float32)


BOUNDS = [(0, None), (-1, 1), None]


@pytest.fixture(scope="module", params=sorted(FLOWS))
def exported(request, bounded):
    """A fit of every named flow."""
    return fit_quietly(quick(flow=request.param, depth=2, bounds=BOUNDS), bounded)


def run(estimator, folder, method, **inputs):
    path = folder / "model.onnx"
    skflow.export_onnx(estimator, path, method)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (out,) = session.run([method], inputs)
    return out


@pytest.mark.parametrize("method", ["score_samples", "transform"])
def test_a_flow_is_within_1e_5(exported, bounded, method, tmp_path):
    found = run(exported, tmp_path, method, X=bounded)
    np.testing.assert_allclose(found, getattr(exported, method)(bounded), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("n", [1, 2, 1009, 5000])
def test_any_number_of_rows(density, table, tmp_path, n):
    X = np.resize(table, (n, 4)).astype(np.float32)
    np.testing.assert_allclose(
        run(density, tmp_path, "score_samples", X=X), density.score_samples(X), rtol=1e-5, atol=1e-5
    )


def test_far_rows_and_rows_outside_the_bounds(bounded, tmp_path):
    estimator = fit_quietly(quick(bounds=BOUNDS), bounded)
    X = np.array([[-1, 0, 0], [1e6, 0, 0], [1, 0, -1e9], [0, 0, 0], [1, 1, 0], [1, 2, 1e20]], dtype=np.float32)
    found = run(estimator, tmp_path, "score_samples", X=X)
    assert (found == -np.inf).tolist() == [True, False, False, False, False, True]
    np.testing.assert_allclose(found, estimator.score_samples(X), rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("params", [{"ordering": "agnostic"}, {"base": "student-t"}, {"base": "normal"}], ids=str)
def test_orderings_and_bases(params, table, tmp_path):
    estimator, X = fit_quietly(quick(**params), table), table.astype(np.float32)
    found = run(estimator, tmp_path, "score_samples", X=X)
    np.testing.assert_allclose(found, estimator.score_samples(X), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["nsf", "gaussianization", "sylvester"])
def test_one_column(name, table, tmp_path):
    X = table[:, :1].astype(np.float32)
    estimator = fit_quietly(quick(flow=name), X)
    found = run(estimator, tmp_path, "score_samples", X=X)
    np.testing.assert_allclose(found, estimator.score_samples(X), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("criterion", ["smoothed", "density", "typicality"])
def test_a_detector(criterion, table, tmp_path):
    X = np.concatenate([table, table[:60]]).astype(np.float32)
    detector = fit_quietly(quick(skflow.FlowOutlierDetector, criterion=criterion), X)
    found = run(detector, tmp_path, "score_samples", X=X)
    np.testing.assert_allclose(found, detector.score_samples(X), rtol=1e-5, atol=1e-5)
    clear = np.abs(detector.decision_function(X)) > 1e-4
    assert np.array_equal(run(detector, tmp_path, "predict", X=X)[clear], detector.predict(X)[clear])


def test_rows_are_drawn_or_it_says_so(exported, bounded, tmp_path):
    rng = np.random.RandomState(0)
    noise = {"Z": rng.randn(4000, 3).astype(np.float32), "U": rng.rand(4000).astype(np.float32)}
    if exported.flow in BY_ITERATION:
        with pytest.raises(NotImplementedError, match="iteration"):
            run(exported, tmp_path, "sample", **noise)
        return
    rows, own = run(exported, tmp_path, "sample", **noise), exported.sample(4000, random_state=0)
    assert np.isfinite(exported.score_samples(rows)).all()
    quantiles = np.linspace(0.1, 0.9, 5)
    spread = np.subtract(*np.quantile(own, [0.95, 0.05], axis=0))
    off = (np.quantile(rows, quantiles, axis=0) - np.quantile(own, quantiles, axis=0)) / spread
    assert np.abs(off).max() < 0.05


@pytest.fixture(scope="module", params=[[3, 1, 2], ["b", "c", "a"], [True, False, True], [1.0, 2.0, 3.0]], ids=str)
def classifier(request, table):
    """Of labels of every kind."""
    X = table.astype(np.float32)
    y = np.asarray(request.param)[np.digitize(X[:, 0], np.quantile(X[:, 0], [0.3, 0.6]))]
    return fit_quietly(quick(skflow.FlowClassifier), X, y)


def test_a_classifier(classifier, table, tmp_path):
    X = table.astype(np.float32)
    for method in ("score_samples", "predict_proba"):
        expected = getattr(classifier, method)(X)
        np.testing.assert_allclose(run(classifier, tmp_path, method, X=X), expected, rtol=1e-5, atol=1e-5)
    labels = run(classifier, tmp_path, "predict", X=X)
    expected, two_best = classifier.predict(X), np.sort(classifier.predict_proba(X))[:, -2:]
    assert labels.dtype.kind == expected.dtype.kind or labels.dtype == object
    clear = np.diff(two_best)[:, 0] > 1e-4
    assert labels[clear].tolist() == expected[clear].tolist()


@pytest.mark.parametrize(("flow", "columns"), [("nsf", 1), ("glow", 4), ("naf", 2)])
def test_a_classifier_by_other_flows(flow, columns, table, tmp_path):
    X = table[:, :columns].astype(np.float32)
    estimator = fit_quietly(quick(skflow.FlowClassifier, flow=flow), X)
    for method in ("score_samples", "predict_proba"):
        expected = getattr(estimator, method)(X[:7])
        np.testing.assert_allclose(run(estimator, tmp_path, method, X=X[:7]), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("n_targets", [1, 2])
def test_a_regressor(n_targets, table, tmp_path):
    """Trees, ridge regression and the Gaussian process of every target among it."""
    rows = table.astype(np.float32)
    X, y = rows[:, n_targets:], rows[:, :n_targets].squeeze()
    bounds = [(0, None), None][:n_targets]
    estimator = fit_quietly(quick(skflow.FlowRegressor, bounds=bounds), X, y)
    found = run(estimator, tmp_path, "score_samples", X=X[:101], y=y[:101])
    np.testing.assert_allclose(found, estimator.score_samples(X[:101], y[:101]), rtol=1e-5, atol=1e-5)


def test_a_regressor_of_targets_far_from_zero(table, tmp_path):
    X, y = table[:, 1:].astype(np.float32), (table[:, 0] + 1e4).astype(np.float32)
    estimator = fit_quietly(quick(skflow.FlowRegressor), X, y)
    found = run(estimator, tmp_path, "score_samples", X=X, y=y)
    np.testing.assert_allclose(found, estimator.score_samples(X, y), rtol=1e-5, atol=1e-5)


def test_trees_of_one_leaf_and_of_many(tmp_path):
    """Rows on the thresholds themselves go to the left."""
    stump = Tree(np.zeros(1, int), np.zeros(1), np.full(1, -1), np.full(1, -1), np.full(1, 5.0))
    left, right = np.array([1, 3, -1, -1, 5, -1, -1]), np.array([4, 2, -1, -1, 6, -1, -1])
    tree = Tree(np.array([0, 1, 0, 0, 1, 0, 0]), np.array([0.5, 1, 0, 0, 2, 0, 0]), left, right, np.arange(7.0))
    trees = dense(BoostedTrees.of([tree, stump, tree], 0.5))
    X = np.array([[a, b] for a in (0, 0.5, 1) for b in (0, 1, 1.5, 2, 3)], dtype=np.float32)
    model = traced(lambda x: trees(x.double()), {"X": 2}, 100, "y", "")
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    np.testing.assert_array_equal(session.run(["y"], {"X": X})[0], trees(torch.from_numpy(X).double()).numpy())


def test_what_cannot_be_exported_says_so(density, table, tmp_path):
    with pytest.raises(ValueError, match="method='predict' of FlowDensity"):
        skflow.export_onnx(density, tmp_path / "x", "predict")
    for cls, method in ((skflow.FlowClassifier, "sample"), (skflow.FlowRegressor, "predict")):
        with pytest.raises(NotImplementedError, match=f"method='{method}' of {cls.__name__}"):
            skflow.export_onnx(quick(cls), tmp_path / "x", method)
    heavy, agnostic = (fit_quietly(quick(**p), table) for p in ({"base": "student-t"}, {"ordering": "agnostic"}))
    for estimator, method in ((heavy, "sample"), (heavy, "transform"), (agnostic, "sample")):
        with pytest.raises(NotImplementedError):
            skflow.export_onnx(estimator, tmp_path / "x", method)
    assert not (tmp_path / "x").exists()
