"""Torch modules for those who build flows of their own; nothing here knows scikit-learn."""

from .bijections.autoregressive import MaskedAutoregressive
from .bijections.bijection import Bijection
from .bijections.bounded import Bounded
from .bijections.chain import Chain
from .bijections.context_location import ContextLocation
from .bijections.coupling import Coupling
from .bijections.elementwise import Elementwise
from .bijections.embedded_context import EmbeddedContext
from .bijections.inverse import Inverse
from .bijections.linear import LU, ActNorm, Permutation, Rotation
from .bijections.log_tails import LogTails
from .bijections.marginal_gaussianization import MarginalGaussianization
from .bijections.order_agnostic import OrderAgnostic
from .bijections.planar import Planar
from .bijections.radial import Radial
from .bijections.standardize import Standardize
from .bijections.sylvester import Sylvester
from .distributions.distribution import BaseDistribution, Distribution
from .distributions.gaussian_mixture import GaussianMixture
from .distributions.normal import StandardNormal
from .distributions.order_average import OrderAverage
from .distributions.student_t import StudentT
from .flow import Flow
from .registry import FLOWS, ORDERINGS, FlowRecipe, FlowSettings, build_flow
from .univariate.affine import Additive, Affine
from .univariate.bernstein import BernsteinPolynomial
from .univariate.mixture_cdf import MixtureCDF
from .univariate.monotone import MonotoneCurve
from .univariate.rational_quadratic import RationalQuadraticSpline
from .univariate.sigmoids import SigmoidMixture
from .univariate.sum_of_squares import SumOfSquares
from .univariate.univariate import Univariate

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
    "ContextLocation",
    "Coupling",
    "Distribution",
    "Elementwise",
    "EmbeddedContext",
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
    "OrderAverage",
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
