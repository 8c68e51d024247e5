"""Trunks of other programs: wrappers, prefixes, order of rows, and what is refused."""

import logging
import pickle
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.modeling import build_model
from test_seqnet_files import linear, norm_state, released, saved, stage, trunk
from torch import nn

from person_search.engine import PersonSearchCheckpointer, adopt_conventions
from person_search.engine.convert import recognize
from person_search.engine.weights_file import WeightsFile, read_weights_file
from person_search.errors import WeightsError

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "tools"))
import select_weights  # noqa: E402  (found through the line above)

PLAIN = ("MODEL.RESNETS.IBN", "")


def loaded(tiny_cfg, path: str, *opts, config: str = "Base-RCNN-C3.yaml") -> nn.Module:
    """A model that adopted the conventions of a file, and took it."""
    cfg = tiny_cfg(*PLAIN, *opts, config=config)
    adopt_conventions(cfg, path)
    model = build_model(cfg).eval()
    PersonSearchCheckpointer(model).load(path)
    return model


def assert_trunk(model: nn.Module, names: dict) -> None:
    """The model's stages are those of a trunk under torchvision's bare names."""
    state = model.state_dict()
    places = {
        "backbone.stem.conv1.weight": "conv1.weight",
        "backbone.res3.0.shortcut.norm.bias": "layer2.0.downsample.1.bias",
        "roi_heads.reid.net.res4.1.conv2.weight": "layer3.1.conv2.weight",
        "roi_heads.reid.net.res5.0.conv1.norm.running_mean": "layer4.0.bn1.running_mean",
    }
    for ours, theirs in places.items():
        assert torch.equal(state[ours], names[theirs]), ours


# Where it stands -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "prefix",
    ["", "module.", "backbone.", "base.", "module.base.", "encoder_q.", "model.backbone."],
)
@pytest.mark.parametrize("wrapper", [None, "state_dict", "model"])
def test_a_trunk_is_found_below_its_prefix(tiny_cfg, tmp_path, prefix, wrapper):
    names = trunk()
    state = {f"{prefix}{k}": v for k, v in names.items()} | linear(f"{prefix}fc", 128, 10)
    torch.save({wrapper: state, "epoch": 3} if wrapper else state, tmp_path / "w.pth")
    assert_trunk(loaded(tiny_cfg, str(tmp_path / "w.pth")), names)


def test_moco_keeps_the_encoder_that_learns(tiny_cfg, tmp_path, caplog):
    names, copy = trunk(), trunk()
    state = {f"module.encoder_q.{k}": v for k, v in names.items()}
    state |= {f"module.encoder_k.{k}": v for k, v in copy.items()}
    state |= {"module.queue": torch.rand(8, 20), **linear("module.encoder_q.fc.0", 128, 128)}
    torch.save({"epoch": 200, "arch": "resnet18", "state_dict": state}, tmp_path / "moco.pth.tar")
    with caplog.at_level(logging.INFO):
        assert_trunk(loaded(tiny_cfg, str(tmp_path / "moco.pth.tar")), names)
    (line,) = [x for x in caplog.text.splitlines() if "left out" in x]
    assert "encoder_k.conv1.weight (1)" in line and "queue (1)" in line


def test_several_trunks_are_not_chosen_from(tmp_path):
    state = {f"{p}.{k}": v for p in ("base", "backbone") for k, v in trunk().items()}
    with pytest.raises(WeightsError, match="several trunks, below 'base.', 'backbone.'.*--keep"):
        recognize(WeightsFile(state, (), {}))


@pytest.mark.parametrize("part", ["roi_heads.box_head.", "decoder.", "teacher_net."])
def test_a_stage_of_another_part_is_never_the_trunks(tiny_cfg, tmp_path, part):
    state = trunk("backbone.", last=3) | stage(f"{part}layer4", 64, 128)
    path = saved(state, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match="lacks .* keys of the backbone, such as .*res5"):
        loaded(tiny_cfg, path)


# How it was trained ----------------------------------------------------------------------------


def test_the_config_in_an_mmcv_file_says_how_it_was_trained(tmp_path):
    state = trunk("backbone.")
    caffe = "img_norm_cfg = dict(mean=[103.53], std=[1.0], to_rgb=False)"
    for config, form, stride in (
        (caffe, "BGR", True),
        ("backbone=dict(style='caffe')", "BGR", True),
        ("style='pytorch' ... to_rgb=True", "RGB", False),
    ):
        found = recognize(WeightsFile(state, (), {"meta": {"config": config}})).conventions
        assert found["INPUT.FORMAT"] == form
        assert found["MODEL.RESNETS.STRIDE_IN_1X1"] is stride
    assert recognize(WeightsFile(state, (), {"meta": {"epoch": 3}})).conventions == {}


def test_a_trunk_of_rgb_is_refused_by_a_model_of_bgr(tiny_cfg, tmp_path):
    path = saved(trunk(), tmp_path / "w.pth")
    model = build_model(tiny_cfg(*PLAIN, "INPUT.FORMAT", "BGR"))
    with pytest.raises(WeightsError, match="trained with INPUT.FORMAT RGB .this model: BGR."):
        PersonSearchCheckpointer(model).load(path)


# fast-reid -------------------------------------------------------------------------------------


def fastreid(pooling: bool = False) -> dict:
    state = trunk("backbone.") | norm_state("heads.bottleneck.0", 128)
    state["heads.weight"] = torch.rand(7, 128)
    if pooling:
        state["heads.pool_layer.p"] = torch.full((1,), 3.0)
    return state


def test_fastreid_gives_its_neck_too(tiny_cfg, tmp_path, caplog):
    state = fastreid()
    with caplog.at_level(logging.INFO):
        model = loaded(tiny_cfg, saved(state, tmp_path / "bot.pth"))
    assert_trunk(model, {k.removeprefix("backbone."): v for k, v in state.items()})
    assert torch.equal(
        model.roi_heads.reid.head.bn.running_var, state["heads.bottleneck.0.running_var"]
    )
    assert type(model.backbone.stem).__name__ == "CeilStem"
    assert "left out: heads.weight (1)" in caplog.text


def test_a_neck_behind_another_pooling_is_left_out(tmp_path):
    found = recognize(WeightsFile(fastreid(pooling=True), (), {}))
    assert not any("head.bn" in k for k in found.state)
    assert "heads.bottleneck.0.weight" in found.left_out and "heads.pool_layer.p" in found.left_out


# Caffe2 ----------------------------------------------------------------------------------------


def caffe2() -> dict[str, np.ndarray]:
    """A ResNet-18-like trunk with Caffe2's names; norms have only scale and shift."""
    state = {}

    def conv(name: str, norm: str, shape) -> None:
        state[f"{name}_w"] = np.random.rand(*shape).astype(np.float32)
        state[f"{norm}_s"] = np.random.rand(shape[0]).astype(np.float32)
        state[f"{norm}_b"] = np.random.rand(shape[0]).astype(np.float32)

    conv("conv1", "res_conv1_bn", (16, 3, 7, 7))
    for stage_, c_in, c_out in ((2, 16, 16), (3, 16, 32), (4, 32, 64), (5, 64, 128)):
        for block in range(2):
            name = f"res{stage_}_{block}_branch"
            c = c_in if block == 0 else c_out
            conv(f"{name}2a", f"{name}2a_bn", (c_out, c, 3, 3))
            conv(f"{name}2b", f"{name}2b_bn", (c_out, c_out, 3, 3))
            if block == 0 and c_in != c_out:
                conv(f"{name}1", f"{name}1_bn", (c_out, c_in, 1, 1))
    return state | {"pred_w": np.zeros((10, 128), np.float32), "lr_momentum": np.zeros(1)}


@pytest.mark.parametrize("wrapper", [None, "blobs"])
def test_caffe2s_names_are_detectron2s(tiny_cfg, tmp_path, wrapper):
    arrays = caffe2()
    content = {wrapper: arrays} if wrapper else arrays
    (tmp_path / "R-18.pkl").write_bytes(pickle.dumps(content, protocol=2))
    model = loaded(tiny_cfg, str(tmp_path / "R-18.pkl"))
    assert model.input_format == "BGR" and model.pixel_std.flatten().tolist() == [1, 1, 1]
    conv = model.roi_heads.reid.net.res4[1].conv2
    assert np.array_equal(conv.weight.detach(), arrays["res4_1_branch2b_w"])
    x = torch.rand(2, 64, 3, 3)
    scale, shift = (torch.from_numpy(arrays[f"res4_1_branch2b_bn_{k}"]) for k in "sb")
    with torch.no_grad():
        torch.testing.assert_close(
            conv.norm(x), x * scale[:, None, None] + shift[:, None, None], rtol=1e-5, atol=1e-6
        )


# Systems without a counterpart -------------------------------------------------------------------


@pytest.mark.parametrize(
    "key, kind",
    [
        ("roi_heads.box_head_2nd.transformer_encoder.blocks.scale1.0.x", "COAT"),
        ("roi_heads.gfn.head.weight", "GFN"),
        ("roi_heads.embedding_head.projectors.feat_res5.0.weight", "OIMNet++"),
        ("bbox_head.labeled_matching_layer.lookup_table", "AlignPS"),
        ("bbox_head.transformer.decoder.layers.0.x", "PSTR"),
        ("rpn_head.rpn_conv.weight", "a detector of mmdetection"),
        ("backbone.NL_2.0.g.weight", "non-local"),
        ("conv2.0.conv2a.0.conv1.weight", "OSNet"),
        ("backbone.layers.0.blocks.0.attn.qkv.weight", "a vision transformer"),
        ("head.classification_head.cls_logits.weight", "torchvision's RetinaNet"),
        ("backbone.fpn.inner_blocks.0.weight", "torchvision's Faster R-CNN"),
        ("backbone.fpn_lateral2.weight", "an FPN detector of detectron2"),
    ],
)
def test_a_system_without_a_counterpart_is_named(tiny_cfg, tmp_path, key, kind):
    path = saved(trunk("backbone.") | {key: torch.rand(2, 2)}, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match="It cannot be loaded") as error:
        loaded(tiny_cfg, path)
    assert kind in str(error.value)


def test_golden_layouts_are_told_apart():
    names = {recognize(WeightsFile(released(k), (), {})).kind for k in ("seqnet", "nae")}
    assert names == {"a released SeqNet", "a released NAE"}


def test_the_trunk_of_such_a_system_can_be_taken(tiny_cfg, tmp_path, monkeypatch):
    state = trunk("backbone.") | {"bbox_head.labeled_matching_layer.lookup_table": torch.rand(2, 2)}
    path = saved(state, tmp_path / "alignps.pth")
    words = [path, str(tmp_path / "trunk.pth"), "--keep", "backbone."]
    monkeypatch.setattr("sys.argv", ["select_weights.py", *words])
    select_weights.main()
    file = read_weights_file(tmp_path / "trunk.pth")
    assert file.around["conventions"]["INPUT.FORMAT"] == "BGR"
    model = loaded(tiny_cfg, str(tmp_path / "trunk.pth"))
    assert model.input_format == "BGR"
    assert_trunk(model, {k.removeprefix("backbone."): v for k, v in state.items()})
