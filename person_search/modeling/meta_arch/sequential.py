"""RetinaNet first, then an embedder on one of its maps (Loesch et al., ICIP 2019).

Shape shorthand in this module:
    n: number of boxes of an image; D: embedding size
"""

import torch
from detectron2.config import CfgNode as CN
from detectron2.config import configurable
from detectron2.modeling import META_ARCH_REGISTRY
from detectron2.modeling.meta_arch.retinanet import RetinaNet
from detectron2.modeling.postprocessing import detector_postprocess
from detectron2.structures import Boxes, ImageList
from torch import Tensor, nn

from person_search.errors import ConfigError
from person_search.precision import autocast, autocast_dtype
from person_search.structures import GIVEN_BOXES

from ..embedders.base import Embedder
from .base import SearchModel

PARTS = ("detector", "embedder")


@META_ARCH_REGISTRY.register()
class SequentialSearch(SearchModel, RetinaNet):
    """A detector whose backbone is shared up to a stage, and replicas of the stages behind it.

    The two learn one after the other: the detector from boxes; then the embedder from persons, on
    features of the detector, which stays as it is to the last bit. While the detector learns, the
    embedder has no stages of its own, but uses the detector's: its checkpoint is what the replicas
    start from, wherever the cut is.

    Args:
        reid: the embedder; its net has the replicas.
        learns: "detector" or "embedder": which of the two a training trains.
        test_dtype: what it computes in at test, if not in the weights' own type.
        kwargs: of ``RetinaNet``; the backbone is a :class:`.SplitFPN`.
    """

    @configurable
    def __init__(
        self,
        *,
        reid: Embedder,
        learns: str = "detector",
        test_dtype: torch.dtype | None = None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.reid, self.learns, self.test_dtype = reid, learns, test_dtype
        if learns == "detector":
            for stage, _ in [*reid.net.named_children()]:
                setattr(reid.net, stage, self.backbone.base.get_submodule(stage))
        for part in self._at_rest():
            part.requires_grad_(False)

    @classmethod
    def from_config(cls, cfg) -> dict:
        learns = cfg.MODEL.SEQUENTIAL.LEARNS
        if learns not in PARTS:
            raise ConfigError(f"MODEL.SEQUENTIAL.LEARNS is {learns!r}; legal: {', '.join(PARTS)}")
        ret = super().from_config(cfg)
        return {
            **ret,
            "reid": Embedder(cfg, ret["backbone"].output_shape()),
            "learns": learns,
            "test_dtype": autocast_dtype(cfg, "TEST"),
        }

    @property
    def embedding_dim(self) -> int:
        """See :class:`.SearchModel`."""
        return self.reid.head.embedding_dim

    def _at_rest(self) -> list[nn.Module]:
        """The parts that do not learn."""
        if self.learns == "detector":
            return [self.reid.pooler, self.reid.head]
        return [part for part in self.children() if part is not self.reid]

    def train(self, mode: bool = True) -> "SequentialSearch":
        """As ``nn.Module``, but statistics of the parts that do not learn rest."""
        super().train(mode)
        for part in self._at_rest():
            part.eval()
        return self

    def preprocess_image(self, batched_inputs: list[dict]) -> ImageList:
        """As ``RetinaNet``; refuses pictures that a square of fixed side would cut off."""
        square = self.backbone.padding_constraints.get("square_size", 0)
        for x in batched_inputs:
            height, width = x["image"].shape[-2:]
            if 0 < square < max(height, width):
                raise ConfigError(
                    f"a picture of {width}x{height} pixels does not fit into a square of "
                    f"MODEL.SEQUENTIAL.SQUARE {square}: set INPUT.MAX_SIZE_TRAIN and "
                    "INPUT.MAX_SIZE_TEST to at most that"
                )
        return super().preprocess_image(batched_inputs)

    def forward(self, batched_inputs: list[dict]) -> dict[str, Tensor] | list[dict]:
        """See :class:`.SearchModel`; training needs ``instances``, as ``PersonSearchRCNN``.

        An embedder also learns from dicts with ``pooled`` (C, h, w), a row of what
        :meth:`pool_boxes` gives, and ``person_id``.
        """
        if not self.training:
            return self._search(batched_inputs)
        if self.learns == "embedder" and "pooled" in batched_inputs[0]:
            pooled = torch.stack([x["pooled"] for x in batched_inputs]).to(self.device).float()
            person_ids = torch.tensor([x["person_id"] for x in batched_inputs], device=self.device)
            maps = self.reid.encode(pooled)
            return self.reid.head.losses(maps, self.reid.head(maps), person_ids)
        images = self.preprocess_image(batched_inputs)
        targets = [x["instances"].to(self.device) for x in batched_inputs]
        if self.learns == "detector":
            features = self.backbone(images.tensor)
            maps = [features[name] for name in self.head_in_features]
            return self.forward_training(images, maps, self.head(maps), targets)
        with torch.no_grad():
            features = self.backbone(images.tensor)
        maps = self.reid.maps(features, [x.gt_boxes for x in targets])
        person_ids = torch.cat([x.gt_person_ids for x in targets])
        return self.reid.head.losses(maps, self.reid.head(maps), person_ids)

    def _search(self, batched_inputs: list[dict]) -> list[dict]:
        with autocast(self.device, self.test_dtype):
            images = self.preprocess_image(batched_inputs)
            features = self.backbone(images.tensor)
            maps = [features[name] for name in self.head_in_features]
            found = self.forward_inference(images, maps, self.head(maps))
            for x, embeds in zip(
                found, self._embed(features, [x.pred_boxes for x in found]), strict=True
            ):
                x.pred_embeds = embeds
            outputs = [
                {"instances": detector_postprocess(x, scene["height"], scene["width"])}
                for x, scene in zip(found, batched_inputs, strict=True)
            ]
            for key, name in GIVEN_BOXES.items():
                if any(key in x for x in batched_inputs):
                    boxes = [Boxes(x.get(key, torch.zeros(0, 4))) for x in batched_inputs]
                    embeds = self._embed(features, boxes)
                    for x, output, rows in zip(batched_inputs, outputs, embeds, strict=True):
                        output |= {name: rows} if key in x else {}
        return outputs

    @torch.no_grad()
    def embed_boxes(self, batched_inputs: list[dict]) -> list[Tensor]:
        """See :meth:`.SearchModel.embed_boxes`; runs neither the pyramid nor the head."""
        with autocast(self.device, self.test_dtype):
            features = self.backbone.base(self.preprocess_image(batched_inputs).tensor)
            return self._embed(features, [Boxes(x["query_boxes"]) for x in batched_inputs])

    @torch.no_grad()
    def pool_boxes(self, batched_inputs: list[dict]) -> list[Tensor]:
        """(n, C, h, w) pooled features of the ``gt_boxes`` of each input, which nobody encoded."""
        features = self.backbone.base(self.preprocess_image(batched_inputs).tensor)
        boxes = [Boxes(x["gt_boxes"].to(self.device)) for x in batched_inputs]
        return list(self.reid.pool(features, boxes).split([len(b) for b in boxes]))

    def _embed(self, features: dict[str, Tensor], boxes: list[Boxes]) -> list[Tensor]:
        boxes = [of_image.to(self.device) for of_image in boxes]
        return list(self.reid.embed(features, boxes).split([len(b) for b in boxes]))


def add_sequential_config(cfg: CN) -> None:
    """Keys of SequentialSearch beside detectron2's ``MODEL.RETINANET``."""
    cfg.MODEL.SEQUENTIAL = CN()
    # What a training trains: "detector" | "embedder", which leaves the detector as it is
    cfg.MODEL.SEQUENTIAL.LEARNS = "detector"
    # Side of the square that pictures are padded to, at the right and below; 0: no more than a
    # batch needs. With the same number as INPUT.MIN_SIZE_* and MAX_SIZE_* it is a letterbox.
    cfg.MODEL.SEQUENTIAL.SQUARE = 0
