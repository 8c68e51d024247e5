"""tools/prepare_dataset.py as it is called: real frames, Street, faults, and what it refuses."""

import json
import sys
from pathlib import Path

import cv2
import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog
from looks_alike import coco_box, coco_image, noise, save, write_coco
from street_runs import registered

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))

import prepare_dataset

draw_datasets = prepare_dataset.draw_datasets


@pytest.fixture
def run(tmp_path, capsys, monkeypatch):
    """Calls the tool below ``tmp_path``; returns (exit status, what it printed, its errors).

    The picture, which takes a second, is not drawn.
    """
    monkeypatch.setattr(prepare_dataset, "draw_datasets", lambda *args: None)

    def call(*args):
        status = prepare_dataset.main([*map(str, args), "--root", str(tmp_path / "sets")])
        return status, *capsys.readouterr()

    with registered(tmp_path):
        yield call


def people_of(name: str) -> set:
    """Raw ids of a registered set of frames."""
    records = DatasetCatalog.get(name)
    raw_ids = MetadataCatalog.get(name).raw_person_ids
    ids = {a["person_id"] for r in records for a in r["annotations"]} - {-1}
    return {raw_ids[i] for i in ids}


def scenes(folder: Path, faulty: bool = False) -> Path:
    """Twelve frames of three cameras; each person is in two of them."""
    images = [coco_image(k, f"c{k % 3}_{k:03}.png") for k in range(12)]
    boxes = [coco_box(k, k, f"p{k // 2}") for k in range(12)]
    path = write_coco(folder / "x.json", images, boxes)
    if faulty:
        boxes[0]["person_id"] = 1.5
        boxes[4]["bbox"][0] = 70
        write_coco(path, images, boxes)
        (folder / "c2_011.png").unlink()
    return path


def test_real_frames_of_mot17(run, shared_data, tmp_path, monkeypatch):
    monkeypatch.setattr(prepare_dataset, "draw_datasets", draw_datasets)
    files = sorted((shared_data / "mot17_mini").glob("*/annotations_coco.json"))
    call = ("mini", "--from", "coco", *files, "--images", "images", "--camera", r"(MOT17_\d+)")
    status, _, errors = run(*call)
    assert status == 1 and "--ids separate" in errors and not (tmp_path / "sets").exists()
    status, printed, errors = run(*call, "--ids", "separate")
    assert status == 0 and errors == ""
    assert "DATASETS.TRAIN \"('mini_train',)\" DATASETS.TEST \"('mini_test',)\"" in printed
    records = [DatasetCatalog.get(f"mini_{split}") for split in ("train", "test")]
    assert sum(map(len, records)) == 23
    assert {r["camera_id"] for side in records for r in side} == {1, 2, 3, 4}
    # 681 rows, 129 of them ignored (meta.json of the sequences).
    assert sum(len(r["annotations"]) for side in records for r in side) == 552
    assert sum(len(r["ignore_regions"]) for side in records for r in side) == 129
    train, test = people_of("mini_train"), people_of("mini_test")
    assert not train & test and len(train | test) <= 85
    assert cv2.imread(str(tmp_path / "sets" / "mini" / "statistics.png")).std() > 1


def test_street_split_anew(run, street_root, tmp_path):
    (tmp_path / "sets").mkdir()
    (tmp_path / "sets" / "street").symlink_to(street_root / "street")
    names = ("street_tiny_train", "street_tiny_test")
    assert run("anew", "--from", "registered", *names, "--test", 0.5, "--queries", 2)[0] == 0
    assert not people_of("anew_train") & people_of("anew_test")
    records = DatasetCatalog.get("anew_test")
    for name, load in MetadataCatalog.get("anew_test").protocols.items():
        protocol = load()
        for frame, person in zip(protocol.query_frames, protocol.query_ids, strict=True):
            camera = records[frame]["camera_id"]
            matches = [
                r
                for index, r in enumerate(records)
                if index != frame
                and (name == "regular" or r["camera_id"] != camera)
                and any(a["person_id"] == person for a in r["annotations"])
            ]
            assert matches, (name, frame, person)


def test_the_same_call_writes_the_same(run, tmp_path):
    path = scenes(tmp_path / "mine")
    for name in ("one", "two"):
        assert run(name, "--from", "coco", path, "--camera", r"c(\d)_")[0] == 0
    for file in ("train.json", "test.json"):
        texts = [(tmp_path / "sets" / name / file).read_text() for name in ("one", "two")]
        assert texts[0] == texts[1]


def test_every_fault_is_listed_and_nothing_written(run, tmp_path):
    path = scenes(tmp_path / "mine", faulty=True)
    status, _, errors = run("mine", "--from", "coco", path)
    assert status == 1 and not (tmp_path / "sets").exists()
    lines = errors.splitlines()
    assert len(lines) == 5
    assert lines[0].startswith(f"{path}, image 11: the picture c2_011.png is missing in ")
    assert lines[1] == f"{path}, annotation 0: person 1.5: expected a whole number or a text"
    box = "the box x, y, width, height = 70, 4, 10, 20 lies outside"
    assert lines[2].startswith(f"{path}, annotation 4: {box}")
    assert lines[3] == "3 faults"
    assert "nothing was written; --drop-faulty" in lines[-1]


def test_what_is_faulty_is_left_out(run, tmp_path):
    path = scenes(tmp_path / "mine", faulty=True)
    status, printed, errors = run("mine", "--from", "coco", path, "--drop-faulty", "--test", 0.4)
    assert status == 0 and "faults" in errors
    assert "persons in one frame only" in printed
    people = people_of("mine_train") | people_of("mine_test")
    assert people == {f"p{k}" for k in range(6)}
    frames = [*DatasetCatalog.get("mine_train"), *DatasetCatalog.get("mine_test")]
    # Of annotation 0 the identity is faulty: the person is kept, without a name.
    assert len(frames) == 11 and sum(len(f["annotations"]) for f in frames) == 10
    table = [line.split(maxsplit=3) for line in printed.splitlines()[1:5]]
    assert table[0][:3] == ["pictures", "11", "1"] and table[1][:3] == ["boxes", "10", "1"]
    assert "1  faulty" in printed


def test_check_writes_nothing(run, tmp_path):
    status, printed, errors = run("mine", "--from", "coco", scenes(tmp_path / "mine"), "--check")
    assert (status, errors) == (0, "") and not (tmp_path / "sets").exists()
    numbers = dict(
        line.rsplit(maxsplit=1) for line in printed.partition("as annotated\n")[2].splitlines()
    )
    assert numbers["frames"] == "12" and numbers["persons"] == "6"


def test_crops(run, tmp_path):
    for k in range(24):
        save(tmp_path / "people" / f"{k // 4}" / f"c{k % 2}_{k}.png", noise(k))
    args = ("staff", "--from", "crops", tmp_path / "people", "--camera", r"c(\d)_")
    status, printed, _ = run(*args, "--test", 0.5)
    assert status == 0 and "queried persons" in printed
    test = DatasetCatalog.get("staff_test")
    assert sorted(r["role"] for r in test) == ["gallery"] * 6 + ["query"] * 6
    assert all(r["bbox"] is None and r["camera_id"] in (0, 1) for r in test)
    assert len(DatasetCatalog.get("staff_train")) == 12


def test_by_time_and_every_second_frame(run, tmp_path):
    images = [coco_image(k, f"{k:03}.png") for k in range(16)]
    people = [["a"] if k < 8 else ["b"] for k in range(16)]
    boxes = [coco_box(k, k, *people[k]) for k in range(16)]
    path = write_coco(tmp_path / "mine" / "x.json", images, boxes)
    args = ("mine", "--from", "coco", path, "--split", "time", "--test", 0.5, "--every", 2)
    status, _, errors = run(*args)
    assert status == 1 and "8 frames have no time" in errors and "--time" in errors
    assert run(*args, "--time", r"(\d+)\.png")[0] == 0
    ids = [r["image_id"] for r in DatasetCatalog.get("mine_test")]
    assert ids == ["008.png", "010.png", "012.png", "014.png"]


def test_one_side_only(run, tmp_path):
    path = scenes(tmp_path / "mine")
    assert run("all_train", "--from", "coco", path, "--test", 0)[0] == 0
    assert "all_train_train" in DatasetCatalog and "all_train_test" not in DatasetCatalog
    assert run("all_test", "--from", "coco", path, "--test", 1)[0] == 0
    assert "all_test_test" in DatasetCatalog and "all_test_train" not in DatasetCatalog


@pytest.mark.parametrize(
    "name, message",
    [
        ("prw", "prw is the name of a built-in data set"),
        ("street_small", "street_small is the name of a built-in data set"),
        ("a/b", "'a/b' cannot be the name of a data set"),
    ],
)
def test_names_that_are_refused(run, tmp_path, name, message):
    status, _, errors = run(name, "--from", "coco", tmp_path / "none.json")
    assert status == 1 and message in errors


def test_a_second_time(run, tmp_path):
    path = scenes(tmp_path / "mine")
    assert run("mine", "--from", "coco", path)[0] == 0
    status, _, errors = run("mine", "--from", "coco", path)
    assert status == 1 and "say --overwrite" in errors
    assert run("mine", "--from", "coco", path, "--overwrite", "--test", 0.5)[0] == 0
    marker = json.loads((tmp_path / "sets" / "mine" / "dataset.json").read_text())
    assert marker["made"].startswith("prepare_dataset.py mine --from coco")
    number = len(DatasetCatalog.get("mine_test"))
    assert number == 6  # three of the six persons, in two frames each


def test_nobody_to_search_or_to_learn(run, tmp_path):
    images = [coco_image(k) for k in range(4)]
    path = write_coco(tmp_path / "x" / "x.json", images, [coco_box(k, k, k) for k in range(4)])
    assert "nobody can be searched" in run("x", "--from", "coco", path)[2]
    everybody = [coco_box(k, k % 4, k // 4, [4 + 20 * (k // 4), 4, 9, 9]) for k in range(8)]
    path = write_coco(tmp_path / "y" / "y.json", images, everybody)
    assert "no training frame has a person" in run("y", "--from", "coco", path, "--test", 0.5)[2]


@pytest.mark.parametrize(
    "args", [("--every", "0"), ("--camera", "c(\\d"), ("--time", "c"), ("--split", "x")]
)
def test_arguments_that_mean_nothing(run, args, capsys):
    with pytest.raises(SystemExit):
        run("mine", "--from", "coco", "x.json", *args)
    assert args[0] in capsys.readouterr().err


def test_the_split_of_the_files(run, tmp_path):
    """As Roboflow has it: a folder and a file for each split."""
    for split, first in (("train", 0), ("valid", 4), ("test", 8)):
        images = [coco_image(k, f"{split}_{k}.png") for k in range(4)]
        boxes = [coco_box(k, k, f"p{first + k // 2}") for k in range(4)]
        write_coco(tmp_path / "robo" / split / "_annotations.coco.json", images, boxes)
    args = ("robo", "--from", "coco", tmp_path / "robo", "--split", "files")
    status, _, errors = run(*args)
    assert status == 1 and "4 frames are for validation: say --valid train" in errors
    assert run(*args, "--valid", "train")[0] == 0
    numbers = [len(DatasetCatalog.get(f"robo_{split}")) for split in ("train", "test")]
    assert numbers == [8, 4]


def test_an_answer_to_each_question(run, tmp_path):
    images = [coco_image(k) for k in range(8)]
    boxes = [coco_box(k, k, f"p{k // 2}") for k in range(8)]
    boxes += [coco_box(9, 0, "unknown", [30, 4, 9, 9]), coco_box(10, 1, "p0", [30, 4, 9, 9])]
    path = write_coco(tmp_path / "mine" / "x.json", images, boxes)
    args = ("mine", "--from", "coco", path, "--test", 0.5)
    status, _, errors = run(*args)
    assert status == 1 and "--nobody unknown" in errors and "--twice keep" in errors
    status, printed, errors = run(*args, "--nobody", "unknown", "--twice", "keep")
    assert (status, errors) == (0, "")
    assert "1 boxes are of a person who stands in the same frame twice" in printed
    assert people_of("mine_train") | people_of("mine_test") == {f"p{k}" for k in range(4)}
    frames = [*DatasetCatalog.get("mine_train"), *DatasetCatalog.get("mine_test")]
    assert sum(len(f["annotations"]) for f in frames) == 10
