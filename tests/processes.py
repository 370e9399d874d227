"""Processes that form a group of torch.distributed, for the tests: they are started once and given work by turns."""

import multiprocessing
import os
from datetime import timedelta

from torch import distributed

SECONDS = 300  # a busy machine may need a minute to compile the loops
# Imported once, by a process that all others are copies of: imports are most of what it takes to start.
SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["numba", "skflow.estimators.density", "tests.training.test_distributed"])


class Ranks:
    """``n`` processes with one thread each; `run` has all of them call a function of a test module."""

    def __init__(self, n, file):
        self.pipes, self.processes = [], []
        for rank in range(n):
            here, there = SERVER.Pipe()
            process = SERVER.Process(target=_work, args=(there, rank, n, f"file://{file}"), daemon=True)
            process.start()
            there.close()
            self.pipes.append(here)
            self.processes.append(process)

    def run(self, function, *args):
        """What ``function(rank, *args)`` gives on every rank, or what it raises; None of one that is lost."""
        for pipe in self.pipes:
            pipe.send((function, args))
        return [self._answer(pipe) for pipe in self.pipes]

    def _answer(self, pipe):
        try:
            return pipe.recv() if pipe.poll(SECONDS) else TimeoutError("a rank does not answer")
        except (EOFError, ConnectionResetError):
            return None

    def close(self):
        """End all of them."""
        for process in self.processes:
            process.kill()
            process.join()


def _work(pipe, rank, n, where):
    import torch

    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", where, timeout=timedelta(seconds=SECONDS), rank=rank, world_size=n)
    while True:
        function, args = pipe.recv()
        try:
            answer = function(rank, *args)
        except BaseException as error:
            answer = error
        pipe.send(answer)
