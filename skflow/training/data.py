"""Sources: what gives a training its batches of rows, contexts and weights."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, Protocol

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


class Part(NamedTuple):
    """One of ``size`` about equal parts of what all processes of a fit have."""

    rank: int = 0
    size: int = 1

    def of(self, n: int) -> slice:
        """Where this part of ``n`` rows lies."""
        return slice(self.rank * n // self.size, (self.rank + 1) * n // self.size)


WHOLE = Part()


class Source(Protocol):
    """What a training asks of its rows, wherever they are: in a table, or in files that are read again for every pass.

    A fit that was killed goes on in the middle of a pass: it has the pass begin again, with the generator as it was
    then, and skips the batches that it had been through. So all randomness of a pass has to follow from what
    ``batches`` itself draws from the generator, before it returns; what is drawn for one batch alone, as noise is, may
    come from the generator as late as with that batch.
    """

    log_abs_det: float

    def __len__(self) -> int:
        """Number of rows."""

    def batches(self, batch_size: int, generator: torch.Generator, part: Part = WHOLE) -> Batches:
        """All rows once, in random order.

        Parameters
        ----------
        batch_size : int
            Rows of a batch, of all processes together.
        generator : torch.Generator
        part : Part
            Which of the processes this is. A source that all of them have gives this part of every batch; one that
            has rows of its own, all of these, in batches of that part of the size.
        """


class Batches(Protocol):
    """A pass: an iterator of `Batch`."""

    def __iter__(self) -> Iterator[Batch]:
        """Itself."""

    def __next__(self) -> Batch:
        """The next batch; the shares add up to the mean weight of its rows."""

    def skip(self, n: int) -> None:
        """Leave out the next ``n`` batches, as cheaply as the source can."""


class TableSource:
    """Batches of a table on the scale of the network, which all processes of a fit have.

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

    def batches(self, batch_size: int, generator: torch.Generator, part: Part = WHOLE) -> TableBatches:
        """All rows once, in random order, in batches of about equal size, at least ``batch_size``: see `Source`."""
        return TableBatches(self, torch.randperm(len(self), generator=generator).to(self.x.device), batch_size, part)

    def in_order(self, batch_size: int, part: Part = WHOLE) -> Iterator[Batch]:
        """All rows of a part once; the shares of all parts add up to one."""
        for rows in torch.arange(len(self), device=self.x.device)[part.of(len(self))].split(batch_size):
            if len(rows):
                yield self.take(rows, WHOLE, len(self))

    def take(self, rows: Tensor, part: Part, n: int | None = None) -> Batch:
        """That part of the rows of these numbers, in a mean of ``n``; by default of as many as are in the part."""
        x, rows = self._take(rows, part), rows[part.of(len(rows))]
        n, context = n or max(1, len(rows)), None if self.context is None else self.context[rows]
        return Batch(x, context, x.new_full((len(rows),), 1 / n) if self.weight is None else self.weight[rows] / n)

    def _take(self, rows, part):
        return self.x[rows[part.of(len(rows))]]


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

    def _take(self, rows, part):
        x = self.x[rows[part.of(len(rows))] % len(self.x)]
        if not self.noise:
            return x
        # Of all rows, so that the generators of all processes stay in step.
        shape = len(rows), x.shape[1]
        noise = torch.randn(shape, generator=self.generator, dtype=x.dtype, device=self.generator.device)
        return x + self.noise * noise[part.of(len(rows))].to(x.device)

    def draw(self, n: int) -> Tensor:
        """``n`` rows, every row about equally often."""
        order = torch.randperm(len(self.x), generator=self.generator).to(self.x.device)
        return self._take(order[torch.arange(n, device=order.device) % len(order)], WHOLE)


class ShardSource(TableSource):
    """Rows that only this process of a fit has, beside others that have theirs.

    Parameters
    ----------
    x, context, weight, log_abs_det
        As in `TableSource`.
    share : float
        Of the rows of all processes.
    """

    def __init__(self, x: Tensor, context: Tensor | None, weight: Tensor | None, log_abs_det: float, share: float):
        super().__init__(x, context, weight, log_abs_det)
        self.share = share

    def batches(self, batch_size: int, generator: torch.Generator, part: Part = WHOLE) -> TableBatches:
        """All rows once, in batches as much smaller as there are fewer rows, so that all processes end together."""
        return super().batches(max(1, round(self.share * batch_size)), generator)


class TableBatches:
    """A pass over a `TableSource`: its rows in a given order, cut into batches of about equal size."""

    def __init__(self, source: TableSource, order: Tensor, batch_size: int, part: Part):
        self.source, self.order, self.part = source, order, part
        self.n_batches = len(order) // min(batch_size, len(order))
        self.taken = 0

    def __iter__(self) -> TableBatches:
        return self

    def __next__(self) -> Batch:
        if self.taken == self.n_batches:
            raise StopIteration
        n, b = len(self.order), self.taken
        self.taken += 1
        return self.source.take(self.order[b * n // self.n_batches : (b + 1) * n // self.n_batches], self.part)

    def skip(self, n: int) -> None:
        """Leave out the next ``n`` batches."""
        self.taken += n
