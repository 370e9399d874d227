"""FlowPosterior: evidence, draws and diagnostics of densities whose constants are known, and what is refused."""

import math
import pickle
import warnings

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning

import skflow
from skflow import FlowPosterior
from skflow.training import hyperparameters as hp

SMALL = {"max_evaluations": 20_000, "depth": 1, "hidden_layer_sizes": (16,), "n_bins": 6, "max_iter": 6}


@pytest.fixture(scope="module", autouse=True)
def small_proposals():
    """Proposals that are fitted in no time: the densities here are simple."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hp, "PROPOSAL_STEPS", 20)
        patch.setattr(hp, "COMPONENTS", (2,))
        yield


def quick(**params):
    """An estimator whose fit to a simple density takes a second or two."""
    return FlowPosterior(**{**SMALL, "random_state": 0, **params})


def fit(posterior, *args, **kwargs):
    """Fit without the warning that so small a fit may not be enough."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return posterior.fit(*args, **kwargs)


def gaussian(x):
    """Mean (1, -2), deviations 1 and 0.5, and a constant of e^3."""
    return 3.0 - 0.5 * ((x - torch.tensor([1.0, -2.0])) / torch.tensor([1.0, 0.5])).square().sum(1)


LOG_Z = 3.0 + math.log(2 * math.pi * 0.5)


@pytest.fixture(scope="module")
def posterior():
    return fit(quick(), gaussian, 2)


def test_evidence_is_right(posterior):
    assert posterior.log_evidence_ == pytest.approx(LOG_Z, abs=max(4 * posterior.log_evidence_std_, 0.01))


def test_evidence_lower_bound_is_lower(posterior):
    assert posterior.elbo_ < posterior.log_evidence_


def test_moments_are_right(posterior):
    X = posterior.resample(2000, random_state=0)
    np.testing.assert_allclose(X.mean(0), [1, -2], atol=0.1)
    np.testing.assert_allclose(X.std(0), [1, 0.5], rtol=0.1)


def test_budget_is_kept(posterior):
    assert posterior.n_evaluations_ <= SMALL["max_evaluations"]


def test_every_evaluation_is_counted():
    rows = 0

    def counted(x):
        nonlocal rows
        rows += len(x)
        return gaussian(x)

    assert fit(quick(), counted, 2).n_evaluations_ == rows


def test_weights_average_to_the_evidence(posterior):
    _, log_weights = posterior.importance_sample(2000, random_state=1)
    assert np.log(np.exp(log_weights - LOG_Z).mean()) == pytest.approx(0, abs=0.05)


def test_draws_that_are_weighted_are_those_of_sample(posterior):
    X, log_weights = posterior.importance_sample(50, random_state=3)
    np.testing.assert_array_equal(X, posterior.sample(50, random_state=3))
    expected = gaussian(torch.tensor(X)).numpy() - posterior.score_samples(X)
    np.testing.assert_allclose(log_weights, expected, atol=1e-9)


def test_diagnostics_of_a_good_fit_are_good(posterior):
    assert posterior.pareto_k_ < 0.7 and posterior.effective_sample_size_ > 2000


def test_score_is_normalised(posterior):
    grid = np.stack(np.meshgrid(np.linspace(-6, 8, 281), np.linspace(-6, 2, 321)), -1).reshape(-1, 2)
    assert np.exp(posterior.score_samples(grid)).sum() * 0.05 * 0.025 == pytest.approx(1, abs=0.02)


def test_latent_round_trip(posterior):
    X = posterior.sample(20, random_state=0)
    np.testing.assert_allclose(posterior.inverse_transform(posterior.transform(X)), X, atol=1e-6)


def test_flow_is_torch_both_ways(posterior):
    x = torch.tensor(posterior.sample(20, random_state=0))
    torch.testing.assert_close(posterior.flow_.from_latent(posterior.flow_.to_latent(x)), x, atol=1e-6, rtol=0)


def test_same_seed_same_fit(posterior):
    again = fit(quick(), gaussian, 2)
    assert again.log_evidence_ == posterior.log_evidence_


def test_both_modes_are_found():
    def two_modes(x):
        return torch.logaddexp(-2 * (x - 4).square().sum(1), -2 * (x + 4).square().sum(1))

    posterior = fit(quick(), two_modes, 2)
    share = (posterior.sample(1000, random_state=0)[:, 0] > 0).mean()
    assert 0.4 < share < 0.6
    assert posterior.log_evidence_ == pytest.approx(math.log(math.pi), abs=0.1)


def test_bounds_are_kept_and_never_left():
    def gamma_and_uniform(x):
        assert (x[:, 0] >= 0).all() and (x[:, 1] >= -1).all() and (x[:, 1] <= 2).all()
        return x[:, 0].log() - x[:, 0]

    posterior = fit(quick(bounds=[(0, None), (-1, 2)]), gamma_and_uniform)
    assert posterior.score_samples([[-0.1, 0.0], [1.0, 2.1]]).tolist() == [-np.inf, -np.inf]
    assert posterior.log_evidence_ == pytest.approx(math.log(3), abs=0.05)


def test_numpy_function_of_one_row():
    def plain(x):
        assert isinstance(x, np.ndarray) and x.shape == (2,)
        return -0.5 * float(x @ x)

    posterior = fit(quick(vectorized=False, gradient=False), plain, 2)
    assert posterior.log_evidence_ == pytest.approx(math.log(2 * math.pi), abs=0.05)


def test_numpy_function_of_rows():
    posterior = fit(quick(gradient=False), lambda x: -0.5 * (x**2).sum(1), 2)
    assert posterior.log_evidence_ == pytest.approx(math.log(2 * math.pi), abs=0.05)


def test_conjugate_linear_regression():
    rng = np.random.RandomState(0)
    A, noise = rng.randn(30, 2), 0.5
    y = A @ [1.0, -1.0] + noise * rng.randn(30)
    tensor_A, tensor_y = torch.tensor(A), torch.tensor(y)

    def log_density(w):
        residual = (tensor_y - w @ tensor_A.T) / noise
        return -0.5 * (residual.square() + math.log(2 * math.pi * noise**2)).sum(1) - 0.5 * (
            w.square() + math.log(2 * math.pi)
        ).sum(1)

    posterior = fit(quick(), log_density, 2)
    marginal = A @ A.T + noise**2 * np.eye(30)
    log_z = -0.5 * (y @ np.linalg.solve(marginal, y) + np.linalg.slogdet(2 * np.pi * marginal)[1])
    assert posterior.log_evidence_ == pytest.approx(log_z, abs=0.05)


def test_narrow_far_density_is_found_from_init():
    def far(x):
        return -0.5 * ((x - 1e4) / 1e-2).square().sum(1)

    posterior = fit(quick(), far, init=[[1e4 - 0.1, 1e4 + 0.1], [1e4 + 0.1, 1e4 - 0.1]])
    assert posterior.log_evidence_ == pytest.approx(math.log(2 * math.pi * 1e-4), abs=0.1)


def test_undefined_values_have_no_density():
    def half(x):
        return torch.where(x[:, 0] > 0, -0.5 * x.square().sum(1), torch.nan)

    posterior = fit(quick(), half, 2)
    assert posterior.log_evidence_ == pytest.approx(math.log(math.pi), abs=0.1)


def test_a_poor_fit_says_so():
    def heavy_tailed(x):  # of no constant at all
        return torch.zeros(len(x), dtype=x.dtype)

    with pytest.warns(ConvergenceWarning, match="pareto_k_"):
        assert quick().fit(heavy_tailed, 2).pareto_k_ > 0.7


@pytest.mark.parametrize(
    "params, function, message",
    [
        ({}, lambda x: x, r"returned shape \(\d+, 2\)"),
        ({}, lambda x: x.sum(), r"returned shape \(\)"),
        ({"vectorized": False}, lambda x: x, "row"),
        ({}, lambda x: torch.full((len(x),), torch.nan), "finite"),
    ],
)
def test_wrong_answers_are_refused(params, function, message):
    with pytest.raises(ValueError, match=message):
        quick(**params).fit(function, 2)


def test_what_is_no_function_is_refused():
    with pytest.raises(TypeError, match="log_density must be a function"):
        quick().fit(np.zeros((3, 2)), 2)


def test_unknown_number_of_columns_is_refused():
    with pytest.raises(ValueError, match="pass n_features"):
        quick().fit(gaussian)


def test_numbers_of_columns_have_to_agree():
    with pytest.raises(ValueError, match="3 by n_features, 2 by feature_names"):
        quick(feature_names=["a", "b"]).fit(gaussian, 3)


def test_small_budget_is_refused():
    with pytest.raises(ValueError, match="max_evaluations"):
        quick(max_evaluations=100).fit(gaussian, 2)


@pytest.mark.parametrize("params", [{"warm_start": True}, {"checkpoint": "fit.safetensors"}])
def test_what_would_have_no_effect_is_refused(params):
    (name,) = params
    with pytest.raises(ValueError, match=f"'{name}' parameter of FlowPosterior"):
        quick(**params).fit(gaussian, 2)


def test_names_are_kept():
    pandas = pytest.importorskip("pandas")
    posterior = fit(quick(feature_names=["a", "b"], bounds={"b": (None, 0)}), gaussian)
    assert list(posterior.feature_names_in_) == ["a", "b"]
    assert posterior.score_samples(pandas.DataFrame({"a": [1.0], "b": [0.1]}))[0] == -np.inf


def test_a_failed_fit_leaves_the_previous_one(posterior):
    before = posterior.flow_
    with pytest.raises(ZeroDivisionError):
        posterior.fit(lambda x: 1 / 0, 2)
    assert posterior.flow_ is before and posterior.resample(10, random_state=0).shape == (10, 2)


def test_clone_has_the_parameters_alone(posterior):
    copy = clone(posterior)
    assert copy.get_params() == posterior.get_params() and not hasattr(copy, "flow_")


def test_a_pickle_asks_for_the_density(posterior):
    loaded = pickle.loads(pickle.dumps(posterior))
    with pytest.raises(ValueError, match="pass log_density"):
        loaded.importance_sample(10)
    np.testing.assert_array_equal(
        loaded.importance_sample(10, gaussian, random_state=0)[1], posterior.importance_sample(10, random_state=0)[1]
    )


def test_a_file_keeps_scores_and_diagnostics(posterior, tmp_path):
    posterior.save(tmp_path / "posterior.safetensors")
    loaded = skflow.load(tmp_path / "posterior.safetensors")
    X = posterior.sample(5, random_state=0)
    np.testing.assert_array_equal(loaded.score_samples(X), posterior.score_samples(X))
    assert loaded.pareto_k_ == posterior.pareto_k_


def test_draws_go_into_arviz(posterior):
    pytest.importorskip("arviz")
    data = posterior.to_arviz(50, random_state=0)
    assert list(data["posterior"].data_vars) == ["x0", "x1"] and data["posterior"]["x0"].shape == (1, 50)
    assert data["posterior"].attrs["pareto_k"] == posterior.pareto_k_


def test_loss_curve_is_drawn(posterior):
    pytest.importorskip("matplotlib")
    assert skflow.LossCurveDisplay.from_estimator(posterior).ax_.get_xlabel() == "epoch"


def test_progress_is_shown(capsys):
    fit(quick(verbose=1), gaussian, 2)
    assert "inverse temperature" in capsys.readouterr().out


@pytest.mark.parametrize("after", [6000, 9000])
def test_ctrl_c_keeps_what_there_is(after):
    """Within the sampling, whose draws a flow is then fitted to."""
    rows = 0

    def interrupting(x):
        nonlocal rows
        rows += len(x)
        if rows - len(x) <= after < rows:
            raise KeyboardInterrupt
        return gaussian(x)

    with pytest.warns(UserWarning) as caught:
        posterior = quick().fit(interrupting, 2)
    assert any("interrupted" in str(warning.message) for warning in caught)
    assert np.isfinite(posterior.score_samples([[1.0, -2.0]])).all()
