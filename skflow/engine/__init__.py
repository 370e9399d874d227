"""Speed: `skflow.flows` as programs over tiles of rows, and on compiled loops. The torch modules know nothing of it.

`log_density`, `forward` and `inverse` answer with a program, or with None where the modules themselves are as fast.
"""

from .door import forward, inverse, log_density, log_prob
from .programs import LogDensity
from .threads import Pace, threads_for
from .tiles import TILE

__all__ = ["TILE", "LogDensity", "Pace", "forward", "inverse", "log_density", "log_prob", "threads_for"]
