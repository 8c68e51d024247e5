"""Drawn frames through reader, mapper and model: it learns to find them; and it runs without _C."""

import os
import subprocess
import sys
from itertools import combinations
from pathlib import Path

import torch
from detectron2.modeling import build_model
from detectron2.structures import Boxes, pairwise_iou

from person_search.data import build_mapper
from person_search.data.readers import PRW

REPOSITORY = Path(__file__).resolve().parents[2]
STEPS = 80


def persons(record: dict, height: float = 0) -> dict[int, list[float]]:
    """Person id -> box, of those with an identity and a box higher than that."""
    found = {a["person_id"]: a["bbox"] for a in record["annotations"]}
    return {i: box for i, box in found.items() if i >= 0 and box[3] - box[1] > height}


def two_frames(root: Path) -> tuple[list[dict], list[int]]:
    """The two training frames with the most large persons in common, and those persons."""

    def common(pair) -> set[int]:
        return persons(pair[0], 60).keys() & persons(pair[1], 60).keys()

    records = PRW.load(root / "street" / "tiny" / "PRW", "train").records
    frames = max(combinations(records, 2), key=lambda pair: len(common(pair)))
    return list(frames), sorted(common(frames))


def test_two_frames_are_learned_and_searched(street_root, tiny_cfg):
    frames, common = two_frames(street_root)
    assert len(common) == 2
    cfg = tiny_cfg(
        *("INPUT.MIN_SIZE_TRAIN", (240,), "INPUT.MIN_SIZE_TEST", 240, "INPUT.RANDOM_FLIP", "none"),
        *("MODEL.ANCHOR_GENERATOR.SIZES", [[32, 64, 128]], "MODEL.ROI_BOX_HEAD.FC_DIM", 128),
        mrfp=True,
        num_ids=8,
    )
    torch.manual_seed(0)
    model = build_model(cfg).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.002)
    batch = [build_mapper(cfg, is_train=True)(frame) for frame in frames]
    totals = []
    for _ in range(STEPS):
        total = sum(model(batch).values())
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        totals.append(total.item())
    assert sum(totals[-5:]) / 5 < totals[0] / 4

    mapper = build_mapper(cfg, is_train=False)
    known = [persons(frame) for frame in frames]
    inputs = [
        mapper(frame | {"query_boxes": list(boxes.values())})
        for frame, boxes in zip(frames, known, strict=True)
    ]
    with torch.no_grad():
        outputs = model.eval()(inputs)
    found_again = 0
    for query, gallery in ((0, 1), (1, 0)):
        for person in common:
            row = list(known[query]).index(person)
            embed = outputs[query]["query_embeds"][row]
            # Among the annotated persons of the other frame, its own identity comes first;
            similarity = outputs[gallery]["query_embeds"] @ embed
            assert list(known[gallery])[similarity.argmax()] == person
            # among the detections there, the box that shows it.
            detections = outputs[gallery]["instances"]
            detections = detections[detections.scores >= 0.5]
            best = detections.pred_boxes[(detections.pred_embeds @ embed).argmax().item()]
            truth = Boxes(torch.tensor([known[gallery][person]]))
            found_again += pairwise_iou(best, truth).item() > 0.5
    assert found_again >= 3  # of 4: one may have been missed by the detector


WITHOUT_EXTENSION = """
import sys
sys.modules["detectron2._C"] = None  # importing it fails, as where it was never compiled
import torch
from detectron2.config import get_cfg
from detectron2.modeling import build_model
from detectron2.structures import Boxes, Instances
from detectron2.utils.events import EventStorage
from person_search import add_person_search_config
import person_search.data, person_search.engine, person_search.evaluation.search_evaluator

cfg = get_cfg()
add_person_search_config(cfg)
cfg.merge_from_file("configs/PRW/stl_mrfp.yaml")
cfg.merge_from_list([
    "MODEL.DEVICE", "cpu", "MODEL.RESNETS.DEPTH", 18, "MODEL.RESNETS.STEM_OUT_CHANNELS", 16,
    "MODEL.RESNETS.RES2_OUT_CHANNELS", 16, "MODEL.ROI_BOX_HEAD.FC_DIM", 32, "MODEL.REID.NUM_IDS", 3,
    "MODEL.RPN.POST_NMS_TOPK_TEST", 20, "MODEL.ROI_HEADS.SCORE_THRESH_TEST", 0.0,
])
model = build_model(cfg)
persons = Instances((96, 128))
persons.gt_boxes = Boxes(torch.tensor([[6.0, 10, 26, 70], [36, 10, 56, 70]]))
persons.gt_classes = torch.zeros(2, dtype=torch.int64)
persons.gt_person_ids = torch.tensor([0, 2])
image = {"image": torch.randint(256, (3, 96, 128)), "height": 96, "width": 128}
with EventStorage():
    sum(model([image | {"instances": persons}]).values()).backward()
with torch.no_grad():
    (out,) = model.eval()([image | {"query_boxes": persons.gt_boxes.tensor}])
assert len(out["instances"].pred_embeds) > 0
try:
    from detectron2 import _C
except ImportError:
    print(tuple(out["query_embeds"].shape), "without _C")
"""


def test_it_runs_without_the_compiled_part_of_detectron2():
    path = [str(REPOSITORY), os.environ.get("PYTHONPATH", "")]  # detectron2 may come from there
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_EXTENSION],
        cwd=REPOSITORY,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(path), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.strip() == "(2, 128) without _C"
