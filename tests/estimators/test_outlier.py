"""FlowOutlierDetector: the threshold, the calibration, the explanation and the ensemble behind them."""

import inspect

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats
from sklearn.base import clone
from sklearn.datasets import load_wine
from sklearn.metrics import f1_score, make_scorer, roc_auc_score
from sklearn.model_selection import GridSearchCV, PredefinedSplit
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import skflow
from skflow import FlowDensity, FlowOutlierDetector, benjamini_hochberg
from skflow.flows import FLOWS, Flow, StandardNormal
from skflow.flows.bijections.chain import Chain
from skflow.flows.distributions.flow_mixture import FlowMixture
from skflow.flows.distributions.logarithmic_pool import LogarithmicPool
from skflow.outliers.boxplot import lower_fence, medcouple
from skflow.outliers.conformal import cross_conformal_p_values

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
CRITERIA = ["smoothed", "density", "typicality"]


def small(**params):
    defaults = {"hidden_layer_sizes": (16,), "max_iter": 5, "n_estimators": 3, "random_state": 0}
    return FlowOutlierDetector(**{**defaults, **params})


def gaussian(n, seed, d=4, shared=0.8):
    """Rows whose columns share a part: a column out of line shows against the others."""
    rng = np.random.RandomState(seed)
    return shared * rng.randn(n, 1) + (1 - shared**2) ** 0.5 * rng.randn(n, d)


@pytest.fixture(scope="module")
def detector():
    return small().fit(gaussian(400, 0))


@pytest.fixture(scope="module", params=CRITERIA)
def of_criterion(request):
    return small(criterion=request.param).fit(gaussian(200, 0))


# The threshold


@pytest.mark.parametrize("share", [0.02, 0.1, 0.5])
@pytest.mark.parametrize("criterion", CRITERIA)
def test_contamination_is_the_share_of_training_rows_flagged(share, criterion):
    X = gaussian(200, 0)
    flagged = small(contamination=share, criterion=criterion).fit_predict(X) == -1
    assert flagged.sum() == pytest.approx(share * 200, abs=1)


def test_share_that_is_flagged_is_told_with_its_error():
    rng = np.random.RandomState(0)
    X = np.r_[gaussian(285, 0), 12 * rng.randn(15, 4)]
    detector = small().fit(X)
    assert detector.contamination_ == np.mean(detector.predict(X) == -1) == pytest.approx(0.05, abs=0.02)
    assert 0 < detector.contamination_std_ < 0.03
    given = small(contamination=0.1).fit(X)
    assert given.contamination_ == pytest.approx(0.1) and given.contamination_std_ == 0


def test_auto_flags_few_regular_rows(detector):
    assert (detector.predict(gaussian(1000, 1)) == -1).mean() < 0.03


def test_auto_withstands_a_tenth_of_outliers():
    rng = np.random.RandomState(0)
    X = np.r_[gaussian(360, 0), rng.uniform(-6, 6, (40, 4))]
    labels = small().fit(X).predict(np.r_[gaussian(500, 1), rng.uniform(-6, 6, (500, 4))])
    assert (labels[:500] == -1).mean() < 0.05
    assert (labels[500:] == -1).mean() > 0.9


def test_decision_function_is_the_score_less_the_offset(of_criterion):
    X = gaussian(50, 2)
    np.testing.assert_array_equal(
        of_criterion.decision_function(X), of_criterion.score_samples(X) - of_criterion.offset_
    )
    np.testing.assert_array_equal(of_criterion.predict(X) == -1, of_criterion.decision_function(X) < 0)


def test_a_tenth_of_outliers_in_training_costs_little():
    rng = np.random.RandomState(0)
    new, labels = np.r_[gaussian(300, 1), rng.uniform(-4, 4, (300, 4))], np.repeat([0, 1], 300)
    clean = small().fit(gaussian(300, 0))
    dirty = small(contamination=0.1).fit(np.r_[gaussian(300, 0), rng.uniform(-4, 4, (33, 4))])
    auc = [roc_auc_score(labels, -d.score_samples(new)) for d in (clean, dirty)]
    assert auc[1] > auc[0] - 0.02


@pytest.mark.parametrize("trimmed", [True, False])
def test_rows_put_aside_are_no_centres(trimmed):
    X = np.r_[gaussian(180, 0), np.full((20, 4), 9.0) + np.random.RandomState(0).randn(20, 4)]
    flow = small(contamination=0.1, trimmed=trimmed).fit(X).flow_
    assert (flow.bijection.inverse(flow.base.small.reshape(-1, 4))[0].max() < 6) == trimmed


def test_a_cluster_of_outliers_is_ranked_below_the_rest():
    rng = np.random.RandomState(0)
    X = np.r_[gaussian(180, 0), np.full((20, 4), 4.0) * [1, -1, 1, -1] + 0.1 * rng.randn(20, 4)]
    labels = np.repeat([0, 1], [180, 20])
    assert roc_auc_score(labels, -small(max_iter="auto").fit(X).score_samples(X)) > 0.98


def test_medcouple_by_hand():
    assert medcouple(np.array([1.0, 2.0, 3.0])) == 0
    # pairs around the median 2: (2, 1) -1, (2, 2) 0, (10, 1) 7/9, (10, 2) 1
    assert medcouple(np.array([1.0, 2.0, 10.0])) == pytest.approx((0 + 7 / 9) / 2)


@pytest.mark.parametrize("law", [stats.norm(), stats.gamma(3), stats.lognorm(0.5)])
@pytest.mark.parametrize("sign", [1, -1])
def test_fence_leaves_regular_scores_inside_whatever_their_skewness(law, sign):
    scores = sign * law.rvs(5000, random_state=0)
    assert (scores < lower_fence(scores)).mean() < 0.02


def test_fence_is_the_same_for_shifted_and_scaled_scores():
    scores = stats.gamma(3).rvs(300, random_state=0)
    assert lower_fence(5 * scores - 7) == pytest.approx(5 * lower_fence(scores) - 7)


# How sure


@pytest.mark.parametrize("n, n_fits", [(50, 25), (500, 8)])
def test_p_values_are_uniform_on_fresh_rows(n, n_fits):
    """Kolmogorov-Smirnov at an error rate of 1 in 1,000; few rows a fit, since those of one fit share a calibration."""
    p = [small(random_state=i).fit(gaussian(n, i)).p_values(gaussian(200 // n_fits, 1000 + i)) for i in range(n_fits)]
    assert stats.kstest(np.concatenate(p), "uniform").pvalue > 1e-3


def test_small_p_values_are_as_rare_as_they_say(detector):
    """4,000 fresh rows: a share of 0.05 has a standard error of 0.0034, and 400 calibration rows one of 0.011."""
    p = detector.p_values(gaussian(4000, 3))
    assert (p <= 0.05).mean() == pytest.approx(0.05, abs=0.04)


def test_p_value_of_an_absurd_row_is_the_smallest(of_criterion):
    np.testing.assert_allclose(of_criterion.p_values(np.full((1, 4), 1e3)), 1 / 201)


def test_cross_conformal_p_values_by_hand():
    calibration, fold = np.array([1.0, 2.0, 3.0, 4.0]), np.array([0, 1, 0, 1])
    scores = np.array([[2.5, 1.0], [0.0, 0.0], [9.0, 9.0]])
    np.testing.assert_allclose(cross_conformal_p_values(scores, calibration, fold), [2 / 5, 1 / 5, 1])


def test_weights_count_in_p_values():
    calibration, fold, weight = np.array([1.0, 3.0]), np.array([0, 1]), np.array([3.0, 1.0])
    scores = np.array([[2.0, 2.0]])
    np.testing.assert_allclose(cross_conformal_p_values(scores, calibration, fold, weight), 6 / 7)


def test_benjamini_hochberg_by_hand():
    np.testing.assert_allclose(benjamini_hochberg([0.04, 0.01, 0.03]), [0.04, 0.03, 0.04])
    assert benjamini_hochberg([]).shape == (0,)


@pytest.mark.parametrize("p_values", [[[0.1]], [1.5], [np.nan], [-0.1]])
def test_benjamini_hochberg_refuses(p_values):
    with pytest.raises(ValueError, match="p_values must"):
        benjamini_hochberg(p_values)


def test_false_discoveries_are_controlled():
    """Batches of 200 rows with 20 outliers: at a level of 0.2, the mean share of false alarms, over detectors too."""
    rng, shares = np.random.RandomState(0), []
    for i in range(6):
        detector = small(random_state=i, n_estimators=2).fit(gaussian(300, 50 + i))
        for j in range(5):
            rows = np.r_[gaussian(180, 100 + 10 * i + j), 5 * rng.randn(20, 4)]
            alarms = benjamini_hochberg(detector.p_values(rows)) <= 0.2
            shares.append(alarms[:180].sum() / max(1, alarms.sum()))
    assert np.mean(shares) < 0.25


# Why


def test_explanation_adds_up(of_criterion):
    X = np.r_[gaussian(20, 2), 3 * gaussian(20, 3), [[50.0, 0, 0, 0]]]
    total = of_criterion.score_samples(X) - of_criterion.typical_score_
    np.testing.assert_allclose(of_criterion.explain(X).sum(1), total, rtol=1e-12, atol=1e-9)


@pytest.mark.parametrize("flow", sorted(FLOWS))
def test_explanation_adds_up_for_every_flow(flow):
    X = gaussian(60, 0, d=3)
    detector = small(flow=flow, max_iter=1, n_estimators=2).fit(X)
    total = detector.score_samples(2 * X[:4]) - detector.typical_score_
    np.testing.assert_allclose(detector.explain(2 * X[:4]).sum(1), total, atol=1e-9)


@pytest.mark.parametrize("shift", [3.0, -6.0, 50.0])
def test_explanation_finds_the_corrupted_column(detector, shift):
    X = gaussian(100, 5)
    column = np.random.RandomState(0).randint(4, size=100)
    X[np.arange(100), column] += shift
    found = detector.explain(X).argmin(1) == column
    assert found.sum() >= 95


def test_explanation_finds_the_corrupted_column_of_a_real_table():
    X = StandardScaler().fit_transform(load_wine().data)
    rng = np.random.RandomState(0)
    column = rng.randint(13, size=50)
    corrupted = X[:50].copy()
    corrupted[np.arange(50), column] += rng.choice([-8, 8], 50)
    found = small().fit(X[50:]).explain(corrupted).argmin(1) == column
    assert found.mean() >= 0.95


@pytest.mark.filterwarnings("error")
def test_explanation_keeps_names_and_index():
    X = pd.DataFrame(gaussian(60, 0), columns=list("abcd"), index=range(100, 160))
    out = small(max_iter="auto", n_estimators=2).fit(X).explain(X[:3])
    assert list(out.columns) == list("abcd") and list(out.index) == [100, 101, 102]


def test_row_outside_bounds_is_explained_by_its_column():
    X = np.abs(gaussian(100, 0))
    detector = small(bounds=(0, None)).fit(X)
    row = np.array([[1.0, 1.0, -1.0, 1.0]])
    assert detector.score_samples(row) == -np.inf
    assert detector.explain(row).argmin(1) == 2 and detector.explain(row)[0, 2] == -np.inf


def test_display_draws_the_largest_bar_on_top(detector):
    plt = pytest.importorskip("matplotlib.pyplot", reason="the display draws with matplotlib")
    display = skflow.ExplanationDisplay.from_estimator(detector, [[0.0, 0, 9, 0]], max_features=3)
    assert [label.get_text() for label in display.ax_.get_yticklabels()][0] == "x2 = 9"
    assert len(display.ax_.patches) == 3
    assert "p = " in display.ax_.get_title()
    plt.close("all")


def test_display_refuses_what_cannot_explain():
    pytest.importorskip("matplotlib")
    with pytest.raises(TypeError, match="explain"):
        skflow.ExplanationDisplay.from_estimator(FlowDensity(), [[0.0]])


# The density


@pytest.mark.parametrize("criterion, least", [("smoothed", 0.8), ("density", 0.999)])
def test_scores_are_a_log_density_whose_integral_is_at_most_one(criterion, least):
    X = np.random.RandomState(0).gamma(2.0, size=(200, 1)) * 1e3
    grid = np.linspace(-2e4, 4e4, 20_001)[:, None]
    density = np.exp(small(criterion=criterion).fit(X).score_samples(grid))
    assert least < np.trapezoid(density, grid[:, 0]) < 1.001


def test_units_shift_scores_as_those_of_a_log_density():
    X = gaussian(200, 0)
    scores = [small().fit(c * X).score_samples(c * X[:20]) for c in (1.0, 1024.0)]
    np.testing.assert_allclose(scores[0] - scores[1], 4 * np.log(1024), rtol=1e-4)


@pytest.mark.parametrize("memory", [0.0, 3.0])
def test_pool_is_the_geometric_mean_by_hand(memory):
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(7, 2, dtype=torch.float64, generator=generator)
    estimates, centres = (torch.randn(n, 2, dtype=torch.float64, generator=generator) for n in (6 * 4, 30))
    fold = torch.arange(30) % 3
    pool = LogarithmicPool([Flow(Chain(), StandardNormal(2)) for _ in range(3)], estimates.view(6, 4, 2)).double()
    pool.remember(centres, fold, 0.3, memory)

    def kernels(centres, width):
        return torch.distributions.Normal(centres, width).log_prob(z[:, None]).sum(2).exp().mean(1)

    flow = torch.distributions.Normal(0.0, 1.0).log_prob(z).sum(1)
    small_ones = torch.stack([kernels(estimates.view(6, 4, 2)[j], 1.0).log() for j in range(6)], 1)
    sharp = torch.stack([kernels(centres[fold != k], 0.3) for k in range(3)], 1)
    for k in range(3):
        own = (flow + small_ones[:, k::3].mean(1) + memory * sharp[:, k].log()) / (2 + memory)
        torch.testing.assert_close(pool.member_log_prob(z)[:, k], own)
        torch.testing.assert_close(pool.blind_log_prob(z, torch.full((7,), k)), own)
    whole = (flow + small_ones.mean(1) + memory * sharp.mean(1).log()) / (2 + memory)
    torch.testing.assert_close(pool.log_prob(z), whole)


def test_rows_are_remembered_as_far_as_they_are_repeated():
    X = gaussian(200, 0)
    assert not small().fit(X).flow_.base.memory
    repeated = np.r_[X, X[:100], X[:50]]  # 250 of 350 rows have a twin: odds of 2.5
    detector = small().fit(repeated)
    assert detector.flow_.base.memory == pytest.approx(2.5)
    fresh = X + 0.5 * np.random.RandomState(1).randn(*X.shape)
    assert roc_auc_score(np.repeat([1, 0], 200), detector.score_samples(np.r_[X, fresh])) > 0.95


def test_samples_follow_the_flows():
    detector = small(trimmed=False).fit(gaussian(400, 0))
    with torch.no_grad():
        rows = detector.flow_.sample(2000, generator=torch.Generator().manual_seed(0)).numpy()
    X = gaussian(2000, 9)
    assert np.abs(rows.mean(0) - X.mean(0)).max() < 0.2
    assert np.abs(np.corrcoef(rows.T) - np.corrcoef(X.T)).max() < 0.15


@pytest.mark.parametrize("params", [{"criterion": "density"}, {"smoothing": 0.0}])
def test_density_by_name_is_the_mean_of_the_flows(params):
    assert type(small(**params).fit(gaussian(60, 0)).flow_.base) is FlowMixture


def test_typicality_suspects_the_mode():
    X = np.random.RandomState(0).randn(1000, 20)
    mode = np.zeros((1, 20))
    assert small(criterion="typicality").fit(X).p_values(mode) < small().fit(X).p_values(mode)


def test_members_have_not_seen_their_fold():
    """The forecast for a row hardly depends on how often other members have seen it."""
    X = gaussian(300, 0)
    detector = small(n_estimators=5).fit(X)
    fresh = detector._member_log_density(gaussian(3000, 1)).mean(1)
    assert detector.calibration_scores_.mean() == pytest.approx(fresh.mean(), abs=0.35)
    assert detector.score_samples(X).mean() > detector.calibration_scores_.mean()


# With scikit-learn


def test_signature_has_the_parameters_of_the_family():
    names = set(inspect.signature(FlowOutlierDetector).parameters)
    own = {"categorical_features", "handle_unknown"}  # of an estimator that takes tables as they come
    assert names == set(inspect.signature(FlowDensity).parameters) - own | {
        "contamination",
        "criterion",
        "n_estimators",
        "smoothing",
        "trimmed",
    }


def test_parameters_of_both_kinds_are_set_and_cloned():
    detector = clone(FlowOutlierDetector("maf", depth=2, contamination=0.1))
    assert (detector.flow, detector.depth, detector.contamination) == ("maf", 2, 0.1)


def test_unknown_parameter_is_refused():
    with pytest.raises(TypeError, match="contaminatoin"):
        FlowOutlierDetector(contaminatoin=0.1)


@pytest.mark.parametrize(
    "name, value",
    [("contamination", 0.0), ("contamination", 0.6), ("criterion", "dense"), ("n_estimators", 1), ("smoothing", -1.0)],
)
def test_bad_parameter_is_named(name, value):
    with pytest.raises(ValueError, match=name):
        small(**{name: value}).fit(gaussian(20, 0))


def test_in_a_pipeline_and_a_grid_search():
    X = np.r_[gaussian(150, 0), 5 * np.random.RandomState(0).randn(30, 4)]
    y = np.repeat([1, -1], [150, 30])
    fold = np.where(np.arange(180) % 3 == 0, 0, -1)
    search = GridSearchCV(
        make_pipeline(StandardScaler(), small(n_estimators=2)),
        {"flowoutlierdetector__contamination": [0.17, 0.5]},
        scoring=make_scorer(f1_score, pos_label=-1),
        cv=PredefinedSplit(fold),
    ).fit(X, y)
    assert search.best_params_ == {"flowoutlierdetector__contamination": 0.17}


def test_rows_of_weight_zero_are_absent():
    X = gaussian(100, 0)
    weight = np.ones(100)
    weight[::4] = 0
    with_zeros = small().fit(X, sample_weight=weight)
    without = small().fit(X[weight > 0])
    np.testing.assert_array_equal(with_zeros.score_samples(X), without.score_samples(X))
    np.testing.assert_array_equal(with_zeros.p_values(X), without.p_values(X))
    assert (with_zeros.fold_[::4] == -1).all() and np.isnan(with_zeros.calibration_scores_[::4]).all()


@pytest.mark.parametrize("n", [2, 3, 5, 12])
def test_few_rows(n):
    X = gaussian(n, 0)
    detector = small(n_estimators=5).fit(X)
    assert np.isfinite(detector.score_samples(np.r_[X, 1e6 * X])).all()
    assert ((detector.p_values(X) > 0) & (detector.p_values(X) <= 1)).all()


def test_awkward_columns():
    """Ties, a constant, a heavy tail and wild units."""
    rng = np.random.RandomState(0)
    X = np.c_[rng.randint(3, size=200), np.full(200, 7.0), rng.standard_cauchy(200), 1e9 + 1e3 * rng.randn(200)]
    detector = small().fit(X)
    assert np.isfinite(detector.score_samples(X)).all()
    assert (detector.predict(X) == -1).mean() < 0.3
    assert detector.predict([[1, 8.0, 0, 1e9]]) == -1


def test_single_precision_rows_score_in_single_precision(detector):
    X = gaussian(20, 4)
    scores = detector.score_samples(X.astype(np.float32))
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, detector.score_samples(X), rtol=1e-3, atol=1e-3)


def test_no_p_value_exceeds_one():
    """Weights are summed up fold by fold for the one, all at once for the other: rounding must not show."""
    for seed in range(200):
        rng = np.random.RandomState(seed)
        weight, fold = rng.pareto(1, 300), rng.randint(5, size=300)
        p = cross_conformal_p_values(np.full((1, 5), np.inf), rng.standard_normal(300), fold, weight)
        assert p[0] <= 1 and p[0] == pytest.approx(1)
