"""Loops that numba compiles: imported by `skflow.engine.compiler` alone, where numba is installed."""
