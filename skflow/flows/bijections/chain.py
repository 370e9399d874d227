"""Composition: bijections one after the other."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn

from .bijection import Bijection


class Chain(Bijection):
    """Bijections applied one after the other, from data to latent."""

    def __init__(self, links: Iterable[Bijection] = ()):
        super().__init__()
        self.links = nn.ModuleList(links)

    @torch.no_grad()
    def initialise(self, x, context=None):
        readers = [i for i, link in enumerate(self.links) if link.reads_rows]
        for link in self.links[: readers[-1] + 1] if readers else ():
            link.initialise(x, context)
            x, _ = link(x, context)

    @property
    def reads_rows(self):
        return any(link.reads_rows for link in self.links)

    def forward(self, x, context=None):
        log_abs_det = x.new_zeros(len(x))
        for link in self.links:
            x, term = link(x, context)
            log_abs_det = log_abs_det + term
        return x, log_abs_det

    def inverse(self, z, context=None):
        log_abs_det = z.new_zeros(len(z))
        for link in reversed(self.links):
            z, term = link.inverse(z, context)
            log_abs_det = log_abs_det + term
        return z, log_abs_det
