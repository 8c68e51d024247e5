"""The contract of models that search for persons.

Shape shorthand in this module:
    n: number of boxes of an image; D: embedding size
"""

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from detectron2.structures import Boxes, Instances, pairwise_iou
from torch import Tensor, nn

from person_search.structures import GIVEN_BOXES


class SearchModel(nn.Module, ABC):
    """Finds the persons of pictures, and says who is in a box.

    ``forward(batched_inputs)`` is detectron2's: losses in training; at test one dict per input with
    ``instances``, in pixels of the frame, that have ``pred_boxes``, ``scores`` and ``pred_embeds``.
    Where an input holds ``query_boxes`` or ``gt_boxes`` (:data:`.GIVEN_BOXES`), each (n, 4) xyxy in
    pixels of its ``image``, they are embedded in the same pass, and the dict has ``query_embeds``
    or ``gt_embeds``, (n, D). All embeddings are float32 and of unit length.

    Attributes:
        training_only: prefixes of the state that a model at test can do without.
    """

    training_only: tuple[str, ...] = ()

    @property
    @abstractmethod
    def embedding_dim(self) -> int:
        """D."""

    @torch.no_grad()
    def embed_boxes(self, batched_inputs: list[dict]) -> list[Tensor]:
        """The embeddings (n, D) of boxes, per input; the model has to be in evaluation mode.

        A model that can embed any box overrides this, and runs no detector. Here, for methods that
        embed only what they find, a box gets the embedding of the detection that overlaps it most.

        Args:
            batched_inputs: dicts with ``image`` and ``query_boxes``, as for :meth:`forward`.
        """
        embeds = []
        scenes = [{k: v for k, v in x.items() if k not in GIVEN_BOXES} for x in batched_inputs]
        for x, output in zip(batched_inputs, self(scenes), strict=True):
            found = output["instances"]
            boxes = Boxes(x["query_boxes"].to(found.scores.device, torch.float32).clone())
            height, width = x["image"].shape[-2:]
            boxes.scale(found.image_size[1] / width, found.image_size[0] / height)
            embeds.append(embeddings_of_nearest(found, boxes))
        return embeds

    @staticmethod
    def answer_given_boxes(
        batched_inputs: list[dict],
        outputs: list[dict],
        embed: Callable[[list[Boxes]], list[Tensor]],
    ) -> list[dict]:
        """The outputs, with the embeddings of the boxes that their inputs hold.

        Args:
            batched_inputs: as for :meth:`forward`.
            outputs: one dict per input, changed in place.
            embed: the embeddings (n, D) of boxes, per image, on the device of the detections.
        """
        for key, embeds_key in GIVEN_BOXES.items():
            if not any(key in x for x in batched_inputs):
                continue
            none = torch.zeros(0, 4)
            boxes = [
                Boxes(x.get(key, none).to(out["instances"].scores.device))
                for x, out in zip(batched_inputs, outputs, strict=True)
            ]
            for x, out, embeds in zip(batched_inputs, outputs, embed(boxes), strict=True):
                if key in x:
                    out[embeds_key] = embeds
        return outputs


def embeddings_of_nearest(found: Instances, boxes: Boxes) -> Tensor:
    """Of each box, the embedding (n, D) of the detection with the largest IoU.

    A box that no detection overlaps gets a row of zeros, which is similar to nobody.

    Args:
        found: detections with ``pred_boxes`` and ``pred_embeds``.
        boxes: n boxes, in the same pixels.
    """
    embeds = found.pred_embeds
    if len(found) == 0:
        return embeds.new_zeros(len(boxes), embeds.shape[1])
    iou, nearest = pairwise_iou(boxes, found.pred_boxes).max(dim=1)
    return embeds[nearest] * (iou > 0)[:, None]
