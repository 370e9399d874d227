"""Files of every format that has been released stay readable, with the scores that they had.

``python -m tests.persistence.test_released_files`` writes those that are missing; none is ever written again.
"""

import json
from pathlib import Path

import numpy as np
import pytest
from sklearn.base import is_regressor

import skflow
from skflow.persistence.files import FORMAT_VERSION

from ..helpers import SAVABLE, fit_quietly, quick, scores

FILES = Path(__file__).parent / "files"
NAMES = [f"{cls.__name__}-{version}" for cls in SAVABLE for version in range(1, FORMAT_VERSION + 1)]


def rows():
    return np.random.RandomState(0).gamma(2.0, size=(60, 2))


@pytest.mark.parametrize("name", NAMES)
def test_scores_are_as_they_were(name):
    estimator = skflow.load(FILES / f"{name}.safetensors")
    expected = json.loads((FILES / f"{name}.json").read_text())
    np.testing.assert_allclose(scores(estimator, rows()[:10]), expected, rtol=1e-9)


def write_missing():
    """Of the present format, one file for each estimator."""
    for cls in SAVABLE:
        path = FILES / f"{cls.__name__}-{FORMAT_VERSION}.safetensors"
        if not path.exists():
            bounds = [(-1, None)] if is_regressor(cls()) else [(0, None), None]
            estimator = fit_quietly(quick(cls, bounds=bounds, base="normal"), rows())
            estimator.save(path)
            path.with_suffix(".json").write_text(json.dumps(scores(estimator, rows()[:10]).tolist()))


if __name__ == "__main__":
    write_missing()
