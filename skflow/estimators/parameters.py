"""One list of parameters for the whole family: an estimator writes down only what it adds."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable


def adds_to(base: type) -> Callable[[Callable], Callable]:
    """Decorate an ``__init__`` that declares only its own, keyword-only parameters: those of ``base`` are added.

    A parameter that both have takes the default that the decorated one gives it.

    The signature that scikit-learn, the documentation and a user's editor read is the complete one.

    Parameters
    ----------
    base : type
        The class whose ``__init__`` takes the other parameters.
    """

    def decorate(init):
        own = list(inspect.signature(init).parameters.values())[1:]
        inherited = list(inspect.signature(base.__init__).parameters.values())
        by_position = [p for p in inherited if p.kind is not p.KEYWORD_ONLY]
        names = {p.name for p in own}
        by_name = [p for p in inherited if p.kind is p.KEYWORD_ONLY and p.name not in names]

        @functools.wraps(init)
        def __init__(self, *args, **kwargs):
            mine = {p.name: kwargs.pop(p.name) for p in own if p.name in kwargs}
            base.__init__(self, *args, **kwargs)
            init(self, **mine)

        __init__.__signature__ = inspect.Signature([*by_position, *own, *by_name])
        return __init__

    return decorate
