"""Columns with atoms: values of a probability of their own, and a density elsewhere."""

import numpy as np
import pandas as pd
import pytest
from scipy import integrate

import skflow
from tests.helpers import fit_quietly, quick

ATOMS = {"rain": 0, "score": [0, 100]}


@pytest.fixture(scope="module")
def frame():
    rng = np.random.RandomState(0)
    warm = rng.uniform(size=600) < 0.5
    rain = np.where(rng.uniform(size=600) < np.where(warm, 0.8, 0.2), 0.0, rng.gamma(2.0, size=600))
    score = np.clip(50 + 40 * rng.standard_normal(600), 0, 100)
    return pd.DataFrame({"rain": rain, "score": score, "temperature": np.where(warm, 20, 5) + rng.standard_normal(600)})


@pytest.fixture(scope="module")
def fitted(frame):
    return fit_quietly(quick(atoms=ATOMS, bounds={"rain": (0, None), "score": (0, 100)}, max_iter=20), frame)


def test_a_probability_at_the_atom_and_a_density_elsewhere(frame, fitted):
    grid = np.append(0.0, np.geomspace(1e-6, 50, 200))
    rows = pd.concat([frame[:1]] * len(grid)).assign(rain=grid)
    probability, *density = np.exp(fitted.score_samples(rows))
    whole = np.exp(fitted.score_samples(frame[:1].assign(rain=np.nan)))[0]
    assert probability + integrate.trapezoid(density, grid[1:]) == pytest.approx(whole, rel=0.05)


def test_the_probability_is_the_share_of_the_rows(frame, fitted):
    row = pd.DataFrame({"rain": [0.0], "score": [np.nan], "temperature": [np.nan]})
    assert np.exp(fitted.score_samples(row))[0] == pytest.approx((frame["rain"] == 0).mean(), abs=0.03)


def test_rows_at_atoms_are_scored_in_closed_form(frame, fitted):
    error = fitted.score_samples(frame, return_std=True)[1]
    assert (error == 0).all()


def test_draws_have_the_atoms(frame, fitted):
    drawn = fitted.sample(3_000, random_state=0)
    for name, value in (("rain", 0), ("score", 0), ("score", 100)):
        assert (drawn[name] == value).mean() == pytest.approx((frame[name] == value).mean(), abs=0.04)
    assert drawn["rain"].min() == 0 and not drawn.isna().any(axis=None)


def test_what_is_missing_may_be_at_an_atom(frame, fitted):
    warm = pd.DataFrame({"rain": np.nan, "score": 50.0, "temperature": [20.0] * 500})
    drawn = fitted.impute(warm, random_state=0)["rain"]
    own = frame["rain"][frame["temperature"] > 12]
    assert (drawn == 0).mean() == pytest.approx((own == 0).mean(), abs=0.1)
    mean = fitted.impute(warm[:1], "mean")["rain"][0]
    assert mean == pytest.approx(drawn.mean(), abs=0.4)  # of 64 draws
    assert fitted.impute(warm[:1], "mode")["rain"][0] == 0


def test_one_more_latent_column_for_every_column_with_atoms(frame, fitted):
    latent = fitted.transform(frame)
    assert latent.shape == (600, 5) and len(fitted.get_feature_names_out()) == 5
    np.testing.assert_allclose(fitted.inverse_transform(latent), frame, rtol=1e-6, atol=1e-6)


def test_a_file_keeps_the_atoms(frame, fitted, tmp_path):
    fitted.save(tmp_path / "density.skflow")
    loaded = skflow.load(tmp_path / "density.skflow")
    np.testing.assert_array_equal(loaded.score_samples(frame), fitted.score_samples(frame))


def test_arrays_say_it_by_number(frame):
    density = fit_quietly(quick(atoms={0: 0}), frame.to_numpy())
    assert (density.sample(500, random_state=0)[:, 0] == 0).mean() == pytest.approx(0.5, abs=0.15)


@pytest.mark.parametrize(
    "atoms, word",
    [({"snow": 0}, "snow"), ({"rain": "none"}, "rain"), ({"rain": np.nan}, "rain"), ({"city": 1}, "city")],
)
def test_what_can_be_no_atom_is_named(frame, atoms, word):
    with pytest.raises(ValueError, match=word):
        quick(atoms=atoms).fit(frame.assign(city="Ulm"))
