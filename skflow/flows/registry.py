"""The flows by name: each a composition of schemes, univariate maps and the layers between."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .bijections.autoregressive import MaskedAutoregressive
from .bijections.bijection import Bijection
from .bijections.chain import Chain
from .bijections.coupling import Coupling
from .bijections.elementwise import Elementwise
from .bijections.inverse import Inverse
from .bijections.linear import LU, ActNorm, Permutation, Rotation
from .bijections.order_agnostic import OrderAgnostic
from .bijections.planar import Planar
from .bijections.radial import Radial
from .bijections.sylvester import Sylvester
from .univariate.affine import Additive, Affine
from .univariate.bernstein import BernsteinPolynomial
from .univariate.mixture_cdf import MixtureCDF
from .univariate.rational_quadratic import RationalQuadraticSpline
from .univariate.sigmoids import SigmoidMixture
from .univariate.sum_of_squares import SumOfSquares
from .univariate.univariate import Univariate

ORDERINGS = ("auto", "natural", "reversed", "random", "agnostic")


@dataclass(frozen=True)
class FlowSettings:
    """The hyperparameters that a named flow is built from.

    Attributes
    ----------
    depth : int
        Number of layers.
    hidden_layer_sizes : sequence of int
        Of each layer's network.
    n_bins : int
        Bins of a spline, components of a mixture, units of a sigmoidal map; a polynomial's degree follows from it.
    ordering : str
        Of the columns of autoregressive layers: one of `ORDERINGS`.
    """

    depth: int
    hidden_layer_sizes: Sequence[int]
    n_bins: int
    ordering: str = "auto"


Build = Callable[[int, int, FlowSettings], Bijection]


@dataclass(frozen=True)
class FlowRecipe:
    """How a named flow is composed; a builder takes (n_features, n_context, settings).

    Attributes
    ----------
    layer : tuple of builders
        The links of one layer, in the direction from data to latent.
    last : tuple of builders
        Links after the last layer.
    depth : int or None
        The depth that "auto" stands for, where the flow's paper has one of its own.
    permuted : bool
        Put a permutation of the features between the layers, for layers that do not mix them by themselves.
    ordered : bool
        Whether the layers condition on the columns in some order, so that an ordering can be chosen.
    """

    layer: tuple[Build, ...]
    last: tuple[Build, ...] = ()
    depth: int | None = None
    permuted: bool = False
    ordered: bool = False


def _elementwise(univariate: str) -> Build:
    return lambda d, n_context, s: Elementwise(d, n_context, UNIVARIATE[univariate](s), s.hidden_layer_sizes)


def _coupling(univariate: str) -> Build:
    """A single feature has none to be conditioned on: its map is element-wise."""

    def build(d, n_context, s):
        return (Coupling if d > 1 else Elementwise)(d, n_context, UNIVARIATE[univariate](s), s.hidden_layer_sizes)

    return build


def _autoregressive(univariate: str) -> Build:
    """Of a single feature no ordering is open, and without a context its map has no network."""

    def build(d, n_context, s):
        if d == 1:
            scheme = MaskedAutoregressive if n_context else Elementwise
        else:
            scheme = OrderAgnostic if s.ordering == "agnostic" else MaskedAutoregressive
        return scheme(d, n_context, UNIVARIATE[univariate](s), s.hidden_layer_sizes)

    return build


def _inverse(build: Build) -> Build:
    return lambda d, n_context, s: Inverse(build(d, n_context, s))


def _of_context(layer: type[Bijection]) -> Build:
    return lambda d, n_context, s: layer(d, n_context, s.hidden_layer_sizes)


def _plain(layer: Callable[[int], Bijection]) -> Build:
    return lambda d, n_context, s: layer(d)


def _permuted_lu(d: int) -> Bijection:
    """P L U, the factors that Glow gives its 1x1 convolution."""
    return Chain([LU(d), Permutation.random(d)])


UNIVARIATE: dict[str, Callable[[FlowSettings], Univariate]] = {
    "additive": lambda s: Additive(),
    "affine": lambda s: Affine(),
    "spline": lambda s: RationalQuadraticSpline(s.n_bins),
    "mixture": lambda s: MixtureCDF(s.n_bins),
    "sigmoids": lambda s: SigmoidMixture(s.n_bins),
    "bernstein": lambda s: BernsteinPolynomial(s.n_bins),
    "squares": lambda s: SumOfSquares(max(1, s.n_bins // 2)),
}


def _coupled(univariate: str, **more) -> FlowRecipe:
    return FlowRecipe((_coupling(univariate),), permuted=True, **more)


def _masked(univariate: str, **more) -> FlowRecipe:
    return FlowRecipe((_autoregressive(univariate),), permuted=True, ordered=True, **more)


FLOWS: dict[str, FlowRecipe] = {
    "nice": _coupled("additive", last=(_plain(ActNorm),)),
    "realnvp": _coupled("affine"),
    "glow": FlowRecipe((_plain(ActNorm), _plain(_permuted_lu), _coupling("affine"))),
    "made": _masked("affine", depth=1),
    "made-mog": _masked("mixture", depth=1),
    "maf": _masked("affine"),
    "maf-mog": _masked("affine", last=(_autoregressive("mixture"),)),
    "iaf": FlowRecipe((_inverse(_autoregressive("affine")),), permuted=True, ordered=True),
    "nsf": _masked("spline"),
    "nsf-coupling": _coupled("spline"),
    "naf": _masked("sigmoids"),
    "bpf": _masked("bernstein"),
    "sos": _masked("squares"),
    "gaussianization": FlowRecipe((_elementwise("mixture"), _plain(Rotation)), last=(_elementwise("mixture"),)),
    "planar": FlowRecipe((_of_context(Planar),), depth=16),
    "radial": FlowRecipe((_of_context(Radial),), depth=16),
    "sylvester": FlowRecipe((_of_context(Sylvester),), depth=8),
}


def check_ordering(flow: str | Callable, ordering: str) -> None:
    """Refuse an ordering for a flow that has none.

    Raises
    ------
    ValueError
        Names the flows that take an ordering.
    """
    if ordering == "auto" or (isinstance(flow, str) and FLOWS[flow].ordered):
        return
    names = sorted(name for name, recipe in FLOWS.items() if recipe.ordered)
    raise ValueError(
        f"ordering={ordering!r} needs a flow whose layers are autoregressive, one of {names}. Got flow={flow!r}: leave "
        "ordering at 'auto'."
    )


def build_flow(name: str, n_features: int, n_context: int, settings: FlowSettings) -> Chain:
    """Build a named flow.

    Parameters
    ----------
    name : str
        A key of `FLOWS`.
    n_features, n_context : int
    settings : FlowSettings

    Returns
    -------
    Chain
        ``settings.depth`` layers, between them the permutations that the ordering asks for.
    """
    check_ordering(name, settings.ordering)
    recipe = FLOWS[name]
    links: list[Bijection] = []
    for i, builders in enumerate([recipe.layer] * settings.depth + [recipe.last] * bool(recipe.last)):
        if recipe.permuted and n_features > 1:
            links += _reordering(i, n_features, settings.ordering)
        links += [build(n_features, n_context, settings) for build in builders]
    return Chain(links)


def _reordering(i: int, n_features: int, ordering: str) -> list[Bijection]:
    """The permutation in front of layer i.

    "auto" turns the features round, so that halves swap and the last comes first, and draws a random order in turn.
    """
    if ordering in ("natural", "agnostic") or (ordering == "auto" and i == 0):
        return []
    if ordering == "reversed" or (ordering == "auto" and i % 2):
        return [Permutation.reverse(n_features)]
    return [Permutation.random(n_features)]
