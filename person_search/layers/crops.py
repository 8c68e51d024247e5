"""Persons cut out of scenes, and boxes that are a little off.

Shape shorthand in this module:
    N: number of images; H, W: their size; R: number of boxes; h, w: size of a crop
"""

import torch
from torch import Tensor
from torchvision.ops import roi_align


def cut_crops(images: Tensor, boxes: list[Tensor], size: tuple[int, int]) -> Tensor:
    """(R, 3, h, w) crops, resized without keeping their shape.

    A crop that is smaller than its box averages the pixels; outside of the image all is 0.

    Args:
        images: (N, 3, H, W).
        boxes: (n, 4) xyxy in pixels of each image; R is their sum, and may be 0.
        size: (h, w).
    """
    return roi_align(images, boxes, size, aligned=True)


def moved_corners(boxes: Tensor, share: float) -> Tensor:
    """Each corner of (R, 4) xyxy boxes moved on its own, by U(-share, share) of width and height.

    "Feature-level spatial-invariant augmentation" of DKD (Zhang et al., AAAI 2021), as this project
    reads it.
    """
    size = boxes[:, 2:] - boxes[:, :2]
    return boxes + share * size.repeat(1, 2) * torch.empty_like(boxes).uniform_(-1, 1)


def shifted(boxes: Tensor, share: float) -> Tensor:
    """(R, 4) xyxy boxes, each shifted as a whole by U(-share, share) of its width and height.

    With share .1 it is a random window, of the box's size, in the box enlarged to 1.2 of its size:
    "image-level spatial-invariant augmentation" of DKD, as this project reads it.
    """
    size = boxes[:, 2:] - boxes[:, :2]
    return boxes + (share * size * torch.empty_like(size).uniform_(-1, 1)).repeat(1, 2)
