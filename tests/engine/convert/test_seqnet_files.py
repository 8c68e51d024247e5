"""Files with SeqNet's and NAE's names, made by hand: each row, each place, each refusal."""

import logging

import pytest
import torch
from detectron2.modeling import build_model
from torch import Tensor, nn

from person_search.engine import PersonSearchCheckpointer, adopt_conventions
from person_search.engine.convert import recognize
from person_search.engine.convert.rows import size_major
from person_search.engine.weights_file import WeightsFile, write_weights_file
from person_search.errors import ConfigError, WeightsError

ANCHORS = ("MODEL.ANCHOR_GENERATOR.SIZES", [[32, 64, 128, 256, 512]])


def stage(prefix: str, c_in: int, c_out: int, blocks: int = 2) -> dict[str, Tensor]:
    """A stage of basic blocks under torchvision's names."""
    state = {}
    for block in range(blocks):
        c = c_in if block == 0 else c_out
        for conv, norm, c_first in (("conv1", "bn1", c), ("conv2", "bn2", c_out)):
            state[f"{prefix}.{block}.{conv}.weight"] = torch.rand(c_out, c_first, 3, 3)
            state |= norm_state(f"{prefix}.{block}.{norm}", c_out)
    if c_in != c_out:
        state[f"{prefix}.0.downsample.0.weight"] = torch.rand(c_out, c_in, 1, 1)
        state |= norm_state(f"{prefix}.0.downsample.1", c_out)
    return state


def norm_state(name: str, channels: int) -> dict[str, Tensor]:
    parts = ("weight", "bias", "running_mean", "running_var")
    return {f"{name}.{part}": torch.rand(channels) for part in parts}


def linear(name: str, c_in: int, c_out: int) -> dict[str, Tensor]:
    return {f"{name}.weight": torch.rand(c_out, c_in), f"{name}.bias": torch.rand(c_out)}


def trunk(prefix: str = "", last: int = 4) -> dict[str, Tensor]:
    """A ResNet-18 of a quarter's width under torchvision's names."""
    state = {f"{prefix}conv1.weight": torch.rand(16, 3, 7, 7)} | norm_state(f"{prefix}bn1", 16)
    for layer, c_in, c_out in ((1, 16, 16), (2, 16, 32), (3, 32, 64), (4, 64, 128))[:last]:
        state |= stage(f"{prefix}layer{layer}", c_in, c_out)
    return state


def released(kind: str, conv: str = "conv") -> dict[str, Tensor]:
    """A file of SeqNet or NAE, on a ResNet-18 of a quarter's width; no two tensors are alike."""
    heads = "roi_heads."
    state = trunk("backbone.", last=3)
    state[f"rpn.head.{conv}.weight"] = torch.rand(64, 64, 3, 3)
    state[f"rpn.head.{conv}.bias"] = torch.rand(64)
    for name, rows in (("cls_logits", 15), ("bbox_pred", 60)):
        state[f"rpn.head.{name}.weight"] = torch.rand(rows, 64, 1, 1)
        state[f"rpn.head.{name}.bias"] = torch.arange(rows).float()
    state |= stage(f"{heads}box_head.layer4", 64, 128)
    if kind == "seqnet":
        state |= stage(f"{heads}reid_head.layer4", 64, 128)
        state |= linear(f"{heads}faster_rcnn_predictor.cls_score", 128, 2)
        state |= linear(f"{heads}faster_rcnn_predictor.bbox_pred", 128, 8)
    else:
        state |= linear(f"{heads}box_predictor.cls_score", 128, 2)
    state |= linear(f"{heads}box_predictor.bbox_pred.0", 128, 8)
    state |= norm_state(f"{heads}box_predictor.bbox_pred.1", 8)
    for level, channels in (("feat_res4", 64), ("feat_res5", 128)):
        state |= linear(f"{heads}embedding_head.projectors.{level}.0", channels, 128)
        state |= norm_state(f"{heads}embedding_head.projectors.{level}.1", 128)
    state |= norm_state(f"{heads}embedding_head.rescaler", 1)
    return state | {
        f"{heads}reid_loss.lut": torch.rand(5, 256),
        f"{heads}reid_loss.cq": torch.rand(7, 256),
    }


def recognized(state: dict[str, Tensor], **around):
    return recognize(WeightsFile(state, (), around))


def saved(state: dict, path) -> str:
    torch.save({"model": state, "epoch": 17}, path)
    return str(path)


def small(tiny_cfg, kind: str, *opts):
    return tiny_cfg(*ANCHORS, *opts, config=f"Street/{kind}.yaml")


def model_of(tiny_cfg, kind: str, path: str, *opts) -> nn.Module:
    cfg = small(tiny_cfg, kind, *opts)
    adopt_conventions(cfg, path)
    return build_model(cfg).eval()


# Rows -----------------------------------------------------------------------------------------


def test_anchors_are_put_in_detectron2s_order():
    """Ratios outside, sizes inside -> sizes outside, ratios inside; deltas go four by four."""
    assert size_major(3, 2)(torch.arange(6)).tolist() == [0, 3, 1, 4, 2, 5]
    assert size_major(2, 2, 4)(torch.arange(16)).tolist() == [
        *(0, 1, 2, 3, 8, 9, 10, 11),
        *(4, 5, 6, 7, 12, 13, 14, 15),
    ]


@pytest.mark.parametrize("kind", ["seqnet", "nae"])
@pytest.mark.parametrize("conv", ["conv", "conv.0.0"], ids=["released", "today"])
def test_every_tensor_has_its_place(tiny_cfg, tmp_path, kind, conv):
    file = released(kind, conv)
    path = saved(file, tmp_path / "epoch_17.pth")
    model = model_of(tiny_cfg, kind, path)
    PersonSearchCheckpointer(model, complete=True).load(path)
    mine = model.state_dict()

    def same(ours: str, theirs: str, rows=slice(None)) -> None:
        assert torch.equal(mine[ours], file[theirs][rows]), ours

    same("backbone.stem.conv1.weight", "backbone.conv1.weight")
    same("backbone.stem.conv1.norm.running_var", "backbone.bn1.running_var")
    same("backbone.res4.0.shortcut.weight", "backbone.layer3.0.downsample.0.weight")
    same("proposal_generator.rpn_head.conv.weight", f"rpn.head.{conv}.weight")
    # Size 32 has the ratios .5, 1, 2 in the rows 0, 5, 10 there.
    assert mine["proposal_generator.rpn_head.objectness_logits.bias"][:4].tolist() == [0, 5, 10, 1]
    deltas = mine["proposal_generator.rpn_head.anchor_deltas.bias"]
    assert deltas[:8].tolist() == [0, 1, 2, 3, 20, 21, 22, 23]
    reid, boxes = ("reid_head", "box_head") if kind == "seqnet" else ("box_head", None)
    same("roi_heads.reid.net.res5.1.conv2.weight", f"roi_heads.{reid}.layer4.1.conv2.weight")
    same("roi_heads.box_predictor.bbox_pred.0.weight",
         "roi_heads.box_predictor.bbox_pred.0.weight", slice(4, 8))  # fmt: skip
    same("roi_heads.box_predictor.bbox_pred.1.running_mean",
         "roi_heads.box_predictor.bbox_pred.1.running_mean", slice(4, 8))  # fmt: skip
    same("roi_heads.box_predictor.cls_score.bias", "roi_heads.embedding_head.rescaler.bias")
    for k, level in enumerate(("feat_res4", "feat_res5")):
        same(f"roi_heads.reid.head.projectors.{k}.0.weight",
             f"roi_heads.embedding_head.projectors.{level}.0.weight")  # fmt: skip
    if boxes:
        first = "roi_heads.first."
        same(f"{first}box_head.net.res5.0.conv1.weight", "roi_heads.box_head.layer4.0.conv1.weight")
        same(f"{first}box_predictor.cls_score.weight",
             "roi_heads.faster_rcnn_predictor.cls_score.weight", [1, 0])  # fmt: skip
        same(f"{first}box_predictor.bbox_pred.bias",
             "roi_heads.faster_rcnn_predictor.bbox_pred.bias", slice(4, 8))  # fmt: skip


def test_what_is_left_out_is_named(tiny_cfg, tmp_path, caplog):
    path = saved(released("nae"), tmp_path / "nae.pth")
    with caplog.at_level(logging.INFO):
        PersonSearchCheckpointer(model_of(tiny_cfg, "nae", path)).load(path)
    (line,) = [x for x in caplog.text.splitlines() if "left out" in x]
    assert "roi_heads.reid_loss.lut (1)" in line and "roi_heads.box_predictor.cls_score (2)" in line
    assert "the file is a released NAE, converted in memory" in caplog.text


# Conventions -----------------------------------------------------------------------------------


def test_a_config_adopts_the_conventions_of_its_weights(tiny_cfg, tmp_path, caplog):
    path = saved(released("seqnet"), tmp_path / "epoch_17.pth")
    cfg = small(tiny_cfg, "seqnet")
    with caplog.at_level(logging.INFO):
        adopt_conventions(cfg, path)
    assert cfg.MODEL.ANCHOR_GENERATOR.NAME == "RoundedAnchorGenerator"
    assert cfg.MODEL.ANCHOR_GENERATOR.OFFSET == 0 and cfg.INPUT.RESIZE == "torchvision"
    assert cfg.MODEL.REID.POOLER_TYPE == cfg.MODEL.ROI_BOX_HEAD.POOLER_TYPE == "ROIAlign"
    assert cfg.MODEL.BACKBONE.SIZE_DIVISIBILITY == 32 and not cfg.MODEL.REID.EMBED_REFINED_BOXES
    assert "INPUT.RESIZE: torchvision, as " in caplog.text


def test_a_key_that_the_user_gave_is_not_changed(tiny_cfg, tmp_path):
    path = saved(released("seqnet"), tmp_path / "epoch_17.pth")
    cfg = small(tiny_cfg, "seqnet")
    with pytest.raises(ConfigError, match="OFFSET is 0.5, but .*epoch_17.pth was trained with 0.0"):
        adopt_conventions(cfg, path, explicit=["MODEL.ANCHOR_GENERATOR.OFFSET"])


def test_the_first_file_that_can_be_read_counts(tiny_cfg, tmp_path):
    path = saved(released("seqnet"), tmp_path / "epoch_17.pth")
    (tmp_path / "broken.pth").write_bytes(b"")
    cfg = small(tiny_cfg, "seqnet")
    adopt_conventions(cfg, str(tmp_path / "absent.pth"), str(tmp_path / "broken.pth"), path, "")
    assert cfg.INPUT.RESIZE == "torchvision"
    before = small(tiny_cfg, "seqnet")
    after = before.clone()
    adopt_conventions(after, "", str(tmp_path / "broken.pth"))
    assert after == before


def test_a_model_of_other_conventions_refuses_the_file(tiny_cfg, tmp_path):
    path = saved(released("seqnet"), tmp_path / "epoch_17.pth")
    model = build_model(small(tiny_cfg, "seqnet"))
    before = {k: v.clone() for k, v in model.state_dict().items()}
    with pytest.raises(WeightsError) as error:
        PersonSearchCheckpointer(model).load(path)
    for words in ("a released SeqNet", "DIVISIBILITY 32", "POOLER_TYPE ROIAlign", "OFFSET 0.0"):
        assert words in str(error.value)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


def test_a_training_that_starts_from_the_file_keeps_its_conventions(tiny_cfg, tmp_path):
    path = saved(released("seqnet"), tmp_path / "epoch_17.pth")
    model = model_of(tiny_cfg, "seqnet", path)
    checkpointer = PersonSearchCheckpointer(model, str(tmp_path / "run"))
    (tmp_path / "run").mkdir()
    checkpointer.resume_or_load(path, resume=False)
    checkpointer.save("model_final")
    trained = str(tmp_path / "run" / "model_final.pth")
    with pytest.raises(WeightsError, match="POOLER_TYPE ROIAlign"):
        PersonSearchCheckpointer(build_model(small(tiny_cfg, "seqnet"))).load(trained)
    other = model_of(tiny_cfg, "seqnet", trained)
    PersonSearchCheckpointer(other, complete=True).load(trained)
    assert torch.equal(other.backbone.stem.conv1.weight, model.backbone.stem.conv1.weight)


def test_a_file_cannot_set_other_keys(tiny_cfg, tmp_path):
    write_weights_file(tmp_path / "w.pth", {"a": torch.zeros(1)}, {"OUTPUT_DIR": "/"})
    cfg = small(tiny_cfg, "seqnet")
    adopt_conventions(cfg, str(tmp_path / "w.pth"))
    assert cfg.OUTPUT_DIR == small(tiny_cfg, "seqnet").OUTPUT_DIR
    with pytest.raises(WeightsError, match="conventions that are none: .*OUTPUT_DIR"):
        PersonSearchCheckpointer(build_model(cfg)).load(str(tmp_path / "w.pth"))


# Refused ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "kind, config, says",
    [
        ("seqnet", "nae", "has roi_heads.first.*no place.*configs/PRW/seqnet.yaml"),
        ("nae", "seqnet", "lacks roi_heads.first.*configs/PRW/nae.yaml"),
        ("seqnet", "oim", "a released SeqNet. It is not of this model"),
        ("nae", "stl", "a released NAE. It is not of this model"),
    ],
)
def test_another_model_takes_nothing_of_the_file(tiny_cfg, tmp_path, kind, config, says):
    path = saved(released(kind), tmp_path / "w.pth")
    model = model_of(tiny_cfg, config, path)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    with pytest.raises(WeightsError, match=says):
        PersonSearchCheckpointer(model).load(path)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


@pytest.mark.parametrize("part", ["roi_heads.reid_head.layer4.1.", "rpn.head.cls_logits."])
def test_a_file_without_a_part_is_refused(tiny_cfg, tmp_path, part):
    file = {k: v for k, v in released("seqnet").items() if not k.startswith(part)}
    path = saved(file, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match="a released SeqNet.*it lacks"):
        PersonSearchCheckpointer(model_of(tiny_cfg, "seqnet", path)).load(path)


def test_a_relative_with_further_parts_is_told_so(tiny_cfg):
    file = recognized(released("seqnet") | {"roi_heads.cxt_feat.weight": torch.rand(2, 2)})
    assert file.kind.startswith("a relative of SeqNet with further parts, such as roi_heads.cxt")
    assert not file.state
