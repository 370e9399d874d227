"""What is fast, of which class: a row for each. A subclass has none, since it may have changed anything."""

from __future__ import annotations

from ..flows.bijections.autoregressive import MaskedAutoregressive
from ..flows.bijections.chain import Chain
from ..flows.bijections.context_location import ContextLocation
from ..flows.bijections.coupling import Coupling
from ..flows.bijections.embedded_context import EmbeddedContext
from ..flows.bijections.inverse import Inverse
from ..flows.bijections.linear import Permutation
from ..flows.bijections.log_tails import LogTails
from ..flows.bijections.standardize import Standardize
from ..flows.distributions.flow_mixture import FlowMixture
from ..flows.distributions.gaussian_mixture import GaussianMixture
from ..flows.distributions.logarithmic_pool import LogarithmicPool
from ..flows.distributions.normal import StandardNormal
from ..flows.networks.dense import DenseNetwork
from ..flows.networks.masked import MaskedNetwork
from ..flows.univariate.affine import Affine
from ..flows.univariate.rational_quadratic import RationalQuadraticSpline
from . import bijections, conditional, distributions, ensemble, networks, preprocessing, univariate
from .tape import Form

FORMS = {
    # bijections
    Chain: Form(bijections.record_chain, bijections.record_chain_inverse),
    Inverse: Form(bijections.record_turned, bijections.record_turned_inverse, gradients=False),
    ContextLocation: Form(bijections.record_location, bijections.record_location_inverse, gradients=False),
    EmbeddedContext: Form(bijections.record_embedded, bijections.record_embedded_inverse, gradients=False),
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
