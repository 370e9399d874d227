"""What each of torch's operators is in ONNX: one row an operator.

A function of the table takes the tracer and the operator's own arguments, and returns the name of the result.
"""

from . import elementwise, functions, picking, products, reductions, shapes, trees  # noqa: F401 - they fill the table
from .table import OPERATORS

__all__ = ["OPERATORS"]
