"""What a user gets wrong ends in one typed line that says what to do, and leaves no debris."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog
from detectron2.modeling import build_model
from PIL import Image
from scipy.io import loadmat, savemat
from street_runs import CONFIG, REPOSITORY, arguments, registered, train_net


@pytest.fixture
def street(street_root, tmp_path):
    """A copy of Street tiny that the test may damage, registered: the folder of its two layouts."""
    root = tmp_path / "datasets"
    shutil.copytree(street_root, root)
    with registered(root):
        yield root / "street" / "tiny"


@pytest.fixture
def failure(tmp_path):
    """``failure(*opts, **flags)`` -> the error line of a run that has to fail."""
    folder = tmp_path / "output"

    def run(*opts, **flags) -> str:
        args = arguments("SOLVER.MAX_ITER", 30, "OUTPUT_DIR", folder, *opts, **flags)
        with pytest.raises(SystemExit) as stop:
            train_net.run(args)
        message = stop.value.code
        assert "Traceback" not in message
        files = {path.name for path in folder.rglob("*") if path.is_file()}
        events = {name for name in files if name.startswith("events.out.tfevents")}
        assert files - events <= {"log.txt", "config.yaml", "metrics.json"}
        return message

    return run


def one_line(message: str) -> bool:
    return "\n" not in message


# ------------------------------------------------------------------------------------- the data set


def test_missing_street(failure, tmp_path):
    with registered(tmp_path / "nowhere"):
        message = failure()
    assert message.startswith("DatasetError: No PRW-v16.04.20 data set in ")
    assert f"{tmp_path}/nowhere/street/tiny" in message
    assert "Expected\n" in message and "frame_train.mat" in message
    assert message.endswith("Draw it: python datasets/prepare_street.py --size tiny")


@pytest.mark.parametrize("name", ["prw", "cuhk_sysu"])
@pytest.mark.parametrize("eval_only", [False, True])
def test_missing_data_root(failure, tmp_path, name, eval_only):
    sets = "DATASETS.TRAIN", (f"{name}_train",), "DATASETS.TEST", (f"{name}_test",)
    with registered(tmp_path / "nowhere"):
        message = failure(*sets, "MODEL.REID.NUM_IDS", 5, eval_only=eval_only)
    assert message.startswith("DatasetError: No ")
    assert f"{tmp_path}/nowhere" in message
    assert "DETECTRON2_DATASETS" in message and "datasets/README.md" in message


def test_unknown_data_set(failure, street):
    for key in ("DATASETS.TRAIN", "DATASETS.TEST"):
        message = failure(key, ("street_huge",))
        assert message.startswith(f"ConfigError: {key}: ") and one_line(message)
        assert "is called street_huge; legal: " in message and "street_tiny_train" in message


@pytest.mark.parametrize("name", ["frame_train.mat", "annotations/c1s1_000026.jpg.mat"])
def test_missing_mat_file(failure, street, name):
    (street / "PRW" / name).unlink()
    message = failure()
    assert message.startswith("DatasetError: ") and one_line(message)
    assert Path(name).name in message and "missing" in message
    assert str(street / "PRW") in message


def test_damaged_mat_file(failure, street):
    path = street / "PRW" / "annotations" / "c1s1_000026.jpg.mat"
    path.write_bytes(path.read_bytes()[:150])
    message = failure()
    assert message.startswith(f"DatasetError: {path} is damaged") and one_line(message)
    assert message.endswith("fetch this file again")


def test_a_frame_of_the_split_is_not_on_disk(failure, street):
    (street / "PRW" / "frames" / "c1s1_000026.jpg").unlink()
    message = failure()
    assert message.startswith("DatasetError: 1 files are missing") and one_line(message)
    assert message.endswith("PRW/frames: c1s1_000026.jpg")


def truncate_frames(street: Path, camera_and_split: str) -> None:
    paths = list((street / "PRW" / "frames").glob(f"{camera_and_split}_*.jpg"))
    assert paths
    for path in paths:
        # The two layouts share their pictures by hard links: replace, do not write into them.
        data = path.read_bytes()
        path.unlink()
        path.write_bytes(data[: len(data) // 2])


@pytest.mark.parametrize("workers", [0, 1])
def test_truncated_pictures_in_training(failure, street, workers):
    truncate_frames(street, "c1s1")
    message = failure("DATALOADER.NUM_WORKERS", workers)
    assert message.startswith("ImageError: truncated JPEG: ") and one_line(message)
    assert f"{street}/PRW/frames/c1s1_" in message and message.endswith("copy it again")


@pytest.mark.parametrize("workers", [0, 1])
def test_truncated_pictures_at_test(failure, street, workers):
    truncate_frames(street, "c2s2")
    message = failure("DATALOADER.NUM_WORKERS", workers, eval_only=True)
    assert message.startswith("ImageError: truncated JPEG: ") and one_line(message)
    assert f"{street}/PRW/frames/c2s2_" in message


def test_a_text_file_in_place_of_a_picture(failure, street):
    path = street / "PRW" / "frames" / "c1s1_000026.jpg"
    path.unlink()
    path.write_text("moved to the other disk")
    message = failure()
    assert message.startswith(f"ImageError: {path} is not a readable image") and one_line(message)
    assert message.endswith("copy it again")


@pytest.mark.parametrize(
    "box", [[np.nan, 5, 10, 20], [5, 5, np.inf, 20], [50, 60, -10, 20], [50, 60, 10, 0]]
)
def test_boxes_that_are_no_boxes(failure, street, box):
    path = street / "PRW" / "annotations" / "c1s1_000026.jpg.mat"
    rows = loadmat(path)["box_new"]
    rows[0, 1:] = box
    savemat(path, {"box_new": rows})
    message = failure()
    assert message.startswith(f"DatasetError: {path}, row 1: x, y, w, h = ") and one_line(message)
    assert message.endswith("is not a box; correct or remove it")


def test_no_queries(failure, street):
    path = street / "PRW" / "query_info.txt"
    path.write_text("")
    assert failure(eval_only=True) == f"DatasetError: {path} lists no query"


def test_a_query_that_is_no_query(failure, street):
    path = street / "PRW" / "query_info.txt"
    path.write_text(path.read_text() + "9 1 2 three 4 c1s2_000026\n")
    message = failure(eval_only=True)
    assert message.startswith(f"DatasetError: {path}, line 13: expected 'id x y w h frame'")


def test_a_test_set_without_labels(failure, street):
    for path in (street / "PRW" / "annotations").glob("c?s2_*.mat"):
        rows = loadmat(path)["box_new"]
        rows[:, 0] = -2
        savemat(path, {"box_new": rows})
    message = failure(eval_only=True)
    assert message == (
        f"DatasetError: No box of the test frames in {street}/PRW carries a person id"
    )


def test_a_picture_that_was_replaced_after_its_annotation_was_read(failure, street):
    for record in DatasetCatalog.get("street_tiny_train"):
        path = Path(record["file_name"])
        path.unlink()
        Image.new("RGB", (20, 10)).save(path)
    message = failure()
    assert message.startswith("ImageError: ") and one_line(message)
    assert "is 20x10, but its data set says 320x240" in message


# -------------------------------------------------------------------------------------- the config


def test_unknown_key_on_the_command_line(failure):
    message = failure("MODEL.REID.POOLLER", "MRFP")
    assert message.startswith(f"ConfigError: {CONFIG}") and one_line(message)
    assert "Non-existent key: MODEL.REID.POOLLER" in message


@pytest.mark.parametrize(
    "text, said",
    [
        ("MODEL: {REID: {POOLLER: MRFP}}", "Non-existent config key: MODEL.REID.POOLLER"),
        ("SOLVER: {IMS_PER_BATCH: many}", "Type mismatch"),
        ("_BASE_: nowhere.yaml", "nowhere.yaml"),
        ("MODEL: {REID: [", "cannot be read as YAML"),
        ("just a sentence", "holds no keys and values"),
    ],
)
def test_config_files_that_are_none(failure, tmp_path, text, said):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    message = failure(config=path)
    assert message.startswith(f"ConfigError: {path}") and one_line(message)
    assert said in message


def test_missing_config_file(failure, tmp_path):
    message = failure(config=tmp_path / "nowhere.yaml")
    assert message.startswith("ConfigError: ") and one_line(message)
    assert "no config file" in message and "nowhere.yaml" in message


def test_a_key_without_a_value(failure):
    message = failure("SOLVER.BASE_LR")
    assert message.startswith("ConfigError: ") and "odd length" in message


@pytest.mark.parametrize(
    "key, value, said",
    [
        ("MODEL.REID.ROIS", "all", "MODEL.REID.ROIS is 'all'; legal: gt, gt_jitter, gt_moved, fg"),
        ("MODEL.BACKBONE.SPLIT_AT", "res9", "MODEL.BACKBONE.SPLIT_AT is 'res9'; legal: res2"),
        ("MODEL.RESNETS.DEPTH", 19, "MODEL.RESNETS.DEPTH is 19; legal: [18, 34, 50, 101]"),
        ("SOLVER.STEP_EPOCHS", (2, 9), "SOLVER.STEP_EPOCHS [9] not within SOLVER.EPOCHS 3"),
        ("TEST.SEARCH.PROTOCOLS", ("some",), "has no protocol some; it has regular, multi_view"),
        ("TEST.SEARCH.CONVENTIONS", "some", "legal: corrected, reference"),
        ("INPUT.MAPPER", "CropMapper", "made for DATALOADER.SOURCE crops, which is 'frames'"),
        ("DATALOADER.SOURCE", "crops", "made for DATALOADER.SOURCE frames, which is 'crops'"),
        ("MODEL.META_ARCHITECTURE", "ReIDBaseline", "made for DATALOADER.SOURCE crops"),
        ("MODEL.BACKBONE.FREEZE_AT", 1, "FREEZE_AT 1 would freeze random weights: set it to 0"),
        ("MODEL.RESNETS.NORM", "SyncBN", "would wait: take BN"),
    ],
)
def test_illegal_values(failure, street, key, value, said):
    eval_only = key.startswith("TEST")
    message = failure(
        *("SOLVER.EPOCHS", 3, "SOLVER.STEP_EPOCHS", (2,), key, value), eval_only=eval_only
    )
    assert message.startswith("ConfigError: ") and one_line(message)
    assert said in message


# ------------------------------------------------------------------------------------- the weights


@pytest.mark.parametrize("eval_only", [False, True])
def test_missing_weights(failure, street, tmp_path, eval_only):
    path = tmp_path / "nowhere.pth"
    message = failure("MODEL.WEIGHTS", path, eval_only=eval_only)
    assert message.startswith(f"WeightsError: no weights file {path}") and one_line(message)
    assert "MODEL.WEIGHTS" in message


def test_weights_of_another_backbone(failure, street, tiny_cfg, tmp_path):
    wider = build_model(tiny_cfg("MODEL.RESNETS.RES2_OUT_CHANNELS", 32))
    torch.save({"model": wider.state_dict()}, tmp_path / "wider.pth")
    message = failure("MODEL.WEIGHTS", tmp_path / "wider.pth")
    assert message.startswith("WeightsError: ") and one_line(message)
    assert "another backbone" in message and "RES2_OUT_CHANNELS" in message


def test_a_backbone_alone_cannot_be_evaluated(failure, street, tiny_cfg, tmp_path):
    state = build_model(tiny_cfg(mrfp=True)).state_dict()
    state = {k: v for k, v in state.items() if "res" in k or "stem" in k}
    torch.save({"model": state}, tmp_path / "backbone.pth")
    message = failure("MODEL.WEIGHTS", tmp_path / "backbone.pth", eval_only=True)
    assert message.startswith("WeightsError: ") and one_line(message)
    assert "lacks" in message and "trained with this config" in message


def test_weights_that_are_none(failure, street, tmp_path):
    path = tmp_path / "page.pth"
    path.write_text("<html>404 not found</html>")
    message = failure("MODEL.WEIGHTS", path)
    assert message.startswith(f"WeightsError: {path} is not a readable weights file")
    assert one_line(message) and "a web page" in message


# -------------------------------------------------------------------------------- as users start it


def test_the_program_ends_with_one_line_and_a_status(street, tmp_path):
    """The hardest case: the error comes from a loader's process, in the middle of a step."""
    truncate_frames(street, "c1s1")
    args = arguments("OUTPUT_DIR", tmp_path / "output", "DATALOADER.NUM_WORKERS", 1)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", REPOSITORY / "train_net.py"]
        + ["--config-file", args.config_file, *args.opts],
        env=os.environ | {"DETECTRON2_DATASETS": str(street.parents[1])},
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    errors = [line for line in done.stderr.splitlines() if "Error" in line]
    assert len(errors) == 1 and errors[0].startswith("ImageError: truncated JPEG: ")


@pytest.mark.skipif(torch.cuda.is_available(), reason="detectron2 wants one GPU per process")
def test_several_processes_end_with_one_line_too(street, tmp_path):
    for opts, says in (
        (("MODEL.REID.POOLLER", "MRFP"), "MODEL.REID.POOLLER"),
        (("OUTPUT_DIR", tmp_path), "take --num-gpus 1 on a CPU"),
    ):
        args = arguments(*opts)
        args.num_gpus, args.dist_url = 2, "auto"
        with pytest.raises(SystemExit) as stop:
            train_net.run(args)
        assert stop.value.code.startswith("ConfigError: ") and one_line(stop.value.code)
        assert says in stop.value.code


def test_errors_of_our_own_making_stay_what_they_are(monkeypatch):
    def broken(args):
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(train_net, "main", broken)
    with pytest.raises(ZeroDivisionError, match="a bug"):
        train_net.run(arguments())


@pytest.mark.parametrize(
    "key", ["INPUT.MAPPER", "MODEL.REID.POOLER", "MODEL.REID.HEAD", "MODEL.BACKBONE.ARCHITECTURE"]
)
def test_an_unknown_part_is_named_with_the_known_ones(key, failure, street):
    assert failure(key, "Nonsense").startswith(f"ConfigError: {key} is 'Nonsense'; legal: ")


def test_a_wrong_test_protocol_stops_before_training(failure, street):
    message = failure("TEST.SEARCH.PROTOCOLS", "('nonsense',)")
    assert one_line(message) and "it has regular, multi_view" in message
