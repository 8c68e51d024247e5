"""Whether a public file fits a model: all its tensors, and its conventions."""

import logging
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from detectron2.layers import ROIAlign
from detectron2.modeling.anchor_generator import DefaultAnchorGenerator
from detectron2.modeling.backbone.resnet import BottleneckBlock
from torch import nn

from person_search.errors import WeightsError

from .public import PublicFile

logger = logging.getLogger(__name__)

COUNTER = "num_batches_tracked"  # of batch norms; plays no part, and old files lack it


def conventions_of(model: nn.Module) -> dict[str, Any]:
    """The conventions of pixels, strides, anchors and RoIs that a model was built with.

    Returns:
        Config keys and values, of those parts that the model has.
    """
    found: dict[str, Any] = {}
    if getattr(model, "input_format", None):
        found["INPUT.FORMAT"] = model.input_format
    for name, key in (("pixel_mean", "MODEL.PIXEL_MEAN"), ("pixel_std", "MODEL.PIXEL_STD")):
        if hasattr(model, name):
            found[key] = getattr(model, name).flatten().tolist()
    if hasattr(model, "backbone"):
        found["MODEL.BACKBONE.SIZE_DIVISIBILITY"] = model.backbone.size_divisibility
        for module in model.backbone.modules():
            if isinstance(module, BottleneckBlock) and module.conv1.stride != module.conv2.stride:
                found["MODEL.RESNETS.STRIDE_IN_1X1"] = module.conv1.stride > module.conv2.stride
    for module in model.modules():
        if isinstance(module, DefaultAnchorGenerator):
            found["MODEL.ANCHOR_GENERATOR.NAME"] = type(module).__name__
            found["MODEL.ANCHOR_GENERATOR.OFFSET"] = module.offset
    for name, module in model.named_modules():
        if isinstance(module, ROIAlign):
            part = "REID" if "reid." in name else "ROI_BOX_HEAD"
            kind = "ROIAlignV2" if module.aligned else "ROIAlign"
            found[f"MODEL.{part}.POOLER_TYPE"] = kind
            found[f"MODEL.{part}.POOLER_SAMPLING_RATIO"] = module.sampling_ratio
    return found | getattr(model, "conventions", {})


def differing(wanted: Mapping[str, Any], found: Mapping[str, Any]) -> dict[str, Any]:
    """Those of ``wanted`` that are otherwise in ``found``, which may lack some."""
    return {k: v for k, v in wanted.items() if k in found and not _same(v, found[k])}


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(_same, a, b))
    return a == b if isinstance(a, str | bool) else abs(a - b) < 1e-3


def refuse_misfit(public: PublicFile, model: nn.Module, optional: tuple[str, ...]) -> None:
    """Refuse a public file that is not this model's, and say what of it is left out.

    Args:
        public: converted.
        model: what it is to be loaded into.
        optional: beginnings of keys that the model can do without.

    Raises:
        WeightsError: a whole model that is not this one, or other conventions.
    """
    here = conventions_of(model)
    otherwise = differing(public.conventions, here)
    fits = f" What fits it: {public.fits}" * bool(public.fits)
    said = f"the weights file is {public.kind}"
    if otherwise:
        trained = ", ".join(f"{key} {value}" for key, value in otherwise.items())
        built = ", ".join(str(here[key]) for key in otherwise)
        said += f", trained with {trained} (this model: {built})"
    if not public.state:
        raise WeightsError(f"{said}. It cannot be loaded: {public.fits}")
    if public.whole:
        _refuse_another_model(public, model, optional, said, fits)
    if otherwise:
        raise WeightsError(
            f"{said}. train_net.py, the gallery and tools/convert_weights.py set these keys by "
            f"themselves; elsewhere, call adopt_conventions before the model is built.{fits}"
        )
    logger.info("weights: the file is %s, converted in memory", public.kind)
    if public.left_out:
        logger.info("weights: of the file, left out: %s", _modules(public.left_out))


def _refuse_another_model(
    public: PublicFile, model: nn.Module, optional: tuple[str, ...], said: str, fits: str
) -> None:
    state = model.state_dict()
    needed = [
        key
        for key in state
        if not key.startswith((*optional, *public.fresh)) and not key.endswith(COUNTER)
    ]
    shapes = [k for k, v in public.state.items() if k in state and state[k].shape != v.shape]
    for keys, what in (
        (
            [k for k in public.state if k not in state and not k.endswith(COUNTER)],
            "it has {}, for which here is no place",
        ),
        ([k for k in needed if k not in public.state], "it lacks {}"),
        (shapes, "it has other shapes of {}"),
    ):
        if keys:
            raise WeightsError(
                f"{said}. It is not of this model: {what.format(_modules(keys))}.{fits}"
            )


def _modules(keys: Iterable[str]) -> str:
    """The modules of keys, each once, with the number of its tensors."""
    modules = Counter(".".join(key.split(".")[:3]) for key in keys)
    shown = [f"{name} ({number})" for name, number in modules.items()]
    return ", ".join(shown[:8]) + f" and {len(shown) - 8} more" * (len(shown) > 8)
