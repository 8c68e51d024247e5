"""Milliseconds per frame of packs, by stage, against a person search model in the same run.

    python tools/benchmark.py packs yolox-nano-osnet-x0.25 my_pack

Of a two-step pack: to find (resize, network, NMS) and to embed one person. Of every pack and of the
model of the config: a frame with --persons persons. The model has random weights, and keeps exactly
as many detections; a one-step pack has the persons that it finds. Frames are noise of --size, which
each resizes in its own way. One thread; the median of the processor's time.
"""

import argparse
import time

import numpy as np
import torch

from person_search import packs
from person_search.packs.two_step import TwoStepSearcher

from .common import Clock, add_config_arguments, print_rows, read_configs
from .inference import random_frames, seeded_model, timed_pass


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("packs", nargs="*", default=[packs.RECOMMENDED], metavar="PACK")
    parser.add_argument("--size", default="720x576", help="width x height (default: 720x576)")
    parser.add_argument("--persons", type=int, default=20, help="per frame (default: 20)")
    parser.add_argument("--repeats", type=int, default=5, help="timed passes (default: 5)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    add_config_arguments(parser, "configs/PRW/stl_mrfp.yaml")


def run(args: argparse.Namespace) -> None:
    torch.set_num_threads(1)
    (frame,) = random_frames(args.size, 1)
    picture = np.ascontiguousarray(frame["image"].permute(1, 2, 0).numpy())
    rows = [pack_row(name, picture, args.persons, args.repeats) for name in args.packs]
    fixed = ["MODEL.REID.NUM_IDS", "0", "MODEL.ROI_HEADS.SCORE_THRESH_TEST", "0.0"]
    fixed += ["TEST.DETECTIONS_PER_IMAGE", str(args.persons)]
    for path, cfg in read_configs(args, *fixed).items():
        cfg.MODEL.DEVICE = "cpu"
        model, clock = seeded_model(cfg), Clock("cpu", time.process_time)
        scale = cfg.INPUT.MIN_SIZE_TEST / min(picture.shape[:2])
        size = "x".join(str(round(side * scale)) for side in picture.shape[1::-1])
        for _ in range(args.repeats):
            timed_pass(model, random_frames(size, 1), args.persons, clock)
        rows.append({"model": path, "frame ms": sum(clock.medians().values())})
    for row in rows:
        row["ratio"] = row["frame ms"] / rows[-1]["frame ms"]
    note = f"{args.size}, {args.persons} persons, 1 thread, median of {args.repeats}"
    print_rows(rows, args.json, note)


def pack_row(name: str, picture: np.ndarray, persons: int, repeats: int) -> dict:
    """The figures of one pack."""
    searcher = packs.open_pack(name, threads=1)
    corners = np.random.default_rng(0).uniform(0, 0.7, (persons, 2))
    boxes = np.hstack([corners, corners + 0.2]) * np.tile(picture.shape[1::-1], 2)
    clock = Clock("cpu", time.process_time)
    for _ in range(repeats):
        clock.start()
        if not isinstance(searcher, TwoStepSearcher):
            searcher.detect([picture])
            clock.lap("frame")
            continue
        searcher.detector.detect(picture, searcher.model.score_thresh)
        clock.lap("find")
        searcher.embed(picture, boxes)
        clock.lap("embed")
    medians = clock.medians()
    if "frame" in medians:
        return {"model": name, "frame ms": medians["frame"]}
    return {
        "model": name,
        "find ms": medians["find"],
        "embed a person ms": medians["embed"] / persons,
        "frame ms": medians["find"] + medians["embed"],
    }
