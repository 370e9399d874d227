"""Networks as calls of compiled loops: their evaluation and derivative, for tiles.

``record(tape, network, parts)`` returns the parameters (t, n_out, n_params, m) of inputs in ``parts`` from top to
bottom, and how to record the derivative: ``back(tape, grad_params, to_input)`` returns the memory of the gradients with
respect to the input, or None where it is not wanted, and to the parameters.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ..flows.networks.degrees import masks, unit_degrees
from ..flows.networks.dense import Network
from ..flows.networks.masked import MaskedNetwork
from .blocks import ITEM_UNITS, LAYER, NETWORK, pack
from .calls import Call, Step, queue_fields
from .compiler import load, loop
from .tape import Tape
from .tiles import LANES


class Seen(NamedTuple):
    """Who sees whom between two layers of a masked network, whose units are sorted by degree.

    Attributes
    ----------
    by_unit : Tensor of shape (n_out,), int
        The number of leading inputs, the ones on top among them, that each unit sees.
    first : Tensor of shape (n_in,), int
        The first unit that sees each input.
    starts : Tensor of shape (d + 1,), int
        The first units of degree 0, 1, ..., d - 1, and the number of units.
    """

    by_unit: Tensor
    first: Tensor
    starts: Tensor


def seen_by(network: Network) -> list[Seen | None]:
    """Of every layer; None where everything sees everything. Networks of one shape share them."""
    if not isinstance(network, MaskedNetwork):
        return [None] * len(network.layers())
    sizes = tuple(len(units) for units in network.degrees[1:])
    return _seen(network.n_features, network.n_context, network.n_params, sizes)


@functools.lru_cache(maxsize=16)
def _seen(n_features, n_context, n_params, hidden_layer_sizes):
    with torch.inference_mode(False):
        degrees = unit_degrees(n_features, n_context, hidden_layer_sizes)
        above = [*degrees[1:], torch.arange(n_features).repeat_interleave(n_params)]
        return [
            Seen(
                mask.sum(1).long(),
                len(mask) - mask[:, 1:].sum(0).long(),
                torch.searchsorted(units, torch.arange(n_features + 1)),
            )
            for mask, units in zip(masks(degrees, n_params), above)
        ]


def join(tape: Tape, parts: Sequence[Tensor]) -> Tensor:
    """One tensor of tiles, the features of each contiguous."""
    source = parts[0]
    if len(parts) > 1 or source.stride()[1:] != (source.shape[2], 1):
        source = tape.keep(len(source), sum(part.shape[1] for part in parts), source.shape[2])
        tape.add(torch.cat, list(parts), 1, out=source)
    return source


def record(tape: Tape, network: Network, parts: Sequence[Tensor]) -> tuple[Tensor, Callable]:
    """See the module's docstring."""
    return _Recording(tape, network, join(tape, parts)).result()


class _Recording:
    """The layers of a perceptron, for a source of tiles (t, n_in, m)."""

    def __init__(self, tape, network, source):
        self.n_params, self.source, (t, _, m) = network.n_params, source, source.shape
        self.affines = [layer.affine.detach() for layer in network.layers()]
        shapes = [affine.shape for affine in self.affines]
        self.layers = [
            {
                "affine": affine,
                "mask": seen and layer.mask,
                "used": tape.keep(n_out, n_in),
                "turned": tape.keep(n_in, n_out) if tape.keeps else None,
                "n_out": n_out,
                "n_in": n_in,
                "n_seen": seen and seen.by_unit,
                "first_seen": seen and seen.first,
                "input": tape.keep(t, n_in, m) if tape.keeps else None,
            }
            for layer, affine, seen, (n_out, n_in) in zip(network.layers(), self.affines, seen_by(network), shapes)
        ]
        self.n_weights, self.widest = sum(affine.numel() for affine in self.affines), max(map(max, shapes))
        self.output = tape.keep(t, shapes[-1][0], m)
        steps = [self._by_units("prepare", 8), self._by_rows("forward")]
        self._record(tape, steps, output=[*[None] * (len(shapes) - 1), self.output])

    def result(self):
        params = self.output.view(len(self.output), -1, self.n_params, self.output.shape[2])
        return params, self._record_back

    def _by_rows(self, name):
        n_rows = len(self.source) * self.source.shape[2]
        return Step(loop("network", name), n_rows // LANES, self.n_weights * n_rows)

    def _by_units(self, name, work_per_weight):
        n_items = sum(-(-len(affine) // ITEM_UNITS) for affine in self.affines)
        return Step(loop("network", name), n_items, self.n_weights * work_per_weight)

    def _record(self, tape, steps, **columns):
        source, (t, _, m) = self.source, self.source.shape
        queue = queue_fields(tape, max(step.work for step in steps), 2 * self.widest * load("vectors").VECTOR_BYTES)
        header = pack(
            NETWORK,
            n_tiles=t,
            n_rows=m,
            n_layers=len(self.layers),
            source=source,
            source_tile=source.stride(0),
            **queue,
        )
        rest = dict.fromkeys(("output", "grad_output", "grad_input", "grad"))
        layers = [
            {**rest, **layer, **{name: column[i] for name, column in columns.items()}}
            for i, layer in enumerate(self.layers)
        ]
        arguments = [*header, *(value for layer in layers for value in pack(LAYER, **layer))]
        tape.add(Call(steps, source.dtype, arguments, [source, queue["workspace"], layers]))

    def _record_back(self, tape, grad_params, to_input):
        (t, _, m), sizes = self.source.shape, [affine.shape[1] - 1 for affine in self.affines]
        below = [tape.scratch(t, size, m) if i or to_input else None for i, size in enumerate(sizes)]
        grads = [torch.zeros_like(affine) for affine in self.affines]
        steps = [self._by_rows("backward"), self._by_units("weights", t * m)]
        self._record(tape, steps, grad_output=[*below[1:], grad_params], grad_input=below, grad=grads)
        return below[0], grads
