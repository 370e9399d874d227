"""How many threads a fit uses, and that their number has no say in the result."""

import numpy as np
import pytest
import torch

from skflow import FlowDensity
from skflow.engine import compiler, door, threads
from skflow.engine.calls import Call, Step
from skflow.engine.threads import MIN_WORK_PER_THREAD, Pace, threads_for

pytestmark = pytest.mark.usefixtures("two_threads")


class Machine:
    """A clock that a call moves on by the seconds that it takes on the present number of threads."""

    def __init__(self, *seconds):
        self.seconds = dict(enumerate(seconds, 1))
        self.now = 0.0
        self.calls = []

    def perf_counter(self):
        return self.now

    def call(self):
        self.calls.append(torch.get_num_threads())
        self.now += self.seconds[self.calls[-1]]
        return len(self.calls)


def calls(monkeypatch, n, *seconds):
    machine = Machine(*seconds)
    monkeypatch.setattr(threads, "time", machine)
    pace = Pace()
    assert [pace.call(machine.call) for _ in range(n)] == list(range(1, n + 1))
    return machine


def test_threads_follow_the_work():
    with threads_for(MIN_WORK_PER_THREAD):
        assert torch.get_num_threads() == 1
    with threads_for(1e12):
        assert torch.get_num_threads() == 2


def test_inner_block_may_use_what_was_set_around_the_outer_one():
    with threads_for(0):
        with threads_for(1e12):
            assert torch.get_num_threads() == 2
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == 2


def test_idle_machine_keeps_all_threads(monkeypatch):
    machine = calls(monkeypatch, 1000, 0.02, 0.011)
    assert 0 < machine.calls.count(1) < 60  # for comparison
    assert machine.now < 1.05 * 1000 * 0.011


def test_short_runs_are_not_compared(monkeypatch):
    assert calls(monkeypatch, 20, 0.02, 0.011).calls == [2] * 20


def test_threads_that_wait_for_each_other_are_given_up(monkeypatch):
    machine = calls(monkeypatch, 5000, 0.02, 1.9)
    assert machine.now < 5000 * 0.02 * 1.1 + 4  # two seconds until they are found to wait


def test_one_call_that_was_held_up_does_not_decide_for_good(monkeypatch):
    machine, held_up = Machine(0.02, 0.1), iter([2.0] * 3)
    monkeypatch.setattr(threads, "time", machine)
    pace = Pace()

    def call():
        machine.call()
        machine.now += next(held_up, 0.0) if machine.calls[-1] == 1 else 0.0

    for _ in range(10_000):
        pace.call(call)
    assert machine.calls[-5000:].count(1) > 4500


def test_all_threads_come_back(monkeypatch):
    machine = Machine(0.02, 1.9)
    monkeypatch.setattr(threads, "time", machine)
    pace = Pace()
    for _ in range(500):
        pace.call(machine.call)
    machine.seconds[2] = 0.011
    for _ in range(5000):  # a trial may take a tenth of the time
        pace.call(machine.call)
    assert machine.calls[-400:].count(2) > 360


def test_call_that_fails_leaves_the_threads(monkeypatch):
    machine = Machine(0.02, 1.9)
    monkeypatch.setattr(threads, "time", machine)
    pace = Pace()
    pace.call(machine.call)
    with pytest.raises(ZeroDivisionError):
        pace.call(lambda: 1 / 0)
    assert torch.get_num_threads() == 2


@pytest.mark.parametrize(("n_threads", "work", "used"), [(1, 1e9, 1), (2, 1e9, 2), (2, 10, 1)])
def test_calls_take_the_threads_that_torch_has_and_the_work_can_feed(monkeypatch, n_threads, work, used):
    pytest.importorskip("numba", reason="the loops are compiled by numba")
    counts = []
    pool = threads._Pool(lambda function, argument, n, flags: counts.append(n), 0)
    monkeypatch.setattr(threads, "_pool", lambda: pool)
    monkeypatch.setattr(threads, "_n_cores", lambda: 8)
    torch.set_num_threads(n_threads)
    step = Step(compiler.loop("univariate", "forward", "affine", "forward"), 0, int(work))  # no items
    Call([step], torch.float32, [0] * 20, [])()
    assert counts == [used] * (used > 1)


@pytest.mark.parametrize(("n_items", "n_threads"), [(0, 2), (1, 2), (7, 2), (7, 3), (2, 3)])
def test_threads_share_all_items_of_a_loop_and_none_is_done_twice(monkeypatch, n_items, n_threads):
    queue = pytest.importorskip("skflow.engine.kernels.queue", reason="the loops are compiled by numba")
    numbers, done = iter(range(n_threads)), []
    monkeypatch.setattr(queue, "call", lambda address: next(numbers), raising=True)
    arguments = {"n_items": n_items, "n_threads": n_threads, "counters": 100}
    counters = {}

    def take(address):
        counters[address] = counters.get(address, -1) + 1
        return counters[address]

    monkeypatch.setattr(queue, "address_of", lambda pointer: pointer)
    monkeypatch.setattr(queue, "zero_of", lambda pointer: 0.0)
    monkeypatch.setattr(queue, "integer_at", lambda args, field: arguments.get(queue.QUEUE._fields[field], 0))
    monkeypatch.setattr(queue, "take_next", take)
    monkeypatch.setattr(queue, "do_item", lambda args, own, item, zero: done.append(item))
    run = queue._shared_loop("")
    for _ in range(n_threads):
        run(0)
    assert sorted(done) == list(range(n_items))


@pytest.mark.parametrize("kernels", [True, False])
@pytest.mark.parametrize(
    ("flow", "d", "batch_size", "base"),
    [("maf", 24, 1100, "auto"), ("nsf", 24, 1100, "auto"), ("maf", 10, 250, "mixture"), ("planar", 10, 1100, "auto")],
    ids=["maf", "nsf", "mixture", "planar"],
)
@pytest.mark.parametrize("depth", [1, 3])
def test_number_of_threads_has_no_say_in_the_result(monkeypatch, flow, d, batch_size, base, kernels, depth):
    if not kernels:
        monkeypatch.setattr(door, "load", lambda name: None)
    X = np.random.default_rng(0).standard_normal((2500, d)).astype(np.float32)
    density = FlowDensity(
        flow,
        depth=depth,
        base=base,
        hidden_layer_sizes=(128, 128),
        batch_size=batch_size,
        max_iter=2,
        early_stopping=False,  # with it the untrained flow would be the best for rows like these
        random_state=0,
    )
    scores = []
    for n_threads in 1, 2:
        torch.set_num_threads(n_threads)
        scores.append(density.fit(X).score_samples(X))
    np.testing.assert_array_equal(*scores)
