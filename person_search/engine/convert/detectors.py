"""Detectors: of detectron2's model zoo, and of torchvision."""

from collections.abc import Mapping

from torch import Tensor

from .recognized import CAFFE, TORCHVISION_DETECTOR, Recognized
from .rows import as_it_is, rename
from .seqnet import RATIOS, SIZES

ZOO = {
    **CAFFE,
    "INPUT.RESIZE": "pillow",
    "MODEL.BACKBONE.SIZE_DIVISIBILITY": 0,
    "MODEL.ANCHOR_GENERATOR.NAME": "DefaultAnchorGenerator",
    "MODEL.ANCHOR_GENERATOR.OFFSET": 0.0,
    "MODEL.ANCHOR_GENERATOR.SIZES": SIZES,
    "MODEL.ANCHOR_GENERATOR.ASPECT_RATIOS": RATIOS,
    "MODEL.ROI_BOX_HEAD.POOLER_TYPE": "ROIAlignV2",
    "MODEL.ROI_BOX_HEAD.POOLER_SAMPLING_RATIO": 0,
    "MODEL.REID.POOLER_TYPE": "ROIAlignV2",
    "MODEL.REID.POOLER_RESOLUTION": (14, 14),
    "MODEL.REID.POOLER_SAMPLING_RATIO": 0,
    "MODEL.REID.LAST_STRIDE": 2,
    "MODEL.REID.GLOBAL_POOLING": "avg",
}
"""Of the zoo's R50-C4 and R101-C4 (detectron2's defaults)."""


_AS_PACK = (
    "to find persons with it: person-search models make PACK --detector FILE --embedder FILE"
)


def recognize(state: Mapping[str, Tensor]) -> Recognized | None:
    """The file, if it is a detector of detectron2's zoo or of torchvision."""
    if any(k.startswith("roi_heads.res5.") for k in state):
        return _zoo_c4(state)
    if any(k.startswith("backbone.fpn_lateral") for k in state):
        return Recognized(
            "an FPN detector of detectron2",
            conventions=CAFFE,
            fits="no person search model here has an FPN; to start one from its trunk alone: "
            "tools/select_weights.py FILE trunk.pth --keep backbone.bottom_up.",
        )
    if any(k.startswith("head.classification_head.") for k in state):
        return Recognized(
            "torchvision's RetinaNet or FCOS",
            fits=f"its weights are read as the detector of a pack alone; {_AS_PACK}",
        )
    if any(k.startswith("backbone.fpn.") for k in state):
        return Recognized(
            "torchvision's Faster R-CNN with FPN",
            conventions=TORCHVISION_DETECTOR,
            fits="no person search model here has an FPN; to start one from its trunk alone: "
            f"tools/select_weights.py FILE trunk.pth --keep backbone.body.; {_AS_PACK}",
        )
    return None


def _person_and_background(x: Tensor) -> Tensor:
    """Rows of COCO's first class, the person, and of the last row, the background."""
    return x[[0, -1]]


def _zoo_c4(state: Mapping[str, Tensor]) -> Recognized:
    rules = (
        (r"roi_heads\.res5\.", "roi_heads.reid.net.res5.", as_it_is),
        (r"(?=proposal_generator\.rpn_head\.)", "", as_it_is),
        (r"(?=roi_heads\.box_predictor\.cls_score\.)", "", _person_and_background),
        (r"(?=roi_heads\.box_predictor\.bbox_pred\.)", "", lambda x: x[:4]),
        (r"(?=backbone\.)", "", as_it_is),
    )
    ours, left_out = rename(state, {}, rules)
    return Recognized(
        kind="a C4 detector of detectron2's model zoo",
        state=ours,
        conventions=ZOO,
        fresh=("roi_heads.reid.head.",),
        left_out=tuple(left_out),
        fits="--config-file configs/PRW/oim.yaml MODEL.WEIGHTS FILE, which starts the training of "
        "an OIM model from it",
    )
