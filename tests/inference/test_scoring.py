"""What `score_samples` and its relatives promise about single rows and whole tables."""

import joblib
import numpy as np
import pytest
import torch
from scipy.stats import kstest
from sklearn.datasets import make_moons
from sklearn.mixture import GaussianMixture

from skflow import FlowDensity
from skflow.flows.networks.linear import MaskedLinear

from ..helpers import ESTIMATORS, fit_quietly, quick, target


def test_a_row_scores_alone_as_within_the_batch(fitted, table):
    batch = fitted.score_samples(table)
    alone = np.concatenate([fitted.score_samples(row[None]) for row in table])
    np.testing.assert_allclose(alone, batch, rtol=0, atol=1e-7)


def test_order_of_rows_does_not_matter(fitted, table):
    order = np.random.RandomState(0).permutation(len(table))
    np.testing.assert_allclose(
        fitted.score_samples(table[order]), fitted.score_samples(table)[order], rtol=0, atol=1e-7
    )


def test_large_table_scores_as_its_pieces(density, table):
    X = np.tile(table, (50, 1))
    np.testing.assert_allclose(density.score_samples(X), np.tile(density.score_samples(table), 50), rtol=0, atol=1e-7)


def test_score_is_the_mean(density, table):
    score = density.score(table)
    assert type(score) is float
    assert score == pytest.approx(density.score_samples(table).mean(), abs=1e-12)


def test_log_density_is_finite_far_away(fitted, table):
    far = np.array([1e6, -1e6])[:, None] * table.std(0) + table.mean(0)
    scores = fitted.score_samples(far)
    assert np.isfinite(scores).all(), scores


def test_far_rows_are_less_likely_than_any_of_the_table(fitted, table):
    far = table.mean(0) + 30 * table.std(0)
    assert fitted.score_samples(far[None])[0] < fitted.score_samples(table).min()


@pytest.mark.parametrize("unit", [2.0**-20, 2.0**30])
def test_changing_the_unit_shifts_the_log_density(unit, table):
    """A power of two, so that the arithmetic stays the same but for the exponents."""
    before = fit_quietly(quick(max_iter=10), table).score_samples(table)
    after = fit_quietly(quick(max_iter=10), unit * table).score_samples(unit * table)
    np.testing.assert_allclose(after, before - table.shape[1] * np.log(unit), rtol=0, atol=1e-3)


def test_torch_module_scores_raw_rows(fitted, table):
    with torch.no_grad():
        np.testing.assert_allclose(
            fitted.flow_.log_prob(torch.tensor(table)).numpy(), fitted.score_samples(table), rtol=0, atol=1e-9
        )


def test_torch_module_samples_in_raw_units(table):
    shifted = fit_quietly(quick(), 1000 + 50 * table)
    with torch.no_grad():
        rows = shifted.flow_.sample(2000, generator=torch.Generator().manual_seed(0)).numpy()
    np.testing.assert_allclose(np.median(rows, 0), np.median(1000 + 50 * table, 0), atol=20)


def test_bic_counts_parameters(density, table):
    n_parameters = (density.aic(table) + 2 * len(table) * density.score(table)) / 2
    assert n_parameters == pytest.approx(density.flow_.n_parameters())
    bic = -2 * len(table) * density.score(table) + n_parameters * np.log(len(table))
    assert density.bic(table) == pytest.approx(bic)


def test_masked_weights_are_not_counted(fitted):
    masked = sum(int((m.mask == 0).sum()) for m in fitted.flow_.modules() if isinstance(m, MaskedLinear))
    assert fitted.flow_.n_parameters() <= sum(p.numel() for p in fitted.flow_.parameters()) - masked


@pytest.mark.long
@pytest.mark.parametrize("base", ["normal", "mixture"])
@pytest.mark.parametrize("flow", ["made", "maf", "nice", "nsf", "nsf-coupling", "realnvp"])
def test_counted_parameters_are_those_that_matter(flow, base, table):
    """An entry is free if moving it can change a log-density: if its gradient is not zero for some weights.

    One logit of a mixture is not free: adding a constant to all of them changes nothing.
    """
    flow_ = fit_quietly(quick(flow=flow, depth=2, base=base, max_iter=1), table).flow_
    generator = torch.Generator().manual_seed(0)
    used = [torch.zeros_like(p, dtype=torch.bool) for p in flow_.parameters()]
    for _ in range(25):
        for p in flow_.parameters():
            p.requires_grad_(True).grad = None
            p.data.copy_(torch.randn(p.shape, generator=generator, dtype=p.dtype))
        flow_.log_prob(torch.tensor(table)).sum().backward()
        for mask, p in zip(used, flow_.parameters()):
            mask |= p.grad != 0
    assert flow_.n_parameters() == sum(int(mask.sum()) for mask in used) - (base == "mixture")


METHODS = ["score_samples", "score", "transform", "inverse_transform", "bic", "aic", "predict", "decision_function"]


@pytest.mark.parametrize("cls", ESTIMATORS)
def test_methods_never_change_the_estimator(cls, table):
    estimator = fit_quietly(quick(cls, bounds=(-100, 100)), table)
    identities = {name: id(value) for name, value in vars(estimator).items()}
    content = joblib.hash({name: value for name, value in vars(estimator).items() if name != "flow_"})
    weights = {name: value.clone() for name, value in estimator.flow_.state_dict().items()}
    for X in (table, table.astype(np.float32)):
        for method in METHODS:
            if hasattr(estimator, method):
                getattr(estimator, method)(X, *([target(estimator, X)] if method == "score" else []))
        if hasattr(estimator, "sample"):
            estimator.sample(3)
    assert {name: id(value) for name, value in vars(estimator).items()} == identities
    assert joblib.hash({name: value for name, value in vars(estimator).items() if name != "flow_"}) == content
    assert all(torch.equal(value, weights[name]) for name, value in estimator.flow_.state_dict().items())


@pytest.fixture(scope="module")
def good_fit():
    """The default estimator on 500 rows, and 2,000 rows that it has not seen."""
    X, unseen = (make_moons(n, noise=0.1, random_state=n)[0] for n in (500, 2000))
    return FlowDensity(random_state=0).fit(X), X, unseen


def test_default_beats_a_gaussian_on_unseen_rows(good_fit):
    density, X, unseen = good_fit
    assert density.score(unseen) > GaussianMixture(1).fit(X).score(unseen) + 0.2


def test_default_samples_where_the_data_are(good_fit):
    density, X, unseen = good_fit
    judge = GaussianMixture(12, random_state=0).fit(unseen)
    assert judge.score(density.sample(2000, random_state=0)) > judge.score(unseen) - 0.3


def test_default_latent_is_standard_normal(good_fit):
    density, _, unseen = good_fit
    for column in density.transform(unseen).T:
        assert kstest(column, "norm").statistic < 0.1
