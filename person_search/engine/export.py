"""A search model as a pack: two ONNX graphs over one file of weights, which need no torch.

The graphs are traced with one picture, and run for pictures of any size and any number of boxes.

Shape shorthand in this module:
    h, w: size of the network's input; n: boxes; D: embedding size
"""

import hashlib
import os
from pathlib import Path

import torch
from detectron2.data import transforms as T
from detectron2.structures import Boxes, ImageList
from torch import Tensor, nn

from person_search.data.transforms import FloatResizeShortestEdge
from person_search.errors import ConfigError, PackError
from person_search.files import atomic_write, optional_module
from person_search.modeling.roi_heads.base import EmbeddingROIHeads
from person_search.packs.files import file_hash
from person_search.packs.spec import FORMAT, PackFile, PackSpec, SearchNetworkSpec

from .tracing import noise, trace

WEIGHTS = "weights.bin"

_ALIGN = 64
"""Weights begin at multiples of so many bytes, so that a runtime can map the file."""

_SMALLEST = 1024
"""Tensors of less bytes stay in the graph."""


class _Detect(nn.Module):
    """Picture (3, h, w), normalized, and its (2,) size without padding -> boxes, scores, rows."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(self, image: Tensor, size: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        model, images = self.model, ImageList(image[None], [(size[0], size[1])])
        features = model.backbone(images.tensor)
        proposals, _ = model.proposal_generator(images, features, None)
        (found,), _ = model.roi_heads(images, features, proposals)
        return found.pred_boxes.tensor, found.scores, found.pred_embeds


class _Embed(nn.Module):
    """Picture (3, h, w), normalized, and boxes (n, 4) in its pixels -> rows (n, D)."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(self, image: Tensor, boxes: Tensor) -> Tensor:
        features = self.model.backbone(image[None])
        return self.model.roi_heads.embed(features, [Boxes(boxes)])[0]


def export_pack(
    network: nn.Module,
    mapper,
    folder: str | os.PathLike,
    *,
    score_thresh: float,
    trained_on: str,
    license: str = "that of the weights",
) -> PackSpec:
    """Write a one-step pack.

    Args:
        network: a search model whose RoI heads embed boxes (STL, OIM, NAE, SeqNet).
        mapper: makes its inputs at test.
        folder: of the pack; made if needed.
        score_thresh: persons with a lower score are not reported.
        trained_on: the data that the weights learned from.
        license: of the weights.

    Raises:
        ConfigError: a model, or a way to resize, that a pack cannot have.
        PackError: the folder cannot be written.
    """
    if not isinstance(getattr(network, "roi_heads", None), EmbeddingROIHeads):
        raise ConfigError(
            f"{type(network).__name__} cannot be exported: a pack needs RoI heads that embed "
            "boxes, as STL, OIM, NAE and SeqNet have; models without them run with torch alone"
        )
    folder, network = Path(folder), network.eval()
    resize, dim = _resize_of(mapper), network.embedding_dim
    image: dict[str, list[int | str]] = {"image": [3, "height", "width"]}
    graphs = {
        "detect.onnx": trace(
            _Detect(network),
            {"image": noise(3, 96, 128), "size": torch.tensor([96.0, 128.0])},
            {**image, "boxes": ["n", 4], "scores": ["n"], "embeds": ["n", dim]},
        ),
        "embed.onnx": trace(
            _Embed(network),
            {"image": noise(3, 96, 128), "boxes": torch.tensor([[8.0, 8, 60, 90], [9, 9, 90, 80]])},
            {**image, "boxes": ["n", 4], "embeds": ["n", dim]},
        ),
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _write(folder, graphs)
        spec = PackSpec(
            format=FORMAT,
            name=folder.resolve().name,
            kind="one-step",
            license=license,
            trained_on=trained_on,
            score_thresh=score_thresh,
            files={
                name: PackFile((file_hash(folder / name),), size=(folder / name).stat().st_size)
                for name in (*graphs, WEIGHTS)
            },
            network=SearchNetworkSpec(
                detect="detect.onnx",
                embed="embed.onnx",
                min_size=resize.short_edge_length[0],
                max_size=resize.max_size,
                resize="torchvision" if isinstance(resize, FloatResizeShortestEdge) else "pillow",
                dim=dim,
                divisible=max(network.backbone.size_divisibility, 1),
                color=mapper.image_format,
                mean=decimals(network.pixel_mean),
                std=decimals(network.pixel_std),
            ),
        )
        spec.write(folder)
    except OSError as error:
        raise PackError(f"{folder} cannot be written: {error.strerror or error}") from error
    return spec


def _resize_of(mapper) -> T.ResizeShortestEdge:
    """How a mapper resizes pictures at test, which has to be a way that packs know."""
    steps = list(mapper.augmentations.augs)
    resize = steps[0] if len(steps) == 1 else None
    known = type(resize) in (T.ResizeShortestEdge, FloatResizeShortestEdge)
    if not known or len(set(resize.short_edge_length)) != 1:
        raise ConfigError(
            "a pack resizes pictures by their shorter side (INPUT.MIN_SIZE_TEST, MAX_SIZE_TEST) "
            f"and does nothing else to them, but the config asks for {steps}"
        )
    return resize


def decimals(values: Tensor) -> tuple[float, ...]:
    """float32 as people write it: 123.675, not 123.67500305175781."""
    return tuple(float(str(value)) for value in values.flatten().cpu().numpy())


def _write(folder: Path, graphs: dict[str, bytes]) -> None:
    """Write the graphs, and the weights that they share into one file."""
    onnx = optional_module("onnx", "export", PackError)
    places: dict[bytes, int] = {}
    with atomic_write(folder / WEIGHTS) as temporary, open(temporary, "wb") as file:
        for name, graph in graphs.items():
            model = onnx.load_from_string(graph)
            for tensor in model.graph.initializer:
                data = tensor.raw_data
                if len(data) < _SMALLEST:
                    continue
                digest = hashlib.sha256(data).digest()
                if digest not in places:
                    file.write(b"\0" * (-file.tell() % _ALIGN))
                    places[digest] = file.tell()
                    file.write(data)
                tensor.ClearField("raw_data")
                tensor.data_location = onnx.TensorProto.EXTERNAL
                where = {"location": WEIGHTS, "offset": places[digest], "length": len(data)}
                for key, value in where.items():
                    tensor.external_data.add(key=key, value=str(value))
            with atomic_write(folder / name) as graph_file:
                graph_file.write_bytes(model.SerializeToString())
