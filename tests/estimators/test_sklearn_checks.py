"""scikit-learn's own checks of every estimator."""

import pytest
from sklearn.base import is_regressor
from sklearn.utils.estimator_checks import check_param_validation, parametrize_with_checks

from skflow import FlowDensity, FlowImputer, FlowRegressor

from ..helpers import ALL, quick

MINI_BATCHES = (
    "a weight scales a row's part in one step where a repeated row takes part in several: with mini-batches and a "
    "random validation part the two fits meet in expectation only"
)
TARGETS_TOO = "score_samples of a regressor takes the targets too; tests/estimators/test_regressor.py checks the same"


def expected_failures(estimator):
    expected = {"check_sample_weight_equivalence_on_dense_data": MINI_BATCHES}
    if is_regressor(estimator):
        invariance = "check_methods_sample_order_invariance", "check_methods_subset_invariance"
        expected |= dict.fromkeys(invariance, TARGETS_TOO)
    return expected


def otherwise(cls):
    """Of another flow, of two layers, with a plain normal base, trained on all rows."""
    return quick(cls, flow="realnvp", depth=2, base="normal", early_stopping=False)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.usefixtures("few_folds")
@parametrize_with_checks(
    [quick(cls) for cls in ALL] + [FlowImputer(quick(early_stopping=False), random_state=0), otherwise(FlowDensity)],
    expected_failed_checks=expected_failures,
)
def test_scikit_learn_check(estimator, check):
    check(estimator)


@pytest.mark.long
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@parametrize_with_checks(
    [FlowRegressor(random_state=0)] + [otherwise(cls) for cls in ALL if cls is not FlowDensity],
    expected_failed_checks=expected_failures,
)
def test_scikit_learn_check_of_slower_estimators(estimator, check):
    """The regressor as it comes, with all its folds, and other estimators than a density of another flow."""
    check(estimator)


@pytest.mark.parametrize("cls", ALL)
def test_every_parameter_is_validated(cls):
    """`check_estimator` leaves this one out; scikit-learn runs it on its own estimators only."""
    check_param_validation(cls.__name__, quick(cls))
