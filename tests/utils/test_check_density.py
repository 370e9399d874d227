"""`check_density` passes what is right, whatever the seed, and catches what is broken, naming it."""

import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats
from sklearn.datasets import load_iris, make_moons
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import KernelDensity

from skflow import FlowDensity
from skflow.flows import FLOWS, Flow, FlowSettings, build_flow
from skflow.utils import DensityCheckError, check_density

from ..flows.test_distributions import BASES
from ..helpers import fit_quietly, quick


class Tampered:
    """A Gaussian mixture with ways to break it; ``d`` columns, two clusters."""

    def __init__(self, d, factor=1.0, scale=1.0, shift=0.0, tilt=0.0, order=False, drop=False):
        rng = np.random.RandomState(d)
        X = rng.randn(400, d) @ rng.randn(d, d) + 4 * (rng.rand(400, 1) < 0.3)
        self.X = X
        self.mixture = GaussianMixture(2, random_state=0).fit(X)
        self.factor, self.scale, self.shift, self.tilt = factor, scale, shift, tilt
        self.order, self.drop = order, drop

    def score_samples(self, X):
        scores = self.mixture.score_samples(X) + np.log(self.factor) + self.tilt * X[:, 0]
        return scores + 1e-5 * np.arange(len(X)) if self.order else scores

    def sample(self, n, random_state=None):
        self.mixture.random_state = random_state
        X, label = self.mixture.sample(n)
        if self.drop:  # a sampler that knows one cluster only
            X = X[np.random.RandomState(random_state).choice(np.flatnonzero(label == 0), n)]
        return X.mean(0) + (X - X.mean(0)) * self.scale + self.shift


class TamperedFlow:
    """A normal distribution as a flow, with ways to break its maps."""

    def __init__(self, d, inverse_error=0.0, latent_scale=1.0, score_factor=1.0):
        rng = np.random.RandomState(d)
        self.factor = np.linalg.cholesky(np.cov(rng.randn(d, 5 * d)) + np.eye(d)) if d > 1 else np.array([[2.0]])
        self.inverse_error, self.latent_scale, self.score_factor = inverse_error, latent_scale, score_factor
        self.X = rng.randn(200, d) @ self.factor.T

    def transform(self, X):
        return self.latent_scale * np.linalg.solve(self.factor, X.T).T

    def inverse_transform(self, Z):
        return Z @ self.factor.T / self.latent_scale * (1 + self.inverse_error)

    def score_samples(self, X):
        Z = np.linalg.solve(self.factor, X.T).T
        return stats.norm.logpdf(Z).sum(1) - np.log(np.diag(self.factor)).sum() + np.log(self.score_factor)

    def sample(self, n, random_state=None):
        return np.random.RandomState(random_state).randn(n, len(self.factor)) @ self.factor.T


class GivenContext:
    """A torch flow, given a context, as an estimator."""

    def __init__(self, name, d, n_context, base, std=0.2):
        torch.manual_seed(d)
        flow = Flow(build_flow(name, d, n_context, FlowSettings(2, (8,), 4)), BASES[base](d)).double()
        with torch.no_grad():
            for p in flow.bijection.parameters():
                p.add_(std * torch.randn_like(p))
        self.flow = flow
        self.context = torch.randn(1, n_context).double() if n_context else None
        self.X = self.sample(100, random_state=1)

    @property
    def flow_(self):
        return self

    def buffers(self):
        return iter([torch.zeros(1).double()])

    def to_latent(self, x):
        return self.flow.to_latent(x, self._of(x))

    def _of(self, x):
        return None if self.context is None else self.context.expand(len(x), -1)

    @torch.no_grad()
    def score_samples(self, X):
        x = torch.as_tensor(X)
        return self.flow.log_prob(x, self._of(x)).numpy()

    @torch.no_grad()
    def sample(self, n, random_state=None):
        return self.flow.sample(n, self._of(range(n)), torch.Generator().manual_seed(random_state)).numpy()

    @torch.no_grad()
    def transform(self, X):
        return self.to_latent(torch.as_tensor(X)).numpy()

    @torch.no_grad()
    def inverse_transform(self, Z):
        z = torch.as_tensor(Z)
        return self.flow.from_latent(z, self._of(z)).numpy()


def broken(estimator, **options):
    """The property that the check finds broken."""
    with pytest.raises(DensityCheckError) as caught:
        check_density(estimator, estimator.X, **options)
    assert caught.value.property in str(caught.value)
    return caught.value.property


dimensions = pytest.mark.parametrize("d", [1, 2, 5])


# --- what is right passes -------------------------------------------------------------------------------------------


@dimensions
def test_false_alarms_are_as_rare_as_stated(d):
    """60 seeds at a rate of 20% each: more than 24 alarms have a probability below 1e-4 if the rate is kept."""
    estimator = Tampered(d)
    alarms = 0
    for seed in range(60):
        try:
            check_density(estimator, estimator.X, error_rate=0.2, n_samples=300, random_state=seed)
        except DensityCheckError as error:
            assert error.property in ("samples", "integral")
            alarms += 1
    assert alarms <= 24


@dimensions
def test_no_false_alarm_over_many_seeds(d):
    mixture, flow = Tampered(d), TamperedFlow(d)
    for seed in range(10):
        check_density(mixture, mixture.X, n_samples=1000, random_state=seed)
        check_density(flow, flow.X, n_samples=1000, random_state=seed)


@pytest.mark.parametrize(
    "estimator",
    [GaussianMixture(3, random_state=0), KernelDensity(bandwidth=0.2), KernelDensity(kernel="tophat", bandwidth=0.4)],
    ids=["mixture", "kernel", "tophat"],
)
def test_other_peoples_estimators(estimator):
    X = make_moons(100, noise=0.1, random_state=0)[0][:, :1]
    report = check_density(estimator.fit(X), X, n_samples=1000)
    assert set(report) == {"finite scores", "row order", "batch", "pickle", "samples", "integral"}


def test_heavy_tails():
    """The moments of a Cauchy distribution do not exist; the tests need none."""

    class Cauchy:
        X = np.random.RandomState(0).standard_t(1, (200, 3))
        score_samples = staticmethod(lambda X: stats.cauchy.logpdf(X).sum(1))
        sample = staticmethod(lambda n, random_state=None: np.random.RandomState(random_state).standard_t(1, (n, 3)))
        __reduce__ = lambda self: (type(self), ())  # noqa: E731

    estimator = Cauchy()
    for seed in range(5):
        try:
            check_density(estimator, estimator.X, random_state=seed)
        except DensityCheckError as error:
            assert error.property == "pickle"  # a class inside a function


def test_data_frames():
    X = load_iris(as_frame=True).data.iloc[:, :2]
    report = check_density(fit_quietly(quick(), X), X, n_samples=500)
    assert {"round trip", "log-determinant", "latent"} <= set(report)
    assert isinstance(X, pd.DataFrame)


def test_bounded_columns():
    X = np.random.RandomState(0).gamma(1.0, size=(300, 2))
    check_density(fit_quietly(quick(bounds=(0, None)), X), X, n_samples=1000)


def test_same_seed_same_report():
    estimator = Tampered(3)
    reports = [check_density(estimator, estimator.X, n_samples=500, random_state=7) for _ in range(2)]
    assert reports[0] == reports[1]


# --- what is broken is caught ---------------------------------------------------------------------------------------


@dimensions
@pytest.mark.parametrize("factor", [0.9, 1.1, 2.0])
def test_density_off_by_a_factor(d, factor):
    assert broken(Tampered(d, factor=factor)) == "integral"


@dimensions
@pytest.mark.parametrize("scale", [0.9, 1.1, 1.5])
def test_sampler_off_by_a_scale(d, scale):
    assert broken(Tampered(d, scale=scale)) == "samples"


@dimensions
def test_sampler_off_by_a_shift(d):
    assert broken(Tampered(d, shift=0.5)) == "samples"


@dimensions
def test_sampler_without_one_cluster(d):
    assert broken(Tampered(d, drop=True)) == "samples"


@dimensions
def test_density_tilted(d):
    assert broken(Tampered(d, tilt=0.2)) == "samples"


@dimensions
@pytest.mark.parametrize("error", [1e-5, -1e-3])
def test_inverse_off_by_an_epsilon(d, error):
    assert broken(TamperedFlow(d, inverse_error=error)) == "round trip"


@dimensions
def test_log_determinant_off(d):
    assert broken(TamperedFlow(d, latent_scale=1.01)) == "log-determinant"


def test_latent_off_where_the_log_determinant_agrees():
    """A map to a latent that is not normal, with scores that follow from it, and a sampler that does not."""

    class Shifted(TamperedFlow):
        def transform(self, X):
            return super().transform(X) + 0.3

        def inverse_transform(self, Z):
            return super().inverse_transform(Z - 0.3)

        def score_samples(self, X):
            return stats.norm.logpdf(self.transform(X)).sum(1) - np.log(np.diag(self.factor)).sum()

    globals()["Shifted"] = Shifted  # so that it can be pickled
    Shifted.__qualname__ = "Shifted"
    assert broken(Shifted(2)) in ("samples", "latent")


def test_row_order_dependence():
    assert broken(Tampered(2, order=True)) == "row order"


def test_batch_dependence():
    class Centred(TamperedFlow):
        def score_samples(self, X):
            return super().score_samples(X) + 1e-3 * (len(X) == 1)

    assert broken(Centred(2)) == "batch"


def test_scores_that_are_nan_or_of_the_wrong_shape():
    class Nan(TamperedFlow):
        def score_samples(self, X):
            return np.where(X[:, 0] > 1, np.nan, super().score_samples(X))

    class Column(TamperedFlow):
        def score_samples(self, X):
            return super().score_samples(X)[:, None]

    assert broken(Nan(1)) == "finite scores"
    assert broken(Column(1)) == "finite scores"


def test_unpicklable():
    estimator = TamperedFlow(1)
    estimator.hook = lambda: None
    assert broken(estimator) == "pickle"


def test_error_says_what_was_measured():
    with pytest.raises(DensityCheckError, match=r"integral: .*1\.5.*Measured 0\.5.*tolerance") as caught:
        check_density(Tampered(1, factor=1.5), Tampered(1).X)
    assert isinstance(caught.value, AssertionError)
    twin = pickle.loads(pickle.dumps(caught.value))
    assert (twin.property, twin.value, str(twin)) == ("integral", caught.value.value, str(caught.value))


def test_table_of_the_wrong_shape():
    with pytest.raises(ValueError, match="rows and columns"):
        check_density(Tampered(1), np.zeros(5))


# --- every flow by name ---------------------------------------------------------------------------------------------

# Every name meets every number of features with and without a context; the bases take turns.
GRID = [
    (name, d, n_context, sorted(BASES)[(i + j + k) % len(BASES)])
    for i, name in enumerate(FLOWS)
    for j, d in enumerate((1, 2, 5))
    for k, n_context in enumerate((0, 2))
]


@pytest.mark.long
@pytest.mark.parametrize(("name", "d", "n_context", "base"), GRID)
def test_every_flow(name, d, n_context, base):
    estimator = GivenContext(name, d, n_context, base)
    report = check_density(estimator, estimator.X, n_samples=400)
    assert report["log-determinant"][0] < 1e-8


@pytest.mark.parametrize("base", BASES)
def test_every_base_in_the_estimator(base, table):
    X = table[:, :2]
    check_density(fit_quietly(quick(base=base), X), X, n_samples=1000)


def test_every_flow_in_the_estimator(fitted, table):
    check_density(fitted, table, n_samples=400)


@pytest.mark.parametrize("ordering", ["natural", "reversed", "random", "agnostic"])
def test_every_ordering_in_the_estimator(ordering, table):
    density = fit_quietly(FlowDensity("maf", ordering=ordering, depth=2, hidden_layer_sizes=8, max_iter=5), table)
    report = check_density(density, table, n_samples=1000)
    assert ("latent" in report) == (ordering != "agnostic")
