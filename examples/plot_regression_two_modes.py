"""
A target with two modes
=======================

The petals of an iris with sepals 3.3 cm wide are about 1.5 cm long, or about 5 cm: it
depends on the species, which the table does not tell. The mean, 3 cm, is a length that
no iris has. A density knows.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_iris

from skflow import FlowRegressor

iris = load_iris().data
X, y = iris[:, [1]], iris[:, 2]
regressor = FlowRegressor(bounds=[(0, None)], random_state=0).fit(X, y)

# %%
# The density of the petal's length for every width of the sepals. The line is the
# conditional mean, which runs between the modes where there are two.

width, length = np.linspace(2.2, 4.2, 60), np.linspace(0.5, 7.5, 140)
grid_x, grid_y = np.meshgrid(width, length)
rows = grid_x.reshape(-1, 1)
density = np.exp(regressor.score_samples(rows, grid_y.ravel())).reshape(grid_x.shape)
mean = regressor.predict(width[:, None])

fig, ax = plt.subplots(figsize=(6, 4), layout="constrained")
mesh = ax.pcolormesh(width, length, density, cmap="Blues", vmax=1, shading="gouraud")
ax.plot(X, y, ".", color="#666666", markersize=4, label="150 irises")
ax.plot(width, mean, color="#D55E00", label="conditional mean")
ax.set(xlabel="sepal width (cm)", ylabel="petal length (cm)")
fig.colorbar(mesh, label="density (per cm)")
ax.legend(fontsize=9)
plt.show()

# %%
# Draws have petals like those of irises. The mean has none.

drawn = regressor.sample([[3.3]], 1000, random_state=0)[0]
share = np.mean((drawn > 2.2) & (drawn < 3.2))
print(f"width 3.3 cm: mean {regressor.predict([[3.3]])[0]:.1f} cm")
print(f"{100 * np.mean(drawn < 2.2):.0f} % of draws are shorter than 2.2 cm,")
print(f"{100 * share:.0f} % lie between 2.2 and 3.2 cm")
