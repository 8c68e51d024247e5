"""PoseTrack21 as a target: its config trains, and its rule of evaluation is PRW's.

Its files are drawn here: Street in its layout, without loss, so that figures may be equal.
"""

from pathlib import Path

import pytest
from detectron2.data import MetadataCatalog
from looks_alike import Scene, street_scenes, to_xywh, write_posetrack21
from street_runs import REPOSITORY, arguments, registered, train_net

CONFIG = REPOSITORY / "configs" / "PoseTrack21" / "nae.yaml"
SMALL = [
    *("MODEL.WEIGHTS", "", "MODEL.BACKBONE.FREEZE_AT", 0, "MODEL.RESNETS.DEPTH", 18),
    *("MODEL.REID.POOLER_RESOLUTION", (8, 4), "MODEL.REID.OIM.QUEUE_SIZE", 5),
    *("MODEL.ROI_HEADS.SCORE_THRESH_TEST", 0.0, "TEST.SEARCH.GT_BOXES", True),
]


def frames(split: str, scenes: list[Scene]) -> tuple[list[dict], list[dict]]:
    """The lists "images" and "annotations" of a file of PoseTrack21."""
    images = [
        {"file_name": f"images/{split}/town/{s.name}.png", "id": n} for n, s in enumerate(scenes)
    ]
    boxes = [
        {"image_id": n, "bbox": box, "person_id": person if person >= 0 else None}
        for n, s in enumerate(scenes)
        for box, person in zip(to_xywh(s.boxes), s.persons.tolist(), strict=True)
    ]
    return images, boxes


@pytest.fixture(scope="module")
def posetrack(tmp_path_factory, street_root) -> Path:
    """The folder above Street tiny as PoseTrack21, which is registered."""
    root = tmp_path_factory.mktemp("datasets")
    with registered(street_root):
        train, test = street_scenes("street_tiny_train"), street_scenes("street_tiny_test")
        protocol = MetadataCatalog.get("street_tiny_test").protocols["regular"]()
    files = {"train": frames("train", train), "val": frames("val", test)}
    queries = [
        {"image_id": int(frame), "bbox": box, "person_id": int(person)}
        for frame, box, person in zip(
            protocol.query_frames, to_xywh(protocol.query_boxes), protocol.query_ids, strict=True
        )
    ]
    files["query"] = (files["val"][0], queries)
    pictures = {
        image["file_name"]: scene.image
        for split, scenes in (("train", train), ("val", test))
        for image, scene in zip(files[split][0], scenes, strict=True)
    }
    write_posetrack21(root / "PoseTrack21", files, pictures=pictures)
    with registered(root):
        yield root


def test_it_is_trained_and_evaluated_as_prw_by_the_regular_gallery(
    posetrack, street_root, tmp_path
):
    found = train_net.main(
        arguments(
            *SMALL,
            *("DATASETS.TRAIN", ("posetrack21_train",), "DATASETS.TEST", ("posetrack21_test",)),
            *("SOLVER.MAX_ITER", 3, "OUTPUT_DIR", tmp_path / "posetrack21"),
            config=CONFIG,
        )
    )
    assert 0 < found["search_gt"]["mAP"] < 100
    with registered(street_root):
        of_street = train_net.main(
            arguments(
                *SMALL,
                *("DATASETS.TRAIN", ("street_tiny_train",), "OUTPUT_DIR", tmp_path / "street"),
                *("MODEL.WEIGHTS", tmp_path / "posetrack21" / "model_final.pth"),
                config=CONFIG,
                eval_only=True,
            )
        )
    for task in ("search", "search_gt"):
        assert found[task] == pytest.approx(of_street[task], rel=1e-9)  # another order of queries
