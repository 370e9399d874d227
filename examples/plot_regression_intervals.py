"""
Intervals that widen where data is noisy
========================================

A regression with one spread for all rows is too sure of some and not sure enough of
others. ``FlowRegressor`` learns the whole density of the target for every row. Here:
how exactly the area of a tumour's nuclei could be measured, given their radius.
"""

import matplotlib.pyplot as plt
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import train_test_split

from skflow import FlowRegressor, ForecastDensityDisplay, PITDisplay
from skflow import PredictionIntervalDisplay as IntervalDisplay

data = load_breast_cancer(as_frame=True).frame
X, y = data[["mean radius", "mean texture", "mean concavity"]], data["area error"]
X, X_new, y, y_new = train_test_split(X, y, random_state=0)

# %%
# An error is positive: that is a bound of the target, and no density lies below it.

regressor = FlowRegressor(bounds=[(0, None)], random_state=0).fit(X, y)
density = regressor.score_samples(X_new, y_new).mean()
print(f"new rows: {density:.2f} nats, R2 {regressor.score(X_new, y_new):.2f}")

# %%
# The intervals are narrow for small nuclei and wide for large ones, and cover new rows
# at the stated rate.

fig, ax = plt.subplots(figsize=(6, 3.8), layout="constrained")
IntervalDisplay.from_estimator(regressor, X_new, y_new, feature="mean radius", ax=ax)
ax.set(ylabel="area error", yscale="log")
plt.show()

# %%
# Three tumours, from a small to a large one, and where their targets were.

rows = X_new["mean radius"].argsort().iloc[[20, 80, 135]]
names = [f"radius {X_new['mean radius'].iloc[i]:.1f}" for i in rows]
display = ForecastDensityDisplay.from_estimator(
    regressor, X_new.iloc[rows], y_new.iloc[rows], names=names
)
display.ax_.set(xlabel="area error", xscale="log")
plt.show()

# %%
# The levels of the training rows in forecasts of members that have not seen them are
# uniform: the forecasts are calibrated.

PITDisplay.from_estimator(regressor)
plt.show()
