"""Torch modules for those who build flows of their own; nothing here knows scikit-learn."""

from .agnostic import OrderAgnostic
from .base_distribution import BaseDistribution, GaussianMixture, StandardNormal
from .bernstein import BernsteinPolynomial
from .bijection import Bijection, Chain, Inverse
from .conditional import Coupling, Elementwise, MaskedAutoregressive
from .flow import Flow
from .linear import LU, ActNorm, Permutation, Rotation
from .marginal import MarginalGaussianization
from .mixture_cdf import MixtureCDF
from .monotone import MonotoneCurve
from .preprocessing import Bounded, LogTails, Standardize
from .registry import FLOWS, ORDERINGS, FlowRecipe, FlowSettings, build_flow
from .residual import Planar, Radial, Sylvester
from .sigmoids import SigmoidMixture
from .spline import RationalQuadraticSpline
from .student_t import StudentT
from .sum_of_squares import SumOfSquares
from .univariate import Additive, Affine, Univariate

__all__ = [
    "FLOWS",
    "LU",
    "ORDERINGS",
    "ActNorm",
    "Additive",
    "Affine",
    "BaseDistribution",
    "BernsteinPolynomial",
    "Bijection",
    "Bounded",
    "Chain",
    "Coupling",
    "Elementwise",
    "Flow",
    "FlowRecipe",
    "FlowSettings",
    "GaussianMixture",
    "Inverse",
    "LogTails",
    "MarginalGaussianization",
    "MaskedAutoregressive",
    "MixtureCDF",
    "MonotoneCurve",
    "OrderAgnostic",
    "Permutation",
    "Planar",
    "Radial",
    "RationalQuadraticSpline",
    "Rotation",
    "SigmoidMixture",
    "StandardNormal",
    "Standardize",
    "StudentT",
    "SumOfSquares",
    "Sylvester",
    "Univariate",
    "build_flow",
]
