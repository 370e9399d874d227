"""Every flow by name on a real table, the column orderings, and what the names promise of each other."""

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.datasets import load_breast_cancer, load_iris, load_wine
from sklearn.model_selection import train_test_split

from skflow import FlowDensity
from skflow.flows import FLOWS, Affine, Elementwise, Flow, FlowSettings, StudentT, build_flow
from skflow.utils import check_density

from ..helpers import fit_quietly, quick

TABLES = {
    "wine": load_wine().data[:, [0, 6, 9, 12]],  # alcohol, flavanoids, colour, proline: units from 0.1 to 1000
    "cancer": load_breast_cancer().data[:, [0, 1, 4, 6, 8]],  # radius, texture, smoothness, concavity, symmetry
    "iris": load_iris().data,
}
SHORT = {"hidden_layer_sizes": (32,), "max_iter": 40, "random_state": 0}


def independent_gaussian(train, test):
    """Mean log-density of ``test`` under a normal distribution for every column by itself."""
    return stats.norm.logpdf(test, train.mean(0), train.std(0)).sum(1).mean()


def split(table):
    return train_test_split(TABLES[table], test_size=0.3, random_state=0)


@pytest.mark.long
@pytest.mark.parametrize("name", FLOWS)
@pytest.mark.parametrize(
    ("table", "base"),
    # With a plain normal base the layers have to do it all; on the hundred rows of wine they would need more of them.
    [("cancer", "normal"), ("wine", "auto")],
)
def test_beats_an_independent_gaussian(name, table, base):
    train, test = split(table)
    density = fit_quietly(FlowDensity(name, base=base, **SHORT), train)
    assert density.score(test) > independent_gaussian(train, test) + 0.2
    back = density.inverse_transform(density.transform(test))
    np.testing.assert_allclose(back, test, rtol=0, atol=1e-9 * np.abs(test).max())


@pytest.mark.parametrize("base", ["normal", "student-t", "mixture", "auto"])
def test_every_base_beats_an_independent_gaussian(base):
    train, test = split("cancer")
    density = fit_quietly(FlowDensity("maf", base=base, **SHORT), train)
    assert density.score(test) > independent_gaussian(train, test) + 0.2


def test_student_t_base_falls_off_as_a_power():
    """A thousand times further out costs ``(df + 1) log(1000)`` nats."""
    X = np.random.RandomState(0).standard_t(2, (400, 1))
    density = fit_quietly(quick(flow="maf", base="student-t", max_iter=20), X)
    base = density.flow_.base
    assert isinstance(base, StudentT)
    with torch.no_grad():
        near, far = base.log_prob(torch.tensor([[1e6], [1e9]], dtype=torch.float64))
    assert near - far == pytest.approx(float(base.df[0] + 1) * np.log(1000), rel=1e-3)
    assert np.isfinite(density.score_samples(np.array([[1e3], [1e9]]))).all()


@pytest.mark.long
@pytest.mark.parametrize("name", [name for name in FLOWS if FLOWS[name].ordered])
def test_order_agnostic_average_beats_its_members(name):
    """Jensen's inequality, row by row: the log of a mean is at least the mean of the logs."""
    train, test = split("wine")
    density = fit_quietly(quick(flow=name, ordering="agnostic", max_iter=15), train)
    flow = density.flow_
    assert flow.n_orderings == 8
    with torch.no_grad():
        x = torch.tensor(test)
        singles = torch.stack([flow.member(j).log_prob(x) for j in range(8)])
    average = density.score_samples(test)
    assert (average >= singles.mean(0).numpy() - 1e-9).all()
    assert average.mean() >= singles.mean(1).mean()
    assert singles.std(0).mean() > 1e-3  # the orderings do differ
    np.testing.assert_allclose(average, torch.logsumexp(singles, 0).numpy() - np.log(8), atol=1e-9)


def test_order_agnostic_made_learns():
    train, test = split("cancer")
    density = FlowDensity("made", ordering="agnostic", base="normal", **SHORT)
    assert fit_quietly(density, train).score(test) > independent_gaussian(train, test) + 0.3


def test_order_agnostic_fits_are_reproducible():
    train, test = split("iris")
    fits = [
        fit_quietly(quick(flow="made", ordering="agnostic", random_state=3), train).score_samples(test)
        for _ in range(2)
    ]
    np.testing.assert_array_equal(*fits)


def test_order_agnostic_density_is_normalised_and_sampled():
    train, _ = split("iris")
    density = fit_quietly(quick(flow="maf", ordering="agnostic", depth=2, max_iter=40), train[:, [0, 2]])
    report = check_density(density, train[:, [0, 2]], n_samples=1000)
    assert report["integral"][0] < 1e-3
    np.testing.assert_array_equal(density.sample(50, random_state=0), density.sample(50, random_state=0))


@pytest.mark.parametrize("ordering", ["natural", "reversed", "random"])
def test_orderings_learn(ordering):
    train, test = split("cancer")
    density = fit_quietly(FlowDensity("maf", ordering=ordering, base="normal", **SHORT), train)
    assert density.score(test) > independent_gaussian(train, test) + 0.2


@pytest.mark.parametrize("flow", ["planar", "realnvp", lambda d, n_context: Elementwise(d, n_context, Affine())])
def test_ordering_refused_where_there_is_none(flow):
    with pytest.raises(ValueError, match=r"ordering='random' needs a flow .*'made'.*leave ordering at 'auto'"):
        FlowDensity(flow, ordering="random").fit(TABLES["iris"])


def test_one_column_has_one_ordering():
    X = TABLES["iris"][:, :1]
    density = fit_quietly(quick(flow="made", ordering="agnostic"), X)
    assert type(density.flow_) is Flow
    check_density(density, X, n_samples=500)


def test_depth_is_the_papers_own_where_it_has_one():
    for name, depth in (("made", 1), ("made-mog", 1), ("planar", 16), ("radial", 16), ("sylvester", 8)):
        assert fit_quietly(FlowDensity(name, max_iter=1), TABLES["iris"]).depth_ == depth


@pytest.mark.parametrize("name", FLOWS)
def test_starts_as_a_good_density(name):
    """Layers start near the identity or are set from the data, so nothing need be unlearned first."""
    torch.manual_seed(0)
    x = torch.randn(500, 3) @ torch.tensor([[1.0, 0.5, 0.0], [0.0, 1.0, 0.3], [0.0, 0.0, 1.0]])
    flow = build_flow(name, 3, 0, FlowSettings(FLOWS[name].depth or 3, (16,), 6))
    flow.initialise(x)
    with torch.no_grad():
        z, log_abs_det = flow(x)
        score = (log_abs_det - 0.5 * (z * z).sum(1)).mean()
    assert score > (-0.5 * (x * x).sum(1)).mean() - 0.1
