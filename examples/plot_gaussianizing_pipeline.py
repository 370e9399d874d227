"""
A flow in front of a linear model
=================================

``transform`` maps rows to a latent space where they follow independent standard
normals. That is the world linear models are made for: no skew, no heavy tail, no curved
dependence between columns. Here a regression on two curved, skewed columns becomes a
line once a flow stands before it in the Pipeline. `FlowDensity` never sees the target.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures, PowerTransformer, StandardScaler

from skflow import FlowDensity

# %%
# Two quantities that a lab measures: a concentration, log-normal over decades, and a
# signal that saturates with it. What we want to know depends on two hidden causes, not
# on the measurements as they come.

rng = np.random.RandomState(0)
causes = rng.randn(500, 2)
concentration = np.exp(1.5 * causes[:, 0])
signal = np.tanh(causes[:, 0]) + 0.15 * causes[:, 1] * (1.2 + np.tanh(causes[:, 0]))
X = np.column_stack([concentration, signal])
y = causes @ [1.0, 1.0] + 0.2 * rng.randn(500)

# %%
# The same linear model behind four kinds of preprocessing
# --------------------------------------------------------

before = {
    "StandardScaler": StandardScaler(),
    "PowerTransformer": PowerTransformer(),
    "StandardScaler\n+ cubic terms": make_pipeline(
        StandardScaler(), PolynomialFeatures(3)
    ),
    "FlowDensity": FlowDensity(max_iter=150, random_state=0),
}
scores = {}
for name, transformer in before.items():
    scores[name] = cross_val_score(make_pipeline(transformer, RidgeCV()), X, y, cv=4)
    print(f"{' '.join(name.split()):32} R2 = {scores[name].mean():.2f}")

# %%
# The picture shows why: in the latent space the target rises along a straight line.

latent = FlowDensity(max_iter=150, random_state=0).fit_transform(X)
fig, axes = plt.subplots(
    1, 3, figsize=(11, 3.4), layout="constrained", width_ratios=(1, 1, 1.1)
)
for ax, rows in zip(axes, [X, latent]):
    drawn = ax.scatter(*rows.T, c=y, s=8, cmap="viridis")
axes[0].set(xscale="log", xlabel="concentration", ylabel="signal", title="measured")
axes[1].set(xlabel="latent column 0", ylabel="latent column 1", title="after the flow")
fig.colorbar(drawn, ax=axes[1], label="target")
axes[2].barh(
    list(scores),
    [s.mean() for s in scores.values()],
    xerr=[s.std() for s in scores.values()],
    color="#0072B2",
)
axes[2].set(xlabel="R2 of a ridge regression, four folds", xlim=(0, 1))
axes[2].invert_yaxis()
plt.show()
