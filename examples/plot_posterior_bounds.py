"""
A posterior with bounds
=======================

A share and a rate, one between zero and one, the other above zero: ``bounds`` put the
flow inside the support, and the function, here a plain one of numpy, is never asked
outside.
"""

import matplotlib.pyplot as plt
import numpy as np
from scipy import stats

from skflow import FlowPosterior

counts = np.array([0, 0, 0, 0, 0, 3, 0, 1, 4, 0, 2, 0])  # many zeros for a Poisson law


def log_density(x):  # a zero-inflated Poisson law; uniform and exponential priors
    share, rate = x[:, :1], x[:, 1:]
    zero = np.log(share + (1 - share) * np.exp(-rate))
    positive = np.log1p(-share) + stats.poisson.logpmf(counts, rate)
    return np.where(counts == 0, zero, positive).sum(1) - x[:, 1]


posterior = FlowPosterior(
    gradient=False,
    bounds=[(0, 1), (0, None)],
    max_evaluations=40_000,
    random_state=0,
).fit(log_density)
evidence, error = posterior.log_evidence_, posterior.log_evidence_std_
print(f"log evidence {evidence:.3f} ± {error:.3f} nats")

# %%
# The evidence is that of the law with too many zeros; a plain Poisson law has its own
# in closed form, and their difference is the logarithm of the Bayes factor.

n, total = len(counts), counts.sum()
at_one = stats.gamma.logpdf(1, total + 1, scale=1 / (n + 1))  # the posterior there
plain = stats.poisson.logpmf(counts, 1).sum() - 1 - at_one
print(f"log Bayes factor for too many zeros: {evidence - plain:.2f}")

share, rate = np.meshgrid(np.linspace(0, 1, 120), np.linspace(0, 5, 120))
rows = np.column_stack([share.ravel(), rate.ravel()])
density = np.exp(posterior.score_samples(rows)).reshape(share.shape)
draws = posterior.resample(500, random_state=0)
fig, ax = plt.subplots(figsize=(5, 3.8), layout="constrained")
ax.pcolormesh(share, rate, density, cmap="Blues", shading="gouraud")
ax.plot(*draws.T, ".", color="#666666", markersize=2)
ax.set(xlabel="share of zeros", ylabel="rate", xlim=(0, 1), ylim=(0, 5))
plt.show()
