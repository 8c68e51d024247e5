"""GeneralizedRCNN that also embeds given boxes at test."""

import torch
from detectron2.config import configurable
from detectron2.modeling import META_ARCH_REGISTRY, GeneralizedRCNN
from detectron2.structures import Boxes

from person_search.precision import autocast, autocast_dtype

GIVEN_BOXES = {"query_boxes": "query_embeds", "gt_boxes": "gt_embeds"}
"""Input key with boxes to embed -> output key of their embeddings."""


@META_ARCH_REGISTRY.register()
class PersonSearchRCNN(GeneralizedRCNN):
    """Finds persons, and embeds them and any box that comes with the image, in one pass.

    Training is ``GeneralizedRCNN``'s. At test an input dict may hold ``query_boxes`` and
    ``gt_boxes``, each (n, 4) xyxy in pixels of the network input; the output dict then holds
    ``query_embeds`` and ``gt_embeds``, each (n, D) of unit length, beside ``instances`` with
    ``pred_embeds``. The RoI heads need a method ``embed(features, boxes)``.

    Args:
        test_dtype: what it computes in at test, if not in the weights' own type.
        kwargs: of ``GeneralizedRCNN``.
    """

    @configurable
    def __init__(self, *, test_dtype: torch.dtype | None = None, **kwargs):
        super().__init__(**kwargs)
        self.test_dtype = test_dtype

    @classmethod
    def from_config(cls, cfg) -> dict:
        return {**super().from_config(cfg), "test_dtype": autocast_dtype(cfg, "TEST")}

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

        for key, embeds_key in GIVEN_BOXES.items():
            if not any(key in x for x in batched_inputs):
                continue
            none = torch.zeros(0, 4)
            boxes = [Boxes(x.get(key, none).to(self.device)) for x in batched_inputs]
            for x, out, embeds in zip(
                batched_inputs, outputs, self.roi_heads.embed(features, boxes), strict=True
            ):
                if key in x:
                    out[embeds_key] = embeds
        return outputs
