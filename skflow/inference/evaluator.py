"""A fitted flow asked for densities, latent rows and samples: numpy in and out, chunk by chunk."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from .. import engine
from ..engine import TILE, Pace, on_one_thread, threads_for
from ..flows.distributions.distribution import Distribution
from ..flows.flow import Flow
from .conversion import converted

CHUNK_NUMBERS = 1_000_000  # about as many in the widest temporary of one chunk
MAX_CHUNK_TILES = 32


@dataclass(frozen=True)
class Evaluator:
    """A fitted flow, the device to ask it on, and whether compiled loops may be loaded.

    Rows and contexts are arrays of shape (n, d) and (n, n_context), float32 or float64; the flow is asked in the
    precision of the rows, and answers in it.
    """

    flow: Distribution
    device: torch.device
    kernels: bool

    def log_density(self, X: np.ndarray, context: np.ndarray | None = None) -> np.ndarray:
        """Log-density of every row in nats, shape (n,)."""
        log_prob = _made_once(
            lambda flow, *rows: engine.log_density(flow, *rows, kernels=self.kernels) or on_one_thread(flow.log_prob)
        )
        return self.by_chunks(log_prob, X, context)

    def to_latent(self, X: np.ndarray, context: np.ndarray | None = None) -> np.ndarray:
        """Rows where the density is the standard normal, shape (n, d)."""
        forward = _made_once(lambda flow, *rows: engine.forward(flow.bijection, *rows, kernels=self.kernels))

        def to_normal(flow, x, *context):
            return on_one_thread(flow.base.to_normal)(forward(flow, x, *context)[0], *context)

        return self.by_chunks(to_normal, X, context)

    def from_latent(self, Z: np.ndarray, context: np.ndarray | None = None) -> np.ndarray:
        """The inverse of `to_latent`."""
        inverse = self._inverse()

        def from_normal(flow, z, *context):
            return inverse(flow, on_one_thread(flow.base.from_normal)(z, *context), *context)[0]

        return self.by_chunks(from_normal, Z, context)

    def sample(self, n: int, generator: torch.Generator, context: np.ndarray | None = None) -> np.ndarray:
        """Draw ``n`` rows in the precision of the flow, one for each context where there are some; shape (n, d)."""
        flow = self.flow
        given = None if context is None else torch.tensor(context, dtype=next(flow.buffers()).dtype)
        if type(flow) is Flow:
            with torch.no_grad(), threads_for(0):
                latent = flow.base.sample(n, given, generator).numpy()
            inverse = self._inverse()
            return self.by_chunks(lambda flow, z, *c: inverse(flow, z, *c)[0], latent, context)
        size = self._chunk_size(flow)
        with torch.inference_mode(), threads_for(0):
            parts = [
                flow.sample(min(size, n - i), None if given is None else given[i : i + size], generator).numpy()
                for i in range(0, n, size)
            ]
        return np.concatenate(parts)

    def by_chunks(self, function: Callable[..., Tensor], rows: np.ndarray, context: np.ndarray | None = None):
        """Apply ``function`` to the flow and to chunks of rows that fit the cache, and gather the results."""
        dtype = torch.float32 if rows.dtype == np.float32 else torch.float64
        with threads_for(0):
            flow = converted(self.flow, dtype, self.device)
        n_chunks = -(-len(rows) // self._chunk_size(flow))
        arrays = [rows] if context is None else [rows, context]
        chunks = list(zip(*(np.array_split(array, n_chunks) for array in arrays)))
        parts = []
        with torch.inference_mode(), threads_for(len(chunks[0][0]) * flow.width * 64):
            pace = Pace()
            for chunk in chunks:
                tensors = [torch.tensor(array, dtype=dtype, device=self.device) for array in chunk]
                parts.append(pace.call(function, flow, *tensors).cpu().numpy())
        return np.concatenate(parts)

    @staticmethod
    def _chunk_size(flow):
        return TILE * int(np.clip(round(CHUNK_NUMBERS / flow.width / TILE), 1, MAX_CHUNK_TILES))

    def _inverse(self):
        return _made_once(lambda flow, *rows: engine.inverse(flow.bijection, *rows, kernels=self.kernels))


def _made_once(make: Callable[..., Callable]) -> Callable:
    """Of the flow and a chunk: what was made for the first chunk, which has the most rows, applied to each."""
    made = None

    def call(flow, *rows):
        nonlocal made
        made = made or make(flow, *rows)
        return made(*rows)

    return call
