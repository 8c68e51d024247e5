"""ConvNeXt cut in two: torchvision's features, and what stride 1 does."""

import pytest
import torch
import torchvision
from torch import nn
from torchvision.models.convnext import CNBlockConfig
from torchvision.ops import StochasticDepth

from person_search.errors import ConfigError
from person_search.modeling.backbone.convnext import SplitConvNeXt
from person_search.modeling.backbone.split import STAGES
from person_search.modeling.backbone.weights import fit_stage_weights

DEPTHS = (1, 2, 3, 1)


@pytest.fixture(scope="module")
def network() -> torchvision.models.ConvNeXt:
    """torchvision's, narrow, with layer scales that let the blocks be felt."""
    torch.manual_seed(0)
    settings = [
        CNBlockConfig(16 * 2**k, 32 * 2**k if k < 3 else None, number)
        for k, number in enumerate(DEPTHS)
    ]
    model = torchvision.models.ConvNeXt(settings, stochastic_depth_prob=0.3, layer_scale=0.5)
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            nn.init.normal_(parameter, std=0.1)
    return model.eval()


def load(module: nn.Module, state: dict[str, torch.Tensor]) -> nn.Module:
    fit = fit_stage_weights(module.state_dict(), state)
    assert not (fit.missing or fit.misfit or fit.surplus)
    module.load_state_dict(fit.weights)
    return module.eval()


@torch.no_grad()
@pytest.mark.parametrize("split_at", ["res2", "res3", "res4"])
def test_features_are_those_of_torchvision(network, split_at):
    architecture = SplitConvNeXt(DEPTHS, res2_channels=16)
    taps = list(STAGES[: STAGES.index(split_at) + 1])
    base = load(architecture.make_base(split_at, taps, freeze_at=0), network.state_dict())
    tail = load(architecture.make_tail(split_at, last_stride=2), network.state_dict())
    x = torch.randn(2, 3, 96, 64)
    maps = base(x)
    theirs = dict(zip(STAGES, (network.features[: k + 1](x) for k in (1, 3, 5, 7)), strict=True))
    for stage in taps:
        assert maps[stage].shape[1] == architecture.channels(stage)
        torch.testing.assert_close(maps[stage], theirs[stage])
    torch.testing.assert_close(tail(maps[split_at]), theirs["res5"])


def test_the_default_is_convnext_tiny():
    with torch.device("meta"):
        theirs = torchvision.models.convnext_tiny(stochastic_depth_prob=0.1)
        ours = SplitConvNeXt().make_base("res5", ["res5"], freeze_at=0)
    sizes = [sorted(p.shape for p in m.parameters()) for m in (ours, theirs.features)]
    assert sizes[0] == sizes[1]
    rates = [
        [m.p for m in of.modules() if isinstance(m, StochasticDepth)] for of in (ours, theirs)
    ]
    assert len(rates[0]) == 18 and rates[0] == pytest.approx(rates[1])


@torch.no_grad()
def test_stride_1_gives_at_even_positions_what_stride_2_gives(network):
    architecture = SplitConvNeXt(DEPTHS, res2_channels=16)
    two = load(nn.ModuleDict({"res5": architecture.make_stage("res5")}), network.state_dict())
    one = load(
        nn.ModuleDict({"res5": architecture.make_stage("res5", stride=1)}), network.state_dict()
    )
    x = torch.randn(2, 64, 8, 4)
    assert one["res5"](x).shape == (2, 128, 8, 4)
    halved, kept = two["res5"][0](x), one["res5"][0](x)
    assert halved.shape == (2, 128, 4, 2)
    torch.testing.assert_close(kept[:, :, ::2, ::2], halved)


def test_a_deeper_convnext_is_told_from_this_one(network):
    shallower = SplitConvNeXt((1, 2, 2, 1), res2_channels=16)
    base = shallower.make_base("res4", ["res4"], freeze_at=0)
    fit = fit_stage_weights(base.state_dict(), network.state_dict())
    assert fit.surplus and all(key.startswith("features.5.2.") for key in fit.surplus)


@pytest.mark.parametrize("depths", [(3, 3, 9), (), (3, 3, 0, 3)])
def test_illegal_depths_are_refused(depths):
    with pytest.raises(ConfigError, match="MODEL.CONVNEXT.DEPTHS is .*; legal: four numbers"):
        SplitConvNeXt(depths)
