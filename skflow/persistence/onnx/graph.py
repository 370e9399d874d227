"""A graph of ONNX operators under construction."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

OPSET, IR_VERSION = 17, 8
ML_DOMAIN, ML_OPSET = "ai.onnx.ml", 3
NUMBERS = {torch.float32: 1, torch.int64: 7, torch.int32: 6, torch.bool: 9, torch.float64: 11}  # ONNX's names of types


class Graph:
    """Collects nodes and constants; a value of the graph is known by its name.

    Attributes
    ----------
    n_rows : str
        The value that holds the number of rows, as a vector of one number; of the first input.
    """

    def __init__(self):
        self._nodes: list = []
        self._constants: dict[tuple, str] = {}
        self._initializers: list = []
        self._n = 0
        self.n_rows = ""

    def _name(self):
        self._n += 1
        return f"v{self._n}"

    def node(self, operator: str, *inputs: str, n_outputs: int = 1, **attributes):
        """Add a node; returns the name of its output, or the list of their names."""
        from onnx import helper

        outputs = [self._name() for _ in range(n_outputs)]
        self._nodes.append(helper.make_node(operator, list(inputs), outputs, **attributes))
        return outputs[0] if n_outputs == 1 else outputs

    def constant(self, value: Tensor | np.ndarray | Sequence[int] | float) -> str:
        """Add a constant; equal ones share a name."""
        from onnx import numpy_helper

        array = value.detach().cpu().numpy() if isinstance(value, Tensor) else np.asarray(value)
        key = array.dtype.str, array.shape, array.tobytes()
        if key not in self._constants:
            self._constants[key] = name = self._name()
            self._initializers.append(numpy_helper.from_array(np.ascontiguousarray(array).reshape(array.shape), name))
        return self._constants[key]

    def sizes(self, sizes: Sequence[int]) -> str:
        """A shape as a constant."""
        return self.constant(np.asarray(sizes, dtype=np.int64))

    def cast(self, name: str, dtype: torch.dtype) -> str:
        """A value in another type."""
        return self.node("Cast", name, to=NUMBERS[dtype])

    def labels(self, labels: np.ndarray, places: str) -> tuple[str, int]:
        """The labels at some places, and ONNX's name of their type."""
        from onnx import helper, numpy_helper

        array = labels.astype(object) if labels.dtype.kind in "OSU" else labels
        self._initializers.append(numpy_helper.from_array(array, name := self._name()))
        return self.node("Gather", name, places), helper.np_dtype_to_tensor_dtype(array.dtype)

    def model(self, inputs: dict[str, int], output: str, of: tuple[str, int, list], doc: str):
        """The finished model, checked.

        Parameters
        ----------
        inputs : dict of str to int
            Names, and the number of columns, zero for a vector.
        output : str
            Its name.
        of : tuple
            The value, ONNX's name of the type, and shape of the output.
        doc : str
        """
        import onnx
        from onnx import helper

        value, kind, shape = of
        self._nodes.append(helper.make_node("Identity", [value], [output]))
        into = [
            helper.make_tensor_value_info(name, NUMBERS[torch.float32], ["n", width] if width else ["n"])
            for name, width in inputs.items()
        ]
        out = [helper.make_tensor_value_info(output, kind, shape)]
        graph = helper.make_graph(self._nodes, "skflow", into, out, self._initializers, doc_string=doc)
        opsets = [helper.make_opsetid("", OPSET)]
        if any(node.domain == ML_DOMAIN for node in self._nodes):
            opsets.append(helper.make_opsetid(ML_DOMAIN, ML_OPSET))
        model = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="skflow")
        onnx.checker.check_model(model)
        return model
