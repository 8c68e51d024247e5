"""RoIAlign in mixed precision."""

from detectron2.layers import ROIAlign
from torch import Tensor


class FloatROIAlign(ROIAlign):
    """detectron2's, which gives boxes the type of the maps, with boxes that stay float32.

    In bfloat16 a coordinate above 1024 is a multiple of 8 pixels.
    """

    def forward(self, input: Tensor, rois: Tensor) -> Tensor:
        """See ``ROIAlign``; the result has the type of the maps."""
        return super().forward(input.float(), rois).to(input.dtype)
