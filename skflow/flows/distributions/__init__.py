"""Distributions: what can be scored and drawn from."""
