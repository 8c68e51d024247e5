"""Identification losses: softmax over identities, plain and re-weighted for a long tail.

Shape shorthand in this module:
    R: number of labeled samples; L: number of identities
"""

import torch.nn.functional as F
from torch import Tensor, nn


class CrossEntropy(nn.Module):
    """Mean cross entropy, optionally with smoothed labels.

    Smoothing gives every identity eps / L and the true one 1 - eps more (Szegedy et al., 2016).
    """

    def __init__(self, label_smoothing: float = 0.0):
        super().__init__()
        self.label_smoothing = label_smoothing

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """(R, L) logits and (R,) targets in [0, L) to a scalar."""
        return F.cross_entropy(logits, targets, label_smoothing=self.label_smoothing)


def class_balanced_weights(counts: Tensor, beta: float) -> Tensor:
    """(L,) weights (1 - beta) / (1 - beta^n) of identities seen n times, with mean 1.

    Cui et al., "Class-balanced loss based on effective number of samples", CVPR 2019. For example
    with beta .5, identities seen once and twice have .5 / .5 = 1 and .5 / .75 = .67, with mean 1:
    1.2 and .8.

    Args:
        counts: (L,) number of boxes per identity; an identity never seen counts as seen once.
        beta: in [0, 1); 0 weighs all identities alike, towards 1 by inverse frequency.
    """
    seen = counts.double().clamp(min=1)
    weights = (1 - beta) / (1 - beta**seen)
    return (weights * len(weights) / weights.sum()).float()


class ClassBalancedCrossEntropy(nn.Module):
    """Cross entropy with :func:`class_balanced_weights`.

    Args:
        counts: (L,) number of boxes per identity.
        beta: see :func:`class_balanced_weights`.
        normalize: "samples": divide by R, as the authors' code; with a long tail the mean weight
            of a sample is far below 1, which weakens the whole loss. "weights": divide by the sum
            of the weights, as ``torch.nn.CrossEntropyLoss(weight=...)``.
    """

    def __init__(self, counts: Tensor, beta: float = 0.9999, normalize: str = "samples"):
        super().__init__()
        assert normalize in ("samples", "weights"), normalize
        self.normalize = normalize
        self.register_buffer("weights", class_balanced_weights(counts, beta), persistent=False)

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """See :meth:`CrossEntropy.forward`."""
        losses = F.cross_entropy(logits, targets, reduction="none")
        weights = self.weights[targets]
        total = len(targets) if self.normalize == "samples" else weights.sum()
        return (weights * losses).sum() / total


class FocalCrossEntropy(nn.Module):
    """Mean of -(1 - p)^gamma log p over the softmax probability p of the true identity.

    Lin et al., "Focal loss for dense object detection", ICCV 2017, in its softmax form.
    """

    def __init__(self, gamma: float = 2.0):
        super().__init__()
        self.gamma = gamma

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """See :meth:`CrossEntropy.forward`."""
        log_p = -F.cross_entropy(logits, targets, reduction="none")
        rest = (1 - log_p.exp()).clamp(min=1e-12)  # a root of it has no gradient at 0
        return -(rest**self.gamma * log_p).mean()
