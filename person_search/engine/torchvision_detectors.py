"""torchvision's detectors, from their published weights: which one a file is, and the model."""

import os
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torchvision.models import detection, get_model_weights

from person_search.errors import WeightsError
from person_search.packs.files import file_hash

from .convert import recognize
from .weights_file import read_weights_file

PERSON = 1
"""Label of persons in COCO's 91, and of the one class beside the background in files of two."""

COCO_CLASSES = 91

_COUNTER = "num_batches_tracked"  # of batch norms; plays no part, and frozen ones lack it


@dataclass(frozen=True)
class _Kind:
    """A builder of torchvision, and the key whose rows are classes times ``anchors``.

    ``frozen_eps`` is that of batch norms that a training left alone. torchvision's first two
    detectors were trained by code that added none.
    """

    builder: str
    rows: str
    anchors: int = 1
    frozen_eps: float = 1e-5

    def build(self, classes: int) -> nn.Module:
        make = getattr(detection, self.builder)
        return make(weights=None, weights_backbone=None, num_classes=classes)


_BOX, _DENSE = "roi_heads.box_predictor.cls_score.weight", "head.classification_head.cls_logits."
_KINDS = (
    _Kind("fasterrcnn_resnet50_fpn", _BOX, frozen_eps=0.0),
    _Kind("fasterrcnn_resnet50_fpn_v2", _BOX),
    _Kind("fasterrcnn_mobilenet_v3_large_fpn", _BOX),
    _Kind("fasterrcnn_mobilenet_v3_large_320_fpn", _BOX),
    _Kind("retinanet_resnet50_fpn", f"{_DENSE}weight", anchors=9, frozen_eps=0.0),
    _Kind("retinanet_resnet50_fpn_v2", f"{_DENSE}weight", anchors=9),
    _Kind("fcos_resnet50_fpn", f"{_DENSE}weight"),
)

DETECTORS = tuple(kind.builder for kind in _KINDS)
"""Names of torchvision's functions that build them."""


def read_detector(path: str | os.PathLike, builder: str | None = None) -> tuple[str, nn.Module]:
    """The model of a file, ready to evaluate, and the name of its builder.

    Args:
        path: of weights as torchvision publishes them, or learned further from those, for COCO's 91
            classes or for two (background and person).
        builder: one of :data:`DETECTORS`, where the names of the weights do not tell: the two of
            MobileNet differ in the size of their pictures alone. Published files are known by
            their hashes.

    Raises:
        WeightsError: it is no such file, it fits partly, or it could be two detectors.
    """
    file = read_weights_file(path)
    state = {key.removeprefix("module."): tensor for key, tensor in file.state.items()}
    kinds = [kind for kind in _KINDS if builder in (None, kind.builder)]
    misfits = {kind.builder: _misfit(kind, state) for kind in kinds if kind.rows in state}
    fitting = [kind for kind in kinds if misfits.get(kind.builder) == ""]
    if not fitting:
        raise WeightsError(_refusal(path, misfits))
    if len(fitting) > 1:
        digest = file_hash(path)
        fitting = [kind for kind in fitting if _is_published(kind.builder, digest)]
    if len(fitting) != 1:
        names = " or ".join(name for name, misfit in misfits.items() if not misfit)
        raise WeightsError(
            f"{path} could be torchvision's {names}, whose weights have the same names, and is no "
            "published file of theirs: export it with builder=... of "
            "person_search.engine.export_parts.export_detector, and take the ONNX file"
        )
    kind, classes = fitting[0], len(state[fitting[0].rows]) // fitting[0].anchors
    if classes not in (2, COCO_CLASSES):
        raise WeightsError(
            f"{path} is torchvision's {kind.builder} of {classes} classes, of which nobody says "
            f"which are persons: those of COCO ({COCO_CLASSES}) and of persons alone (2, with the "
            "background) are taken"
        )
    model = kind.build(classes)
    if not any(key.endswith(_COUNTER) for key in state):
        for module in model.backbone.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eps = kind.frozen_eps
    model.load_state_dict(state, strict=False)
    return kind.builder, model.eval()


def _misfit(kind: _Kind, state: dict[str, Tensor]) -> str:
    """What of a file does not fit a detector; "" if it is that one."""
    with torch.device("meta"):
        model = kind.build(max(len(state[kind.rows]) // kind.anchors, 1))
    try:
        missing, unknown = model.load_state_dict(state, strict=False, assign=True)
    except RuntimeError as error:
        return " ".join(str(error).splitlines()[1].split())
    for keys, what in ((missing, "it lacks"), (unknown, "it also has")):
        if keys := [key for key in keys if not key.endswith(_COUNTER)]:
            more = f" and {len(keys) - 3} more" * (len(keys) > 3)
            return f"{what} {', '.join(keys[:3])}{more}"
    return ""


def _is_published(builder: str, digest: str) -> bool:
    """Whether a sha256 begins as the address of the builder's weights says, before its ".pth"."""
    return any(
        digest.startswith(entry.url.removesuffix(".pth").rpartition("-")[2])
        for entry in get_model_weights(builder)
    )


def _refusal(path: str | os.PathLike, misfits: dict[str, str]) -> str:
    if misfits:  # it has the classifier of a detector, and is none whole
        told = "; ".join(f"{builder}: {misfit}" for builder, misfit in misfits.items())
        return f"{path} is none of torchvision's detectors ({told})"
    kind = recognize(read_weights_file(path)).kind
    what = f"is {kind}, and no detector" if kind else "is no detector"
    return (
        f"{path} {what} that can be exported: those of torchvision are ({', '.join(DETECTORS)}). "
        "Other detectors have to be ONNX or OpenVINO files"
    )
