"""An estimator, saved and loaded, answers bit for bit as before, and goes on as it would have."""

import copy
import json
import os
import pickle
import struct
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone, is_regressor
from sklearn.preprocessing import StandardScaler

import skflow
from skflow.estimators.saved import SkflowVersionWarning
from skflow.flows import Affine, Bijection, Chain, Coupling
from skflow.persistence import FileFormatError

from ..helpers import FITTED_TO_TABLES, SAVABLE, fit_quietly, quick, scores, target

pytestmark = pytest.mark.usefixtures("few_folds")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.safetensors"


def round_trip(estimator, path, **more):
    estimator.save(path)
    return skflow.load(path, **more)


def same(a, b, X):
    """Whether two estimators hold the same and answer the same, in both precisions."""
    assert vars(a).keys() == vars(b).keys()
    for name in vars(a).keys() - {"random_state"}:
        left, right = getattr(a, name), getattr(b, name)
        assert type(left) is type(right) or np.isscalar(left), name
        if isinstance(left, np.ndarray):
            assert left.dtype == right.dtype
            np.testing.assert_array_equal(left, right)
    return all(np.array_equal(scores(a, X.astype(t)), scores(b, X.astype(t))) for t in "fd")


def test_every_flow(fitted, table, path):
    loaded = round_trip(fitted, path)
    assert same(fitted, loaded, table)
    np.testing.assert_array_equal(fitted.transform(table), loaded.transform(table))
    np.testing.assert_array_equal(fitted.sample(5, random_state=0), loaded.sample(5, random_state=0))


VARIANTS = {
    "float32": ({}, np.float32),
    "bounds": ({"bounds": [(-5, 50), None, (-20, None), None]}, float),
    "agnostic": ({"ordering": "agnostic"}, float),
    "student-t": ({"base": "student-t"}, float),
    "normal": ({"base": "normal"}, np.float32),
    "gaussianization": ({"flow": "gaussianization"}, np.float32),
    "random state": ({"random_state": np.random.RandomState(3)}, float),
    "sizes": ({"hidden_layer_sizes": np.array([8, 4])}, float),
}


@pytest.mark.parametrize(
    "cls", [pytest.param(cls, marks=pytest.mark.long) if cls is skflow.FlowPosterior else cls for cls in SAVABLE]
)
@pytest.mark.parametrize("variant", VARIANTS)
def test_every_kind(cls, variant, table, path):
    params, dtype = VARIANTS[variant]
    if is_regressor(cls()) and "bounds" in params:  # of its one target
        params = {"bounds": [(-5, 50)]}
    estimator = fit_quietly(quick(cls, **params), table.astype(dtype), sample_weight=np.linspace(0.1, 1, len(table)))
    assert same(estimator, round_trip(estimator, path), table)


@pytest.mark.parametrize("cls", SAVABLE)
def test_unfitted(cls, path):
    estimator = quick(cls, bounds=[(0, None), None])
    loaded = round_trip(estimator, path)
    assert repr(loaded) == repr(estimator) and vars(loaded).keys() == vars(estimator).keys()


@pytest.mark.parametrize("cls", FITTED_TO_TABLES)
def test_column_names(cls, table, path):
    frame = pd.DataFrame(table, columns=["a", "größe", "c d", '"'])
    estimator = fit_quietly(quick(cls), frame)
    loaded = round_trip(estimator, path)
    assert loaded.feature_names_in_.dtype == object
    assert loaded.feature_names_in_.tolist() == list(frame.columns)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(scores(loaded, frame), scores(estimator, frame))


def test_a_detector_answers_everything(table, path):
    X = np.concatenate([table, table[:60]])  # repeated rows are remembered
    detector = fit_quietly(quick(skflow.FlowOutlierDetector), X)
    loaded = round_trip(detector, path)
    for method in ("predict", "p_values", "explain"):
        np.testing.assert_array_equal(getattr(loaded, method)(X[:20]), getattr(detector, method)(X[:20]))


def test_a_regressor_answers_everything(table, path):
    X, Y = table[:, :3], table[:, [3, 0]] + table[:, [1]]
    for y in (Y[:, 0], Y):
        regressor = fit_quietly(quick(skflow.FlowRegressor), X, y)
        loaded = round_trip(regressor, path)
        for method in ("predict", "predict_quantiles", "predict_interval"):
            np.testing.assert_array_equal(getattr(loaded, method)(X[:20]), getattr(regressor, method)(X[:20]))


@pytest.mark.parametrize("labels", [["a", "größe"], [False, True], [2.0, -1.0], [7, 3]], ids=str)
def test_a_classifier_keeps_its_labels(labels, table, path):
    y = np.array(labels)[(table[:, 0] > 1).astype(int)]
    classifier = fit_quietly(quick(skflow.FlowClassifier, priors=[0.3, 0.7]), table, y)
    loaded = round_trip(classifier, path)
    assert loaded.classes_.tolist() == sorted(labels)
    np.testing.assert_array_equal(loaded.predict(table), classifier.predict(table))
    np.testing.assert_array_equal(loaded.predict_proba(table), classifier.predict_proba(table))


@pytest.mark.parametrize("sizes", [(40,), (40, 90), (200, 2200, 500)], ids=str)
def test_partial_fit_goes_on(sizes, path):
    rng = np.random.RandomState(0)
    estimator = quick()
    for size in sizes:
        estimator.partial_fit(rng.randn(size, 3), sample_weight=rng.rand(size))
    loaded = round_trip(estimator, path)
    for size in (100, 3000):
        X = rng.randn(size, 3)
        estimator.partial_fit(X), loaded.partial_fit(X)
    assert same(estimator, loaded, X)


def test_warm_start_goes_on(table, path):
    estimator = fit_quietly(quick(warm_start=True), table)
    loaded = round_trip(estimator, path)
    assert same(fit_quietly(estimator, table), fit_quietly(loaded, table), table)


def test_containers_and_requests_are_kept(table, path):
    import sklearn

    estimator = fit_quietly(quick(), table).set_output(transform="pandas")
    with sklearn.config_context(enable_metadata_routing=True):
        estimator.set_fit_request(sample_weight=True)
        loaded = round_trip(estimator, path)
        assert loaded.get_metadata_routing().fit.requests["sample_weight"] is True
    assert isinstance(loaded.transform(table), pd.DataFrame)


def test_nothing_global_moves(density, path):
    density.save(path)
    before = torch.random.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    skflow.load(path)
    assert torch.equal(before[0], torch.random.get_rng_state())
    assert np.array_equal(before[1], np.random.get_state()[1])  # noqa: NPY002


def test_whatever_the_settings_of_torch(density, table, path):
    density.save(path)
    torch.set_default_dtype(torch.float64)
    try:
        with torch.inference_mode(), torch.device("meta"):
            loaded = skflow.load(path)
    finally:
        torch.set_default_dtype(torch.float32)
    assert same(density, loaded, table)
    assert all(not p.is_inference() for p in loaded.flow_.parameters())


# Flows by code.
def layers(d, n_context):
    return Chain([Coupling(d, n_context, Affine(), (4,)) for _ in range(2)])


class Shift(Bijection):
    def forward(self, x, context=None):
        return x + 1, x.new_zeros(len(x))

    def inverse(self, z, context=None):
        return z - 1, z.new_zeros(len(z))


def test_a_flow_by_code_is_given_again(table, path):
    estimator = fit_quietly(quick(flow=layers), table)
    loaded = round_trip(estimator, path, flow=layers)
    assert same(estimator, loaded, table) and loaded.flow is layers
    with pytest.raises(FileFormatError, match="flow=..."):
        skflow.load(path)


def test_layers_of_another_class_are_refused(table, path):
    estimator = fit_quietly(quick(flow=lambda d, n_context: Chain([Shift(), layers(d, n_context)])), table)
    with pytest.raises(TypeError, match="Shift.*pickle"):
        estimator.save(path)
    assert not path.exists()


def test_a_flow_is_not_given_for_one_with_a_name(density, path):
    density.save(path)
    with pytest.raises(ValueError, match="flow="):
        skflow.load(path, flow=layers)


def test_what_cannot_be_kept_is_named(density, path):
    other = copy.deepcopy(density)
    other.note = "by hand"
    with pytest.raises(TypeError, match="'note'"):
        other.save(path)
    with pytest.raises(TypeError, match="Mine can't be saved"):
        type("Mine", (skflow.FlowDensity,), {})().save(path)


# The file itself.
def test_it_is_a_safetensors_file(density, path):
    safetensors = pytest.importorskip("safetensors")
    density.save(path)
    with safetensors.safe_open(path, framework="pt") as file:
        assert file.metadata()["format"] == "skflow"
        assert json.loads(file.metadata()["versions"])["skflow"] == skflow.__version__
        for name, tensor in density.flow_.state_dict().items():
            if f"flow_.{name}" in file.keys():
                assert torch.equal(file.get_tensor(f"flow_.{name}"), tensor)


def test_it_is_little_larger_than_its_tensors(path):
    skflow.FlowDensity(random_state=0, max_iter=20).fit(np.random.RandomState(0).randn(1000, 5)).save(path)
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    assert len(content) < 1.2 * (len(content) - 8 - length)


def test_a_failure_leaves_the_old_file(density, table, path, monkeypatch):
    density.save(path)
    before = path.read_bytes()

    def fails(*args):
        raise OSError("disk full")

    for name in ("fsync", "replace"):
        with monkeypatch.context() as patch:
            patch.setattr(os, name, fails)
            with pytest.raises(OSError, match="disk full"):
                fit_quietly(quick(flow="maf"), table).save(path)
        assert path.read_bytes() == before and os.listdir(path.parent) == [path.name]


@pytest.mark.skipif(os.name != "posix", reason="permissions are POSIX's")
def test_permissions_are_those_of_other_files(density, path):
    density.save(path)
    (path.parent / "other").write_text("")
    assert path.stat().st_mode == (path.parent / "other").stat().st_mode
    os.chmod(path, 0o600)
    density.save(path)
    assert path.stat().st_mode & 0o777 == 0o600


# Pickles and skops.
def test_a_pickle_of_another_version_warns(density, monkeypatch):
    same_version = pickle.dumps(density)
    monkeypatch.setattr("skflow.estimators.saved.__version__", "0.0.1")
    other = pickle.dumps(density)
    monkeypatch.undo()
    with pytest.warns(SkflowVersionWarning, match="by skflow 0.0.1"):
        pickle.loads(other)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loaded = pickle.loads(same_version)
        copy.deepcopy(density), clone(density)
    assert vars(loaded).keys() == vars(density).keys()


@pytest.mark.parametrize("cls", FITTED_TO_TABLES)
def test_skops_trusts_the_estimator_alone(cls, table):
    skops = pytest.importorskip("skops.io")
    from sklearn.pipeline import make_pipeline

    pipeline = fit_quietly(make_pipeline(StandardScaler(), quick(cls)), table, target(quick(cls), table))
    content = skops.dumps(pipeline)
    trusted = skops.get_untrusted_types(data=content)
    assert trusted == [f"{cls.__module__}.{cls.__name__}"]
    loaded = skops.loads(content, trusted=trusted)
    method = "predict" if is_regressor(cls()) else "score_samples"
    np.testing.assert_array_equal(getattr(loaded, method)(table), getattr(pipeline, method)(table))


@pytest.mark.parametrize("holes", [False, True], ids=["categories alone", "numbers and holes"])
def test_a_table_with_categories(holes, tmp_path):
    rng = np.random.RandomState(0)
    frame = pd.DataFrame({"a": rng.choice(["u", "v"], 200), "b": rng.rand(200) < 0.3})
    if holes:
        frame = frame.assign(x=np.where(rng.rand(200) < 0.2, np.nan, rng.randn(200)), n=rng.randint(0, 9, 200))
    density = fit_quietly(quick(), frame)
    density.save(tmp_path / "mixed.safetensors")
    loaded = skflow.load(tmp_path / "mixed.safetensors")
    np.testing.assert_array_equal(loaded.score_samples(frame), density.score_samples(frame))
    pd.testing.assert_frame_equal(loaded.sample(20, random_state=0), density.sample(20, random_state=0))
