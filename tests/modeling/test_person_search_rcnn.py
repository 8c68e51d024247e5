"""The whole model: labels of proposals, losses of any batch, one embedding path, anchors."""

import math

import pytest
import torch
from detectron2.modeling import build_model
from detectron2.modeling.anchor_generator import DefaultAnchorGenerator
from detectron2.modeling.box_regression import Box2BoxTransform
from detectron2.modeling.matcher import Matcher
from detectron2.modeling.poolers import ROIPooler
from detectron2.modeling.proposal_generator import RPN
from detectron2.modeling.proposal_generator.rpn import StandardRPNHead
from detectron2.modeling.roi_heads import FastRCNNConvFCHead, FastRCNNOutputLayers
from detectron2.structures import Boxes, Instances
from torch import nn

from person_search.labels import BACKGROUND, UNLABELED
from person_search.modeling.backbone.resnet import SplitResNet
from person_search.modeling.embedders.base import Embedder
from person_search.modeling.embedders.roi import SingleLevelPooler
from person_search.modeling.embedders.sampling import ReIDSampler
from person_search.modeling.identity.softmax import SoftmaxHead
from person_search.modeling.meta_arch.person_search_rcnn import PersonSearchRCNN
from person_search.modeling.roi_heads.search_heads import SearchROIHeads

LOSSES = {"loss_rpn_cls", "loss_rpn_loc", "loss_cls", "loss_box_reg", "loss_id"}
STOCK = ("MODEL.META_ARCHITECTURE", "GeneralizedRCNN")
FOUND = ("MODEL.ROI_HEADS.SCORE_THRESH_TEST", 0.0)  # an untrained model is sure of nobody


def build(cfg) -> nn.Module:
    torch.manual_seed(0)
    return build_model(cfg)


@pytest.fixture(params=[False, True], ids=["single", "mrfp"])
def searcher(request, tiny_cfg) -> PersonSearchRCNN:
    return build(tiny_cfg(*FOUND, mrfp=request.param)).eval()


# Training ------------------------------------------------------------------------------------


def test_proposals_carry_the_ids_of_persons_or_background(tiny_cfg, scenes):
    heads = build(tiny_cfg()).roi_heads
    targets = [x["instances"] for x in scenes([[4, UNLABELED], []])]
    proposals = []
    for _ in targets:
        image = Instances((96, 128))
        image.proposal_boxes = Boxes(
            torch.tensor([[6.0, 10, 26, 66], [38, 10, 56, 70], [90, 10, 110, 70], [6, 10, 14, 30]])
        )
        image.objectness_logits = torch.zeros(4)
        proposals.append(image)
    first, second = heads.label_and_sample_proposals(proposals, targets)
    boxes = [tuple(box) for box in first.proposal_boxes.tensor.tolist()]
    assert dict(zip(boxes, first.gt_person_ids.tolist(), strict=True)) == {
        (6, 10, 26, 66): 4,
        (38, 10, 56, 70): UNLABELED,
        (90, 10, 110, 70): BACKGROUND,
        (6, 10, 14, 30): BACKGROUND,  # a part of the first person
        (6, 10, 26, 70): 4,  # the annotations themselves
        (36, 10, 56, 70): UNLABELED,
    }
    assert second.gt_person_ids.tolist() == [BACKGROUND] * 4
    assert first.gt_person_ids.dtype == second.gt_person_ids.dtype == torch.int64


@pytest.mark.parametrize("rois", ReIDSampler.MODES)
@pytest.mark.parametrize("ids", [[[0, 3], [1, UNLABELED]], [[0], []], [[UNLABELED], []]])
def test_any_choice_of_rois_trains_the_stock_generalized_rcnn(tiny_cfg, scenes, rois, ids):
    model = build(tiny_cfg(*STOCK, "MODEL.REID.ROIS", rois)).train()
    losses = model(scenes(ids))
    assert losses.keys() == LOSSES and all(loss.isfinite() for loss in losses.values())
    assert (losses["loss_id"] > 0) == any(i >= 0 for of_image in ids for i in of_image)


def test_both_tasks_reach_the_shared_base(tiny_cfg, scenes):
    model = build(tiny_cfg()).train()
    losses = model(scenes([[0, 1], [2]]))
    weight = model.backbone.stem.conv1.weight
    for name in LOSSES:
        (grad,) = torch.autograd.grad(losses[name], weight, retain_graph=True)
        assert grad.abs().sum() > 0, name
    (grad,) = torch.autograd.grad(
        losses["loss_id"], model.roi_heads.box_head.fc1.weight, allow_unused=True
    )
    assert grad is None  # no gradient through the coordinates of boxes


def test_loss_weight(tiny_cfg, scenes):
    def loss_id(weight: float) -> float:
        model = build(tiny_cfg("MODEL.REID.LOSS_WEIGHT", weight, "MODEL.REID.ROIS", "gt")).train()
        return model(scenes([[0, 1], [2]]))["loss_id"].item()

    assert loss_id(0.25) == pytest.approx(0.25 * loss_id(1.0))


# Inference -----------------------------------------------------------------------------------


def test_embedding_boxes_runs_no_detector(searcher, scenes, monkeypatch):
    """The same embeddings as in the pass that detects, without proposals and box head."""
    inputs = scenes([[0], [1], []])
    for x, number in zip(inputs, (2, 1, 0), strict=True):
        x["query_boxes"] = torch.tensor([[6.0, 10, 26, 70], [40, 10, 60, 70]])[:number]
    with torch.no_grad():
        together = [out["query_embeds"] for out in searcher(inputs)]

    def refuse(*_):
        raise AssertionError("no detector is needed")

    monkeypatch.setattr(searcher.proposal_generator, "forward", refuse)
    monkeypatch.setattr(searcher.roi_heads, "_forward_box", refuse)
    alone = searcher.embed_boxes(inputs)
    assert [embeds.shape for embeds in alone] == [(2, 128), (1, 128), (0, 128)]
    assert all(torch.equal(a, b) for a, b in zip(alone, together, strict=True))
    assert searcher.embedding_dim == 128


@torch.no_grad()
def test_detections_are_in_pixels_of_the_frame_and_queries_in_those_of_the_input(searcher, scenes):
    (frame,) = scenes([[0]])
    small = searcher([frame])[0]["instances"]
    enlarged = {**frame, "height": 192, "width": 384, "query_boxes": small.pred_boxes.tensor}
    out = searcher([enlarged])[0]
    scale = torch.tensor([3.0, 2.0, 3.0, 2.0])
    torch.testing.assert_close(out["instances"].pred_boxes.tensor, small.pred_boxes.tensor * scale)
    torch.testing.assert_close(out["query_embeds"], small.pred_embeds, atol=1e-5, rtol=0)


@torch.no_grad()
def test_stock_generalized_rcnn_predicts_the_same(tiny_cfg, scenes):
    ours, stock = (build(tiny_cfg(*FOUND, *opts)).eval() for opts in ((), STOCK))
    assert type(stock) is not type(ours)
    stock.load_state_dict(ours.state_dict())
    inputs = scenes([[0], [1]])
    for a, b in zip(ours(inputs), stock(inputs), strict=True):
        assert torch.equal(a["instances"].pred_embeds, b["instances"].pred_embeds)
        assert torch.equal(a["instances"].pred_boxes.tensor, b["instances"].pred_boxes.tensor)


@torch.no_grad()
def test_detected_instances_are_embedded_as_test_time_augmentation_asks(searcher, scenes):
    inputs = scenes([[0], [1]])
    found = [out["instances"] for out in searcher(inputs)]
    given = []
    for instances in found:
        bare = Instances(instances.image_size)
        bare.pred_boxes, bare.pred_classes = instances.pred_boxes, instances.pred_classes
        given.append(bare)
    again = searcher.inference(inputs, detected_instances=given, do_postprocess=False)
    for a, b in zip(found, again, strict=True):
        torch.testing.assert_close(a.pred_embeds, b.pred_embeds, atol=1e-5, rtol=0)


# Anchors -------------------------------------------------------------------------------------


def test_anchors_are_those_of_the_paper(tiny_cfg):
    cfg = tiny_cfg("MODEL.ANCHOR_GENERATOR.SIZES", [[32, 64, 128, 256]])
    rpn = build(cfg).proposal_generator
    (anchors,) = rpn.anchor_generator([torch.zeros(1, 32, 2, 3)])
    boxes = anchors.tensor.reshape(2, 3, 12, 4)
    width, height = boxes[..., 2] - boxes[..., 0], boxes[..., 3] - boxes[..., 1]
    for k, (size, ratio) in enumerate((s, r) for s in (32, 64, 128, 256) for r in (1, 2, 3)):
        tall, wide = size * math.sqrt(ratio), size / math.sqrt(ratio)
        torch.testing.assert_close(height[..., k], torch.full((2, 3), tall))
        torch.testing.assert_close(width[..., k], torch.full((2, 3), wide))
    centers = (boxes[..., :2] + boxes[..., 2:]) / 2
    for row in range(2):
        for column in range(3):
            expected = torch.tensor([(column + 0.5) * 8, (row + 0.5) * 8]).expand(12, 2)
            torch.testing.assert_close(centers[row, column], expected, atol=1e-3, rtol=0)


def test_a_person_fits_an_anchor_far_better_upright(tiny_cfg):
    """The order of height and width: PRW's median person is 2.8 times as high as wide."""
    rpn = build(tiny_cfg("MODEL.ANCHOR_GENERATOR.SIZES", [[32, 64, 128, 256]])).proposal_generator
    (cell,) = rpn.anchor_generator.cell_anchors

    def best_iou(width: float, height: float) -> float:
        w, h = cell[:, 2] - cell[:, 0], cell[:, 3] - cell[:, 1]
        inter = w.clamp(max=width) * h.clamp(max=height)
        return (inter / (w * h + width * height - inter)).max().item()

    assert best_iou(36, 101) > 0.7 > 0.5 > best_iou(101, 36)


# Without a config ----------------------------------------------------------------------------


def model_of_explicit_numbers() -> PersonSearchRCNN:
    architecture = SplitResNet(18, "a", stem_channels=16, res2_channels=16)
    base = architecture.make_base("res3", ["res3"], freeze_at=0)
    shape = base.output_shape()["res3"]
    head = FastRCNNConvFCHead(
        type(shape)(channels=32, height=7, width=7), conv_dims=[], fc_dims=[32]
    )
    deltas = Box2BoxTransform(weights=(10.0, 10.0, 5.0, 5.0))
    return PersonSearchRCNN(
        backbone=base,
        proposal_generator=RPN(
            in_features=["res3"],
            head=StandardRPNHead(in_channels=32, num_anchors=6),
            anchor_generator=DefaultAnchorGenerator(
                sizes=[[32, 64]], aspect_ratios=[[1, 2, 3]], strides=[8]
            ),
            anchor_matcher=Matcher([0.3, 0.7], [0, -1, 1]),
            box2box_transform=Box2BoxTransform(weights=(1.0, 1.0, 1.0, 1.0)),
            batch_size_per_image=32,
            positive_fraction=0.5,
            pre_nms_topk=(100, 100),
            post_nms_topk=(20, 20),
        ),
        roi_heads=SearchROIHeads(
            num_classes=1,
            batch_size_per_image=16,
            positive_fraction=0.25,
            proposal_matcher=Matcher([0.5], [0, 1]),
            box_in_features=["res3"],
            box_pooler=ROIPooler(7, (1 / 8,), 2, "ROIAlignV2"),
            box_head=head,
            box_predictor=FastRCNNOutputLayers(
                head.output_shape, box2box_transform=deltas, num_classes=1
            ),
            reid=Embedder(
                split_at="res3",
                pooler=SingleLevelPooler(
                    in_feature="res3",
                    pooler=ROIPooler((16, 8), (1 / 8,), 2, "ROIAlignV2"),
                    channels=shape.channels,
                ),
                net=architecture.make_tail("res3", last_stride=1),
                head=SoftmaxHead(in_channels={"res5": architecture.channels("res5")}, num_ids=3),
            ),
            reid_sampler=ReIDSampler("gt"),
        ),
        pixel_mean=(123.675, 116.28, 103.53),
        pixel_std=(58.395, 57.12, 57.375),
        input_format="RGB",
    )


def test_every_part_can_be_built_without_a_config(scenes):
    torch.manual_seed(0)
    model = model_of_explicit_numbers()
    assert model(scenes([[0, 2], [1]])).keys() == LOSSES
    with torch.no_grad():
        query = {"query_boxes": torch.tensor([[6.0, 10, 26, 70]])}
        (out,) = model.eval()([scenes([[0]])[0] | query])
    assert out["query_embeds"].shape == (1, 128)
