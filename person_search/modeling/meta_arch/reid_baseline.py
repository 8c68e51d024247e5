"""The re-ID half of a person search model on its own: crops in, embeddings out (STL, step 1)."""

import torch
from detectron2.config import configurable
from detectron2.modeling import META_ARCH_REGISTRY, Backbone, build_backbone
from torch import Tensor, nn

from ..reid import ReIDBranch


@META_ARCH_REGISTRY.register()
class ReIDBaseline(nn.Module):
    """A whole backbone, cut like that of a person search model, and a re-ID head.

    Base, identification net and BN neck carry the names they have in a person search model, which
    is why a checkpoint of this model can be its ``MODEL.WEIGHTS``.

    Args:
        backbone: the base.
        reid: branch whose pooler takes whole images (``MODEL.REID.POOLER WholeImage``).
        pixel_mean, pixel_std: per channel, in the scale of the images.
    """

    @configurable
    def __init__(
        self,
        *,
        backbone: Backbone,
        reid: ReIDBranch,
        pixel_mean: tuple[float, ...],
        pixel_std: tuple[float, ...],
    ):
        super().__init__()
        self.backbone, self.reid = backbone, reid
        self.register_buffer("pixel_mean", torch.tensor(pixel_mean).view(-1, 1, 1), False)
        self.register_buffer("pixel_std", torch.tensor(pixel_std).view(-1, 1, 1), False)

    @classmethod
    def from_config(cls, cfg) -> dict:
        backbone = build_backbone(cfg)
        return {
            "backbone": backbone,
            "reid": ReIDBranch(cfg, backbone.output_shape()),
            "pixel_mean": cfg.MODEL.PIXEL_MEAN,
            "pixel_std": cfg.MODEL.PIXEL_STD,
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
        features = self.backbone((images - self.pixel_mean) / self.pixel_std)
        if self.training:
            ids = torch.tensor([x["person_id"] for x in batched_inputs], device=self.device)
            return self.reid.losses(features, [], [ids])
        return [{"embeds": embeds} for embeds in self.reid.embed(features, [])]
