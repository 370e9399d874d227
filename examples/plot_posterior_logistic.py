"""
Bayesian logistic regression
============================

The posterior of four coefficients beside its Laplace approximation, the normal density
around the mode. With few rows it is skewed, which the approximation can't be.
"""

import matplotlib.pyplot as plt
import numpy as np
import torch
from scipy import stats
from sklearn.datasets import load_breast_cancer

from skflow import FlowPosterior

data = load_breast_cancer()
names = ["intercept", "mean radius", "mean texture", "mean concavity"]
columns = [list(data.feature_names).index(name) for name in names[1:]]
X, y = data.data[:60, columns], data.target[:60]
X = np.column_stack([np.ones(len(X)), (X - X.mean(0)) / X.std(0)])
X, sign = torch.tensor(X), torch.tensor(2.0 * y - 1)


def log_density(w):  # prior times likelihood: normal coefficients of deviation 5
    return torch.nn.functional.logsigmoid((w @ X.T) * sign).sum(
        1
    ) - 0.02 * w.square().sum(1)


posterior = FlowPosterior(feature_names=names, random_state=0).fit(log_density)
draws = posterior.resample(4000, random_state=0)
print(f"log evidence, up to the prior's constant: {posterior.log_evidence_:.3f}")
print(f"k of the weights {posterior.pareto_k_:.2f}")
print(f"{posterior.n_evaluations_} evaluations")

# %%
# The mode and the curvature there, for comparison.

mode = torch.zeros(1, 4, dtype=torch.float64, requires_grad=True)
optimizer = torch.optim.LBFGS([mode], max_iter=200, line_search_fn="strong_wolfe")


def closure():
    optimizer.zero_grad()
    loss = -log_density(mode).sum()
    loss.backward()
    return loss


optimizer.step(closure)
mode = mode.detach()[0]
curvature = torch.autograd.functional.hessian(lambda w: -log_density(w[None])[0], mode)
deviation = torch.linalg.inv(curvature).diagonal().sqrt()

fig, axes = plt.subplots(1, 4, figsize=(10, 2.8), layout="constrained")
for ax, name, column, m, s in zip(axes, names, draws.T, mode, deviation):
    ax.hist(column, bins=60, density=True, color="#9ecae1", label="draws")
    t = np.linspace(*np.quantile(column, [0.001, 0.999]), 200)
    ax.plot(t, stats.norm.pdf(t, m, s), color="#D55E00", label="Laplace")
    ax.set(title=name, yticks=[])
axes[0].legend(fontsize=8)
plt.show()
