"""Dask collections: scored partition by partition, when it is asked for, as the table in memory is."""

import numpy as np
import pandas as pd
import pytest

from skflow import FlowDensity, FlowOutlierDetector

from ..helpers import fit_quietly, quick

cloudpickle = pytest.importorskip("cloudpickle")  # Dask's way to send a task
da = pytest.importorskip("dask.array")
dd = pytest.importorskip("dask.dataframe")
METHODS = {
    FlowDensity: ["score_samples", "transform"],
    FlowOutlierDetector: ["score_samples", "decision_function", "predict", "p_values"],
}
CASES = [(cls, method) for cls, methods in METHODS.items() for method in methods]
NAMES = list("abcd")


@pytest.fixture(scope="module")
def fitted(table):
    return {cls: fit_quietly(quick(cls), table) for cls in METHODS}


@pytest.fixture(scope="module")
def named(table):
    return fit_quietly(quick(), pd.DataFrame(table, columns=NAMES))


@pytest.mark.parametrize(("cls", "method"), CASES)
def test_arrays_give_the_same_lazily(cls, method, fitted, table):
    call, new = getattr(fitted[cls], method), table + 0.01  # p-values of training rows hang by the last digit
    answer = call(da.from_array(new, chunks=(100, 3)))
    assert isinstance(answer, da.Array) and answer.chunks[0] == (100, 100, 40)
    computed = answer.compute(scheduler="synchronous")
    assert computed.dtype == answer.dtype and computed.shape == answer.shape
    np.testing.assert_allclose(computed, call(new), rtol=0, atol=1e-7)


@pytest.mark.parametrize("method", METHODS[FlowDensity])
def test_frames_keep_their_index(method, named, table):
    frame = pd.DataFrame(table, columns=NAMES, index=np.arange(1000, 1240))
    answer = getattr(named, method)(dd.from_pandas(frame, npartitions=3))
    assert isinstance(answer, dd.Series if method == "score_samples" else dd.DataFrame)
    computed = answer.compute(scheduler="synchronous")
    assert computed.index.equals(frame.index)
    np.testing.assert_allclose(computed.to_numpy(), getattr(named, method)(frame), rtol=0, atol=1e-7)


def test_nothing_is_computed_before_it_is_asked_for(fitted):
    def fail(block):
        raise RuntimeError("computed")

    X = da.ones((10, 4), chunks=(5, 4)).map_blocks(fail, dtype=float, meta=np.empty((0, 0)))
    answer = fitted[FlowDensity].score_samples(X)
    with pytest.raises(RuntimeError, match="computed"):
        answer.compute(scheduler="synchronous")


@pytest.mark.parametrize("of_frames", [True, False])
def test_a_worker_is_sent_the_estimator_once(of_frames, fitted, named, table):
    if of_frames:
        estimator, X = named, dd.from_pandas(pd.DataFrame(table, columns=NAMES), npartitions=3)
    else:
        estimator, X = fitted[FlowDensity], da.from_array(table, chunks=(80, 4))
    tasks = dict(estimator.score_samples(X.persist(scheduler="synchronous")).__dask_graph__()).values()
    large = [task for task in tasks if len(cloudpickle.dumps(task)) >= len(cloudpickle.dumps(estimator))]
    assert len(large) == 1


def test_partitions_without_rows_are_passed_over(named, table):
    frame = dd.from_pandas(pd.DataFrame(table, columns=NAMES), npartitions=3)
    some = frame[frame["a"] > frame["a"].max().compute() - 1e-9]
    assert len(named.score_samples(some).compute(scheduler="synchronous")) == 1


def test_single_precision_stays(fitted, table):
    answer = fitted[FlowDensity].score_samples(da.from_array(table.astype(np.float32), chunks=(100, 4)))
    assert answer.dtype == answer.compute(scheduler="synchronous").dtype == np.float32


def test_other_columns_are_refused_at_once(named, table):
    frame = dd.from_pandas(pd.DataFrame(table, columns=list("abce")), npartitions=2)
    with pytest.raises(ValueError, match="feature names"):
        named.score_samples(frame)


def test_two_answers_are_refused(fitted, table):
    with pytest.raises(ValueError, match="return_std gives two answers"):
        fitted[FlowDensity].score_samples(da.from_array(table), return_std=True)
