"""Parts of packs from torch weights do what the torch models do."""

import numpy as np
import pytest
import torch
from detectron2.modeling import build_model
from public_recipes import recipe
from torch import nn
from torchvision.models import detection
from torchvision.ops import box_iou

from person_search.engine.export_parts import export_detector, export_embedder
from person_search.errors import ConfigError
from person_search.images import read_image
from person_search.packs.making import read_settings
from person_search.packs.runtime import open_network
from person_search.packs.spec import DetectorSpec, EmbedderSpec
from person_search.packs.two_step import Detector, Embedder

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

SMALL = "fasterrcnn_mobilenet_v3_large_320_fpn"


def detector_of(state: dict, folder, builder: str | None = None) -> Detector:
    """A detector's part of a pack, made of a file with these weights."""
    torch.save(state, folder / "weights.pth")
    settings = export_detector(folder / "weights.pth", folder / "detector.onnx", builder)
    spec = DetectorSpec(model="detector.onnx", **read_settings(settings)["detector"])
    return Detector(open_network(folder / "detector.onnx", threads=1), spec)


def torchvision_finds(model: nn.Module, picture: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Boxes and scores of persons in a BGR picture."""
    pixels = torch.from_numpy(picture[..., ::-1].copy()).permute(2, 0, 1).float() / 255
    with torch.no_grad():
        (found,) = model([pixels])
    rows = found["labels"] == 1
    return found["boxes"][rows].numpy(), found["scores"][rows].numpy()


def assert_same(found: tuple, expected: tuple, lowest: float, share: float) -> None:
    """Each expected person above a score is found, at the same place.

    Scores at random are about equal, so that others win where boxes overlap: a ``share`` is asked.
    """
    boxes, scores = expected[0][expected[1] > lowest], expected[1][expected[1] > lowest]
    iou, row = box_iou(torch.from_numpy(boxes), torch.from_numpy(found[0])).max(dim=1)
    same = iou.numpy() > 0.99
    assert same.mean() >= share, iou
    np.testing.assert_allclose(found[1][row][same], scores[same], atol=2e-3)


def test_a_detector_finds_the_persons_that_torchvision_finds(tmp_path):
    torch.manual_seed(0)
    model = getattr(detection, SMALL)(weights=None, weights_backbone=None, num_classes=2).eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1  # statistics of one picture, else 50 random layers vanish
    with torch.no_grad():
        model.backbone.train()(torch.randn(1, 3, 160, 160))
        model.eval().roi_heads.box_predictor.cls_score.weight.normal_(std=0.1)
    detector = detector_of(model.state_dict(), tmp_path, SMALL)
    generator = np.random.default_rng(0)
    persons = 0
    for shape in ((96, 192, 3), (100, 200, 3), (99, 70, 3)):
        picture = generator.integers(0, 256, shape, np.uint8)
        expected = torchvision_finds(model, picture)
        found = detector.detect(picture, 0.05)
        is_seen = (expected[0][:, 2:] - expected[0][:, :2]).min(axis=1) >= 2
        expected = expected[0][is_seen], expected[1][is_seen]
        assert abs(len(found[0]) - len(expected[0])) <= 3
        assert_same(found, expected, 0.05, 0.9)
        persons += len(expected[0])
    assert persons > 10
    nobody = np.zeros((60, 80, 3), np.uint8)
    model.roi_heads.box_predictor.cls_score.bias.data[0] += 100
    detector = detector_of(model.state_dict(), tmp_path, SMALL)
    assert len(torchvision_finds(model, nobody)[0]) == 0
    boxes, scores = detector.detect(nobody, 0.05)
    assert boxes.shape == (0, 4) and scores.shape == (0,)


@pytest.mark.parametrize(
    "name, lowest",
    [
        ("retinanet_resnet50_fpn", 0.5),
        pytest.param("fasterrcnn_resnet50_fpn_v2", 0.1, marks=pytest.mark.slow),
    ],
)
def test_a_released_detector_finds_what_the_public_code_does(shared_data, tmp_path, name, lowest):
    state, golden = recipe(name)
    detector = detector_of(state, tmp_path)
    frame = read_image(str(shared_data / "PRW-v16.04.20" / "frames" / str(golden["frame"])))
    expected = golden["person.boxes"], golden["person.scores"]
    assert (expected[1] > 0.5).sum() in (11, 24)
    assert_same(detector.detect(frame, 0.05), expected, lowest, 1.0)


def test_an_embedder_of_crops_gives_the_rows_of_its_model(tiny_cfg, tmp_path):
    torch.manual_seed(0)
    cfg = tiny_cfg(config="Base-ReID.yaml")
    model = build_model(cfg).eval()
    settings = export_embedder(
        model, tmp_path / "embedder.onnx", size=(64, 32), color="RGB", resize="area"
    )
    content = read_settings(settings)["embedder"]
    spec = EmbedderSpec(model="embedder.onnx", size=(64, 32), dim=128, **content)
    assert spec.mean == [123.675, 116.28, 103.53] and spec.resize == "area"
    embedder = Embedder(open_network(tmp_path / "embedder.onnx", threads=1), spec)
    crops = np.random.default_rng(0).integers(0, 256, (3, 64, 32, 3), np.uint8)
    images = torch.from_numpy(crops[..., ::-1].copy()).permute(0, 3, 1, 2)
    with torch.no_grad():
        expected = torch.stack([x["embeds"] for x in model([{"image": i} for i in images])])
    for number in (0, 1, 3):
        rows = embedder.embed(list(crops[:number]))
        np.testing.assert_allclose(rows, expected[:number].numpy(), atol=1e-4)


def test_a_search_model_is_no_embedder_of_crops(tiny_cfg, tmp_path):
    with pytest.raises(ConfigError, match="embeds no crops.*tools/export.py"):
        export_embedder(
            build_model(tiny_cfg()), tmp_path / "x", size=(64, 32), color="RGB", resize="area"
        )
