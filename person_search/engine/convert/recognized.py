"""What a weights file is, once it is recognized."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

State = dict[str, Tensor]


@dataclass(frozen=True)
class Recognized:
    """A weights file, brought to our names, rows and order.

    Attributes:
        kind: what it is, as a phrase: "a released SeqNet"; "": one of ours, or of unknown names.
        state: our key -> tensor. Empty if nothing here can hold it.
        conventions: config keys that belong to the weights, and their values: pixels, strides,
            anchors, RoIs. A model of other values is another function.
        whole: whether it is a whole model of other code, which fits one of ours completely or not
            at all; else its stages go wherever a model has them.
        fresh: of a whole model: beginnings of our keys that such a file lacks by its nature.
        left_out: keys of the file that are not needed here.
        fits: what to do with it, as a command line or a sentence.
    """

    kind: str
    state: State = field(default_factory=dict)
    conventions: Mapping[str, Any] = field(default_factory=dict)
    whole: bool = True
    fresh: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    fits: str = ""


OF_TRUNKS = (
    "INPUT.FORMAT",
    "MODEL.PIXEL_MEAN",
    "MODEL.PIXEL_STD",
    "MODEL.RESNETS.STRIDE_IN_1X1",
    "MODEL.RESNETS.STEM_POOLING",
)
"""Conventions that a backbone alone has."""

CONVENTIONS = (
    *OF_TRUNKS,
    "INPUT.RESIZE",
    "MODEL.BACKBONE.SIZE_DIVISIBILITY",
    "MODEL.ANCHOR_GENERATOR.NAME",
    "MODEL.ANCHOR_GENERATOR.OFFSET",
    "MODEL.ANCHOR_GENERATOR.SIZES",
    "MODEL.ANCHOR_GENERATOR.ASPECT_RATIOS",
    "MODEL.ROI_BOX_HEAD.POOLER_TYPE",
    "MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION",
    "MODEL.ROI_BOX_HEAD.POOLER_SAMPLING_RATIO",
    "MODEL.REID.POOLER_TYPE",
    "MODEL.REID.POOLER_RESOLUTION",
    "MODEL.REID.POOLER_SAMPLING_RATIO",
    "MODEL.REID.LAST_STRIDE",
    "MODEL.REID.GLOBAL_POOLING",
    "MODEL.REID.EMBED_REFINED_BOXES",
)
"""All conventions that a weights file can bring."""

IMAGENET_RGB = {
    "INPUT.FORMAT": "RGB",
    "MODEL.PIXEL_MEAN": [123.675, 116.28, 103.53],
    "MODEL.PIXEL_STD": [58.395, 57.12, 57.375],
}
"""Pixels of torchvision's weights, and of nearly all that started from them."""

CAFFE = {
    "INPUT.FORMAT": "BGR",
    "MODEL.PIXEL_MEAN": [103.53, 116.28, 123.675],
    "MODEL.PIXEL_STD": [1.0, 1.0, 1.0],
    "MODEL.RESNETS.STRIDE_IN_1X1": True,
}
"""Pixels and strides of MSRA's ResNets, and of what started from them: detectron2's zoo, mmdet's
configs with ``style='caffe'``."""

TORCHVISION_DETECTOR = {
    **IMAGENET_RGB,
    "INPUT.RESIZE": "torchvision",
    "MODEL.RESNETS.STRIDE_IN_1X1": False,
    "MODEL.ANCHOR_GENERATOR.NAME": "RoundedAnchorGenerator",
    "MODEL.ANCHOR_GENERATOR.OFFSET": 0.0,
    "MODEL.ROI_BOX_HEAD.POOLER_TYPE": "ROIAlign",
    "MODEL.ROI_BOX_HEAD.POOLER_SAMPLING_RATIO": 2,
}
"""Of all detectors made of torchvision's parts, but for the padding of the images."""
