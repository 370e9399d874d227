"""What a session sets for all its code has no say in what the estimators do, and stays as it was set."""

import os
import pickle
import subprocess
import sys
import threading
import warnings
from contextlib import contextmanager

import numpy as np
import pandas as pd
import pytest
import sklearn
import torch

from skflow import FlowDensity, FlowOutlierDetector
from skflow.flows import FLOWS, Affine, MaskedAutoregressive, Planar, Rotation
from skflow.utils import check_density

from ..helpers import fit_quietly, quick


@contextmanager
def numpy_raises():
    with np.errstate(all="raise"):
        yield


@contextmanager
def double_precision():
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


@contextmanager
def default_device():
    torch.set_default_device("meta")
    try:
        yield
    finally:
        torch.set_default_device(None)


@contextmanager
def deterministic():
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)


@contextmanager
def warnings_raise():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", message=".*max_iter=")
        yield


SETTINGS = {
    "numpy errors": numpy_raises,
    "default dtype": double_precision,
    "default device": default_device,
    "device block": lambda: torch.device("meta"),
    "deterministic algorithms": deterministic,
    "no_grad": torch.no_grad,
    "inference_mode": torch.inference_mode,
    "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
    "warnings": warnings_raise,
    "assume_finite": lambda: sklearn.config_context(assume_finite=True),
    "transform_output": lambda: sklearn.config_context(transform_output="pandas"),
}
METHODS = {
    FlowDensity: ["score_samples", "score", "sample", "transform", "inverse_transform", "bic", "aic"],
    FlowOutlierDetector: ["score_samples", "decision_function", "predict", "p_values", "explain"],
}


def everything(cls, X, **params):
    """The results of every method of an estimator fitted to ``X``."""
    estimator = fit_quietly(quick(cls, **params), X)
    out = {}
    for method in METHODS[cls]:
        call = getattr(estimator, method)
        out[method] = call(50, random_state=1) if method == "sample" else call(X[:40])
    if cls is FlowDensity:
        batches = quick(cls, **params).partial_fit(X).partial_fit(X[:50])
        out["partial_fit"] = batches.score_samples(X)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            further = estimator.set_params(warm_start=True, max_iter=2).fit(X)
        out["float32"] = further.score_samples(X.astype(np.float32))
        out["pickle"] = pickle.loads(pickle.dumps(further)).score_samples(X)
    return out


def briefly(cls, X, **params):
    """Scores, and what is drawn, after a very short fit to few rows."""
    estimator = fit_quietly(quick(cls, **params), X[:80])
    out = {"score_samples": estimator.score_samples(X[:40])}
    if cls is FlowDensity:
        out["sample"] = estimator.sample(20, random_state=1)
    return out


def check_same(found, expected):
    for name in expected:
        np.testing.assert_array_equal(np.asarray(found[name]), np.asarray(expected[name]), err_msg=name)


@pytest.fixture(scope="module", params=METHODS, ids=lambda cls: cls.__name__)
def undisturbed(request, table):
    return request.param, everything(request.param, table[:100])


@pytest.mark.parametrize("setting", SETTINGS)
def test_setting_has_no_say(setting, undisturbed, table):
    cls, expected = undisturbed
    with SETTINGS[setting]():
        found = everything(cls, table[:100])
    check_same(found, expected)


@pytest.mark.long
@pytest.mark.parametrize("flow", FLOWS)
@pytest.mark.parametrize("setting", ["default dtype", "device block"])
def test_no_flow_heeds_it(flow, setting, table):
    expected = briefly(FlowDensity, table, flow=flow)
    with SETTINGS[setting]():
        found = briefly(FlowDensity, table, flow=flow)
    check_same(found, expected)


@pytest.fixture(
    scope="module",
    params=[
        {"base": "student-t"},
        {"base": "mixture"},
        {"ordering": "agnostic", "flow": "made"},
        {"ordering": "random"},
        {"bounds": (-100, 100)},
        {"early_stopping": False},
    ],
    ids=lambda params: "-".join(params),
)
def with_parameters(request, table):
    return request.param, briefly(FlowDensity, table, **request.param)


@pytest.mark.parametrize("setting", ["default dtype", "device block", "numpy errors", "inference_mode"])
def test_no_parameter_heeds_it(with_parameters, setting, table):
    params, expected = with_parameters
    with SETTINGS[setting]():
        found = briefly(FlowDensity, table, **params)
    check_same(found, expected)


@pytest.fixture(scope="module", params=["density", "typicality"])
def with_criterion(request, table):
    params = {"criterion": request.param, "contamination": 0.1}
    return params, briefly(FlowOutlierDetector, table, **params)


@pytest.mark.parametrize("setting", ["default dtype", "device block", "numpy errors"])
def test_no_criterion_heeds_it(with_criterion, setting, table):
    params, expected = with_criterion
    with SETTINGS[setting]():
        found = briefly(FlowOutlierDetector, table, **params)
    check_same(found, expected)


AWKWARD = {
    "Cauchy": lambda r: r.standard_cauchy((120, 3)),
    "mostly zero": lambda r: np.where(r.rand(120, 3) < 0.9, 0, r.randn(120, 3)),
    "tiny": lambda r: 1e-200 * r.randn(120, 3),
    "constant": lambda r: np.c_[np.ones(120), r.randn(120)],
    "integers": lambda r: r.randint(0, 3, (120, 2)),
    "float32": lambda r: r.randn(120, 2).astype(np.float32),
    "wide": lambda r: r.randn(20, 40),
}


@pytest.mark.parametrize("cls", METHODS)
@pytest.mark.parametrize("name", AWKWARD)
@pytest.mark.parametrize("setting", ["numpy errors", "warnings"])
def test_awkward_tables_under_strict_rules(setting, name, cls):
    X = AWKWARD[name](np.random.RandomState(0))
    with SETTINGS[setting]():
        estimator = fit_quietly(quick(cls, max_iter=2), X, sample_weight=np.r_[1e-300, np.ones(len(X) - 1)])
        assert np.isfinite(estimator.score_samples(100 * X)).all()


def test_a_read_only_table_raises_no_warning(table):
    X = table.copy()
    X.flags.writeable = False
    with warnings_raise():
        quick().fit(X).score_samples(X)


def test_settings_are_as_they_were_afterwards(table):
    with numpy_raises(), torch.no_grad(), torch.device("meta"), torch.autocast("cpu", dtype=torch.bfloat16):
        with sklearn.config_context(assume_finite=True, transform_output="pandas"):
            before = np.geterr(), sklearn.get_config()
            fit_quietly(quick(), table).score_samples(table)
            with pytest.raises(ValueError):
                quick().fit(np.full((20, 2), np.inf))
            assert (np.geterr(), sklearn.get_config()) == before
            assert not torch.is_grad_enabled()
            assert torch.get_default_device().type == "meta"
            assert torch.is_autocast_enabled("cpu")
    with torch.inference_mode():
        fit_quietly(quick(), table).score_samples(table)
        assert torch.is_inference_mode_enabled()


def test_a_fit_under_inference_mode_can_be_trained_further(table):
    with torch.inference_mode():
        density = fit_quietly(quick(warm_start=True), table)
    fit_quietly(density, table)
    (gradient,) = torch.autograd.grad(
        density.flow_.log_prob(torch.tensor(table)).sum(), [next(density.flow_.parameters())]
    )
    assert gradient.isfinite().all()


def test_containers_of_results_follow_the_session(table):
    """The user's own results are what the user asks for."""
    density = fit_quietly(quick(), table)
    with sklearn.config_context(transform_output="pandas"):
        assert isinstance(density.transform(table), pd.DataFrame)
    assert isinstance(density.transform(table), np.ndarray)


def test_unchecked_input_is_checked_all_the_same(table):
    density = fit_quietly(quick(), table)
    bad = np.full((2, 4), np.inf)
    with sklearn.config_context(assume_finite=True):
        for method in ("score_samples", "transform", "inverse_transform"):
            with pytest.raises(ValueError, match="infinity"):
                getattr(density, method)(bad)


def test_threads_have_settings_of_their_own(table):
    """A fit in one thread, strict rules in another."""
    errors, go = [], threading.Event()

    def strict():
        with np.errstate(all="raise"), sklearn.config_context(assume_finite=True), torch.no_grad():
            go.wait(30)
            for _ in range(3):
                if np.geterr()["under"] != "raise" or torch.is_grad_enabled():
                    errors.append("not strict")
                fit_quietly(quick(max_iter=2), table)

    other = threading.Thread(target=strict)
    other.start()
    go.set()
    for _ in range(3):
        fit_quietly(quick(max_iter=2), table)
        assert np.geterr()["under"] == "ignore" and torch.is_grad_enabled()
    other.join()
    assert not errors


def test_what_networks_share_is_made_where_they_need_it():
    """Masks are kept for the next network of their shape: one built on another device must not spoil them."""
    with torch.device("meta"):
        assert next(MaskedAutoregressive(7, 0, Affine()).parameters()).device.type == "meta"
    layer = MaskedAutoregressive(7, 0, Affine())
    assert layer(torch.randn(3, 7))[0].isfinite().all()


def test_modules_have_the_default_precision():
    """By torch's custom, when one builds them oneself; drawn numbers are the same."""
    for build in (lambda: Planar(3), lambda: Rotation(3)):
        torch.manual_seed(0)
        single = build()
        with double_precision():
            torch.manual_seed(0)
            double = build()
        for a, b in zip(single.parameters(), double.parameters()):
            assert b.dtype == torch.float64
            assert torch.equal(a.double(), b)


def test_pictures_and_checks_under_strict_rules(table):
    plt = pytest.importorskip("matplotlib.pyplot")
    plt.switch_backend("Agg")
    from skflow import DensityDisplay, LatentDisplay, LossCurveDisplay

    X = table[:, :1]
    density = fit_quietly(quick(), X)
    with numpy_raises():
        DensityDisplay.from_estimator(density, X, grid_resolution=20)
        LatentDisplay.from_estimator(density, X)
        LossCurveDisplay.from_estimator(density)
        check_density(density, X, n_samples=500)
    plt.close("all")


ARRAY_API = """
import numpy as np, torch, warnings
from sklearn import config_context
from skflow import FlowDensity, FlowOutlierDetector
warnings.simplefilter("ignore")
X = np.random.RandomState(0).randn(120, 3)
for make in (FlowDensity, FlowOutlierDetector):
    for base in ("auto", "student-t"):
        estimator = make(random_state=0, max_iter=3, base=base)
        expected = estimator.fit(X).score_samples(X)
        with config_context(array_api_dispatch=True):
            assert (estimator.fit(X).score_samples(X) == expected).all()
            assert (estimator.score_samples(torch.tensor(X)) == expected).all()
            for name in ("transform", "sample", "predict", "p_values", "explain"):
                if hasattr(estimator, name):
                    getattr(estimator, name)(*([] if name == "sample" else [X[:9]]))
print("ok")
"""


def test_array_api_dispatch():
    """In a process of its own, as scipy reads its part of the setting when it is imported."""
    run = subprocess.run(
        [sys.executable, "-c", ARRAY_API], capture_output=True, text=True, env={**os.environ, "SCIPY_ARRAY_API": "1"}
    )
    assert run.stdout.strip() == "ok", run.stderr[-2000:]
