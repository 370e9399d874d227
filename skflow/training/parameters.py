"""All parameters as one vector."""

from __future__ import annotations

import functools
import itertools
from typing import NamedTuple

import torch
from torch import nn

from ..flows.distributions.distribution import BaseDistribution
from ..flows.networks.linear import MaskedLinear

N_EXTRA = 5  # numbers


class Stack(NamedTuple):
    """Matrices of one shape that lie one behind the other in a vector."""

    start: int
    count: int
    shape: tuple[int, int]

    @property
    def n_numbers(self) -> int:
        """Of all its matrices."""
        return self.count * self.shape[0] * self.shape[1]

    def of(self, vector: torch.Tensor) -> torch.Tensor:
        """Its part of a vector, shape (count, *shape)."""
        return vector[self.start : self.start + self.n_numbers].view(self.count, *self.shape)


class ParameterVector:
    """All trainable parameters of a module as slices of one tensor, and their gradient as another.

    An optimiser step, a norm, an average or a copy is then one operation, however many layers there are. Matrices come
    first, those of one shape side by side, and of these the ones that weight decay applies to: all but those of base
    distributions, which are fitted to the rows before.
    """

    def __init__(self, module: nn.Module):
        self.module = module
        params = list(module.parameters())
        trained = [i for i, p in enumerate(params) if p.requires_grad]
        bases = [part for part in module.modules() if isinstance(part, BaseDistribution)]
        fitted = {id(p) for base in bases for p in base.parameters()}
        self.order = sorted(trained, key=lambda i: (not is_matrix(params[i]), id(params[i]) in fitted, params[i].shape))
        self.params = [params[i] for i in self.order]
        sizes = [p.numel() for p in self.params]
        self.n_decayed = sum(n for n, p in zip(sizes, self.params) if is_matrix(p) and id(p) not in fitted)
        self.value = torch.cat([p.detach().reshape(-1) for p in self.params])
        self.grad = torch.zeros_like(self.value)
        for p, part in zip(self.params, self.value.split(sizes)):
            p.data = part.view_as(p)
        self.stacks: list[Stack] = []
        self.n_in_stacks = 0
        for shape, matrices in itertools.groupby(tuple(p.shape) for p in self.params if is_matrix(p)):
            self.stacks.append(Stack(self.n_in_stacks, len(list(matrices)), shape))
            self.n_in_stacks += self.stacks[-1].n_numbers

    @functools.cached_property
    def message(self) -> torch.Tensor:
        """What processes send each other: the gradient, but for weights that masks hide, and a few numbers more."""
        return self.value.new_zeros(len(self._sent) + N_EXTRA)

    @functools.cached_property
    def _sent(self):
        """Which weights no mask hides: of a masked network about half."""
        masks = {id(layer.affine): layer.mask for layer in self.module.modules() if isinstance(layer, MaskedLinear)}
        return torch.cat([masks.get(id(p), torch.ones_like(p)).reshape(-1) for p in self.params]).nonzero().squeeze(1)

    def pack(self, factor: float) -> None:
        """Put the gradient, times a factor, into the message."""
        torch.index_select(self.grad, 0, self._sent, out=self.message[:-N_EXTRA]).mul_(factor)

    def unpack(self, divisor: float) -> None:
        """Set the gradient to that of the message, over a divisor; zero where a mask hides the weight."""
        self.grad.zero_().scatter_(0, self._sent, self.message[:-N_EXTRA].div_(divisor))

    def differentiate(self, loss: torch.Tensor) -> None:
        """Set the gradient to that of ``loss``."""
        grads = torch.autograd.grad(loss, self.params, allow_unused=True)
        self._gather([torch.zeros_like(p) if g is None else g for p, g in zip(self.params, grads)])

    def take(self, grads: list[torch.Tensor]) -> None:
        """Set the gradient from those of the module's parameters, in the order of ``parameters()``."""
        self._gather([grads[i] for i in self.order])

    def _gather(self, grads):
        torch.cat([grad.reshape(-1) for grad in grads], out=self.grad)

    def release(self) -> None:
        """Give each parameter storage of its own again."""
        for p in self.params:
            p.data = p.data.clone()


def is_matrix(parameter: torch.Tensor) -> bool:
    """Whether it has several rows and columns."""
    return parameter.dim() == 2 and min(parameter.shape) > 1
