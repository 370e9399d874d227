"""Models that outlive the process: files that run no code, and graphs that need no torch."""

from .errors import FileFormatError
from .files import load

__all__ = ["FileFormatError", "load"]
