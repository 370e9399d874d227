"""FlowClassifier beside the classics on five tables, and rows of a class left out of digits, as a table in markdown.

    python benchmarks/classifier.py          # both tables, about five minutes
    python benchmarks/classifier.py iris     # some of the five tables

Every parameter is at its default but where a name says so. Five stratified splits, a quarter of the rows to test on.
"""

import sys
import time

import numpy as np
from scipy.special import logsumexp
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.datasets import load_breast_cancer, load_digits, load_iris, load_wine, make_moons
from sklearn.discriminant_analysis import QuadraticDiscriminantAnalysis
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import log_loss, roc_auc_score
from sklearn.model_selection import GridSearchCV, StratifiedShuffleSplit
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KernelDensity
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skflow import FlowClassifier

TABLES = {
    "wine": lambda: load_wine(return_X_y=True),
    "breast cancer": lambda: load_breast_cancer(return_X_y=True),
    "digits": lambda: load_digits(return_X_y=True),
    "iris": lambda: load_iris(return_X_y=True),
    "moons": lambda: make_moons(1000, noise=0.25, random_state=0),
}


class KernelClassifier(ClassifierMixin, BaseEstimator):
    """A kernel estimate for every class, each with its bandwidth by cross-validation."""

    def fit(self, X, y):
        search = GridSearchCV(KernelDensity(), {"bandwidth": np.logspace(-1.5, 1, 20)})
        self.classes_, count = np.unique(y, return_counts=True)
        self.log_prior_ = np.log(count / len(y))
        self.densities_ = [search.fit(X[y == c]).best_estimator_ for c in self.classes_]
        return self

    def predict_proba(self, X):
        joint = np.stack([density.score_samples(X) for density in self.densities_], 1) + self.log_prior_
        return np.exp(joint - logsumexp(joint, axis=1, keepdims=True))


MODELS = {
    "FlowClassifier": FlowClassifier(random_state=0),
    "QDA": QuadraticDiscriminantAnalysis(),
    "QDA, reg_param=0.1": QuadraticDiscriminantAnalysis(reg_param=0.1),
    "GaussianNB": GaussianNB(),
    "KDE": KernelClassifier(),
    "KDE, columns scaled": make_pipeline(StandardScaler(), KernelClassifier()),
    "HistGradientBoosting": HistGradientBoostingClassifier(random_state=0),
}


def compare(name):
    X, y = TABLES[name]()
    for label, model in MODELS.items():
        rows = []
        for train, test in StratifiedShuffleSplit(5, test_size=0.25, random_state=0).split(X, y):
            start = time.perf_counter()
            try:
                model.fit(X[train], y[train])
            except np.linalg.LinAlgError:
                break
            seconds = time.perf_counter() - start
            proba = model.predict_proba(X[test])
            rows.append([log_loss(y[test], proba), np.mean(model.classes_[proba.argmax(1)] == y[test]), seconds])
        if rows:
            loss, accuracy, seconds = np.mean(rows, 0)
            error = np.std(np.array(rows)[:, 1], ddof=1) / len(rows) ** 0.5
            print(f"| {name} | {label} | {loss:.4f} | {accuracy:.4f} ± {error:.4f} | {seconds:.1f} |", flush=True)
        else:
            print(f"| {name} | {label} | refuses the table | | |", flush=True)


def leave_out(digit):
    X, y = load_digits(return_X_y=True)
    known = np.flatnonzero(y != digit)
    train, test = next(StratifiedShuffleSplit(1, test_size=0.25, random_state=0).split(known, y[known]))
    classifier = FlowClassifier(random_state=0).fit(X[known[train]], y[known[train]])
    rows = np.concatenate([known[test], np.flatnonzero(y == digit)])
    auc = roc_auc_score(y[rows] != digit, classifier.score_samples(X[rows]))
    print(f"| {digit} | {auc:.3f} |", flush=True)


if __name__ == "__main__":
    print("| table | model | log-loss | accuracy | fit (s) |\n| --- | --- | --- | --- | --- |")
    for name in sys.argv[1:] or TABLES:
        compare(name)
    if not sys.argv[1:]:
        print("\n| digit left out | AUC |\n| --- | --- |")
        for digit in range(10):
            leave_out(digit)
