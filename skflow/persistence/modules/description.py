"""A module as JSON, with all that is in it; and back."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from ...flows.bijections.embedded_context import EmbeddedContext
from ...flows.regression.stacking import StackedRegression
from ...flows.univariate.univariate import Univariate
from ..container import MAX_DEPTH
from ..errors import FileFormatError
from ..tensors import Reader, Writer
from .node import UNIVARIATE, Node, Sizes, require
from .rules import RULES
from .univariate import built_univariate, described_univariate


def described(module: nn.Module, to: Writer, what: str) -> dict:
    """A module as JSON; its tensors go to the writer.

    Raises
    ------
    TypeError
        Names the class that is not in the table.
    """
    name = type(module).__name__
    if name not in RULES or type(module) is not RULES[name][0]:
        raise TypeError(
            f"{what} is built of a {type(module).__module__}.{type(module).__qualname__}, which skflow can't build "
            "again from a file without running code of yours: pickle the estimator, or use skflow's own modules alone."
        )
    rule = RULES[name][1]
    within = {attribute: getattr(module, attribute) for attribute in rule.modules}
    out: dict[str, Any] = {"class": name, "config": rule.config(module)}
    if isinstance(getattr(module, UNIVARIATE, None), Univariate):
        out[UNIVARIATE] = described_univariate(module.univariate, what)
    if within:
        out["modules"] = {
            attribute: (
                [described(m, to, f"{what}.{attribute}.{i}") for i, m in enumerate(child)]
                if isinstance(child, nn.ModuleList)
                else None
                if child is None
                else described(child, to, f"{what}.{attribute}")
            )
            for attribute, child in within.items()
        }
    own = _own_tensors(module, rule)
    out["tensors"] = {key: to.keep(tensor, f"{what}.{key}") for key, tensor in own.items()}
    frozen = [key for key, tensor in own.items() if isinstance(tensor, nn.Parameter) and not tensor.requires_grad]
    if frozen:
        out["frozen"] = frozen
    return out


def built(description: Any, source: Reader) -> nn.Module:
    """The inverse of `described`.

    Raises
    ------
    FileFormatError
    """
    with torch.random.fork_rng(devices=[]):
        return _built(description, source, Sizes(), 0)


def _built(description, source, sizes, depth):
    require(depth <= MAX_DEPTH, "they are nested too deep")
    require(isinstance(description, dict), "a module has no description")
    name, config = description.get("class"), description.get("config")
    require(isinstance(name, str) and name in RULES, f"{str(name)[:50]!r} is no class that skflow builds from files")
    cls, rule = RULES[name]
    univariate = UNIVARIATE in description
    keys = {"class", "config", "tensors", *(["modules"] if rule.modules else []), *([UNIVARIATE] if univariate else [])}
    require(description.keys() - {"frozen"} == keys, f"{name} has other parts than {sorted(keys)}")
    require(isinstance(config, dict) and isinstance(description["tensors"], dict), f"{name} has no config")
    tensors = {key: source.tensor(tensor) for key, tensor in description["tensors"].items()}
    if cls is StackedRegression and "shift" in tensors:  # trees have no other sign of how many features there are
        sizes.agree(tensors["shift"].numel())
    sizes_within = Sizes(sizes.n_features) if cls is EmbeddedContext else sizes
    within, own = _built_within(name, description.get("modules", {}), rule, source, sizes_within, depth)
    if univariate:
        within[UNIVARIATE] = built_univariate(description[UNIVARIATE])
    try:
        module = rule.build(Node(config, within, tensors, sizes, sizes_within, own))
    except KeyError as error:
        raise FileFormatError(f"A {name} of the file lacks {error}.") from error
    _set_tensors(module, rule, tensors, description.get("frozen", []))
    return module


def _built_within(name, description, rule, source, sizes, depth):
    require(isinstance(description, dict) and description.keys() == set(rule.modules), f"{name} lacks modules")
    within: dict[str, Any] = {}
    apart: dict[str, list[Sizes]] = {}
    for attribute, child in description.items():
        if attribute in rule.own:
            parts = child if isinstance(child, list) else [] if child is None else [child]
            apart[attribute] = [Sizes() for _ in parts]
            made = [_built(one, source, own, depth + 1) for one, own in zip(parts, apart[attribute])]
            within[attribute] = made if isinstance(child, list) else made[0] if made else None
            continue
        own = Sizes(sizes.n_context, 0) if RULES[name][0] is EmbeddedContext and attribute == "embedding" else sizes
        if isinstance(child, list):
            within[attribute] = [_built(one, source, own, depth + 1) for one in child]
        else:
            within[attribute] = _built(child, source, own, depth + 1)
        if own is not sizes:
            sizes.agree(n_context=own.n_features)
    return within, apart


def _own_tensors(module, rule):
    """Parameters and buffers that are kept, but for those of the modules within that have a description themselves."""
    found = {}

    def add(part, prefix, but=()):
        for key, tensor in (*part._parameters.items(), *part._buffers.items()):
            if tensor is not None and key not in part._non_persistent_buffers_set:
                found[prefix + key] = tensor
        for name, child in part._modules.items():
            if child is not None and name not in but:
                add(child, f"{prefix}{name}.")

    add(module, "", rule.modules)
    return {key: tensor for key, tensor in found.items() if key not in rule.derived}


@torch.no_grad()
def _set_tensors(module, rule, tensors, frozen):
    own = _own_tensors(module, rule)
    name = type(module).__name__
    require(own.keys() == tensors.keys(), f"{name} has the tensors {sorted(own)}")
    require(isinstance(frozen, list) and all(key in own for key in frozen), f"{name} has no {str(frozen)[:50]}")
    for key, tensor in tensors.items():
        holder, _, attribute = key.rpartition(".")
        holder, old = module.get_submodule(holder), own[key]
        require(old.shape == tensor.shape, f"{key!r} of {name} has the shape {list(tensor.shape)}")
        floating = old.dtype.is_floating_point and tensor.dtype in (torch.float32, torch.float64)
        require(floating or old.dtype == tensor.dtype, f"{key!r} of {name} is of {tensor.dtype}")
        if isinstance(old, nn.Parameter):
            setattr(holder, attribute, nn.Parameter(tensor, requires_grad=key not in frozen))
        else:
            setattr(holder, attribute, tensor)
    # Buffers that are not kept take the precision of what they stand beside, once for every module.
    for part in [module] if rule.modules else module.modules():
        for key in part._non_persistent_buffers_set:
            buffer = getattr(part, key)
            if buffer.dtype.is_floating_point:
                setattr(part, key, buffer.to(next(part.parameters(recurse=False))))
