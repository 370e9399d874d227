"""Ctrl-C during a fit: whether what it has reached is kept, or whether a loop over fits is to end."""

from __future__ import annotations

import math
import multiprocessing
import sys
import time

TWICE = 2.0  # seconds within which a second Ctrl-C means it
# A fit that one of these packages makes is one of many; of scikit-learn all modules but these wrappers.
LOOPS = {"joblib", "concurrent", "multiprocessing", "dask", "distributed", "ray", "optuna", "skopt", "hyperopt"}
WRAPPERS = ("sklearn.base", "sklearn.callback", "sklearn.compose", "sklearn.pipeline", "sklearn.utils")
_latest = -math.inf


def keeps_the_fit() -> bool:
    """Whether the fit that this call was made in should keep what it has, or let the KeyboardInterrupt through.

    It is let through from a process that others started, where the fit is one of those that scikit-learn, joblib or a
    search of another package makes, and where the last interrupt was a moment ago.
    """
    global _latest
    before, _latest = _latest, time.monotonic()
    return _latest - before >= TWICE and multiprocessing.parent_process() is None and not _in_a_loop()


def _in_a_loop():
    frame = sys._getframe()
    while frame is not None:
        module = frame.f_globals.get("__name__") or ""
        package = module.partition(".")[0]
        if package in LOOPS or (package == "sklearn" and not module.startswith(WRAPPERS)):
            return True
        frame = frame.f_back
    return False
