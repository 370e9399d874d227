"""Monotone maps of one variable: stateless, their parameters given at call time."""
