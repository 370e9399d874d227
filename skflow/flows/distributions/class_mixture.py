"""The density of rows whose class is not known: a mixture of the densities of the classes."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from .distribution import Distribution
from .flow_mixture import Evaluate, FlowMixture, own_log_prob


class ClassMixture(Distribution):
    """``p(x) = sum_c pi_c p(x | c)``, with the densities p(x | c) those of a mixture given the class one-hot.

    Parameters
    ----------
    conditional : FlowMixture
        Given a context of shape (n, C).
    priors : Tensor of shape (C,)
        The pi_c, which add up to one.
    temperature : float, default=1.0
        What the log-densities are divided by in the posterior.
    """

    def __init__(self, conditional: FlowMixture, priors: Tensor, temperature: float = 1.0):
        super().__init__()
        self.conditional = conditional
        self.register_buffer("priors", priors)
        self.temperature = temperature

    def log_prob(self, x, context=None, *, evaluate: Evaluate = own_log_prob):
        return torch.logsumexp(self.class_log_prob(x, evaluate=evaluate) + self.priors.log(), 1)

    def class_log_prob(self, x: Tensor, *, evaluate: Evaluate = own_log_prob) -> Tensor:
        """Log-density in nats of rows ``x`` (n, d) in every class, shape (n, C)."""
        contexts = [self._one_hot(torch.full((len(x),), c, device=x.device), x) for c in range(len(self.priors))]
        return torch.stack([self.conditional.log_prob(x, given, evaluate=evaluate) for given in contexts], 1)

    def posterior(self, class_log_prob: Tensor) -> Tensor:
        """Log-probabilities (n, C) of the classes, given the log-densities (n, C) of a row in each, tempered."""
        return torch.log_softmax(class_log_prob / self.temperature + self.priors.log(), 1)

    def sample(self, n, context=None, generator=None):
        return self.sample_with_label(n, generator)[0]

    def sample_with_label(self, n: int, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """Draw ``n`` rows (n, d) and the classes (n,) that they are of."""
        label = torch.multinomial(self.priors, n, replacement=True, generator=generator)
        return self.sample_of(label, generator), label

    def sample_of(self, label: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Draw a row for each class in ``label`` (n,); shape (n, d)."""
        return self.conditional.sample(len(label), self._one_hot(label, self.priors), generator)

    def _one_hot(self, label, like):
        return F.one_hot(label, len(self.priors)).to(like.dtype)
