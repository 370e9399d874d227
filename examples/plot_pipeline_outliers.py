"""
Outlier scoring in a Pipeline
=============================

Records go wrong in ways that no single column shows: two fields are swapped, and every
value is ordinary by itself. A density of all columns together sees that the combination
never occurs. Here the detector is the last step of a Pipeline that imputes missing
values first, on the diabetes table that scikit-learn bundles, in its raw units.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_diabetes
from sklearn.ensemble import IsolationForest
from sklearn.impute import SimpleImputer
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline

from skflow import FlowOutlierDetector

# %%
# Ten measurements of 442 patients. Of those that are not used for training, 15 get
# their total cholesterol (s1) and LDL (s2) swapped. Then one value in fifty goes
# missing.

names = ["age", "bmi", "bp", "s1", "s2", "s3", "s5", "s6"]
table = load_diabetes(as_frame=True, scaled=False).data[names]
parts = train_test_split(table, test_size=0.35, random_state=0)
train, test = (part.copy() for part in parts)
rng = np.random.RandomState(0)
wrong = np.zeros(len(test), dtype=bool)
wrong[rng.choice(len(test), 15, replace=False)] = True
test.loc[wrong, ["s1", "s2"]] = test.loc[wrong, ["s2", "s1"]].to_numpy()
for part in (train, test):
    part[:] = part.where(rng.rand(*part.shape) > 0.02)

# %%
# The detector takes any table that the steps before it hand on. ``predict`` flags,
# ``decision_function`` ranks.

detectors = {"FlowOutlierDetector": FlowOutlierDetector(max_iter=60, random_state=0)}
detectors["IsolationForest"] = IsolationForest(random_state=0)
scores = {}
for name, detector in detectors.items():
    pipeline = make_pipeline(SimpleImputer(strategy="median"), detector).fit(train)
    scores[name] = pipeline.decision_function(test)
    flagged = pipeline.predict(test) == -1
    area = roc_auc_score(wrong, -scores[name])
    print(f"{name}: area under the ROC curve {area:.2f}")
    print(
        f"  flagged: {flagged[wrong].sum()} of the 15 swapped rows, "
        f"{flagged[~wrong].sum()} of {(~wrong).sum()} others"
    )

# %%
# Most of the swapped values would be ordinary in the column where they now stand, but
# the rows lie off the line on which all others are. The forest cuts one column at a
# time: it finds the swapped rows too, but only together with many others.

fig, axes = plt.subplots(1, 3, figsize=(11, 3.4), layout="constrained")
blue, red = "#0072B2", "#D55E00"
axes[0].plot(test.s1[~wrong], test.s2[~wrong], ".", color=blue, label="as recorded")
axes[0].plot(test.s1[wrong], test.s2[wrong], "x", color=red, label="swapped")
axes[0].set(xlabel="total cholesterol (mg/dl)", ylabel="LDL (mg/dl)")
axes[0].legend()
for ax, (name, score) in zip(axes[1:], scores.items()):
    bins = np.linspace(np.quantile(score, 0.02), score.max(), 40)
    ax.hist(score[~wrong].clip(bins[0]), bins, color=blue, alpha=0.7)
    ax.hist(score[wrong].clip(bins[0]), bins, color=red, alpha=0.8)
    ax.axvline(0, color="0.3", linestyle="--", linewidth=1)
    ax.set(title=f"{name}: AUC {roc_auc_score(wrong, -score):.2f}", ylabel="rows")
    ax.set_xlabel("decision function" + (" (nats)" if "Flow" in name else ""))
plt.show()
