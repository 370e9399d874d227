"""Ensembles of flows, their members one after the other over the same memory."""

from __future__ import annotations

import torch
from torch import Tensor

from ..flows.distributions.flow_mixture import FlowMixture
from ..flows.flow import Flow
from . import bijections, distributions
from .tape import Tape
from .tiles import fill_tiles, from_tiles


def record(tape: Tape, ensemble: FlowMixture, x: Tensor, context: Tensor | None) -> distributions.Recorded:
    """See `skflow.engine.distributions`; without a derivative."""
    n, start, log_probs = len(x) * x.shape[2], torch.empty_like(x), {}
    tape.add(start.copy_, x)
    for member in ensemble.members:
        if type(member) is Flow:
            log_probs[member] = x.new_empty(len(x), x.shape[2])
            _record_member(tape, member, start, context, log_probs[member])
    out = tape.keep(len(x), x.shape[2])

    def log_prob(member, *rows):
        return from_tiles(log_probs[member], n) if member in log_probs else member.log_prob(*rows)

    def evaluate():
        rows = from_tiles(start, n), None if context is None else from_tiles(context, n)
        fill_tiles(out, ensemble.log_prob(*rows, evaluate=log_prob))

    tape.add(evaluate)
    return out, None


def _record_member(tape, member, start, context, log_prob):
    z, log_abs_det, _ = bijections.record(tape, member.bijection, start, context)
    of_base, _ = distributions.record(tape, member.base, z, context)
    tape.add(log_prob.copy_, of_base)
    if log_abs_det is not None:
        tape.add(log_prob.add_, log_abs_det)
