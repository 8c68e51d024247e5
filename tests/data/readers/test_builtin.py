"""Built-in names: where they point to, and the drawn data read through both readers."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog, get_detection_dataset_dicts
from PIL import Image

from person_search.data.readers import BUILTIN, register_all
from person_search.data.readers.street import DOMAINS, SIZES
from person_search.errors import DatasetError
from person_search.protocols import GalleryLists
from person_search.street import STREET_SIZES as DRAWN_SIZES
from person_search.street import draw_street

REPOSITORY = Path(__file__).resolve().parents[3]

READERS = {reader for reader, _ in BUILTIN.values()}
SEARCH = ["prw", "cuhk_sysu", "posetrack21"]
SEARCH += [f"street_{size}{x}" for size in SIZES for x in ("", "_cuhk")]
REID = ["market1501", "msmt17", "cuhk03_labeled", "cuhk03_detected"]
DETECTION = ["crowdhuman", "crowdhuman_visible", "eurocity", "eurocity_night"]
DETECTION += ["wider_pedestrian", "wider_pedestrian2018"]
KINDS = (
    {f"{name}_{split}": "person_search" for name in SEARCH for split in ("train", "test")}
    | {f"{name}_{split}": "reid" for name in REID for split in ("train", "test")}
    | {"luperson_train": "reid", "luperson30k_train": "reid", "mot17det_train": "detection"}
    | {f"{name}_{split}": "detection" for name in DETECTION for split in ("train", "val")}
    | {
        f"street_{size}_{domain}_train": "detection" if domain in ("noon", "night") else "reid"
        for size in SIZES
        for domain in DOMAINS
    }
)


@pytest.fixture
def registered_at():
    """``register_all``, undone after the test."""
    yield register_all
    register_all(os.path.expanduser(os.getenv("DETECTRON2_DATASETS", "datasets")))


def test_importing_registers_below_the_environment_variable(tmp_path):
    code = (
        "import person_search.data.readers; from detectron2.data import MetadataCatalog as M; "
        "print(M.get('prw_train').dirname, M.get('street_small_cuhk_test').dirname)"
    )
    variables = {"DETECTRON2_DATASETS": "~/sets", "HOME": str(tmp_path)}
    paths = [str(REPOSITORY), os.environ.get("PYTHONPATH", "")]
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        env=os.environ | variables | {"PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.split() == [f"{tmp_path}/sets", f"{tmp_path}/sets/street/small"]


def test_every_name_is_there_and_nothing_is_read(registered_at, tmp_path):
    registered_at(tmp_path / "nowhere")
    for name, kind in KINDS.items():
        assert name in DatasetCatalog
        metadata = MetadataCatalog.get(name)
        assert metadata.evaluator_type == kind
        assert metadata.split == name.rpartition("_")[2]
        assert hasattr(metadata, "protocols") == (
            kind == "person_search" and metadata.split == "test"
        )


@pytest.mark.parametrize("name", KINDS)
def test_a_missing_data_set_shows_a_tree_and_what_to_do(registered_at, tmp_path, name):
    registered_at(tmp_path / "nowhere")
    with pytest.raises(DatasetError, match=r"(?s)^No .* data set in .*Expected\n    \w") as error:
        DatasetCatalog.get(name)
    remedy = "datasets/prepare_street.py" if "street" in name else "DETECTRON2_DATASETS"
    assert remedy in str(error.value)


def test_the_readme_shows_every_name_and_every_tree():
    readme = (REPOSITORY / "datasets" / "README.md").read_text(encoding="utf-8")
    for name in KINDS:
        assert name.startswith("street_") or f"`{name}`" in readme, name
    for reader in READERS:
        assert reader.tree.splitlines()[0] in readme, reader.title


def test_registering_again_is_fine(registered_at, tmp_path):
    for root in ("first", "first", "second"):
        registered_at(tmp_path / root)
    assert MetadataCatalog.get("prw_train").dirname == str(tmp_path / "second")


@pytest.mark.parametrize("name", ["street_small_train", "street_small_cuhk_test"])
def test_missing_street_says_how_to_draw_it(registered_at, tmp_path, name):
    registered_at(tmp_path)
    with pytest.raises(DatasetError, match=r"python datasets/prepare_street\.py --size small"):
        DatasetCatalog.get(name)


def test_sizes_are_those_that_can_be_drawn():
    assert set(SIZES) == set(DRAWN_SIZES)


@pytest.fixture(scope="module")
def street(tmp_path_factory):
    root = tmp_path_factory.mktemp("drawn")
    draw_street(root, "tiny", seed=3, layouts=("prw", "cuhk"))
    return root


@pytest.mark.parametrize("layout", ["", "_cuhk"])
def test_street_loads(registered_at, street, layout):
    registered_at(street)
    size = DRAWN_SIZES["tiny"]
    for split, num_frames in zip(("train", "test"), size.frames, strict=True):
        name = f"street_tiny{layout}_{split}"
        records = get_detection_dataset_dicts(name, filter_empty=False)
        assert len(records) == num_frames
        assert len({record["image_id"] for record in records}) == num_frames
        with Image.open(records[0]["file_name"]) as image:
            assert image.size == (records[0]["width"], records[0]["height"])
        ids = {a["person_id"] for record in records for a in record["annotations"]}
        metadata = MetadataCatalog.get(name)
        assert {i for i in ids if i >= 0} == set(range(metadata.num_person_ids))
        assert len(set(metadata.raw_person_ids)) == metadata.num_person_ids


@pytest.mark.parametrize("layout", ["", "_cuhk"])
def test_street_queries_show_their_persons(registered_at, street, layout):
    registered_at(street)
    name = f"street_tiny{layout}_test"
    records = DatasetCatalog.get(name)
    protocols = MetadataCatalog.get(name).protocols
    for key in protocols:
        protocol = protocols[key]()
        columns = (protocol.query_frames, protocol.query_boxes, protocol.query_ids)
        for frame, box, person_id in zip(*columns, strict=True):
            persons = [a for a in records[frame]["annotations"] if a["person_id"] == person_id]
            assert min(np.abs(np.array(a["bbox"]) - box).max() for a in persons) <= 1
        if isinstance(protocol.gallery, GalleryLists):
            gallery = protocol.gallery
            query = np.repeat(np.arange(len(protocol.query_ids)), np.diff(gallery.offsets))
            for row in np.flatnonzero(gallery.has_target):
                persons = records[gallery.frames[row]]["annotations"]
                ids = {tuple(a["bbox"]): a["person_id"] for a in persons}
                assert ids[tuple(gallery.boxes[row])] == protocol.query_ids[query[row]]


def test_street_test_frames_agree_in_both_layouts(registered_at, street):
    registered_at(street)

    def persons(name, record):
        """Raw id and box of everybody in a frame; CUHK-SYSU's boxes end at the border."""
        raw_ids = MetadataCatalog.get(name).raw_person_ids
        border = np.tile([record["width"], record["height"]], 2)
        return [
            (
                int(str(raw_ids[a["person_id"]]).strip("p")) if a["person_id"] >= 0 else None,
                np.clip(a["bbox"], 0, border).tolist(),
            )
            for a in record["annotations"]
        ]

    prw, cuhk = "street_tiny_test", "street_tiny_cuhk_test"
    pairs = zip(DatasetCatalog.get(prw), DatasetCatalog.get(cuhk), strict=True)
    for prw_record, cuhk_record in pairs:
        assert persons(prw, prw_record) == persons(cuhk, cuhk_record)
    assert list(MetadataCatalog.get(prw).protocols) == ["regular", "multi_view"]
    assert "full" in MetadataCatalog.get(cuhk).protocols
