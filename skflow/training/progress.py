"""The progress of a fit on a terminal, in a notebook or in a log file."""

from __future__ import annotations

import shutil
import sys
import time
from typing import TextIO

from .persistent_sampling import Generation
from .trainer import Progress

WIDTH = 24
SECONDS_BETWEEN_LINES = 5.0  # in a log file
SECONDS_BETWEEN_FRAMES = 0.2
NOTEBOOK_WIDTH = 110
ENDS = {
    "no_change": "no better for a while",
    "max_iter": "all epochs made",
    "callback": "stopped by a callback",
    "interrupted": "interrupted",
    "diverged": "the likelihood turned non-finite",
}


class ProgressBar:
    """One line per fit on a terminal or in a notebook, redrawn in place; in a file a line every few seconds.

    A fit may consist of several runs, one after another or by turns (candidates, the final one on all rows), each with
    a `Progress` of its own: the bar shows the run that is at work. The time that is left follows from that run's own
    pace, and is an upper bound, since early stopping may end it sooner.

    Parameters
    ----------
    max_iter : int
    stream : file-like, default=sys.stdout
    """

    def __init__(self, max_iter: int, stream: TextIO | None = None):
        self.max_iter = max_iter
        self.stream = stream or sys.stdout
        self.in_place = self.stream.isatty() or _in_notebook(self.stream)
        self.interval = SECONDS_BETWEEN_FRAMES if self.in_place else SECONDS_BETWEEN_LINES
        self.started = time.monotonic()
        self.drawn = self.started - self.interval
        self.latest = self.started
        self.run: Progress | None = None
        self.seconds: float | None = None  # per epoch of the run at work
        self.width = 0

    def update(self, progress: Progress) -> None:
        """Redraw, unless that was done a moment ago."""
        now = time.monotonic()
        if progress is not self.run:
            self.run, self.seconds = progress, None
        else:
            latest = now - self.latest
            self.seconds = latest if self.seconds is None else self.seconds + 0.2 * (latest - self.seconds)
        self.latest = now
        if now - self.drawn < self.interval:
            return
        self.drawn = now
        parts = self._parts(progress)
        if self.seconds is not None:
            parts.append(f"at most {_duration(self.seconds * (self.max_iter - progress.n_iter))} left")
        self._write(parts)

    def close(self, progress: Progress) -> None:
        """Say how the fit ended."""
        seconds = time.monotonic() - self.started
        self._write([*self._parts(progress), f"{ENDS.get(progress.stopped, progress.stopped)}, {_duration(seconds)}"])
        if self.in_place:
            self.stream.write("\n")
            self.stream.flush()

    def _parts(self, progress):
        done = min(WIDTH, round(WIDTH * progress.n_iter / self.max_iter))
        parts = [f"[{'=' * done}{' ' * (WIDTH - done)}]", f"epoch {progress.n_iter}/{self.max_iter}"]
        if progress.loss_curve:
            parts.append(f"train {-progress.loss_curve[-1]:.4g} nats")
        if progress.validation_scores:
            parts.append(f"validation {progress.validation_scores[-1]:.4g} nats")
        return parts

    def _write(self, parts):
        text = "  ".join(parts)
        if self.in_place:
            room = shutil.get_terminal_size().columns - 1 if self.stream.isatty() else NOTEBOOK_WIDTH
            if len(text) > room:  # a line that wraps could not be redrawn: the bar itself goes first
                text = "  ".join(parts[1:])[:room]
            self.stream.write("\r" + text.ljust(self.width))
            self.width = len(text)
        else:
            self.stream.write(text + "\n")
        self.stream.flush()


def _in_notebook(stream):
    """Whether the stream is a notebook's cell, which knows carriage returns but calls itself no terminal."""
    return type(stream).__module__.startswith("ipykernel.")


def _duration(seconds):
    """Seconds as people say them."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


class GenerationLines:
    """One line for every generation of a sampler.

    Parameters
    ----------
    stream : file-like, default=sys.stdout
    """

    def __init__(self, stream: TextIO | None = None):
        self.stream = stream or sys.stdout

    def write(self, generation: Generation) -> None:
        """Say how far the sampler has come."""
        self.stream.write(
            f"generation {generation.number}  inverse temperature {generation.beta:.4g}  "
            f"{generation.n_evaluations} evaluations  {generation.n_effective:.0f} effective draws\n"
        )
        self.stream.flush()
