"""Two views of the same images, side by side.

Shape shorthand in this module:
    N: number of views of images of one kind; C, h, w: their maps
"""

from dataclasses import dataclass

import torch
from detectron2.structures import Instances
from torch import Tensor

from person_search.labels import UNLABELED


@dataclass
class Views:
    """What the model makes of the views of one kind: all first ones, then all second ones.

    Attributes:
        features: (N, C, h, w) of the base.
        valid: (N, h, w) bool: what is not padding.
        persons: of each view, with the fields of :class:`.HybridROIHeads`.
        domains: (N,) int64: data set of each view among those of its kind.
    """

    features: Tensor
    valid: Tensor
    persons: list[Instances]
    domains: Tensor


def pair(first: Instances, second: Instances) -> tuple[Tensor, Tensor]:
    """Rows of the persons without identity that can be compared, in one view and in the other.

    For example persons 4 and 7 in the first view and 7, 9 and 4 in the second one give the rows
    (0, 1) and (2, 0). ``gt_index`` -1 means hardly visible: such a person is in no pair.
    """
    same = first.gt_index[:, None] == second.gt_index
    same &= ((first.gt_index >= 0) & (first.gt_person_ids == UNLABELED))[:, None]
    return same.nonzero(as_tuple=True)


def valid_pixels(maps: Tensor, padded: tuple[int, int], sizes: list[tuple[int, int]]) -> Tensor:
    """(N, h, w) bool: pixels of maps (N, C, h, w) that are not padding.

    For example an image of 50x64 pixels, padded to 96x128, has ceil(50 * 6 / 96) = 4 rows and 4
    columns of a map of 6x8.

    Args:
        maps: of images that were padded to one size.
        padded: that size, (height, width).
        sizes: of each image before it was padded.
    """
    valid = maps.new_zeros(maps[:, 0].shape, dtype=torch.bool)
    for row, (height, width) in zip(valid, sizes, strict=True):
        # To the full pixel: at least one of any image.
        row[: -(-height * row.shape[0] // padded[0]), : -(-width * row.shape[1] // padded[1])] = 1
    return valid
