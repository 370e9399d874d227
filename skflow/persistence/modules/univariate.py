"""Univariate maps, which are stateless, as JSON."""

from __future__ import annotations

from typing import Any

from ...flows.univariate.affine import Additive, Affine
from ...flows.univariate.bernstein import BernsteinPolynomial
from ...flows.univariate.mixture_cdf import MixtureCDF
from ...flows.univariate.rational_quadratic import RationalQuadraticSpline
from ...flows.univariate.sigmoids import SigmoidMixture
from ...flows.univariate.sum_of_squares import SumOfSquares
from ...flows.univariate.univariate import Univariate
from .node import require

MAX_PARTS = 10_000  # bins, units, components or degrees of a univariate map
MAX_DEGREE = 1000  # of a polynomial
MAX_BOUND = 1e6

# The greatest value of each number; those that have any have a bound too.
UNIVARIATES: dict[str, tuple[type[Univariate], dict[str, int]]] = {
    "Additive": (Additive, {}),
    "Affine": (Affine, {}),
    "BernsteinPolynomial": (BernsteinPolynomial, {"degree": MAX_DEGREE}),
    "MixtureCDF": (MixtureCDF, {"n_components": MAX_PARTS}),
    "RationalQuadraticSpline": (RationalQuadraticSpline, {"n_bins": MAX_PARTS}),
    "SigmoidMixture": (SigmoidMixture, {"n_units": MAX_PARTS}),
    "SumOfSquares": (SumOfSquares, {"degree": MAX_DEGREE, "n_squares": MAX_PARTS}),
}


def described_univariate(univariate: Univariate, what: str) -> dict:
    name = type(univariate).__name__
    cls, sizes = UNIVARIATES.get(name, (None, {}))
    numbers = {key: value for key, value in vars(univariate).items() if key in sizes or key == "bound"}
    same = type(univariate) is cls and vars(cls(**numbers)) == vars(univariate)
    if not same or any(not 0 < numbers[key] <= most for key, most in sizes.items()):
        raise TypeError(
            f"{what} has the univariate map {univariate!r}, which can't be kept: one of {list(UNIVARIATES)} can, of "
            f"at most {sizes}."
        )
    return {"class": name, **{key: float(value) if key == "bound" else int(value) for key, value in numbers.items()}}


def built_univariate(description: Any) -> Univariate:
    require(isinstance(description, dict), "a univariate map has no description")
    description = dict(description)
    name = description.pop("class", None)
    require(isinstance(name, str) and name in UNIVARIATES, f"{str(name)[:50]!r} is no univariate map")
    cls, sizes = UNIVARIATES[name]
    require(
        description.keys() == sizes.keys() | ({"bound"} if sizes else set()),
        f"{name} has {sorted(map(str, description))[:5]}",
    )
    for key, value in description.items():
        if key == "bound":
            require(type(value) in (int, float) and 0 < value <= MAX_BOUND, f"bound is {str(value)[:30]}")
        else:
            require(type(value) is int and 0 < value <= sizes[key], f"{key} is {str(value)[:30]}")
    return cls(**description)
