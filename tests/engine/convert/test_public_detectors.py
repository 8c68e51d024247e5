"""Detectors of detectron2's model zoo in a person search model: the same boxes and scores."""

import pickle

import pytest
import torch
from detectron2.config import CfgNode, get_cfg
from detectron2.modeling import build_model
from torch import nn

from person_search.engine import PersonSearchCheckpointer, adopt_conventions
from person_search.errors import WeightsError

SMALL = (
    *("MODEL.DEVICE", "cpu"),
    *("MODEL.RESNETS.STEM_OUT_CHANNELS", 16),
    *("MODEL.RESNETS.RES2_OUT_CHANNELS", 32),
)


def zoo_cfg(num_classes: int) -> CfgNode:
    """The zoo's R50-C4 (detectron2's defaults), at an eighth of its width."""
    cfg = get_cfg()
    cfg.merge_from_list([*SMALL, "MODEL.RESNETS.WIDTH_PER_GROUP", 8])
    cfg.MODEL.ROI_HEADS.NUM_CLASSES = num_classes
    cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST = 0.0
    cfg.MODEL.RPN.POST_NMS_TOPK_TEST = 30
    cfg.MODEL.WEIGHTS = ""
    return cfg


def zoo_model(path, num_classes: int) -> nn.Module:
    """A detector whose file is written as the zoo writes it."""
    torch.manual_seed(0)
    model = build_model(zoo_cfg(num_classes)).eval()
    for name, tensor in model.state_dict().items():
        if name.endswith("running_var"):
            tensor.uniform_(2, 4)  # else 50 layers at random blow up
        elif "predictor" in name:
            tensor.normal_(std=0.1)
    arrays = {k: v.numpy() for k, v in model.state_dict().items()}
    path.write_bytes(pickle.dumps({"model": arrays, "__author__": "Detectron2 Model Zoo"}))
    return model


def oim_cfg(tiny_cfg, *opts) -> CfgNode:
    cfg = tiny_cfg(*SMALL, "MODEL.RESNETS.DEPTH", 50, *opts, config="Street/oim.yaml")
    zoo = zoo_cfg(1).MODEL
    cfg.MODEL.RPN.PRE_NMS_TOPK_TEST = zoo.RPN.PRE_NMS_TOPK_TEST
    cfg.MODEL.RPN.POST_NMS_TOPK_TEST = zoo.RPN.POST_NMS_TOPK_TEST
    cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST = 0.0
    cfg.MODEL.ROI_HEADS.NMS_THRESH_TEST = zoo.ROI_HEADS.NMS_THRESH_TEST
    cfg.TEST.DETECTIONS_PER_IMAGE = 100
    return cfg


def test_a_zoo_detector_finds_the_same_in_an_oim_model(tiny_cfg, tmp_path, scenes):
    theirs = zoo_model(tmp_path / "zoo.pkl", num_classes=1)
    cfg = oim_cfg(tiny_cfg)
    adopt_conventions(cfg, str(tmp_path / "zoo.pkl"))
    assert cfg.INPUT.FORMAT == "BGR" and cfg.MODEL.RESNETS.STRIDE_IN_1X1
    assert list(cfg.MODEL.PIXEL_STD) == [1, 1, 1]
    mine = build_model(cfg).eval()
    PersonSearchCheckpointer(mine).load(str(tmp_path / "zoo.pkl"))
    inputs = scenes([[0, 1]], height=160, width=192)
    with torch.no_grad():
        wanted, found = (model(inputs)[0]["instances"] for model in (theirs, mine))
    assert len(found) == len(wanted) > 5
    torch.testing.assert_close(found.pred_boxes.tensor, wanted.pred_boxes.tensor)
    torch.testing.assert_close(found.scores, wanted.scores)


def test_person_and_background_are_taken_of_many_classes(tiny_cfg, tmp_path):
    state = zoo_model(tmp_path / "zoo.pkl", num_classes=4).state_dict()
    cfg = oim_cfg(tiny_cfg)
    adopt_conventions(cfg, str(tmp_path / "zoo.pkl"))
    mine = build_model(cfg)
    PersonSearchCheckpointer(mine).load(str(tmp_path / "zoo.pkl"))
    predictor, theirs = mine.roi_heads.box_predictor, "roi_heads.box_predictor."
    assert torch.equal(predictor.cls_score.weight, state[f"{theirs}cls_score.weight"][[0, 4]])
    assert torch.equal(predictor.bbox_pred.bias, state[f"{theirs}bbox_pred.bias"][:4])


@pytest.mark.parametrize("config", ["Street/seqnet.yaml", "Base-RCNN-C3.yaml"])
def test_other_models_do_not_take_it(tiny_cfg, tmp_path, config):
    zoo_model(tmp_path / "zoo.pkl", num_classes=1)
    cfg = tiny_cfg(*SMALL, "MODEL.RESNETS.DEPTH", 50, config=config)
    with pytest.raises(WeightsError, match="INPUT.FORMAT BGR.*STRIDE_IN_1X1 True.*oim.yaml"):
        PersonSearchCheckpointer(build_model(cfg)).load(str(tmp_path / "zoo.pkl"))
