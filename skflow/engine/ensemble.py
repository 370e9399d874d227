"""An ensemble of flows as a base distribution, by a program for every member."""

from __future__ import annotations

from torch import Tensor

from ..flows.ensemble import SmoothedEnsemble
from .distributions import Recorded
from .programs import LogDensity
from .tape import Tape
from .tiles import from_tiles, to_tiles


def record(tape: Tape, base: SmoothedEnsemble, z: Tensor) -> Recorded:
    """See `skflow.engine.distributions`; without a derivative."""
    n = len(z) * z.shape[2]
    like, out = from_tiles(z, n), tape.keep(len(z), z.shape[2])
    programs = {member: LogDensity(member, tape.forms, like) for member in base.members if member.n_orderings == 1}

    def evaluate():
        out.copy_(to_tiles(base.log_prob(from_tiles(z, n), lambda flow, x: programs.get(flow, flow.log_prob)(x))))

    tape.add(evaluate)
    return out, None
