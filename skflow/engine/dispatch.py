"""What is fast, of which class: a row for each. A subclass has none, since it may have changed anything."""

from __future__ import annotations

from ..flows.base_distribution import GaussianMixture, StandardNormal
from ..flows.bijection import Chain, Inverse
from ..flows.conditional import Coupling, MaskedAutoregressive
from ..flows.ensemble import FlowMixture, LogarithmicPool
from ..flows.linear import Permutation
from ..flows.networks import DenseNetwork, MaskedNetwork
from ..flows.preprocessing import LogTails, Standardize
from ..flows.spline import RationalQuadraticSpline
from ..flows.univariate import Affine
from . import bijections, conditional, distributions, ensemble, networks, preprocessing, univariate
from .tape import Form

FORMS = {
    # bijections
    Chain: Form(bijections.record_chain, bijections.record_chain_inverse),
    Inverse: Form(bijections.record_turned, bijections.record_turned_inverse, gradients=False),
    Permutation: Form(bijections.record_permutation, bijections.record_permutation_inverse),
    Standardize: Form(preprocessing.record_standardize, gradients=False),
    LogTails: Form(preprocessing.record_log_tails, gradients=False),
    Coupling: Form(conditional.record, conditional.record_coupling_inverse),
    MaskedAutoregressive: Form(conditional.record, conditional.record_autoregressive_inverse),
    # univariate maps
    Affine: univariate.Compiled("affine", univariate.affine_constants),
    RationalQuadraticSpline: univariate.Compiled("spline", univariate.spline_constants),
    # networks
    DenseNetwork: Form(networks.record),
    MaskedNetwork: Form(networks.record),
    # base distributions
    StandardNormal: Form(distributions.record_normal),
    GaussianMixture: Form(distributions.record_mixture),
    FlowMixture: Form(ensemble.record, gradients=False),
    LogarithmicPool: Form(ensemble.record, gradients=False),
}
