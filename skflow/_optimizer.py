"""All parameters as one vector, and Adam on it.

``torch.optim`` would do, but building one of its optimisers imports torch's compiler: a second in every new process,
more than a small fit takes.
"""

from __future__ import annotations

import torch
from torch import nn


class ParameterVector:
    """All trainable parameters of a module as slices of one tensor, and their gradient as another.

    An optimiser step, a norm, an average or a copy is then one operation, however many layers there are. Matrices come
    first, so that weight decay applies to one slice of the vector.
    """

    def __init__(self, module: nn.Module):
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
    """Adam (Kingma & Ba 2015, algorithm 1) with decoupled weight decay (Loshchilov & Hutter 2019, algorithm 2)."""

    def __init__(self, params: ParameterVector, alpha: float, beta1: float = 0.9, beta2: float = 0.999):
        self.params = params
        self.alpha = alpha
        self.beta1, self.beta2 = beta1, beta2
        self.reset()

    def reset(self) -> None:
        """Forget the moments."""
        self.mean = torch.zeros_like(self.params.value)
        self.square = torch.zeros_like(self.params.value)
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
        grad = self.params.grad
        self.n_steps += 1
        self.mean.lerp_(grad, 1 - self.beta1)
        self.square.mul_(self.beta2).addcmul_(grad, grad, value=1 - self.beta2)
        debias1, debias2 = 1 - self.beta1**self.n_steps, 1 - self.beta2**self.n_steps
        # Exact zeros, those of masked weights, take a root thirty times as long as other numbers.
        denominator = self.square.add(1e-24).sqrt_().mul_(debias2**-0.5).add_(1e-8)
        if self.alpha:
            self.params.value[: self.params.n_decayed].mul_(1 - learning_rate * self.alpha)
        self.params.value.addcdiv_(self.mean, denominator, value=-learning_rate / debias1)
