"""Losses on distances between embeddings.

Shape shorthand in this module:
    R: number of labeled samples; D: embedding size; L: number of identities
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from .gather import gather_rows


def batch_hard_triplet(features: Tensor, ids: Tensor, margin: float = 0.3) -> Tensor:
    """Triplet loss with the hardest positive and negative of each anchor.

    Mean over anchors of max(0, d_ap - d_an + margin) with Euclidean distances: d_ap to the
    farthest sample of the same identity (the anchor itself if it is alone), d_an to the nearest of
    another one (Hermans et al., 2017). Anchors without any other identity in the batch add 0.

    For example points 0, 1 and 3 on a line, of ids a, a and b, with margin .3: the anchor 0 has
    d_ap 1 and d_an 3 and adds 0; 1 has 1 and 2 and adds 0; 3 has 0 and 2 and adds 0. With margin
    1.5 the second one adds .5, and the mean is .17.

    Args:
        features: (R, D), not normalized.
        ids: (R,) identities.
        margin: >= 0.
    """
    squared = torch.cdist(features, features, compute_mode="donot_use_mm_for_euclid_dist").square()
    distance = squared.clamp(min=1e-12).sqrt()  # the root has no gradient at 0
    same = ids[:, None] == ids[None, :]
    hardest_positive = distance.masked_fill(~same, -torch.inf).max(dim=1).values
    hardest_negative = distance.masked_fill(same, torch.inf).min(dim=1).values
    return (hardest_positive - hardest_negative + margin).clamp(min=0).mean()


def semi_hard_triplet(features: Tensor, ids: Tensor, margin: float = 1.0) -> Tensor:
    """Triplet loss with a semi-hard negative for each pair of one identity.

    Mean over all ordered pairs (a, p) of different samples of one identity of
    max(0, margin + d_ap - d_an), with squared Euclidean distances of the normalized features. d_an
    is the smallest distance of the anchor to another identity that is larger than d_ap; where none
    is larger, it is the largest (Schroff et al., CVPR 2015, as TensorFlow computes it). Without a
    pair, or without another identity, it is 0.

    For one anchor with d_ap = .5 and negatives at .3, .6 and .9, the negative is the one at .6: the
    one at .3 is too hard to learn from at first, the one at .9 already far away. With negatives at
    .2 and .3 none is semi-hard, and the one at .3 is taken.

    Args:
        features: (R, D), of any length.
        ids: (R,) identities.
        margin: >= 0.
    """
    features = functional.normalize(features)
    # Not 2 - 2 cos, whose rounding errors are as large as the distance of near samples.
    squared = (features[:, None] - features[None, :]).square().sum(dim=2)
    same = ids[:, None] == ids[None, :]
    is_other = ~torch.eye(len(ids), dtype=torch.bool, device=ids.device)
    anchors, positives = (same & is_other).nonzero(as_tuple=True)
    if len(anchors) == 0:
        return features.sum() * 0.0
    pair = squared[anchors, positives]
    negatives = squared[anchors].masked_fill(same[anchors], torch.nan)  # (pairs, R)
    farther = negatives.masked_fill(~(negatives > pair[:, None]), torch.inf).amin(dim=1)
    farthest = negatives.nan_to_num(nan=-torch.inf).amax(dim=1)
    negative = torch.where(farther.isinf(), farthest, farther)
    has_negative = negative > -torch.inf
    losses = (margin + pair - negative)[has_negative].clamp(min=0)
    return losses.sum() / max(len(losses), 1)


class CenterLoss(nn.Module):
    """Pulls each feature to the center of its identity (Wen et al., ECCV 2016).

    The value is the mean over samples of the squared distance. The centers learn by plain SGD on
    the unweighted loss, whatever the weight it has for the features ("Bag of Tricks", 2019). That
    step has a closed form, so centers are buffers: after each loss,
    ``c -= lr * 2 / R * sum over its samples of (c - f)``, with the samples of all ranks.

    Args:
        num_ids: L.
        dim: D.
        lr: step of the centers.
    """

    def __init__(self, num_ids: int, dim: int, lr: float = 0.5):
        super().__init__()
        self.lr = lr
        self.register_buffer("centers", torch.randn(num_ids, dim))

    def forward(self, features: Tensor, ids: Tensor) -> Tensor:
        """(R, D) features and (R,) ids in [0, L) to a scalar; moves the centers in training.

        R may be 0. In training it is collective: every rank has to call it.
        """
        features = features.float()
        loss = (features - self.centers[ids]).square().sum() / max(len(ids), 1)
        if self.training:
            self._move(features.detach(), ids)
        return loss

    @torch.no_grad()
    def _move(self, features: Tensor, ids: Tensor) -> None:
        features, ids = gather_rows(features, ids)
        step = (self.centers[ids] - features) * (2 * self.lr / max(len(ids), 1))
        self.centers.index_add_(0, ids, -step)
