"""Optimizers by name, and what each parameter gets."""

import pytest
import torch
from torch import nn

from person_search.engine import build_optimizer
from person_search.errors import ConfigError


@pytest.fixture
def model() -> nn.Module:
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Linear(4, 2))
    model[1].bias.requires_grad_(False)
    return model


def settings_of(optimizer, model: nn.Module) -> dict[str, tuple[float, float]]:
    """(learning rate, weight decay) of each parameter."""
    names = {id(p): name for name, p in model.named_parameters()}
    return {
        names[id(p)]: (group["lr"], group["weight_decay"])
        for group in optimizer.param_groups
        for p in group["params"]
    }


COMMON = ("SOLVER.BASE_LR", 3e-4, "SOLVER.WEIGHT_DECAY", 5e-4)


@pytest.mark.parametrize(
    "name, kind",
    [("Adam", torch.optim.Adam), ("AdamW", torch.optim.AdamW), ("SGD", torch.optim.SGD)],
)
def test_every_trained_parameter_has_rate_and_decay(tiny_cfg, model, name, kind):
    cfg = tiny_cfg(
        *(*COMMON, "SOLVER.OPTIMIZER", name, "SOLVER.WEIGHT_DECAY_NORM", 1e-5),
        *("SOLVER.BIAS_LR_FACTOR", 2.0, "SOLVER.WEIGHT_DECAY_BIAS", 1e-6),
        *("SOLVER.CLIP_GRADIENTS.ENABLED", False),
    )
    optimizer = build_optimizer(cfg, model)
    assert type(optimizer) is kind
    assert settings_of(optimizer, model) == {
        "0.weight": (3e-4, 5e-4),
        "0.bias": (6e-4, 1e-6),
        "1.weight": (3e-4, 1e-5),
        "2.weight": (3e-4, 5e-4),
        "2.bias": (6e-4, 1e-6),
    }


def test_adam_steps_as_torch_s_adam(tiny_cfg, model):
    """One step: each weight moves by the learning rate, against its gradient with decay."""
    cfg = tiny_cfg(*COMMON, "SOLVER.OPTIMIZER", "Adam", "SOLVER.CLIP_GRADIENTS.ENABLED", False)
    before = model[2].weight.detach().clone()
    optimizer = build_optimizer(cfg, model)
    for p in model.parameters():
        p.grad = torch.ones_like(p)
    optimizer.step()
    torch.testing.assert_close(model[2].weight.detach(), before - 3e-4, rtol=0, atol=1e-7)


def test_adam_clips_where_it_is_told_to(tiny_cfg, model):
    opts = ("SOLVER.CLIP_GRADIENTS.ENABLED", True, "SOLVER.CLIP_GRADIENTS.CLIP_VALUE", 0.5)
    kind = ("SOLVER.CLIP_GRADIENTS.CLIP_TYPE", "norm")
    optimizer = build_optimizer(tiny_cfg("SOLVER.OPTIMIZER", "Adam", *opts, *kind), model)
    assert isinstance(optimizer, torch.optim.Adam)
    model[2].weight.grad = torch.full((2, 4), 7.0)
    optimizer.step()
    assert model[2].weight.grad.norm().item() == pytest.approx(0.5, rel=1e-3)


def test_an_unknown_name_is_an_error(tiny_cfg, model):
    with pytest.raises(ConfigError, match="SOLVER.OPTIMIZER is 'adam'; legal: SGD, Adam, AdamW"):
        build_optimizer(tiny_cfg("SOLVER.OPTIMIZER", "adam"), model)
