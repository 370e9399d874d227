"""Torch modules as JSON: the class, numbers, modules within, and the names of its tensors; and back.

Only the classes of `RULES` are built, by their constructors, and only once their sizes have been found to agree with
tensors that are there: a file can't ask for more memory than its own length.
"""

from .description import built, described
from .rules import RULES

__all__ = ["RULES", "built", "described"]
