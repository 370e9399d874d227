"""
Weighted rows
=============

Rows often stand for unequal shares of the world: a survey asks the old more often than
the young, a simulation draws rare events on purpose. ``sample_weight`` gives every row
the share that it stands for, in the training and in the validation likelihood alike.
"""

import matplotlib.pyplot as plt
import numpy as np

from skflow import DensityDisplay, FlowDensity

# %%
# The world: a third of the people are young, and income depends on age. The survey
# reached the old four times as often.

rng = np.random.RandomState(0)


def people(n):
    age = np.where(rng.rand(n) < 0.35, rng.normal(30, 5, n), rng.normal(62, 7, n))
    income = np.exp(0.35 * rng.randn(n) + 0.9 - ((age - 48) / 28) ** 2)
    return np.column_stack([age, income])


def reached(rows):
    return np.where(rows[:, 0] > 46, 1.0, 0.25)


world = people(20_000)
candidates = people(2_000)
asked = candidates[rng.rand(len(candidates)) < reached(candidates)]
weight = 1 / reached(asked)

plain = FlowDensity(max_iter=80, random_state=0).fit(asked)
weighted = FlowDensity(max_iter=80, random_state=0).fit(asked, sample_weight=weight)
print(f"{len(asked)} people asked; mean log-density of the world (nats per person):")
print(f"{plain.score(world):.3f} plain, {weighted.score(world):.3f} weighted")

# %%
# Without weights the density is that of the survey; with them it is that of the world.

fig, axes = plt.subplots(
    1, 3, figsize=(10.5, 3.5), layout="constrained", sharex=True, sharey=True
)
axes[0].plot(*world[:3000].T, ".", color="0.3", markersize=2)
axes[0].set(title="the world", xlabel="age (years)", ylabel="income")
for ax, model, title in zip(
    axes[1:], (plain, weighted), ("survey, plain", "survey, weighted")
):
    DensityDisplay.from_estimator(
        model, world[:3000], ax=ax, points=False, legend=model is weighted
    )
    ax.scatter(*asked.T, s=3 * weight, color="#D55E00", alpha=0.35, linewidths=0)
    young = (model.sample(20_000, random_state=0)[:, 0] < 46).mean()
    ax.set(title=f"{title}: {young:.0%} are under 46", xlabel="age (years)", ylabel="")
axes[0].set_title(f"the world: {(world[:, 0] < 46).mean():.0%} are under 46")
axes[0].set(ylim=(0, 7))
plt.show()
