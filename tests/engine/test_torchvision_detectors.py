"""Which of torchvision's detectors a file is, or why it is none."""

import pytest
import torch
from torchvision.models import detection

from person_search.engine import torchvision_detectors
from person_search.engine.torchvision_detectors import DETECTORS, read_detector
from person_search.engine.weights_file import WeightsFile
from person_search.errors import WeightsError

MOBILE = ["fasterrcnn_mobilenet_v3_large_fpn", "fasterrcnn_mobilenet_v3_large_320_fpn"]


@pytest.fixture
def read(monkeypatch, tmp_path):
    """A function: what is read from a file that holds these weights, which may be of no size."""
    path = tmp_path / "weights.pth"
    path.write_bytes(b"some bytes")

    def read(state: dict, builder: str | None = None):
        file = WeightsFile(state, (), {})
        monkeypatch.setattr(torchvision_detectors, "read_weights_file", lambda _: file)
        with torch.device("meta"):
            return read_detector(path, builder)

    return read


def state_of(builder: str, classes: int = 91) -> dict:
    with torch.device("meta"):
        make = getattr(detection, builder)
        return make(weights=None, weights_backbone=None, num_classes=classes).state_dict()


@pytest.mark.parametrize("builder", DETECTORS)
def test_each_detector_is_known_by_the_names_of_its_weights(read, builder):
    if builder not in MOBILE:
        assert read(state_of(builder))[0] == builder
        return
    with pytest.raises(WeightsError, match=f"{MOBILE[0]} or {MOBILE[1]}"):
        read(state_of(builder))
    assert read(state_of(builder), builder)[0] == builder


def test_a_published_file_is_known_by_its_hash(read, monkeypatch):
    digest = "907ea3f9" + "0" * 56  # torchvision: fasterrcnn_mobilenet_v3_large_320_fpn-907ea3f9
    monkeypatch.setattr(torchvision_detectors, "file_hash", lambda path: digest)
    assert read(state_of(MOBILE[0]))[0] == MOBILE[1]


@pytest.mark.parametrize("is_frozen", [True, False])
def test_frozen_norms_add_nothing_to_the_variance(read, is_frozen):
    """As torchvision's own code sets it for its file, which has no counters of batches."""
    state = state_of("retinanet_resnet50_fpn")
    state = {k: v for k, v in state.items() if not (is_frozen and "num_batches" in k)}
    _, model = read(state)
    assert model.backbone.body.bn1.eps == (0 if is_frozen else 1e-5)


def test_old_names_of_released_files(read):
    state = state_of("fasterrcnn_resnet50_fpn")
    old = {k.replace("rpn.head.conv.0.0.", "rpn.head.conv."): v for k, v in state.items()}
    assert set(old) != set(state)
    assert read(old)[0] == "fasterrcnn_resnet50_fpn"


def test_what_is_no_such_detector_is_refused(read):
    state = state_of("retinanet_resnet50_fpn")
    del state["backbone.body.conv1.weight"]
    with pytest.raises(WeightsError, match="retinanet_resnet50_fpn: it lacks backbone.body.conv1"):
        read(state)
    with pytest.raises(WeightsError, match="fcos_resnet50_fpn of 20 classes"):
        read(state_of("fcos_resnet50_fpn", 20))
    with pytest.raises(WeightsError, match="it also has roi_heads.keypoint_head"):
        with torch.device("meta"):
            model = detection.keypointrcnn_resnet50_fpn(weights=None, weights_backbone=None)
        read(model.state_dict())
    with pytest.raises(WeightsError, match="is a trunk below.*, and no detector that can be exp"):
        trunk = state_of("retinanet_resnet50_fpn")
        read({k[14:]: v for k, v in trunk.items() if k.startswith("backbone.body.")})
