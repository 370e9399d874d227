"""Records what torch does to rows as a graph: what depends on them becomes nodes, everything else is computed once."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from .graph import NUMBERS, Graph
from .operators import OPERATORS

SAME = 1e-6  # relative or absolute, is what the same number computed twice differs by at most


class Tracer(TorchDispatchMode):
    """Watches every operator of torch in a block.

    The rows have a number that no other dimension has, so that it is told apart in every shape, and the graph works for
    any number of rows.

    Parameters
    ----------
    graph : Graph
    n_rows : int
        A prime larger than every dimension of the model.
    """

    def __init__(self, graph: Graph, n_rows: int):
        super().__init__()
        self.graph = graph
        self.n_rows = n_rows
        self._traced: dict[int, tuple[Tensor, str]] = {}  # the tensors are kept, so that no id is used twice
        self._operator = ""

    def enter(self, tensor: Tensor, name: str) -> None:
        """Name an input of the graph."""
        self._traced[id(tensor)] = tensor, name

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        if not any(map(self.is_traced, tensors)):
            return out
        self._operator = str(func)
        if func not in OPERATORS:
            self.refuse("has no counterpart")
        first = out[0] if isinstance(out, tuple | list) else out
        names = OPERATORS[func](self, *args, out=first, **kwargs)
        if isinstance(out, Tensor):
            self.enter(out, names)
        else:
            for tensor, name in zip(out, names):
                if name is not None:
                    self.enter(tensor, name)
        return out

    def refuse(self, why: str) -> None:
        """Say that an operator has no form in the graph."""
        raise NotImplementedError(
            f"This can't be exported: {self._operator} {why} in a graph of ONNX operators. What is found by iteration, "
            "as the inverse of many flows is, and what scipy computes is of this kind."
        )

    def is_traced(self, tensor: Tensor) -> bool:
        """Whether a tensor depends on the inputs."""
        return id(tensor) in self._traced

    def must_be_constant(self, tensor: Tensor) -> None:
        """Refuse what depends on the inputs."""
        if self.is_traced(tensor):
            self.refuse("takes a matrix or an index that depends on the rows, which has no counterpart")

    def must_not_cut_rows(self, x: Tensor, dim: int, out: Tensor) -> None:
        """Refuse a part of the rows: which part it is depends on their number."""
        if x.shape[dim] % self.n_rows == 0 and out.shape[dim] != x.shape[dim]:
            self.refuse("takes some of the rows, which has no counterpart")

    def value(self, x: Tensor | float, dtype: torch.dtype | None = None, like: Tensor | None = None) -> str:
        """The name of a value of the graph, in another type where one is given."""
        if not isinstance(x, Tensor):
            return self.graph.constant(torch.tensor(x, dtype=dtype))
        if self.is_traced(x):
            name = self._traced[id(x)][1]
            return name if dtype in (None, x.dtype) else self.graph.cast(name, dtype)
        x = x if dtype is None else x.to(dtype)
        if self.n_rows in x.shape:
            return self.filled(x)
        return self.graph.constant(x)

    def filled(self, x: Tensor) -> str:
        """A tensor whose rows, as many as there are, are all the same, but for rounding."""
        for dim, size in enumerate(x.shape):
            if size == self.n_rows:
                one = x.narrow(dim, 0, 1)
                if not torch.allclose(one.expand_as(x), x, rtol=SAME, atol=SAME):
                    self._operator = "numpy()"
                    self.refuse("leaves torch, which can't be followed")
        small = x[tuple(slice(0, 1) if size == self.n_rows else slice(None) for size in x.shape)]
        return self.graph.node("Expand", self.graph.constant(small.contiguous()), self.shape(x.shape))

    def number(self, value: float) -> str:
        """A constant of single precision."""
        return self.graph.constant(torch.tensor(value, dtype=torch.float32))

    def times(self, name: str, factor: float) -> str:
        """A value times a constant."""
        return self.graph.node("Mul", name, self.number(factor))

    def shape(self, shape: torch.Size, for_reshape: bool = False) -> str:
        """The name of a shape, with the number of rows in its place."""
        dynamic = [size > 0 and size % self.n_rows == 0 for size in shape]
        if not any(dynamic):
            return self.graph.sizes(list(shape))
        if for_reshape and sum(dynamic) == 1:
            return self.graph.sizes([-1 if is_rows else size for size, is_rows in zip(shape, dynamic)])
        if any(is_rows and size != self.n_rows for size, is_rows in zip(shape, dynamic)):
            self.refuse("mixes the rows with another dimension, which has no counterpart")
        parts = [self.graph.n_rows if is_rows else self.graph.sizes([size]) for size, is_rows in zip(shape, dynamic)]
        return self.graph.node("Concat", *parts, axis=0)


def _prime_above(n: int) -> int:
    n = max(n, 100) + 1
    while any(n % k == 0 for k in range(2, int(n**0.5) + 1)):
        n += 1
    return n


@torch.no_grad()
def traced(
    function: Callable[..., Tensor],
    inputs: Mapping[str, int],
    largest: int,
    output: str,
    doc: str,
    labels: np.ndarray | None = None,
):
    """The ONNX model of a function of rows.

    Parameters
    ----------
    function : callable
        Of one float32 tensor for every input.
    inputs : mapping of str to int
        Names, and numbers of columns; zero for a vector.
    largest : int
        Of all dimensions that the function works with.
    output : str
    doc : str
        What stands in the model about it.
    labels : ndarray of numbers, booleans or strings, optional
        Of which the function gives the places.

    Raises
    ------
    NotImplementedError
        Where the function does what a graph can't.
    ImportError
        Without the package onnx.
    """
    try:
        import onnx  # noqa: F401
    except ImportError as error:
        raise ImportError("Graphs need the package onnx: pip install 'skflow-density[onnx]'.") from error
    graph, n_rows = Graph(), _prime_above(largest)
    generator = torch.Generator().manual_seed(0)
    rows = [torch.rand(n_rows, *([width] if width else []), generator=generator) for width in inputs.values()]
    tracer = Tracer(graph, n_rows)
    for tensor, name in zip(rows, inputs):
        tracer.enter(tensor, name)
    shape = graph.node("Shape", next(iter(inputs)))
    graph.n_rows = graph.node("Slice", shape, graph.sizes([0]), graph.sizes([1]))
    with tracer:
        result = function(*rows)
    sizes = ["n" if size == n_rows else size for size in result.shape]
    value, kind = tracer.value(result), NUMBERS[result.dtype]
    if labels is not None:
        value, kind = graph.labels(labels, value)
    return graph.model(dict(inputs), output, (value, kind, sizes), doc)
