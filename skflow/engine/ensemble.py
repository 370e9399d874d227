"""An ensemble of flows as a base distribution, its members one after the other over the same memory."""

from __future__ import annotations

import torch
from torch import Tensor

from ..flows.ensemble import FlowMixture
from . import bijections, distributions
from .tape import Tape
from .tiles import fill_tiles, from_tiles


def record(tape: Tape, base: FlowMixture, z: Tensor) -> distributions.Recorded:
    """See `skflow.engine.distributions`; without a derivative."""
    n, start, log_probs = len(z) * z.shape[2], torch.empty_like(z), {}
    tape.add(start.copy_, z)
    for member in base.members:
        if member.n_orderings == 1:
            log_probs[member] = z.new_empty(len(z), z.shape[2])
            _record_member(tape, member, start, log_probs[member])
    out = tape.keep(len(z), z.shape[2])

    def log_prob(member, rows):
        return from_tiles(log_probs[member], n) if member in log_probs else member.log_prob(rows)

    tape.add(lambda: fill_tiles(out, base.log_prob(from_tiles(start, n), log_prob)))
    return out, None


def _record_member(tape, member, start, log_prob):
    z, log_abs_det, _ = bijections.record(tape, member.bijection, start, None)
    of_base, _ = distributions.record(tape, member.base, z)
    tape.add(log_prob.copy_, of_base)
    if log_abs_det is not None:
        tape.add(log_prob.add_, log_abs_det)
