"""The cut backbone: sizes and shapes of STL, where IBN stands, and that cutting changes nothing."""

import pytest
import torch
from detectron2.layers import FrozenBatchNorm2d
from detectron2.modeling import build_backbone
from torch import nn

from person_search.errors import ConfigError
from person_search.layers.ibn import IBN
from person_search.modeling.backbone.resnet import SplitResNet
from person_search.modeling.backbone.split import STAGES, build_split_architecture


def number_of_parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def narrow(depth: int, ibn: str) -> SplitResNet:
    return SplitResNet(depth, ibn, stem_channels=16, res2_channels=16 if depth < 50 else 32)


@pytest.fixture(scope="module")
def resnet50() -> SplitResNet:
    return SplitResNet(50, ibn="a")


@pytest.mark.parametrize(
    "stage, millions", [("stem", 0.01), ("res2", 0.22), ("res3", 1.22), ("res4", 7.10)]
)
def test_base_stages_have_the_parameters_of_resnet50(resnet50, stage, millions):
    with torch.device("meta"):
        base = resnet50.make_base("res4", ["res4"], freeze_at=0)
    assert number_of_parameters(getattr(base, stage)) / 1e6 == pytest.approx(millions, abs=0.005)


def test_tail_stages_have_the_parameters_of_resnet50(resnet50):
    with torch.device("meta"):
        tail = resnet50.make_tail("res3", last_stride=1)
    assert [name for name, _ in tail.named_children()] == ["res4", "res5"]
    # ImageNet's ResNet-50 has 23,508,032 parameters without its classifier; IBN adds none.
    stem_to_res3 = 9_536 + 215_808 + 1_219_584
    assert number_of_parameters(tail) == 23_508_032 - stem_to_res3
    assert number_of_parameters(tail.res5) / 1e6 == pytest.approx(14.96, abs=0.005)


def test_a_crop_has_the_shapes_of_the_paper(resnet50):
    with torch.device("meta"):
        base = resnet50.make_base("res3", ["res2", "res3"], freeze_at=0)
        tail = resnet50.make_tail("res3", last_stride=1)
        maps = base(torch.zeros(2, 3, 256, 128))
        assert maps["res2"].shape == (2, 256, 64, 32)
        assert maps["res3"].shape == (2, 512, 32, 16)
        res4 = tail.res4(maps["res3"])
        assert res4.shape == (2, 1024, 16, 8)
        assert tail.res5(res4).shape == (2, 2048, 16, 8)
        assert resnet50.make_tail("res3", last_stride=2)(maps["res3"]).shape == (2, 2048, 8, 4)
    assert {name: (s.channels, s.stride) for name, s in base.output_shape().items()} == {
        "res2": (256, 4),
        "res3": (512, 8),
    }


@pytest.mark.parametrize("depth, blocks", [(18, (2, 2, 2)), (50, (3, 4, 6))])
def test_ibn_follows_the_first_conv_of_every_block_up_to_res4(depth, blocks):
    with torch.device("meta"):
        whole = narrow(depth, "a").make_base("res5", ["res5"], freeze_at=0)
    found = {name for name, module in whole.named_modules() if isinstance(module, IBN)}
    assert found == {
        f"res{stage}.{block}.conv1.norm"
        for stage, number in zip((2, 3, 4), blocks, strict=True)
        for block in range(number)
    }
    assert len(found) == {18: 6, 50: 13}[depth]


def test_ibn_halves_are_as_wide_as_in_the_paper(resnet50):
    with torch.device("meta"):
        base = resnet50.make_base("res4", ["res4"], freeze_at=0)
    norms = [getattr(base, stage)[0].conv1.norm for stage in ("res2", "res3", "res4")]
    widths = [(norm.IN.num_features, norm.BN.num_features) for norm in norms]
    assert widths == [(32, 32), (64, 64), (128, 128)]


def test_plain_resnet_has_no_ibn():
    with torch.device("meta"):
        whole = narrow(50, "").make_base("res5", ["res5"], freeze_at=0)
    assert not any(isinstance(module, IBN) for module in whole.modules())


def test_the_stride_of_a_bottleneck_sits_on_its_3x3_conv(resnet50):
    with torch.device("meta"):
        block = resnet50.make_stage("res4")[0]
        one = resnet50.make_stage("res5", stride=1)
    strides = [c.stride for c in (block.conv1, block.conv2, block.conv3, block.shortcut)]
    assert strides == [(1, 1), (2, 2), (1, 1), (2, 2)]
    assert {m.stride for m in one.modules() if isinstance(m, nn.Conv2d)} == {(1, 1)}


@pytest.mark.parametrize("depth, ibn", [(18, "a"), (50, "a"), (50, "")])
@pytest.mark.parametrize("split_at", STAGES)
def test_base_and_tail_make_the_whole_network(depth, ibn, split_at):
    torch.manual_seed(0)
    architecture = narrow(depth, ibn)
    whole = architecture.make_base("res5", ["res5"], freeze_at=0).eval()
    base = architecture.make_base(split_at, [split_at], freeze_at=0).eval()
    tail = architecture.make_tail(split_at, last_stride=2).eval()
    for part in (base, tail):
        state = whole.state_dict()
        part.load_state_dict({k: state[k] for k in part.state_dict()})
    crop = torch.randn(2, 3, 128, 64)
    assert base.output_shape()[split_at].channels == architecture.channels(split_at)
    torch.testing.assert_close(tail(base(crop)[split_at]), whole(crop)["res5"])


def test_parts_of_one_architecture_share_no_weights():
    architecture = narrow(18, "a")
    first, second = architecture.make_stage("res3"), architecture.make_stage("res3")
    storages = [{p.data_ptr() for p in part.parameters()} for part in (first, second)]
    assert storages[0].isdisjoint(storages[1])


def test_nothing_is_frozen_unless_asked_for(tiny_cfg):
    assert all(p.requires_grad for p in build_backbone(tiny_cfg()).parameters())
    frozen = build_backbone(tiny_cfg("MODEL.BACKBONE.FREEZE_AT", 2))
    for name, p in frozen.named_parameters():
        assert p.requires_grad == name.startswith("res3"), name
    assert isinstance(frozen.res2[0].conv1.norm.BN, FrozenBatchNorm2d)


@pytest.mark.parametrize("split_at", ["res2", "res3", "res4"])
def test_the_config_names_the_split_point(tiny_cfg, split_at):
    cfg = tiny_cfg("MODEL.BACKBONE.SPLIT_AT", split_at, "MODEL.RESNETS.OUT_FEATURES", [split_at])
    with torch.device("meta"):
        base = build_backbone(cfg)
    assert list(base.output_shape()) == [split_at]
    assert not hasattr(base, STAGES[STAGES.index(split_at) + 1])


@pytest.mark.parametrize(
    "opts, says",
    [
        (("MODEL.BACKBONE.SPLIT_AT", "layer3"), "MODEL.BACKBONE.SPLIT_AT.*layer3.*res2, res3"),
        (("MODEL.BACKBONE.SPLIT_AT", "res2"), "OUT_FEATURES.*res3.*ends at res2"),
        (("MODEL.RESNETS.OUT_FEATURES", ["res2"]), "OUT_FEATURES.*res2.*ends at res3.*name res3"),
        (("MODEL.BACKBONE.ARCHITECTURE", "ResNet"), "ARCHITECTURE is 'ResNet'.*SplitConvNeXt, Spl"),
        (("MODEL.RESNETS.DEPTH", 20), "MODEL.RESNETS.DEPTH is 20.*18, 34, 50, 101"),
        (("MODEL.RESNETS.IBN", "b"), 'MODEL.RESNETS.IBN is .b.; legal: "a"'),
    ],
)
def test_illegal_values_are_refused(tiny_cfg, opts, says):
    with pytest.raises(ConfigError, match=says):
        build_backbone(tiny_cfg(*opts))


@pytest.mark.parametrize("norm", ["SyncBN", "naiveSyncBN"])
def test_norms_over_ranks_are_refused(tiny_cfg, norm):
    with pytest.raises(ConfigError, match="RESNETS.NORM is .* take BN"):
        build_split_architecture(tiny_cfg("MODEL.RESNETS.NORM", norm))
