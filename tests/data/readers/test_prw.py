"""PRW reader: hand-made copies, damaged copies, the real subset, and all published counts."""

import json
import logging
import os
import re
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import BoxMode
from PIL import Image
from scipy.io import savemat

from person_search.data.readers import PRW
from person_search.errors import DatasetError, ImageError
from person_search.labels import UNLABELED
from person_search.protocols import GalleryRule

SHARED = Path(__file__).resolve().parents[3] / ".." / "shared" / "data"
needs_shared = pytest.mark.skipif(
    not SHARED.exists(), reason="needs the research data beside the repository"
)

TRAIN = {"c1s1_000001": [[932, 1, 2, 10, 20], [-2, 5, 6, 7, 8]], "c2s1_000001": [[4, 0, 0, 9, 9]]}
TEST = {
    "c6s2_000009": [[900, 3.5, -2, 10.25, 30], [-2, 50, 1, 20, 40]],
    "c1s1_000002": [[4, 30, 5, 8, 16], [900, 40, 5, 8, 16]],
    "c1s1_000003": [],
}
QUERIES = ["900 40 5 8 16 c1s1_000002", "4 30.6 5 7.8 16 c1s1_000002"]


def write_frame_list(root: Path, split: str, names: list[str]) -> None:
    cells = np.array([*names, None], dtype=object)[:-1].reshape(-1, 1)
    savemat(root / f"frame_{split}.mat", {f"img_index_{split}": cells})


def write_boxes(root: Path, name: str, rows, variable: str = "box_new") -> None:
    boxes = np.array(rows, dtype=float).reshape(-1, 5)
    savemat(root / "annotations" / f"{name}.jpg.mat", {variable: boxes})


def write_prw(root: Path, train=TRAIN, test=TEST, queries=QUERIES, newline="\r\n") -> Path:
    (root / "frames").mkdir(parents=True)
    (root / "annotations").mkdir()
    for split, frames in (("train", train), ("test", test)):
        write_frame_list(root, split, list(frames))
        for name, rows in frames.items():
            write_boxes(root, name, rows)
            Image.new("L", (64, 48)).save(root / "frames" / f"{name}.jpg")
    (root / "query_info.txt").write_text("".join(line + newline for line in queries), newline="")
    return root


@pytest.fixture
def prw(tmp_path: Path) -> Path:
    return write_prw(tmp_path / "PRW-v16.04.20")


@pytest.fixture
def dataset_name():
    name = "prw_of_a_test"
    yield name
    DatasetCatalog.pop(name, None)
    MetadataCatalog.pop(name, None)


def test_a_record_is_what_was_annotated(prw):
    records = PRW.load(prw, "test").records
    assert [record["image_id"] for record in records] == list(TEST)
    assert records[0] == {
        "file_name": str(prw / "frames" / "c6s2_000009.jpg"),
        "image_id": "c6s2_000009",
        "height": 48,
        "width": 64,
        "camera_id": 6,
        "domain": "PRW",
        "annotations": [
            # Raw id 900 comes second after 4; the box keeps its fraction and its negative y.
            {
                "bbox": [3.5, -2.0, 13.75, 28.0],
                "bbox_mode": BoxMode.XYXY_ABS,
                "category_id": 0,
                "person_id": 1,
            },
            {
                "bbox": [50.0, 1.0, 70.0, 41.0],
                "bbox_mode": BoxMode.XYXY_ABS,
                "category_id": 0,
                "person_id": UNLABELED,
            },
        ],
    }
    assert records[2]["annotations"] == []


@pytest.mark.parametrize("folder", ["PRW", "PRW-v16.04.20"])
def test_the_folder_of_all_data_sets_will_do(tmp_path, folder):
    write_prw(tmp_path / folder)
    assert PRW.load(tmp_path, "train").records[0]["file_name"].startswith(str(tmp_path / folder))


def test_each_split_numbers_its_own_persons(prw):
    ids = [[a["person_id"] for a in r["annotations"]] for r in PRW.load(prw, "train").records]
    assert ids == [[1, UNLABELED], [0]]
    ids = [[a["person_id"] for a in r["annotations"]] for r in PRW.load(prw, "test").records]
    assert ids == [[1, UNLABELED], [0, 1], []]


def test_a_frame_without_camera_in_its_name(tmp_path):
    root = write_prw(tmp_path / "PRW", train={"frame_7": [[1, 1, 1, 5, 5]]})
    assert PRW.load(root, "train").records[0]["camera_id"] == -1


def test_size_follows_the_exif_rotation(prw):
    exif = Image.Exif()
    exif[274] = 6
    Image.new("L", (64, 48)).save(prw / "frames" / "c1s1_000001.jpg", exif=exif)
    first, second = PRW.load(prw, "train").records
    assert (first["height"], first["width"]) == (64, 48)
    assert (second["height"], second["width"]) == (48, 64)


def test_the_newest_annotation_wins(prw):
    path = prw / "annotations" / "c2s1_000001.jpg.mat"
    old, new = np.array([[4.0, 1, 1, 5, 5]]), np.array([[4.0, 2, 2, 5, 5]])
    savemat(path, {"anno_previous": old, "anno_file": new})
    assert PRW.load(prw, "train").records[1]["annotations"][0]["bbox"] == [2, 2, 7, 7]


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_protocols(tmp_path, newline, caplog):
    root = write_prw(tmp_path / "PRW", newline=newline)
    protocols = PRW.protocols(root)
    assert list(protocols) == ["regular", "multi_view"]
    regular, multi_view = (load() for load in protocols.values())
    assert regular.name == "PRW, regular gallery"
    assert regular.gallery is GalleryRule.OTHER_FRAMES
    assert multi_view.gallery is GalleryRule.OTHER_CAMERAS
    for protocol in (regular, multi_view):
        assert protocol.query_frames.tolist() == [1, 1]
        assert protocol.query_ids.tolist() == [1, 0]
        # The query's own numbers are kept; half a pixel off the annotation is no oddity.
        np.testing.assert_allclose(protocol.query_boxes, [[40, 5, 48, 21], [30.6, 5, 38.4, 21]])
    assert not caplog.records


def test_a_query_box_far_from_its_person_is_reported(tmp_path, caplog):
    queries = ["900 43 5 8 16 c1s1_000002", "900 3.5 -2 10.25 30 c6s2_000009"]
    root = write_prw(tmp_path / "PRW", queries=queries)
    with caplog.at_level(logging.WARNING):
        protocol = PRW.protocols(root)["regular"]()
    assert protocol.query_ids.tolist() == [1, 1]
    assert "1 of 2 query boxes" in caplog.text


@pytest.mark.parametrize(
    "query, message",
    [
        ("900 40 5 8 16 c1s1_000003", "person 900 in frame c1s1_000003"),
        ("900 40 5 8 16 c1s1_000001", "person 900 in frame c1s1_000001"),  # a training frame
        ("77 40 5 8 16 c1s1_000002", "person 77 in frame"),
        ("-2 50 1 20 40 c6s2_000009", "person -2 in frame"),
        ("900 40 5 8 c1s1_000002", "line 1: expected"),
        ("900 40 5 0 16 c1s1_000002", "query 1: "),
        ("", "lists no query"),
    ],
)
def test_bad_queries(tmp_path, query, message):
    root = write_prw(tmp_path / "PRW", queries=[query])
    with pytest.raises(DatasetError, match=re.escape(message)) as error:
        PRW.protocols(root)["regular"]()
    assert "query_info.txt" in str(error.value)


def test_missing_data_set_shows_the_tree_and_the_remedy(tmp_path):
    with pytest.raises(DatasetError, match=r"(?s)frame_train\.mat.*DETECTRON2_DATASETS"):
        PRW.load(tmp_path / "nowhere", "train")
    with pytest.raises(DatasetError, match="Draw it"):
        PRW.at(tmp_path / "nowhere", remedy="Draw it").load("train")


def test_missing_frames_are_counted(tmp_path):
    root = write_prw(
        tmp_path / "PRW", train={f"c1s1_00000{k}": TRAIN["c2s1_000001"] for k in "123456789"}
    )
    for k in "2345678":
        (root / "frames" / f"c1s1_00000{k}.jpg").unlink()
    expected = r"7 files are missing .*: c1s1_000002\.jpg, .*c1s1_000006\.jpg and 2 more$"
    with pytest.raises(DatasetError, match=expected):
        PRW.load(root, "train")


def _remove(path):
    return lambda root: (root / path).unlink()


def _cut(path):
    def damage(root):
        content = (root / path).read_bytes()
        (root / path).write_bytes(content[: len(content) // 2])

    return damage


def _boxes(rows, variable="box_new"):
    return lambda root: write_boxes(root, "c6s2_000009", rows, variable)


FIRST = "c6s2_000009.jpg.mat"


@pytest.mark.parametrize(
    "damage, message",
    [
        (_remove("query_info.txt"), "query_info.txt is missing"),
        (_remove(f"annotations/{FIRST}"), FIRST),
        (_remove("frames/c6s2_000009.jpg"), "c6s2_000009.jpg"),
        (_cut(f"annotations/{FIRST}"), f"{FIRST} is damaged"),
        (_cut("frame_test.mat"), "frame_test.mat is damaged"),
        (_boxes([[1, 1, 1, 5, 5]], "boxes"), f"{FIRST} holds boxes, not box_new or anno_file"),
        (_boxes([[1, 1, 1, 5, 5], [1, 1, np.nan, 5, 5]]), f"{FIRST}, row 2: "),
        (_boxes([[1, 1, 1, 5, 0]]), f"{FIRST}, row 1: "),
        (_boxes([[1, 1, 1, -5, 5]]), f"{FIRST}, row 1: "),
        (_boxes([[1, 1, 1, 1e12, 5]]), f"{FIRST}, row 1: "),
        (_boxes([[1.5, 1, 1, 5, 5]]), "row 1: person 1.5 is not a whole number"),
        (_boxes([[np.nan, 1, 1, 5, 5]]), "row 1: person nan is not a whole number"),
        (_boxes([[1e300, 1, 1, 5, 5]]), "row 1: person 1e+300 is not a whole number"),
        (lambda root: write_frame_list(root, "test", []), "lists no frame"),
        (lambda root: write_frame_list(root, "test", ["c1s1_000003"]), "carries a person id"),
    ],
)
def test_damage_gives_one_error_that_names_the_file(prw, damage, message):
    damage(prw)
    with pytest.raises(DatasetError, match=re.escape(message)):
        PRW.protocols(prw)["regular"]()


def test_an_unreadable_image_is_named(prw):
    (prw / "frames" / "c1s1_000001.jpg").write_bytes(b"no image")
    with pytest.raises(ImageError, match="c1s1_000001.jpg is not a readable image"):
        PRW.load(prw, "train")


def test_registration_is_lazy_and_the_metadata_follows(prw, dataset_name):
    parked = prw.rename(prw.with_name("parked"))
    PRW.register(dataset_name, prw, "test")
    metadata = MetadataCatalog.get(dataset_name)
    assert metadata.evaluator_type == "person_search"
    assert metadata.thing_classes == ["person"]
    assert (metadata.dirname, metadata.split) == (str(prw), "test")
    assert list(metadata.protocols) == ["regular", "multi_view"]
    assert not hasattr(metadata, "num_person_ids")

    parked.rename(prw)
    first = DatasetCatalog.get(dataset_name)
    assert (metadata.num_person_ids, metadata.raw_person_ids) == (2, (4, 900))
    assert {record["domain"] for record in first} == {dataset_name}
    first[0]["query_boxes"] = []
    second = DatasetCatalog.get(dataset_name)  # sets the same metadata again
    assert "query_boxes" not in second[0]
    assert metadata.protocols["regular"]().name == f"{dataset_name}, regular gallery"


def test_a_training_set_has_no_protocols(prw, dataset_name):
    PRW.register(dataset_name, prw, "train")
    assert not hasattr(MetadataCatalog.get(dataset_name), "protocols")


def test_unknown_split(prw, dataset_name):
    with pytest.raises(DatasetError, match="'val'; legal are train, test"):
        PRW.register(dataset_name, prw, "val")


def counts(records):
    annotations = [annotation for record in records for annotation in record["annotations"]]
    ids = [annotation["person_id"] for annotation in annotations]
    labeled = [person_id for person_id in ids if person_id != UNLABELED]
    assert sorted(set(labeled)) == list(range(len(set(labeled))))
    return len(records), len(annotations), len(labeled), len(set(labeled))


@needs_shared
def test_the_real_subset():
    train, test = (PRW.load(SHARED / "PRW-v16.04.20", split).records for split in ("train", "test"))
    assert (counts(train)[:2], counts(train)[3]) == ((632, 1162), 117)
    assert (counts(test)[:2], counts(test)[3]) == ((614, 1541), 131)
    assert {(r["width"], r["height"], r["camera_id"]) for r in train + test} == {(720, 576, 6)}
    protocol = PRW.protocols(SHARED / "PRW-v16.04.20")["regular"]()
    assert len(protocol.query_ids) == len(set(protocol.query_ids.tolist())) == 93
    for frame, box, person_id in zip(
        protocol.query_frames, protocol.query_boxes, protocol.query_ids, strict=True
    ):
        persons = {tuple(a["bbox"]): a["person_id"] for a in test[frame]["annotations"]}
        assert persons[tuple(box)] == person_id


@pytest.fixture(scope="module")
def complete():
    """All real boxes of PRW in its own layout, over black frames of the real sizes.

    The published query list holds one box per queried person and camera; here, the first one.
    """
    with TemporaryDirectory() as folder:  # tens of thousands of links: not kept
        root = Path(folder) / "PRW"
        (root / "frames").mkdir(parents=True)
        (root / "annotations").mkdir()
        # In the json, training persons are renumbered: 0..477, 478..481, 482.
        raw_train_ids = [*range(1, 479), *range(480, 484), 932]
        queries, sizes = {}, {}
        for split in ("train", "test"):
            content = json.loads(
                (SHARED / "annotations/AlignPS" / f"prw_{split}_pid.json").read_text()
            )
            rows = {image["id"]: [] for image in content["images"]}
            for person in content["annotations"]:
                raw_id = person["person_id"]
                if split == "train":
                    raw_id = raw_train_ids[raw_id] if raw_id >= 0 else -2
                rows[person["image_id"]].append([raw_id, *person["bbox"]])
            names = {
                image["id"]: image["file_name"].removesuffix(".jpg") for image in content["images"]
            }
            write_frame_list(root, split, list(names.values()))
            for image in content["images"]:
                name, size = names[image["id"]], (image["width"], image["height"])
                write_boxes(root, name, rows[image["id"]])
                if size not in sizes:
                    sizes[size] = root / f"{size}.jpg"
                    Image.new("L", size).save(sizes[size])
                os.link(sizes[size], root / "frames" / f"{name}.jpg")
                if split == "test":
                    for raw_id, *box in rows[image["id"]]:
                        if raw_id in {479, 933} or 484 <= raw_id <= 931:
                            line = " ".join(map(str, [raw_id, *box, name]))
                            queries.setdefault((raw_id, name[1]), line)
        (root / "query_info.txt").write_text("\r\n".join(queries.values()), newline="")
        yield root


SEQUENCES = {
    "train": "c1s1 530 c1s2 361 c2s1 754 c3s1 996 c4s1 348 c4s2 218 c5s1 1251 c6s1 1246",
    "test": "c1s2 12 c1s3 381 c1s4 498 c2s1 36 c2s2 557 c3s1 125 c3s2 1144 c4s2 15 c4s3 293 "
    "c4s4 330 c4s5 2 c5s1 52 c5s2 1015 c6s1 16 c6s2 1636",
}


@needs_shared
def test_all_published_counts(complete):
    train, test = PRW.load(complete, "train").records, PRW.load(complete, "test").records
    assert counts(train) == (5704, 18048, 14907, 483)
    assert counts(test) == (6112, 25062, 19127, 544)
    assert not {r["image_id"] for r in train} & {r["image_id"] for r in test}
    for split, records in (("train", train), ("test", test)):
        fields = SEQUENCES[split].split()
        expected = dict(zip(fields[::2], map(int, fields[1::2]), strict=True))
        assert Counter(record["image_id"][:4] for record in records) == expected
    for records, most, negative, beyond in ((train, 14, 11, 71), (test, 19, 14, 96)):
        assert max(len(record["annotations"]) for record in records) == most
        boxes = np.array([a["bbox"] for r in records for a in r["annotations"]])
        sizes = np.array([(r["width"], r["height"]) for r in records for _ in r["annotations"]])
        assert (boxes[:, :2] < 0).any(axis=1).sum() == negative
        assert (boxes[:, 2:] > sizes).any(axis=1).sum() == beyond
        for record in records:
            expected = (720, 576) if record["camera_id"] == 6 else (1920, 1080)
            assert (record["width"], record["height"]) == expected

    protocol = PRW.protocols(complete)["regular"]()
    assert len(protocol.query_ids) == 2057
    assert len(set(protocol.query_ids.tolist())) == 450
    queried = np.isin([a["person_id"] for r in test for a in r["annotations"]], protocol.query_ids)
    assert queried.sum() == 16344
