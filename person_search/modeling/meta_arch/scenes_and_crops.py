"""PersonSearchRCNN whose training also sees persons cut out of the scenes.

Shape shorthand in this module:
    N: number of images; P: number of crops; R: number of RoIs on persons; D: embedding size
"""

from abc import abstractmethod

import torch
from detectron2.config import configurable
from detectron2.structures import Instances
from torch import Tensor

from person_search.errors import ConfigError
from person_search.labels import BACKGROUND, UNLABELED

from ..identity.base import IdentityHead
from .person_search_rcnn import PersonSearchRCNN


class ScenesAndCrops(PersonSearchRCNN):
    """In training, each annotated person that the identity head learns from is also cut out.

    What is learned from crops, and from RoIs beside the crop of their person, is for a subclass to
    say. At test nothing differs from :class:`PersonSearchRCNN`. ``VIS_PERIOD`` has no effect.

    Args:
        crop_size: (height, width) of a crop.
        kwargs: of :class:`PersonSearchRCNN`.
    """

    # Required class of the identity head.
    head_class: type[IdentityHead]

    @configurable
    def __init__(self, *, crop_size: tuple[int, int], **kwargs):
        super().__init__(**kwargs)
        self.crop_size = crop_size

    @classmethod
    def from_config(cls, cfg) -> dict:
        ret = super().from_config(cfg)
        reid = getattr(ret["roi_heads"], "reid", None)
        if reid is None or not isinstance(reid.head, cls.head_class):
            raise ConfigError(
                f"MODEL.META_ARCHITECTURE {cls.__name__} needs MODEL.ROI_HEADS.NAME with an "
                f"embedder and MODEL.REID.HEAD {cls.head_class.__name__}, or one that extends it; "
                f"not {cfg.MODEL.ROI_HEADS.NAME} and {cfg.MODEL.REID.HEAD}"
            )
        return {**ret, "crop_size": tuple(cfg.INPUT.REID.SIZE)}

    def forward(self, batched_inputs: list[dict]) -> dict[str, Tensor] | list[dict]:
        """See ``GeneralizedRCNN.forward``; its losses and those of :meth:`crop_losses`."""
        if not self.training:
            return self.inference(batched_inputs)
        images = self.preprocess_image(batched_inputs)
        targets = [x["instances"].to(self.device) for x in batched_inputs]
        boxes, ids = self._number_crops(targets)
        features = self.backbone(images.tensor)
        proposals, losses = self.proposal_generator(images, features, targets)
        rois, roi_losses = self.roi_heads(images, features, proposals, targets)
        return losses | roi_losses | self.crop_losses(images.tensor, boxes, ids, *_of_crops(rois))

    def _number_crops(self, targets: list[Instances]) -> tuple[list[Tensor], Tensor]:
        """Boxes and ids of the persons that are cut out.

        The number of a person's crop becomes a field ``gt_crop`` of the targets (-1: not cut out),
        which RoI heads hand on to the RoIs. For example images with the ids (5, UNLABELED) and
        (2), of which a softmax head learns 5 and 2, get the numbers (0, -1) and (1).
        """
        lowest = UNLABELED if self.roi_heads.reid.head.uses_unlabeled else 0
        ids = torch.cat([x.gt_person_ids for x in targets])
        is_cut = ids >= lowest
        numbers = torch.where(is_cut, is_cut.cumsum(dim=0) - 1, -1)
        for x, of_image in zip(targets, numbers.split([len(x) for x in targets]), strict=True):
            x.gt_crop = of_image
        return [x.gt_boxes.tensor[x.gt_crop >= 0] for x in targets], ids[is_cut]

    @abstractmethod
    def crop_losses(
        self, images: Tensor, boxes: list[Tensor], ids: Tensor, rois: Tensor, crops: Tensor
    ) -> dict[str, Tensor]:
        """Further losses, with the same keys at every call.

        Args:
            images: (N, 3, H, W), normalized.
            boxes: (n, 4) xyxy in pixels of each image, P in all: persons to cut out. P may be 0.
            ids: (P,) their ids.
            rois: (R, D) embeddings of RoIs on these persons, not normalized; R may be 0.
            crops: (R,) which of the P persons a RoI shows.
        """


def _of_crops(rois: list[Instances]) -> tuple[Tensor, Tensor]:
    """Embeddings (R, D) of RoIs whose person is cut out, and the number (R,) of that crop."""
    embeddings, crops = [], []
    for x in rois:
        # The RoIs of an image without annotations lack their fields.
        crop = x.gt_crop if x.has("gt_crop") else torch.full_like(x.gt_person_ids, -1)
        shown = (crop >= 0) & (x.gt_person_ids != BACKGROUND)
        embeddings.append(x.embeddings[shown])
        crops.append(crop[shown])
    return torch.cat(embeddings), torch.cat(crops)
