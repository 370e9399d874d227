"""All parameters as one vector, and Adam on it.

``torch.optim`` would do, but building one of its optimisers imports torch's compiler: a second in every new process,
more than a small fit takes.
"""

from __future__ import annotations

import functools

import torch
from torch import nn

from ..flows.networks.linear import MaskedLinear

N_EXTRA = 5  # numbers


class ParameterVector:
    """All trainable parameters of a module as slices of one tensor, and their gradient as another.

    An optimiser step, a norm, an average or a copy is then one operation, however many layers there are. Matrices come
    first, so that weight decay applies to one slice of the vector.
    """

    def __init__(self, module: nn.Module):
        self.module = module
        params = list(module.parameters())
        trained = [i for i, p in enumerate(params) if p.requires_grad]
        self.order = sorted(trained, key=lambda i: params[i].dim() < 2)
        self.params = [params[i] for i in self.order]
        sizes = [p.numel() for p in self.params]
        self.n_decayed = sum(n for n, p in zip(sizes, self.params) if p.dim() >= 2)
        self.value = torch.cat([p.detach().reshape(-1) for p in self.params])
        self.grad = torch.zeros_like(self.value)
        start = 0
        for p, n in zip(self.params, sizes):
            p.data = self.value[start : start + n].view_as(p)
            start += n

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


class Adam:
    """Adam (Kingma & Ba 2015, algorithm 1) with decoupled weight decay (Loshchilov & Hutter 2019, algorithm 2).

    The step itself is torch's fused one, a single pass over the vector, called below ``torch.optim`` for the reason in
    the module's docstring.
    """

    def __init__(self, params: ParameterVector, alpha: float, beta1: float = 0.9, beta2: float = 0.999):
        self.mean, self.square = torch.zeros_like(params.value), torch.zeros_like(params.value)
        self.n_steps = 0
        self._count = params.value.new_zeros((), dtype=torch.float32)
        self._betas = {"beta1": beta1, "beta2": beta2}
        # By weight decay: what the fused step wants, lists of tensors.
        n, vectors = params.n_decayed, (params.value, params.grad, self.mean, self.square)
        parts = (([v[:n]] for v in vectors), alpha), (([v[n:]] for v in vectors), 0.0)
        self._parts = [(list(part), decay) for part, decay in parts]

    def reset(self) -> None:
        """Forget the moments."""
        self.mean.zero_()
        self.square.zero_()
        self.n_steps = 0

    def state(self) -> tuple[torch.Tensor, torch.Tensor, int]:
        """The moments and the number of steps, to go on later with `resume`."""
        return self.mean, self.square, self.n_steps

    def resume(self, state: tuple[torch.Tensor, torch.Tensor, int]) -> None:
        """Take up the moments of an earlier run on the same parameters."""
        mean, square, self.n_steps = state
        self.mean.copy_(mean)
        self.square.copy_(square)

    def step(self, learning_rate: float) -> None:
        """Move the parameters down their gradient."""
        self.n_steps += 1
        count = [self._count.fill_(self.n_steps)]
        more = {**self._betas, "lr": learning_rate, "eps": 1e-8, "amsgrad": False, "maximize": False}
        for part, decay in self._parts:
            if len(part[0][0]):
                torch._fused_adamw_(*part, [], count, weight_decay=decay, **more)
