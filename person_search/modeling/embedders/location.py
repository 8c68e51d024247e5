"""The embedder of models without RoIs: a box has the feature of the cell that its center lies in.

Shape shorthand in this module:
    N: number of images; C, H, W: the map; R: number of boxes, summed over the images
"""

import torch
from detectron2.structures import Boxes
from torch import Tensor, nn

from person_search.layers.locations import center_cells

from ..identity.base import IdentityHead
from .base import Embedder


class LocationPooler(nn.Module):
    """Reads one cell of one map for each box.

    Args:
        in_feature: name of the map.
        stride: of the map.
        channels: C.
    """

    def __init__(self, in_feature: str, stride: int, channels: int):
        super().__init__()
        self.in_feature, self.stride, self.channels = in_feature, stride, channels

    def forward(self, features: dict[str, Tensor], boxes: list[Boxes]) -> Tensor:
        """(R, C, 1, 1) of xyxy boxes in pixels of the network input, one ``Boxes`` per image.

        A box whose center lies outside of the picture gets the cell at the border next to it.
        """
        feature = features[self.in_feature]
        height, width = feature.shape[-2:]
        numbers = torch.tensor([len(x) for x in boxes], device=feature.device)
        images = torch.arange(len(boxes), device=feature.device).repeat_interleave(numbers)
        columns, rows = center_cells(Boxes.cat(boxes).tensor, self.stride).unbind(dim=1)
        cells = rows.clamp(0, height - 1) * width + columns.clamp(0, width - 1)
        return self.read(features, images, cells)

    def read(self, features: dict[str, Tensor], images: Tensor, cells: Tensor) -> Tensor:
        """(R, C, 1, 1) of R cells, counted row by row, of the images with these numbers."""
        return features[self.in_feature].flatten(2)[images, :, cells][..., None, None]


class LocationEmbedder(Embedder):
    """Nothing is between what is pooled and the head.

    Args:
        pooler: reads the cells.
        head: whose only map is the pooler's.
    """

    def __init__(self, pooler: LocationPooler, head: IdentityHead):
        super().__init__(split_at=pooler.in_feature, pooler=pooler, net=nn.Sequential(), head=head)

    def maps(self, features: dict[str, Tensor], boxes: list[Boxes]) -> dict[str, Tensor]:
        """See :meth:`.Embedder.maps`: no boxes are no exception here."""
        return self.encode(self.pool(features, boxes))

    def maps_at(
        self, features: dict[str, Tensor], images: Tensor, cells: Tensor
    ) -> dict[str, Tensor]:
        """What the head sees of cells; see :meth:`.LocationPooler.read`."""
        return self.encode(self.pooler.read(features, images, cells))
