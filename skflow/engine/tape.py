"""Recorded calls: an evaluation that is run over and over, on other numbers in the same memory.

On small tensors most of the time of a training step would go into building a graph, finding memory, slicing it and
looking up attributes. All of that is done once, when the evaluation is recorded; what is left are the calls.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import NamedTuple

import torch
from torch import Tensor


class Form(NamedTuple):
    """How a class is evaluated fast; classes have one row each in `skflow.engine.dispatch.FORMS`.

    Attributes
    ----------
    record : callable
        Records the evaluation; its arguments follow from what the class is (see `skflow.engine.bijections`,
        `networks`, `univariate` and `distributions`).
    record_inverse : callable or None
        Records the other direction.
    gradients : bool
        Whether `record` can tell how to record the derivative.
    """

    record: Callable
    record_inverse: Callable | None = None
    gradients: bool = True


class Tape:
    """Calls to be made one after the other, link by link, and the memory that they work in.

    Parameters
    ----------
    like : Tensor
        Whose precision and device the memory has.
    forms : mapping of type to Form, default={}
        What is fast of which class: `skflow.engine.dispatch.FORMS`.
    keeps : bool, default=False
        Whether everything but `scratch` is kept, as a derivative asks for.
    """

    def __init__(self, like: Tensor, forms: Mapping[type, Form] = MappingProxyType({}), keeps: bool = False):
        self.like = like
        self.forms = forms
        self.keeps = keeps
        self._calls: list[Callable] = []
        self._scratch = _Blocks(like)
        self._output, self._last_output = _Blocks(like), _Blocks(like)

    def add(self, function: Callable, *args, **kwargs) -> None:
        """Record a call."""
        self._calls.append(functools.partial(function, *args, **kwargs))

    def run(self) -> None:
        """Make the calls."""
        for call in self._calls:
            call()

    def next_link(self) -> None:
        """Begin a link: it may write over all that the one before it used, and over what went into that one."""
        self._scratch.rewind()
        self._output, self._last_output = self._last_output, self._output
        self._output.rewind()

    def scratch(self, *shape: int) -> Tensor:
        """Memory that lasts until the link is done: there is little of it, and it stays in the cache."""
        return self._scratch.take(shape)

    def keep(self, *shape: int) -> Tensor:
        """Memory for what the derivative of the link needs."""
        return self.like.new_empty(shape) if self.keeps else self._scratch.take(shape)

    def output(self, *shape: int) -> Tensor:
        """Memory for what goes on to the next link."""
        return self.like.new_empty(shape) if self.keeps else self._output.take(shape)


class Graph:
    """A function from tensors to several others, and of ``parameters``, with torch's own derivative.

    The graph lasts from a run of the tape to that of the derivative.
    """

    def __init__(self, tape: Tape, function: Callable, parameters: Iterable[Tensor] = ()):
        self._keeps, self._function, self._parameters = tape.keeps, function, list(parameters)

    def __call__(self, *inputs: Tensor) -> list[Tensor]:
        """The results, without a graph."""
        with torch.set_grad_enabled(self._keeps):
            inputs = tuple(v.detach().requires_grad_(self._keeps) for v in inputs)
            results = self._function(*inputs)
        if self._keeps:
            self._variables, self._results = [*inputs, *self._parameters], list(results)
        return [result.detach() for result in results]

    def gradients(self, *grad_results: Tensor) -> list[Tensor | None]:
        """With respect to the inputs of the last call and to the parameters; None for those that are not trained."""
        results, grads = zip(*(pair for pair in zip(self._results, grad_results) if pair[0].requires_grad))
        trained = [v for v in self._variables if v.requires_grad]
        grads = iter(torch.autograd.grad(results, trained, grads, allow_unused=True, materialize_grads=True))
        return [next(grads) if v.requires_grad else None for v in self._variables]


class _Blocks:
    """Memory that is handed out in turn, and again after rewinding."""

    def __init__(self, like: Tensor):
        self._like = like
        self._blocks: list[Tensor] = []
        self._next = 0

    def rewind(self):
        self._next = 0

    def take(self, shape):
        if self._next == len(self._blocks):
            self._blocks.append(self._like.new_empty(shape))
        elif self._blocks[self._next].shape != shape:
            self._blocks[self._next] = self._like.new_empty(shape)
        self._next += 1
        return self._blocks[self._next - 1]
