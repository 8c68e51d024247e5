"""The tools that draw: their numbers are right, and their pictures are written."""

import json
import sys
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))

import visualize_dataset
import visualize_features
import visualize_gallery_size
from benchmarks.synthetic import Size, synthetic_results
from street_runs import REPOSITORY, registered

from person_search.errors import ConfigError, PersonSearchError, ResultsError
from person_search.evaluation import evaluate_search, resolve_galleries
from person_search.protocols import GalleryLists, SearchProtocol


def run(tool, monkeypatch, *args):
    monkeypatch.setattr(sys, "argv", [tool.__name__, *map(str, args)])
    tool.main()


def is_picture(path):
    image = cv2.imread(str(path))
    return image is not None and image.std() > 1


# ------------------------------------------------------------------------------ data sets


def records_of(counts, camera=-1):
    """One frame per entry: {person id: number of boxes, 100 pixels high}."""
    return [
        {
            "camera_id": camera,
            "annotations": [
                {"bbox": [0, 10, 40, 110], "person_id": person}
                for person, number in of_frame.items()
                for _ in range(number)
            ],
        }
        for of_frame in counts
    ]


def test_long_tail_by_hand():
    # 20 identities: one of 40 boxes, one of 20, eighteen of 2; the top 10 % are the first two.
    counts = {0: 40, 1: 20, -1: 7} | dict.fromkeys(range(2, 20), 2)
    numbers = visualize_dataset.BoxStatistics.of(records_of([counts, {}])).summary()
    assert numbers["boxes"] == 103 and numbers["labeled boxes"] == 96
    assert numbers["identities"] == 20
    values = [numbers[f"boxes per identity, {name}"] for name in ("min", "median", "max")]
    assert values == [2, 2, 40]
    assert numbers["share of boxes of the top 10 % identities"] == 60 / 96
    assert numbers["identities with < 4 boxes"] == 18
    assert numbers["box height, median"] == 100


def test_long_tail_of_prw(shared_data):
    file = shared_data / "annotations" / "AlignPS" / "prw_train_pid.json"
    content, boxes = json.loads(file.read_text()), defaultdict(list)
    for a in content["annotations"]:
        x, y, w, h = a["bbox"]
        box = {"bbox": [x, y, x + w, y + h], "person_id": a["person_id"]}
        boxes[a["image_id"]].append(box)
    cameras = {image["id"]: int(image["file_name"][1]) for image in content["images"]}
    records = [{"camera_id": cameras[i], "annotations": boxes[i]} for i in cameras]
    found = visualize_dataset.BoxStatistics.of(records)
    numbers = list(found.summary().values())
    assert numbers[:6] == [18048, 14907, 483, 1, 23, 465]
    assert numbers[6] == pytest.approx(0.33, abs=0.005) and numbers[7] == 18
    assert found.camera_names == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("records", [records_of([{-1: 3}]), records_of([{0: 1}], camera=2)])
def test_panels_without_numbers_are_left_out(records, tmp_path):
    boxes = visualize_dataset.BoxStatistics.of(records)
    visualize_dataset.draw_datasets({"x": "x"}, {"x": boxes}, tmp_path / "new" / "x.png")
    assert is_picture(tmp_path / "new" / "x.png")


def test_dataset_tool(street_root, tmp_path, monkeypatch, capsys):
    with registered(street_root):
        args = ("street_tiny_train", "--output", tmp_path / "x.png")
        run(visualize_dataset, monkeypatch, *args)
        assert is_picture(tmp_path / "x.png")
        frames = DatasetCatalog.get("street_tiny_train")
    ids = [a["person_id"] for f in frames for a in f["annotations"]]
    lines = [line.rsplit(maxsplit=1) for line in capsys.readouterr().out.splitlines()]
    printed = dict(line for line in lines if len(line) == 2)
    assert printed["boxes"] == str(len(ids))
    assert printed["identities"] == str(len(set(ids) - {-1}))


def test_dataset_tool_refuses(monkeypatch, capsys):
    with pytest.raises(SystemExit):
        run(visualize_dataset, monkeypatch, "prv_train")
    assert "no data set prv_train; there are prw_train" in capsys.readouterr().err
    name = "visualize_no_boxes"
    DatasetCatalog.register(name, lambda: records_of([{}, {}]))
    try:
        with pytest.raises(PersonSearchError, match="none of the 2 frames holds a box"):
            run(visualize_dataset, monkeypatch, name)
    finally:
        DatasetCatalog.remove(name)


# --------------------------------------------------------------------------- feature maps


@pytest.fixture(scope="module")
def picture(tmp_path_factory):
    path = tmp_path_factory.mktemp("picture") / "scene.png"
    noise = np.random.default_rng(0).integers(0, 256, (90, 160, 3), np.uint8)
    cv2.imwrite(str(path), noise)
    return path


SMALL = ("MODEL.RESNETS.STEM_OUT_CHANNELS", "16", "MODEL.RESNETS.RES2_OUT_CHANNELS", "16")
SMALL += ("INPUT.MIN_SIZE_TEST", "100", "INPUT.MAX_SIZE_TEST", "150")


@pytest.mark.parametrize("config", ["Street/stl.yaml", "ReID-Pretrain/Street.yaml"])
def test_feature_tool(config, picture, tmp_path, monkeypatch):
    file, first = REPOSITORY / "configs" / config, tmp_path / "first.pth"
    cfg = visualize_features.read_config(str(file), SMALL)
    cfg.merge_from_list(["MODEL.DEVICE", "cpu", "MODEL.REID.NUM_IDS", 0])
    torch.save(visualize_features.initial_model(cfg, "random").state_dict(), first)
    output = tmp_path / "x.png"
    args = ["--config-file", file, "--image", picture, "--output", output]
    run(visualize_features, monkeypatch, *args, "--weights", "random", first, "--opts", *SMALL)
    assert is_picture(output)


def test_maps_are_those_of_the_backbone_without_the_padding(tiny_cfg, monkeypatch):
    model = visualize_features.initial_model(tiny_cfg(mrfp=True, num_ids=0), "random")
    image = np.random.default_rng(0).integers(0, 256, (96, 144, 3), np.uint8)
    maps = visualize_features.stage_maps(model, image, ["res3", "res2"])
    x = torch.tensor(image.transpose(2, 0, 1)).float()
    with torch.no_grad():
        expected = model.backbone(((x - model.pixel_mean) / model.pixel_std)[None])
    for stage in ("res2", "res3"):
        assert torch.equal(maps[stage], expected[stage][0])
    monkeypatch.setattr(type(model.backbone), "size_divisibility", 64)  # padded to 128 x 192
    padded = visualize_features.stage_maps(model, image, ["res3"])
    assert padded["res3"].shape == maps["res3"].shape == (32, 12, 18)
    with pytest.raises(ConfigError, match="no res5; --stages: res2, res3"):
        visualize_features.stage_maps(model, image, ["res5"])


def test_strongest_channels_first():
    features = torch.tensor([1.0, 5, 3])[:, None, None].expand(3, 2, 4)
    panels = visualize_features.panels_of(features, 2)
    assert [title for title, _ in panels] == ["mean", "channel 1", "channel 2"]
    assert panels[0][1].mean() == 3 and panels[1][1].mean() == 5


# --------------------------------------------------------------------------- gallery size


@pytest.fixture(scope="module")
def results():
    return synthetic_results(Size(60, 250, 160, 20, 20, 300, None, 6), dim=16)


def test_curve_of_draws(results):
    whole = resolve_galleries(results)
    curve = visualize_gallery_size.curve_of_draws(results, [20, 59, 40], draws=3)
    assert [point.size for point in curve] == [20, 40, 59]
    assert [len(point.values["mAP"]) for point in curve] == [3, 3, 1]
    expected = evaluate_search(results, whole).summary()
    assert curve[-1].values == {key: [100 * expected[key]] for key in ("mAP", "top1")}
    # Frames without the person hold no target and can only add mistakes.
    assert min(curve[0].values["mAP"]) > max(curve[1].values["mAP"]) > curve[2].values["mAP"][0]
    # The draws of two models are the same.
    again = visualize_gallery_size.curve_of_draws(results, [20], draws=3)
    assert again[0] == curve[0]


def test_default_sizes_are_no_smaller_than_the_targets(results):
    whole = resolve_galleries(results)
    sizes = visualize_gallery_size.default_sizes(whole)
    assert sizes == sorted(set(sizes)) and sizes[-1] == whole.sizes.max()
    assert np.mean(whole.n_targets <= sizes[0]) >= 0.9


def lists_of(results, size, order):
    """A protocol of explicit lists: the targets of each query and the first other frames."""
    whole = resolve_galleries(results)
    frames, has_target, boxes = [], [], []
    for q in order:
        rows = slice(*whole.target_offsets[q : q + 2])
        targets = whole.target_frames[rows]
        others = np.setdiff1d(np.flatnonzero(whole.searched[q]), targets)[: size - len(targets)]
        frames += [*targets, *others]
        has_target += [True] * len(targets) + [False] * len(others)
        boxes += [*whole.target_boxes[rows], *np.zeros((len(others), 4))]
    offsets = np.arange(len(order) + 1) * size
    lists = GalleryLists(offsets, np.array(frames), np.array(has_target), np.array(boxes))
    return SearchProtocol(
        f"gallery {size}",
        results.query_frame_index[order],
        results.query_boxes[order],
        results.query_ids[order],
        lists,
    )


@pytest.fixture
def published(results):
    """A registered test set with two galleries, whose files list the queries differently."""
    name, order = "visualize_published", np.arange(20)
    records = [{"image_id": frame} for frame in results.frame_names.tolist()]
    DatasetCatalog.register(name, lambda: records)
    protocols = {
        "gallery_40": lambda: lists_of(results, 40, order[::-1]),
        "gallery_25": lambda: lists_of(results, 25, order),
        "occlusion": lambda: lists_of(results, 25, order[:5]),
    }
    MetadataCatalog.get(name).set(protocols=protocols)
    yield name
    DatasetCatalog.remove(name)
    MetadataCatalog.remove(name)


def test_curve_of_published_galleries(results, published):
    curve = visualize_gallery_size.curve_of_published(results, published)
    assert [point.size for point in curve] == [25, 40]
    for point in curve:
        lists = lists_of(results, point.size, np.arange(20)).gallery
        expected = evaluate_search(results, resolve_galleries(results, lists)).summary()
        assert point.values["mAP"] == [pytest.approx(100 * expected["mAP"])]
    other = replace(results, query_boxes=results.query_boxes + 1)
    with pytest.raises(ResultsError, match="lacks queries of gallery_40"):
        visualize_gallery_size.curve_of_published(other, published)


def test_gallery_size_tool(results, published, tmp_path, monkeypatch, capsys):
    paths = [tmp_path / run / "inference" / "results.npz" for run in ("stl", "stl_mrfp")]
    for path in paths:
        path.parent.mkdir(parents=True)
        results.save(path)
    output = tmp_path / "x.png"
    run(visualize_gallery_size, monkeypatch, *paths, "--draws", 2, "--output", output)
    assert is_picture(output)
    names = [line.split()[0] for line in capsys.readouterr().out.splitlines()[1:-1]]
    assert set(names) == {"stl", "stl_mrfp"}
    args = (paths[0], "--dataset", published, "--gt-boxes")
    run(visualize_gallery_size, monkeypatch, *args)
    assert is_picture(paths[0].with_name("gallery_size.png"))


def test_gallery_size_tool_refuses(results, published, tmp_path, monkeypatch):
    file, moved = tmp_path / "a.npz", tmp_path / "b.npz"
    results.save(file)
    replace(results, query_boxes=results.query_boxes + 1).save(moved)
    for args, message in (
        ((file, file), "use --names"),
        ((file, moved), "other frames or queries"),
        ((file, "--dataset", "prw_test"), "no galleries of several sizes"),
        ((tmp_path / "none.npz",), "no such file"),
    ):
        with pytest.raises(PersonSearchError, match=message):
            run(visualize_gallery_size, monkeypatch, *args)
    with pytest.raises(SystemExit):
        run(visualize_gallery_size, monkeypatch, file, "--sizes", 0)
