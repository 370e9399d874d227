"""The progress of a fit, or through a table, on a terminal, in a notebook or in a log file."""

from __future__ import annotations

import shutil
import sys
import time
from typing import TextIO

from .persistent_sampling import Generation
from .progress import Progress

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


class StatusLine:
    """One line on a terminal or in a notebook, redrawn in place; in a file a line every few seconds.

    Parameters
    ----------
    stream : file-like, default=sys.stdout
    """

    def __init__(self, stream: TextIO | None = None):
        self.stream = stream or sys.stdout
        self.in_place = self.stream.isatty() or _in_notebook(self.stream)
        self.interval = SECONDS_BETWEEN_FRAMES if self.in_place else SECONDS_BETWEEN_LINES
        self.started = time.monotonic()
        self.drawn = self.started - self.interval
        self.width = 0

    def is_due(self, now: float) -> bool:
        """Whether it is time to redraw; it is then taken to be redrawn."""
        if now - self.drawn < self.interval:
            return False
        self.drawn = now
        return True

    def write(self, parts: list[str]) -> None:
        """Redraw; where there is no room for all ``parts``, the first of them goes."""
        text = "  ".join(parts)
        if self.in_place:
            room = shutil.get_terminal_size().columns - 1 if self.stream.isatty() else NOTEBOOK_WIDTH
            if len(text) > room:  # a line that wraps could not be redrawn
                text = "  ".join(parts[1:])[:room]
            self.stream.write("\r" + text.ljust(self.width))
            self.width = len(text)
        else:
            self.stream.write(text + "\n")
        self.stream.flush()

    def end(self, parts: list[str]) -> None:
        """Redraw for the last time, with the time that it took."""
        self.write([*parts[:-1], f"{parts[-1]}, {_duration(time.monotonic() - self.started)}"])
        if self.in_place:
            self.stream.write("\n")
            self.stream.flush()


class ProgressBar(StatusLine):
    """The progress of a fit.

    A fit may consist of several runs, one after another or by turns (candidates, the final one on all rows), each with
    a `Progress` of its own: the bar shows the run that is at work. The time that is left follows from that run's own
    pace, and is an upper bound, since early stopping may end it sooner.

    Parameters
    ----------
    max_iter : int
    stream : file-like, default=sys.stdout
    """

    def __init__(self, max_iter: int, stream: TextIO | None = None):
        super().__init__(stream)
        self.max_iter = max_iter
        self.latest = self.started
        self.run: Progress | None = None
        self.seconds: float | None = None  # per epoch of the run at work

    def update(self, progress: Progress) -> None:
        """Redraw, unless that was done a moment ago."""
        now = time.monotonic()
        if progress is not self.run:
            self.run, self.seconds = progress, None
        else:
            latest = now - self.latest
            self.seconds = latest if self.seconds is None else self.seconds + 0.2 * (latest - self.seconds)
        self.latest = now
        if not self.is_due(now):
            return
        parts = self._parts(progress)
        if self.seconds is not None:
            parts.append(f"at most {_duration(self.seconds * (self.max_iter - progress.n_iter))} left")
        self.write(parts)

    def close(self, progress: Progress) -> None:
        """Say how the fit ended."""
        self.end([*self._parts(progress), ENDS.get(progress.stopped, progress.stopped)])

    def _parts(self, progress):
        parts = [_bar(progress.n_iter / self.max_iter), f"epoch {progress.n_iter}/{self.max_iter}"]
        if progress.loss_curve:
            parts.append(f"train {-progress.loss_curve[-1]:.4g} nats")
        if progress.validation_scores:
            parts.append(f"validation {progress.validation_scores[-1]:.4g} nats")
        return parts


class RowBar(StatusLine):
    """The progress through the rows of a table.

    Parameters
    ----------
    n_rows : int or None
        Of the whole table, where that is known.
    stream : file-like, default=sys.stdout
    """

    def __init__(self, n_rows: int | None, stream: TextIO | None = None):
        super().__init__(stream)
        self.n_rows = n_rows

    def update(self, n: int) -> None:
        """Redraw after ``n`` rows in all, unless that was done a moment ago."""
        now = time.monotonic()
        if not self.is_due(now):
            return
        parts = self._parts(n)
        if self.n_rows and n:
            parts.append(f"{_duration((now - self.started) * (self.n_rows - n) / n)} left")
        self.write(parts)

    def close(self, n: int) -> None:
        """Say that all ``n`` rows are done."""
        self.end([*self._parts(n), "done"])

    def _parts(self, n):
        bar = [] if self.n_rows is None else [_bar(n / self.n_rows)]
        rate = n / max(time.monotonic() - self.started, 1e-9)
        return [*bar, f"{n:,} rows" + (f" of {self.n_rows:,}" if self.n_rows else ""), f"{rate:,.0f} a second"]


def _bar(share):
    done = min(WIDTH, round(WIDTH * share))
    return f"[{'=' * done}{' ' * (WIDTH - done)}]"


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
