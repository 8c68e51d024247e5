"""Anchors as torchvision's detectors have them."""

import torch
from detectron2.modeling.anchor_generator import ANCHOR_GENERATOR_REGISTRY, DefaultAnchorGenerator
from torch import Tensor


@ANCHOR_GENERATOR_REGISTRY.register()
class RoundedAnchorGenerator(DefaultAnchorGenerator):
    """detectron2's anchors, rounded to whole pixels; with ``OFFSET 0.0``, torchvision's."""

    def generate_cell_anchors(self, *args, **kwargs) -> Tensor:
        """See ``DefaultAnchorGenerator``."""
        return torch.round(super().generate_cell_anchors(*args, **kwargs))
