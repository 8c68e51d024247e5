"""Street in the formats of other data sets: what is written is what models are given."""

import cv2
import numpy as np
import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog
from looks_alike import (
    Scene,
    crowdhuman_row,
    eurocity_object,
    street_scenes,
    street_shots,
    to_xywh,
    write_crowdhuman,
    write_cuhk03_protocol,
    write_cuhk03_release,
    write_eurocity,
    write_luperson_lmdb,
    write_market1501,
    write_msmt17,
    write_posetrack21,
)
from street_runs import registered

from person_search.data import build_train_loader
from person_search.data.readers import (
    CROWDHUMAN,
    CUHK03,
    EUROCITY,
    LUPERSON,
    MARKET1501,
    MSMT17,
    POSETRACK21,
)
from person_search.images import read_image

NAME = "street_in_disguise"


@pytest.fixture(scope="module", autouse=True)
def street(street_root):
    with registered(street_root):
        yield street_root


@pytest.fixture(autouse=True)
def forgotten():
    """Nothing is called ``NAME`` when the test ends."""
    yield
    DatasetCatalog.pop(NAME, None)
    MetadataCatalog.pop(NAME, None)


# ------------------------------------------------------------------------------ frames of persons


def as_crowdhuman(root, scenes: list[Scene]) -> None:
    frames = {s.name: [crowdhuman_row(box) for box in to_xywh(s.boxes)] for s in scenes}
    write_crowdhuman(root, "train", frames, pictures={s.name: s.image for s in scenes})
    CROWDHUMAN.register(NAME, root, "train")


def as_eurocity(root, scenes: list[Scene]) -> None:
    frames = {
        f"town/{s.name}": [eurocity_object("pedestrian", box) for box in s.boxes.tolist()]
        for s in scenes
    }
    write_eurocity(root, "train", frames, pictures={f"town/{s.name}": s.image for s in scenes})
    EUROCITY.register(NAME, root, "train")


def as_posetrack21(root, scenes: list[Scene]) -> None:
    names = [f"images/train/town/{s.name}.jpg" for s in scenes]
    images = [{"file_name": name, "id": number} for number, name in enumerate(names)]
    rows = [
        {"image_id": number, "bbox": box, "person_id": person if person >= 0 else None}
        for number, s in enumerate(scenes)
        for box, person in zip(to_xywh(s.boxes), s.persons.tolist(), strict=True)
    ]
    pictures = {name: s.image for name, s in zip(names, scenes, strict=True)}
    write_posetrack21(root, {"train": (images, rows)}, pictures=pictures)
    POSETRACK21.register(NAME, root, "train")


@pytest.mark.parametrize(
    "disguise, named", [(as_crowdhuman, False), (as_eurocity, False), (as_posetrack21, True)]
)
def test_frames(tmp_path, tiny_cfg, disguise, named):
    scenes = street_scenes()
    disguise(tmp_path, scenes)
    by_name = {record["image_id"].rpartition("/")[2]: record for record in DatasetCatalog.get(NAME)}
    assert by_name.keys() == {s.name for s in scenes}
    for scene in scenes:
        record = by_name[scene.name]
        found = np.array([a["bbox"] for a in record["annotations"]]).reshape(-1, 4)
        np.testing.assert_allclose(found, scene.boxes, atol=1e-9)
        persons = [a["person_id"] for a in record["annotations"]]
        assert persons == (scene.persons.tolist() if named else [-1] * len(scene.boxes))
        assert (record["height"], record["width"]) == scene.image.shape[:2]
        difference = read_image(record["file_name"], "RGB").astype(int) - scene.image
        assert np.abs(difference).mean() < 3  # JPEG
    cfg = tiny_cfg(
        *("DATASETS.TRAIN", (NAME,), "SOLVER.IMS_PER_BATCH", 2),
        *("INPUT.MIN_SIZE_TRAIN", (48,), "DATALOADER.NUM_WORKERS", 0),
    )
    batch = next(iter(build_train_loader(cfg)))
    assert all(len(x["instances"]) for x in batch)


# ------------------------------------------------------------------------------ pictures of persons


def as_market1501(root, shots) -> list:
    write_market1501(root, {"bounding_box_train": shots}, ".png")
    MARKET1501.register(NAME, root, "train")
    order = sorted(range(len(shots)), key=lambda k: (shots[k].person, shots[k].camera, k))
    return [shots[k] for k in order]


def as_msmt17(root, shots) -> list:
    write_msmt17(root, {"train": shots[:-2], "val": shots[-2:]}, version=2)
    MSMT17.register(NAME, root, "train")
    return shots


def as_cuhk03(root, shots) -> list:
    pytest.importorskip("h5py", reason="CUHK03 needs h5py: pip install -e '.[datasets]'")
    cells = [(0, number, 5 * (shot.camera - 1)) for number, shot in enumerate(shots)]
    names = [f"1_{person + 1:03d}_{1 + (k > 4)}_{k + 1:02d}.png" for _, person, k in cells]
    pictures = {cell: shot.image for cell, shot in zip(cells, shots, strict=True)}
    write_cuhk03_release(root / "cuhk-03.mat", pictures)
    config = root / "cuhk03_new_protocol_config_labeled.mat"
    write_cuhk03_protocol(
        config, names, [s.person for s in shots], {"train": range(1, len(shots) + 1)}
    )
    CUHK03.register(NAME, root, "train")
    return shots


@pytest.mark.parametrize(
    "disguise, exact", [(as_market1501, True), (as_msmt17, False), (as_cuhk03, True)]
)
def test_pictures(tmp_path, disguise, exact):
    # CUHK03 has two cameras, and ten pictures a person at most.
    shots = [shot for shot in street_shots() if shot.camera <= 2][:40]
    expected = disguise(tmp_path, shots)
    records = DatasetCatalog.get(NAME)
    ids = sorted({shot.person for shot in shots})
    assert [ids[r["person_id"]] for r in records] == [shot.person for shot in expected]
    assert [r["camera_id"] for r in records] == [shot.camera for shot in expected]
    for record, shot in zip(records, expected, strict=True):
        difference = read_image(record["file_name"], "RGB").astype(int) - shot.image
        assert np.abs(difference).max() == 0 if exact else np.abs(difference).mean() < 6


def test_pictures_without_identity(tmp_path):
    pytest.importorskip("lmdb", reason="LUPerson's LMDB needs lmdb: pip install -e '.[datasets]'")
    shots = street_shots()
    encoded = {
        f"01_01_0001_{k:08d}": cv2.imencode(".png", shot.image[:, :, ::-1])[1].tobytes()
        for k, shot in enumerate(shots)
    }
    write_luperson_lmdb(tmp_path, encoded)
    LUPERSON.register(NAME, tmp_path, number=12)
    records = DatasetCatalog.get(NAME)
    assert len(records) == 12
    for record in records:
        shot = shots[int(record["image_id"].rpartition("_")[2])]
        assert np.array_equal(read_image(record["file_name"], "RGB"), shot.image)
