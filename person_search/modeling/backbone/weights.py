"""Fit the weights of any ResNet file to any model that holds ResNet stages.

A person search model has stages in several places: the shared base, the identification net of the
re-ID branch, the neck of MRFP (a second copy of res3). A weights file has each stage once, under
the names of torchvision, IBN-Net, detectron2 or of a model of ours. Both sides are reduced to one
canonical name, detectron2's (``res4.0.conv1.norm.weight``), and matched by it.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import torch

# "roi_heads.reid.net.res4.0.conv1.weight" -> ("roi_heads.reid.net.", "res4.0.conv1.weight")
_STAGE_KEY = re.compile(r"^(.*?)((?:stem\.conv1|res[2-5]\.\d+)\..+)$")
_TORCHVISION_STEM = re.compile(r"^(.*?)(conv1|bn1)\.([^.]+)$")
_TORCHVISION_BLOCK = re.compile(
    r"^(.*?)layer([1-4])\.(\d+)\.(conv\d|bn\d|downsample\.0|downsample\.1)\.(.+)$"
)


@dataclass
class ResNetFit:
    """What :func:`fit_resnet_weights` found.

    Attributes:
        weights: model key -> tensor of the right shape.
        sources: model key -> key in the file.
        missing: model keys of ResNet stages that the file does not hold.
        misfit: model keys whose tensor in the file has another shape, with both shapes.
        surplus: file keys of blocks that a stage of the model does not have: a deeper network's.
        split_norms: how many IBN layers were filled from a plain norm layer.
    """

    weights: dict[str, torch.Tensor] = field(default_factory=dict)
    sources: dict[str, str] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    misfit: dict[str, str] = field(default_factory=dict)
    surplus: list[str] = field(default_factory=list)
    split_norms: int = 0


def stage_name(key: str) -> str | None:
    """Canonical name of a model key that belongs to a ResNet stage, None for other keys."""
    match = _STAGE_KEY.match(key)
    return match.group(2) if match else None


def _canonical(key: str) -> tuple[str, str] | None:
    """(prefix, canonical name) of a key of a weights file; None where it is no ResNet's."""
    if match := _STAGE_KEY.match(key):
        return match.group(1), match.group(2)
    if match := _TORCHVISION_BLOCK.match(key):
        prefix, stage, block, layer, rest = match.groups()
        layer = layer.replace("downsample.0", "shortcut").replace("downsample.1", "shortcut.norm")
        layer = re.sub(r"^bn(\d)$", r"conv\1.norm", layer)
        return prefix, f"res{int(stage) + 1}.{block}.{layer}.{rest}"
    if match := _TORCHVISION_STEM.match(key):
        prefix, layer, rest = match.groups()
        return prefix, f"stem.{'conv1' if layer == 'conv1' else 'conv1.norm'}.{rest}"
    return None


def _index_by_name(file_keys: Iterable[str]) -> dict[str, str]:
    """Canonical name -> file key. The backbone wins over copies such as the neck of MRFP."""
    index: dict[str, str] = {}
    rank: dict[str, int] = {}
    for key in file_keys:
        named = _canonical(key)
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


def fit_resnet_weights(
    model_state: Mapping[str, torch.Tensor], file_state: Mapping[str, torch.Tensor]
) -> ResNetFit:
    """Find a tensor for every ResNet key of a model.

    A key that the file holds under its own name takes that one. Other keys are matched by their
    canonical name. An IBN layer may be filled from a plain norm layer: the instance norm takes the
    affine parameters of the first half of the channels, the batch norm all of the second half.

    Args:
        model_state: ``model.state_dict()``.
        file_state: the tensors of a weights file.
    """
    fit = ResNetFit()
    index = _index_by_name(file_state)
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
    """File keys whose stage the model has, but whose block it has not."""
    blocks = {_block(name) for name in model_names}
    stages = {stage for stage, _ in blocks}
    return [
        key
        for name, key in index.items()
        if _block(name)[0] in stages and _block(name) not in blocks
    ]


def _block(name: str) -> tuple[str, str]:
    """"res4.0.conv1.weight" -> ("res4", "0")."""
    stage, block, *_ = name.split(".")
    return stage, block
