"""An estimator as a document: class, parameters, fitted attributes, and what it has been told of metadata."""

from __future__ import annotations

import inspect
import os
from typing import Any

from sklearn import config_context

from .attributes import checked
from .errors import FileFormatError
from .registry import ESTIMATORS
from .tensors import Reader, Writer
from .values import decoded, encoded

CALLABLE = {"kind": "callable"}  # stands for a flow that is built by code of the user's
LEFT_OUT = {
    "_skl_callbacks",
    "_callback_fit_ctx",
    "_skl_callbacks_to_teardown",
}  # they watch a fit and are no part of it
REQUESTS = "_metadata_request"


def document_of(estimator: Any, to: Writer) -> dict:
    """Everything about an estimator in JSON, but for its tensors, which go to the writer.

    Raises
    ------
    TypeError
        Names what can't be kept.
    """
    name = type(estimator).__name__
    entry = ESTIMATORS.get(name)
    if entry is None or entry.cls is not type(estimator):
        raise TypeError(f"{type(estimator).__qualname__} can't be saved: only {sorted(ESTIMATORS)} can.")
    parameters = estimator.get_params(deep=False)
    kinds = {**entry.fitted, **entry.more}
    attributes = {k: v for k, v in vars(estimator).items() if k not in {*parameters, *LEFT_OUT, REQUESTS}}
    for attribute, value in attributes.items():
        if attribute not in kinds or not kinds[attribute](value):
            raise TypeError(
                f"The attribute {attribute!r} of {name} was not set by a fit, and can't be saved: delete it."
            )
    return {
        "class": name,
        "parameters": {
            key: CALLABLE if key == "flow" and callable(value) else encoded(_plain(value), to, key)
            for key, value in parameters.items()
        },
        "attributes": {key: encoded(value, to, key) for key, value in attributes.items()},
        "requests": _requests_of(estimator),
    }


def _plain(value):
    return os.fspath(value) if isinstance(value, os.PathLike) else value


def estimator_of(document: Any, source: Reader, flow: Any = None) -> Any:
    """The inverse of `document_of`.

    Parameters
    ----------
    document : dict
    source : Reader
    flow : callable, optional
        The parameter of that name, where it is no name.

    Raises
    ------
    FileFormatError
    """
    keys = {"class", "parameters", "attributes", "requests"}
    if not isinstance(document, dict) or document.keys() != keys:
        raise FileFormatError(f"The document of the estimator must have the parts {sorted(keys)}.")
    name = document["class"]
    if not isinstance(name, str) or name not in ESTIMATORS:
        raise FileFormatError(f"The file holds a {str(name)[:50]!r}; skflow loads {sorted(ESTIMATORS)}.")
    if not all(isinstance(document[key], dict) for key in keys - {"class"}):
        raise FileFormatError("Parameters, attributes and requests of the estimator must be given by name.")
    entry = ESTIMATORS[name]
    estimator = _unfitted(entry.cls, document["parameters"], source, flow)
    attributes = {key: decoded(value, source) for key, value in document["attributes"].items()}
    checked(name, attributes, {**entry.fitted, **entry.more})
    missing = entry.fitted.keys() - attributes.keys()
    if missing and len(missing) < len(entry.fitted):
        raise FileFormatError(f"The {name} of the file lacks the attribute {min(missing)!r}.")
    source.finish()
    vars(estimator).update(attributes)
    if not missing and (contradiction := entry.agree(estimator)):
        raise FileFormatError(f"The {name} of the file contradicts itself: {contradiction}.")
    _request(estimator, document["requests"])
    return estimator


def _unfitted(cls, parameters, source, flow):
    known = inspect.signature(cls).parameters
    if not parameters.keys() <= known.keys():
        unknown = min(parameters.keys() - known.keys())
        raise FileFormatError(f"{cls.__name__} has no parameter {unknown[:100]!r}.")
    by_code = parameters.get("flow") == CALLABLE
    if by_code and flow is None:
        raise FileFormatError(
            "The flow of this estimator is built by code, which is not in the file: load(path, flow=...) with the "
            "function that it was fitted with."
        )
    if flow is not None and not (by_code and callable(flow)):
        raise ValueError("flow= is for files of estimators whose flow is built by a function, and has to be that.")
    values = {key: flow if value == CALLABLE else decoded(value, source) for key, value in parameters.items()}
    try:
        estimator = cls(**values)
        estimator._validate_params()
    except (ValueError, TypeError) as error:
        raise FileFormatError(f"The parameters in the file are not valid: {str(error)[:500]}") from error
    return estimator


def _requests_of(estimator):
    """By method, what ``set_fit_request`` and its like have been told."""
    found = getattr(estimator, REQUESTS, None)
    if found is None:
        return {}
    methods = {method: getattr(one, "requests", {}) for method, one in vars(found).items()}
    return {method: dict(requests) for method, requests in methods.items() if requests}


def _request(estimator, requests):
    with config_context(enable_metadata_routing=True):
        for method, request in requests.items():
            tell = getattr(estimator, f"set_{method}_request", None)
            try:
                tell(**request)
            except (TypeError, ValueError) as error:
                raise FileFormatError(f"The file requests metadata that {method[:50]!r} does not take.") from error
