"""Features that do not tell which data set an image is from (IAM; Tian et al., AAAI 2024).

Shape shorthand in this module:
    N: number of images; C, h, w: their maps; R: number of persons; E: size of their vectors;
    D: number of domains
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from detectron2.data import MetadataCatalog
from detectron2.utils.events import get_event_storage
from torch import Tensor, nn

from person_search.errors import ConfigError
from person_search.layers.gradient_reversal import scale_gradient
from person_search.layers.zero_loss import zero_loss
from person_search.structures import KINDS

from ...roi_heads.hybrid_heads import HybridROIHeads
from .views import Views

# The alignment of the two kinds of images with each other, beside one alignment for each kind.
TASKS = "task"


@dataclass
class AlignmentInputs:
    """What is to be classified by its domain: N images, and R persons in them.

    Attributes:
        maps: (N, C, h, w).
        valid: (N, h, w) bool: pixels that are not padding, at least one of each image.
        vectors: (R, E) of the persons.
        image_of: (R,) int64: the image that a person is in.
        domains: (N,) int64 in [0, D).
    """

    maps: Tensor
    valid: Tensor
    vectors: Tensor
    image_of: Tensor
    domains: Tensor


class DomainAlignment(nn.Module):
    """Intra-task alignment module: domain classifiers of images and of persons, as adversaries.

    Each pixel of a map, and each person's vector, is classified by its domain. The features learn
    to make that hard, since the gradient is reversed on its way to them. A person and the image
    that it is in should be given the same domain: this consistency is not reversed (Chen et al.,
    "Domain Adaptive Faster R-CNN", CVPR 2018, from which the heads are, too).

    The paper does not say how wide the heads are: here layers of pixels (1x1 convolutions) have
    half of the channels of the map, 512 of a ResNet-50's, and layers of vectors 1024, as Chen et
    al. have them. They initialize two layers with standard deviation 0.001. With three layers that
    barely learns, and He initialization diverges, so hidden layers keep PyTorch's default.

    Args:
        name: what the log calls it.
        num_domains: D; at least 2.
        image_channels, instance_channels: C and E.
        consistency_weight: factor of the consistency (Tian et al., Eq. 7: 1).
        weight: factor of all.
    """

    def __init__(
        self,
        *,
        name: str,
        num_domains: int,
        image_channels: int,
        instance_channels: int,
        consistency_weight: float = 1.0,
        weight: float = 1.0,
    ):
        super().__init__()
        self.name, self.weight, self.consistency_weight = name, weight, consistency_weight
        self.image_head = _classifier(image_channels, image_channels // 2, num_domains, 0.0)
        self.instance_head = _classifier(instance_channels, 1024, num_domains, 0.5)

    def forward(self, x: AlignmentInputs, reversal: float) -> Tensor:
        """The loss, a scalar; 0 without images. Without persons, that of the images is left.

        Args:
            x: images and persons; there may be none of either.
            reversal: what reaches maps and vectors is this times the gradient, reversed but for
                that of the consistency.
        """
        if len(x.maps) == 0:
            return zero_loss(self)
        pixels = x.maps.permute(0, 2, 3, 1)[x.valid]
        images = torch.arange(len(x.maps), device=x.maps.device)
        image_of_pixel = images.repeat_interleave(x.valid.sum(dim=(1, 2)))
        loss = self._classify("image", pixels, x.domains[image_of_pixel], reversal)
        if len(x.vectors) == 0:
            return self.weight * (loss + zero_loss(self.instance_head))
        loss = loss + self._classify("instance", x.vectors, x.domains[x.image_of], reversal)
        of_pixels = self.image_head(scale_gradient(pixels, reversal)).softmax(dim=1)
        of_persons = self.instance_head(scale_gradient(x.vectors, reversal)).softmax(dim=1)
        of_images = mean_of_groups(of_pixels, image_of_pixel, len(x.maps))
        consistency = (of_images[x.image_of] - of_persons).norm(dim=1).mean()
        return self.weight * (loss + self.consistency_weight * consistency)

    def _classify(self, part: str, rows: Tensor, domains: Tensor, reversal: float) -> Tensor:
        """Cross entropy of the rows' domains, which the features raise and the head lowers."""
        head = self.image_head if part == "image" else self.instance_head
        logits = head(scale_gradient(rows, -reversal))
        accuracy = (logits.detach().argmax(dim=1) == domains).float().mean()
        get_event_storage().put_scalar(f"{self.name}/{part}_accuracy", accuracy.item())
        return F.cross_entropy(logits, domains)


def _classifier(channels: int, dim: int, num_domains: int, dropout: float) -> nn.Sequential:
    """(R, channels) to (R, num_domains) logits."""
    layers = nn.Sequential(
        # A classifier that sees no length cannot be fooled by growth, and does not diverge at a
        # detector's learning rate however large the features are.
        nn.LayerNorm(channels, elementwise_affine=False),
        nn.Linear(channels, dim),
        nn.ReLU(),
        nn.Dropout(dropout),
        nn.Linear(dim, dim),
        nn.ReLU(),
        nn.Dropout(dropout),
        nn.Linear(dim, num_domains),
    )
    nn.init.normal_(layers[-1].weight, std=0.001)  # starts undecided
    nn.init.zeros_(layers[-1].bias)
    return layers


def mean_of_groups(rows: Tensor, group_of: Tensor, number: int) -> Tensor:
    """(number, D): the mean of (P, D) rows of each group; 0 of a group without rows.

    For example rows 1, 3 and 8 of groups 0, 0 and 2, of three groups, give 2, 0 and 8.
    """
    sums = rows.new_zeros(number, rows.shape[1]).index_add(0, group_of, rows)
    counts = torch.bincount(group_of, minlength=number)
    return sums / counts.clamp(min=1)[:, None]


def build_alignments(cfg, roi_heads: HybridROIHeads) -> dict[str, DomainAlignment]:
    """Those of ``MODEL.HYBRID.ALIGN``; a kind of which there is one data set needs none."""
    unknown = set(cfg.MODEL.HYBRID.ALIGN) - {"intra", "inter"}
    if unknown:
        raise ConfigError(f"MODEL.HYBRID.ALIGN has {sorted(unknown)}; legal: intra, inter")
    is_crop = [
        MetadataCatalog.get(name).get("evaluator_type", None) == "reid"
        for name in cfg.DATASETS.TRAIN
    ]
    head = roi_heads.reid.head
    vectors = {"scene": head.in_channels["res5"], "crop": head.embedding_dim}
    domains = {"scene": is_crop.count(False), "crop": is_crop.count(True)}
    wanted = {kind: domains[kind] for kind in KINDS if "intra" in cfg.MODEL.HYBRID.ALIGN}
    if "inter" in cfg.MODEL.HYBRID.ALIGN:
        wanted[TASKS] = sum(map(bool, domains.values()))
        vectors[TASKS] = vectors["scene"]
    return {
        name: DomainAlignment(
            name=f"align_{name}",
            num_domains=number,
            image_channels=head.in_channels[roi_heads.reid.split_at],
            instance_channels=vectors[name],
        )
        for name, number in wanted.items()
        if number > 1
    }


def alignment_inputs(name: str, kind: str, views: Views) -> AlignmentInputs:
    """What the alignment ``name`` sees of one kind of images.

    Scenes: their maps, and the vectors of their persons. Crops: the maps and embeddings of their
    persons, since a canvas shows nothing else. Of tasks: maps and vectors of both.
    """
    numbers = torch.tensor([len(p) for p in views.persons], device=views.domains.device)
    image_of = torch.arange(len(numbers), device=numbers.device).repeat_interleave(numbers)
    if name == "crop":
        maps = torch.cat([p.maps for p in views.persons])
        return AlignmentInputs(
            maps=maps,
            valid=maps.new_ones(maps[:, 0].shape, dtype=torch.bool),
            vectors=torch.cat([p.embeddings for p in views.persons]),
            image_of=torch.arange(len(maps), device=maps.device),
            domains=views.domains[image_of],
        )
    of_task = torch.full_like(views.domains, KINDS.index(kind))
    return AlignmentInputs(
        maps=views.features,
        valid=views.valid,
        vectors=torch.cat([p.vectors for p in views.persons]),
        image_of=image_of,
        domains=of_task if name == TASKS else views.domains,
    )
