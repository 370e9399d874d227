"""Fits on the workers of a cluster: the same flow on all of them, and an end with a reason where one fails."""

import os
import pickle
import signal
import threading
import time

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone

import skflow
from skflow import FlowDensity, FlowOutlierDetector

from ..helpers import SMALL, fit_quietly, quick

da = pytest.importorskip("dask.array", reason="collections of Dask are what is tested")
dd = pytest.importorskip("dask.dataframe", reason="collections of Dask are what is tested")
distributed = pytest.importorskip("distributed", reason="the workers are those of a local cluster")
from skflow.dask import DaskFlowDensity, DaskFlowOutlierDetector, WorkerLostError  # noqa: E402

NAMES = list("abcd")


@pytest.fixture(scope="module")
def client():
    """Two workers, each a process of one thread."""
    options = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": ":0"}
    with distributed.LocalCluster(**options) as cluster, distributed.Client(cluster) as client:
        yield client


@pytest.fixture(scope="module")
def placed(client, table):
    """The table in four partitions, half of them with each worker."""
    X = da.from_array(table, chunks=(60, 4)).persist()
    distributed.wait(X)
    client.rebalance()
    return X


def gather_at_most(n_rows):
    """As if more rows than these were too many to be gathered."""
    from skflow.training import hyperparameters as hp

    hp.SAMPLE_ROWS = n_rows


@pytest.mark.long
def test_short_tables_give_the_flow_of_the_whole(client, table):
    X = da.from_array(table, chunks=(240, 4))  # one partition, one worker: rows in their order
    density = DaskFlowDensity(client=client, **SMALL).fit(X)
    np.testing.assert_allclose(
        density.score_samples(table), fit_quietly(quick(), table).score_samples(table), atol=1e-6
    )


@pytest.mark.long
def test_workers_fit_together(client, placed, table):
    density = DaskFlowDensity(client=client, **SMALL).fit(placed)
    scores = density.score_samples(placed)
    assert isinstance(scores, da.Array)
    np.testing.assert_allclose(scores.compute(), density.score_samples(table), rtol=0, atol=1e-7)
    assert density.score(table) == pytest.approx(fit_quietly(quick(), table).score(table), abs=0.5)


@pytest.mark.long
def test_long_tables_stay_where_they_are(client, placed, table):
    client.run(gather_at_most, 100)
    try:
        density = DaskFlowDensity(client=client, **SMALL, base="normal").fit(placed)
    finally:
        client.run(gather_at_most, 200_000)
    assert density.score(table) == pytest.approx(fit_quietly(quick(base="normal"), table).score(table), abs=1.0)


@pytest.mark.long
def test_frames_keep_their_names_and_weights_count(client, table):
    frame = dd.from_pandas(pd.DataFrame(table, columns=NAMES), npartitions=2)
    weight = (frame["b"] > 0).astype(float) + 1e-9
    density = DaskFlowDensity(client=client, **SMALL).fit(frame, sample_weight=weight)
    assert list(density.feature_names_in_) == NAMES
    assert (density.sample(200, random_state=0)["b"] > 0).mean() > 0.8


@pytest.mark.long
def test_a_detector_labels_lazily(client, placed):
    detector = DaskFlowOutlierDetector(client=client, **SMALL).fit(placed)
    labels = detector.predict(placed)
    assert isinstance(labels, da.Array) and set(np.unique(labels.compute())) <= {-1, 1}
    assert type(detector.to_local()) is FlowOutlierDetector


@pytest.mark.long
def test_what_is_fitted_can_be_taken_away(client, placed, table, tmp_path):
    density = DaskFlowDensity(client=client, **SMALL).fit(placed)
    expected = density.score_samples(table)
    density.save(tmp_path / "density.safetensors")
    for other in (
        density.to_local(),
        pickle.loads(pickle.dumps(density)),
        skflow.load(tmp_path / "density.safetensors"),
    ):
        np.testing.assert_array_equal(other.score_samples(table), expected)
    assert type(density.to_local()) is FlowDensity


@pytest.mark.long
def test_a_refusal_names_the_worker_and_the_column(client, table):
    bad = table.copy()
    bad[200, 2] = np.inf
    with pytest.raises(ValueError, match="worker tcp.*column 2"):
        DaskFlowDensity(client=client, **SMALL).fit(da.from_array(bad, chunks=(120, 4)))


@pytest.mark.long
def test_a_partition_without_rows_is_named(client, table):
    frame = dd.from_pandas(pd.DataFrame(table, columns=NAMES).reset_index(), npartitions=4)
    with pytest.raises(ValueError, match="Partition 0 of X has no rows"):
        DaskFlowDensity(client=client, **SMALL).fit(frame[frame["index"] >= 60][NAMES])


@pytest.mark.long
def test_a_lost_worker_ends_the_fit_and_keeps_the_previous_one(table):
    options = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": ":0"}
    with distributed.LocalCluster(**options) as cluster, distributed.Client(cluster) as client:
        density = DaskFlowDensity(client=client, **SMALL).fit(da.from_array(table, chunks=(120, 4)))
        before = density.score(table)
        density.set_params(max_iter=10**6, n_iter_no_change=10**6)
        victim = next(iter(client.run(os.getpid).values()))
        threading.Timer(5, os.kill, (victim, signal.SIGKILL)).start()
        start = time.monotonic()
        with pytest.raises(WorkerLostError, match="was lost during the fit.*fit again"):
            density.fit(da.from_array(np.tile(table, (5, 1)), chunks=(600, 4)))
        assert time.monotonic() - start < 60 and density.score(table) == before
        assert client.submit(torch.distributed.is_initialized).result(timeout=60) is False  # the other has left, too


def test_a_table_in_memory_is_refused(table):
    with pytest.raises(TypeError, match="X is a ndarray, but DaskFlowDensity takes a Dask array.*fit a FlowDensity"):
        DaskFlowDensity().fit(table)


def test_a_clone_shares_the_client_and_nothing_else():
    client = object.__new__(distributed.Client)
    copy = clone(DaskFlowDensity(client=client, depth=3))
    assert copy.client is client and copy.depth == 3 and "client" in copy.get_params()
