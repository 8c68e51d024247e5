"""What models of torchvision and fast-reid do otherwise, each a key: equal to their own code."""

import pytest
import torch
import torch.nn.functional as F
from detectron2.config import get_cfg
from detectron2.layers import ShapeSpec
from detectron2.modeling import build_model
from detectron2.modeling.anchor_generator import build_anchor_generator
from torch import nn
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.image_list import ImageList

from person_search.engine.convert.rows import size_major
from person_search.errors import ConfigError
from person_search.modeling.backbone.resnet import SplitResNet

FOUND = ("MODEL.ROI_HEADS.SCORE_THRESH_TEST", 0.0)  # an untrained model is sure of nobody


def test_rounded_anchors_at_corners_are_torchvisions():
    sizes, ratios = (32, 64, 128, 256, 512), (0.5, 1.0, 2.0)
    theirs = AnchorGenerator((sizes,), (ratios,))
    image, grid = torch.zeros(1, 3, 96, 128), torch.zeros(1, 8, 6, 8)
    (wanted,) = theirs(ImageList(image, [(96, 128)]), [grid])
    cfg = get_cfg()
    cfg.MODEL.ANCHOR_GENERATOR.NAME = "RoundedAnchorGenerator"
    cfg.MODEL.ANCHOR_GENERATOR.SIZES = [list(sizes)]
    cfg.MODEL.ANCHOR_GENERATOR.ASPECT_RATIOS = [list(ratios)]
    cfg.MODEL.ANCHOR_GENERATOR.OFFSET = 0.0
    (mine,) = build_anchor_generator(cfg, [ShapeSpec(stride=16)])([grid])
    wanted = wanted.view(-1, 15, 4).transpose(0, 1)  # theirs are ratio by ratio
    assert torch.equal(mine.tensor.view(-1, 15, 4).transpose(0, 1), size_major(5, 3)(wanted))


@pytest.mark.parametrize("size", [(256, 128), (255, 127)])
def test_the_stem_of_fastreid_rounds_up(size):
    stem = SplitResNet(18, stem_pooling="ceil").make_stem().eval()
    x = torch.randn(2, 3, *size)
    pool = nn.MaxPool2d(kernel_size=3, stride=2, ceil_mode=True)
    with torch.no_grad():
        assert torch.equal(stem(x), pool(F.relu(stem.conv1(x))))
    with pytest.raises(ConfigError, match="STEM_POOLING is 'floor'; legal: padded, ceil"):
        SplitResNet(18, stem_pooling="floor")


@pytest.mark.parametrize("in_1x1", [True, False])
def test_where_the_stride_of_a_bottleneck_sits(in_1x1):
    res3 = SplitResNet(50, stride_in_1x1=in_1x1).make_stage("res3")
    strides = {True: ((2, 2), (1, 1)), False: ((1, 1), (2, 2))}[in_1x1]
    assert (res3[0].conv1.stride, res3[0].conv2.stride) == strides


def test_pictures_are_padded_to_a_multiple(tiny_cfg, scenes):
    model = build_model(tiny_cfg("MODEL.BACKBONE.SIZE_DIVISIBILITY", 32))
    images = model.preprocess_image(scenes([[0]], height=90, width=130))
    assert images.tensor.shape[-2:] == (96, 160) and images.image_sizes == [(90, 130)]
    assert (images.tensor[..., 90:, :] == 0).all() and (images.tensor[..., 130:] == 0).all()


@pytest.mark.parametrize("name", ["oim", "nae", "seqnet"])
@torch.no_grad()
def test_a_detection_keeps_the_embedding_of_the_box_it_was_refined_from(tiny_cfg, scenes, name):
    opts = (*FOUND, "MODEL.REID.EMBED_REFINED_BOXES", False)
    torch.manual_seed(0)
    model = build_model(tiny_cfg(*opts, config=f"Street/{name}.yaml")).eval()
    inputs = scenes([[0, 1], [2]])
    images = model.preprocess_image(inputs)
    features = model.backbone(images.tensor)
    proposals, _ = model.proposal_generator(images, features)
    incoming = [x.proposal_boxes for x in proposals]
    if name == "seqnet":
        incoming = [x.pred_boxes for x in model.roi_heads.first(images, features, proposals)[0]]
    rows = model.roi_heads.embed(features, incoming)
    found, _ = model.roi_heads(images, features, proposals)
    for x, candidates in zip(found, rows, strict=True):
        assert len(x) > 0
        best = (x.pred_embeds @ candidates.T).max(dim=1).values
        torch.testing.assert_close(best, torch.ones(len(x)))
