"""
A classifier that says "none of these"
======================================

Most classifiers have to name one of the classes that they know, whatever they are
shown, and often do so with high probability. `FlowClassifier` learns the density of
each class. Its probabilities say which class fits best; its ``score_samples``, the log
of the density whatever the class, says whether any does.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import train_test_split

from skflow import FlowClassifier

# %%
# Handwritten digits, 8 x 8 pixels. The classifier never sees a seven: it is trained on
# three quarters of the other nine digits, and the last quarter is kept to compare with.

X, y = load_digits(return_X_y=True)
sevens = X[y == 7]
known, label = X[y != 7], y[y != 7]
train, test, train_label, test_label = train_test_split(
    known, label, stratify=label, test_size=0.25, random_state=0
)
classifier = FlowClassifier(random_state=0).fit(train, train_label)
print(f"accuracy on the nine digits: {classifier.score(test, test_label):.3f}")

# %%
# A seven has to be called something, but its density is far lower. We draw the line
# where one new row in twenty of the known digits falls short of it.

old, new = classifier.score_samples(test), classifier.score_samples(sevens)
line = np.quantile(old, 0.05)
truth = np.repeat([True, False], [len(old), len(new)])
area = roc_auc_score(truth, np.append(old, new))
print(f"area under the ROC curve: {area:.3f}")
print(f"sevens below the line: {np.mean(new < line):.2f}")

# %%
# Left: the scores. Right: the sevens of lowest, middle and highest density, with the
# most probable digit. The probabilities add up to one over the digits that are known;
# they alone would not say that something is new.

fig = plt.figure(figsize=(9, 3.6), layout="constrained")
left, right = fig.subfigures(1, 2, width_ratios=[1.3, 1])
ax = left.subplots()
bins = np.linspace(np.quantile(new, 0.02), old.max(), 40)
ax.hist(old, bins, density=True, color="#0072B2", alpha=0.7, label="known digits")
ax.hist(
    new.clip(bins[0]), bins, density=True, color="#D55E00", alpha=0.7, label="sevens"
)
ax.axvline(line, color="0.3", linestyle="--", linewidth=1)
ax.set(xlabel="score_samples (nats)", ylabel="density of the scores")
ax.legend()
order = np.argsort(new)
chosen = order[[0, len(order) // 2, -1]]
proba = classifier.predict_proba(sevens[chosen])
for ax, pixels, p, score in zip(
    right.subplots(1, 3), sevens[chosen], proba, new[chosen]
):
    ax.imshow(pixels.reshape(8, 8), cmap="gray_r")
    verdict = "none of these" if score < line else "known"
    ax.set_title(f"a {classifier.classes_[p.argmax()]}?  {p.max():.2f}\n{verdict}")
    ax.set_axis_off()
plt.show()
