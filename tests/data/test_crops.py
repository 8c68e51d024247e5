"""Crops of persons: which, cut out how, and the cache that keeps them."""

import errno
import os

import cv2
import numpy as np
import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog

from person_search.data import crop_cache
from person_search.data.crop_cache import CropCache, cut_out
from person_search.data.crops import crop_records, load_train_crops
from person_search.errors import DatasetError, ImageError

SIZE = (16, 8)


def frame(name: str, persons: list[tuple[list[float], int]], camera: int = 3) -> dict:
    annotations = [{"bbox": box, "person_id": person} for box, person in persons]
    return {"file_name": name, "camera_id": camera, "annotations": annotations}


def test_only_persons_with_an_identity_are_crops():
    frames = [frame("a", [([0, 0, 5, 9], 2), ([1, 1, 2, 2], -1)]), frame("b", []), frame("c", [])]
    expected = {"file_name": "a", "bbox": [0, 0, 5, 9], "person_id": 2, "camera_id": 3}
    assert crop_records(frames) == [expected]


def test_records_of_a_reid_set_are_crops_already():
    crop = {"file_name": "a", "bbox": None, "person_id": 2, "camera_id": 3, "role": "train"}
    nobody = {**crop, "person_id": -1}
    assert crop_records([crop, nobody]) == [crop]
    assert crop_records([nobody, crop], every_person=True) == [nobody, crop]


@pytest.fixture
def register():
    """``register(name, frames, num_person_ids)``; the count is known once the set was read."""
    names = []

    def add(name: str, frames: list[dict], num_person_ids: int) -> str:
        def read() -> list[dict]:
            MetadataCatalog.get(name).num_person_ids = num_person_ids
            return frames

        DatasetCatalog.register(name, read)
        names.append(name)
        return name

    yield add
    for name in names:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)


def test_identities_of_two_sets_are_kept_apart(register):
    box = [0, 0, 4, 4]
    register("crops_a", [frame("a", [(box, 0), (box, 2), (box, -1)])], 5)
    register("crops_b", [frame("b", [(box, 0), (box, -1), (box, 3)])], 4)
    found = load_train_crops(("crops_a", "crops_b"))
    assert [c["person_id"] for c in found] == [0, 2, 5, 8]
    assert [c["person_id"] for c in load_train_crops(("crops_b",))] == [0, 3]


def test_nobody_with_an_identity_is_an_error(register):
    name = register("crops_c", [frame("c", [([0, 0, 4, 4], -1)])], 0)
    with pytest.raises(DatasetError, match="no person of DATASETS.TRAIN .'crops_c'"):
        load_train_crops((name,))


# ------------------------------------------------------------------------------------- cutting


@pytest.fixture
def image() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (40, 30, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    "box, rows, columns",
    [
        ([4, 6, 20, 36], (6, 36), (4, 20)),
        ([3.6, 5.6, 20.4, 36.4], (6, 36), (4, 20)),  # to the nearest pixel
        ([-9, -5, 12, 20], (0, 20), (0, 12)),
        ([20, 30, 90, 80], (30, 40), (20, 30)),
        ([-5, -5, 500, 500], (0, 40), (0, 30)),
        ([7, 9, 7.2, 9.1], (9, 10), (7, 8)),  # never less than a pixel
        ([50, 60, 70, 90], (39, 40), (29, 30)),
        (None, (0, 40), (0, 30)),
    ],
)
def test_a_box_is_clipped_to_the_image(image, box, rows, columns):
    inside = image[slice(*rows), slice(*columns)]
    assert np.array_equal(cut_out(image, box, inside.shape[:2]), inside)
    assert cut_out(image, box, SIZE).shape == (*SIZE, 3)


def test_a_crop_is_resized_without_keeping_its_shape():
    image = np.zeros((64, 64, 3), np.uint8)
    image[:32] = 200
    found = cut_out(image, [0, 0, 64, 64], (8, 2))
    assert (found[:4] == 200).all() and (found[4:] == 0).all()


def test_shrinking_averages():
    """No aliasing: stripes of one pixel become gray."""
    image = np.zeros((64, 16, 3), np.uint8)
    image[::2] = 200
    assert (cut_out(image, None, (8, 2)) == 100).all()


# --------------------------------------------------------------------------------------- cache


@pytest.fixture
def records(tmp_path, image) -> list[dict]:
    for name in ("a.png", "b.png"):
        cv2.imwrite(str(tmp_path / name), image if name == "a.png" else 255 - image)
    a, b = str(tmp_path / "a.png"), str(tmp_path / "b.png")
    return [
        {"file_name": a, "bbox": [4, 6, 20, 36]},
        {"file_name": b, "bbox": [0, 0, 12, 30]},
        {"file_name": a, "bbox": None},
    ]


def test_the_cache_holds_each_crop_in_rgb(records, image, tmp_path):
    cache = CropCache(records, tmp_path / "new" / "folder", SIZE)
    assert cache.pixels.shape == (3, *SIZE, 3) and cache.pixels.dtype == np.uint8
    assert not cache.pixels.flags.writeable
    rgb = image[:, :, ::-1]
    expected = (
        cut_out(rgb, [4, 6, 20, 36], SIZE),
        cut_out(255 - rgb, [0, 0, 12, 30], SIZE),
        cut_out(rgb, None, SIZE),
    )
    for found, wanted in zip(cache.pixels, expected, strict=True):
        assert np.array_equal(found, wanted)


def test_it_is_written_once(records, tmp_path, monkeypatch):
    first = CropCache(records, tmp_path / "crops", SIZE)
    (path,) = (tmp_path / "crops").iterdir()  # and no temporary file beside it
    monkeypatch.setattr(crop_cache, "read_image", None)  # a second writing would need it
    second = CropCache(records, tmp_path / "crops", SIZE)
    assert np.array_equal(first.pixels, second.pixels)
    assert list((tmp_path / "crops").iterdir()) == [path]


def test_other_boxes_orders_and_sizes_are_other_files(records, tmp_path):
    folder = tmp_path / "crops"
    CropCache(records, folder, SIZE)
    moved = [{**records[0], "bbox": [4, 6, 21, 36]}, *records[1:]]
    for number, (others, size) in enumerate(
        [(moved, SIZE), (records[::-1], SIZE), (records, (8, 16)), (records[:2], SIZE)], start=2
    ):
        cache = CropCache(others, folder, size)
        assert cache.pixels.shape == (len(others), *size, 3)
        assert len(list(folder.iterdir())) == number


def test_a_picture_that_cannot_be_read_leaves_nothing(records, tmp_path):
    os.remove(records[1]["file_name"])
    with pytest.raises(ImageError, match="b.png"):
        CropCache(records, tmp_path / "crops", SIZE)
    assert list((tmp_path / "crops").iterdir()) == []


def test_a_folder_that_cannot_be_is_an_error_with_the_remedy(records, tmp_path):
    (tmp_path / "crops").write_text("a file")
    with pytest.raises(DatasetError, match="INPUT.REID.CROP_CACHE"):
        CropCache(records, tmp_path / "crops", SIZE)


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: data[: len(data) // 2],
        lambda data: b"no array at all" * 20,
        lambda data: b"PK\x03\x04" + data,
    ],
    ids=["empty", "truncated", "text", "zip"],
)
def test_a_damaged_cache_is_an_error_that_names_it(records, tmp_path, damage):
    folder = tmp_path / "crops"
    CropCache(records, folder, SIZE)
    (path,) = folder.iterdir()
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DatasetError, match=f"remove .*{path.name}"):
        CropCache(records, folder, SIZE)


def test_another_array_in_its_place_is_an_error(records, tmp_path):
    folder = tmp_path / "crops"
    CropCache(records, folder, SIZE)
    (path,) = folder.iterdir()
    np.save(path, np.zeros((3, 2), np.uint8))
    with pytest.raises(DatasetError, match=r"uint8 \(3, 2\), not uint8 \(3, 16, 8, 3\).*remove"):
        CropCache(records, folder, SIZE)


def test_a_changed_picture_is_cut_out_again(tmp_path):
    path = tmp_path / "frame.png"
    crops = [{"file_name": str(path), "bbox": None, "person_id": 0, "camera_id": 1}]
    for value in (50, 200):
        cv2.imwrite(str(path), np.full((8, 4, 3), value, np.uint8))
        os.utime(path, ns=(value, value))
        assert (CropCache(crops, tmp_path / "cache", (8, 4)).pixels == value).all()


def test_a_full_disk_is_one_error_and_leaves_nothing(tmp_path, monkeypatch):
    path = tmp_path / "frame.png"
    cv2.imwrite(str(path), np.zeros((8, 4, 3), np.uint8))
    crops = [{"file_name": str(path), "bbox": None, "person_id": 0, "camera_id": 1}]

    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(DatasetError, match=r"No space left.*needs 1 MB.*CROP_CACHE"):
        CropCache(crops, tmp_path / "cache", (8, 4))
    assert list((tmp_path / "cache").iterdir()) == []
