"""The two parts of a two-step pack, from torch weights: a detector, and an embedder of crops.

    settings = export_detector("fasterrcnn_resnet50_fpn_v2_coco-dd69338a.pth", "detector.onnx")

The settings say what a pack has to know of the network, as :func:`person_search.packs.make` takes
them.
"""

import os
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from person_search.errors import ConfigError
from person_search.files import atomic_write
from person_search.modeling.meta_arch.reid_baseline import ReIDBaseline

from .export import decimals
from .torchvision_detectors import PERSON, read_detector
from .tracing import noise, trace


class _Persons(nn.Module):
    """Pictures (1, 3, H, W) in 0..1 -> boxes (n, 4) xyxy in their pixels and scores (n,)."""

    def __init__(self, detector: nn.Module):
        super().__init__()
        self.detector = detector
        detector.transform.resize = self._resize

    def _resize(self, picture: Tensor, target: None) -> tuple[Tensor, None]:
        """As torchvision's ``GeneralizedRCNNTransform.resize``, which in a trace loses a row.

        There the scale is a float32, and a product with the reciprocal: 100 rows, times
        (1 / 100) x 320, are a little less than 320, of which 319 are left. 720x576 with 800 and
        1333: 800 / 576 = 1.389 makes 1000x800.
        """
        transform, shape = self.detector.transform, torch._shape_as_tensor(picture)[1:]
        short, long = shape.min().double(), shape.max().double()
        scale = torch.minimum(transform.min_size[-1] / short, transform.max_size / long)
        size = (shape.double() * scale + 1e-4).floor().long()
        resized = F.interpolate(picture[None], size=tuple(size), mode="bilinear")
        return resized[0], None

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        (found,) = self.detector([pictures[0]])
        (rows,) = torch.where(found["labels"] == PERSON)
        return found["boxes"][rows], found["scores"][rows]


class _Crops(nn.Module):
    """Normalized crops (n, 3, h, w) -> unit embeddings (n, D)."""

    def __init__(self, network: ReIDBaseline):
        super().__init__()
        self.network = network

    def forward(self, crops: Tensor) -> Tensor:
        return self.network.reid.embed_crops(self.network.backbone(crops))


def export_detector(
    weights: str | os.PathLike, output: str | os.PathLike, builder: str | None = None
) -> list[str]:
    """Write one of torchvision's detectors as ONNX: pictures of any size, persons alone.

    It resizes and normalizes pictures, and suppresses what overlaps, in the graph.

    Args:
        weights: as :func:`.torchvision_detectors.read_detector` takes them.
        output: the file to write.
        builder: likewise.

    Returns:
        settings, "detector.color=RGB" and so on.

    Raises:
        WeightsError: the weights are of none of them.
        PackError: the package onnx is missing.
    """
    _, detector = read_detector(weights, builder)
    heads = getattr(detector, "roi_heads", detector)
    shapes = {"pictures": [1, 3, "height", "width"], "boxes": ["n", 4], "scores": ["n"]}
    _write(output, trace(_Persons(detector), {"pictures": noise(1, 3, 96, 192)}, shapes))
    return [
        "detector.resize=none",
        "detector.color=RGB",
        "detector.std=[255, 255, 255]",
        "detector.decode=boxes_scores",
        "detector.person_class=0",
        f"detector.nms_iou={heads.nms_thresh}",
    ]


def export_embedder(
    network: nn.Module,
    output: str | os.PathLike,
    *,
    size: tuple[int, int],
    color: str,
    resize: str,
) -> list[str]:
    """Write a network of crops as ONNX.

    Args:
        network: a ``ReIDBaseline`` with its weights.
        output: the file to write.
        size: (height, width) of a crop.
        color: "RGB" or "BGR".
        resize: how a crop is brought to that size, see :func:`person_search.packs.pixels.cut_out`.

    Returns:
        settings, "embedder.color=RGB" and so on.

    Raises:
        ConfigError: another network.
        PackError: the package onnx is missing.
    """
    if not isinstance(network, ReIDBaseline):
        raise ConfigError(
            f"{type(network).__name__} embeds no crops: the embedder of a pack is a ReIDBaseline "
            "(configs/ReID-Pretrain); a search model becomes a pack of its own, tools/export.py"
        )
    crops = noise(2, 3, *size)
    with torch.no_grad():
        dim = _Crops(network.eval())(crops).shape[1]
    shapes = {"crops": ["batch", 3, *size], "embeds": ["batch", dim]}
    _write(output, trace(_Crops(network), {"crops": crops}, shapes))
    return [
        f"embedder.resize={resize}",
        f"embedder.color={color}",
        f"embedder.mean={list(decimals(network.pixel_mean))}",
        f"embedder.std={list(decimals(network.pixel_std))}",
    ]


def _write(output: str | os.PathLike, graph: bytes) -> None:
    with atomic_write(Path(output)) as temporary:
        temporary.write_bytes(graph)
