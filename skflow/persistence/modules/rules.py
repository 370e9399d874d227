"""What may stand in a file: one row a class, by its name."""

from __future__ import annotations

from torch import nn

from . import bijections, distributions, regression, schemes
from .node import Rule

RULES: dict[str, tuple[type[nn.Module], Rule]] = {
    cls.__name__: (cls, rule)
    for rules in (bijections.RULES, schemes.RULES, distributions.RULES, regression.RULES)
    for cls, rule in rules.items()
}
