"""The density of targets given features: what the methods say of each other, and of data of known truth."""

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import integrate, stats
from sklearn.compose import TransformedTargetRegressor
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skflow import FlowRegressor
from skflow.flows import Bijection
from skflow.metrics import crps_scorer, log_density_scorer

from ..helpers import few_folds, quick, same_flow

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.usefixtures("few_folds"),  # for all fits but those that tests share
]


def draw(n, seed=0):
    """One feature, and a target whose mean and spread depend on it."""
    rng = np.random.RandomState(seed)
    X = rng.uniform(-1, 1, (n, 2))
    mean, spread = 30 * np.sin(2 * X[:, 0]), 5 * np.exp(X[:, 1])
    return X, mean + spread * rng.standard_normal(n), mean, spread


def draw_two(n, seed=0):
    """Two targets, the second of which follows the first."""
    X, first, _, _ = draw(n, seed)
    return X, np.c_[first, 0.5 * first + 3 * np.random.RandomState(seed + 9).standard_normal(n)]


@pytest.fixture(scope="module")
def one():
    X, y, _, _ = draw(600)
    return FlowRegressor(random_state=0, max_iter=30).fit(X, y)


@pytest.fixture(scope="module")
def two():
    with few_folds():
        return FlowRegressor(random_state=0, max_iter=60).fit(*draw_two(400))


def test_the_density_is_near_the_truth(one):
    X, y, mean, spread = draw(2000, 1)
    truth = stats.norm.logpdf(y, mean, spread)
    gap = (truth - one.score_samples(X, y)).mean()
    assert -0.02 < gap < 0.12
    assert gap < (truth - stats.norm.logpdf(y, mean, (y - mean).std())).mean() - 0.05  # a spread for all is not enough


def test_mean_and_spread_are_near_the_truth(one):
    X, _, mean, spread = draw(500, 1)
    predicted, std = one.predict(X, return_std=True)
    np.testing.assert_array_equal(predicted, one.predict(X))
    assert np.sqrt(np.mean((predicted - mean) ** 2)) < 3
    assert np.median(np.abs(std / spread - 1)) < 0.25


@pytest.mark.long
@pytest.mark.parametrize("bounds", [None, [(0, None)], [(-1, 5)]])
@pytest.mark.parametrize("flow", ["nsf", "maf", "gaussianization", "planar"])
def test_a_density_is_normalised_and_has_the_cdf_and_moments_that_are_told(flow, bounds):
    rng = np.random.RandomState(0)
    X = rng.uniform(0, 1, (200, 1))
    y = 4 * rng.beta(1 + 3 * X[:, 0], 2)
    regressor = quick(FlowRegressor, flow=flow, bounds=bounds, max_iter=20).fit(X, y)
    low, high = (-1, 5) if bounds == [(-1, 5)] else (0, 1e4) if bounds else (-1e4, 1e4)
    far = np.geomspace(1e-3, 2e4, 4000)
    grid = np.unique(np.clip(np.r_[np.linspace(-1, 6, 20_001), low, high, 6 + far, -1 - far], low, high))
    density = np.exp(regressor.score_samples(np.full((len(grid), 1), 0.7), grid))
    mass, mean = (integrate.trapezoid(density * f, grid) for f in (1, grid))
    assert mass == pytest.approx(1, abs=1e-3)
    at = [[0.7]]
    below = grid <= 2
    assert regressor.cdf(at, [2.0])[0] == pytest.approx(integrate.trapezoid(density[below], grid[below]), abs=1e-3)
    # The tails beyond 3.5 normal scores have no say in moments.
    ends = regressor.predict_quantiles(at, stats.norm.cdf([-3.5, 3.5]))[0]
    inner = (ends[0] <= grid) & (grid <= ends[1])
    shares, values = density[inner], grid[inner]
    mean = integrate.trapezoid(shares * values, values) / integrate.trapezoid(shares, values)
    spread = integrate.trapezoid(shares * (values - mean) ** 2, values) / integrate.trapezoid(shares, values)
    predicted, std = (float(v[0]) for v in regressor.predict(at, return_std=True))
    assert predicted == pytest.approx(mean, abs=0.01)
    assert std == pytest.approx(np.sqrt(spread), rel=0.03)


def test_quantiles_invert_the_cdf_in_any_order(one):
    X, _, _, _ = draw(50, 2)
    levels = [0.9, 0.01, 0.5, 0.999]
    q = one.predict_quantiles(X, levels)
    for i, level in enumerate(levels):
        np.testing.assert_allclose(one.cdf(X, q[:, i]), level, atol=1e-8)


def test_samples_follow_the_density(one):
    X, _, _, _ = draw(3, 3)
    samples = one.sample(X, 4000, random_state=0)
    assert samples.shape == (3, 4000)
    for x, drawn in zip(X, samples):
        levels = one.cdf(np.repeat(x[None], 4000, 0), drawn)
        assert stats.kstest(levels, "uniform").pvalue > 1e-3
    np.testing.assert_array_equal(samples, one.sample(X, 4000, random_state=0))


@pytest.mark.long
@pytest.mark.parametrize("coverage", [0.5, 0.9])
def test_intervals_cover_new_rows_at_the_stated_rate(one, coverage):
    X, y, _, _ = draw(2000, 4)
    low, high = one.predict_interval(X, coverage).T
    assert ((low <= y) & (y <= high)).mean() == pytest.approx(coverage, abs=0.05)


def test_intervals_cover_where_the_flows_are_hardly_trained():
    """Conformal prediction: the levels of rows that the members have not seen make good what they got wrong."""
    X, y, _, _ = draw(400, 10)
    regressor = quick(FlowRegressor, flow=lambda d, c: _Narrow(), max_iter=1).fit(X, y)
    X, y, _, _ = draw(2000, 50)
    low, high = regressor.predict_interval(X, 0.8).T
    assert ((low <= y) & (y <= high)).mean() == pytest.approx(0.8, abs=0.05)
    plain = regressor.predict_quantiles(X, [0.1, 0.9])
    assert ((plain[:, 0] <= y) & (y <= plain[:, 1])).mean() < 0.74


class _Narrow(Bijection):
    """Twice as far from the center: the density is half as wide as it should be, and nothing of it is learnt."""

    def __init__(self):
        super().__init__()
        self.unused = torch.nn.Parameter(torch.zeros(1))

    def forward(self, x, context=None):
        return 2 * x + 0 * self.unused, x.new_full((len(x),), float(np.log(2)) * x.shape[1])

    def inverse(self, z, context=None):
        return (z - 0 * self.unused) / 2, z.new_full((len(z),), -float(np.log(2)) * z.shape[1])


def test_the_pit_of_the_training_rows_is_that_of_members_that_have_not_seen_them(one):
    assert stats.kstest(one.pit_, "uniform").pvalue > 1e-3
    assert np.unique(one.fold_).tolist() == list(range(10))
    assert one.weights_.sum() == pytest.approx(1)


def test_several_targets(two):
    X, Y = draw_two(400, 1)
    assert two.predict(X).shape == (400, 2)
    assert two.sample(X, 5, random_state=0).shape == (400, 5, 2)
    assert two.predict_quantiles(X, [0.1, 0.5, 0.9]).shape == (400, 3, 2)
    assert two.predict_interval(X).shape == (400, 2, 2)
    assert two.cdf(X, Y).shape == (400, 2)
    assert two.score(X, Y) > 0.6
    drawn = two.sample(X[:1], 4000, random_state=0)[0]
    assert np.corrcoef(drawn.T)[0, 1] > 0.5  # jointly, not one by one
    np.testing.assert_allclose(drawn.mean(0), two.predict(X[:1])[0], atol=0.5)
    marginal = stats.norm.logpdf(Y, Y.mean(0), Y.std(0)).sum(1).mean()
    assert two.score_samples(X, Y).mean() > marginal + 0.5


def test_a_column_of_targets_stays_a_column():
    X, y, _, _ = draw(100)
    regressor = quick(FlowRegressor).fit(X, y[:, None])
    assert regressor.predict(X).shape == (100, 1)
    assert regressor.sample(X, 3).shape == (100, 3, 1)
    assert regressor.predict_quantiles(X).shape == (100, 3, 1)
    assert regressor.cdf(X, y[:, None]).shape == (100, 1)


def test_the_unit_of_the_target_shifts_the_log_density():
    X, y, _, _ = draw(200)
    scores = [quick(FlowRegressor).fit(X, c * y).score_samples(X, c * y) for c in (1.0, 1024.0)]
    np.testing.assert_allclose(scores[0] - scores[1], np.log(1024), rtol=1e-3)


@pytest.mark.long
@pytest.mark.parametrize(
    "spoil",
    [
        lambda X, y: (X * [1e9, 1e-6], y),
        lambda X, y: (np.c_[X, np.ones(len(X))], y),
        lambda X, y: (np.round(X, 1), np.round(y, -1)),
        lambda X, y: (X, np.zeros(len(y))),
        lambda X, y: (np.c_[X, np.random.RandomState(0).standard_cauchy((len(X), 2)) ** 3], y),
        lambda X, y: (X[:12], y[:12]),
        lambda X, y: (X[:3], y[:3]),
        lambda X, y: (X, np.where(np.arange(len(y)) == 5, 1e6, y)),
    ],
    ids=["scales", "constant feature", "ties", "constant target", "heavy tails", "12 rows", "3 rows", "gross error"],
)
def test_features_and_targets_as_they_come(spoil):
    X, y, _, _ = draw(150)
    X, y = spoil(X, y)
    regressor = quick(FlowRegressor).fit(X, y)
    assert np.isfinite(regressor.score_samples(X, y)).all()
    assert np.isfinite(regressor.predict_interval(X)).all()
    assert np.isfinite(np.c_[regressor.predict(X, return_std=True)]).all()
    assert np.isfinite(regressor.score_samples(1e6 * (1 + np.abs(X)), y)).all()


def test_rows_of_weight_zero_do_not_count():
    X, y, _, _ = draw(200)
    weight = np.r_[np.ones(150), np.zeros(50)]
    changed = np.where(weight > 0, y, 1e4)
    a, b = (quick(FlowRegressor).fit(X, v, sample_weight=weight) for v in (y, changed))
    assert same_flow(a, b)
    assert (a.fold_[150:] == -1).all() and np.isnan(a.pit_[150:]).all()


def test_weights_move_the_density():
    X, y, _, _ = draw(300)
    heavy = np.where(y > 0, 10.0, 1.0)
    plain, weighted = (quick(FlowRegressor, max_iter=20).fit(X, y, sample_weight=w).predict(X) for w in (None, heavy))
    assert weighted.mean() > plain.mean() + 0.5


def test_fits_are_reproducible():
    X, y, _, _ = draw(150)
    fits = [quick(FlowRegressor, random_state=3).fit(X, y) for _ in range(2)]
    assert same_flow(*fits)
    np.testing.assert_array_equal(*(fit.predict(X) for fit in fits))


@pytest.mark.long
def test_in_pipelines_searches_and_wrappers():
    X, y, _, _ = draw(120)
    frame = pd.DataFrame(X, columns=["a", "b"])
    pipeline = make_pipeline(StandardScaler(), quick(FlowRegressor)).fit(frame, y)
    assert np.isfinite(pipeline.predict(frame)).all()
    search = GridSearchCV(quick(FlowRegressor, max_iter=2), {"depth": [1, 2]}, cv=2, scoring=log_density_scorer)
    assert np.isfinite(search.fit(X, y).best_score_)
    scores = cross_val_score(quick(FlowRegressor, max_iter=2), X, y, cv=2, scoring=crps_scorer)
    assert (scores < 0).all()
    wrapped = TransformedTargetRegressor(quick(FlowRegressor, max_iter=2), transformer=StandardScaler()).fit(X, y)
    assert wrapped.predict(X).shape == (120,)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r, X, y: r.fit(X, None), "requires y to be passed"),
        (lambda r, X, y: r.fit(X, y[:-1]), "one target for each row of X"),
        (lambda r, X, y: r.fit(X, np.where(y > 0, np.nan, y)), "y contains NaN"),
        (lambda r, X, y: r.fit(np.where(X > 0, np.inf, X), y), "column 0"),
        (lambda r, X, y: r.set_params(bounds=[(0, None)]).fit(X, y), "column 0 of y has .* outside its bounds"),
        (lambda r, X, y: r.score_samples(X, np.c_[y, y]), "y has 2 targets, but FlowRegressor was fitted to 1"),
        (lambda r, X, y: r.predict_quantiles(X, [0.5, 1.0]), "quantiles must be a number between 0 and 1"),
        (lambda r, X, y: r.predict_interval(X, 90), "coverage must be a number between 0 and 1"),
        (lambda r, X, y: r.sample(X, 0), "n_samples must be an integer of at least 1"),
    ],
)
def test_errors_name_what_is_wrong_and_leave_the_fit(change, message):
    X, y, _, _ = draw(60)
    regressor = quick(FlowRegressor, max_iter=1).fit(X, y)
    before = regressor.predict(X)
    with pytest.raises(ValueError, match=message):
        change(regressor, X, y)
    np.testing.assert_array_equal(regressor.set_params(bounds=None).predict(X), before)


def test_before_the_fit():
    with pytest.raises(NotFittedError):
        FlowRegressor().predict([[0.0]])


def test_the_torch_module_gives_the_same_density(one):
    X, y, _, _ = draw(20, 6)
    context = torch.from_numpy(one._context(X))
    with torch.no_grad():
        direct = one.flow_.log_prob(torch.from_numpy(y)[:, None], context)
    np.testing.assert_allclose(direct.numpy(), one.score_samples(X, y), rtol=1e-9, atol=1e-9)


@pytest.mark.long
def test_a_row_does_not_depend_on_those_beside_it(one):
    X, y, _, _ = draw(40, 7)
    order = np.random.RandomState(0).permutation(40)
    for ask in (one.score_samples, one.cdf, lambda X, y: one.predict(X), lambda X, y: one.predict_interval(X)):
        whole = ask(X, y)
        alone = np.concatenate([ask(X[i : i + 1], y[i : i + 1]) for i in range(40)])
        np.testing.assert_allclose(whole, alone, rtol=1e-7, atol=1e-7)
        np.testing.assert_allclose(whole[order], ask(X[order], y[order]), rtol=1e-7, atol=1e-7)


def test_ctrl_c_keeps_what_there_is_and_starts_nothing_more():
    steps = []

    class Interrupted(_Narrow):
        def forward(self, x, context=None):
            if torch.is_grad_enabled():
                steps.append(len(x))
                if len(steps) == 30:
                    raise KeyboardInterrupt
            return super().forward(x, context)

    X, y, _, _ = draw(60)
    with pytest.warns(UserWarning, match="fit interrupted"):
        regressor = quick(FlowRegressor, flow=lambda d, c: Interrupted(), max_iter=10**4).fit(X, y)
    assert len(steps) == 30 and regressor.weights_.tolist() == [1.0]
    assert np.isfinite(regressor.score_samples(X, y)).all()


def test_the_course_of_a_fit_can_be_followed():
    callback = pytest.importorskip("sklearn.callback", reason="scikit-learn has callbacks from version 1.9 on")
    X, y, _, _ = draw(60)
    regressor = quick(FlowRegressor, max_iter=2).set_callbacks(callback.ScoringMonitor(scoring="r2"))
    assert np.isfinite(regressor.fit(X, y).score_samples(X, y)).all()
