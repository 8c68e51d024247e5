"""GeneralizedRCNN that also embeds given boxes at test."""

import torch
from detectron2.config import configurable
from detectron2.modeling import META_ARCH_REGISTRY, GeneralizedRCNN
from detectron2.structures import Boxes
from torch import Tensor

from person_search.precision import autocast, autocast_dtype

from .base import SearchModel


@META_ARCH_REGISTRY.register()
class PersonSearchRCNN(SearchModel, GeneralizedRCNN):
    """Finds persons with RoI heads that embed any box: one pass for all of them.

    Training is ``GeneralizedRCNN``'s.

    Args:
        test_dtype: what it computes in at test, if not in the weights' own type.
        kwargs: of ``GeneralizedRCNN``; the RoI heads are :class:`.EmbeddingROIHeads`.
    """

    @configurable
    def __init__(self, *, test_dtype: torch.dtype | None = None, **kwargs):
        super().__init__(**kwargs)
        self.test_dtype = test_dtype

    @classmethod
    def from_config(cls, cfg) -> dict:
        return {**super().from_config(cfg), "test_dtype": autocast_dtype(cfg, "TEST")}

    @property
    def embedding_dim(self) -> int:
        """See :class:`.SearchModel`."""
        return self.roi_heads.reid.head.embedding_dim

    @torch.no_grad()
    def embed_boxes(self, batched_inputs: list[dict]) -> list[Tensor]:
        """See :meth:`.SearchModel.embed_boxes`; runs neither proposal generator nor box head."""
        with autocast(self.device, self.test_dtype):
            features = self.backbone(self.preprocess_image(batched_inputs).tensor)
            boxes = [Boxes(x["query_boxes"].to(self.device)) for x in batched_inputs]
            return self.roi_heads.embed(features, boxes)

    def inference(self, batched_inputs, detected_instances=None, do_postprocess: bool = True):
        """See ``GeneralizedRCNN.inference``; one pass over the backbone for all boxes."""
        with autocast(self.device, self.test_dtype):
            if detected_instances is not None or not do_postprocess:
                return super().inference(batched_inputs, detected_instances, do_postprocess)
            return self._search(batched_inputs)

    def _search(self, batched_inputs: list[dict]) -> list[dict]:
        images = self.preprocess_image(batched_inputs)
        features = self.backbone(images.tensor)
        proposals, _ = self.proposal_generator(images, features, None)
        instances, _ = self.roi_heads(images, features, proposals, None)
        outputs = self._postprocess(instances, batched_inputs, images.image_sizes)
        return self.answer_given_boxes(
            batched_inputs, outputs, lambda boxes: self.roi_heads.embed(features, boxes)
        )
