"""RoI features: coordinates, the fusion of MRFP, empty input, and features that do not fit."""

import pytest
import torch
import torch.nn.functional as F
from detectron2.layers import ShapeSpec
from detectron2.modeling.poolers import ROIPooler
from detectron2.structures import Boxes
from torch import Tensor, nn

from person_search.errors import ConfigError
from person_search.modeling.embedders.base import Embedder, build_pooler
from person_search.modeling.embedders.mrfp import MRFP
from person_search.modeling.embedders.roi import SingleLevelPooler

SHAPES = {
    "res2": ShapeSpec(channels=16, stride=4),
    "res3": ShapeSpec(channels=32, stride=8),
    "res4": ShapeSpec(channels=64, stride=16),
}
BOXES = torch.tensor([[20.0, 30.0, 52.0, 110.0], [33.0, 21.0, 97.0, 149.0]])


def ramps(stride: int, channels: int = 2, size: int = 192) -> Tensor:
    """(1, channels, h, w) map whose channels are, in turns, x and y of the cell's center."""
    centers = (torch.arange(size // stride) + 0.5) * stride
    y, x = torch.meshgrid(centers, centers, indexing="ij")
    return torch.stack([x, y] * (channels // 2))[None]


def bin_centers(box: Tensor, height: int, width: int) -> Tensor:
    """(2, height, width): x and y of the centers of a box's bins."""
    x = box[0] + (torch.arange(width) + 0.5) * (box[2] - box[0]) / width
    y = box[1] + (torch.arange(height) + 0.5) * (box[3] - box[1]) / height
    return torch.stack([x.expand(height, width), y[:, None].expand(height, width)])


def random_maps(images: int = 1) -> dict[str, Tensor]:
    torch.manual_seed(0)
    return {
        "res2": torch.randn(images, 16, 48, 48, requires_grad=True),
        "res3": torch.randn(images, 32, 24, 24, requires_grad=True),
    }


def test_bin_centers_by_hand():
    # A box of width 8 and height 4 in 2x2 bins: centers at a quarter and three quarters.
    expected = [[[12.0, 16.0], [12.0, 16.0]], [[21.0, 21.0], [23.0, 23.0]]]
    assert bin_centers(torch.tensor([10.0, 20.0, 18.0, 24.0]), 2, 2).tolist() == expected


@pytest.mark.parametrize("level, stride", [("res2", 4), ("res3", 8)])
def test_roi_features_lie_at_their_image_coordinates(tiny_cfg, level, stride):
    pooler = build_pooler(tiny_cfg("MODEL.REID.IN_FEATURES", [level]), SHAPES)
    pooled = pooler({level: ramps(stride)}, [Boxes(BOXES)])
    assert pooled.shape == (2, 2, 16, 8)
    for roi, box in zip(pooled, BOXES, strict=True):
        torch.testing.assert_close(roi, bin_centers(box, 16, 8), atol=1e-3, rtol=0)


def test_constant_map_gives_constant_features(tiny_cfg):
    pooled = build_pooler(tiny_cfg(), SHAPES)(
        {"res3": torch.full((1, 32, 24, 24), 1.75)}, [Boxes(BOXES)]
    )
    torch.testing.assert_close(pooled, torch.full((2, 32, 16, 8), 1.75))


def test_both_levels_of_mrfp_lie_on_each_other():
    # A neck that averages 2x2 bins turns the fine bins' centers into the coarse ones.
    pooler = MRFP(
        in_features=["res2", "res3"],
        fine_pooler=ROIPooler((32, 16), (1 / 4,), 2, "ROIAlignV2"),
        coarse_pooler=ROIPooler((16, 8), (1 / 8,), 2, "ROIAlignV2"),
        neck=nn.AvgPool2d(2),
        channels=2,
    )
    pooled = pooler({"res2": ramps(4), "res3": ramps(8)}, [Boxes(BOXES)])
    for roi, box in zip(pooled, BOXES, strict=True):
        torch.testing.assert_close(roi, 2 * bin_centers(box, 16, 8), atol=2e-3, rtol=0)


def test_mrfp_adds_the_coarse_map_and_the_neck_of_the_fine_one(tiny_cfg):
    torch.manual_seed(0)
    pooler = build_pooler(tiny_cfg(mrfp=True), SHAPES).eval()
    maps, boxes = random_maps(), [Boxes(BOXES)]
    pooled = pooler(maps, boxes)
    assert pooled.shape == (2, pooler.channels, 16, 8) == (2, 32, 16, 8)
    coarse = pooler.coarse_pooler([maps["res3"]], boxes)
    fine = pooler.fine_pooler([maps["res2"]], boxes)
    assert fine.shape == (2, 16, 32, 16)  # twice the resolution
    # The sum may be negative: nothing rectifies it.
    torch.testing.assert_close(pooled, coarse + pooler.neck(fine))
    assert pooled.min() < 0 <= pooler.neck(fine).min()

    pooled.square().sum().backward()
    assert all(m.grad.abs().sum() > 0 for m in maps.values())
    assert all(p.grad is not None for p in pooler.neck.parameters())


def test_full_size_neck_is_one_conv3_x(tiny_cfg):
    cfg = tiny_cfg(
        *("MODEL.RESNETS.DEPTH", 50, "MODEL.RESNETS.STEM_OUT_CHANNELS", 64),
        *("MODEL.RESNETS.RES2_OUT_CHANNELS", 256, "MODEL.REID.POOLER_RESOLUTION", (32, 16)),
        mrfp=True,
    )
    shapes = {"res2": ShapeSpec(channels=256, stride=4), "res3": ShapeSpec(channels=512, stride=8)}
    with torch.device("meta"):
        pooler = build_pooler(cfg, shapes)
        assert pooler.neck(torch.zeros(3, 256, 64, 32)).shape == (3, 512, 32, 16)
    assert sum(p.numel() for p in pooler.parameters()) == 1_219_584
    assert pooler.fine_pooler.output_size == (64, 32)
    assert pooler.coarse_pooler.output_size == (32, 16)


@pytest.mark.parametrize("mrfp", [False, True])
@pytest.mark.parametrize("training", [False, True])
def test_no_boxes_give_no_features(tiny_cfg, mrfp, training):
    pooler = build_pooler(tiny_cfg(mrfp=mrfp), SHAPES).train(training)
    nobody = Boxes(torch.zeros(0, 4))
    assert pooler(random_maps(images=2), [nobody, nobody]).shape == (0, 32, 16, 8)


@pytest.mark.parametrize("mrfp", [False, True])
def test_boxes_are_read_from_their_own_image(tiny_cfg, mrfp):
    pooler = build_pooler(tiny_cfg(mrfp=mrfp), SHAPES).eval()
    maps = random_maps(images=2)
    together = pooler(maps, [Boxes(BOXES[:0]), Boxes(BOXES)])
    alone = pooler({k: v[1:] for k, v in maps.items()}, [Boxes(BOXES)])
    torch.testing.assert_close(together, alone)


def test_a_model_of_crops_pools_no_boxes(tiny_cfg):
    pooler = build_pooler(tiny_cfg("MODEL.REID.POOLER", "WholeImage"), SHAPES)
    assert pooler.channels == 32
    with pytest.raises(ConfigError, match="WholeImage is for models of crops.* choose Single"):
        pooler(random_maps(), [Boxes(BOXES)])


@pytest.mark.parametrize(
    "pooler, features, says",
    [
        ("SingleLevelPooler", ["res2", "res3"], "SingleLevelPooler reads 1 .*IN_FEATURES is"),
        ("MRFP", ["res3"], "MRFP reads 2 .*IN_FEATURES is"),
        ("MRFP", ["res3", "res2"], "twice its stride.*strides 8 and 4"),
        ("MRFP", ["res2", "res4"], "twice its stride.*strides 4 and 16"),
        ("SingleLevelPooler", ["res5"], "res5.*MODEL.RESNETS.OUT_FEATURES"),
        ("MRFP", ["stem", "res2"], "stem.*MODEL.RESNETS.OUT_FEATURES"),
    ],
)
def test_features_that_do_not_fit_are_refused(tiny_cfg, pooler, features, says):
    cfg = tiny_cfg("MODEL.REID.POOLER", pooler, "MODEL.REID.IN_FEATURES", features)
    with pytest.raises(ConfigError, match=says):
        build_pooler(cfg, SHAPES)


def test_features_of_another_width_than_the_identification_net_are_refused(tiny_cfg):
    cfg = tiny_cfg("MODEL.REID.IN_FEATURES", ["res2"])  # but the net begins behind res3
    with pytest.raises(ConfigError, match="IN_FEATURES.*res2.*SPLIT_AT.*res3"):
        Embedder(cfg, SHAPES)


def test_single_level_pooler_needs_no_config():
    pooler = SingleLevelPooler(
        in_feature="p", pooler=ROIPooler((2, 1), (0.5,), 1, "ROIAlignV2"), channels=3
    )
    x = torch.arange(3.0)[None, :, None, None].expand(1, 3, 8, 8)
    pooled = pooler({"p": x}, [Boxes(torch.tensor([[2.0, 2.0, 12.0, 12.0]]))])
    torch.testing.assert_close(pooled, F.interpolate(x[..., :1, :1], (2, 1)))
