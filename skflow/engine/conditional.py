"""Coupling and masked autoregressive layers over tiles: see `skflow.engine.bijections`."""

from __future__ import annotations

import torch
from torch import Tensor

from ..flows.bijections.autoregressive import MaskedAutoregressive
from ..flows.bijections.conditional import Conditional
from ..flows.bijections.coupling import Coupling
from . import sequential, univariate
from .bijections import Mapped, Recorded, record_rows
from .tape import Tape


def record(tape: Tape, link: Conditional, x: Tensor, context: Tensor | None) -> Recorded:
    """Data to latent, of either scheme; the network has compiled loops."""
    tape.next_link()
    params, network_back = _record_network(tape, link, x, context)
    moved, log_abs_det, univariate_back = univariate.record(tape, link.univariate, _moving(tape, link, x), params)
    z = _beside_kept(tape, link, x, moved)

    def back(tape, grad_z, grad_log_abs_det, to_input):
        tape.next_link()
        grad_params = tape.scratch(*params.shape)
        grad_moving = univariate_back(tape, _moving(tape, link, grad_z), grad_log_abs_det, grad_params)
        grad_input, grads = network_back(tape, grad_params, to_input)
        if not to_input:
            return None, grads
        grad_x = _beside_kept(tape, link, grad_z, grad_moving)
        tape.add(grad_x[:, : link.n_seen].add_, grad_input[:, grad_input.shape[1] - link.n_seen :])
        return grad_x, grads

    return z, log_abs_det, back


def record_coupling_inverse(tape: Tape, link: Coupling, z: Tensor, context: Tensor | None) -> Mapped:
    """The features that pass unchanged tell the parameters either way."""
    tape.next_link()
    params, _ = _record_network(tape, link, z, context)
    moved, log_abs_det = univariate.record_inverse(tape, link.univariate, _moving(tape, link, z), params)
    return _beside_kept(tape, link, z, moved), log_abs_det


def record_autoregressive_inverse(tape: Tape, link: MaskedAutoregressive, z: Tensor, context: Tensor | None) -> Mapped:
    """Feature by feature."""
    if type(link.univariate) not in tape.forms:
        return record_rows(tape, link.inverse, z, context)
    tape.next_link()
    return sequential.record_inverse(tape, link.network, link.univariate, z, context)


def _record_network(tape, link, x, context):
    seen = x[:, : link.n_seen]
    return tape.forms[type(link.network)].record(tape, link.network, [seen] if context is None else [context, seen])


def _moving(tape, link, x):
    """The features of tiles that do not pass unchanged."""
    if not link.n_kept:
        return x
    moving = tape.keep(len(x), x.shape[1] - link.n_kept, x.shape[2])
    tape.add(moving.copy_, x[:, link.n_kept :])
    return moving


def _beside_kept(tape, link, x, moved):
    """Tiles of all features."""
    if not link.n_kept:
        return moved
    z = tape.output(*x.shape)
    tape.add(torch.cat, [x[:, : link.n_kept], moved], 1, out=z)
    return z
