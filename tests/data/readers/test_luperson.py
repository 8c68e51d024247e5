"""LUPerson: folder and LMDB, both kinds of key files, and the draw."""

import pickle
import re
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog
from looks_alike import noise, save, write_luperson_lmdb
from PIL import Image

from person_search.data.crops import load_train_crops
from person_search.data.readers import LUPERSON
from person_search.errors import DatasetError, ImageError
from person_search.images import read_image
from person_search.labels import UNLABELED

KEYS = [f"34_01_0341_{number:08d}" for number in (1865, 7, 20, 300, 12)]


@pytest.fixture
def pictures(tmp_path) -> dict[str, bytes]:
    """Encoded as PNG, which keeps every pixel."""
    encoded = {}
    for number, key in enumerate(KEYS):
        path = tmp_path / "encoded" / f"{key}.png"
        save(path, noise(number))
        encoded[key] = path.read_bytes()
    return encoded


@pytest.fixture
def lup(tmp_path) -> Path:
    for number, key in enumerate(KEYS):
        save(tmp_path / "LUP" / "images" / f"{key}.jpg", noise(number))
    (tmp_path / "LUP" / "CFS_list.pkl").touch()
    return tmp_path / "LUP"


def test_a_folder_of_pictures(lup):
    for root in (lup, lup.parent):
        records = LUPERSON.load(root).records
        assert [r["image_id"] for r in records] == sorted(KEYS)
        assert records[0] == {
            "file_name": str(lup / "images" / "34_01_0341_00000007.jpg"),
            "image_id": "34_01_0341_00000007",
            "bbox": None,
            "person_id": UNLABELED,
            "camera_id": -1,
            "role": "train",
            "domain": "LUPerson",
        }


def test_folders_as_the_published_script_leaves_them(tmp_path):
    for name in ("us/nyc/00000001_0000.jpg", "us/nyc/00000001_0001.jpg", "jp/v1/00000001_0000.jpg"):
        save(tmp_path / "luperson" / name, noise())
    assert [r["image_id"] for r in LUPERSON.load(tmp_path).records] == [
        "jp/v1/00000001_0000", "us/nyc/00000001_0000", "us/nyc/00000001_0001",
    ]  # fmt: skip


# ------------------------------------------------------------------------------------------ LMDB

needs_lmdb = pytest.mark.skipif(
    find_spec("lmdb") is None,
    reason="LUPerson's LMDB needs lmdb: pip install -e '.[datasets]'",
)


@needs_lmdb
@pytest.mark.parametrize("kind", [list, lambda keys: {"keys": keys, "pids": [0] * len(keys)}])
def test_an_lmdb_with_either_kind_of_key_file(tmp_path, pictures, kind):
    folder = write_luperson_lmdb(tmp_path / "LUP", pictures, kind(KEYS))
    for root in (folder, tmp_path):
        records = LUPERSON.load(root).records
        assert [r["image_id"] for r in records] == KEYS
        assert records[0]["file_name"] == f"lmdb://{folder}/lmdb!{KEYS[0]}"
        assert {r["person_id"] for r in records} == {UNLABELED}
    for number, record in enumerate(records):
        assert np.array_equal(read_image(record["file_name"], "RGB"), noise(number))


@needs_lmdb
def test_an_lmdb_that_is_in_use_already(tmp_path, pictures):
    folder = write_luperson_lmdb(tmp_path / "LUP", pictures)
    read_image(LUPERSON.load(folder).records[0]["file_name"])
    (tmp_path / "link").symlink_to(folder)
    for root in (folder, tmp_path / "link"):
        assert len(LUPERSON.load(root, number=2).records) == 2


@needs_lmdb
def test_the_variant_in_a_folder_of_another_name(tmp_path, pictures):
    folder = write_luperson_lmdb(tmp_path / "lup" / "lmdb_300_30", pictures)
    assert len(LUPERSON.load(folder).records) == 5


@needs_lmdb
def test_a_key_without_a_value_is_an_error_when_it_is_read(tmp_path, pictures):
    folder = write_luperson_lmdb(tmp_path / "LUP", pictures, [*KEYS[1:], "34_01_0341_99999999"])
    *rest, last = LUPERSON.load(folder).records
    assert read_image(rest[0]["file_name"]).shape == (8, 4, 3)
    with pytest.raises(ImageError, match=r"lmdb!34_01_0341_99999999: the LMDB holds nothing"):
        read_image(last["file_name"])


@needs_lmdb
def test_more_keys_than_values_are_an_error_at_once(tmp_path, pictures):
    folder = write_luperson_lmdb(tmp_path / "LUP", pictures, [*KEYS, "another", "a third"])
    with pytest.raises(DatasetError, match=r"keys\.pkl names 7 pictures, but .*lmdb holds 5"):
        LUPERSON.load(folder)


class Harmful:
    def __reduce__(self):
        return print, ("this must never run",)


@needs_lmdb
@pytest.mark.parametrize(
    "content, message",
    [
        (pickle.dumps({"names": KEYS}), "holds neither a list of names nor a dict"),
        (pickle.dumps("34_01"), "holds neither a list of names nor a dict"),
        (pickle.dumps([b"34_01"]), "holds neither a list of names nor a dict"),
        (pickle.dumps([1, 2]), "holds neither a list of names nor a dict"),
        (pickle.dumps([]), "keys.pkl names no picture"),
        (pickle.dumps(Harmful()), "it holds builtins.print"),
        (pickle.dumps(KEYS)[:-20], "is damaged"),
        (b"", "is damaged"),
    ],
    ids=["dict", "string", "bytes", "numbers", "empty", "harmful", "truncated", "nothing"],
)
def test_bad_key_files(tmp_path, pictures, content, message, capsys):
    folder = write_luperson_lmdb(tmp_path / "LUP", pictures)
    (folder / "keys.pkl").write_bytes(content)
    with pytest.raises(DatasetError, match=re.escape(message)) as error:
        LUPERSON.load(folder)
    assert "keys.pkl" in str(error.value)
    assert "never" not in capsys.readouterr().out


@needs_lmdb
def test_a_missing_lmdb(tmp_path, pictures):
    folder = write_luperson_lmdb(tmp_path / "LUP", pictures)
    (folder / "lmdb" / "data.mdb").unlink()
    with pytest.raises(DatasetError, match="LUP/lmdb is no LMDB that can be read"):
        LUPERSON.load(folder)


@needs_lmdb
def test_without_lmdb_the_error_says_what_to_install(tmp_path, pictures, monkeypatch):
    folder = write_luperson_lmdb(tmp_path / "LUP", pictures)
    monkeypatch.setitem(sys.modules, "lmdb", None)
    with pytest.raises(DatasetError, match=r"package lmdb: pip install"):
        LUPERSON.load(folder)


# ------------------------------------------------------------------------------------------ draw


def many(root: Path, names: list[str]) -> Path:
    folder = root / "LUP" / "images"
    folder.mkdir(parents=True)
    for name in names:
        (folder / f"{name}.jpg").touch()
    return root


def drawn(root: Path, number: int, seed: int = 0) -> list[str]:
    return [r["image_id"] for r in LUPERSON.load(root, number=number, seed=seed).records]


NAMES = [f"01_{number:03d}" for number in range(200)]


def test_a_draw_is_a_function_of_names_and_seed(tmp_path):
    root, other = many(tmp_path / "a", NAMES), many(tmp_path / "b", NAMES[::-1])
    sample = drawn(root, 60)
    assert len(set(sample)) == 60 and sample == sorted(sample) != sorted(NAMES)[:60]
    assert drawn(other, 60) == sample
    assert drawn(root, 60, seed=1) != sample
    # Written down: no other version of a library may draw others.
    assert drawn(root, 3) == ["01_138", "01_144", "01_186"]


@needs_lmdb
def test_folder_and_lmdb_draw_the_same(tmp_path, lup, pictures):
    lmdb = write_luperson_lmdb(tmp_path / "b" / "LUP", pictures)
    assert drawn(lup, 2) == drawn(lmdb, 2)


def test_a_smaller_draw_is_part_of_a_larger_one(tmp_path):
    root = many(tmp_path, NAMES)
    sizes = [set(drawn(root, number)) for number in (20, 60, 140)]
    assert sizes[0] < sizes[1] < sizes[2]


def test_no_part_of_the_names_is_preferred(tmp_path):
    """Of 200 names 100 are drawn; in each half 50 +- 3.5 (hypergeometric)."""
    root = many(tmp_path, NAMES)
    for seed in range(5):
        in_first_half = sum(name < "01_100" for name in drawn(root, 100, seed))
        assert 35 < in_first_half < 65


def test_too_few_pictures_are_all_drawn(tmp_path, caplog):
    root = many(tmp_path, NAMES)
    assert drawn(root, 300) == NAMES
    assert "300 pictures wanted, 200 are there" in caplog.text


# ------------------------------------------------------------------------------------------ rest


def test_a_missing_data_set_shows_the_tree_and_the_remedy(tmp_path):
    (tmp_path / "images").mkdir()  # somebody else's
    with pytest.raises(DatasetError, match=r"(?s)No LUP .*keys\.pkl.*images/.*DETECTRON2_DATASETS"):
        LUPERSON.load(tmp_path)
    (tmp_path / "LUP" / "images").mkdir(parents=True)
    with pytest.raises(DatasetError, match="images names no picture"):
        LUPERSON.load(tmp_path)


def test_registered_and_self_supervised(lup):
    LUPERSON.register("luperson_of_a_test", lup, number=3)
    try:
        assert len(DatasetCatalog.get("luperson_of_a_test")) == 3
        assert MetadataCatalog.get("luperson_of_a_test").num_person_ids == 0
        with pytest.raises(DatasetError, match="has an identity"):
            load_train_crops(("luperson_of_a_test",))
        crops = load_train_crops(("luperson_of_a_test",), instance_discrimination=True)
        assert [c["person_id"] for c in crops] == [0, 1, 2]
    finally:
        DatasetCatalog.pop("luperson_of_a_test")
        MetadataCatalog.pop("luperson_of_a_test")
    with pytest.raises(DatasetError, match="'test'; legal are train"):
        LUPERSON.register("luperson_of_a_test", lup, "test")


def test_pictures_of_the_folder_are_read_as_they_are(lup):
    with Image.open(lup / "images" / f"{KEYS[0]}.jpg") as image:
        record = next(r for r in LUPERSON.load(lup).records if r["image_id"] == KEYS[0])
        assert np.array_equal(read_image(record["file_name"], "RGB"), np.asarray(image))
