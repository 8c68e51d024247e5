#!/usr/bin/env python
"""What the backbone sees in a picture, for several weights: feature maps before training.

    python tools/visualize_features.py --config-file configs/PRW/stl_mrfp.yaml --image frame.jpg \
        --weights random resnet50_ibn_a.pth output/ReID-Pretrain/PRW/model_final.pth

Writes one PNG with a row per weights: for each stage the mean over its channels, then the channels
with the largest mean. Every map has a color scale of its own, from its 1st to its 99th percentile.
Needs neither a data set nor a GPU.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from detectron2.data import detection_utils
from detectron2.data import transforms as T
from detectron2.modeling import build_model
from detectron2.structures import ImageList
from detectron2.utils.env import seed_all_rng
from matplotlib.figure import Figure
from torch import Tensor, nn

from person_search import read_config
from person_search.command import positive, run_program
from person_search.data.crop_cache import cut_out
from person_search.engine import PersonSearchCheckpointer
from person_search.errors import ConfigError
from person_search.images import read_image
from person_search.modeling.backbone.split import STAGES

RANDOM = "random"


def network_input(cfg, file: str) -> np.ndarray:
    """(H, W, 3) uint8, the picture as a model of this config gets it at test."""
    image = read_image(file, cfg.INPUT.FORMAT)
    if cfg.DATALOADER.SOURCE == "crops":
        return cut_out(image, None, tuple(cfg.INPUT.REID.SIZE))
    aug_input = T.AugInput(image)
    T.AugmentationList(detection_utils.build_augmentation(cfg, is_train=False))(aug_input)
    return aug_input.image


def initial_model(cfg, weights: str) -> nn.Module:
    """The model of a config with the weights of a file, or random ones."""
    seed_all_rng(max(cfg.SEED, 0))
    model = build_model(cfg).eval()
    if weights != RANDOM:
        PersonSearchCheckpointer(model).load(weights)
    return model


@torch.no_grad()
def stage_maps(model: nn.Module, image: np.ndarray, stages: list[str]) -> dict[str, Tensor]:
    """Output (C, h, w) of stages of the model's backbone, wherever they stand in it.

    Args:
        model: with ``backbone``, ``pixel_mean`` and ``pixel_std``.
        image: (H, W, 3) uint8.
        stages: of :data:`STAGES`.

    Raises:
        ConfigError: the backbone lacks one.
    """
    found = {name.split(".")[-1]: m for name, m in model.backbone.named_modules()}
    known = [stage for stage in STAGES if stage in found]
    if absent := [stage for stage in stages if stage not in known]:
        raise ConfigError(f"the backbone has no {', '.join(absent)}; --stages: {', '.join(known)}")
    maps = {}
    hooks = [
        found[s].register_forward_hook(lambda _m, _i, out, s=s: maps.update({s: out[0]}))
        for s in stages
    ]
    pixels = torch.tensor(image.transpose(2, 0, 1).copy()).float()
    normal = (pixels.to(model.device) - model.pixel_mean) / model.pixel_std
    padded = ImageList.from_tensors([normal], model.backbone.size_divisibility)
    model.backbone(padded.tensor)
    for hook in hooks:
        hook.remove()
    # Padding behind the right and lower edge is no part of the picture.
    share = [n / p for n, p in zip(image.shape[:2], padded.tensor.shape[2:], strict=True)]
    sizes = {s: [round(n * f) for n, f in zip(maps[s].shape[1:], share, strict=True)] for s in maps}
    return {s: maps[s][:, : sizes[s][0], : sizes[s][1]] for s in stages}


def panels_of(features: Tensor, number: int) -> list[tuple[str, np.ndarray]]:
    """(title, (h, w) map): the mean over the channels, then the strongest channels."""
    strongest = features.mean(dim=(1, 2)).topk(min(number, len(features))).indices.tolist()
    chosen = [("mean", features.mean(dim=0)), *((f"channel {c}", features[c]) for c in strongest)]
    return [(title, feature.float().cpu().numpy()) for title, feature in chosen]


def draw_features(
    rows: list[tuple[str, dict[str, Tensor]]],
    picture: np.ndarray,
    title: str,
    number: int,
    path: Path,
) -> None:
    """Write the picture.

    Args:
        rows: name of the weights, and stage -> (C, h, w).
        picture: (H, W, 3) uint8 RGB.
        title: of the whole.
        number: channels to show per stage.
        path: of the PNG.
    """
    panels = [
        [
            (f"{stage}, {what}", feature)
            for stage, features in maps.items()
            for what, feature in panels_of(features, number)
        ]
        for _, maps in rows
    ]
    columns = 1 + len(panels[0])
    height, width = picture.shape[:2]
    cell = 2.6
    figure = Figure(
        figsize=(cell * columns, (cell * height / width + 0.35) * len(rows) + 0.6),
        layout="constrained",
    )
    grid = figure.subplots(len(rows), columns, squeeze=False)
    for row, (name, _), of_row in zip(grid, rows, panels, strict=True):
        row[0].imshow(picture)
        row[0].set_title(name, loc="left", fontweight="bold", fontsize=11)
        for axis, (what, feature) in zip(row[1:], of_row, strict=True):
            low, high = np.percentile(feature, [1, 99])
            axis.imshow(feature, cmap="magma", vmin=low, vmax=high)
            axis.set_title(what, fontsize=11)
    for axis in grid.ravel():
        axis.set(xticks=[], yticks=[])
    figure.suptitle(title, fontsize=14)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config-file", required=True)
    parser.add_argument("--image", required=True, help="a scene, or a crop for a re-ID config")
    parser.add_argument(
        "--weights", nargs="+", default=[RANDOM], help=f"files, or {RANDOM!r} (default: that)"
    )
    parser.add_argument("--stages", nargs="+", default=["res2", "res3"], help="default: res2 res3")
    parser.add_argument("--channels", type=positive, default=2, help="shown per stage (default: 2)")
    parser.add_argument("--output", type=Path, default=Path("output", "pictures", "features.png"))
    parser.add_argument("--opts", nargs=argparse.REMAINDER, default=[], help="KEY VALUE pairs")
    args = parser.parse_args()
    no_data = ["MODEL.DEVICE", "cpu", "MODEL.REID.NUM_IDS", "0"]
    cfg = read_config(args.config_file, [*args.opts, *no_data])
    image = network_input(cfg, args.image)
    rows = [
        (str(Path(*Path(w).parts[-2:])), stage_maps(initial_model(cfg, w), image, args.stages))
        for w in args.weights
    ]
    picture = image if cfg.INPUT.FORMAT == "RGB" else image[:, :, ::-1]
    title = f"Feature maps of {Path(args.image).name} before training ({args.config_file})"
    draw_features(rows, picture, title, args.channels, args.output)
    print(args.output)


if __name__ == "__main__":
    run_program(main)
