"""The re-ID half of a person search model on its own: crops in, embeddings out (STL, step 1)."""

import torch
from detectron2.config import configurable
from detectron2.modeling import META_ARCH_REGISTRY, Backbone, build_backbone
from torch import Tensor, nn

from person_search.errors import ConfigError
from person_search.layers.zero_loss import zero_loss
from person_search.precision import autocast, autocast_dtype

from ..embedders.base import Embedder
from ..embedders.crop import WholeImage


@META_ARCH_REGISTRY.register()
class ReIDBaseline(nn.Module):
    """A whole backbone, cut like that of a person search model, and a re-ID head.

    Base, identification net and BN neck carry the names they have in a person search model, which
    is why a checkpoint of this model can be its ``MODEL.WEIGHTS``.

    Args:
        backbone: the base.
        reid: embedder of crops (``MODEL.REID.POOLER WholeImage``).
        pixel_mean, pixel_std: per channel, in the scale of the images.
        test_dtype: what it computes in at test, if not in the weights' own type.

    Raises:
        ConfigError: the embedder has another pooler.
    """

    source = "crops"  # the DATALOADER.SOURCE that it learns from

    @configurable
    def __init__(
        self,
        *,
        backbone: Backbone,
        reid: Embedder,
        pixel_mean: tuple[float, ...],
        pixel_std: tuple[float, ...],
        test_dtype: torch.dtype | None = None,
    ):
        super().__init__()
        if not isinstance(reid.pooler, WholeImage):
            raise ConfigError(
                "ReIDBaseline sees crops, which have no boxes to pool: set MODEL.REID.POOLER "
                "WholeImage"
            )
        self.backbone, self.reid, self.test_dtype = backbone, reid, test_dtype
        self.register_buffer("pixel_mean", torch.tensor(pixel_mean).view(-1, 1, 1), False)
        self.register_buffer("pixel_std", torch.tensor(pixel_std).view(-1, 1, 1), False)

    @classmethod
    def from_config(cls, cfg) -> dict:
        backbone = build_backbone(cfg)
        return {
            "backbone": backbone,
            "reid": Embedder(cfg, backbone.output_shape()),
            "pixel_mean": cfg.MODEL.PIXEL_MEAN,
            "pixel_std": cfg.MODEL.PIXEL_STD,
            "test_dtype": autocast_dtype(cfg, "TEST"),
        }

    @property
    def device(self) -> torch.device:
        return self.pixel_mean.device

    def forward(self, batched_inputs: list[dict]) -> dict[str, Tensor] | list[dict]:
        """Losses in training, else one dict with ``embeds`` (D,) of unit length per input.

        Args:
            batched_inputs: dicts with ``image`` (3, H, W), all of one size, and in training
                ``person_id``.
        """
        images = torch.stack([x["image"].to(self.device) for x in batched_inputs]).float()
        images = (images - self.pixel_mean) / self.pixel_std
        if self.training:
            ids = torch.tensor([x["person_id"] for x in batched_inputs], device=self.device)
            return self.rows_and_losses(images, ids)[1]
        with autocast(self.device, self.test_dtype):
            return [{"embeds": embeds} for embeds in self.reid.embed_crops(self.backbone(images))]

    def rows_and_losses(
        self, images: Tensor, person_ids: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Rows (R, D), not of unit length, and losses of normalized crops (R, 3, H, W).

        R may be 0: the losses are 0 then, and their gradients reach every parameter.
        """
        if len(images):
            maps = self.reid.encode(self.reid.pool_crops(self.backbone(images)))
        else:
            maps = self.reid.nobody()
        rows = self.reid.head(maps)
        losses = self.reid.head.losses(maps, rows, person_ids)
        if not len(images):
            losses = {name: loss + zero_loss(self.backbone) for name, loss in losses.items()}
        return rows, losses
