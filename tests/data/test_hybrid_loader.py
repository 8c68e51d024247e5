"""The mixture of hybrid pre-training: fixed numbers, fair shares, resumable, shared by ranks."""

import logging
from itertools import islice

import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog
from hypothesis import given, settings
from hypothesis import strategies as st
from looks_alike import (
    NO_PICTURES,
    Shot,
    crowdhuman_row,
    noise,
    save,
    write_crowdhuman,
    write_market1501,
)

from person_search.data import build_train_loader, count_train_samples
from person_search.data.frames import choose_fraction
from person_search.data.hybrid import load_hybrid_records
from person_search.data.readers import CROWDHUMAN, LUPERSON, MARKET1501, PRW
from person_search.data.samplers import HybridBatches
from person_search.errors import ConfigError, DatasetError
from person_search.labels import UNLABELED

SETS = ("hybrid_crowd", "hybrid_market", "hybrid_street", "hybrid_luperson")


def batches(sets, numbers, equally=False, seed=1, rank=0, world_size=1) -> HybridBatches:
    sampler = HybridBatches(sets, numbers, equally, seed)
    sampler.rank, sampler.world_size = rank, world_size
    return sampler


@pytest.fixture(scope="module")
def registered_sets(tmp_path_factory, street_root):
    """Two sets of scenes, 24 of them with 8 identities; two of crops, one with 3 identities."""
    root = tmp_path_factory.mktemp("hybrid")
    rows = {f"frame{k}": [crowdhuman_row([4 + k, 5, 20, 40])] * (k % 3) for k in range(6)}
    write_crowdhuman(root / "CrowdHuman", "train", rows, pictures=NO_PICTURES)
    shots = [Shot(person, 1, noise(person, (40, 20))) for person in (2, 2, 5, 9)]
    write_market1501(root / "market", {"bounding_box_train": shots})
    for k in range(5):
        save(root / "LUP" / "images" / f"{k}.jpg", noise(k, (30, 15)))
    CROWDHUMAN.register(SETS[0], root, "train")
    MARKET1501.register(SETS[1], root / "market", "train")
    PRW.register(SETS[2], street_root / "street" / "tiny" / "PRW", "train")
    LUPERSON.register(SETS[3], root, "train")
    yield SETS
    for name in SETS:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)


@pytest.fixture
def cfg(tiny_cfg, registered_sets):
    return tiny_cfg(
        *("DATASETS.TRAIN", registered_sets, "SEED", 3),
        *("DATALOADER.SOURCE", "hybrid", "INPUT.MAPPER", "HybridMapper"),
        *("DATALOADER.NUM_WORKERS", 0, "SOLVER.IMS_PER_BATCH", 6),
        *("DATALOADER.HYBRID.SCENES_PER_BATCH", 2, "INPUT.HYBRID.SCENE_SIZE", (60, 80)),
        *("INPUT.HYBRID.CANVAS_SIZE", (64, 32)),
    )


def test_identities_of_the_sets_stay_apart_and_unlabeled_ones_stay_so(registered_sets):
    crowd, market, street, luperson = load_hybrid_records(registered_sets)
    assert {a["person_id"] for r in crowd for a in r["annotations"]} == {UNLABELED}
    assert {r["person_id"] for r in luperson} == {UNLABELED}
    assert sorted({r["person_id"] for r in market}) == [0, 1, 2]
    of_street = {a["person_id"] for r in street for a in r["annotations"]}
    assert of_street - {UNLABELED} == set(range(3, 3 + 8))
    assert len(crowd) == 4  # frames with nobody are of no use
    kinds = [(s[0]["kind"], s[0]["domain_id"]) for s in (crowd, market, street, luperson)]
    assert kinds == [("scene", 0), ("crop", 0), ("scene", 1), ("crop", 1)]
    assert DatasetCatalog.get("hybrid_market")[0].keys().isdisjoint({"kind", "domain_id"})


def test_a_batch_has_the_numbers_that_were_asked_for(cfg):
    for batch in islice(build_train_loader(cfg), 3):
        # Spread evenly, so that every half and every third of the batch has its share.
        assert [x["kind"] for x in batch] == ["crop", "scene", "crop", "crop", "scene", "crop"]
        assert all(len(x["views"]) == 2 for x in batch)
        crops = [v for x in batch if x["kind"] == "crop" for v in x["views"]]
        assert all(v["image"].shape == (3, 64, 32) for v in crops)
    assert count_train_samples(cfg) == 4 + 4 + 24 + 5


def test_a_resumed_loader_shows_the_same(cfg):
    whole = list(islice(build_train_loader(cfg), 4))
    loader = build_train_loader(cfg)
    loader.batch_sampler.start = 2
    for batch, again in zip(whole[2:], islice(loader, 2), strict=True):
        for x, y in zip(batch, again, strict=True):
            assert x["file_name"] == y["file_name"]
            for one, two in zip(x["views"], y["views"], strict=True):
                assert (one["image"].shape == two["image"].shape) and (
                    one["image"] == two["image"]
                ).all()


def said_by_the_loader(cfg, caplog) -> str:
    logger = logging.getLogger("person_search.data.hybrid")
    with caplog.at_level(logging.INFO, logger=logger.name):
        logger.addHandler(caplog.handler)
        build_train_loader(cfg)
        logger.removeHandler(caplog.handler)
    return caplog.text


def test_the_mixture_is_logged(cfg, caplog):
    said = said_by_the_loader(cfg, caplog)
    assert "hybrid_street, 24 images with identities, of kind scene: 1.7 of 6" in said
    assert "hybrid_market, 4 images with identities, of kind crop: 1.8 of 6" in said


def test_data_without_any_identity_is_named(cfg, caplog):
    cfg.DATASETS.TRAIN = (SETS[0], SETS[3])
    said = said_by_the_loader(cfg, caplog)
    assert "hybrid_crowd, 4 images without identities" in said
    assert "no data set of DATASETS.TRAIN has identities: loss_oim will be 0" in said


@pytest.mark.parametrize("number", [1, 2])
def test_every_rank_meets_every_set(number):
    """Two ranks, two sets that take turns: also where a rank has one image of a kind at a time."""
    for rank in range(2):
        sampler = batches([[4, 4], [3]], [number, 1], equally=True, rank=rank, world_size=2)
        images = [i for batch in islice(sampler, 30) for _, i in batch if i < 8]
        assert {image < 4 for image in images} == {True, False}


SIZES = st.lists(st.integers(1, 9), min_size=1, max_size=3)


@settings(max_examples=60, deadline=None)
@given(
    sets=st.tuples(SIZES, SIZES),
    numbers=st.tuples(st.integers(0, 3), st.integers(1, 4)),
    equally=st.booleans(),
    seed=st.integers(0, 5),
    start=st.integers(0, 9),
    world_size=st.integers(1, 3),
)
def test_batch_n_is_the_same_after_a_resume_and_ranks_share(
    sets, numbers, equally, seed, start, world_size
):
    ranks = []
    for rank in range(world_size):
        args = sets, numbers, equally, seed, rank, world_size
        whole = list(islice(batches(*args), start + 4))
        resumed = batches(*args)
        resumed.start = start
        assert list(islice(resumed, 4)) == whole[start:]
        ranks.append(whole)
    together = [pair for whole in ranks for batch in whole for pair in batch]
    assert len({position for position, _ in together}) == len(together)
    scenes = sum(sets[0])
    for batch in ranks[0]:
        is_scene = [index < scenes for _, index in batch]
        assert (sum(is_scene), len(is_scene)) == (numbers[0], sum(numbers))
        for n in range(len(batch)):  # spread evenly
            assert abs(sum(is_scene[:n]) - n * numbers[0] / len(batch)) <= 1
    # What all ranks see does not depend on how many there are.
    alone = batches(sets, [n * world_size for n in numbers], equally, seed)
    for n, batch in enumerate(islice(alone, start + 4)):
        assert sorted(batch) == sorted(pair for whole in ranks for pair in whole[n])


def test_by_size_every_image_comes_equally_often():
    stream = [i for batch in islice(batches([[3, 9], [6]], [4, 2]), 6) for _, i in batch]
    assert [stream.count(i) for i in range(18)] == [2] * 18


def test_equally_every_set_comes_equally_often():
    stream = [i for b in islice(batches([[3, 9], [6]], [4, 2], equally=True), 9) for _, i in b]
    assert [stream.count(i) for i in range(18)] == [6] * 3 + [2] * 9 + [3] * 6


@pytest.mark.parametrize(
    "opts, message",
    [
        (("DATALOADER.HYBRID.SCENES_PER_BATCH", 7), "at most SOLVER.IMS_PER_BATCH"),
        (("DATALOADER.HYBRID.SCENES_PER_BATCH", 0), "0 images of kind 'scene' .* 2 data sets"),
        (("DATASETS.TRAIN", SETS[::2]), "4 images of kind 'crop' .* 0 data sets"),
        (("DATALOADER.HYBRID.DRAW", "both"), "legal: size, equal"),
        (("DATASETS.FRACTION", 0.5), "DATASETS.FRACTION"),
    ],
)
def test_a_mixture_that_cannot_be_is_an_error(cfg, opts, message):
    cfg.merge_from_list(list(opts))
    with pytest.raises(ConfigError, match=message):
        build_train_loader(cfg)


def test_a_set_without_persons_is_an_error(tmp_path):
    write_crowdhuman(tmp_path / "CrowdHuman", "train", {"empty": []})
    CROWDHUMAN.register("hybrid_empty", tmp_path, "train")
    try:
        with pytest.raises(DatasetError, match="hybrid_empty shows a person"):
            load_hybrid_records(["hybrid_empty"])
    finally:
        DatasetCatalog.remove("hybrid_empty")
        MetadataCatalog.remove("hybrid_empty")


@settings(max_examples=40, deadline=None)
@given(
    number=st.integers(0, 60),
    fractions=st.tuples(st.floats(0.01, 1), st.floats(0.01, 1)),
    seed=st.integers(0, 9),
)
def test_fractions_are_nested_and_in_order(number, fractions, seed):
    records = [{"image_id": i} for i in range(number)]
    small, large = (choose_fraction(records, f, seed) for f in sorted(fractions))
    assert len(small) == round(min(fractions) * number)
    ids = [r["image_id"] for r in large]
    assert ids == sorted(ids) and {r["image_id"] for r in small} <= set(ids)
    assert choose_fraction(records, 1.0, seed) == records


def test_a_seed_chooses_the_fraction():
    records = [{"image_id": i} for i in range(40)]
    assert choose_fraction(records, 0.5, 1) == choose_fraction(records, 0.5, 1)
    assert choose_fraction(records, 0.5, 1) != choose_fraction(records, 0.5, 2)


@pytest.mark.parametrize("fraction", [0.0, -0.1, 1.1])
def test_an_illegal_fraction_is_an_error(fraction):
    with pytest.raises(ConfigError, match="DATASETS.FRACTION"):
        choose_fraction([{}], fraction, 0)
