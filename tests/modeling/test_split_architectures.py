"""Every architecture in a whole model, at the C3 and the C4 split, with one map or with MRFP."""

import pytest
import torch
import torchvision
from detectron2.config import CfgNode
from detectron2.modeling import build_backbone, build_model
from detectron2.structures import Boxes
from torch import nn

from person_search.engine import PersonSearchCheckpointer
from person_search.errors import ConfigError, WeightsError
from person_search.layers.checkpointed import CheckpointedSequential
from person_search.modeling.backbone.split import STAGES, build_split_architecture
from person_search.modeling.backbone.weights import fit_stage_weights

NARROW_BASIC = ("MODEL.RESNETS.RES2_OUT_CHANNELS", 16)
NARROW_BOTTLENECK = ("MODEL.RESNETS.RES2_OUT_CHANNELS", 32)
ARCHITECTURES = {
    "R18": ("MODEL.RESNETS.DEPTH", 18, "MODEL.RESNETS.IBN", "", *NARROW_BASIC),
    "R34": ("MODEL.RESNETS.DEPTH", 34, "MODEL.RESNETS.IBN", "", *NARROW_BASIC),
    "R50": ("MODEL.RESNETS.DEPTH", 50, "MODEL.RESNETS.IBN", "", *NARROW_BOTTLENECK),
    "R50-IBN-a": ("MODEL.RESNETS.DEPTH", 50, "MODEL.RESNETS.IBN", "a", *NARROW_BOTTLENECK),
    "R101": ("MODEL.RESNETS.DEPTH", 101, "MODEL.RESNETS.IBN", "", *NARROW_BOTTLENECK),
    "V1": ("MODEL.BACKBONE.ARCHITECTURE", "SplitShuffleNetV1"),
    "V2": ("MODEL.BACKBONE.ARCHITECTURE", "SplitShuffleNetV2"),
    "ConvNeXt": (
        *("MODEL.BACKBONE.ARCHITECTURE", "SplitConvNeXt", "MODEL.CONVNEXT.DEPTHS", (1, 1, 2, 1)),
        *("MODEL.CONVNEXT.RES2_OUT_CHANNELS", 16),
    ),
}
CHANNELS = {  # of res2..res5 of the models above
    "R18": (16, 32, 64, 128),
    "R34": (16, 32, 64, 128),
    "R50": (32, 64, 128, 256),
    "R50-IBN-a": (32, 64, 128, 256),
    "R101": (32, 64, 128, 256),
    "V1": (24, 240, 480, 960),
    "V2": (24, 116, 232, 1024),
    "ConvNeXt": (16, 32, 64, 128),
}


def split_options(split_at: str, pooler: str) -> tuple:
    """Keys of a model whose detector reads the last map of the base."""
    before = STAGES[STAGES.index(split_at) - 1]
    taps = [before, split_at] if pooler == "MRFP" else [split_at]
    return (
        *("MODEL.BACKBONE.SPLIT_AT", split_at, "MODEL.RESNETS.OUT_FEATURES", taps),
        *("MODEL.RPN.IN_FEATURES", [split_at], "MODEL.ROI_HEADS.IN_FEATURES", [split_at]),
        *("MODEL.REID.POOLER", pooler, "MODEL.REID.IN_FEATURES", taps),
    )


def build(cfg: CfgNode) -> nn.Module:
    torch.manual_seed(0)
    return build_model(cfg)


@pytest.mark.parametrize("pooler", ["SingleLevelPooler", "MRFP"])
@pytest.mark.parametrize("split_at", ["res3", "res4"])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_model_learns_and_embeds(tiny_cfg, scenes, name, split_at, pooler):
    model = build(tiny_cfg(*ARCHITECTURES[name], *split_options(split_at, pooler)))
    channels = dict(zip(STAGES, CHANNELS[name], strict=True))
    reid = model.roi_heads.reid
    shapes = model.backbone.output_shape()
    assert {s: (shapes[s].channels, shapes[s].stride) for s in shapes} == {
        s: (channels[s], {"res2": 4, "res3": 8, "res4": 16}[s]) for s in shapes
    }
    seen = {}
    reid.pooler.register_forward_hook(lambda _, x, y: seen.update(pooled=y.shape[1:]))
    reid.net.res5.register_forward_hook(lambda _, x, y: seen.update(net=y.shape[1:]))

    losses = model.train()(scenes([[0, 1], [2]]))
    sum(losses.values()).backward()
    assert seen["pooled"] == (channels[split_at], 16, 8)
    halved = (8, 4) if split_at == "res3" else (16, 8)  # by res4; res5 has stride 1
    assert seen["net"] == (channels["res5"], *halved)
    for key, parameter in model.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None and parameter.grad.isfinite().all(), key
    torch.optim.SGD(model.parameters(), lr=1e-4).step()

    boxes = torch.tensor([[6.0, 10, 26, 70], [36, 10, 56, 70]])
    first, second = scenes([[0, 1], []])
    with torch.no_grad():
        model.eval()
        outputs = model([first | {"query_boxes": boxes}, second | {"query_boxes": boxes[:0]}])
    embeds = outputs[0]["query_embeds"]
    assert embeds.shape == (2, channels["res5"]) and outputs[1]["query_embeds"].shape[0] == 0
    torch.testing.assert_close(embeds.norm(dim=1), torch.ones(2))
    assert not torch.equal(embeds[0], embeds[1])


@pytest.mark.parametrize(
    "opts, trunk, head",
    [
        (("MODEL.RESNETS.DEPTH", 18, "MODEL.RESNETS.RES2_OUT_CHANNELS", 64), 256, 512),
        (("MODEL.RESNETS.DEPTH", 34, "MODEL.RESNETS.RES2_OUT_CHANNELS", 64), 256, 512),
        (("MODEL.RESNETS.DEPTH", 50, "MODEL.RESNETS.RES2_OUT_CHANNELS", 256), 1024, 2048),
        (ARCHITECTURES["V1"], 480, 960),
        (ARCHITECTURES["V2"], 232, 1024),
        (("MODEL.BACKBONE.ARCHITECTURE", "SplitConvNeXt"), 384, 768),
    ],
    ids=["R18", "R34", "R50", "V1", "V2", "ConvNeXt"],
)
def test_channels_that_a_c4_model_is_built_on(tiny_cfg, opts, trunk, head):
    architecture = build_split_architecture(tiny_cfg(*opts))
    assert (architecture.channels("res4"), architecture.channels("res5")) == (trunk, head)


# Weights of another architecture -------------------------------------------------------------


@pytest.mark.parametrize("other", ["R18", "R50", "V1", "V2", "ConvNeXt"])
@pytest.mark.parametrize("name", ["R18", "R50", "V1", "V2", "ConvNeXt"])
def test_weights_of_another_architecture_are_refused(tiny_cfg, tmp_path, name, other):
    base, source = (build_backbone(tiny_cfg(*ARCHITECTURES[key])) for key in (name, other))
    before = {k: v.clone() for k, v in base.state_dict().items()}
    torch.save({"model": source.state_dict()}, tmp_path / "w.pth")
    checkpointer = PersonSearchCheckpointer(base)
    if name == other:
        checkpointer.load(str(tmp_path / "w.pth"))
        before = source.state_dict()
    else:
        with pytest.raises(WeightsError, match="MODEL.BACKBONE.ARCHITECTURE"):
            checkpointer.load(str(tmp_path / "w.pth"))
    assert all(torch.equal(v, before[k]) for k, v in base.state_dict().items())


PUBLIC = {
    "R18": torchvision.models.resnet18,
    "V2": torchvision.models.shufflenet_v2_x1_0,
    "ConvNeXt": torchvision.models.convnext_tiny,
}


@pytest.mark.parametrize("other", PUBLIC)
@pytest.mark.parametrize("name", ["R18", "V1", "V2", "ConvNeXt"])
def test_public_files_fit_one_architecture(tiny_cfg, name, other):
    opts = {
        "R18": ("MODEL.RESNETS.STEM_OUT_CHANNELS", 64, "MODEL.RESNETS.RES2_OUT_CHANNELS", 64),
        "ConvNeXt": ("MODEL.BACKBONE.ARCHITECTURE", "SplitConvNeXt"),
    }.get(name, ARCHITECTURES[name])
    with torch.device("meta"):
        base, network = build_backbone(tiny_cfg(*opts)), PUBLIC[other]()
    fit = fit_stage_weights(base.state_dict(), network.state_dict())
    assert bool(fit.missing or fit.misfit or fit.surplus) == (name != other)


# Activation checkpointing --------------------------------------------------------------------


@pytest.mark.parametrize("name", ["R50-IBN-a", "V1", "V2", "ConvNeXt"])
def test_checkpointed_stages_train_the_same(tiny_cfg, scenes, name):
    """Bit for bit: losses, gradients and running statistics, for base, neck and tail alike."""
    opts = (*ARCHITECTURES[name], *split_options("res3", "MRFP"))
    results = []
    for stages in ((), STAGES):
        model = build(tiny_cfg(*opts, "MODEL.BACKBONE.CHECKPOINT_STAGES", stages)).train()
        torch.manual_seed(1)
        losses = model(scenes([[0, 1], [2]]))
        sum(losses.values()).backward()
        grads = {f"grad {k}": p.grad for k, p in model.named_parameters() if p.requires_grad}
        results.append(losses | grads | dict(model.named_buffers()))
    plain, checkpointed = results
    assert plain.keys() == checkpointed.keys()
    for key, value in plain.items():
        assert torch.equal(checkpointed[key], value), key
    found = [k for k, m in model.named_modules() if isinstance(m, CheckpointedSequential)]
    assert found == [
        *("backbone.res2", "backbone.res3", "roi_heads.reid.pooler.neck.res3"),
        *("roi_heads.reid.net.res4", "roi_heads.reid.net.res5"),
    ]


def test_only_the_named_stages_are_checkpointed(tiny_cfg):
    cfg = tiny_cfg("MODEL.BACKBONE.CHECKPOINT_STAGES", ("res4",), mrfp=True)
    found = [k for k, m in build(cfg).named_modules() if isinstance(m, CheckpointedSequential)]
    assert found == ["roi_heads.reid.net.res4"]
    with pytest.raises(ConfigError, match=r"CHECKPOINT_STAGES has \['layer4'\]; legal: res2, res3"):
        build(tiny_cfg("MODEL.BACKBONE.CHECKPOINT_STAGES", ("layer4",)))


# Memory format -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["R50-IBN-a", "V1", "V2", "ConvNeXt"])
def test_channels_last_gives_the_same_embeddings(tiny_cfg, name):
    embeds = []
    for last in (False, True):
        opts = (*ARCHITECTURES[name], *split_options("res3", "MRFP"))
        model = build(tiny_cfg(*opts, "MODEL.BACKBONE.CHANNELS_LAST", last)).eval()
        parts = (model.backbone, model.roi_heads.reid.net, model.roi_heads.reid.pooler.neck)
        for part in parts:
            # Others are of both formats at once.
            convs = [p for p in part.parameters() if p.dim() == 4 and min(p.shape[1:]) > 1]
            assert all(p.is_contiguous(memory_format=torch.channels_last) == last for p in convs)
        maps = model.backbone(torch.rand(2, 3, 96, 96, generator=torch.manual_seed(0)))
        boxes = [Boxes(torch.tensor([[8.0, 8, 40, 80]])), Boxes(torch.tensor([[0.0, 0, 96, 96]]))]
        embeds.append(model.roi_heads.reid.embed(maps, boxes))
    torch.testing.assert_close(*embeds, rtol=1e-3, atol=1e-4)
