"""The sequential direction of a masked network and its univariate map, as a call of compiled loops."""

from __future__ import annotations

import torch
from torch import Tensor

from ..flows.networks.masked import MaskedNetwork
from ..flows.univariate.univariate import Univariate
from .blocks import SEQUENTIAL, SEQUENTIAL_LAYER, pack
from .calls import Call, Step, queue_fields
from .compiler import load, loop
from .networks import seen_by
from .tape import Tape
from .tiles import LANES


def record_inverse(
    tape: Tape, network: MaskedNetwork, univariate: Univariate, z: Tensor, context: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Features from what the univariate map has made of them.

    Parameters
    ----------
    tape : Tape
    network : MaskedNetwork
    univariate : Univariate
        One whose form is `skflow.engine.univariate.Compiled`.
    z : Tensor of shape (t, d, m)
    context : Tensor of shape (t, n_context, m) or None

    Returns
    -------
    x : Tensor of shape (t, d, m)
    log_abs_det : Tensor of shape (t, m)
        Of dx/dz.
    """
    (t, d, m), n_params, layers = z.shape, network.n_params, network.layers()
    compiled, used = tape.forms[type(univariate)], [tape.scratch(*layer.affine.shape) for layer in layers]
    for layer, affine in zip(layers, used):
        tape.add(torch.mul, layer.affine.detach(), layer.mask, out=affine)
    n_work = load(compiled.name).n_kept(n_params)
    n_vectors = n_work + n_params + sum(affine.shape[1] for affine in used)
    work = sum(affine.numel() for affine in used) * t * m
    queue = queue_fields(tape, work, n_vectors * load("vectors").VECTOR_BYTES)
    x, log_abs_det = tape.output(t, d, m), tape.keep(t, m)
    constants = compiled.constants(univariate, z.dtype)
    header = pack(
        SEQUENTIAL, n_rows=m, n_layers=len(used), n_features=d, n_context=0 if context is None else context.shape[1],
        n_params=n_params, n_work=n_work, constants=constants, z=z, context=context, x=x, log_det=log_abs_det, **queue,
    )  # fmt: skip
    seen = seen_by(network)
    for affine, own in zip(used, seen):
        header += pack(SEQUENTIAL_LAYER, used=affine, n_in=affine.shape[1], n_seen=own.by_unit, starts=own.starts)
    step = Step(loop("sequential", "invert", compiled.name, "inverse"), t * m // LANES, work)
    memory = [constants, z, context, x, log_abs_det, queue["workspace"], used, seen]
    tape.add(Call([step], z.dtype, header, memory))
    return x, log_abs_det
