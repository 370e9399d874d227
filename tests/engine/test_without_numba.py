"""Where numba cannot be imported the estimators work, and a fitted one scores as it did with it."""

import os
import subprocess
import sys

import joblib
import numpy as np

from ..helpers import fit_quietly, quick

SCRIPT = """
import sys
sys.modules["numba"] = None  # every import of it fails
import warnings
import joblib
import numpy as np
from sklearn.exceptions import ConvergenceWarning
from skflow import FlowDensity

warnings.simplefilter("ignore", ConvergenceWarning)
fitted, X, out = *joblib.load(sys.argv[1]), sys.argv[2]
own = FlowDensity(max_iter=3, random_state=0).fit(X)
scores = {"fitted": fitted.score_samples(X), "own": own.score_samples(X), "samples": own.sample(50, random_state=0)}
joblib.dump(scores, out)
"""


def test_estimators_work_and_score_the_same_without_numba(tmp_path):
    X = np.random.default_rng(0).standard_normal((400, 4)) ** 3  # enough values to be worth compiled loops
    fitted = fit_quietly(quick(max_iter=3), X)
    handed_over, result = tmp_path / "fitted.joblib", tmp_path / "result.joblib"
    joblib.dump((fitted, X), handed_over)
    run = subprocess.run(
        [sys.executable, "-c", SCRIPT, handed_over, result],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    without = joblib.load(result)
    np.testing.assert_allclose(without["fitted"], fitted.score_samples(X), atol=1e-6, rtol=0)
    assert np.isfinite(without["own"]).all()
    assert without["samples"].shape == (50, X.shape[1]) and np.isfinite(without["samples"]).all()
