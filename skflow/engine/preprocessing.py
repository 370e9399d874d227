"""The first links of a flow over tiles: what puts a table on the scale of a network. See `skflow.engine.bijections`."""

from __future__ import annotations

import torch
from torch import Tensor

from ..flows.bijections.log_tails import LogTails, tails
from ..flows.bijections.standardize import Standardize
from .bijections import Recorded
from .tape import Tape


def record_standardize(tape: Tape, link: Standardize, x: Tensor, context: Tensor | None) -> Recorded:
    """Without a derivative: no training goes through it."""
    tape.next_link()
    z = tape.output(*x.shape)
    tape.add(torch.sub, x, link.shift[:, None], out=z)
    tape.add(z.div_, link.scale[:, None])
    tape.add(z.clamp_, -link.reach(x.dtype), link.reach(x.dtype))
    return z, -link.scale.log().sum().expand(len(x), x.shape[2]), None


def record_log_tails(tape: Tape, link: LogTails, x: Tensor, context: Tensor | None) -> Recorded:
    """Without a derivative; what is beyond the ends, most often nothing, is computed by itself."""
    tape.next_link()
    z, log_abs_det = tape.output(*x.shape), tape.keep(len(x), x.shape[2])
    tape.add(torch.clamp, x, link.low[:, None], link.high[:, None], out=z)
    tape.add(log_abs_det.zero_)

    def add_tails():
        if z.equal(x):
            return
        index, tail, log_excess = tails(x, z)
        z[index] = tail
        log_abs_det.index_put_(index[::2], -log_excess, accumulate=True)

    tape.add(add_tails)
    return z, log_abs_det, None
