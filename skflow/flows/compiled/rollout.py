"""The sequential direction of a masked network and its curves, as a call of compiled loops."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from types import ModuleType

import torch
from torch import Tensor

from ..tiles import LANES
from .team import Call, Step, address, most_threads


def invert(
    loops: ModuleType,
    curve: int,
    constants: Tensor,
    affines: Sequence[Tensor],
    n_seen: Sequence[Tensor],
    starts: Sequence[Tensor],
    n_params: int,
    z: Tensor,
    context: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """Features from what the curves have mapped them to.

    Parameters
    ----------
    loops : module
        `skflow.flows.compiled.loops.rollout`.
    curve : int
        One of those that the module knows.
    constants : Tensor of shape (k,)
        What the curve's loops ask for.
    affines : sequence of Tensor of shape (n_out, 1 + n_in)
        Of every layer the masked weights, behind the bias.
    n_seen : sequence of Tensor of shape (n_out,), int
        The number of leading inputs that each unit can see.
    starts : sequence of Tensor of shape (d + 1,), int
        See `skflow.flows.degrees.starts_by_degree`.
    n_params : int
    z : Tensor of shape (t, d, m)
    context : Tensor of shape (t, n_context, m) or None

    Returns
    -------
    x : Tensor of shape (t, d, m)
    log_abs_det : Tensor of shape (t, m)
        Of dx/dz.
    """
    (t, d, m), n_context = z.shape, 0 if context is None else context.shape[1]
    x, log_abs_det = torch.empty_like(z), z.new_empty(t, m)
    layers = [
        (address(affine), affine.shape[1], address(seen), address(start))
        for affine, seen, start in zip(affines, n_seen, starts)
    ]
    n_vectors = 2 * n_params + sum(affine.shape[1] for affine in affines)
    work, slot = sum(affine.numel() for affine in affines) * t * m, n_vectors * loops.VECTOR_BYTES
    workspace = z.new_empty(most_threads(work), slot // z.element_size())
    sizes = [m, len(affines), d, n_context, n_params, curve]
    memory = [constants, workspace, z, context, x, log_abs_det]
    places = [address(v) for v in memory]
    arguments = [*sizes, *places[:2], slot, *places[2:], *itertools.chain(*layers)]
    step = Step(loops.invert, t * m // LANES, work)
    Call([step], z.dtype, arguments, [*memory, *affines, *n_seen, *starts])()
    return x, log_abs_det
