"""Released SeqNet (Li and Miao, AAAI 2021) and NAE (Chen et al., CVPR 2020), whole.

Both are made of torchvision's Faster R-CNN. Their code keeps the embedding of the box that came
into the head, ours embeds the box that comes out of it (``MODEL.REID.EMBED_REFINED_BOXES``).
"""

from collections.abc import Mapping

from torch import Tensor

from .recognized import TORCHVISION_DETECTOR, Recognized
from .rows import as_it_is, person_box, person_first, rename, size_major

SIZES, RATIOS = [[32, 64, 128, 256, 512]], [[0.5, 1.0, 2.0]]

CONVENTIONS = {
    **TORCHVISION_DETECTOR,
    "MODEL.BACKBONE.SIZE_DIVISIBILITY": 32,
    "MODEL.ANCHOR_GENERATOR.SIZES": SIZES,
    "MODEL.ANCHOR_GENERATOR.ASPECT_RATIOS": RATIOS,
    "MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION": 14,
    "MODEL.REID.POOLER_TYPE": "ROIAlign",
    "MODEL.REID.POOLER_RESOLUTION": (14, 14),
    "MODEL.REID.POOLER_SAMPLING_RATIO": 2,
    "MODEL.REID.LAST_STRIDE": 2,
    "MODEL.REID.GLOBAL_POOLING": "max",
    "MODEL.REID.EMBED_REFINED_BOXES": False,
}

_OF_THE_RUN = ("roi_heads.reid_loss.",)
"""Table and queue of online instance matching: they remember the persons of the run."""

_THEIRS = r"roi_heads\.embedding_head\."
_RPN = "proposal_generator.rpn_head."
_BOTH = (
    (r"rpn\.head\.conv\.(?:0\.0\.)?", f"{_RPN}conv.", as_it_is),
    (r"rpn\.head\.cls_logits\.", f"{_RPN}objectness_logits.", size_major(5, 3)),
    (r"rpn\.head\.bbox_pred\.", f"{_RPN}anchor_deltas.", size_major(5, 3, 4)),
    (rf"{_THEIRS}projectors\.feat_res4\.", "roi_heads.reid.head.projectors.0.", as_it_is),
    (rf"{_THEIRS}projectors\.feat_res5\.", "roi_heads.reid.head.projectors.1.", as_it_is),
    (rf"{_THEIRS}rescaler\.", "roi_heads.box_predictor.cls_score.", as_it_is),
    (r"(?=roi_heads\.box_predictor\.bbox_pred\.[01]\.)", "", person_box),
)
_FIRST = "roi_heads.first.box_predictor."
_FIRST_STAGE = (
    (r"roi_heads\.faster_rcnn_predictor\.cls_score\.", f"{_FIRST}cls_score.", person_first),
    (r"roi_heads\.faster_rcnn_predictor\.bbox_pred\.", f"{_FIRST}bbox_pred.", person_box),
)
"""Beginning of a key there, what replaces it, and which rows are taken."""


def recognize(state: Mapping[str, Tensor]) -> Recognized | None:
    """The file, if it is of SeqNet, of NAE, or of a relative that adds parts to them."""
    if not any(k.startswith("roi_heads.embedding_head.projectors.") for k in state):
        return None
    is_seqnet = any(k.startswith("roi_heads.reid_head.") for k in state)
    name, leaf = ("SeqNet", "seqnet") if is_seqnet else ("NAE", "nae")
    # What NAE's code makes and does not use: scores come from the norms.
    unused = (*_OF_THE_RUN, *(() if is_seqnet else ("roi_heads.box_predictor.cls_score.",)))
    left_out = tuple(k for k in state if k.startswith(unused))
    stages = {"backbone.": "backbone.", "roi_heads.box_head.": "roi_heads.reid.net."}
    if is_seqnet:
        stages["roi_heads.box_head."] = "roi_heads.first.box_head.net."
        stages["roi_heads.reid_head."] = "roi_heads.reid.net."
    ours, unknown = rename(
        {k: v for k, v in state.items() if k not in left_out},
        stages,
        (*_BOTH, *(_FIRST_STAGE if is_seqnet else ())),
    )
    if unknown:
        return Recognized(
            kind=f"a relative of {name} with further parts, such as {', '.join(unknown[:3])}",
            fits="no model here has them",
        )
    return Recognized(
        kind=f"a released {name}",
        state=ours,
        conventions=CONVENTIONS,
        left_out=left_out,
        fits=f"--config-file configs/PRW/{leaf}.yaml (or CUHK-SYSU/{leaf}.yaml) MODEL.WEIGHTS FILE",
    )
