"""The estimators that may stand in a file; each enters itself, with the kinds of its fitted attributes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeVar

from .attributes import Check

T = TypeVar("T", bound=type)


class Savable(NamedTuple):
    """An estimator's class, the kinds of its attributes, and what is to hold between them."""

    cls: type
    fitted: Mapping[str, Check]
    more: Mapping[str, Check]
    agree: Callable[[Any], str | None]


ESTIMATORS: dict[str, Savable] = {}


def savable(
    fitted: Mapping[str, Check],
    more: Mapping[str, Check],
    agree: Callable[[Any], str | None] = lambda estimator: None,
) -> Callable[[T], T]:
    """Enter the decorated estimator.

    Parameters
    ----------
    fitted : mapping of str to callable
        The kind of every attribute that a fit sets, public or private; a file holds all of them or none.
    more : mapping of str to callable
        Of those that may also be missing. An attribute that is in neither can't be saved.
    agree : callable
        Of a loaded and fitted estimator, a sentence that says what in it contradicts what; None where nothing does.
    """

    def enter(cls: T) -> T:
        ESTIMATORS[cls.__name__] = Savable(cls, fitted, more, agree)
        return cls

    return enter
