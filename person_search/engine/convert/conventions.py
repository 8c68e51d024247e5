"""Conventions that belong to weights: pixels, strides, anchors, RoIs.

They are config keys. A model is built before its weights are loaded, so a config adopts those of
its weights file first; whoever builds a model without that is refused by the checkpointer where
they differ.
"""

import logging
from collections.abc import Iterable, Mapping
from functools import reduce
from operator import getitem
from typing import Any

from detectron2.config import CfgNode
from detectron2.layers import ROIAlign
from detectron2.modeling.anchor_generator import DefaultAnchorGenerator
from detectron2.modeling.backbone.resnet import BottleneckBlock
from detectron2.utils.file_io import PathManager
from torch import nn

from person_search.errors import ConfigError, WeightsError
from person_search.modeling.backbone.resnet import CeilStem
from person_search.modeling.roi_heads.shared_heads import SharedROIHeads

from ..weights_file import read_weights_file
from .recognize import recognize
from .recognized import Recognized

logger = logging.getLogger(__name__)


def adopt_conventions(cfg: CfgNode, *weights: str, explicit: Iterable[str] = ()) -> None:
    """Set a config to the conventions of its weights, and say which keys changed.

    Args:
        cfg: not frozen; the model is to be built from it.
        weights: paths or addresses of files: the first that can be read counts. What is wrong with
            the others, the checkpointer says.
        explicit: keys that the user gave a value, which are not changed.

    Raises:
        ConfigError: one of these has another value than the weights were trained with.
    """
    path, file = _first_readable(weights)
    for key, value in file.conventions.items() if file and file.state else ():
        node = reduce(getitem, key.split("."), cfg)
        if is_same(node, value):
            continue
        if key in explicit:
            raise ConfigError(
                f"{key} is {node!r}, but {path} was trained with {value!r}: leave the key out, or "
                "choose other weights"
            )
        try:
            cfg.merge_from_list([key, value])
        except ValueError as error:  # of another type
            raise ConfigError(f"{path} was trained with {key} {value!r}: {error}") from error
        logger.info("%s: %s, as %s was trained with", key, value, path)


def _first_readable(weights: Iterable[str]) -> tuple[str, Recognized | None]:
    for path in filter(None, weights):
        try:
            return path, recognize(
                read_weights_file(PathManager.get_local_path(path.split("?")[0]))
            )
        except (OSError, AssertionError, WeightsError):  # of the network, of iopath, of the file
            continue
    return "", None


def conventions_of(model: nn.Module) -> dict[str, Any]:
    """The conventions that a model was built with, of those parts that it has.

    ``INPUT.RESIZE`` is not among them: it is no part of a model. Nor are strides of res5 and the
    ratios of anchors, which are left to the config.
    """
    found: dict[str, Any] = {}
    if getattr(model, "input_format", None):
        found["INPUT.FORMAT"] = model.input_format
    for name in ("pixel_mean", "pixel_std"):
        if hasattr(model, name):
            values = getattr(model, name).flatten().tolist()
            found[f"MODEL.{name.upper()}"] = [round(value, 3) for value in values]
    if hasattr(model, "backbone"):
        found["MODEL.BACKBONE.SIZE_DIVISIBILITY"] = model.backbone.size_divisibility
        ceil = any(isinstance(module, CeilStem) for module in model.backbone.modules())
        found["MODEL.RESNETS.STEM_POOLING"] = "ceil" if ceil else "padded"
    if isinstance(getattr(model, "roi_heads", None), SharedROIHeads):
        found["MODEL.REID.EMBED_REFINED_BOXES"] = model.roi_heads.embed_refined
        found["MODEL.REID.GLOBAL_POOLING"] = model.roi_heads.pool.kind
    for name, module in model.named_modules():
        if isinstance(module, BottleneckBlock) and module.conv1.stride != module.conv2.stride:
            found["MODEL.RESNETS.STRIDE_IN_1X1"] = module.conv1.stride > module.conv2.stride
        elif isinstance(module, DefaultAnchorGenerator):
            found["MODEL.ANCHOR_GENERATOR.NAME"] = type(module).__name__
            found["MODEL.ANCHOR_GENERATOR.OFFSET"] = module.offset
            found["MODEL.ANCHOR_GENERATOR.SIZES"] = [_sizes(x) for x in module.cell_anchors]
        elif isinstance(module, ROIAlign):
            part = "REID" if "reid." in name else "ROI_BOX_HEAD"
            kind = "ROIAlignV2" if module.aligned else "ROIAlign"
            found[f"MODEL.{part}.POOLER_TYPE"] = kind
            size = tuple(module.output_size)
            found[f"MODEL.{part}.POOLER_RESOLUTION"] = size if part == "REID" else size[0]
            found[f"MODEL.{part}.POOLER_SAMPLING_RATIO"] = module.sampling_ratio
    return found


def _sizes(anchors) -> list[int]:
    """Sides of the squares that are as large as the (n, 4) xyxy anchors; each once.

    Anchors of whole pixels are up to 2 % off: those are one size.
    """
    width, height = (anchors[:, 2:] - anchors[:, :2]).unbind(dim=1)
    sizes: list[int] = []
    for side in sorted((width * height).sqrt().tolist()):
        if not sizes or side > 1.02 * sizes[-1]:
            sizes.append(round(side))
    return sizes


def differing(wanted: Mapping[str, Any], found: Mapping[str, Any]) -> dict[str, Any]:
    """Those of ``wanted`` that are otherwise in ``found``, which may lack some."""
    return {k: v for k, v in wanted.items() if k in found and not is_same(v, found[k])}


def is_same(a: Any, b: Any) -> bool:
    """Whether two values of a key mean the same: lists and tuples are alike."""
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return len(a) == len(b) and all(map(is_same, a, b))
    numbers = all(isinstance(x, int | float) and not isinstance(x, bool) for x in (a, b))
    return abs(a - b) < 1e-3 if numbers else a == b
