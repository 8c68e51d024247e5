"""CUHK-SYSU reader: hand-made copies, damaged copies, and the original TestG100.mat."""

import logging
import os
import re
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog
from PIL import Image
from scipy.io import loadmat, savemat

from person_search.data.readers import CUHK_SYSU
from person_search.errors import DatasetError
from person_search.labels import UNLABELED
from person_search.protocols import GalleryRule

SHARED = Path(__file__).resolve().parents[3] / ".." / "shared" / "data" / "annotations"
needs_shared = pytest.mark.skipif(
    not SHARED.exists(), reason="needs the research data beside the repository"
)

TRAIN_TEST = Path("annotation", "test", "train_test")
SUBSET = Path("annotation", "test", "subset")

# x + w overflows the uint8 in which MATLAB stores the first box; the last box has no area.
IMAGES = {
    "s10.jpg": [(200, 5, 100, 250)],
    "s2.jpg": [(1, 2, 30, 40), (300, 2, 30, 40)],
    "s5.jpg": [(10, 20, 30, 40), (60, 20, 30, 40), (5, 5, 0, 9)],
    "s3.jpg": [(250, 20, 10, 20)],
    "s4.jpg": [(7, 7, 7, 7)],
}
POOL = ["s5.jpg", "s3.jpg", "s4.jpg"]
TRAIN = {"p8": [("s2.jpg", (300, 2, 30, 40)), ("s10.jpg", (200, 5, 100, 250))], "p3": []}
# idname, query frame, query box, gallery rows (frame, box or None)
P7 = ("p7", "s5.jpg", (10, 20, 30, 40), [("s3.jpg", (250, 20, 10, 20)), ("s4.jpg", None)])
P1 = ("p1", "s4.jpg", (7, 7, 7, 7), [("s5.jpg", (60, 20, 30, 40)), ("s3.jpg", None)])
P1_LONG = (*P1[:3], [*P1[3], ("s5.jpg", (60, 20, 30, 40)), ("s5.jpg", None)])
TESTS = {2: [P7, P1], 100: [P1_LONG, P7]}


def matlab_struct(rows, fields):
    """(1, n) struct array, as scipy writes and reads it."""
    struct = np.zeros((1, len(rows)), dtype=[(field, object) for field in fields])
    for position, row in enumerate(rows):
        struct[0, position] = row
    return struct


def matlab_cell(values):
    cell = np.empty((len(values), 1), dtype=object)
    for position, value in enumerate(values):
        cell[position, 0] = value
    return cell


def matlab_box(box):
    """A box in the narrowest type that holds its numbers; an absent one is empty."""
    if box is None:
        return np.zeros((1, 0))
    return np.array([box], dtype=np.uint8 if max(box) < 256 else np.uint16)


def write_test(path, variable, queries):
    rows = [
        (
            matlab_struct([(frame, matlab_box(box), 0, name)], QUERY_FIELDS),
            matlab_struct([(f, matlab_box(b), 0) for f, b in gallery], QUERY_FIELDS[:3]),
        )
        for name, frame, box, gallery in queries
    ]
    savemat(path, {variable: matlab_struct(rows, ("Query", "Gallery"))})


QUERY_FIELDS = ("imname", "idlocate", "ishard", "idname")


def write_images(root, images):
    rows = [
        (name, len(boxes), matlab_struct([(matlab_box(box),) for box in boxes], ["idlocate"]))
        for name, boxes in images.items()
    ]
    savemat(
        root / "annotation" / "Images.mat",
        {"Img": matlab_struct(rows, ("imname", "nAppear", "box"))},
    )


def write_pool(root, names):
    savemat(root / "annotation" / "pool.mat", {"pool": matlab_cell(names)})


def write_train(root, people):
    def scenes(boxes):
        return matlab_struct(
            [(frame, matlab_box(box), 0) for frame, box in boxes], QUERY_FIELDS[:3]
        )

    fields = ("idname", "nAppear", "scene")
    cell = [matlab_struct([(n, len(boxes), scenes(boxes))], fields) for n, boxes in people.items()]
    savemat(root / TRAIN_TEST / "Train.mat", {"Train": matlab_cell(cell)})


def write_frames(root, names, size=(640, 480)):
    (root / "Image" / "SSM").mkdir(parents=True)
    first = root / "Image" / "SSM" / names[0]
    Image.new("L", size).save(first)
    for name in names[1:]:
        os.link(first, root / "Image" / "SSM" / name)


def write_cuhk(root, images=IMAGES, pool=POOL, train=TRAIN, tests=TESTS):
    (root / TRAIN_TEST).mkdir(parents=True)
    write_images(root, images)
    write_pool(root, pool)
    write_train(root, train)
    for size, queries in tests.items():
        write_test(root / TRAIN_TEST / f"TestG{size}.mat", f"TestG{size}", queries)
    write_frames(root, list(images))
    return root


@pytest.fixture
def cuhk(tmp_path):
    return write_cuhk(tmp_path / "CUHK-SYSU")


def persons(record):
    return [(tuple(a["bbox"]), a["person_id"]) for a in record["annotations"]]


def test_training_frames(cuhk):
    records = CUHK_SYSU.load(cuhk, "train").records
    assert [record["image_id"] for record in records] == ["s10.jpg", "s2.jpg"]
    assert persons(records[0]) == [((200, 5, 300, 255), 0)]
    assert persons(records[1]) == [((1, 2, 31, 42), UNLABELED), ((300, 2, 330, 42), 0)]
    first = records[0]
    assert first["file_name"] == str(cuhk / "Image" / "SSM" / "s10.jpg")
    assert (first["height"], first["width"], first["camera_id"]) == (480, 640, -1)
    assert first["domain"] == "CUHK-SYSU"


def test_test_frames(cuhk):
    records = CUHK_SYSU.load(cuhk, "test").records
    assert [record["image_id"] for record in records] == POOL
    # p7 is person 0 and p1 person 1: the order of the smallest TestG file. No box of no area.
    assert persons(records[0]) == [((10, 20, 40, 60), 0), ((60, 20, 90, 60), 1)]
    assert persons(records[1]) == [((250, 20, 260, 40), 0)]
    assert persons(records[2]) == [((7, 7, 14, 14), 1)]


def test_galleries_are_kept_row_by_row(cuhk):
    protocols = CUHK_SYSU.protocols(cuhk)
    assert list(protocols) == ["gallery_100", "gallery_2", "full"]
    protocol = protocols["gallery_100"]()
    assert protocol.name == "CUHK-SYSU, gallery 100"
    # This file asks for p1 first; ids still are those of the records.
    assert protocol.query_ids.tolist() == [1, 0]
    assert protocol.query_frames.tolist() == [2, 0]
    assert protocol.query_boxes.tolist() == [[7, 7, 14, 14], [10, 20, 40, 60]]
    gallery = protocol.gallery
    assert gallery.offsets.tolist() == [0, 4, 6]
    assert gallery.frames.tolist() == [0, 1, 0, 0, 1, 2]  # frame 0 is listed three times
    assert gallery.has_target.tolist() == [True, False, True, False, True, False]
    assert gallery.boxes[4].tolist() == [250, 20, 260, 40]
    assert (gallery.offsets.dtype, gallery.frames.dtype) == (np.int64, np.int64)
    assert (gallery.has_target.dtype, gallery.boxes.dtype) == (bool, np.float64)


def test_the_full_set_is_every_other_frame(cuhk):
    protocol = CUHK_SYSU.protocols(cuhk)["full"]()
    assert protocol.gallery is GalleryRule.OTHER_FRAMES
    assert protocol.query_ids.tolist() == [0, 1]


def test_protocols_follow_the_files(cuhk):
    protocols = CUHK_SYSU.protocols(cuhk)
    (cuhk / SUBSET).mkdir()
    write_test(cuhk / SUBSET / "Occlusion.mat", "Occlusion1", [P1])
    write_test(cuhk / SUBSET / "Resolution.mat", "Test_Size", [P7])
    (cuhk / TRAIN_TEST / "TestG100.mat").unlink()
    assert list(protocols) == ["gallery_2", "full", "occlusion", "resolution"]
    assert len(protocols) == 4
    assert protocols["occlusion"]().query_ids.tolist() == [1]
    assert protocols["resolution"]().query_ids.tolist() == [0]
    with pytest.raises(KeyError, match="gallery_100 .there are gallery_2, full"):
        protocols["gallery_100"]


def test_labels_without_a_box_are_counted(tmp_path, caplog):
    train = TRAIN | {"p3": [("s2.jpg", (1, 2, 30, 41)), ("s5.jpg", (10, 20, 30, 40))]}
    root = write_cuhk(tmp_path / "CUHK-SYSU", train=train)
    with caplog.at_level(logging.WARNING):
        records = CUHK_SYSU.load(root, "train").records
    assert "2 of 4 labeled boxes" in caplog.text
    assert "(persons p3, p3)" in caplog.text
    assert persons(records[1])[0] == ((1, 2, 31, 42), UNLABELED)


def test_registration_is_lazy_and_the_metadata_follows(tmp_path):
    name, root = "cuhk_of_a_test", tmp_path / "CUHK-SYSU"
    try:
        CUHK_SYSU.register(name, tmp_path, "test")
        metadata = MetadataCatalog.get(name)
        assert metadata.evaluator_type == "person_search"
        write_cuhk(root)
        assert {record["domain"] for record in DatasetCatalog.get(name)} == {name}
        DatasetCatalog.get(name)  # sets the same metadata again
        assert (metadata.num_person_ids, metadata.raw_person_ids) == (2, ("p7", "p1"))
        assert next(iter(metadata.protocols.values()))().name == f"{name}, gallery 100"
    finally:
        DatasetCatalog.pop(name, None)
        MetadataCatalog.pop(name, None)


def test_missing_data_set_shows_the_tree_and_the_remedy(tmp_path):
    with pytest.raises(DatasetError, match=r"(?s)Image/SSM.*DETECTRON2_DATASETS"):
        CUHK_SYSU.load(tmp_path, "train")
    with pytest.raises(DatasetError, match="legal are train, test"):
        CUHK_SYSU.load(tmp_path, "query")


def _cut(path):
    def damage(root):
        content = (root / path).read_bytes()
        (root / path).write_bytes(content[: len(content) // 2])

    return damage


def _test(*queries):
    return lambda root: write_test(root / TRAIN_TEST / "TestG2.mat", "TestG2", queries)


def _without_galleries(root):
    for path in (root / TRAIN_TEST).glob("TestG*.mat"):
        path.unlink()


def _nan_box(root):
    box = matlab_struct([(np.array([[1, 2, np.nan, 4]]),)], ["idlocate"])
    rows = [("s5.jpg", 1, box), ("s3.jpg", 1, box), ("s4.jpg", 1, box)]
    images = matlab_struct(rows, ("imname", "nAppear", "box"))
    savemat(root / "annotation" / "Images.mat", {"Img": images})


@pytest.mark.parametrize(
    "damage, message",
    [
        (lambda root: (root / "annotation" / "pool.mat").unlink(), "pool.mat is missing"),
        (_cut("annotation/Images.mat"), "Images.mat is damaged"),
        (_cut(TRAIN_TEST / "TestG2.mat"), "TestG2.mat is damaged"),
        (lambda root: (root / "Image/SSM/s3.jpg").unlink(), "1 files are missing"),
        (
            lambda root: savemat(root / "annotation/pool.mat", {"x": 1}),
            "pool.mat holds x, not pool",
        ),
        (
            lambda root: savemat(root / "annotation/Images.mat", {"Img": 1.0}),
            "Images.mat is damaged",
        ),
        (lambda root: write_pool(root, ["s5.jpg", "s77.jpg"]), "Images.mat lacks: s77.jpg"),
        (lambda root: write_pool(root, []), "no test frame"),
        (_nan_box, "Images.mat, s5.jpg, box 1"),
        (_without_galleries, "holds no TestG<size>.mat"),
        (_test(), "TestG2.mat is damaged"),
        (_test(("p7", "s2.jpg", (1, 2, 30, 40), P7[3])), "TestG2.mat names frames that pool.mat"),
        (_test((*P7[:3], [("s77.jpg", None)])), "pool.mat lacks: s77.jpg"),
        (_test((*P7[:2], (1, 2, 0, 5), P7[3])), "TestG2.mat, query 1: "),
        (_test((*P7[:3], [("s3.jpg", (1, 2, 3, 0))])), "TestG2.mat, gallery box 1: "),
        (_test(P7), "asks for persons that are in no TestG file: p1"),
        (_test(("p7", "s5.jpg", (1, 1, 1, 1), [("s4.jpg", None)])), "carries a person id"),
    ],
)
def test_damage_gives_one_error_that_names_the_file(cuhk, damage, message):
    damage(cuhk)
    with pytest.raises(DatasetError, match=re.escape(message)):
        for load in CUHK_SYSU.protocols(cuhk).values():
            load()


@pytest.fixture(scope="module")
def original():
    """The original TestG100.mat, amid look-alikes of the files that cannot be had.

    Names of all 18,184 frames are real. Images.mat gets the boxes that TestG100 names (one more,
    unlabeled, in each training frame), the first training frames a person each.
    """
    with TemporaryDirectory() as folder:  # tens of thousands of links: not kept
        root = Path(folder) / "cuhk_sysu"
        (root / TRAIN_TEST).mkdir(parents=True)
        os.symlink(SHARED / "AlignPS" / "TestG100.mat", root / TRAIN_TEST / "TestG100.mat")
        rows = loadmat(SHARED / "AlignPS" / "TestG100.mat")["TestG100"].ravel()
        images = {}
        for row in rows:
            for entry in (*row["Query"].ravel(), *row["Gallery"].ravel()):
                boxes = images.setdefault(entry["imname"].item(), {})
                if entry["idlocate"].size:
                    boxes[tuple(entry["idlocate"].ravel().tolist())] = None
        pool = list(images)
        lines = (SHARED / "JDE" / "cuhksysu.train").read_text().split()
        train = [Path(line).name for line in lines]
        images |= {name: {(10, 20, 30, 40): None, (50, 20, 300, 400): None} for name in train}
        write_images(root, images)
        write_pool(root, pool)
        write_train(root, {f"p{k}": [(train[k], (50, 20, 300, 400))] for k in range(5532)})
        (root / SUBSET).mkdir()
        savemat(root / SUBSET / "Occlusion.mat", {"Occlusion1": rows[None, 100:110]})
        write_frames(root, list(images))
        yield root


@needs_shared
def test_original_counts(original, caplog):
    with caplog.at_level(logging.WARNING):
        train, test = (CUHK_SYSU.load(original, split).records for split in ("train", "test"))
    assert not caplog.records  # every label of the protocol finds its box
    assert (len(train), len(test)) == (11206, 6978)
    numbers = {int(record["image_id"][1:-4]) for record in train + test}
    assert numbers == set(range(1, 18205)) - set(range(6334, 6354))
    ids = [a["person_id"] for record in train for a in record["annotations"]]
    assert set(ids) == {UNLABELED, *range(5532)}
    # 8,345 distinct boxes, all labeled; every frame of the pool shows a labeled person.
    ids = [[a["person_id"] for a in record["annotations"]] for record in test]
    assert all(max(frame) >= 0 for frame in ids)
    flat = np.concatenate(ids)
    assert len(flat) == 8345 and set(flat.tolist()) == set(range(2900))


@pytest.fixture(scope="module")
def protocol(original):
    return CUHK_SYSU.protocols(original)["gallery_100"]()


@needs_shared
def test_original_protocol(original, protocol):
    gallery = protocol.gallery
    assert protocol.query_ids.tolist() == list(range(2900))
    assert len(set(protocol.query_frames.tolist())) == 2725
    assert (np.diff(gallery.offsets) == 100).all() and len(gallery.frames) == 290_000
    assert len(np.unique(gallery.frames)) == 6978
    assert gallery.has_target.sum() == 5447
    per_query = np.add.reduceat(gallery.has_target.astype(int), gallery.offsets[:-1])
    expected = [1501, 804, 341, 135, 48, 28, 16, 9, 9, 2, 4, 1, 2]
    assert np.bincount(per_query)[1:].tolist() == expected
    protocols = CUHK_SYSU.protocols(original)
    assert list(protocols) == ["gallery_100", "full", "occlusion"]
    assert protocols["occlusion"]().query_ids.tolist() == list(range(100, 110))

    # Widths and heights would be wrong had x + w been taken in uint8.
    sides = protocol.query_boxes[:, 2:] - protocol.query_boxes[:, :2]
    assert sides.min(axis=0).tolist() == [13, 36] and sides.max(axis=0).tolist() == [297, 793]
    boxes = np.concatenate([protocol.query_boxes, gallery.boxes[gallery.has_target]])
    sides = boxes[:, 2:] - boxes[:, :2]
    assert (sides > 0).all()
    loose = np.minimum(0.5, sides.prod(axis=1) / (sides + 10).prod(axis=1))[2900:]
    assert (loose < 0.5).sum() == 13 and round(loose.min(), 4) == 0.4215


@needs_shared
def test_bad_rows_of_the_original_are_kept(original, protocol):
    names = [record["image_id"] for record in CUHK_SYSU.load(original, "test").records]
    raw_ids = CUHK_SYSU.load(original, "test").raw_person_ids

    def targets(query):
        rows = slice(*protocol.gallery.offsets[query : query + 2])
        has_target = protocol.gallery.has_target[rows]
        frames = [names[frame] for frame in protocol.gallery.frames[rows][has_target]]
        return frames, protocol.gallery.boxes[rows][has_target]

    bad = {493: "p10354", 1250: "p3091", 1633: "p1226", 1997: "p4667", 2132: "p484", 2561: "p1489"}
    assert {query: raw_ids[query] for query in bad} == bad
    assert [len(targets(query)[0]) for query in bad] == [2, 2, 3, 8, 3, 3]

    own = names[protocol.query_frames[493]]
    frames, boxes = targets(493)
    assert frames[1] == own == "s14430.jpg"
    assert boxes[1].tolist() == [153, 111, 153 + 77, 111 + 266]
    assert boxes[1].tolist() != protocol.query_boxes[493].tolist()

    own = names[protocol.query_frames[2132]]
    frames, boxes = targets(2132)
    assert frames[2] == own == "s888.jpg"
    assert (
        boxes[2].tolist() == protocol.query_boxes[2132].tolist() == [78, 101, 78 + 186, 101 + 496]
    )

    doubled = {1250: "s3981.jpg", 1633: "s11888.jpg", 1997: "s5957.jpg", 2561: "s12295.jpg"}
    for query, frame in doubled.items():
        frames, boxes = targets(query)
        same = [tuple(box) for name, box in zip(frames, boxes, strict=True) if name == frame]
        assert len(same) == 2 and (len(set(same)) == 1) == (query == 1250)
