"""The user's global settings: kept away from what happens inside a method, and afterwards as they were."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import numpy as np
import torch
from sklearn import config_context

AUTOCAST_KINDS = ("cpu", "cuda", "mps", "xpu")  # of device


@contextmanager
def shield() -> Iterator[None]:
    """A block, or with ``@shield()`` a method, on which the settings of the session have no say.

    They are those of numpy on floating-point errors, of scikit-learn (array API dispatch, the containers of results,
    unchecked input) and of torch (gradients and inference mode, default device, autocast), all of them of the present
    thread alone. Those of the whole process stay as they are: tensors are made of an explicit precision, so that
    torch's default one does not matter, and warnings are avoided where they would tell the user nothing.
    """
    with ExitStack() as stack:
        enter = stack.enter_context
        enter(np.errstate(all="ignore"))
        enter(config_context(array_api_dispatch=False, assume_finite=False, transform_output="default"))
        enter(torch.inference_mode(False))
        enter(torch.enable_grad())
        if torch.get_default_device().type != "cpu":  # a device block makes every call of torch's a little slower
            enter(torch.device("cpu"))
        for kind in AUTOCAST_KINDS:
            if torch.is_autocast_enabled(kind):
                enter(torch.autocast(kind, enabled=False))
        yield
