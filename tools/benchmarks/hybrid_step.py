"""Time and memory of a step of hybrid pre-training, against NAE's on one view of the same images.

Both have the same weights' shapes, input sizes and numbers of RoIs. NAE is given one view of each
image, scenes and canvases apart, so that neither is padded to the size of the other. Each runs in a
process of its own; time is that of the fastest step, on a CPU of the processor; memory is what the
steps take beyond the program, the model and its batches.
"""

import argparse
from itertools import islice

import torch
from detectron2.modeling import build_model
from detectron2.utils.env import seed_all_rng
from torch import nn

from person_search.data import build_train_loader
from person_search.errors import ConfigError

from .common import (
    add_config_arguments,
    device_name,
    in_fresh_process,
    print_rows,
    read_configs,
    step_figures,
    step_ratios,
)

NAE = ("MODEL.META_ARCHITECTURE", "PersonSearchRCNN", "MODEL.ROI_HEADS.NAME", "NormAwareROIHeads")


class FirstViews(nn.Module):
    """A model of scenes, trained on the first view of each image of a batch; one pass per kind."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(self, batch: list[dict]) -> dict[str, torch.Tensor]:
        """The losses, weighted as those of one batch."""
        kinds = {x["kind"]: [y["views"][0] for y in batch if y["kind"] == x["kind"]] for x in batch}
        return {
            f"{kind}/{name}": len(views) / len(batch) * loss
            for kind, views in kinds.items()
            for name, loss in self.model(views).items()
        }


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--steps", type=int, default=5, help="of each model (default: 5)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    add_config_arguments(parser, "configs/Hybrid-Pretrain/Street.yaml")


def run(args: argparse.Namespace) -> None:
    rows = []
    for path, cfg in read_configs(args, "DATALOADER.NUM_WORKERS", "0").items():
        if cfg.DATALOADER.SOURCE != "hybrid":
            raise ConfigError(f"{path} is no hybrid pre-training: take one of Hybrid-Pretrain")
        figures = {
            "NAE": in_fresh_process(measure, cfg, args.steps, True),
            "hybrid": in_fresh_process(measure, cfg, args.steps, False),
        }
        for model, of_model in figures.items():
            ratios = step_ratios(of_model, figures["NAE"])
            rows.append({"config": path, "model": model, **of_model, **ratios})
    note = f"ratios to NAE on one view; {device_name(cfg.MODEL.DEVICE)}"
    print_rows(rows, args.json, note)


def measure(cfg, steps: int, one_view: bool) -> dict[str, float]:
    """Figures of the training step of a hybrid config, or of NAE on its first views."""
    seed_all_rng(max(cfg.SEED, 0))
    batches = list(islice(build_train_loader(cfg), steps))
    if one_view:
        cfg.merge_from_list(NAE)
    model = build_model(cfg)
    model = FirstViews(model) if one_view else model
    return {"images": len(batches[0]), **step_figures(cfg, model, batches)}
