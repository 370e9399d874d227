"""Speed: `skflow.flows` as programs over tiles of rows, and on compiled loops. The torch modules know nothing of it.

`log_density` answers with a program, or with None where the modules themselves are as fast, and `forward` and `inverse`
with a program or with what the module does, on one thread.
"""

from .door import forward, inverse, log_density, log_prob
from .programs import LogDensity
from .threads import Pace, on_one_thread, threads_for
from .tiles import TILE

__all__ = [
    "TILE",
    "LogDensity",
    "Pace",
    "forward",
    "inverse",
    "log_density",
    "log_prob",
    "on_one_thread",
    "threads_for",
]
