"""Groups of draws in the container of ArviZ, whose versions differ in how it is made."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np


def inference_data(groups: Mapping[str, Mapping[str, np.ndarray]], attributes: Mapping[str, float]) -> Any:
    """Arrays of shape (chains, draws) by group and name, and attributes of the group "posterior".

    Raises
    ------
    ImportError
        Where ArviZ is not installed.
    """
    try:
        import arviz
    except ImportError as error:
        raise ImportError("to_arviz needs the package arviz: pip install arviz.") from error
    if hasattr(arviz, "InferenceData"):
        data = arviz.from_dict(**groups)
    else:  # from version 1.0 on
        data = arviz.from_dict(groups)
    data["posterior"].attrs.update(attributes)
    return data
