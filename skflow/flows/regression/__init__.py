"""Regression models as torch modules: what a flow is given of the conditional mean."""
