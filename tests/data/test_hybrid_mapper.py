"""Two views of scenes and of persons on canvases, and who is paired across them."""

import numpy as np
import pytest
import torch
from detectron2.data import transforms as T
from detectron2.structures import BoxMode
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from person_search.data import HybridMapper, build_mapper
from person_search.data.hybrid import CROP, SCENE
from person_search.data.loading import seeded
from person_search.data.transforms import RandomPaste
from person_search.errors import ConfigError
from person_search.labels import UNLABELED

HEIGHT, WIDTH = 60, 80
FILL = (250.0, 251.0, 252.0)


@pytest.fixture(scope="module")
def picture(tmp_path_factory) -> str:
    """A lossless 80x60 picture whose red channel is x and whose green channel is y."""
    path = tmp_path_factory.mktemp("pictures") / "scene.png"
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    Image.fromarray(np.stack([x, y, 0 * x], axis=2).astype(np.uint8)).save(path)
    return str(path)


def scene(picture: str, boxes, ids) -> dict:
    annotations = [
        {"bbox": list(box), "bbox_mode": BoxMode.XYXY_ABS, "category_id": 0, "person_id": i}
        for box, i in zip(boxes, ids, strict=True)
    ]
    size = {"height": HEIGHT, "width": WIDTH}
    domain = {"domain": "toy", "domain_id": 1, "kind": SCENE}
    return {"file_name": picture, "annotations": annotations, **size, **domain}


def crop(picture: str, person_id: int = 7) -> dict:
    domain = {"domain": "toy", "domain_id": 0, "kind": CROP}
    return {"file_name": picture, "bbox": None, "person_id": person_id, "camera_id": 1, **domain}


def make_mapper(*augmentations, crops=(), **more) -> HybridMapper:
    return HybridMapper(
        True,
        augmentations=list(augmentations),
        crop_augmentations=list(crops),
        image_format="RGB",
        **more,
    )


def test_a_crop_is_a_canvas_with_its_person_in_the_box(picture):
    out = make_mapper(crops=[RandomPaste((100, 120), FILL)])(crop(picture))
    assert out["kind"] == CROP and out["domain"] == "toy" and out["domain_id"] == 0
    for view in out["views"]:
        assert view["image"].shape == (3, 100, 120) and view["image"].dtype == torch.uint8
        persons = view["instances"]
        assert persons.gt_person_ids.tolist() == [7]
        assert persons.gt_classes.tolist() == [0] and persons.gt_index.tolist() == [0]
        x1, y1, x2, y2 = persons.gt_boxes.tensor[0].int().tolist()
        red = view["image"][0, y1:y2, x1:x2]
        assert torch.equal(red, torch.arange(WIDTH, dtype=torch.uint8).expand(HEIGHT, WIDTH))
        assert (view["image"][0] == FILL[0]).sum() == 100 * 120 - HEIGHT * WIDTH


def test_views_of_a_crop_have_places_of_their_own(picture):
    with seeded(4):
        out = make_mapper(crops=[RandomPaste((200, 200), FILL)])(crop(picture))
    first, second = (view["instances"].gt_boxes.tensor for view in out["views"])
    assert not torch.equal(first, second)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**31), scale=st.floats(1.0, 3.0))
def test_a_person_has_one_index_in_both_views_and_the_pixels_of_its_box(picture, seed, scale):
    boxes = [[4, 6, 24, 46], [50, 10, 70, 50], [30, 2, 44, 58]]
    window = T.FixedSizeCrop((HEIGHT, WIDTH), pad=False)
    mapper = make_mapper(T.ResizeScale(scale, scale, HEIGHT, WIDTH), window, T.RandomFlip())
    with seeded(seed):
        out = mapper(scene(picture, boxes, [3, UNLABELED, 5]))
    for view in out["views"]:
        persons = view["instances"]
        assert view["image"].shape == (3, HEIGHT, WIDTH) == (3, *persons.image_size)
        for k in range(len(persons)):
            x1, y1, x2, y2 = persons.gt_boxes.tensor[k].tolist()
            assert 0 <= x1 < x2 <= WIDTH and 0 <= y1 < y2 <= HEIGHT
            index, person_id = persons.gt_index[k].item(), persons.gt_person_ids[k].item()
            of_person = index if index >= 0 else [3, UNLABELED, 5].index(person_id)
            left, top, right, bottom = boxes[of_person]
            assert person_id == [3, UNLABELED, 5][of_person]
            # Red is x and green y in the frame: the center of the box is inside of the person's.
            red, green, _ = view["image"][:, int((y1 + y2) / 2), int((x1 + x2) / 2)].tolist()
            assert left - 1 <= red <= right + 1 and top - 1 <= green <= bottom + 1
            share = (x2 - x1) * (y2 - y1) / (scale**2 * (right - left) * (bottom - top))
            assert (index >= 0) == (share >= 0.5) or abs(share - 0.5) < 0.05


def test_both_views_of_a_scene_hide_its_ignore_regions(picture):
    record = scene(picture, [(12, 12, 20, 40)], [UNLABELED])
    record["ignore_regions"] = [[10, 10, 30, 10, 30, 30, 10, 30]]
    for view in make_mapper(region_fill=FILL)(record)["views"]:
        hidden = (view["image"] == torch.tensor(FILL)[:, None, None]).all(dim=0)
        assert hidden.sum() == 21 * 21 - 8 * 19  # but for the person in front
        assert not hidden[12:40, 12:20].any()


def test_half_of_a_box_has_to_be_inside(picture):
    boxes = [[-9, 0, 11, 40], [-11, 0, 9, 40], [-30, 0, -10, 40]]
    views = make_mapper()(scene(picture, boxes, [0, 1, 2]))["views"]
    for persons in (view["instances"] for view in views):
        assert persons.gt_person_ids.tolist() == [0, 1]  # the third is outside
        assert persons.gt_index.tolist() == [0, -1]
        assert persons.gt_boxes.tensor.tolist() == [[0, 0, 11, 40], [0, 0, 9, 40]]


def test_a_view_may_show_nobody(picture):
    window = T.CropTransform(40, 0, 40, 60)
    views = make_mapper(window)(scene(picture, [[0, 0, 20, 40]], [3]))["views"]
    for persons in (view["instances"] for view in views):
        assert len(persons) == 0
        assert persons.gt_boxes.tensor.shape == (0, 4) and persons.gt_index.dtype == torch.int64


def test_the_record_stays_as_it_is_and_a_seed_gives_the_same_views(picture, tiny_cfg):
    mapper = build_mapper(hybrid_cfg(tiny_cfg), is_train=True)
    for record in (scene(picture, [[4, 6, 24, 46]], [3]), crop(picture)):
        before = repr(record)
        outs = []
        for _ in range(2):
            with seeded(9):
                outs.append(mapper(record))
        assert repr(record) == before
        for one, two in zip(outs[0]["views"], outs[1]["views"], strict=True):
            assert torch.equal(one["image"], two["image"])
            assert torch.equal(one["instances"].gt_boxes.tensor, two["instances"].gt_boxes.tensor)


def hybrid_cfg(tiny_cfg, *opts):
    return tiny_cfg(
        *("DATALOADER.SOURCE", "hybrid", "INPUT.MAPPER", "HybridMapper"),
        *("INPUT.HYBRID.SCENE_SIZE", (HEIGHT, WIDTH), "INPUT.HYBRID.CANVAS_SIZE", (64, 128)),
        *opts,
    )


def test_keys_give_fixed_sizes_and_strengths(picture, tiny_cfg):
    still = ("INPUT.HYBRID.JITTER_PROB", 0.0, "INPUT.HYBRID.GRAY_PROB", 0.0)
    still = (*still, "INPUT.HYBRID.BLUR_PROB", 0.0, "INPUT.REID.ERASE_PROB", 0.0)
    still = (*still, "INPUT.HYBRID.SCENE_SCALE", (1.0, 1.0))
    mapper = build_mapper(hybrid_cfg(tiny_cfg, *still), is_train=True)
    image = torch.as_tensor(np.asarray(Image.open(picture)).copy()).permute(2, 0, 1)
    for view in mapper(scene(picture, [[4, 6, 24, 46]], [3]))["views"]:
        assert torch.equal(view["image"], image) or torch.equal(view["image"], image.flip(2))
    for view in mapper(crop(picture))["views"]:
        assert view["image"].shape == (3, 64, 128)
    loud = build_mapper(hybrid_cfg(tiny_cfg), is_train=True)
    with seeded(0):
        outs = [loud(scene(picture, [[4, 6, 24, 46]], [3])) for _ in range(20)]
    sizes = {tuple(view["image"].shape[1:]) for out in outs for view in out["views"]}
    assert max(sizes) == (HEIGHT, WIDTH) and min(sizes)[0] < HEIGHT  # scale .8 to 1.2


def test_at_test_it_is_the_mapper_of_frames(picture, tiny_cfg):
    mapper = build_mapper(hybrid_cfg(tiny_cfg), is_train=False)
    record = {**scene(picture, [[4, 6, 24, 46]], [3]), "query_boxes": [[4, 6, 24, 46]]}
    del record["kind"], record["domain_id"]
    out = mapper(record)
    assert "views" not in out and out["query_boxes"].shape == (1, 4)


@pytest.mark.parametrize(
    "opts, message",
    [
        (("INPUT.HYBRID.CANVAS", "mosaic"), "legal: expand_resize, random_paste"),
        (("INPUT.HYBRID.EXPAND_RATIO", (0.5, 2.0)), "INPUT.HYBRID.EXPAND_RATIO"),
    ],
)
def test_illegal_keys_are_errors(tiny_cfg, opts, message):
    with pytest.raises(ConfigError, match=message):
        build_mapper(hybrid_cfg(tiny_cfg, *opts), is_train=True)


def test_a_picture_larger_than_the_canvas_of_random_paste_is_an_error(picture, tiny_cfg):
    cfg = hybrid_cfg(tiny_cfg, "INPUT.HYBRID.CANVAS", "random_paste")
    cfg.INPUT.HYBRID.PASTE_SIZE = (64, 64)
    message = "scene.png: .*80x60 does not fit on a canvas of 64x64: raise INPUT.HYBRID.PASTE_SIZE"
    with pytest.raises(ConfigError, match=message):
        build_mapper(cfg, is_train=True)(crop(picture))


def test_records_of_another_loader_are_an_error(picture, tiny_cfg):
    record = scene(picture, [[4, 6, 24, 46]], [3])
    del record["kind"], record["domain_id"]
    with pytest.raises(ConfigError, match="scene.png.*build_train_loader.*SOURCE hybrid"):
        build_mapper(hybrid_cfg(tiny_cfg), is_train=True)(record)
