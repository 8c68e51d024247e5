"""Milliseconds per frame of a person search model, by stage, for several network input sizes.

Weights and pictures are random, but the number of persons is fixed: every frame keeps exactly
--persons detections, which all get an embedding (compare models at the same number only). Stages:
base, proposals, box head with its NMS, embedder (re-ID), and the rest (transfer, normalization,
post-processing). They are read in one and the same pass, so they add up to the total; each is the
median over the repeats. Configs take turns, so that a busy machine slows all of them alike. On a
GPU every reading waits for it, which costs a little speed.
"""

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product

import torch
from detectron2.modeling import Backbone, build_model
from detectron2.modeling.proposal_generator import RPN
from detectron2.modeling.roi_heads import ROIHeads
from detectron2.utils.env import seed_all_rng
from torch import nn

from person_search.errors import ConfigError
from person_search.modeling.embedders.base import Embedder
from person_search.modeling.proposal_generator.anchor_free import AnchorFreeDetector

from .common import Clock, add_config_arguments, device_name, print_rows, read_configs

MODULES = {
    "base": Backbone,
    "proposals": (RPN, AnchorFreeDetector),
    "box head": ROIHeads,
    "re-ID": Embedder,
}
"""Stage -> class of its module; the time of one that a model lacks is in the stage around it."""
STAGES = (*MODULES, "rest")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--sizes", nargs="+", default=["960x640", "1500x900"], help="width x height, in pixels"
    )
    parser.add_argument("--persons", type=int, default=20, help="per frame (default: 20)")
    parser.add_argument("--batch", type=int, default=1, help="frames per pass (default: 1)")
    parser.add_argument("--repeats", type=int, default=10, help="timed passes (default: 10)")
    parser.add_argument("--warmup", type=int, default=2, help="passes before them (default: 2)")
    parser.add_argument("--threads", type=int, help="of the CPU")
    parser.add_argument(
        "--autocast", action="store_true", help="measure every config in bfloat16, too"
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    add_config_arguments(parser, "configs/PRW/stl.yaml", "configs/PRW/stl_mrfp.yaml")


def run(args: argparse.Namespace) -> None:
    if args.threads:
        torch.set_num_threads(args.threads)
    fixed = ["MODEL.REID.NUM_IDS", "0", "MODEL.ROI_HEADS.SCORE_THRESH_TEST", "0.0"]
    configs = read_configs(args, *fixed, "TEST.DETECTIONS_PER_IMAGE", str(args.persons))
    models = {path: seeded_model(cfg) for path, cfg in configs.items()}
    device = next(iter(configs.values())).MODEL.DEVICE
    precisions = ("fp32", "bf16") if args.autocast else ("fp32",)
    rows = []
    for size in args.sizes:
        frames = random_frames(size, args.batch)
        clocks = {variant: Clock(device) for variant in product(models, precisions)}
        for repeat in range(args.warmup + args.repeats):
            for (path, precision), clock in clocks.items():
                if repeat == args.warmup:
                    clock.laps.clear()
                with torch.autocast(clock.device.type, torch.bfloat16, precision == "bf16"):
                    timed_pass(models[path], frames, args.persons, clock)
        totals = {
            variant: sum(clock.medians().values()) / args.batch for variant, clock in clocks.items()
        }
        first = next(iter(totals.values()))
        for (path, precision), clock in clocks.items():
            stages = {k: v / args.batch for k, v in clock.medians().items()}
            total = totals[path, precision]
            rows.append(
                {
                    "config": path,
                    "size": size,
                    "precision": precision,
                    **{f"{stage} ms": stages[stage] for stage in STAGES},
                    "total ms": total,
                    "frames/s": 1000 / total,
                    "ratio": total / first,
                }
            )
    note = (
        f"per frame, {args.persons} persons each, batch {args.batch}, median of {args.repeats}; "
        f"{device_name(device)}; ratio of the total to the first row of that size"
    )
    print_rows(rows, args.json, note)


def seeded_model(cfg) -> nn.Module:
    """The model of a config at test, with random weights."""
    seed_all_rng(0)
    return build_model(cfg).eval()


def random_frames(size: str, number: int) -> list[dict]:
    """Inputs of noise; ``size`` is "WIDTHxHEIGHT"."""
    try:
        width, height = map(int, size.split("x"))
    except ValueError:
        raise ConfigError(f"--sizes has {size!r}; write WIDTHxHEIGHT, as in 960x640") from None
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (number, 3, height, width), generator=generator, dtype=torch.uint8)
    return [{"image": image, "height": height, "width": width} for image in images]


@torch.no_grad()
def timed_pass(model: nn.Module, frames: list[dict], persons: int, clock: Clock) -> None:
    """One pass; its stages become laps of the clock, nested ones without what they hold.

    Raises:
        ConfigError: the model does not detect, or a frame did not give ``persons`` detections.
    """
    stages = {}
    for stage, kind in MODULES.items():
        found = [module for module in model.modules() if isinstance(module, kind)]
        if found:
            stages[stage] = found[0]  # the outer one, where a stage holds another of its kind
    spent = dict.fromkeys(STAGES, 0.0)
    with stopped_at(stages, spent, clock):
        begun = clock.read()
        outputs = model(frames)
        total = clock.read() - begun
    if "instances" not in outputs[0]:
        raise ConfigError(f"a {type(model).__name__} finds no persons: give a person search config")
    found = {len(output["instances"]) for output in outputs}
    if found != {persons}:
        raise ConfigError(
            f"a frame gave {min(found)} detections instead of --persons {persons}: choose fewer "
            "persons, or a larger MODEL.RPN.POST_NMS_TOPK_TEST"
        )
    if "box head" in stages:
        spent["box head"] -= spent["re-ID"]
    spent["rest"] = total - sum(spent.values())
    for stage, milliseconds in spent.items():
        clock.laps.setdefault(stage, []).append(milliseconds)


@contextmanager
def stopped_at(stages: dict[str, nn.Module], spent: dict, clock: Clock) -> Iterator[None]:
    """Inside, every call of a stage's module adds its milliseconds to ``spent``."""

    def begin(stage: str):
        def hook(*_):
            spent[stage] -= clock.read()

        return hook

    def end(stage: str):
        def hook(*_):
            spent[stage] += clock.read()

        return hook

    handles = [m.register_forward_pre_hook(begin(stage)) for stage, m in stages.items()]
    handles += [m.register_forward_hook(end(stage)) for stage, m in stages.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
