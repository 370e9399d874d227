"""`check_density` on tables with categories and holes."""

import numpy as np
import pandas as pd
import polars as pl
import pytest

from skflow.utils import DensityCheckError, check_density

from ..helpers import fit_quietly, quick


@pytest.fixture(scope="module")
def table():
    rng = np.random.RandomState(0)
    kind = rng.choice(["a", "b", "c"], 300, p=[0.5, 0.3, 0.2])
    frame = pd.DataFrame({"kind": kind, "x": rng.standard_normal(300) + 3 * (kind == "a"), "y": rng.uniform(size=300)})
    return frame.assign(y=frame["y"].where(rng.uniform(size=300) < 0.8))


@pytest.fixture(scope="module")
def fitted(table):
    return fit_quietly(quick(), table)


def test_a_density_passes(fitted, table):
    report = check_density(fitted, table, n_samples=1_000)
    assert set(report) == {"finite scores", "row order", "batch", "pickle", "samples"}


def test_of_polars_too(table):
    frame = pl.DataFrame({name: [None if pd.isna(v) else v for v in table[name]] for name in table})
    check_density(fit_quietly(quick(), frame), frame, n_samples=500)


class Wrong:
    """A density whose draws are another's."""

    def __init__(self, density, change):
        self.density, self.change = density, change

    def score_samples(self, X):
        return self.density.score_samples(X)

    def sample(self, n, random_state=None):
        return self.change(self.density.sample(n, random_state))


@pytest.mark.parametrize(
    "change",
    [
        lambda X: X.assign(kind=np.where(np.arange(len(X)) % 4 == 0, "c", X["kind"])),
        lambda X: X.assign(x=X["x"] + 0.5),
        lambda X: X.assign(kind=X["kind"].sample(frac=1, random_state=0).to_numpy()),
    ],
    ids=["a category too often", "a number moved", "what depends made independent"],
)
def test_wrong_draws_are_found(fitted, table, change):
    with pytest.raises(DensityCheckError, match="samples"):
        check_density(Wrong(fitted, _Change(change)), table, n_samples=1_000)


class _Change:
    """A lambda in a coat that can be pickled."""

    def __init__(self, change):
        self.change = change

    def __call__(self, X):
        return self.change(X)

    def __reduce__(self):
        return _Change, (None,)
