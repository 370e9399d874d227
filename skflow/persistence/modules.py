"""Torch modules as JSON: the class, numbers, modules within, and the names of its tensors; and back.

Only the classes of the table at the end are built, by their constructors, and only once their sizes have been found to
agree with tensors that are there: a file can't ask for more memory than its own length.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from ..flows import (
    LU,
    ActNorm,
    Additive,
    Affine,
    BernsteinPolynomial,
    Bounded,
    Chain,
    Coupling,
    Elementwise,
    EmbeddedContext,
    Flow,
    GaussianMixture,
    Inverse,
    LogTails,
    MarginalGaussianization,
    MaskedAutoregressive,
    MixtureCDF,
    OrderAgnostic,
    OrderAverage,
    Permutation,
    Planar,
    Radial,
    RationalQuadraticSpline,
    Rotation,
    SigmoidMixture,
    Standardize,
    StandardNormal,
    StudentT,
    SumOfSquares,
    Sylvester,
    Univariate,
)
from ..flows.bijections.bijection import Bijection
from ..flows.distributions.distribution import Distribution
from ..flows.distributions.flow_mixture import FlowMixture
from ..flows.distributions.logarithmic_pool import LogarithmicPool
from .container import MAX_DEPTH
from .errors import FileFormatError
from .tensors import Reader, Writer

MAX_PARTS = 10_000  # bins, units, components or degrees of a univariate map
MAX_DEGREE = 1000  # of a polynomial
MAX_BOUND = 1e6
UNIVARIATE = "univariate"


def _require(condition: Any, message: str) -> None:
    if not condition:
        raise FileFormatError(f"The parts of a module in the file don't fit together: {message}.")


@dataclass
class Sizes:
    """What all modules of one flow must agree on; the first that knows a size sets it."""

    n_features: int | None = None
    n_context: int | None = None

    def agree(self, n_features: int | None = None, n_context: int | None = None) -> None:
        """Set or compare."""
        for name, value in (("n_features", n_features), ("n_context", n_context)):
            known = getattr(self, name)
            _require(value is None or known in (None, value), f"{name} is {known} and {value}")
            setattr(self, name, known if value is None else value)


@dataclass
class Node:
    """The description of a module while it is being built."""

    config: Mapping[str, Any]
    modules: Mapping[str, Any]
    tensors: Mapping[str, Tensor]
    sizes: Sizes

    def size(self, name: str, most: float = math.inf) -> int:
        """A positive integer of the config."""
        value = self.config[name]
        _require(type(value) is int and 0 < value <= most, f"{name} is {str(value)[:30]}")
        return value

    def count(self, name: str) -> int:
        """An integer of the config that may be zero."""
        value = self.config[name]
        _require(type(value) is int and value >= 0, f"{name} is {str(value)[:30]}")
        return value

    def number(self, name: str) -> float:
        """A finite number of the config."""
        value = self.config[name]
        _require(type(value) in (int, float) and math.isfinite(value), f"{name} is {str(value)[:30]}")
        return value

    def tensor(self, name: str, *shape: int | None, integer: bool = False, infinite: bool = False) -> Tensor:
        """A tensor, after its shape (None for any size), its kind of numbers and their being finite are checked."""
        _require(name in self.tensors, f"there is no tensor {name!r}")
        tensor = self.tensors[name]
        fits = tensor.dim() == len(shape) and all(b in (None, a) for a, b in zip(tensor.shape, shape))
        _require(fits, f"{name!r} has the shape {list(tensor.shape)}, not {list(shape)}")
        if integer:
            _require(tensor.dtype == torch.int64, f"{name!r} is of {tensor.dtype}")
        else:
            _require(tensor.dtype in (torch.float32, torch.float64), f"{name!r} is of {tensor.dtype}")
            bad = tensor.isnan() if infinite else ~tensor.isfinite()
            _require(not bad.any(), f"{name!r} holds numbers that are not finite")
        return tensor

    def child(self, name: str, kind: type) -> Any:
        """A module within, of the given kind."""
        _require(isinstance(self.modules.get(name), kind), f"{name!r} is no {kind.__name__}")
        return self.modules[name]

    def children(self, name: str, kind: type) -> list:
        """A list of modules within, of the given kind."""
        found = self.modules.get(name)
        _require(isinstance(found, list) and all(isinstance(m, kind) for m in found), f"{name!r} holds others")
        return found

    def hidden_layer_sizes(self, prefix: str, n_in: int, n_units: int) -> list[int]:
        """Of a network's layers, all of whose tensors have been compared with what it takes and gives."""
        sizes: list[int] = []
        while (name := f"{prefix}hidden.{len(sizes)}.affine") in self.tensors:
            sizes.append(self.tensor(name, None, 1 + n_in).shape[0])
            n_in = sizes[-1]
            _require(n_in > 0, "a hidden layer is empty")
        self.tensor(f"{prefix}output.affine", n_units, 1 + n_in)
        return sizes


@dataclass(frozen=True)
class Rule:
    """How modules of one class are kept.

    Attributes
    ----------
    build : callable
        Of a `Node`, the module; its parameters and buffers are set afterwards to the tensors of the file.
    config : callable
        Of a module, the numbers that ``build`` needs beside its tensors.
    modules : tuple of str
        Attributes that hold a module, or a list of modules.
    derived : tuple of str
        Buffers that follow from others and are not kept.
    """

    build: Callable[[Node], nn.Module]
    config: Callable[[Any], dict] = field(default=lambda module: {})
    modules: tuple[str, ...] = ()
    derived: tuple[str, ...] = ()


def described(module: nn.Module, to: Writer, what: str) -> dict:
    """A module as JSON; its tensors go to the writer.

    Raises
    ------
    TypeError
        Names the class that is not in the table.
    """
    name = type(module).__name__
    if name not in RULES or type(module) is not RULES[name][0]:
        raise TypeError(
            f"{what} is built of a {type(module).__module__}.{type(module).__qualname__}, which skflow can't build "
            "again from a file without running code of yours: pickle the estimator, or use skflow's own modules alone."
        )
    rule = RULES[name][1]
    within = {attribute: getattr(module, attribute) for attribute in rule.modules}
    out: dict[str, Any] = {"class": name, "config": rule.config(module)}
    if isinstance(getattr(module, UNIVARIATE, None), Univariate):
        out[UNIVARIATE] = _described_univariate(module.univariate, what)
    if within:
        out["modules"] = {
            attribute: (
                [described(m, to, f"{what}.{attribute}.{i}") for i, m in enumerate(child)]
                if isinstance(child, nn.ModuleList)
                else described(child, to, f"{what}.{attribute}")
            )
            for attribute, child in within.items()
        }
    own = _own_tensors(module, rule)
    out["tensors"] = {key: to.keep(tensor, f"{what}.{key}") for key, tensor in own.items()}
    frozen = [key for key, tensor in own.items() if isinstance(tensor, nn.Parameter) and not tensor.requires_grad]
    if frozen:
        out["frozen"] = frozen
    return out


def built(description: Any, source: Reader, sizes: Sizes | None = None, depth: int = 0) -> nn.Module:
    """The inverse of `described`.

    Raises
    ------
    FileFormatError
    """
    _require(depth <= MAX_DEPTH, "they are nested too deep")
    _require(isinstance(description, dict), "a module has no description")
    name, config = description.get("class"), description.get("config")
    _require(isinstance(name, str) and name in RULES, f"{str(name)[:50]!r} is no class that skflow builds from files")
    cls, rule = RULES[name]
    univariate = UNIVARIATE in description
    keys = {"class", "config", "tensors", *(["modules"] if rule.modules else []), *([UNIVARIATE] if univariate else [])}
    _require(description.keys() - {"frozen"} == keys, f"{name} has other parts than {sorted(keys)}")
    _require(isinstance(config, dict) and isinstance(description["tensors"], dict), f"{name} has no config")
    sizes = Sizes() if sizes is None else sizes
    within = _built_within(name, description.get("modules", {}), rule, source, sizes, depth)
    if univariate:
        within[UNIVARIATE] = _built_univariate(description[UNIVARIATE])
    tensors = {key: source.tensor(tensor) for key, tensor in description["tensors"].items()}
    try:
        with torch.random.fork_rng(devices=[]):
            module = rule.build(Node(config, within, tensors, sizes))
    except KeyError as error:
        raise FileFormatError(f"A {name} of the file lacks {error}.") from error
    _set_tensors(module, rule, tensors, description.get("frozen", []))
    return module


def _built_within(name, description, rule, source, sizes, depth):
    _require(isinstance(description, dict) and description.keys() == set(rule.modules), f"{name} lacks modules")
    within: dict[str, Any] = {}
    for attribute, child in description.items():
        own = Sizes(sizes.n_context, 0) if RULES[name][0] is EmbeddedContext and attribute == "embedding" else sizes
        if isinstance(child, list):
            within[attribute] = [built(one, source, own, depth + 1) for one in child]
        else:
            within[attribute] = built(child, source, own, depth + 1)
        if own is not sizes:
            sizes.agree(n_context=own.n_features)
    return within


def _own_tensors(module, rule):
    """Parameters and buffers that are kept, but for those of the modules within that have a description themselves."""
    other = tuple(f"{attribute}." for attribute in rule.modules)
    return {
        key: tensor
        for key, tensor in module.state_dict(keep_vars=True).items()
        if not key.startswith(other) and key not in rule.derived
    }


@torch.no_grad()
def _set_tensors(module, rule, tensors, frozen):
    own = _own_tensors(module, rule)
    name = type(module).__name__
    _require(own.keys() == tensors.keys(), f"{name} has the tensors {sorted(own)}")
    _require(isinstance(frozen, list) and all(key in own for key in frozen), f"{name} has no {str(frozen)[:50]}")
    for key, tensor in tensors.items():
        holder, _, attribute = key.rpartition(".")
        holder, old = module.get_submodule(holder), own[key]
        _require(old.shape == tensor.shape, f"{key!r} of {name} has the shape {list(tensor.shape)}")
        floating = old.dtype.is_floating_point and tensor.dtype in (torch.float32, torch.float64)
        _require(floating or old.dtype == tensor.dtype, f"{key!r} of {name} is of {tensor.dtype}")
        if isinstance(old, nn.Parameter):
            setattr(holder, attribute, nn.Parameter(tensor, requires_grad=key not in frozen))
        else:
            setattr(holder, attribute, tensor)
    for part in module.modules():  # buffers that are not kept take the precision of what they stand beside
        for key in part._non_persistent_buffers_set:
            buffer = getattr(part, key)
            if buffer.dtype.is_floating_point:
                setattr(part, key, buffer.to(next(part.parameters(recurse=False))))


# Univariate maps, which are stateless: the greatest value of each number; those that have any have a bound too.
UNIVARIATES: dict[str, tuple[type[Univariate], dict[str, int]]] = {
    "Additive": (Additive, {}),
    "Affine": (Affine, {}),
    "BernsteinPolynomial": (BernsteinPolynomial, {"degree": MAX_DEGREE}),
    "MixtureCDF": (MixtureCDF, {"n_components": MAX_PARTS}),
    "RationalQuadraticSpline": (RationalQuadraticSpline, {"n_bins": MAX_PARTS}),
    "SigmoidMixture": (SigmoidMixture, {"n_units": MAX_PARTS}),
    "SumOfSquares": (SumOfSquares, {"degree": MAX_DEGREE, "n_squares": MAX_PARTS}),
}


def _described_univariate(univariate, what):
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


def _built_univariate(description):
    _require(isinstance(description, dict), "a univariate map has no description")
    description = dict(description)
    name = description.pop("class", None)
    _require(isinstance(name, str) and name in UNIVARIATES, f"{str(name)[:50]!r} is no univariate map")
    cls, sizes = UNIVARIATES[name]
    _require(
        description.keys() == sizes.keys() | ({"bound"} if sizes else set()),
        f"{name} has {sorted(map(str, description))[:5]}",
    )
    for key, value in description.items():
        if key == "bound":
            _require(type(value) in (int, float) and 0 < value <= MAX_BOUND, f"bound is {str(value)[:30]}")
        else:
            _require(type(value) is int and 0 < value <= sizes[key], f"{key} is {str(value)[:30]}")
    return cls(**description)


# The schemes: a network emits the parameters of univariate maps.
def _masked(node):
    univariate, d, c = node.child(UNIVARIATE, Univariate), node.size("n_features"), node.count("n_context")
    node.sizes.agree(d, c)
    hidden = node.hidden_layer_sizes("network.", d + c, d * univariate.n_params)
    return MaskedAutoregressive(d, c, univariate, hidden)


def _coupling(node):
    univariate, d, c = node.child(UNIVARIATE, Univariate), node.size("n_features"), node.count("n_context")
    node.sizes.agree(d, c)
    _require(d > 1, "a coupling has one feature")
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
    _require(len(orders), "there is no ordering")
    for order in orders:
        _is_permutation(order)
    hidden = node.hidden_layer_sizes("network.", d + c, d * univariate.n_params)
    return OrderAgnostic(d, c, univariate, hidden, len(orders))


def _is_permutation(order):
    same = torch.equal(order.sort().values, torch.arange(len(order)))
    _require(len(order) and same, "an order of the features is none")


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
    _require(m <= node.size("n_features"), "there are more columns than features")
    return _residual(node, Sylvester, lambda d: d * m + 2 * m * m + 2 * m, n_columns=m)


# Maps without a network.
def _permutation(node):
    order = node.tensor("order", None, integer=True)
    node.sizes.agree(len(order))
    _is_permutation(order)
    return Permutation(order)


def _square(cls, name, *more):
    def build(node):
        matrix = node.tensor(name, None, None)
        d = len(matrix)
        node.sizes.agree(d)
        for one in more:
            node.tensor(one, *((d, d) if one == "upper" else (d,)))
        _require(d and matrix.shape[1] == d, f"{name!r} is not square")
        return cls(d)

    return build


def _act_norm(node):
    d = len(node.tensor("log_scale", None))
    node.tensor("shift", d)
    node.sizes.agree(d)
    return ActNorm(d)


def _column_wise(cls, *names, infinite=()):
    def build(node):
        d = len(node.tensor(names[0], None, infinite=names[0] in infinite))
        node.sizes.agree(d)
        _require(d, "there is no column")
        return cls(*(node.tensor(name, d, infinite=name in infinite) for name in names))

    return build


def _marginal_gaussianization(node):
    columns = node.tensor("columns", None, integer=True)
    c = len(columns)
    knots = len(node.tensor("knots_z", None))
    parts = node.tensor("knots_x", c, knots), node.tensor("knots_z", knots), node.tensor("slopes", c, knots)
    d = node.sizes.n_features
    _require(c and knots > 1, "a curve has no knots")
    _require(d is not None and columns.min() >= 0 and columns.max() < d, "a column lies outside the table")
    _require(len(columns.unique()) == c, "a column is mapped twice")
    return MarginalGaussianization(columns, *parts, node.tensor("tail_index", c, 2))


# Distributions.
def _standard_normal(node):
    d = len(node.tensor("mean", None))
    node.sizes.agree(d)
    return StandardNormal(d)


def _gaussian_mixture(node):
    k, d = node.tensor("means", None, None).shape
    node.sizes.agree(d)
    node.tensor("logits", k), node.tensor("log_diagonal", k, d), node.tensor("lower", k, d, d)
    diagonal = node.config["diagonal"]
    _require(k and d and type(diagonal) is bool, "a mixture has no components")
    return GaussianMixture(torch.ones(k), torch.zeros(k, d), torch.eye(d).expand(k, d, d), diagonal=diagonal)


def _student_t(node):
    d = len(node.tensor("raw_df", None))
    node.sizes.agree(d)
    node.tensor("loc", d), node.tensor("log_scale", d)
    return StudentT(torch.full((d,), 5.0), torch.zeros(d), torch.ones(d))


def _order_average(node):
    flow = node.child("flow", Flow)
    _require(any(isinstance(m, OrderAgnostic) for m in flow.modules()), "there are no orderings to average over")
    return OrderAverage(flow)


def _members(node):
    members = node.children("members", Distribution)
    _require(members, "a mixture has no members")
    return members


def _logarithmic_pool(node):
    members = _members(node)
    small = node.tensor("small", None, None, None)
    d = small.shape[2]
    node.sizes.agree(d)
    centres, fold = node.tensor("centres", None, d), node.tensor("fold", None, integer=True)
    _require(small.numel() and len(small) % len(members) == 0, "its small estimates are not one or more a member")
    _require(len(fold) == len(centres) and ((fold >= 0) & (fold < len(members))).all(), "a fold has no member")
    width, memory = node.number("width"), node.number("memory")
    _require(width > 0 and memory >= 0 and (memory == 0 or len(centres)), "its memory is none")
    pool = LogarithmicPool(members, small)
    pool.remember(centres, fold, width, memory)
    return pool


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


# One row a class: what may stand in a file.
RULES: dict[str, tuple[type[nn.Module], Rule]] = {
    cls.__name__: (cls, rule)
    for cls, rule in {
        ActNorm: Rule(_act_norm),
        Bounded: Rule(_column_wise(Bounded, "low", "high", "unit", infinite=("low", "high"))),
        Chain: Rule(lambda node: Chain(node.children("links", Bijection)), modules=("links",)),
        Coupling: Rule(_coupling, _scheme(_coupling_sizes)),
        Elementwise: Rule(_elementwise, _scheme(_elementwise_sizes)),
        EmbeddedContext: Rule(
            lambda node: EmbeddedContext(node.child("bijection", Bijection), node.child("embedding", Bijection)),
            modules=("bijection", "embedding"),
        ),
        Flow: Rule(
            lambda node: Flow(node.child("bijection", Bijection), node.child("base", Distribution)),
            modules=("bijection", "base"),
        ),
        FlowMixture: Rule(lambda node: FlowMixture(_members(node)), modules=("members",)),
        GaussianMixture: Rule(_gaussian_mixture, lambda module: {"diagonal": module.diagonal}),
        Inverse: Rule(lambda node: Inverse(node.child("bijection", Bijection)), modules=("bijection",)),
        LU: Rule(_square(LU, "lower", "upper", "log_diagonal", "bias")),
        LogTails: Rule(_column_wise(LogTails, "low", "high", infinite=("low", "high"))),
        LogarithmicPool: Rule(
            _logarithmic_pool,
            lambda module: {"width": float(module.width), "memory": float(module.memory)},
            modules=("members",),
        ),
        MarginalGaussianization: Rule(_marginal_gaussianization),
        MaskedAutoregressive: Rule(
            _masked, _scheme(lambda module: (module.network.n_features, module.network.n_context))
        ),
        OrderAgnostic: Rule(
            _order_agnostic, _scheme(lambda module: (module.orders.shape[1], module.network.n_context))
        ),
        OrderAverage: Rule(_order_average, modules=("flow",)),
        Permutation: Rule(_permutation, derived=("undo",)),
        Planar: Rule(lambda node: _residual(node, Planar, lambda d: 2 * d + 1), _residual_config),
        Radial: Rule(lambda node: _residual(node, Radial, lambda d: d + 2), _residual_config),
        Rotation: Rule(_square(Rotation, "raw")),
        StandardNormal: Rule(_standard_normal),
        Standardize: Rule(_column_wise(Standardize, "shift", "scale")),
        StudentT: Rule(_student_t),
        Sylvester: Rule(_sylvester, lambda module: {**_residual_config(module), "n_columns": module.n_columns}),
    }.items()
}
