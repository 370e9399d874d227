"""In the child of a fork every method works, whatever the parent has used threads for before."""

import multiprocessing
import os
import queue as queues
import subprocess
import sys

import numpy as np
import pytest
import torch

from skflow import FlowDensity, FlowOutlierDetector
from skflow.engine import threads
from skflow.engine.threads import Pace, fork_safe_lock, threads_for

from ..helpers import fit_quietly, quick

pytestmark = [
    pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="needs fork"),
    pytest.mark.usefixtures("two_threads"),
]
METHODS = {
    FlowDensity: ["score_samples", "score", "transform", "inverse_transform", "bic", "aic"],
    FlowOutlierDetector: ["score_samples", "decision_function", "predict", "p_values", "explain"],
}
PATIENCE = 60  # seconds


@pytest.fixture(scope="module")
def long_table():
    return np.random.RandomState(0).randn(20_000, 8).astype(np.float32)


@pytest.fixture(scope="module")
def fits(table):
    return {cls: fit_quietly(quick(cls, hidden_layer_sizes=(64, 64)), table) for cls in METHODS}


@pytest.fixture(autouse=True)
def a_team():
    """Torch's threads are there, of its operations and of compiled loops alike."""
    torch.set_num_threads(2)
    a = torch.randn(600, 600)
    (a @ a).exp().sum()
    torch.randn(10**6).exp().sum()


def in_children(function, *args, n=1):
    """What ``function(*args)`` returns in as many children."""
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    children = [context.Process(target=lambda: queue.put(function(*args))) for _ in range(n)]
    for child in children:
        child.start()
    try:
        return [queue.get(timeout=PATIENCE) for _ in children]
    except queues.Empty:
        pytest.fail("the child hangs or has died")
    finally:
        for child in children:
            child.kill()
            child.join()


def results(estimator, X):
    """Of every method."""
    found = {name: getattr(estimator, name)(X[:20] if name == "explain" else X) for name in METHODS[type(estimator)]}
    return {**found, "sample": estimator.sample(5000, random_state=0)} if hasattr(estimator, "sample") else found


@pytest.mark.parametrize("cls", METHODS)
def test_every_method_works_in_a_child(cls, fits, table):
    X = np.tile(table, (20, 1))
    (found,) = in_children(results, fits[cls], X)
    for name, expected in results(fits[cls], X).items():
        np.testing.assert_allclose(found[name], expected, rtol=1e-6, atol=1e-9, err_msg=name)


@pytest.mark.parametrize("flow", ["nsf", "planar"])
def test_a_child_fits_as_the_parent_does(flow, long_table):
    def fit():
        return fit_quietly(quick(flow=flow, hidden_layer_sizes=(64, 64), max_iter=1), long_table).score(long_table)

    here = fit()
    assert in_children(fit) == [pytest.approx(here, abs=1e-5)]


def test_a_detector_fits_in_a_child(table):
    def fit():
        return fit_quietly(quick(FlowOutlierDetector), table).score_samples(table)

    np.testing.assert_allclose(in_children(fit)[0], fit(), rtol=1e-5)


def test_several_children_at_a_time(fits, long_table):
    density = fit_quietly(quick(max_iter=1, hidden_layer_sizes=(64, 64)), long_table)
    here = density.score(long_table)
    assert in_children(density.score, long_table, n=3) == [pytest.approx(here)] * 3


def test_a_pool_of_processes(fits, table):
    parts = np.array_split(np.tile(table, (40, 1)), 4)
    with multiprocessing.get_context("fork").Pool(2) as pool:
        scores = pool.map_async(fits[FlowDensity].score_samples, parts).get(timeout=PATIENCE)
    np.testing.assert_allclose(np.concatenate(scores), fits[FlowDensity].score_samples(np.concatenate(parts)))


def test_joblib_in_processes(fits, table):
    from joblib import Parallel, delayed

    for backend in ("loky", "multiprocessing"):
        scores = Parallel(2, backend=backend)(delayed(fits[FlowDensity].score)(table) for _ in range(2))
        assert scores == [pytest.approx(fits[FlowDensity].score(table))] * 2


def test_a_grandchild_works_too(fits, table):
    def child():
        return in_children(fits[FlowDensity].score, table)[0]

    assert in_children(child) == [pytest.approx(fits[FlowDensity].score(table))]


def test_the_parent_keeps_its_threads(fits, table):
    in_children(fits[FlowDensity].score, table)
    assert torch.get_num_threads() == 2


def test_a_child_has_one_thread():
    assert in_children(torch.get_num_threads) == [1]


def forked_inside():
    """The number of threads of a child within the blocks that it was forked in, and after them, by `os.fork`."""
    read, write = os.pipe()
    with threads_for(1e12):
        pace = Pace()
        with threads_for(0):
            pid = os.fork()
            inside = torch.get_num_threads()
        after = torch.get_num_threads()
        again = pace.call(torch.get_num_threads)
        with threads_for(1e12):
            later = torch.get_num_threads()
    if not pid:
        os.write(write, bytes([inside, after, again, later, torch.get_num_threads()]))
        os._exit(0)
    os.waitpid(pid, 0)
    return list(os.read(read, 5))


def test_a_fork_inside_a_block_of_threads():
    assert forked_inside() == [1] * 5
    assert torch.get_num_threads() == 2
    assert not vars(threads._BLOCKS)["before"]


def test_a_lock_that_was_held_is_open_in_the_child():
    lock = fork_safe_lock()
    with lock:
        assert in_children(lock.acquire, True, 1) == [True]


def test_a_parent_that_only_imports_leaves_the_child_free():
    """The child may ask for threads of its own."""
    code = (
        "import os, torch, skflow\n"
        "pid = os.fork()\n"
        "if not pid:\n"
        "    torch.set_num_threads(2)\n"
        "    torch.randn(10**6).exp().sum()\n"
        "    os._exit(torch.get_num_threads())\n"
        "print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=PATIENCE)
    assert run.stdout.strip() == "2"
