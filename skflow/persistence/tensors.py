"""The tensors of a file by name: who keeps them, and who hands them out, each once."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from .container import NAMES
from .errors import FileFormatError


class Writer:
    """Collects arrays and names them."""

    def __init__(self):
        self.arrays: dict[str, np.ndarray] = {}

    def keep(self, value: np.ndarray | Tensor, name: str) -> str:
        """Keep an array or a tensor under a name like the given one, which is returned.

        Raises
        ------
        TypeError
            For a dtype that can't be kept.
        """
        if isinstance(value, Tensor):
            if not hasattr(np, str(value.dtype).removeprefix("torch.")):
                raise TypeError(f"{name} is a tensor of {value.dtype}, which can't be kept.")
            value = value.detach().cpu().numpy()
        array = np.asarray(value, dtype=value.dtype.newbyteorder("="))
        if array.dtype not in NAMES:
            raise TypeError(f"{name} has the dtype {array.dtype}, which can't be kept.")
        key, n = name, 1
        while key in self.arrays or key.startswith("__"):
            key, n = f"{name}.{n}", n + 1
        self.arrays[key] = array
        return key


class Reader:
    """Hands out the arrays of a file, each of them once, so that no two attributes share memory."""

    def __init__(self, arrays: dict[str, np.ndarray]):
        self._arrays = dict(arrays)

    def array(self, name: str) -> np.ndarray:
        """The array of that name.

        Raises
        ------
        FileFormatError
            Where there is none, or it has been handed out before.
        """
        if not isinstance(name, str) or name not in self._arrays:
            raise FileFormatError(f"The file has no tensor {str(name)[:100]!r}, or two claim it.")
        return self._arrays.pop(name)

    def tensor(self, name: str) -> Tensor:
        """The same as a tensor, on the same memory."""
        return torch.from_numpy(self.array(name))

    def finish(self) -> None:
        """Refuse tensors that nobody asked for."""
        if self._arrays:
            raise FileFormatError(f"Nothing in the file belongs to the tensor {next(iter(self._arrays))[:100]!r}.")
