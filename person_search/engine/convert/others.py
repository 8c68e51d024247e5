"""Systems that are recognized by their names and have no counterpart here.

Each would fit partly: a trunk, a stage, a head that happens to have the same shapes. What is loaded
so would be another model, so it is said what the file is.
"""

import re
from collections.abc import Mapping

from torch import Tensor

from .recognized import CAFFE, Recognized

_PROJECTORS = r"roi_heads\.embedding_head\.projectors"

# Name, how a key of the file begins, how none of its keys begins, and where its trunk stands.
_SYSTEMS = (
    ("COAT", r"roi_heads\.box_head\w*\.transformer_encoder\.", None, "backbone."),
    ("GFN (SeqNeXt)", r"(gfn|roi_heads\.gfn|roi_heads\.prop_head)\.", None, "backbone."),
    ("OIMNet++", rf"{_PROJECTORS}\.feat_res5\.", rf"{_PROJECTORS}\.feat_res4\.", "backbone."),
    ("PSTR", r"bbox_head\.transformer\.", None, "backbone."),
    ("AlignPS", r"bbox_head\.(un)?labeled_matching_layer\.", None, "backbone."),
    ("a detector of mmdetection", r"(bbox_head|rpn_head|roi_head)\.", None, "backbone."),
    ("fast-reid's SBS, which has non-local blocks", r"(backbone\.)?NL_\d\.", None, ""),
    ("OSNet", r"conv2\.0\.conv2[a-d]\.", None, ""),
    ("a vision transformer", r"(backbone\.)?(blocks|layers|stages)\.\d+\..*\battn\.", None, ""),
)


def recognize(state: Mapping[str, Tensor]) -> Recognized | None:
    """The file, if its keys are those of a system without a counterpart."""
    for name, present, absent, trunk in _SYSTEMS:
        if _any(present, state) and not (absent and _any(absent, state)):
            fits = "no model here is that"
            if name == "OSNet":
                fits += "; its ONNX file is an embedder of a pack: person-search models make"
            if trunk:
                fits += (
                    "; to start another model from its trunk alone: tools/select_weights.py FILE "
                    f"trunk.pth --keep {trunk}"
                )
            # AlignPS starts from a trunk of MSRA: BGR, and the stride in the first 1x1 convolution.
            return Recognized(name, conventions=CAFFE if name == "AlignPS" else {}, fits=fits)
    return None


def _any(pattern: str, state: Mapping[str, Tensor]) -> bool:
    return any(re.match(pattern, key) for key in state)
