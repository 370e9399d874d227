"""
Alarms with a reason and an error rate
======================================

A detector that only says "outlier" is hard to act on. Two questions follow every alarm:
how sure is it, and what is wrong with the row? `FlowOutlierDetector` answers both, here
on the breast cancer table that scikit-learn bundles: 30 measurements of cell nuclei in
each of 569 images. It learns from benign samples alone.
"""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.datasets import load_breast_cancer
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import train_test_split

from skflow import ExplanationDisplay, FlowOutlierDetector, benjamini_hochberg

X, y = load_breast_cancer(return_X_y=True, as_frame=True)
benign, malignant = X[y == 1], X[y == 0]
train, fresh = train_test_split(benign, test_size=100, random_state=0)
detector = FlowOutlierDetector(random_state=0).fit(train)

# %%
# How sure
# --------
# The p-value of a row says how often a benign sample looks as unusual as this one. It
# is calibrated against the training rows, each scored by a member of the ensemble that
# has not seen it, and holds whatever the distribution is: p-values of fresh benign rows
# spread evenly between 0 and 1, those of malignant ones crowd at 0.

p_fresh, p_malignant = detector.p_values(fresh), detector.p_values(malignant)
both = pd.concat([fresh, malignant])
auc = roc_auc_score(
    np.repeat([0, 1], [len(fresh), len(malignant)]), -detector.score_samples(both)
)
fig, ax = plt.subplots(figsize=(5.6, 3), layout="constrained")
bins = np.linspace(0, 1, 21)
for p, name, colour in (
    (p_fresh, "fresh benign rows", "#0072B2"),
    (p_malignant, "malignant rows", "#E69F00"),
):
    shares = np.full(len(p), 1 / len(p))
    ax.hist(p, bins, weights=shares, color=colour, alpha=0.7, label=name)
ax.axhline(0.05, color="#666666", linewidth=0.8, linestyle="--")
ax.set(xlabel="p-value", ylabel="share of the rows", title=f"AUC {auc:.3f}")
ax.legend()

# %%
# Whoever looks at many rows gets small p-values by chance. Benjamini and Hochberg's
# procedure adjusts them: of the alarms raised at ``q <= 0.1``, at most a tenth are
# false on average.

p_batch = np.concatenate([p_fresh, p_malignant])
alarms = benjamini_hochberg(p_batch) <= 0.1
false = alarms[: len(p_fresh)].sum()
print(f"{alarms.sum()} alarms in a batch of {len(p_batch)}, {false} of them false")

# %%
# What is wrong
# -------------
# A slip in a table: somebody typed a decimal point one place too far to the right. The
# explanation gives every feature its part of the distance to a typical row, in nats,
# and the bars add up to it.

slip = fresh.iloc[[3]].copy()
slip["mean texture"] *= 10
ExplanationDisplay.from_estimator(detector, slip, max_features=6)

# %%
# A malignant sample is unusual in another way: several features speak against it.

order = np.argsort(detector.score_samples(malignant))
strange = malignant.iloc[[order[len(malignant) // 2]]]
ExplanationDisplay.from_estimator(detector, strange, max_features=8)

plt.show()
