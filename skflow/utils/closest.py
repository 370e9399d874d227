"""A proposal for a name that does not exist."""

from __future__ import annotations

import difflib


def closest(name: str, names) -> str:
    """A sentence that proposes the nearest of ``names``, or nothing."""
    match = difflib.get_close_matches(str(name).lower(), sorted(names), n=1)
    return f" Did you mean {match[0]!r}?" if match else ""
