"""Loaders: what is read, in which order, and that workers and resuming change nothing."""

import random
from itertools import islice

import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import BoxMode
from detectron2.utils import comm
from street_runs import registered

from person_search.data import (
    build_test_loader,
    build_train_loader,
    count_train_samples,
    frames,
    load_train_records,
    select_protocols,
)
from person_search.data.catalog import query_boxes_of
from person_search.data.loading import seeded
from person_search.data.readers.records import Split
from person_search.data.readers.registration import register_split
from person_search.errors import ConfigError, DatasetError
from person_search.protocols import GalleryRule, SearchProtocol

SMALL_INPUT = (
    *("INPUT.MIN_SIZE_TRAIN", (48, 60)),
    *("INPUT.MAX_SIZE_TRAIN", 80),
    *("INPUT.MIN_SIZE_TEST", 120),
    *("INPUT.MAX_SIZE_TEST", 160),
    *("SOLVER.IMS_PER_BATCH", 4),
)


@pytest.fixture(scope="module", autouse=True)
def street(street_root):
    with registered(street_root):
        yield street_root


@pytest.fixture
def register_toy():
    """``register_toy(name, [[0, 1], [], [-1]], num_person_ids)``: one frame per list of ids."""
    names = []

    def register(name: str, frames: list[list[int]], num_person_ids: int) -> str:
        records = [
            {
                "file_name": f"{name}/{k}.jpg",
                "image_id": str(k),
                "height": 48,
                "width": 64,
                "camera_id": -1,
                "annotations": [
                    {"bbox": [1, 2, 3, 4], "bbox_mode": BoxMode.XYXY_ABS, "person_id": person_id}
                    for person_id in ids
                ],
            }
            for k, ids in enumerate(frames)
        ]
        data = Split(records, tuple(range(num_person_ids)))
        register_split(name, lambda: data, dirname=name, split="train")
        names.append(name)
        return name

    yield register
    for name in names:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)


def person_ids(records: list[dict]) -> list[list[int]]:
    return [[a["person_id"] for a in record["annotations"]] for record in records]


# ------------------------------------------------------------------------------ training records


def test_identities_of_a_second_set_lie_behind_the_first(register_toy):
    first = register_toy("toy_a", [[0, 2], [-1, 1]], num_person_ids=3)
    second = register_toy("toy_b", [[0, -1], [1]], num_person_ids=5)
    third = register_toy("toy_c", [[4, 0]], num_person_ids=6)
    records = load_train_records((first, second, third))
    assert person_ids(records) == [[0, 2], [-1, 1], [3, -1], [4], [12, 8]]
    assert [r["domain"] for r in records] == ["toy_a"] * 2 + ["toy_b"] * 2 + ["toy_c"]
    # The data sets themselves stay as they are.
    assert person_ids(DatasetCatalog.get(second)) == [[0, -1], [1]]


def test_frames_without_persons_are_left_out_and_those_without_identity_stay(register_toy):
    name = register_toy("toy_a", [[], [-1], [0], []], num_person_ids=1)
    assert [r["image_id"] for r in load_train_records((name,))] == ["1", "2"]


def test_a_training_set_without_persons_is_an_error_that_names_it(register_toy):
    name = register_toy("toy_a", [[], []], num_person_ids=0)
    with pytest.raises(DatasetError, match="no frame with a person.*toy_a"):
        load_train_records((name,))


@pytest.mark.parametrize("person_id, said", [(None, "has no person_id"), (2, "num_person_ids 2")])
def test_a_person_without_a_legal_id_is_an_error(register_toy, person_id, said):
    name = register_toy("toy_a", [[0], [1, 0]], num_person_ids=2)
    person = DatasetCatalog.get(name)[1]["annotations"][1]
    person.pop("person_id")
    if person_id is not None:
        person["person_id"] = person_id
    with pytest.raises(DatasetError, match=f"toy_a: .*toy_a/1.jpg .*{said}"):
        load_train_records((name,))


def test_metadata_without_the_number_of_identities_is_an_error():
    DatasetCatalog.register("toy_own", lambda: [])
    try:
        with pytest.raises(ConfigError, match="toy_own lacks num_person_ids: set MetadataCatalog"):
            load_train_records(("toy_own",))
    finally:
        DatasetCatalog.remove("toy_own")


@pytest.mark.parametrize("read", [select_protocols, build_test_loader])
def test_a_training_set_cannot_be_tested_on(tiny_cfg, read):
    with pytest.raises(ConfigError, match="DATASETS.TEST: street_tiny_train has no queries"):
        read(tiny_cfg(), "street_tiny_train")


# -------------------------------------------------------------------------------- training loader


def assert_same_batches(batches: list[list[dict]], others: list[list[dict]]) -> None:
    assert len(batches) == len(others) > 0
    for batch, other in zip(batches, others, strict=True):
        for x, y in zip(batch, other, strict=True):
            assert x["image_id"] == y["image_id"]
            assert torch.equal(x["image"], y["image"])
            assert torch.equal(x["instances"].gt_boxes.tensor, y["instances"].gt_boxes.tensor)
            assert torch.equal(x["instances"].gt_person_ids, y["instances"].gt_person_ids)


def train_batches(cfg, number: int, workers: int = 0, start: int = 0, seed: int = 3) -> list:
    cfg.SEED, cfg.DATALOADER.NUM_WORKERS = seed, workers
    loader = build_train_loader(cfg)
    loader.batch_sampler.start = start
    return list(islice(loader, number))


@pytest.fixture
def train_cfg(tiny_cfg):
    return tiny_cfg(*SMALL_INPUT, "DATASETS.TRAIN", ("street_tiny_train",))


def test_records_are_loaded_once_for_their_number_and_their_loader(train_cfg, monkeypatch):
    loads = []
    load = frames.train_records
    monkeypatch.setattr(frames, "train_records", lambda cfg: loads.append(1) or load(cfg))
    assert count_train_samples(train_cfg) == 24
    build_train_loader(train_cfg)
    assert len(loads) == 1
    count_train_samples(train_cfg)  # nothing is kept for a second loader
    train_cfg.DATASETS.FRACTION = 0.5
    assert count_train_samples(train_cfg) == 12
    assert len(loads) == 3


def test_a_data_set_that_was_registered_anew_is_loaded_anew(train_cfg, register_toy):
    train_cfg.DATASETS.TRAIN = (register_toy("toy_a", [[0]], 1),)
    assert count_train_samples(train_cfg) == 1
    DatasetCatalog.remove("toy_a")
    MetadataCatalog.remove("toy_a")
    DatasetCatalog.register("toy_a", lambda: DatasetCatalog.get("street_tiny_train"))
    MetadataCatalog.get("toy_a").num_person_ids = 8
    assert count_train_samples(train_cfg) == 24


@pytest.mark.parametrize("key", ["INPUT.MAPPER", "MODEL.META_ARCHITECTURE"])
def test_mapper_and_model_have_to_be_made_for_the_source(train_cfg, key):
    wrong = {"INPUT.MAPPER": "CropMapper", "MODEL.META_ARCHITECTURE": "ReIDBaseline"}[key]
    train_cfg.merge_from_list([key, wrong])
    for build in (count_train_samples, build_train_loader):
        with pytest.raises(ConfigError, match=f"{key} {wrong} is made for DATALOADER.SOURCE crops"):
            build(train_cfg)
    with pytest.raises(ConfigError, match=f"{key} {wrong} is made for"):
        build_test_loader(train_cfg, "street_tiny_test")


def test_workers_change_nothing(train_cfg):
    batches = train_batches(train_cfg, 8)
    # The test means something only if the augmentations are random.
    assert len({tuple(x["image"].shape) for batch in batches for x in batch}) > 1
    assert_same_batches(train_batches(train_cfg, 8, workers=2), batches)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_resumed_loader_goes_on_where_it_stopped(train_cfg, workers):
    whole = train_batches(train_cfg, 9)
    assert_same_batches(train_batches(train_cfg, 4, workers=workers, start=5), whole[5:])


def test_whatever_else_draws_random_numbers_changes_nothing(train_cfg):
    expected = train_batches(train_cfg, 3)
    np.random.seed(99)
    random.seed(99)
    torch.manual_seed(99)
    assert_same_batches(train_batches(train_cfg, 3), expected)


def test_another_seed_gives_other_batches(train_cfg):
    def names(seed):
        return [x["image_id"] for b in train_batches(train_cfg, 3, seed=seed) for x in b]

    assert names(3) != names(4)


def test_a_frame_is_augmented_anew_in_every_epoch(train_cfg):
    """24 frames in batches of 4: batch 6 begins the second epoch."""
    batches = train_batches(train_cfg, 12)
    images = {}
    for batch in batches:
        for x in batch:
            images.setdefault(x["image_id"], []).append(x["image"])
    assert all(len(seen) == 2 for seen in images.values())
    same = [a.shape == b.shape and torch.equal(a, b) for a, b in images.values()]
    assert len(images) == 24 and sum(same) < 15  # a quarter by chance: same size, same flip


def test_the_batch_size_is_that_of_all_processes_together(train_cfg, monkeypatch):
    monkeypatch.setattr(comm, "get_world_size", lambda: 2)
    assert len(train_batches(train_cfg, 1)[0]) == 2
    monkeypatch.setattr(comm, "get_world_size", lambda: 3)
    with pytest.raises(ConfigError, match="SOLVER.IMS_PER_BATCH 4.*3 processes"):
        build_train_loader(train_cfg)


def test_seeded_leaves_the_global_generators_as_they_were():
    np.random.seed(5)
    random.seed(5)
    expected = np.random.rand(), random.random()
    np.random.seed(5)
    random.seed(5)
    with seeded(1, 2):
        inside = np.random.rand(), random.random()
    assert (np.random.rand(), random.random()) == expected
    with seeded(1, 2):
        assert (np.random.rand(), random.random()) == inside
    with seeded(2, 1):
        assert (np.random.rand(), random.random()) != inside


def test_seeded_restores_after_an_error_too():
    np.random.seed(5)
    expected = np.random.rand()
    np.random.seed(5)
    with pytest.raises(KeyError), seeded(1):
        np.random.rand()
        raise KeyError
    assert np.random.rand() == expected


# ------------------------------------------------------------------------------------ test loader


def test_the_first_protocol_is_the_default(tiny_cfg):
    cfg = tiny_cfg()
    assert list(select_protocols(cfg, "street_tiny_test")) == ["regular"]
    assert list(select_protocols(cfg, "street_tiny_cuhk_test"))[0].startswith("gallery_")


def test_protocols_by_name_keep_their_order(tiny_cfg):
    cfg = tiny_cfg("TEST.SEARCH.PROTOCOLS", ("multi_view", "regular"))
    found = select_protocols(cfg, "street_tiny_test")
    assert list(found) == ["multi_view", "regular"]
    assert found["multi_view"].gallery is GalleryRule.OTHER_CAMERAS
    assert found["regular"].gallery is GalleryRule.OTHER_FRAMES


@pytest.mark.parametrize("name", ["street_tiny_test", "street_tiny_cuhk_test"])
def test_all_protocols(tiny_cfg, name):
    found = select_protocols(tiny_cfg("TEST.SEARCH.PROTOCOLS", ("all",)), name)
    assert list(found) == list(MetadataCatalog.get(name).protocols)
    assert len(found) >= 2


def test_an_unknown_protocol_is_an_error_that_lists_the_known_ones(tiny_cfg):
    cfg = tiny_cfg("TEST.SEARCH.PROTOCOLS", ("regular", "gallery_7"))
    with pytest.raises(
        ConfigError, match="TEST.SEARCH.PROTOCOLS.*gallery_7; it has regular, multi_view"
    ):
        select_protocols(cfg, "street_tiny_test")


def make_protocol(frames: list[int], boxes: list[list[float]]) -> SearchProtocol:
    return SearchProtocol(
        name="toy",
        query_frames=np.array(frames),
        query_boxes=np.array(boxes, dtype=np.float64),
        query_ids=np.zeros(len(frames), dtype=np.int64),
        gallery=GalleryRule.OTHER_FRAMES,
    )


def test_query_boxes_are_distinct_and_sorted_within_each_frame():
    a, b, c = [1.5, 2, 3, 4], [0.25, 2, 3, 4], [9, 9, 10, 10]
    one = make_protocol([7, 2, 7], [a, c, b])
    two = make_protocol([7, 0, 7], [b, a, a])
    found = query_boxes_of([one, two])
    assert {frame: boxes.tolist() for frame, boxes in found.items()} == {
        0: [a],
        2: [c],
        7: [b, a],
    }


def test_query_boxes_keep_every_digit():
    box = [1 / 3, 0.1, 100 / 3, 1e3 + 1e-9]
    (found,) = query_boxes_of([make_protocol([0], [box])])[0].tolist()
    assert found == box


@pytest.mark.parametrize("name", ["street_tiny_test", "street_tiny_cuhk_test"])
@pytest.mark.parametrize("gt_boxes", [False, True])
def test_every_frame_comes_once_and_carries_what_has_to_be_embedded(tiny_cfg, name, gt_boxes):
    cfg = tiny_cfg(
        *SMALL_INPUT,
        *("DATALOADER.NUM_WORKERS", 0, "TEST.IMS_PER_BATCH", 5),
        *("TEST.SEARCH.GT_BOXES", gt_boxes, "TEST.SEARCH.PROTOCOLS", ("all",)),
    )
    records = DatasetCatalog.get(name)
    wanted = [set() for _ in records]
    for protocol in select_protocols(cfg, name).values():
        for frame, box in zip(protocol.query_frames, protocol.query_boxes, strict=True):
            wanted[frame].add(tuple(box / 2))  # 320x240 pictures go in as 160x120
    seen = {}
    for batch in build_test_loader(cfg, name):
        assert len(batch) <= 5
        seen |= {x["frame_index"]: x for x in batch}
    assert sorted(seen) == list(range(len(records)))
    assert 0 < sum(map(bool, wanted)) < len(records)
    for index, record in enumerate(records):
        x = seen[index]
        assert x["image_id"] == record["image_id"]
        assert x["image"].shape == (3, 120, 160)
        assert ("query_boxes" in x) == bool(wanted[index])
        if wanted[index]:
            np.testing.assert_allclose(
                x["query_boxes"].numpy(), sorted(wanted[index]), rtol=1e-6, atol=1e-5
            )
        assert ("gt_boxes" in x) == gt_boxes
        if gt_boxes:
            expected = [np.array(a["bbox"]) / 2 for a in record["annotations"]]
            np.testing.assert_allclose(
                x["gt_boxes"].numpy(), np.array(expected).reshape(-1, 4), rtol=1e-6, atol=1e-5
            )


def test_a_test_set_without_frames_is_an_error_that_names_it(tiny_cfg, register_toy):
    name = register_toy("toy_a", [], num_person_ids=0)
    with pytest.raises(DatasetError, match="toy_a holds no frame"):
        build_test_loader(tiny_cfg(), name)
