"""A function of one item after another, by several threads: results in order, and settings as they were."""

import threading
import time
from contextlib import closing

import pytest
import sklearn
import torch

from skflow.utils.parallel_map import parallel_map


def test_results_come_in_the_order_of_the_items(two_threads):
    def slow_if_even(k):
        time.sleep(0.01 * (k % 2 == 0))
        return k

    assert list(parallel_map(slow_if_even, range(10))) == list(range(10))


def test_items_are_at_work_at_the_same_time(two_threads):
    both = threading.Barrier(2)
    assert sorted(parallel_map(lambda k: both.wait(timeout=30), range(2))) == [0, 1]


def test_few_items_are_there_at_a_time(two_threads):
    read = []
    with closing(parallel_map(lambda k: k, (read.append(k) or k for k in range(100)))) as results:
        next(results)
    assert len(read) <= 4


def test_an_error_is_raised_at_its_turn(two_threads):
    results = parallel_map(lambda k: 1 // (2 - k), range(5))
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_every_item_has_one_thread_and_the_settings_of_the_caller(two_threads):
    with sklearn.config_context(assume_finite=True):
        seen = list(parallel_map(lambda k: (torch.get_num_threads(), sklearn.get_config()["assume_finite"]), range(3)))
    assert seen == 3 * [(1, True)]


def test_threads_that_start_later_have_as_many_as_before(two_threads):
    list(parallel_map(lambda k: k, range(3)))
    counts = []
    later = threading.Thread(target=lambda: counts.append(torch.get_num_threads()))
    later.start()
    later.join()
    assert counts == [2]
