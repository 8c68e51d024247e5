"""Drawn frames through reader, mapper and model: it learns them; and it runs without _C."""

import os
import subprocess
import sys
from itertools import combinations
from pathlib import Path

import pytest
import torch
from detectron2.data import detection_utils  # noqa: F401
from detectron2.modeling import build_model
from detectron2.solver import build_optimizer
from detectron2.structures import Boxes, pairwise_iou

from person_search.data import build_mapper
from person_search.data.datasets import load_prw

REPOSITORY = Path(__file__).resolve().parents[2]


def persons(record: dict) -> dict[int, list[float]]:
    """Person id -> box, of the labelled ones."""
    return {a["person_id"]: a["bbox"] for a in record["annotations"] if a["person_id"] >= 0}


def two_frames(root: Path) -> list[dict]:
    """The two training frames that have the most persons in common."""
    records = load_prw(root / "street" / "tiny" / "PRW", "train")
    return list(max(combinations(records, 2), key=lambda p: len(persons(p[0]).keys() & persons(p[1]))))


@pytest.mark.parametrize("mrfp", [False, True], ids=["single", "mrfp"])
def test_two_frames_are_learned_and_searched(street_root, tiny_cfg, mrfp):
    frames = two_frames(street_root)
    common = persons(frames[0]).keys() & persons(frames[1]).keys()
    assert len(common) >= 2
    cfg = tiny_cfg(
        *("INPUT.MIN_SIZE_TRAIN", (240,), "INPUT.MIN_SIZE_TEST", 240, "INPUT.RANDOM_FLIP", "none"),
        *("MODEL.ANCHOR_GENERATOR.SIZES", [[16, 32, 64, 128]], "SOLVER.BASE_LR", LR),
        mrfp=mrfp,
        num_ids=8,
    )
    torch.manual_seed(0)
    model = build_model(cfg).train()
    optimizer = build_optimizer(cfg, model)
    batch = [build_mapper(cfg, is_train=True)(frame) for frame in frames]
    totals = []
    for _ in range(STEPS):
        losses = model(batch)
        total = sum(losses.values())
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        totals.append(total.item())
        print({k: round(v.item(), 3) for k, v in losses.items()})
    print(totals[0], totals[-5:])

    mapper = build_mapper(cfg, is_train=False)
    inputs = []
    for frame in frames:
        x = mapper(frame | {"query_boxes": list(persons(frame).values())})
        inputs.append(x)
    with torch.no_grad():
        outputs = model.eval()(inputs)
    for out in outputs: print(len(out["instances"]), out["instances"].scores[:10])
    for q, g in ((0, 1), (1, 0)):
        found = outputs[g]["instances"]
        boxes = persons(frames[g])
        for person, embed in zip(persons(frames[q]), outputs[q]["query_embeds"]):
            if person not in common: continue
            sim = found.pred_embeds @ embed
            gt = Boxes(torch.tensor([boxes[person]]))
            iou = pairwise_iou(found.pred_boxes, gt)[:, 0]
            print(person, "best", iou[sim.argmax()].item(), "max iou", iou.max().item())
            sim = outputs[g]["query_embeds"] @ embed
            print("  gt", list(boxes)[sim.argmax()], sim)
