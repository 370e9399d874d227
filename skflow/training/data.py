"""Sources: what gives a training its batches of rows, contexts and weights."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor


class Batch(NamedTuple):
    """Rows (n, d), their contexts (n, n_context) or None, and the share of each in a mean (n,)."""

    x: Tensor
    context: Tensor | None
    share: Tensor

    @property
    def rows(self) -> tuple[Tensor, ...]:
        """What a density is given."""
        return (self.x,) if self.context is None else (self.x, self.context)


class TableSource:
    """Batches of a table on the scale of the network.

    Parameters
    ----------
    x : Tensor of shape (n, d)
    context : Tensor of shape (n, n_context) or None
    weight : Tensor of shape (n,) or None
        With a mean of one.
    log_abs_det : float, default=0.0
        What the mean log-density lacks to data units.
    """

    def __init__(
        self, x: Tensor, context: Tensor | None = None, weight: Tensor | None = None, log_abs_det: float = 0.0
    ):
        self.x = x
        self.context = context
        self.weight = weight
        self.log_abs_det = log_abs_det

    def __len__(self) -> int:
        return len(self.x)

    def batches(self, batch_size: int, generator: torch.Generator) -> Iterator[Batch]:
        """All rows once, in random order, in batches of about equal size, at least ``batch_size``."""
        n = len(self)
        n_batches = n // min(batch_size, n)
        order = torch.randperm(n, generator=generator).to(self.x.device)
        for b in range(n_batches):
            rows = order[b * n // n_batches : (b + 1) * n // n_batches]
            yield self._batch(rows, len(rows))

    def in_order(self, batch_size: int) -> Iterator[Batch]:
        """All rows once; the shares of all of them add up to one."""
        for rows in torch.arange(len(self), device=self.x.device).split(batch_size):
            yield self._batch(rows, len(self))

    def _batch(self, rows, n):
        x, context = self._take(rows), None if self.context is None else self.context[rows]
        return Batch(x, context, x.new_full((len(rows),), 1 / n) if self.weight is None else self.weight[rows] / n)

    def _take(self, rows):
        return self.x[rows]


class NoisySource(TableSource):
    """Rows that come with fresh normal noise whenever they are asked for.

    Parameters
    ----------
    x, weight : Tensor
        As in `TableSource`.
    noise : float
        Standard deviation.
    generator : torch.Generator
    repeats : int, default=1
        How often a pass goes through the rows.
    """

    def __init__(self, x: Tensor, weight: Tensor | None, noise: float, generator: torch.Generator, repeats: int = 1):
        super().__init__(x, None, weight if weight is None else weight.repeat(repeats))
        self.noise = noise
        self.generator = generator
        self.repeats = repeats

    def __len__(self) -> int:
        return len(self.x) * self.repeats

    def _take(self, rows):
        x = self.x[rows % len(self.x)]
        if not self.noise:
            return x
        noise = torch.randn(x.shape, generator=self.generator, dtype=x.dtype, device=self.generator.device)
        return x + self.noise * noise.to(x.device)

    def draw(self, n: int) -> Tensor:
        """``n`` rows, every row about equally often."""
        order = torch.randperm(len(self.x), generator=self.generator).to(self.x.device)
        return self._take(order[torch.arange(n, device=order.device) % len(order)])
