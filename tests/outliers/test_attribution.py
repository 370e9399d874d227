"""The split of a score over the features: right for scores whose parts are known, and cheap in wide tables."""

import numpy as np
import pytest

from skflow.outliers.attribution import repair_contributions, repair_values

WIDE = [20, 150, 1000]


class Counted:
    """A score function that counts the rows it is asked for."""

    def __init__(self, score):
        self.score, self.n_rows = score, 0

    def __call__(self, X):
        self.n_rows += len(X)
        return self.score(X)


def normal_table(d, n=400, seed=0):
    return np.random.RandomState(seed).randn(n, d)


def bell(X):
    """The log-density of independent standard normals, but for the constant: every feature has a part of its own."""
    return -0.5 * (X * X).sum(1)


def parts(x, values):
    """What each feature of a row gains under `bell`, if it is repaired as well as its values allow."""
    return 0.5 * x * x - 0.5 * (values * values).min(1)


def explain(score, x, values, target):
    out = repair_contributions(score, np.atleast_2d(x), values, target)
    np.testing.assert_allclose(out.sum(1), score(np.atleast_2d(x)) - target, rtol=1e-12, atol=1e-9)
    return out


@pytest.mark.parametrize("d", [1, 2, 10, 16, *WIDE])
def test_every_feature_takes_its_own_part_of_an_additive_score(d):
    """The whole distance is within reach: the target is the score of a fully repaired row. Of 1,000 features not every
    value is tried; the best of a few is within a tenth of a nat of it."""
    values = repair_values(normal_table(d))
    x = 3 * np.random.RandomState(1).randn(d)
    x[np.abs(x) < 0.5] = 2.0  # one beside its best value could gain less than nothing worth a step
    target = -0.5 * (values * values).min(1).sum()
    np.testing.assert_allclose(explain(bell, x, values, target)[0], -parts(x, values), atol=1e-9 if d < 1000 else 0.1)


@pytest.mark.parametrize("d", [5, 20, 150])
def test_features_are_repaired_until_the_target_and_the_last_step_counts_so_far(d):
    values = repair_values(normal_table(d))
    x = np.zeros(d)
    x[[0, 2, 4]] = 5.0, 4.0, 3.0
    gain = parts(x, values)
    target = bell(x[None])[0] + gain[0] + gain[2] + 1.0
    expected = np.zeros(d)
    expected[[0, 2, 4]] = -gain[0], -gain[2], -1.0
    np.testing.assert_allclose(explain(bell, x, values, target)[0], expected, atol=1e-9)


@pytest.mark.parametrize("d", [4, 40, 300])
def test_a_feature_that_fits_none_of_the_others_takes_the_blame(d):
    """All columns are nearly equal: any other feature differs from the odd one as much as from no other."""
    rng = np.random.RandomState(0)
    table = rng.randn(400, 1) + 0.1 * rng.randn(400, d)

    def score(X):
        return -50 * X.var(1) * d - 0.5 * X.mean(1) ** 2

    X = table[:5].copy()
    X[:, 2] += 4
    out = explain(score, X, repair_values(table), np.median(score(table)))
    assert (out.argmin(1) == 2).all()
    assert (out[:, 2] < 0.8 * out.sum(1)).all()


@pytest.mark.parametrize("d", [4, 40, 300])
def test_a_repair_that_pays_only_after_another_is_found(d):
    """The second feature counts only where the first one is normal."""

    def score(X):
        return -0.5 * (X[:, 2:] ** 2).sum(1) - np.where(np.abs(X[:, 0]) > 3, 100.0, 0.5 * X[:, 1] ** 2)

    values = repair_values(normal_table(d))
    x = np.zeros(d)
    x[[0, 1]] = 5.0, 8.0
    least = 0.5 * (values[1] ** 2).min()
    out = explain(score, x, values, -least)[0]
    np.testing.assert_allclose(out[[0, 1]], [-100 + 32, -32 + least], atol=1e-9)
    np.testing.assert_allclose(out[2:], 0, atol=1e-9)


def test_surplus_is_shared_in_proportion_to_what_each_feature_would_lose():
    values = repair_values(normal_table(3))
    scale = np.array([1.0, 2.0, 0.0])

    def score(X):
        return -0.5 * (scale * X * X).sum(1)

    loss = 0.5 * scale * (values * values).mean(1)
    out = explain(score, np.zeros(3), values, -7.0)
    np.testing.assert_allclose(out[0], 7 * loss / loss.sum(), atol=1e-12)


@pytest.mark.parametrize("d", [1, 3, 40])
@pytest.mark.parametrize("level", [-5.0, 5.0])
def test_a_score_that_depends_on_nothing_is_shared_equally(d, level):
    out = explain(lambda X: np.full(len(X), level), np.zeros(d), repair_values(normal_table(d)), 0.0)
    np.testing.assert_allclose(out, level / d)


@pytest.mark.parametrize("outside", [[1], [0, 4], [0, 1, 2, 3, 4]])
@pytest.mark.parametrize("d", [5, 40])
def test_features_outside_the_support_take_minus_infinity(d, outside):
    def score(X):
        return np.where((X < -4).any(1), -np.inf, bell(X))

    x = np.full(d, 0.1)
    x[3] = 3.5
    x[outside] = -5.0
    out = repair_contributions(score, x[None], repair_values(normal_table(d)), -0.5 * d)[0]
    assert np.flatnonzero(np.isneginf(out)).tolist() == outside
    assert not np.isnan(out).any() and (out <= 0).all()


def test_zero_density_that_no_single_feature_explains_is_minus_infinity_too():
    out = repair_contributions(
        lambda X: np.where(X.sum(1) > 100, -np.inf, bell(X)),
        np.full((1, 4), 30.0),
        repair_values(normal_table(4)),
        -2.0,
    )
    assert out.sum() == -np.inf and not np.isnan(out).any()


@pytest.mark.parametrize("scale", [1e-9, 1e9, 1e100])
def test_sum_is_exact_at_any_size_of_the_score(scale):
    d = 40
    values = repair_values(normal_table(d))
    x = 4 * np.random.RandomState(2).randn(3, d)
    out = repair_contributions(lambda X: scale * bell(X), x, values, -20 * scale)
    np.testing.assert_allclose(out.sum(1), scale * bell(x) + 20 * scale, rtol=1e-12)


@pytest.mark.parametrize("d", [3, 40])
def test_rows_are_explained_alike_alone_and_together(d):
    rng = np.random.RandomState(0)
    X, values = rng.randn(30, d) * rng.choice([0.3, 1, 4], (30, 1)), repair_values(normal_table(d))
    together = repair_contributions(bell, X, values, -0.5 * d)
    alone = [repair_contributions(bell, x[None], values, -0.5 * d)[0] for x in X]
    np.testing.assert_allclose(together, alone, rtol=1e-9, atol=1e-12)


def test_no_rows_no_contributions():
    assert repair_contributions(bell, np.empty((0, 3)), repair_values(normal_table(3)), 0.0).shape == (0, 3)


def correlated(d):
    """A Gaussian score of columns that hang together, and a table of it."""
    rng = np.random.RandomState(0)
    mixing = rng.randn(d, max(1, d // 4))
    covariance = mixing @ mixing.T + 0.1 * np.diag((mixing * mixing).sum(1))
    precision = np.linalg.inv(covariance)
    table = rng.multivariate_normal(np.zeros(d), covariance, 400)
    return table, lambda X: -0.5 * np.einsum("ij,ij->i", X @ precision, X)


def rows_scored(d, odd, dependent):
    """How many rows it takes to explain one with so many odd features."""
    table, score = correlated(d) if dependent else (normal_table(d), bell)
    x = table[:1].copy()
    x[0, :odd] += 4 * table.std(0)[:odd] * np.random.RandomState(3).choice([-1, 1], odd)
    counted = Counted(score)
    repair_contributions(counted, x, repair_values(table), np.median(score(table)))
    return counted.n_rows


@pytest.mark.parametrize("dependent", [False, True], ids=["independent", "dependent"])
def test_cost_of_a_wholly_odd_row_grows_no_faster_than_its_features(dependent):
    """Between 50 and 600 features; trying all values of all after every repair would make it 144 times as much."""
    assert rows_scored(600, 600, dependent) <= 12 * rows_scored(50, 50, dependent)


@pytest.mark.parametrize("d, most", [(150, 75), (400, 35), (1000, 8)])
def test_cost_of_a_wholly_odd_row_of_independent_features(d, most):
    """In rows scored for each feature."""
    assert rows_scored(d, d, False) <= most * d


@pytest.mark.parametrize("dependent", [False, True], ids=["independent", "dependent"])
@pytest.mark.parametrize("d, most", [(150, 35), (600, 12)])
def test_cost_of_a_few_odd_features(d, most, dependent):
    assert rows_scored(d, 3, dependent) <= most * d
