"""Fit the weights of any backbone file to any model that holds stages of that backbone.

A person search model has stages in several places: the shared base, the identification net of the
re-ID branch, the neck of MRFP (a second copy of res3). A weights file has each stage once, under
the names of a public release, of detectron2 or of a model of ours. Both sides are reduced to one
canonical name, ours and detectron2's (``res4.0.conv1.norm.weight``), and matched by it.
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
        split_norms: how many IBN layers were filled from a plain norm layer.
    """

    weights: dict[str, torch.Tensor] = field(default_factory=dict)
    sources: dict[str, str] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    misfit: dict[str, str] = field(default_factory=dict)
    surplus: list[str] = field(default_factory=list)
    split_norms: int = 0


def _stage_modules() -> dict[str, str]:
    """Module in a weights file -> module of ours, for all architectures there are."""
    modules = {name: name for name in ("stem", *STAGES)}
    for _, architecture in SPLIT_ARCHITECTURE_REGISTRY:
        modules |= architecture.public_names
    return modules


def _canonical(key: str, modules: Mapping[str, str]) -> tuple[str, str] | None:
    """(prefix, canonical name) of a key; None where no part of it is among ``modules``.

    The outermost part decides: in "stage2.0.conv1.weight" it is "stage2", not the "conv1" that is
    the stem of a ResNet.
    """
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


def stage_name(key: str) -> str | None:
    """Canonical name of a model key that belongs to a stage or the stem, None for other keys."""
    named = _canonical(key, {name: name for name in ("stem", *STAGES)})
    return named[1] if named else None


def _index_by_name(file_keys: Iterable[str]) -> dict[str, str]:
    """Canonical name -> file key. The backbone wins over copies such as the neck of MRFP."""
    modules = _stage_modules()
    index: dict[str, str] = {}
    rank: dict[str, int] = {}
    for key in file_keys:
        named = _canonical(key, modules)
        if named is None:
            continue
        prefix, name = named
        priority = 0 if prefix in ("", "backbone.", "base.") else 2 if "pooler." in prefix else 1
        if name not in index or priority < rank[name]:
            index[name], rank[name] = key, priority
    return index


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
    canonical name. An IBN layer may be filled from a plain norm layer: the instance norm takes the
    affine parameters of the first half of the channels, the batch norm all of the second half.

    Args:
        model_state: ``model.state_dict()``.
        file_state: the tensors of a weights file.
    """
    fit = StageFit()
    # What the model knows by name and holds outside of its stages is no public backbone.
    index = _index_by_name(k for k in file_state if k not in model_state or stage_name(k))
    for key, wanted in model_state.items():
        name = stage_name(key)
        if name is None or key.endswith("num_batches_tracked"):
            continue
        source, half = key, None
        if key not in file_state:
            source = index.get(name)
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
