"""A network's evaluation and derivative, recorded as calls of compiled loops."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from types import ModuleType

import torch
from torch import Tensor

from ..tape import Tape
from ..tiles import LANES
from .team import Call, Step, address, most_threads


class CompiledNetwork:
    """The layers of a perceptron, for tiles (t, n_in, m) of one shape.

    Parameters
    ----------
    layers : sequence of DenseLinear or MaskedLinear
    loops : module
        `skflow.flows.compiled.loops.network`.
    tape : Tape
    source : Tensor of shape (t, n_in, m)
        The input; the features of a tile are contiguous.

    Attributes
    ----------
    output : Tensor of shape (t, n_out, m)
    """

    def __init__(self, layers: Sequence, loops: ModuleType, tape: Tape, source: Tensor):
        self._loops, self._source = loops, source
        self._affines = [layer.affine.detach() for layer in layers]
        (t, _, m), keeps, shapes = source.shape, tape.keeps, [affine.shape for affine in self._affines]
        self._widest, self._n_weights = max(map(max, shapes)), sum(affine.numel() for affine in self._affines)
        used = [tape.keep(*shape) for shape in shapes]
        turned = [tape.keep(n_in, n_out) if keeps else None for n_out, n_in in shapes]
        inputs = [tape.keep(t, n_in, m) if keeps else None for _, n_in in shapes]
        masks, n_seen, first = zip(*((layer.mask, layer.n_seen, layer.first_seen) for layer in layers))
        self._memory = [*self._affines, *masks, *used, *turned, *n_seen, *first, *inputs]
        self._table = [0] * (loops.LAYER * len(layers))
        self._fill(self._table, AFFINE=self._affines, MASK=masks, USED=used, TURNED=turned, N_SEEN=n_seen, INPUT=inputs)
        self._table[loops.FIRST :: loops.LAYER] = [place and place + 8 for place in map(address, first)]  # but the ones
        self._table[loops.N_OUT :: loops.LAYER], self._table[loops.N_IN :: loops.LAYER] = zip(*shapes)
        self.output = tape.keep(t, shapes[-1][0], m)
        steps = [self._by_units("prepare", 8), self._by_rows("forward")]
        self._record(tape, steps, OUTPUT=[*[None] * len(used[1:]), self.output])

    def _fill(self, table, **columns):
        for name, column in columns.items():
            table[getattr(self._loops, name) :: self._loops.LAYER] = map(address, column)

    def _by_rows(self, name):
        n_rows = len(self._source) * self._source.shape[2]
        return Step(getattr(self._loops, name), n_rows // LANES, self._n_weights * n_rows)

    def _by_units(self, name, work_per_weight):
        n_items = sum(-(-len(affine) // self._loops.ITEM_UNITS) for affine in self._affines)
        return Step(getattr(self._loops, name), n_items, self._n_weights * work_per_weight)

    def _record(self, tape, steps, **columns):
        source, (t, _, m), slot = self._source, self._source.shape, 2 * self._widest * self._loops.VECTOR_BYTES
        n_slots = most_threads(max(step.work for step in steps))
        workspace = tape.scratch(n_slots, slot // source.element_size())
        table = self._table.copy()
        self._fill(table, **columns)
        sizes = [t, m, len(self._affines), address(workspace), slot, address(source), source.stride(0)]
        memory = [*self._memory, *itertools.chain(*columns.values()), workspace, source]
        tape.add(Call(steps, source.dtype, sizes + table, memory))

    def record_back(self, tape: Tape, grad_output: Tensor, to_input: bool) -> tuple[Tensor | None, list[Tensor]]:
        """Record the derivative; the memory of the gradients with respect to the input and to the parameters."""
        (t, _, m), sizes = self._source.shape, [affine.shape[1] - 1 for affine in self._affines]
        below = [tape.scratch(t, size, m) if i or to_input else None for i, size in enumerate(sizes)]
        above = [*below[1:], grad_output]
        grads = [torch.zeros_like(affine) for affine in self._affines]
        steps = [self._by_rows("backward"), self._by_units("weights", t * m)]
        self._record(tape, steps, GRAD_OUTPUT=above, GRAD_INPUT=below, GRAD=grads)
        return below[0], grads
