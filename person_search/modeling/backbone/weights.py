"""Fit the stages of any backbone file to any model that holds stages of that backbone.

A person search model has stages in several places: the shared base, the identification net of the
embedder, the neck of MRFP (a second copy of res3). A weights file has each stage once, or is of
another model that has them in several places. Both sides are matched by a canonical name, ours and
detectron2's (``res4.0.conv1.norm.weight``). Names of public releases are brought to it by
:func:`canonical_name`.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import torch

from .split import SPLIT_ARCHITECTURE_REGISTRY, STAGES

# A norm belongs to its conv in detectron2, and stands beside it in public files.
_PUBLIC_LAYERS = {
    r"\bbn(\d)\.": r"conv\1.norm.",
    r"\bdownsample\.0\.": "shortcut.",
    r"\bdownsample\.1\.": "shortcut.norm.",
}


@dataclass
class StageFit:
    """What :func:`fit_stage_weights` found.

    Attributes:
        weights: model key -> tensor of the right shape.
        sources: model key -> key in the file.
        missing: model keys of stages that the file does not hold.
        misfit: model keys whose tensor in the file has another shape, with both shapes.
        surplus: file keys of layers that a stage of the model does not have: a deeper network's.
        doubled: file keys of a stage that the file holds in several places, and no rule says which.
        split_norms: how many IBN layers were filled from a plain norm layer.
    """

    weights: dict[str, torch.Tensor] = field(default_factory=dict)
    sources: dict[str, str] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    misfit: dict[str, str] = field(default_factory=dict)
    surplus: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    split_norms: int = 0


def _modules() -> dict[str, str]:
    """Module in a public weights file -> module of ours, for all architectures there are."""
    modules = {name: name for name in ("stem", *STAGES)}
    for _, architecture in SPLIT_ARCHITECTURE_REGISTRY:
        modules |= architecture.public_names
    return modules


def canonical_name(key: str, modules: Mapping[str, str] | None = None) -> tuple[str, str] | None:
    """(prefix, canonical name) of a key of any backbone; None of another key.

    "module.layer3.0.bn1.bias" gives ("module.", "res4.0.conv1.norm.bias"). The outermost part
    decides: in "stage2.0.conv1.weight" it is "stage2", not the "conv1" that is a ResNet's stem.

    Args:
        key: of a state dict.
        modules: names of stages and stem there -> ours; None: all that are known.
    """
    modules = _modules() if modules is None else modules
    parts = key.split(".")
    for start in range(len(parts) - 1):
        for end in (start + 2, start + 1):  # "conv1.0" before "conv1"
            ours = modules.get(".".join(parts[start:end]))
            if ours and end < len(parts):
                name = ".".join([ours, *parts[end:]])
                for public, layer in _PUBLIC_LAYERS.items():
                    name = re.sub(public, layer, name)
                return ".".join([*parts[:start], ""]), name
    return None


_OURS = {name: name for name in ("stem", *STAGES)}


def stage_name(key: str) -> str | None:
    """Canonical name of a key of ours that belongs to a stage or the stem, None for other keys."""
    named = canonical_name(key, _OURS)
    return named[1] if named else None


_TRUNK = ("", "backbone.", "base.")


def _rank(prefix: str) -> int:
    """Which of several places of a stage gives it to a model that has it elsewhere: the lowest."""
    if prefix in _TRUNK:
        return 0
    if prefix.endswith("reid.net."):  # where persons are told apart, before boxes are
        return 1
    return 3 if "pooler." in prefix else 2


def _index_by_name(file_state: Mapping[str, torch.Tensor]) -> tuple[dict[str, str], set[str]]:
    """Canonical name -> file key; and the names for which several keys of one rank differ."""
    index: dict[str, str] = {}
    ranks: dict[str, int] = {}
    doubled = set()
    for key, tensor in file_state.items():
        named = canonical_name(key)
        if named is None or not (named[0] in _TRUNK or key.endswith(named[1])):
            continue  # a stage of an unknown part of other code
        prefix, name = named
        rank = _rank(prefix)
        if name not in index or rank < ranks[name]:
            index[name], ranks[name] = key, rank
            doubled.discard(name)
        elif rank == ranks[name] and not torch.equal(tensor, file_state[index[name]]):
            doubled.add(name)
    return index, doubled


def _half_of_plain_norm(name: str, index: Mapping[str, str]) -> tuple[str, int] | None:
    """For an IBN key whose file has a plain norm: (file key, which half). Else None."""
    match = re.match(r"^(.*\.norm)\.(IN|BN)\.(\w+)$", name)
    if match and (plain := f"{match.group(1)}.{match.group(3)}") in index:
        return index[plain], 0 if match.group(2) == "IN" else 1
    return None


def fit_stage_weights(
    model_state: Mapping[str, torch.Tensor], file_state: Mapping[str, torch.Tensor]
) -> StageFit:
    """Find a tensor for every key of a model that belongs to a stage.

    A key that the file holds under its own name takes that one. Other keys are matched by their
    canonical name; one that stands in the file several times is taken from the backbone, else from
    the identification net. An IBN layer may be filled from a plain norm layer: the instance norm
    takes the affine parameters of the first half of the channels, the batch norm all of the second
    half.

    Args:
        model_state: ``model.state_dict()``.
        file_state: the tensors of a weights file.
    """
    fit = StageFit()
    index, doubled = _index_by_name(file_state)
    for key, wanted in model_state.items():
        name = stage_name(key)
        if name is None or key.endswith("num_batches_tracked"):
            continue
        source, half = key, None
        if key not in file_state:
            source = index.get(name)
            if name in doubled:
                fit.doubled.append(source)
            if source is None:
                source, half = _half_of_plain_norm(name, index) or (None, None)
        if source is None:
            fit.missing.append(key)
            continue
        tensor = file_state[source]
        if half is not None:
            middle = len(tensor) // 2
            tensor = tensor[:middle] if half == 0 else tensor[middle:]
            fit.split_norms += key.endswith("norm.IN.weight")
        if tensor.shape != wanted.shape:
            fit.misfit[key] = f"{tuple(tensor.shape)} in the file, {tuple(wanted.shape)} here"
            continue
        fit.weights[key], fit.sources[key] = tensor, source
    fit.surplus = _surplus(filter(None, map(stage_name, model_state)), index)
    return fit


def _surplus(model_names: Iterable[str], index: Mapping[str, str]) -> list[str]:
    """File keys whose stage the model has, but whose layer it has not."""
    layers = {
        ".".join(parts[:end])
        for parts in (name.split(".") for name in model_names)
        for end in range(1, len(parts))
    }
    return [
        key
        for name, key in index.items()
        if name.split(".")[0] in layers.intersection(STAGES)
        and name.rpartition(".")[0] not in layers
    ]
