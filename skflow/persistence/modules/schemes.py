"""The schemes, and maps of a fixed form: a network emits their parameters."""

from __future__ import annotations

from ...flows.bijections.autoregressive import MaskedAutoregressive
from ...flows.bijections.coupling import Coupling
from ...flows.bijections.elementwise import Elementwise
from ...flows.bijections.order_agnostic import OrderAgnostic
from ...flows.bijections.planar import Planar
from ...flows.bijections.radial import Radial
from ...flows.bijections.sylvester import Sylvester
from ...flows.univariate.univariate import Univariate
from .bijections import require_permutation
from .node import UNIVARIATE, Rule, require


def _masked(node):
    univariate, d, c = node.child(UNIVARIATE, Univariate), node.size("n_features"), node.count("n_context")
    node.sizes.agree(d, c)
    hidden = node.hidden_layer_sizes("network.", d + c, d * univariate.n_params)
    return MaskedAutoregressive(d, c, univariate, hidden)


def _coupling(node):
    univariate, d, c = node.child(UNIVARIATE, Univariate), node.size("n_features"), node.count("n_context")
    node.sizes.agree(d, c)
    require(d > 1, "a coupling has one feature")
    hidden = node.hidden_layer_sizes("network.", d // 2 + c, (d - d // 2) * univariate.n_params)
    return Coupling(d, c, univariate, hidden)


def _elementwise(node):
    univariate, d, c = node.child(UNIVARIATE, Univariate), node.size("n_features"), node.count("n_context")
    node.sizes.agree(d, c)
    if not c:
        node.tensor("params", univariate.n_params, d, 1)
        return Elementwise(d, 0, univariate)
    return Elementwise(d, c, univariate, node.hidden_layer_sizes("network.", c, d * univariate.n_params))


def _order_agnostic(node):
    univariate, d, c = node.child(UNIVARIATE, Univariate), node.size("n_features"), node.count("n_context")
    node.sizes.agree(d, c)
    orders = node.tensor("orders", None, d, integer=True)
    require(len(orders), "there is no ordering")
    for order in orders:
        require_permutation(order)
    hidden = node.hidden_layer_sizes("network.", d + c, d * univariate.n_params)
    return OrderAgnostic(d, c, univariate, hidden, len(orders))


def _n_context_of(parameters):
    return 0 if parameters.network is None else parameters.network.layers()[0].weight.shape[1]


def _residual_config(module):
    return {"n_features": module.n_features, "n_context": _n_context_of(module.parameters_)}


def _residual(node, cls, n_free, **more):
    d, c = node.size("n_features"), node.count("n_context")
    node.sizes.agree(d, c)
    node.tensor("parameters_.free", n_free(d))
    hidden = node.hidden_layer_sizes("parameters_.network.", c, n_free(d)) if c else []
    return cls(d, c, hidden, **more)


def _sylvester(node):
    m = node.size("n_columns")
    require(m <= node.size("n_features"), "there are more columns than features")
    return _residual(node, Sylvester, lambda d: d * m + 2 * m * m + 2 * m, n_columns=m)


def _scheme(config):
    """The numbers of a scheme: features and context that its network takes."""
    return lambda module: dict(zip(("n_features", "n_context"), map(int, config(module))))


def _coupling_sizes(module):
    network = module.network
    d = module.n_kept + len(network.output.bias) // network.n_params
    return d, network.layers()[0].weight.shape[1] - module.n_kept


def _elementwise_sizes(module):
    c = module.n_context
    d = len(module.network.output.bias) // module.network.n_params if c else module.params.shape[1]
    return d, c


RULES = {
    Coupling: Rule(_coupling, _scheme(_coupling_sizes)),
    Elementwise: Rule(_elementwise, _scheme(_elementwise_sizes)),
    MaskedAutoregressive: Rule(_masked, _scheme(lambda module: (module.network.n_features, module.network.n_context))),
    OrderAgnostic: Rule(_order_agnostic, _scheme(lambda module: (module.orders.shape[1], module.network.n_context))),
    Planar: Rule(lambda node: _residual(node, Planar, lambda d: 2 * d + 1), _residual_config),
    Radial: Rule(lambda node: _residual(node, Radial, lambda d: d + 2), _residual_config),
    Sylvester: Rule(_sylvester, lambda module: {**_residual_config(module), "n_columns": module.n_columns}),
}
