"""Estimators as ONNX graphs: what each of their methods does to rows, written in torch."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import torch
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from ..flows.distributions.gaussian_mixture import GaussianMixture
from ..flows.distributions.normal import StandardNormal
from ..flows.flow import Flow
from ..persistence.atomic import write_atomically
from ..persistence.onnx.dense import dense, largest_size
from ..persistence.onnx.trace import traced
from ..utils.global_settings import shield
from ..utils.version import __version__
from .classifier import FlowClassifier
from .density import FlowDensity
from .outlier import FlowOutlierDetector
from .regressor import FlowRegressor

METHODS = {
    FlowDensity: ("score_samples", "transform", "sample"),
    FlowOutlierDetector: ("score_samples", "predict"),
    FlowClassifier: ("score_samples", "predict", "predict_proba"),
    FlowRegressor: ("score_samples",),
}


@shield()
def export_onnx(estimator: Any, path: str | os.PathLike, method: str = "score_samples") -> None:
    """Write a method of a fitted estimator as an ONNX graph, which onnxruntime runs without torch or skflow.

    The graph takes float32 rows in the units of the data, as many as one likes; bounds and preprocessing are inside. It
    is exact to about 1e-5, the rounding of single precision. It needs the package onnx.

    Parameters
    ----------
    estimator : FlowDensity, FlowOutlierDetector, FlowClassifier or FlowRegressor
        Fitted.
    path : path-like
        By custom with the ending ``.onnx``.
    method : {"score_samples", "predict", "predict_proba", "transform", "sample"}, default="score_samples"
        What the graph does with its input ``X`` of shape (n, d), under the name of its output:

        - "score_samples": the log-density, or the detector's score, of shape (n,); a regressor's graph has the targets
          as a second input ``y``, of shape (n,) or (n, n_targets) as in `fit`;
        - "predict": the detector's labels, 1 and -1, of shape (n,), int64, or the classifier's, of the type of
          `classes_`;
        - "predict_proba": probabilities of the classes, of shape (n, n_classes);
        - "transform": latent rows, of shape (n, d);
        - "sample": rows of the density. Random numbers are the caller's: the inputs are ``Z`` of shape (n, d), standard
          normal, and where the base is a mixture ``U`` of shape (n,), uniform on [0, 1), which picks the component.

    Raises
    ------
    NotImplementedError
        For what no graph can follow: "predict" of `FlowRegressor`, an integral over the inverse of its flows; "sample"
        of it and of `FlowClassifier`; "sample" of flows whose inverse is found by iteration ("made-mog", "maf-mog",
        "naf", "bpf", "sos", "gaussianization", "planar", "sylvester"), of a Student t base and of
        ``ordering="agnostic"``; "transform" of a Student t base.
    ValueError
        For a method that the estimator does not have.

    Examples
    --------
    >>> import numpy as np, tempfile, skflow
    >>> X = np.random.RandomState(0).randn(100, 2)
    >>> density = skflow.FlowDensity(max_iter=5, random_state=0).fit(X)
    >>> with tempfile.TemporaryDirectory() as folder:  # doctest: +SKIP
    ...     skflow.export_onnx(density, f"{folder}/density.onnx")
    ...     session = onnxruntime.InferenceSession(f"{folder}/density.onnx")
    ...     (scores,) = session.run(None, {"X": X.astype(np.float32)})
    """
    can = next((METHODS[cls] for cls in METHODS if isinstance(estimator, cls)), ())
    if method not in can:
        error = NotImplementedError if callable(getattr(estimator, method, None)) else ValueError
        raise error(f"method={method!r} of {type(estimator).__name__} can't be exported: {list(can)} can.")
    check_is_fitted(estimator, "flow_")
    flow = (
        dense(estimator.flow_, double=isinstance(estimator, FlowRegressor))
        .to(device="cpu", dtype=torch.float32)
        .requires_grad_(False)
    )
    inputs, labels = {"X": estimator.n_features_in_}, None
    if method == "sample":
        function, inputs = _sample(flow, estimator.n_features_in_)
    elif isinstance(estimator, FlowRegressor):
        function, inputs = _conditional(estimator, flow)
    elif method == "predict" and isinstance(estimator, FlowClassifier):
        function, labels = _class(estimator, flow), estimator.classes_
    else:
        functions = {"score_samples": _score, "predict": _predict, "predict_proba": _proba, "transform": _transform}
        function = functions[method](estimator, flow)
    largest = max(1000, largest_size(flow), largest_size(getattr(estimator, "_location", flow)))
    doc = f"{method} of {type(estimator).__name__}, written by skflow {__version__}"
    model = traced(function, inputs, largest, method, doc, labels)
    write_atomically(path, [model.SerializeToString()])


def _score(estimator, flow) -> Callable[[Tensor], Tensor]:
    if getattr(estimator, "criterion", None) == "typicality":
        typical = estimator._typical_log_density
        return lambda x: -(flow.log_prob(x) - typical).abs()
    return flow.log_prob


def _predict(estimator, flow):
    score = _score(estimator, flow)
    return lambda x: torch.where(score(x) - estimator.offset_ < 0, -1, 1)


def _conditional(estimator, flow):
    """The log-density of targets given features, and what the inputs are."""
    location, one_dimensional = dense(estimator._location).cpu(), estimator._one_dimensional

    def score(x, y):
        context = torch.cat([location(x.double()), x.double()], 1)
        return flow.log_prob(y[:, None] if one_dimensional else y, context)

    return score, {"X": estimator.n_features_in_, "y": 0 if one_dimensional else estimator.n_targets_}


def _proba(estimator, flow):
    mixture = flow.base
    return lambda x: mixture.posterior(mixture.class_log_prob(flow.bijection(x)[0])).exp()


def _class(estimator, flow):
    """The place of the most probable class among all."""
    proba = _proba(estimator, flow)
    return lambda x: proba(x).argmax(1)


def _transform(estimator, flow):
    return flow.to_latent


def _sample(flow, d):
    """The flow's inverse of a row of the base, and what random numbers that is made of."""
    if type(flow) is not Flow:
        raise NotImplementedError("A mean over orderings can't be sampled from by one graph: fit another ordering.")
    if type(flow.base) is StandardNormal:
        return lambda z: flow.bijection.inverse(z)[0], {"Z": d}
    if type(flow.base) is not GaussianMixture:
        name = type(flow.base).__name__
        raise NotImplementedError(f"Rows of a {name} base are not made of normal numbers by a graph: fit another base.")
    base = flow.base

    def draw(noise, uniform):
        ends = torch.softmax(base.logits, 0).cumsum(0)[:-1]
        component = (uniform[:, None] >= ends).sum(1)
        factors = torch.linalg.inv(base._factors())
        z = noise @ factors.mT + base.means[:, None]
        chosen = component == torch.arange(len(base.means))[:, None]
        return flow.bijection.inverse((z * chosen[:, :, None]).sum(0))[0]

    return draw, {"Z": d, "U": 0}
