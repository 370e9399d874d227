"""
Eight schools
=============

Effects of coaching in eight schools (Rubin 1981), drawn towards each other by a common
mean and a spread that is itself unknown. Where the spread is small, all effects are
close together: the posterior is a funnel, in which many samplers get stuck.
"""

import math

import matplotlib.pyplot as plt
import torch

from skflow import FlowPosterior

effect = torch.tensor([28.0, 8, -3, 7, -1, 1, 18, 12], dtype=torch.float64)
error = torch.tensor([15.0, 10, 16, 11, 9, 11, 10, 18], dtype=torch.float64)


def log_density(x):
    mean, log_spread, theta = x[:, 0], x[:, 1], x[:, 2:]
    likelihood = -0.5 * ((theta - effect) / error).square().sum(1)
    offset = (theta - mean[:, None]) / log_spread[:, None].exp()
    schools = -0.5 * offset.square().sum(1) - 8 * log_spread
    # a normal mean, a half-Cauchy spread, and the slope of the logarithm
    prior = (
        -0.5 * (mean / 5) ** 2 - torch.log1p((log_spread.exp() / 5) ** 2) + log_spread
    )
    return likelihood + schools + prior


posterior = FlowPosterior(random_state=0).fit(log_density, n_features=10)
print(f"{posterior.effective_sample_size_:.0f} of 4000 draws are effective")
print(f"k of the weights {posterior.pareto_k_:.2f}")
print(f"log Z {posterior.log_evidence_:.3f}, by quadrature 7.950")

# %%
# The funnel: the effect of school A against the logarithm of the spread. By quadrature
# over mean and spread log Z is 7.950, and 5 % of the density lie below -1.4, 1 % below
# -3. Path gradients have carried the flow down there; k, which also knows of rows that
# Markov chains have found, says how nearly it has been left out. With ``theta = mean +
# spread * z`` and z as the columns there is no neck to miss.

draws = posterior.resample(4000, random_state=0)
fig, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
left.plot(draws[:, 2], draws[:, 1], ".", markersize=2, alpha=0.5)
left.set(xlabel="effect of school A", ylabel="logarithm of the spread")
left.set_ylim(math.log(0.05), 4)
right.boxplot(draws[:, 2:], whis=(5, 95), showfliers=False)
right.set_xticklabels("ABCDEFGH")
right.plot(range(1, 9), effect, "o", color="#D55E00", label="observed")
right.set(xlabel="school", ylabel="effect")
right.legend(fontsize=8)
plt.show()
