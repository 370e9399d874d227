"""Recorded calls: an evaluation that is run over and over, on other numbers in the same memory.

On small tensors most of the time of a training step would go into building a graph, finding memory, slicing it and
looking up attributes. All of that is done once, when the evaluation is recorded; what is left are the calls.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

from torch import Tensor


class Tape:
    """Calls to be made one after the other, and the memory that they work in.

    Parameters
    ----------
    like : Tensor
        Whose precision and device the memory has.
    keeps : bool, default=False
        Whether everything of `keep` is kept, as a derivative asks for, or written over like that of `scratch`.
    """

    def __init__(self, like: Tensor, keeps: bool = False):
        self.like = like
        self.keeps = keeps
        self._calls: list[Callable] = []
        self._blocks: tuple[list[Tensor], list[Tensor]] = [], []
        self._turn = self._next = 0

    def add(self, function: Callable, *args, **kwargs) -> None:
        """Record a call."""
        self._calls.append(functools.partial(function, *args, **kwargs))

    def run(self) -> None:
        """Make the calls."""
        for call in self._calls:
            call()

    def next_link(self) -> None:
        """Let the next link write over what the link before the last one took."""
        self._turn, self._next = 1 - self._turn, 0

    def scratch(self, *shape: int) -> Tensor:
        """Memory that lasts until the next link is done: it stays in the cache, and there is little of it."""
        blocks = self._blocks[self._turn]
        if self._next == len(blocks):
            blocks.append(self.like.new_empty(shape))
        elif blocks[self._next].shape != shape:
            blocks[self._next] = self.like.new_empty(shape)
        self._next += 1
        return blocks[self._next - 1]

    def keep(self, *shape: int) -> Tensor:
        """Memory for what the derivative of this evaluation needs."""
        return self.like.new_empty(shape) if self.keeps else self.scratch(*shape)
