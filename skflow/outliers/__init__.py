"""Statistics of scores, in plain numpy: calibration, thresholds, attribution, a robust first look."""
