"""The networks that emit the parameters of univariate maps."""
