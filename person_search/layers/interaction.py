"""Interaction of a person in the scene and cut out of it, in the style of BINet.

After the abstract of Dong et al., CVPR 2020; the losses are this project's reading.

Shape shorthand in this module:
    R: number of RoIs, each with its person's crop; D: embedding size; L: number of classes
"""

import torch.nn.functional as F
from torch import Tensor


def feature_interaction(rois: Tensor, crops: Tensor) -> Tensor:
    """Mean of 1 - cosine, in [0, 2]; both sides learn.

    Args:
        rois, crops: (R, D) embeddings; R may be 0, which gives 0.
    """
    if len(rois) == 0:
        return (rois.sum() + crops.sum()) * 0.0
    return 1 - F.cosine_similarity(rois.float(), crops.float()).mean()


def prediction_interaction(rois: Tensor, crops: Tensor) -> Tensor:
    """Mean of (KL(p_rois || p_crops) + KL(p_crops || p_rois)) / 2.

    In each direction the first distribution is the target, through which no gradient flows, so that
    each side learns from the other (as in mutual learning, Zhang et al., CVPR 2018).

    Args:
        rois, crops: (R, L) logits; R may be 0, which gives 0.
    """
    if len(rois) == 0:
        return (rois.sum() + crops.sum()) * 0.0
    log_p, log_q = rois.float().log_softmax(dim=1), crops.float().log_softmax(dim=1)
    both = [(log_q, log_p.detach()), (log_p, log_q.detach())]
    return sum(F.kl_div(*pair, reduction="batchmean", log_target=True) for pair in both) / 2
