"""From a record to a model input: the boxes and person ids follow the picture."""

import copy

import numpy as np
import pytest
import torch
from detectron2.config import get_cfg
from detectron2.data import transforms as T
from detectron2.structures import BoxMode
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from person_search import add_person_search_config
from person_search.data import MAPPER_REGISTRY, PersonSearchMapper, build_mapper
from person_search.errors import DatasetError, ImageError

HEIGHT, WIDTH = 60, 80


@pytest.fixture(scope="module")
def picture(tmp_path_factory):
    """A lossless 80x60 picture whose red channel is x and whose green channel is y."""
    path = tmp_path_factory.mktemp("pictures") / "scene.png"
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    Image.fromarray(np.stack([x, y, 0 * x], axis=2).astype(np.uint8)).save(path)
    return str(path)


def make_record(picture: str, boxes, ids=None, **more) -> dict:
    ids = range(len(boxes)) if ids is None else ids
    return {
        "file_name": picture,
        "image_id": "scene",
        "height": HEIGHT,
        "width": WIDTH,
        "camera_id": 3,
        "domain": "toy",
        "annotations": [
            {
                "bbox": list(box),
                "bbox_mode": BoxMode.XYXY_ABS,
                "category_id": 0,
                "person_id": person_id,
            }
            for box, person_id in zip(boxes, ids, strict=True)
        ],
        **more,
    }


def make_mapper(*augmentations, is_train: bool = True) -> PersonSearchMapper:
    return PersonSearchMapper(is_train, augmentations=list(augmentations), image_format="RGB")


DOUBLE = T.Resize((2 * HEIGHT, 2 * WIDTH))
MIRROR = T.RandomFlip(prob=1.0)


def test_boxes_grow_with_the_picture_by_the_exact_factors(picture):
    mapper = make_mapper(T.Resize((HEIGHT * 2, WIDTH * 3)))
    out = mapper(make_record(picture, [[10, 5, 30.5, 45.25]], ids=[7]))
    assert out["image"].shape == (3, HEIGHT * 2, WIDTH * 3)
    assert out["image"].dtype == torch.uint8
    assert out["instances"].image_size == (HEIGHT * 2, WIDTH * 3)
    assert out["instances"].gt_boxes.tensor.tolist() == [[30, 10, 91.5, 90.5]]
    assert out["instances"].gt_person_ids.tolist() == [7]


def test_shortest_edge_of_the_config_gives_the_papers_scale(picture):
    """STL 4.3: scale = min(640 / shorter side, 960 / longer side), here with 90 and 100."""
    cfg = get_cfg()
    add_person_search_config(cfg)
    cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST = 90, 100
    out = build_mapper(cfg, is_train=False)(
        make_record(picture, [], query_boxes=np.array([[8.0, 6, 40, 30]]))
    )
    assert out["image"].shape == (3, 75, 100)  # 100 / 80 < 90 / 60
    assert out["query_boxes"].tolist() == [[10, 7.5, 50, 37.5]]


def test_boxes_are_mirrored_with_the_picture(picture):
    out = make_mapper(MIRROR)(make_record(picture, [[10, 5, 30, 45], [0, 0, 80, 60]]))
    assert out["instances"].gt_boxes.tensor.tolist() == [[50, 5, 70, 45], [0, 0, 80, 60]]
    assert out["image"][0, 0].tolist() == list(range(WIDTH - 1, -1, -1))
    assert out["image"].is_contiguous()


def test_the_pixels_under_a_box_stay_under_it(picture):
    box = [12, 20, 31, 44]
    whole = make_mapper()(make_record(picture, [box]))["image"]
    out = make_mapper(MIRROR)(make_record(picture, [box]))
    x1, y1, x2, y2 = out["instances"].gt_boxes.tensor[0].int().tolist()
    mirrored = out["image"][:, y1:y2, x1:x2].flip(2)
    assert torch.equal(mirrored, whole[:, box[1] : box[3], box[0] : box[2]])


COORDINATE = st.floats(-40, 140, width=32)


@settings(max_examples=40, deadline=None)
@given(boxes=st.lists(st.tuples(COORDINATE, COORDINATE, COORDINATE, COORDINATE), max_size=6))
def test_any_boxes_come_out_clipped_mirrored_and_with_their_own_ids(picture, boxes):
    """By the definition: mirror and double each box, clip it, drop it if nothing is left."""
    boxes = [[min(a, c), min(b, d), max(a, c), max(b, d)] for a, b, c, d in boxes]
    found = make_mapper(DOUBLE, MIRROR)(make_record(picture, boxes))["instances"]
    expected, ids = [], []
    for person, (x1, y1, x2, y2) in enumerate(boxes):
        box = np.array([2 * (WIDTH - x2), 2 * y1, 2 * (WIDTH - x1), 2 * y2], np.float32)
        box = np.clip(box, 0, [2 * WIDTH, 2 * HEIGHT, 2 * WIDTH, 2 * HEIGHT])
        if box[2] > box[0] and box[3] > box[1]:
            expected.append(box)
            ids.append(person)
    np.testing.assert_allclose(
        found.gt_boxes.tensor.numpy(), np.array(expected).reshape(-1, 4), atol=1e-4
    )
    assert found.gt_person_ids.tolist() == ids
    assert len(found.gt_classes) == len(ids)


def test_boxes_are_clipped_and_those_outside_go_with_their_ids(picture):
    boxes = [[-5, -5, 20, 20], [90, 10, 99, 20], [70, 50, 200, 200], [10, -30, 20, -1]]
    found = make_mapper()(make_record(picture, boxes, ids=[4, 5, -1, 6]))["instances"]
    assert found.gt_boxes.tensor.tolist() == [[0, 0, 20, 20], [70, 50, 80, 60]]
    assert found.gt_person_ids.tolist() == [4, -1]
    assert found.gt_classes.tolist() == [0, 0]


def test_crowd_regions_are_no_persons(picture):
    record = make_record(picture, [[1, 1, 9, 9], [20, 20, 40, 40]], ids=[0, 1])
    record["annotations"][0]["iscrowd"] = 1
    record["annotations"][1]["iscrowd"] = 0
    assert make_mapper()(record)["instances"].gt_person_ids.tolist() == [1]


def test_a_person_without_person_id_is_an_error_that_names_the_picture(picture):
    record = make_record(picture, [[1, 1, 9, 9]])
    del record["annotations"][0]["person_id"]
    with pytest.raises(DatasetError, match="scene.png has no person_id: .*-1 to persons without"):
        make_mapper()(record)


def test_boxes_in_xywh_are_understood(picture):
    record = make_record(picture, [[10, 5, 20, 40]])
    record["annotations"][0]["bbox_mode"] = BoxMode.XYWH_ABS
    assert make_mapper()(record)["instances"].gt_boxes.tensor.tolist() == [[10, 5, 30, 45]]


@pytest.mark.parametrize("augmentations", [(), (DOUBLE, MIRROR)])
def test_nobody_in_the_picture_gives_empty_instances(picture, augmentations):
    found = make_mapper(*augmentations)(make_record(picture, []))["instances"]
    assert found.gt_boxes.tensor.shape == (0, 4)
    assert found.gt_person_ids.shape == found.gt_classes.shape == (0,)
    assert found.gt_person_ids.dtype == found.gt_classes.dtype == torch.int64


@pytest.mark.parametrize("is_train", [True, False])
def test_the_record_stays_as_it_was(picture, is_train):
    record = make_record(
        picture,
        [[10, 5, 30, 45], [90, 90, 99, 99]],
        query_boxes=np.array([[1.0, 2, 3, 4]]),
        gt_boxes=np.array([[10.0, 5, 30, 45]]),
    )
    before = copy.deepcopy(record)
    make_mapper(DOUBLE, MIRROR, is_train=is_train)(record)
    assert record.keys() == before.keys()
    assert record["annotations"] == before["annotations"]
    for key in ("query_boxes", "gt_boxes"):
        np.testing.assert_array_equal(record[key], before[key])


def test_at_test_given_boxes_are_in_pixels_of_the_network_input(picture):
    """Not clipped: what the evaluator asked for comes back in its order and number."""
    record = make_record(
        picture,
        [[10, 5, 30, 45]],
        query_boxes=np.array([[10.0, 5, 30, 45], [70, 50, 90, 70]]),
        gt_boxes=np.array([[1.0, 2, 3, 4]]),
    )
    out = make_mapper(DOUBLE, is_train=False)(record)
    assert out["query_boxes"].tolist() == [[20, 10, 60, 90], [140, 100, 180, 140]]
    assert out["gt_boxes"].tolist() == [[2, 4, 6, 8]]
    assert out["query_boxes"].dtype == torch.float32
    assert "annotations" not in out and "instances" not in out
    # The size of the frame, to which detectron2 scales detections back.
    assert (out["height"], out["width"]) == (HEIGHT, WIDTH)
    assert (out["image_id"], out["camera_id"], out["domain"]) == ("scene", 3, "toy")


def test_at_test_boxes_are_absent_unless_given_and_may_be_none(picture):
    out = make_mapper(DOUBLE, is_train=False)(make_record(picture, [[1, 2, 3, 4]]))
    assert "query_boxes" not in out and "gt_boxes" not in out
    record = make_record(picture, [], gt_boxes=np.array([]))
    out = make_mapper(DOUBLE, is_train=False)(record)
    assert out["gt_boxes"].shape == (0, 4)


def test_training_ignores_given_boxes(picture):
    record = make_record(picture, [[1, 2, 3, 4]], query_boxes=np.array([[1.0, 2, 3, 4]]))
    assert "query_boxes" not in make_mapper()(record)


def test_a_replaced_picture_is_an_error_that_names_it_and_both_sizes(picture):
    record = make_record(picture, []) | {"height": WIDTH, "width": HEIGHT}
    with pytest.raises(ImageError, match="scene.png is 80x60, but its data set says 60x80"):
        make_mapper()(record)


def test_the_channel_order_is_that_of_the_config(picture):
    for order, channel_of_x in (("RGB", 0), ("BGR", 2)):
        cfg = get_cfg()
        add_person_search_config(cfg)
        cfg.INPUT.FORMAT = order
        cfg.INPUT.MIN_SIZE_TEST = 0  # detectron2: no resizing
        out = build_mapper(cfg, is_train=False)(make_record(picture, []))
        assert out["image"][channel_of_x, 0].tolist() == list(range(WIDTH))


@pytest.mark.parametrize("hide", [True, False])
def test_ignore_regions_are_hidden_in_training_alone(picture, hide):
    """They move with the picture, and persons in front of them stay."""
    cfg = get_cfg()
    add_person_search_config(cfg)
    cfg.INPUT.HIDE_IGNORE_REGIONS = hide
    cfg.INPUT.FORMAT, cfg.INPUT.RANDOM_FLIP = "RGB", "none"
    cfg.INPUT.MIN_SIZE_TRAIN, cfg.INPUT.MIN_SIZE_TEST = (0,), 0
    cfg.MODEL.PIXEL_MEAN = [200.0, 201.0, 202.0]
    record = make_record(
        picture, [(12, 12, 20, 40)], ignore_regions=[[10, 10, 30, 10, 30, 30, 10, 30]]
    )
    shown = build_mapper(cfg, is_train=False)(record)["image"]
    hidden = build_mapper(cfg, is_train=True)(record)["image"]
    inside = torch.zeros(HEIGHT, WIDTH, dtype=torch.bool)
    inside[10:31, 10:31] = hide
    inside[12:40, 12:20] = False
    assert hidden[:, ~inside].equal(shown[:, ~inside])
    assert {tuple(pixel) for pixel in hidden[:, inside].T.tolist()} == (
        {(200, 201, 202)} if hide else set()
    )


def test_the_mapper_is_chosen_by_name():
    cfg = get_cfg()
    add_person_search_config(cfg)
    assert type(build_mapper(cfg, is_train=True)) is PersonSearchMapper
    assert "PersonSearchMapper" in MAPPER_REGISTRY
