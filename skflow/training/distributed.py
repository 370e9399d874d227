"""Several processes, one fit: what they add up, what they agree upon, and how they end together."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator, Sequence
from contextvars import ContextVar
from typing import Any, NoReturn

import torch
from torch import Tensor, distributed, nn

from .data import WHOLE, Part
from .parameters import N_EXTRA, ParameterVector

LENGTH = 6  # of a message: whether a process has failed, whether one is interrupted, and up to four values


class DistributedFitError(RuntimeError):
    """A fit of several processes has ended on all of them, because one of them failed or was lost."""


class ProcessGroup:
    """The processes of a fit; of one process alone, everything it says is what it is given.

    All of them come to the same calls in the same order, since whatever they decide upon is the same on all. That is
    how a failure is told: every call carries a message, and a process that fails takes part in the one that the others
    wait for. They all raise then, and nobody waits for ever. A process that is lost is noticed by the backend.

    Parameters
    ----------
    part : Part
    device : torch.device, optional
        Where the backend wants its tensors; on the CPU by default.
    """

    def __init__(self, part: Part = WHOLE, device: torch.device | None = None):
        self.part = part
        self.device = device or torch.device("cpu")
        self.interrupted = False
        self._awaited: Tensor | None = None  # the vector that the others wait for while they make steps

    @property
    def alone(self) -> bool:
        """Whether there is one process."""
        return self.part.size == 1

    def sum(self, *values: float) -> Sequence[float]:
        """Sums over all processes, in double precision.

        Raises
        ------
        DistributedFitError
            Where a process has failed.
        KeyboardInterrupt
            On all processes, where one has been interrupted.
        """
        if self.alone:
            return values
        message = self._message(*values)
        self._all_reduce(message)
        self._heed(message)
        return message[2 : 2 + len(values)].tolist()

    def any(self, flag: bool) -> bool:
        """Whether the flag is true on any process."""
        return self.sum(float(flag))[0] > 0

    def gather(self, value: Any) -> list[Any]:
        """The values of all processes, by rank."""
        if self.alone:
            return [value]
        self.sum()
        return self._gather(value)

    def first(self, value: Any) -> Any:
        """The value of the first process."""
        if self.alone:
            return value
        self.sum()
        found = [value if self.part.rank == 0 else None]
        self._call(distributed.broadcast_object_list, found, src=0, device=self.device)
        return found[0]

    def broadcast(self, module: nn.Module) -> None:
        """Give the parameters and buffers of a module the values that they have on the first process.

        Raises
        ------
        DistributedFitError
            Where they are of other names, shapes or precisions than there.
        """
        if self.alone:
            return
        tensors = module.state_dict()
        kinds = [(name, tuple(value.shape), str(value.dtype)) for name, value in tensors.items()]
        for rank, other in enumerate(self.gather(kinds)):
            if other != kinds:
                raise DistributedFitError(
                    f"Rank {rank} has come to another flow from the same rows than rank {self.part.rank}: run all "
                    "processes with the same versions of Python, numpy, scikit-learn, torch and skflow, on machines "
                    "of one kind."
                )
        for value in tensors.values():
            where = self.device if value.device.type == "cpu" else value.device
            sent = value.to(where).contiguous()
            self._call(distributed.broadcast, sent, src=0)
            value.copy_(sent)

    @contextlib.contextmanager
    def steps(self, params: ParameterVector) -> Iterator[None]:
        """A block in which the only calls are those of `average`."""
        self._awaited = None if self.alone else params.message
        yield
        self._awaited = None  # a failure within the block is told by way of the gradient

    def average(
        self, params: ParameterVector, loss: float, n_rows: int, due: bool = False
    ) -> tuple[float | None, bool]:
        """Replace the gradient by its mean over the rows of all processes, in one operation.

        Parameters
        ----------
        params : ParameterVector
        loss : float
            Mean of this process's rows, as the gradient is.
        n_rows : int
            How many they are; none where this process has been through its rows.
        due : bool, default=False
            Whether a checkpoint is due here.

        Returns
        -------
        loss : float or None
            The mean of all processes; None where all have been through.
        due : bool
            Whether one is due anywhere: all write theirs after the same step.
        """
        if self.alone:
            return (loss if n_rows else None), due
        message = params.message
        if n_rows:
            params.pack(n_rows)
        else:
            message.zero_()
        said = message[-N_EXTRA:]
        said.copy_(torch.tensor([0.0, float(self.interrupted), due, n_rows, loss * n_rows if n_rows else 0.0]))
        self._all_reduce(message)
        self._heed(said)
        due, n_rows, loss = said[2:].tolist()
        if not n_rows:
            return None, due > 0
        params.unpack(n_rows)
        return loss / n_rows, due > 0

    def fail(self, error: BaseException) -> None:
        """Tell the others that this process has failed, wherever they wait for it."""
        message, place = (self._message(), 0) if self._awaited is None else (self._awaited.zero_(), -N_EXTRA)
        message[place] = 1.0
        self._all_reduce(message)
        self._gather(f"{type(error).__name__}: {error}")

    @contextlib.contextmanager
    def deferred_interrupts(self) -> Iterator[None]:
        """A block in which Ctrl-C waits until all processes can be told of it; a second one does not."""
        if self.alone or threading.current_thread() is not threading.main_thread():
            yield
            return

        def note(number, frame):
            if self.interrupted:
                raise KeyboardInterrupt
            self.interrupted = True

        before = signal.signal(signal.SIGINT, note)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)

    def _message(self, *values):
        said = [0.0, float(self.interrupted), *values]
        return torch.tensor(said + [0.0] * (LENGTH - len(said)), dtype=torch.float64, device=self.device)

    def _heed(self, message):
        """Raise what all processes raise: the numbers are sums over them."""
        failed, interrupted = message[:2].tolist()
        if failed:
            self._awaited = None
            self._end()
        if interrupted:
            self._awaited, self.interrupted = None, False
            raise KeyboardInterrupt

    def _end(self) -> NoReturn:
        """Raise what the failed ones say."""
        said = enumerate(self._gather(None))
        failed = "; ".join(f"rank {rank}: {what}" for rank, what in said if what is not None)
        raise DistributedFitError(f"The fit has ended on all {self.part.size} processes, because one failed. {failed}")

    def _gather(self, value):
        found = [None] * self.part.size
        self._call(distributed.all_gather_object, found, value)
        return found

    def _all_reduce(self, message):
        self._call(distributed.all_reduce, message)

    def _call(self, operation, *args, **kwargs):
        try:
            operation(*args, **kwargs)
        except RuntimeError as error:
            raise DistributedFitError(
                f"Rank {self.part.rank} of {self.part.size} has lost another process of the fit, or has waited for it "
                "longer than the time limit of its group (torch.distributed.init_process_group(timeout=...)): see what "
                f"the others say, and start all of them again. {error}"
            ) from error


_ALONE = ProcessGroup()
_CURRENT: ContextVar[ProcessGroup] = ContextVar("processes of the fit", default=_ALONE)


def current() -> ProcessGroup:
    """The processes of the fit that this call is made in."""
    return _CURRENT.get()


def world() -> ProcessGroup:
    """All processes, where ``torch.distributed`` has been initialised, else this one alone."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return _ALONE
    on_gpu = distributed.get_backend() == "nccl"
    device = torch.device("cuda", torch.cuda.current_device()) if on_gpu else torch.device("cpu")
    return ProcessGroup(Part(distributed.get_rank(), distributed.get_world_size()), device)


@contextlib.contextmanager
def together(group: ProcessGroup) -> Iterator[None]:
    """A block that all processes of a group go through together: where one fails, all raise.

    The runs inside find the group by `current`: a fit is a tree of fittings, and would have to hand it through all.

    Raises
    ------
    DistributedFitError
        On those that have not failed themselves.
    """
    before = _CURRENT.set(group)
    try:
        with group.deferred_interrupts():
            yield
            group.sum()  # or one might fail when the others have left already
    except DistributedFitError:
        raise
    except BaseException as error:
        if not group.alone:
            with contextlib.suppress(DistributedFitError):  # what happened here matters more
                group.fail(error)
        raise
    finally:
        _CURRENT.reset(before)
