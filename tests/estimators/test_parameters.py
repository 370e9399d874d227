"""Parameters: what is refused, how it is said, and that a fit leaves them alone."""

import inspect

import numpy as np
import pytest
from sklearn.utils._param_validation import InvalidParameterError

from skflow import FlowDensity
from skflow.flows import FLOWS

from ..helpers import ESTIMATORS, fit_quietly, quick

BAD = [
    ("flow", 3),
    ("flow", "spline"),
    ("depth", -1),
    ("depth", 0),
    ("depth", 1.5),
    ("depth", "deep"),
    ("hidden_layer_sizes", "wide"),
    ("hidden_layer_sizes", (8, 0)),
    ("hidden_layer_sizes", (8.5,)),
    ("hidden_layer_sizes", -4),
    ("n_bins", 0),
    ("base", "cauchy"),
    ("bounds", "positive"),
    ("bounds", 3),
    ("max_iter", 0),
    ("batch_size", 0),
    ("learning_rate_init", 0.0),
    ("learning_rate_init", float("nan")),
    ("alpha", -1e-4),
    ("early_stopping", "yes"),
    ("validation_fraction", 0.0),
    ("validation_fraction", 1.0),
    ("n_iter_no_change", 0),
    ("tol", -1.0),
    ("warm_start", 2),
    ("random_state", "seed"),
    ("device", "abacus"),
    ("device", 0),
    ("verbose", -1),
]


@pytest.mark.parametrize("name, value", BAD)
def test_bad_parameter_is_named_with_its_value(name, value, table):
    with pytest.raises(ValueError) as error:
        quick(**{name: value}).fit(table)
    assert name in str(error.value)
    assert str(value) in str(error.value)


@pytest.mark.parametrize("cls", ESTIMATORS)
def test_parameters_are_checked_before_the_data(cls):
    with pytest.raises(InvalidParameterError, match="depth"):
        cls(depth=-1).fit("not a table")


@pytest.mark.parametrize("cls", ESTIMATORS)
def test_unknown_flow_lists_the_names(cls, table):
    with pytest.raises(InvalidParameterError) as error:
        cls(flow="nfs").fit(table)
    assert all(repr(name) in str(error.value) for name in FLOWS)


@pytest.mark.parametrize("typo, name", [("nfs", "nsf"), ("real-nvp", "realnvp"), ("MAF", "maf")])
def test_unknown_flow_proposes_the_closest(typo, name, table):
    with pytest.raises(InvalidParameterError, match=f"Did you mean '{name}'"):
        FlowDensity(flow=typo).fit(table)


def test_callable_flow_that_returns_no_bijection_is_named(table):
    with pytest.raises(TypeError, match="Bijection"):
        quick(flow=make_nothing).fit(table)


def make_nothing(n_features, n_context):
    return "nothing"


@pytest.mark.parametrize(
    "bounds, words",
    [
        ([(0, 1)], ["bounds", "4"]),
        ([(0, 1)] * 5, ["bounds", "5", "4"]),
        ((3, 1), ["bounds", "3", "1"]),
        ([None, (0, 0), None, None], ["bounds", "column 1"]),
        ([None, (0, 1, 2), None, None], ["bounds", "column 1", "(0, 1, 2)"]),
        ([None, ("low", 1), None, None], ["bounds", "column 1", "low"]),
        ([None, (0, float("nan")), None, None], ["bounds", "column 1", "nan"]),
    ],
)
def test_bad_bounds_are_explained(bounds, words, table):
    with pytest.raises(ValueError) as error:
        quick(bounds=bounds).fit(table)
    assert all(word in str(error.value) for word in words), str(error.value)


def test_rows_outside_the_bounds_are_refused_by_column(table):
    with pytest.raises(ValueError, match=r"column 1.*bounds"):
        quick(bounds=[None, (0, None), None, None]).fit(table)


@pytest.mark.parametrize("cls", ESTIMATORS)
def test_every_parameter_has_a_constraint(cls):
    assert set(cls._parameter_constraints) == set(inspect.signature(cls).parameters)


@pytest.mark.parametrize("cls", ESTIMATORS)
def test_fit_does_not_write_parameters(cls, table):
    sizes = [8]
    estimator = cls(hidden_layer_sizes=sizes, max_iter=2, random_state=0)
    before = estimator.get_params()
    after = fit_quietly(estimator, table).get_params()
    assert all(after[name] is value for name, value in before.items())
    assert sizes == [8]


@pytest.mark.parametrize("sizes", [6, [6], (6,), np.array([6]), (6, 5)])
def test_hidden_layer_sizes_take_any_sequence_or_a_number(sizes, table):
    density = fit_quietly(quick(hidden_layer_sizes=sizes), table)
    assert density.hidden_layer_sizes_ == tuple(np.atleast_1d(sizes))


@pytest.mark.parametrize("flow", sorted(FLOWS))
def test_smallest_settings_fit(flow, table):
    table = table[:30]
    density = fit_quietly(quick(flow=flow, depth=1, hidden_layer_sizes=1, n_bins=1, batch_size=1, max_iter=1), table)
    assert np.isfinite(density.score(table))


@pytest.mark.parametrize("flow", sorted(FLOWS))
def test_depth_is_what_was_asked_for(flow, table):
    some = {"flow": flow, "base": "normal", "max_iter": 1}
    layers = [fit_quietly(quick(depth=k, **some), table[:30]).flow_.bijection.links[1] for k in (1, 2, 4)]
    sizes = [len(some.state_dict()) for some in layers]
    assert sizes[0] < sizes[1] < sizes[2]
