"""A fit that was killed goes on where it was, and ends bit for bit where it would have ended."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from skflow import FlowClassifier, FlowDensity, FlowOutlierDetector, FlowRegressor, load
from skflow.persistence import checkpoints
from skflow.persistence.errors import FileFormatError
from skflow.training import checkpoint as journals
from skflow.training import hyperparameters as hp

from ..helpers import fit_quietly, quick, same_flow, scores
from .test_training import Eventful

ALL = [FlowDensity, FlowOutlierDetector, FlowRegressor, FlowClassifier]


class Killed(BaseException):
    """Stands for the end of the process: nothing catches it."""


@pytest.fixture
def path(tmp_path):
    return tmp_path / "fit.checkpoint"


@pytest.fixture(autouse=True)
def after_every_step(monkeypatch):
    monkeypatch.setattr(hp, "CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr(hp, "CHECKPOINT_SHARE", 1e9)
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)  # no computer fails here


def kill_after(monkeypatch, n):
    """Have the process end when ``n`` checkpoints have been written, from now on."""
    write, written = checkpoints.CheckpointFiles.write, []

    def counted(self, checkpoint):
        write(self, checkpoint)
        written.append(checkpoint)
        if len(written) == n:
            raise Killed

    monkeypatch.setattr(checkpoints.CheckpointFiles, "write", counted)
    return written


def start(estimator, X, n, monkeypatch):
    """A fit that is killed after ``n`` checkpoints."""
    with monkeypatch.context() as context:
        kill_after(context, n)
        with pytest.raises(Killed):
            fit_quietly(estimator, X)


def same_curves(a, b):
    return a.loss_curve_ == b.loss_curve_ and a.validation_scores_ == b.validation_scores_ and a.n_iter_ == b.n_iter_


SMALL = {"max_iter": 6, "batch_size": 30}
CASES = {
    "density": (FlowDensity, {}),
    "the same start, trained once more": (FlowDensity, {"base": "normal"}),
    "no validation": (FlowDensity, {"early_stopping": False}),
    "orderings": (FlowDensity, {"ordering": "agnostic"}),
    "detector": (FlowOutlierDetector, {"n_estimators": 2}),
    "regressor": (FlowRegressor, {"max_iter": 1, "batch_size": 200}),
    "classifier": (FlowClassifier, {"max_iter": 3}),
}


@pytest.mark.parametrize(
    "name, n",
    [
        *((name, 7) for name in CASES),
        ("density", 1),
        *(("density", n) for n in (9, 10)),
        ("density", 23),
        ("detector", 2),
    ],
)
def test_a_fit_that_was_killed_ends_where_it_would_have_ended(name, n, table, path, monkeypatch):
    cls, params = CASES[name]
    params = {**SMALL, **params}
    whole = fit_quietly(quick(cls, **params), table[:120])
    start(quick(cls, checkpoint=path, **params), table[:120], n, monkeypatch)
    rest = fit_quietly(quick(cls, checkpoint=path, **params), table[:120])
    assert same_flow(rest, whole) and same_curves(rest, whole)
    assert np.array_equal(scores(rest, table), scores(whole, table))


@pytest.mark.parametrize("n", [3, 25])
def test_a_stream_is_gone_on_with_in_the_middle_of_a_pass(n, table, path, monkeypatch):
    monkeypatch.setattr(hp, "SAMPLE_ROWS", 120)
    monkeypatch.setattr(hp, "SHUFFLE_ROWS", 60)
    stream, params = np.array_split(table, 8), {"max_iter": 3, "batch_size": 10}
    whole = fit_quietly(quick(**params), stream)
    start(quick(checkpoint=path, **params), stream, n, monkeypatch)
    rest = fit_quietly(quick(checkpoint=path, **params), stream)
    assert same_flow(rest, whole) and same_curves(rest, whole)


def test_a_stream_finds_its_sample_again_without_a_random_state(table, path, monkeypatch):
    monkeypatch.setattr(hp, "SAMPLE_ROWS", 120)
    params = {"max_iter": 1, "batch_size": 10, "random_state": None}
    start(quick(checkpoint=path, **params), np.array_split(table, 8), 2, monkeypatch)
    assert fit_quietly(quick(checkpoint=path, **params), np.array_split(table, 8)).n_iter_ == 1


def test_a_fit_that_goes_on_makes_only_the_steps_that_are_left(table, path, monkeypatch):
    written = kill_after(monkeypatch, 10**6)
    fit_quietly(quick(checkpoint=path, **SMALL), table[:120])
    n_steps = len(written)
    written.clear()
    start(quick(checkpoint=path, **SMALL), table[:120], n_steps - 3, monkeypatch)
    written.clear()
    fit_quietly(quick(checkpoint=path, **SMALL), table[:120])
    assert len(written) == 3


def test_a_fit_may_be_killed_again_and_again(table, path, monkeypatch):
    whole = fit_quietly(quick(**SMALL), table[:120])
    for n in (3, 5, 1, 8):
        start(quick(checkpoint=path, **SMALL), table[:120], n, monkeypatch)
    rest = fit_quietly(quick(checkpoint=path, **SMALL), table[:120])
    assert same_flow(rest, whole) and same_curves(rest, whole)


def test_a_table_with_categories_goes_on(path, monkeypatch):
    import pandas as pd

    rng = np.random.RandomState(0)
    frame = pd.DataFrame({"a": rng.randn(120), "b": rng.randn(120), "c": rng.choice(["x", "y"], 120)})
    whole = fit_quietly(quick(**SMALL), frame)
    start(quick(checkpoint=path, **SMALL), frame, 4, monkeypatch)
    assert same_flow(fit_quietly(quick(checkpoint=path, **SMALL), frame), whole)


def test_a_random_state_of_none_goes_on_with_the_seed_that_it_had(table, path, monkeypatch):
    density = quick(checkpoint=path, random_state=None, **SMALL)
    start(density, table, 2, monkeypatch)
    seed = checkpoints.CheckpointFiles(path).read()[0].fit["seed"]
    rest = fit_quietly(density, table)
    assert same_flow(rest, fit_quietly(quick(random_state=None, **SMALL), table)) is False
    monkeypatch.setattr("skflow.estimators.checkpoints.make_seed", lambda random_state: seed)
    assert same_flow(rest, fit_quietly(quick(random_state=None, **SMALL), table))


def test_a_warm_start_goes_on_from_the_same_flow(table, path, monkeypatch):
    def first():
        return fit_quietly(quick(warm_start=True, **SMALL), table)

    whole = fit_quietly(first(), table[50:])
    start(first().set_params(checkpoint=path), table[50:], 3, monkeypatch)
    assert same_flow(fit_quietly(first().set_params(checkpoint=path), table[50:]), whole)


def test_nothing_is_left_when_a_fit_has_ended(table, path):
    fit_quietly(quick(checkpoint=path, **SMALL), table)
    assert not list(path.parent.iterdir())


def test_an_interrupted_fit_leaves_its_checkpoint(table, path, monkeypatch):
    def interrupt(z):
        raise KeyboardInterrupt

    density = quick(flow=Eventful(interrupt, at={5}), checkpoint=path, **SMALL)
    with pytest.warns(UserWarning, match="interrupted"):
        density.fit(table)
    assert path.exists()


def test_partial_fit_keeps_no_checkpoint(table, path):
    quick(checkpoint=path).partial_fit(table)
    assert not path.exists()


def test_a_checkpoint_holds_no_pickle(table, path, monkeypatch):
    from safetensors.numpy import load_file

    start(quick(checkpoint=path, **SMALL), table, 3, monkeypatch)
    arrays = load_file(path)
    assert {"0.0.value", "0.0.mean", "0.loss_curve"} <= arrays.keys()


def test_an_estimator_with_a_path_can_be_saved(table, path):
    density = fit_quietly(quick(checkpoint=path), table)
    density.save(path.with_suffix(".safetensors"))
    assert load(path.with_suffix(".safetensors")).checkpoint == str(path)


# What is refused


@pytest.fixture
def unfinished(table, path, monkeypatch):
    density = quick(checkpoint=path, **SMALL)
    start(density, table, 3, monkeypatch)
    return density


@pytest.mark.parametrize(
    "params, message",
    [
        ({"depth": 2}, "depth=1 then and 2 now"),
        ({"alpha": 1.0}, "alpha='auto' then and 1.0 now"),
        ({"random_state": 1}, "another random_state"),
    ],
)
def test_other_parameters_are_refused_by_name(unfinished, table, params, message):
    with pytest.raises(ValueError, match=message):
        unfinished.set_params(**params).fit(table)


@pytest.mark.parametrize("what", ["rows", "weights"])
def test_another_table_is_refused(unfinished, table, what):
    with pytest.raises(ValueError, match="another table"):
        if what == "rows":
            unfinished.fit(table[::-1])
        else:
            unfinished.fit(table, sample_weight=np.arange(1.0, len(table) + 1))


def test_another_estimator_is_refused(unfinished, table):
    with pytest.raises(ValueError, match="a FlowDensity then and a FlowOutlierDetector now"):
        quick(FlowOutlierDetector, checkpoint=unfinished.checkpoint, **SMALL).fit(table)


def test_a_damaged_file_is_refused_and_the_one_before_it_used(unfinished, table, path):
    whole = fit_quietly(quick(**SMALL), table)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.warns(UserWarning, match="fit.checkpoint' can't be read, and the one before it is used. The checksum"):
        rest = fit_quietly(unfinished, table)
    assert same_flow(rest, whole)


def test_damaged_files_alone_are_refused_by_name(unfinished, table, path):
    for file in (path, path.with_name(path.name + ".previous")):
        file.write_bytes(file.read_bytes()[:-10])
    with pytest.raises(FileFormatError, match="fit.checkpoint' can't be read, and there is no other.*Remove it"):
        unfinished.fit(table)


def test_the_checkpoint_of_another_version_is_refused(unfinished, table, monkeypatch):
    monkeypatch.setattr(checkpoints, "__version__", "99.0")
    with pytest.raises(FileFormatError, match="another version of skflow, .*, and this is 99.0"):
        unfinished.fit(table)


def test_a_file_that_is_no_checkpoint_is_left_alone(table, path):
    fit_quietly(quick(), table).save(path)
    before = path.read_bytes()
    with pytest.raises(FileFormatError, match="no checkpoint of a fit"):
        quick(checkpoint=path).fit(table)
    assert path.read_bytes() == before


# When


def test_checkpoints_take_no_more_than_their_share_of_the_time(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(journals.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(hp, "CHECKPOINT_SECONDS", 10.0)
    monkeypatch.setattr(hp, "CHECKPOINT_SHARE", 0.01)

    class Slow(journals.Storage):
        def write(self, document, arrays):
            clock[0] += 5.0

    journal = journals.Journal(Slow())
    assert not journal.step()
    clock[0] = 10.0
    assert journal.step()
    journal.write()
    clock[0] = 15.0 + 499.0
    assert not journal.step()
    clock[0] = 15.0 + 500.0
    assert journal.step()


# Processes that are killed

SCRIPT = """
import sys, warnings
import numpy as np, torch
from skflow import FlowDensity
from skflow.training import hyperparameters as hp
torch.set_num_threads(1)
warnings.simplefilter("ignore")
hp.CHECKPOINT_SECONDS, hp.CHECKPOINT_SHARE = 0.02, 1.0
X = np.random.RandomState(0).randn(600, 3) ** 3
path = sys.argv[1] if len(sys.argv) > 1 else None
density = FlowDensity(depth=1, hidden_layer_sizes=(16,), max_iter=150, random_state=0, checkpoint=path)
print("ready", flush=True)
density.fit(X)
print(density.score_samples(X).tobytes().hex())
"""


def run_script(*args, kill_after=None):
    """What the script prints; None where it was killed ``kill_after`` seconds after its fit began."""
    process = subprocess.Popen([sys.executable, "-c", SCRIPT, *map(str, args)], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    if kill_after is not None:
        time.sleep(kill_after)
        process.send_signal(signal.SIGKILL)
    rest, _ = process.communicate()
    return rest or None


@pytest.mark.long
def test_a_process_may_be_killed_at_any_moment(path):
    expected, rng = run_script(), np.random.RandomState(0)
    n_killed = 0
    for _ in range(20):
        if run_script(path, kill_after=rng.uniform(0.0, 1.5)) is None:
            n_killed += 1
    assert n_killed > 10
    assert run_script(path) == expected
