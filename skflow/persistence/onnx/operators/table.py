"""The table of operators, which the modules beside this one fill."""

from __future__ import annotations

from collections.abc import Callable

OPERATORS: dict[object, Callable] = {}


def of(*operators):
    """Enter the decorated function for these operators."""

    def enter(function):
        OPERATORS.update(dict.fromkeys(operators, function))
        return function

    return enter
