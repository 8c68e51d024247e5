"""Weights of torchvision, IBN-Net and detectron2 in our models: equality with their networks."""

import logging
import pickle
from pathlib import Path

import pytest
import torch
import torchvision
from detectron2.modeling import build_model
from detectron2.modeling.backbone.resnet import BasicStem, ResNet
from torch import Tensor, nn

from person_search.engine import PersonSearchCheckpointer
from person_search.modeling.backbone.weights import fit_stage_weights, stage_name

FULL_WIDTH = {
    18: ("MODEL.RESNETS.STEM_OUT_CHANNELS", 64, "MODEL.RESNETS.RES2_OUT_CHANNELS", 64),
    50: ("MODEL.RESNETS.STEM_OUT_CHANNELS", 64, "MODEL.RESNETS.RES2_OUT_CHANNELS", 256),
}
PLAIN = ("MODEL.RESNETS.IBN", "")


class ReferenceIBN(nn.Module):
    """As in IBN-Net's own code, with its names."""

    def __init__(self, channels: int):
        super().__init__()
        self.half = channels // 2
        self.IN = nn.InstanceNorm2d(self.half, affine=True)
        self.BN = nn.BatchNorm2d(channels - self.half)

    def forward(self, x: Tensor) -> Tensor:
        split = torch.split(x, self.half, 1)
        return torch.cat((self.IN(split[0].contiguous()), self.BN(split[1].contiguous())), 1)


def reference(depth: int, ibn: bool = False) -> torchvision.models.ResNet:
    """torchvision's ResNet, or IBN-Net's ResNet-IBN-a, with statistics that are not trivial."""
    torch.manual_seed(1)
    model = {18: torchvision.models.resnet18, 50: torchvision.models.resnet50}[depth]()
    if ibn:
        for layer in (model.layer1, model.layer2, model.layer3):
            for block in layer:
                block.bn1 = ReferenceIBN(block.bn1.num_features)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d | nn.InstanceNorm2d):
            module.weight.data.uniform_(0.5, 1.5)
            module.bias.data.normal_(std=0.1)
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(std=0.1)
            module.running_var.uniform_(0.5, 1.5)
    return model.eval()


def built(cfg) -> nn.Module:
    torch.manual_seed(2)
    return build_model(cfg).eval()


def load(model: nn.Module, weights, path: Path) -> nn.Module:
    torch.save(weights, path)
    PersonSearchCheckpointer(model).load(str(path))
    return model


@torch.no_grad()
def assert_same_maps(model: nn.Module, network: torchvision.models.ResNet) -> None:
    """The stages of our model give what the stages of the reference give."""
    x = torch.randn(2, 3, 64, 64)
    stem = network.maxpool(network.relu(network.bn1(network.conv1(x))))
    layer1 = network.layer1(stem)
    layer2 = network.layer2(layer1)
    ours = model.backbone(x)
    net = model.roi_heads.reid.net
    layer3 = network.layer3(layer2)
    pairs = [
        (ours["res2"], layer1),
        (ours["res3"], layer2),
        (net.res4(layer2), layer3),
        (net(layer2), network.layer4(layer3)),
        (model.roi_heads.reid.pooler.neck(layer1), layer2),
    ]
    for mine, theirs in pairs:
        assert theirs.abs().mean() > 1e-3
        torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-5 * theirs.abs().max().item())


@pytest.mark.parametrize("depth", [18, 50])
@pytest.mark.parametrize("ibn", [False, True], ids=["torchvision", "ibn-net"])
def test_features_equal_those_of_the_public_networks(tiny_cfg, tmp_path, caplog, depth, ibn):
    network = reference(depth, ibn)
    cfg = tiny_cfg(
        *("MODEL.RESNETS.DEPTH", depth, "MODEL.RESNETS.IBN", "a" if ibn else ""),
        *(*FULL_WIDTH[depth], "MODEL.REID.LAST_STRIDE", 2),
        mrfp=True,
    )
    with caplog.at_level(logging.WARNING):
        model = load(built(cfg), network.state_dict(), tmp_path / "public.pth")
    assert_same_maps(model, network)
    assert "plain batch norm" not in caplog.text


def test_res5_of_stride_1_takes_the_weights_of_stride_2(tiny_cfg, tmp_path):
    network = reference(18)
    cfg = tiny_cfg(*FULL_WIDTH[18], *PLAIN, "MODEL.REID.LAST_STRIDE", 1)
    res5 = load(built(cfg), network.state_dict(), tmp_path / "public.pth").roi_heads.reid.net.res5
    assert torch.equal(res5[0].conv1.weight, network.layer4[0].conv1.weight)
    assert torch.equal(res5[0].shortcut.weight, network.layer4[0].downsample[0].weight)
    # It is the same network at twice the resolution.
    for module in network.layer4.modules():
        if isinstance(module, nn.Conv2d):
            module.stride = (1, 1)
    x = torch.randn(2, 256, 16, 8)
    with torch.no_grad():
        assert res5(x).shape == (2, 512, 16, 8)
        torch.testing.assert_close(res5(x), network.layer4(x))


def test_ibn_layers_are_filled_from_a_plain_resnet(tiny_cfg, tmp_path, caplog):
    network = reference(18)
    plain = network.state_dict()
    model = built(tiny_cfg(*FULL_WIDTH[18], mrfp=True))
    with caplog.at_level(logging.WARNING):
        load(model, plain, tmp_path / "plain.pth")
    norm = model.backbone.res3[1].conv1.norm
    assert torch.equal(norm.IN.weight, plain["layer2.1.bn1.weight"][:64])
    assert torch.equal(norm.IN.bias, plain["layer2.1.bn1.bias"][:64])
    for name in ("weight", "bias", "running_mean", "running_var"):
        assert torch.equal(getattr(norm.BN, name), plain[f"layer2.1.bn1.{name}"][64:])
    assert torch.equal(model.backbone.res3[1].conv1.weight, plain["layer2.1.conv1.weight"])
    # 4 in the base, 2 in res4 and 2 in the neck.
    assert "8 IBN layers were filled from plain batch norm" in caplog.text


@pytest.mark.parametrize("prefix", ["", "backbone.bottom_up."], ids=["backbone", "detector"])
def test_detectron2_pickle(tiny_cfg, tmp_path, prefix):
    """What detectron2's converter writes: its own names, numpy arrays, a wish to match by name."""
    torch.manual_seed(3)
    stages = ResNet.make_default_stages(18, norm="BN")
    theirs = ResNet(BasicStem(norm="BN"), stages, out_features=["res3", "res5"]).eval()
    content = {
        "model": {prefix + k: v.numpy() for k, v in theirs.state_dict().items()},
        "__author__": "torchvision",
        "matching_heuristics": True,
    }
    path = tmp_path / "R-18.pkl"
    path.write_bytes(pickle.dumps(content))
    model = built(tiny_cfg(*FULL_WIDTH[18], *PLAIN, "MODEL.REID.LAST_STRIDE", 2, mrfp=True))
    PersonSearchCheckpointer(model).load(str(path))
    with torch.no_grad():
        maps = theirs(torch.ones(1, 3, 64, 64))
        res3 = model.backbone(torch.ones(1, 3, 64, 64))["res3"]
        torch.testing.assert_close(res3, maps["res3"])
        torch.testing.assert_close(model.roi_heads.reid.net(res3), maps["res5"])


def test_the_neck_is_a_copy_of_res3_with_a_life_of_its_own(tiny_cfg, tmp_path):
    network = reference(18)
    model = built(tiny_cfg(*FULL_WIDTH[18], mrfp=True))
    load(model, network.state_dict(), tmp_path / "public.pth")
    res3 = dict(model.backbone.res3.named_parameters())
    neck = dict(model.roi_heads.reid.pooler.neck.res3.named_parameters())
    assert res3.keys() == neck.keys() and len(res3) > 0
    for name in res3:
        assert torch.equal(res3[name], neck[name])
        assert res3[name].data_ptr() != neck[name].data_ptr()
    before = {name: parameter.detach().clone() for name, parameter in res3.items()}
    optimizer = torch.optim.SGD(neck.values(), lr=0.1)
    sum(p.square().sum() for p in neck.values()).backward()
    optimizer.step()
    for name in before:
        assert torch.equal(res3[name], before[name])
        assert not torch.equal(neck[name], before[name])


@pytest.mark.parametrize(
    "key, name",
    [
        ("backbone.stem.conv1.norm.weight", "stem.conv1.norm.weight"),
        ("roi_heads.reid.net.res4.0.conv1.weight", "res4.0.conv1.weight"),
        ("roi_heads.reid.pooler.neck.res3.1.shortcut.weight", "res3.1.shortcut.weight"),
        ("roi_heads.box_head.fc1.weight", None),
        ("roi_heads.reid.head.bn.weight", None),
        ("proposal_generator.rpn_head.conv.weight", None),
    ],
)
def test_which_keys_belong_to_a_stage(key, name):
    assert stage_name(key) == name


@pytest.mark.parametrize("prefix", ["", "backbone.", "backbone.bottom_up.", "module.encoder."])
def test_the_neck_of_a_checkpoint_is_not_taken_for_the_backbone(prefix):
    """Whatever the order of the file, the base's res3 serves parts that the file lacks."""
    base, neck = torch.full((2,), 1.0), torch.full((2,), 2.0)
    name = "res3.0.conv1.weight"
    entries = [(prefix + name, base), (f"roi_heads.reid.pooler.neck.{name}", neck)]
    wanted = {f"reid.net.{name}": torch.zeros(2), entries[1][0]: torch.zeros(2)}
    for order in (entries, entries[::-1]):
        fit = fit_stage_weights(wanted, dict(order))
        assert torch.equal(fit.weights[f"reid.net.{name}"], base)
        assert torch.equal(fit.weights[entries[1][0]], neck)
