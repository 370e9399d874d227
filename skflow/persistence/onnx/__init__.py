"""Scoring without torch: a fitted flow as a graph of ONNX operators."""
