"""AlignPS: anchor-free person search (Yan et al., CVPR 2021).

Shape shorthand in this module:
    N: number of images; C: channels of every map, which is the embedding size
    h, w: size of P3, the map of stride 8
"""

import torch
import torch.nn.functional as F
from detectron2.config import CfgNode as CN
from detectron2.config import configurable
from detectron2.modeling import META_ARCH_REGISTRY, Backbone, build_backbone
from detectron2.modeling.postprocessing import detector_postprocess
from detectron2.structures import Boxes, ImageList, Instances
from torch import Tensor

from person_search.errors import ConfigError
from person_search.precision import autocast, autocast_dtype

from ..backbone.afa import AlignedFeatureAggregation
from ..embedders.location import LocationEmbedder, LocationPooler
from ..identity.base import build_identity_head, require_person_ids
from ..proposal_generator.anchor_free import AnchorFreeDetector, AnchorFreeHead
from .base import SearchModel, embeddings_of_nearest

EMBED_AT = ("center", "detection")
MAPS = ("res3", "res4", "res5")
"""What the neck reads: strides 8, 16 and 32."""


@META_ARCH_REGISTRY.register()
class AlignPS(SearchModel):
    """Detects and embeds persons on one map, P3: an embedding is the feature of a location.

    From P3 its own mean over the picture is taken; what is left is the embedding at each location
    ("re-ID first"), and what the detector sees. Training targets need a field ``gt_person_ids``.

    Args:
        backbone: puts out the maps of strides 8, 16 and 32.
        neck: makes P3 of them, and in training coarser maps.
        detector: finds persons on P3.
        reid: embedder of locations of P3.
        pixel_mean, pixel_std: per channel, in the scale of the images.
        embed_at: "center": the embedding of a box, detected or given, is that of the location that
            its center lies in. "detection", as published: a detection has the embedding of the
            location that found it; a given box has that of the detection that overlaps it most,
            and a row of zeros where none does, which is similar to nobody.
        test_dtype: what it computes in at test, if not in the weights' own type.

    Raises:
        ConfigError: another ``embed_at``.
    """

    @configurable
    def __init__(
        self,
        *,
        backbone: Backbone,
        neck: AlignedFeatureAggregation,
        detector: AnchorFreeDetector,
        reid: LocationEmbedder,
        pixel_mean: tuple[float, ...],
        pixel_std: tuple[float, ...],
        embed_at: str = "center",
        test_dtype: torch.dtype | None = None,
    ):
        super().__init__()
        if embed_at not in EMBED_AT:
            raise ConfigError(
                f"MODEL.ALIGN_PS.EMBED_AT is {embed_at!r}; legal: {', '.join(EMBED_AT)}"
            )
        self.backbone, self.neck, self.detector, self.reid = backbone, neck, detector, reid
        self.embed_at, self.test_dtype = embed_at, test_dtype
        self.register_buffer("pixel_mean", torch.tensor(pixel_mean).view(-1, 1, 1), False)
        self.register_buffer("pixel_std", torch.tensor(pixel_std).view(-1, 1, 1), False)

    @classmethod
    def from_config(cls, cfg) -> dict:
        backbone = build_backbone(cfg)
        shapes = backbone.output_shape()
        if absent := [name for name in MAPS if name not in shapes]:
            raise ConfigError(
                f"MODEL.META_ARCHITECTURE {cls.__name__} reads {absent}, but the backbone puts out "
                f"{', '.join(shapes)}: set MODEL.BACKBONE.SPLIT_AT res5 and "
                f"MODEL.RESNETS.OUT_FEATURES to {list(MAPS)}"
            )
        channels, stride = cfg.MODEL.REID.EMBEDDING_DIM, shapes[MAPS[0]].stride
        if channels % 64:
            raise ConfigError(
                f"MODEL.REID.EMBEDDING_DIM is {channels}: {cls.__name__} needs a multiple of 64, "
                "since it is also the width of its convolutions, which have group norm"
            )
        head = build_identity_head(cfg, {"p3": channels})
        return {
            "backbone": backbone,
            "neck": AlignedFeatureAggregation([shapes[m].channels for m in MAPS], channels),
            "detector": AnchorFreeDetector(
                head=AnchorFreeHead(channels),
                stride=stride,
                score_thresh=cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST,
                topk=cfg.MODEL.RPN.PRE_NMS_TOPK_TEST,
                nms_thresh=cfg.MODEL.ROI_HEADS.NMS_THRESH_TEST,
                max_detections=cfg.TEST.DETECTIONS_PER_IMAGE,
            ),
            "reid": LocationEmbedder(LocationPooler("p3", stride, channels), head),
            "pixel_mean": cfg.MODEL.PIXEL_MEAN,
            "pixel_std": cfg.MODEL.PIXEL_STD,
            "embed_at": cfg.MODEL.ALIGN_PS.EMBED_AT,
            "test_dtype": autocast_dtype(cfg, "TEST"),
        }

    @property
    def device(self) -> torch.device:
        return self.pixel_mean.device

    @property
    def embedding_dim(self) -> int:
        """See :class:`.SearchModel`."""
        return self.reid.head.embedding_dim

    def forward(self, batched_inputs: list[dict]) -> dict[str, Tensor] | list[dict]:
        """See :class:`.SearchModel`."""
        if not self.training:
            with autocast(self.device, self.test_dtype):
                return self._search(batched_inputs)
        targets = [x["instances"].to(self.device) for x in batched_inputs]
        require_person_ids(targets, type(self).__name__)
        levels = self._levels(self.preprocess_image(batched_inputs))
        boxes = [x.gt_boxes.tensor for x in targets]
        assigned = self.detector.assign(levels[0], boxes)
        return self.detector.losses(levels, boxes, assigned) | self._reid_losses(
            levels[0], assigned, targets
        )

    @torch.no_grad()
    def embed_boxes(self, batched_inputs: list[dict]) -> list[Tensor]:
        """See :meth:`.SearchModel.embed_boxes`; with ``embed_at`` "center" nothing is detected."""
        if self.embed_at == "detection":
            return super().embed_boxes(batched_inputs)
        with autocast(self.device, self.test_dtype):
            p3 = self._levels(self.preprocess_image(batched_inputs))[0]
            boxes = [Boxes(x["query_boxes"].to(self.device)) for x in batched_inputs]
            return self._embed(p3, boxes)

    def preprocess_image(self, batched_inputs: list[dict]) -> ImageList:
        """The images, normalized and padded to one size."""
        images = [(x["image"].to(self.device) - self.pixel_mean) for x in batched_inputs]
        images = [image / self.pixel_std for image in images]
        return ImageList.from_tensors(images, self.backbone.size_divisibility)

    def _levels(self, images: ImageList) -> list[Tensor]:
        """P3, centered, and in training the coarser maps."""
        maps = self.backbone(images.tensor)
        p3, *coarser = self.neck([maps[name] for name in MAPS])
        return [_centered(p3, images.image_sizes, self.detector.stride), *coarser]

    def _reid_losses(
        self, p3: Tensor, assigned: Tensor, targets: list[Instances]
    ) -> dict[str, Tensor]:
        images, cells = (assigned >= 0).nonzero(as_tuple=True)
        ids = [x.gt_person_ids[own[own >= 0]] for x, own in zip(targets, assigned, strict=True)]
        maps = self.reid.maps_at({"p3": p3}, images, cells)
        return self.reid.head.losses(maps, self.reid.head(maps), torch.cat(ids))

    def _search(self, batched_inputs: list[dict]) -> list[dict]:
        images = self.preprocess_image(batched_inputs)
        p3 = self._levels(images)[0]
        found = self.detector(p3, images.image_sizes)
        for x, embeds in zip(found, self._embed_found(p3, found), strict=True):
            x.pred_embeds = embeds
        outputs = []
        for x, of_image, size in zip(batched_inputs, found, images.image_sizes, strict=True):
            # What is handed over is scaled in place.
            fields = of_image.get_fields() | {"pred_boxes": of_image.pred_boxes.clone()}
            frame = x.get("height", size[0]), x.get("width", size[1])
            outputs.append({"instances": detector_postprocess(Instances(size, **fields), *frame)})

        def embed(boxes: list[Boxes]) -> list[Tensor]:
            if self.embed_at == "center":
                return self._embed(p3, boxes)
            return [embeddings_of_nearest(x, b) for x, b in zip(found, boxes, strict=True)]

        return self.answer_given_boxes(batched_inputs, outputs, embed)

    def _embed_found(self, p3: Tensor, found: list[Instances]) -> list[Tensor]:
        if self.embed_at == "center":
            return self._embed(p3, [x.pred_boxes for x in found])
        rows = p3.flatten(2).transpose(1, 2).float()
        return [F.normalize(of_image[x.cells]) for of_image, x in zip(rows, found, strict=True)]

    def _embed(self, p3: Tensor, boxes: list[Boxes]) -> list[Tensor]:
        return list(self.reid.embed({"p3": p3}, boxes).split([len(x) for x in boxes]))


def _centered(p3: Tensor, image_sizes: list[tuple[int, int]], stride: int) -> Tensor:
    """The map (N, C, h, w) less its mean over the cells of each image, without those of padding."""
    parts = []
    for of_image, (height, width) in zip(p3, image_sizes, strict=True):
        rows, columns = (-(-n // stride) for n in (height, width))  # rounded up
        parts.append(of_image - of_image[:, :rows, :columns].mean(dim=(1, 2), keepdim=True))
    return torch.stack(parts)


def add_align_ps_config(cfg: CN) -> None:
    """Keys of AlignPS. Moreover it reads

    * ``MODEL.REID.EMBEDDING_DIM``: the channels of its maps, a multiple of 64;
    * ``MODEL.ROI_HEADS.SCORE_THRESH_TEST``, ``NMS_THRESH_TEST``, ``MODEL.RPN.PRE_NMS_TOPK_TEST``
      and ``TEST.DETECTIONS_PER_IMAGE``: of its detector.
    """
    cfg.MODEL.ALIGN_PS = CN()
    # Whose feature the embedding of a box is. "center": the location of its center, for detections,
    # queries and annotations alike | "detection": as published, that of the location that found a
    # detection; a query has the embedding of the detection that overlaps it most, and none where
    # nothing does
    cfg.MODEL.ALIGN_PS.EMBED_AT = "center"
