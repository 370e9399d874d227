"""
Several targets at once
=======================

Two columns of the wine table, the hue and the protein content of diluted wine, both
follow the phenols, and each other. ``FlowRegressor`` learns their joint density given
other columns, so that draws have the right ones together.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_wine
from sklearn.model_selection import train_test_split

from skflow import FlowRegressor

wine = load_wine(as_frame=True).data
targets = ["hue", "od280/od315_of_diluted_wines"]
X, Y = wine[["alcohol", "color_intensity", "flavanoids"]], wine[targets]
X, X_new, Y, Y_new = train_test_split(X, Y, random_state=0)
regressor = FlowRegressor(random_state=0).fit(X, Y)
density = regressor.score_samples(X_new, Y_new).mean()
print(f"new wines: {density:.2f} nats, R2 {regressor.score(X_new, Y_new):.2f}")

# %%
# Draws for four wines, and what was measured.

order = np.argsort(X_new["flavanoids"].to_numpy())
rows = order[[2, 15, 30, 42]]
drawn = regressor.sample(X_new.iloc[rows], 500, random_state=0)

fig, axes = plt.subplots(1, 4, figsize=(9, 2.7), sharex=True, sharey=True)
for ax, row, points in zip(axes, rows, drawn):
    ax.plot(*points.T, ".", color="#0072B2", alpha=0.3, markersize=3)
    ax.plot(*Y_new.iloc[row], "o", color="#D55E00")
    ax.set_title(f"flavanoids {X_new['flavanoids'].iloc[row]:.2f}", fontsize=10)
    ax.set_xlabel("hue")
axes[0].set_ylabel("od280/od315")
axes[0].set(xlim=(0.4, 1.7), ylim=(1, 4.3))
fig.tight_layout()
plt.show()
