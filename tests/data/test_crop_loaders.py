"""Loaders of crops: P x K batches, and that workers, ranks and resuming change nothing."""

from collections import Counter
from itertools import islice

import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.utils import comm
from hypothesis import given, settings
from hypothesis import strategies as st
from street_runs import registered

from person_search.data import (
    build_mapper,
    build_test_loader,
    build_train_loader,
    count_train_samples,
)
from person_search.data.crop_cache import cut_out
from person_search.data.crops import load_test_crops, load_train_crops
from person_search.data.samplers import ClassAwareBatches
from person_search.errors import ConfigError
from person_search.images import read_image

TRAIN, TEST = "street_tiny_train", "street_tiny_test"


@pytest.fixture(scope="module", autouse=True)
def street(street_root):
    with registered(street_root):
        yield street_root


# ------------------------------------------------------------------------- class-aware batches

PERSON_IDS = [0] * 9 + [1] * 3 + [2] + [3] * 4 + [7] * 2
"""Of 19 crops; identity 2 has one, identities 4 to 6 none."""


def batches(number: int, start: int = 0, *, p: int = 2, k: int = 4, seed: int = 1, ids=PERSON_IDS):
    sampler = ClassAwareBatches(ids, p, k, seed)
    sampler.start = start
    return list(islice(sampler, number))


id_lists = st.lists(st.integers(0, 9), min_size=1, max_size=40)


@settings(max_examples=80, deadline=None)
@given(ids=id_lists, k=st.integers(1, 5), seed=st.integers(0, 99), data=st.data())
def test_a_batch_is_p_identities_with_k_crops_each(ids, k, seed, data):
    people = set(ids)
    p = data.draw(st.integers(1, len(people)))
    seen = Counter()
    for number, batch in enumerate(batches(12, p=p, k=k, seed=seed, ids=ids)):
        assert [position for position, _ in batch] == list(
            range(number * p * k, (number + 1) * p * k)
        )
        groups = [batch[i : i + k] for i in range(0, p * k, k)]
        of_group = [{ids[index] for _, index in group} for group in groups]
        assert all(len(of) == 1 for of in of_group)  # the K of an identity stand together
        in_batch = [of.pop() for of in of_group]
        assert len(set(in_batch)) == p
        for person, group in zip(in_batch, groups, strict=True):
            # As many different crops as there are, and none twice as long as there are enough.
            assert len({index for _, index in group}) == min(k, ids.count(person))
        seen.update(in_batch)
        counts = [seen[person] for person in people]
        assert max(counts) - min(counts) <= 1  # all before any comes again


def test_identities_come_equally_often_however_many_crops_they_have():
    seen = Counter(PERSON_IDS[i] for batch in batches(5 * 7) for _, i in batch)
    assert seen == dict.fromkeys((0, 1, 2, 3, 7), 2 * 7 * 4)


def test_every_crop_of_an_identity_is_drawn():
    assert {i for batch in batches(100) for _, i in batch} == set(range(len(PERSON_IDS)))


def test_rounds_differ_in_order():
    orders = [tuple(PERSON_IDS[i] for _, i in batch[::4]) for batch in batches(30, p=5)]
    assert len(set(orders)) > 15


def test_too_few_identities_are_an_error():
    assert len(batches(1, p=5)) == 1
    with pytest.raises(ConfigError, match="takes 6 identities, but the training set has only 5"):
        batches(1, p=6)


def test_a_seed_names_the_stream():
    assert batches(9) == batches(9)
    assert batches(9) != batches(9, seed=2)


def test_batches_go_on_where_they_stopped():
    assert batches(6, start=5) == batches(11)[5:]


def test_ranks_share_out_each_batch(monkeypatch):
    whole = batches(10, p=4)
    parts = []
    for rank in (0, 1):
        monkeypatch.setattr(comm, "get_rank", lambda rank=rank: rank)
        monkeypatch.setattr(comm, "get_world_size", lambda: 2)
        parts.append(batches(10, p=4))
        assert batches(4, start=6, p=4) == parts[-1][6:]
    for batch, *of_ranks in zip(whole, *parts, strict=True):
        assert [len(mine) for mine in of_ranks] == [8, 8]
        indices = [[index for _, index in mine] for mine in of_ranks]
        assert sorted(indices[0] + indices[1]) == sorted(index for _, index in batch)
        people = [{PERSON_IDS[i] for i in mine} for mine in indices]
        assert [len(of) for of in people] == [2, 2] and not people[0] & people[1]
    # A position seeds the augmentation: none occurs twice.
    positions = [position for part in parts for batch in part for position, _ in batch]
    assert sorted(positions) == list(range(10 * 16))


# ------------------------------------------------------------------------------------- loaders


@pytest.fixture
def crop_cfg(tiny_cfg, tmp_path):
    def make(*opts):
        return tiny_cfg(
            *("DATALOADER.SOURCE", "crops", "INPUT.MAPPER", "CropMapper", "SEED", 3),
            *("INPUT.REID.SIZE", (32, 16), "INPUT.REID.CROP_CACHE", str(tmp_path / "crops")),
            *("DATASETS.TRAIN", (TRAIN,), "DATASETS.TEST", (TEST,), "SOLVER.IMS_PER_BATCH", 12),
            *("DATALOADER.NUM_WORKERS", 0, *opts),
        )

    return make


def train_batches(cfg, number: int, *, workers: int = 0, start: int = 0) -> list[list[dict]]:
    cfg.DATALOADER.NUM_WORKERS = workers
    loader = build_train_loader(cfg)
    loader.batch_sampler.start = start
    return list(islice(loader, number))


def assert_same(ours: list[list[dict]], theirs: list[list[dict]]) -> None:
    for mine, other in zip(ours, theirs, strict=True):
        assert [x["crop_index"] for x in mine] == [x["crop_index"] for x in other]
        for x, y in zip(mine, other, strict=True):
            assert torch.equal(x["image"], y["image"])


def test_training_batches_hold_the_crops_of_their_records(crop_cfg):
    crops = load_train_crops((TRAIN,))
    cfg = crop_cfg("INPUT.REID.PAD", 0, "INPUT.REID.ERASE_PROB", 0.0)
    flipped = set()
    for batch in train_batches(cfg, 4):
        ids = [x["person_id"] for x in batch]
        assert len(batch) == 12 and len(set(ids)) == 3
        assert ids[::4] == ids[1::4] == ids[2::4] == ids[3::4]
        for x in batch:
            record = crops[x["crop_index"]]
            assert {k: x[k] for k in record} == record
            image = read_image(record["file_name"], "RGB")
            expected = cut_out(image, record["bbox"], (32, 16)).transpose(2, 0, 1)
            found = x["image"].numpy()
            same = np.array_equal(found, expected)
            assert same or np.array_equal(found[:, :, ::-1], expected)
            flipped.add(not same)
    assert flipped == {False, True}


def test_workers_change_nothing(crop_cfg):
    whole = train_batches(crop_cfg(), 6)
    assert_same(train_batches(crop_cfg(), 6, workers=2), whole)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_resumed_loader_goes_on_where_it_stopped(crop_cfg, workers):
    whole = train_batches(crop_cfg(), 6)
    assert_same(train_batches(crop_cfg(), 3, workers=workers, start=3), whole[3:])


def test_shuffled_batches_hold_every_crop_once(crop_cfg):
    number = len(load_train_crops((TRAIN,)))
    cfg = crop_cfg("DATALOADER.CLASS_AWARE", False, "SOLVER.IMS_PER_BATCH", 1)
    drawn = [batch[0]["crop_index"] for batch in train_batches(cfg, number)]
    assert sorted(drawn) == list(range(number)) and drawn != sorted(drawn)


def test_an_epoch_counts_crops(crop_cfg):
    labeled = [
        a for f in DatasetCatalog.get(TRAIN) for a in f["annotations"] if a["person_id"] >= 0
    ]
    assert count_train_samples(crop_cfg()) == len(labeled) > 0
    frames = ("DATALOADER.SOURCE", "frames", "INPUT.MAPPER", "PersonSearchMapper")
    assert count_train_samples(crop_cfg(*frames)) <= 24


@pytest.mark.parametrize(
    "opts, message",
    [
        (("SOLVER.IMS_PER_BATCH", 10), "no multiple of DATALOADER.NUM_INSTANCE 4"),
        (("SOLVER.IMS_PER_BATCH", 4000), "takes 1000 identities"),
        (("DATALOADER.SOURCE", "crop"), "SOURCE is 'crop'; legal: frames, crops, hybrid"),
        (("INPUT.REID.ERASE_FILL", "zero"), "ERASE_FILL is 'zero'; legal: published, mean"),
        (("INPUT.MAPPER", "CropMaper"), "INPUT.MAPPER is 'CropMaper'; legal: CropMapper"),
    ],
)
def test_illegal_options_are_errors(crop_cfg, opts, message):
    with pytest.raises(ConfigError, match=message):
        build_train_loader(crop_cfg(*opts))


def test_records_of_another_loader_are_an_error(crop_cfg):
    with pytest.raises(ConfigError, match="mine.jpg.*build_train_loader.*SOURCE crops"):
        build_mapper(crop_cfg(), is_train=True)({"file_name": "mine.jpg", "person_id": 3})


def test_the_test_loader_gives_queries_then_gallery(crop_cfg):
    queries, gallery = load_test_crops(TEST)
    protocol = next(iter(MetadataCatalog.get(TEST).protocols.values()))()
    assert [q["person_id"] for q in queries] == protocol.query_ids.tolist()
    assert np.array_equal([q["bbox"] for q in queries], protocol.query_boxes)
    frames = DatasetCatalog.get(TEST)
    assert [q["file_name"] for q in queries] == [
        frames[i]["file_name"] for i in protocol.query_frames
    ]
    assert all(c["person_id"] >= 0 for c in gallery)
    crops = queries + gallery
    inputs = [
        x for batch in build_test_loader(crop_cfg("TEST.IMS_PER_BATCH", 7), TEST) for x in batch
    ]
    assert sorted(x["crop_index"] for x in inputs) == list(range(len(crops)))
    for x in inputs[::5]:
        record = crops[x["crop_index"]]
        expected = cut_out(read_image(record["file_name"], "RGB"), record["bbox"], (32, 16))
        assert np.array_equal(x["image"].numpy(), expected.transpose(2, 0, 1))


# -------------------------------------------------------------------- self-supervised learning


def test_instance_discrimination_shows_two_views_of_every_crop(tiny_cfg, tmp_path):
    """Every person of every frame, also those without identity, is one of its own."""
    cfg = tiny_cfg(
        *("DATASETS.TRAIN", (TRAIN,), "DATALOADER.SOURCE", "crops"),
        *("DATALOADER.INSTANCE_DISCRIMINATION", True, "DATALOADER.NUM_INSTANCE", 2),
        *("INPUT.MAPPER", "SelfSupervisedCropMapper", "INPUT.REID.CROP_CACHE", str(tmp_path)),
        *("INPUT.REID.SIZE", (32, 16), "SOLVER.IMS_PER_BATCH", 8, "DATALOADER.NUM_WORKERS", 0),
    )
    persons = [a for record in DatasetCatalog.get(TRAIN) for a in record["annotations"]]
    assert count_train_samples(cfg) == len(persons)
    assert any(a["person_id"] < 0 for a in persons)
    seen = Counter()
    for batch in islice(build_train_loader(cfg), len(persons) // 4):
        for first, second in zip(batch[::2], batch[1::2], strict=True):
            assert first["person_id"] == second["person_id"] == first["crop_index"]
            assert first["crop_index"] == second["crop_index"]
            assert first["image"].shape == second["image"].shape == (3, 32, 16)
            assert not torch.equal(first["image"], second["image"])
            seen[first["person_id"]] += 1
    assert set(seen.values()) == {1}
