"""The detector of AlignPS: FCOS (Tian et al., ICCV 2019), whose persons all lie on one map.

Shape shorthand in this module:
    N: number of images; C: channels of every map; h, w: size of P3, the finest one
    n: persons of an image; P: locations of persons, summed over the images
"""

import torch
import torch.nn.functional as F
from detectron2.layers import nms
from detectron2.structures import Boxes, Instances
from fvcore.nn import giou_loss, sigmoid_focal_loss
from torch import Tensor, nn

from person_search.layers.deformable import DeformableConv
from person_search.layers.locations import assign_locations, cell_points, centerness


def _tower(channels: int, num_convs: int) -> nn.Sequential:
    """Convolutions with group norm, of which the last one is deformable and modulated."""
    layers = []
    for k in range(num_convs):
        is_last = k == num_convs - 1
        conv = (
            DeformableConv(channels, channels, modulated=True)
            if is_last
            else nn.Conv2d(channels, channels, 3, padding=1)
        )
        layers += [conv, nn.GroupNorm(32, channels), nn.ReLU()]
    return nn.Sequential(*layers)


class AnchorFreeHead(nn.Module):
    """Two towers: one for scores, one for boxes and how central a location is.

    Args:
        channels: C, a multiple of 32.
        num_convs: of a tower.
    """

    def __init__(self, channels: int = 256, num_convs: int = 4):
        super().__init__()
        self.score_tower, self.box_tower = (_tower(channels, num_convs) for _ in range(2))
        self.score = nn.Conv2d(channels, 1, 3, padding=1)
        self.ways = nn.Conv2d(channels, 4, 3, padding=1)
        self.centerness = nn.Conv2d(channels, 1, 3, padding=1)
        for name, layer in self.named_modules():
            if hasattr(layer, "weight") and not name.endswith("offsets"):
                if not isinstance(layer, nn.GroupNorm):
                    nn.init.normal_(layer.weight, std=0.01)
                    nn.init.zeros_(layer.bias)
        nn.init.constant_(self.score.bias, -4.595)  # sigmoid of it: 1 % are persons

    def score_logits(self, feature: Tensor) -> Tensor:
        """(N, h * w) of a map (N, C, h, w)."""
        return self.score(self.score_tower(feature)).flatten(1).float()

    def boxes(self, feature: Tensor) -> tuple[Tensor, Tensor]:
        """(N, h * w, 4) ways to the left, upper, right and lower side, in cells, and (N, h * w)
        logits of centerness.

        FCOS has a factor of the ways for each level; here only one level has boxes.
        """
        feature = self.box_tower(feature)
        ways = F.relu(self.ways(feature).flatten(2).transpose(1, 2).float())
        return ways, self.centerness(feature).flatten(1).float()


class AnchorFreeDetector(nn.Module):
    """Finds persons on P3; the coarser maps only teach it, in training, what is none.

    Args:
        head: predicts boxes.
        stride: of P3.
        radius: of center sampling, in cells, see :func:`.assign_locations`.
        score_thresh: detections have a larger score (probability times centerness).
        topk: locations of an image that non-maximum suppression is given at most.
        nms_thresh: IoU above which the weaker one of two detections is suppressed.
        max_detections: per image.
    """

    def __init__(
        self,
        *,
        head: AnchorFreeHead,
        stride: int = 8,
        radius: float = 1.5,
        score_thresh: float = 0.05,
        topk: int = 1000,
        nms_thresh: float = 0.5,
        max_detections: int = 100,
    ):
        super().__init__()
        self.head, self.stride, self.radius = head, stride, radius
        self.score_thresh, self.topk = score_thresh, topk
        self.nms_thresh, self.max_detections = nms_thresh, max_detections

    def assign(self, p3: Tensor, boxes: list[Tensor]) -> Tensor:
        """(N, h * w) which of its image's boxes (n, 4) each location has to find; -1: none."""
        size = tuple(p3.shape[-2:])
        return torch.stack([assign_locations(x, size, self.stride, self.radius) for x in boxes])

    def losses(
        self, levels: list[Tensor], boxes: list[Tensor], assigned: Tensor
    ) -> dict[str, Tensor]:
        """Focal loss of scores, GIoU loss of boxes weighted by centerness, and that of centerness.

        Args:
            levels: P3 first, (N, C, h, w) each.
            boxes: (n, 4) of each image.
            assigned: what :meth:`assign` gave.
        """
        p3, device = levels[0], levels[0].device
        logits = torch.cat([self.head.score_logits(x) for x in levels], dim=1)
        is_person = torch.zeros_like(logits)
        is_person[:, : assigned.shape[1]] = (assigned >= 0).float()
        images, cells = (assigned >= 0).nonzero(as_tuple=True)
        focal = sigmoid_focal_loss(logits, is_person, alpha=0.25, gamma=2.0, reduction="sum")

        ways, central = self.head.boxes(p3)
        # Image by image, as the locations are.
        targets = torch.cat([x[own[own >= 0]] for x, own in zip(boxes, assigned, strict=True)])
        points = cell_points(tuple(p3.shape[-2:]), self.stride, device)[cells]
        weights = centerness(points, targets)
        found = self.decode(points, ways[images, cells])
        box = (giou_loss(found, targets) * weights).sum() / weights.sum().clamp(min=1e-6)
        center = F.binary_cross_entropy_with_logits(
            central[images, cells], weights, reduction="sum"
        )
        return {
            "loss_cls": focal / (len(cells) + len(p3)),
            "loss_box_reg": box,
            "loss_centerness": center / max(len(cells), 1),
        }

    def decode(self, points: Tensor, ways: Tensor) -> Tensor:
        """(P, 4) boxes of points (P, 2) and the ways (P, 4) from them, in cells, to the sides."""
        ways = ways * self.stride
        return torch.cat([points - ways[:, :2], points + ways[:, 2:]], dim=1)

    def forward(self, p3: Tensor, image_sizes: list[tuple[int, int]]) -> list[Instances]:
        """The persons of each image, best first.

        Args:
            p3: (N, C, h, w).
            image_sizes: (height, width) of each image without padding, in which no person is.

        Returns:
            Instances with ``pred_boxes``, inside of the image, ``scores``, ``pred_classes`` and
            ``cells``, the locations that found them.
        """
        points = cell_points(tuple(p3.shape[-2:]), self.stride, p3.device)
        ways, central = self.head.boxes(p3)
        scores = self.head.score_logits(p3).sigmoid() * central.sigmoid()
        return [
            self._of_image(points, *of_image)
            for of_image in zip(scores, ways, image_sizes, strict=True)
        ]

    def _of_image(
        self, points: Tensor, scores: Tensor, ways: Tensor, size: tuple[int, int]
    ) -> Instances:
        height, width = size
        in_image = (points[:, 0] < width) & (points[:, 1] < height)
        cells = (in_image & (scores > self.score_thresh)).nonzero()[:, 0]
        scores, best = scores[cells].topk(min(len(cells), self.topk))
        cells = cells[best]
        boxes = Boxes(self.decode(points[cells], ways[cells]))
        boxes.clip(size)
        has_area = boxes.nonempty()
        boxes, scores, cells = boxes[has_area], scores[has_area], cells[has_area]
        kept = nms(boxes.tensor, scores, self.nms_thresh)[: self.max_detections]
        found = Instances(size, pred_boxes=boxes[kept], scores=scores[kept], cells=cells[kept])
        found.pred_classes = torch.zeros_like(found.cells)
        return found
