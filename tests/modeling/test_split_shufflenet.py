"""ShuffleNet V1 and V2: sizes of the papers, the shuffle, and equality with plain references."""

import pytest
import torch
import torch.nn.functional as F
import torchvision
from detectron2.layers import FrozenBatchNorm2d
from detectron2.modeling import build_model
from torch import Tensor, nn

from person_search.engine import PersonSearchCheckpointer
from person_search.errors import ConfigError
from person_search.modeling.backbone.shufflenet import (
    ShuffleUnit,
    SplitShuffleNet,
    SplitShuffleNetV1,
    SplitShuffleNetV2,
)
from person_search.modeling.backbone.split import STAGES
from person_search.modeling.backbone.weights import fit_stage_weights

VERSIONS = [SplitShuffleNetV1, SplitShuffleNetV2]


def whole(architecture: SplitShuffleNet) -> nn.Module:
    return architecture.make_base("res5", list(STAGES), freeze_at=0)


def number_of_parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def number_of_macs(module: nn.Module, x: Tensor) -> int:
    """Multiplications of the convs."""
    total = 0

    def count(conv: nn.Conv2d, _, y: Tensor) -> None:
        nonlocal total
        total += y[0].numel() * conv.weight[0].numel()

    for conv in module.modules():
        if isinstance(conv, nn.Conv2d):
            conv.register_forward_hook(count)
    module(x)
    return total


def randomized(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """A state dict with statistics of batch norm that are not those of a new model."""
    generator = torch.Generator().manual_seed(0)

    def draw(name: str, tensor: Tensor) -> Tensor:
        if not tensor.is_floating_point():
            return tensor
        if tensor.dim() > 1:
            return torch.randn(tensor.shape, generator=generator) / tensor[0].numel() ** 0.5
        mean = 0.0 if name.endswith(("bias", "mean")) else 1.0
        return mean + 0.2 * torch.randn(tensor.shape, generator=generator).clamp(-3, 3)

    return {name: draw(name, tensor) for name, tensor in state.items()}


# Sizes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "architecture, maps",
    [
        (SplitShuffleNetV1(), [(24, 56), (240, 28), (480, 14), (960, 7)]),
        (SplitShuffleNetV2(), [(24, 56), (116, 28), (232, 14), (1024, 7)]),
    ],
    ids=["v1", "v2"],
)
def test_maps_have_the_sizes_of_the_papers(architecture, maps):
    with torch.device("meta"):
        base = whole(architecture)
        found = base(torch.zeros(1, 3, 224, 224))
    assert [(m.shape[1], m.shape[2]) for m in found.values()] == maps
    assert [architecture.channels(stage) for stage in STAGES] == [c for c, _ in maps]
    shapes = base.output_shape()
    assert [(shapes[s].channels, 224 // shapes[s].stride) for s in STAGES] == maps


# Table 2 of Zhang et al. for 3 groups, and its table 5; with the classifier of 1000 classes.
@pytest.mark.parametrize("width, millions", [(0.5, 38), (1.0, 137), (1.5, 292), (2.0, 524)])
def test_v1_costs_what_the_paper_says(width, millions):
    architecture = SplitShuffleNetV1(width)
    with torch.device("meta"):
        macs = number_of_macs(whole(architecture), torch.zeros(1, 3, 224, 224))
    classifier = 1000 * architecture.channels("res5")
    assert round((macs + classifier) / 1e6) == millions


def test_v1_has_its_parameters_by_hand():
    def unit(c_in: int, c_out: int, groups: int) -> int:
        middle, last = c_out // 4, c_out - (c_in if c_in != c_out else 0)
        convs = c_in * middle // groups + 9 * middle + middle * last // 3
        return convs + 2 * (2 * middle + last)

    stages = {
        "stem": 24 * 27 + 2 * 24,
        "res2": 0,
        "res3": unit(24, 240, 1) + 3 * unit(240, 240, 3),
        "res4": unit(240, 480, 3) + 7 * unit(480, 480, 3),
        "res5": unit(480, 960, 3) + 3 * unit(960, 960, 3),
    }
    with torch.device("meta"):
        base = whole(SplitShuffleNetV1())
    assert {name: number_of_parameters(part) for name, part in base.named_children()} == stages
    # 1.87 million with the classifier of ImageNet.
    assert sum(stages.values()) == 904_728 == 1_865_728 - 961 * 1000


@pytest.mark.parametrize("width", SplitShuffleNetV2.WIDTHS)
def test_v2_has_the_parameters_of_torchvision(width):
    name = f"shufflenet_v2_x{str(width).replace('.', '_')}"
    with torch.device("meta"):
        theirs = getattr(torchvision.models, name)()
        ours = whole(SplitShuffleNetV2(width))
    classifier = number_of_parameters(theirs.fc)
    assert number_of_parameters(ours) == number_of_parameters(theirs) - classifier


# V1's unit -----------------------------------------------------------------------------------


def test_the_shuffle_by_hand():
    """Six channels in three groups: each group then holds one channel of every former group."""
    unit = ShuffleUnit(24, 24, 1, groups=3, first_groups=3, norm="BN")
    unit.conv1 = unit.conv3 = nn.Identity()
    seen = []
    unit.conv2 = nn.Identity()
    unit.conv2.register_forward_hook(lambda _, x, y: seen.append(y))
    unit(torch.arange(6.0).view(1, 6, 1, 1))
    assert seen[0].flatten().tolist() == [0, 2, 4, 1, 3, 5]


def test_every_output_of_a_v1_unit_sees_every_group():
    """Which is what the shuffle is for: without it a third of the input would reach an output."""
    torch.manual_seed(0)
    unit = ShuffleUnit(48, 48, 1, groups=3, first_groups=3, norm="BN").eval()
    for parameter in unit.parameters():
        parameter.data.abs_()  # so that no ReLU blocks the way
    x = torch.rand(1, 48, 3, 3, requires_grad=True)
    reached = []
    for output in (0, 20, 47):
        (grad,) = torch.autograd.grad(unit(x)[0, output, 1, 1], x)
        reached.append([bool(grad[0, g : g + 16].abs().sum() > 0) for g in (0, 16, 32)])
    assert reached == [[True] * 3] * 3


def test_groups_of_v1():
    with torch.device("meta"):
        base = whole(SplitShuffleNetV1())
    firsts = {s: [u.conv1.groups for u in getattr(base, s)] for s in ("res3", "res4", "res5")}
    assert firsts == {"res3": [1, 3, 3, 3], "res4": [3] * 8, "res5": [3] * 4}
    units = [unit for s in firsts for unit in getattr(base, s)]
    assert {u.conv3.groups for u in units} == {3}
    assert all(u.conv2.groups == u.conv2.in_channels == u.conv1.out_channels for u in units)
    assert [u.conv1.out_channels for u in base.res3] == [60] * 4  # a quarter of the output


# Stride, norm, freezing ----------------------------------------------------------------------


@pytest.mark.parametrize("version", VERSIONS)
def test_stride_1_keeps_the_size_and_the_parameters(version):
    architecture = version(0.5)
    two, one = architecture.make_stage("res5"), architecture.make_stage("res5", stride=1)
    two.load_state_dict(one.state_dict())
    x = torch.randn(2, architecture.channels("res4"), 8, 4)
    channels = architecture.channels("res5")
    assert two.eval()(x).shape == (2, channels, 4, 2)
    assert one.eval()(x).shape == (2, channels, 8, 4)
    # The first unit looks at every position, and gives the same at the even ones.
    torch.testing.assert_close(one[0](x)[:, :, ::2, ::2], two[0](x))


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("split_at", STAGES)
def test_base_and_tail_make_the_whole_network(version, split_at):
    architecture = version(0.5)
    network = whole(architecture).eval()
    base = architecture.make_base(split_at, [split_at], freeze_at=0).eval()
    tail = architecture.make_tail(split_at, last_stride=2).eval()
    for part in (base, tail):
        state = network.state_dict()
        part.load_state_dict({k: state[k] for k in part.state_dict()})
    crop = torch.randn(2, 3, 128, 64)
    with torch.no_grad():
        torch.testing.assert_close(tail(base(crop)[split_at]), network(crop)["res5"])


@pytest.mark.parametrize("version", VERSIONS)
def test_norms_and_freezing(version):
    frozen = version(0.5).make_base("res4", ["res4"], freeze_at=3)
    for name, parameter in frozen.named_parameters():
        assert parameter.requires_grad == name.startswith("res4"), name
    for part, kind in (("stem", FrozenBatchNorm2d), ("res3", FrozenBatchNorm2d)):
        modules = list(getattr(frozen, part).modules())
        assert any(isinstance(m, kind) for m in modules)
        assert not any(isinstance(m, nn.BatchNorm2d) for m in modules)
    modules = list(whole(version(0.5, "FrozenBN")).modules())
    number = sum(isinstance(m, nn.Conv2d) for m in modules)
    assert sum(isinstance(m, FrozenBatchNorm2d) for m in modules) == number  # one behind each conv


@pytest.mark.parametrize("version", VERSIONS)
def test_illegal_values_are_refused(version):
    with pytest.raises(ConfigError, match=r"MODEL.SHUFFLENET.WIDTH is 3; legal: \[0.5, 1.0"):
        version(3)
    with pytest.raises(ConfigError, match="MODEL.RESNETS.NORM is 'GN'; legal .* BN, FrozenBN"):
        version(1.0, "GN")


# Public weights ------------------------------------------------------------------------------


def load(module: nn.Module, state: dict[str, Tensor]) -> nn.Module:
    """Load a public file's state into parts of ours; nothing may be left over or lacking."""
    fit = fit_stage_weights(module.state_dict(), state)
    assert not (fit.missing or fit.misfit or fit.surplus)
    module.load_state_dict(fit.weights, strict=False)
    return module.eval()


def parts(architecture: SplitShuffleNet, state: dict[str, Tensor]) -> list[nn.Module]:
    base = architecture.make_base("res3", ["res2", "res3"], freeze_at=0)
    neck = nn.ModuleDict({"res3": architecture.make_stage("res3")})
    tail = architecture.make_tail("res3", last_stride=2)
    return [load(part, state) for part in (base, neck, tail)]


@torch.no_grad()
def test_v2_gives_the_features_of_torchvision():
    network = torchvision.models.shufflenet_v2_x1_0()
    network.load_state_dict(randomized(network.state_dict()))
    network.eval()
    base, neck, tail = parts(SplitShuffleNetV2(), network.state_dict())
    x = torch.randn(2, 3, 96, 64)
    stem = network.maxpool(network.conv1(x))
    stage2 = network.stage2(stem)
    stage3 = network.stage3(stage2)
    conv5 = network.conv5(network.stage4(stage3))
    maps = base(x)
    pairs = [
        (maps["res2"], stem),
        (maps["res3"], stage2),
        (neck["res3"](stem), stage2),
        (tail.res4(stage2), stage3),
        (tail(stage2), conv5),
    ]
    for ours, theirs in pairs:
        assert theirs.abs().mean() > 1e-3
        assert torch.equal(ours, theirs)


def v1_state() -> dict[str, Tensor]:
    """A random state dict of V1, 1.0 x, 3 groups, with the names of deep-person-reid."""
    shapes = {}

    def layer(conv: str, norm: str, *shape: int) -> None:
        shapes[f"{conv}.weight"] = shape
        for name in ("weight", "bias", "running_mean", "running_var"):
            shapes[f"{norm}.{name}"] = shape[:1]

    layer("conv1.0", "conv1.1", 24, 3, 3, 3)
    c_in = 24
    for stage, c_out, number in (("stage2", 240, 4), ("stage3", 480, 8), ("stage4", 960, 4)):
        middle = c_out // 4
        for k in range(number):
            unit = f"{stage}.{k}"
            first_groups = 1 if c_in == 24 else 3
            c_new = c_out - c_in if k == 0 else c_out
            layer(f"{unit}.conv1", f"{unit}.bn1", middle, c_in // first_groups, 1, 1)
            layer(f"{unit}.conv2", f"{unit}.bn2", middle, 1, 3, 3)
            layer(f"{unit}.conv3", f"{unit}.bn3", c_new, middle // 3, 1, 1)
            c_in = c_out
    shapes |= {"classifier.weight": (7, 960), "classifier.bias": (7,)}
    return randomized({name: torch.zeros(shape) for name, shape in shapes.items()})


def v1_stage(state: dict[str, Tensor], stage: str, x: Tensor) -> Tensor:
    """A stage of V1 written out, on that state dict."""

    def layer(name: str, number: int, x: Tensor, **kwargs) -> Tensor:
        norm = f"{name}.bn{number}"
        x = F.conv2d(x, state[f"{name}.conv{number}.weight"], **kwargs)
        statistics = state[f"{norm}.running_mean"], state[f"{norm}.running_var"]
        return F.batch_norm(x, *statistics, state[f"{norm}.weight"], state[f"{norm}.bias"])

    for k in range(8 if stage == "stage3" else 4):
        unit = f"{stage}.{k}"
        stride = 2 if k == 0 else 1
        y = layer(unit, 1, x, groups=1 if unit == "stage2.0" else 3).relu()
        n, c, h, w = y.shape
        y = y.reshape(n, 3, c // 3, h, w).transpose(1, 2).reshape(n, c, h, w)
        y = layer(unit, 3, layer(unit, 2, y, groups=c, stride=stride, padding=1), groups=3)
        x = torch.cat([F.avg_pool2d(x, 3, 2, 1), y], 1).relu() if k == 0 else (x + y).relu()
    return x


@torch.no_grad()
def test_v1_gives_the_features_of_a_plain_reference():
    state = v1_state()
    base, neck, tail = parts(SplitShuffleNetV1(), state)
    x = torch.randn(2, 3, 96, 64)
    stem = F.conv2d(x, state["conv1.0.weight"], stride=2, padding=1)
    norm = [state[f"conv1.1.{name}"] for name in ("running_mean", "running_var", "weight", "bias")]
    stem = F.max_pool2d(F.batch_norm(stem, *norm).relu(), 3, 2, 1)
    stage2 = v1_stage(state, "stage2", stem)
    stage3 = v1_stage(state, "stage3", stage2)
    maps = base(x)
    pairs = [
        (maps["res2"], stem),
        (maps["res3"], stage2),
        (neck["res3"](stem), stage2),
        (tail.res4(stage2), stage3),
        (tail(stage2), v1_stage(state, "stage4", stage3)),
    ]
    for ours, theirs in pairs:
        assert theirs.abs().mean() > 1e-3
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5 * theirs.abs().max().item())


@pytest.mark.parametrize("version", ["V1", "V2"])
def test_public_files_as_weights_of_a_model(tiny_cfg, tmp_path, caplog, version):
    state = v1_state() if version == "V1" else torchvision.models.shufflenet_v2_x1_0().state_dict()
    torch.save(state, tmp_path / "public.pth")
    opts = ("MODEL.BACKBONE.ARCHITECTURE", f"SplitShuffleNet{version}")
    model = build_model(tiny_cfg(*opts, mrfp=True))
    with caplog.at_level("INFO"):
        PersonSearchCheckpointer(model).load(str(tmp_path / "public.pth"))
    reid = model.roi_heads.reid
    conv = "conv1.weight" if version == "V1" else "branch2.0.weight"
    for stage, ours in (("stage2", model.backbone.res3), ("stage2", reid.pooler.neck.res3)):
        assert torch.equal(ours[0].get_parameter(conv), state[f"{stage}.0.{conv}"])
    assert torch.equal(reid.net.res5[3].get_parameter(conv), state[f"stage4.3.{conv}"])
    assert "weights: roi_heads.reid.pooler.neck.res3 <- backbone.res3" in caplog.text
    if version == "V2":
        assert torch.equal(reid.net.res5[4][0].weight, state["conv5.0.weight"])
