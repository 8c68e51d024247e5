"""Gradients of parts add up to those of the whole batch."""

import copy

import pytest
import torch
from detectron2.modeling import build_model
from detectron2.utils.events import EventStorage
from torch import nn

from person_search.engine import AccumulatingTrainer
from person_search.errors import ConfigError

CROPS = (
    *("MODEL.META_ARCHITECTURE", "ReIDBaseline", "MODEL.REID.POOLER", "WholeImage"),
    *("MODEL.RESNETS.NORM", "FrozenBN", "MODEL.RESNETS.IBN", "", "MODEL.REID.NUM_IDS", 4),
)


def crops(number: int, steps: int) -> list[list[dict]]:
    generator = torch.Generator().manual_seed(0)
    return [
        [
            {
                "image": torch.randint(256, (3, 32, 16), generator=generator).float(),
                "person_id": i % 4,
            }
            for i in range(number)
        ]
        for _ in range(steps)
    ]


def train(
    model: nn.Module,
    batches: list,
    parts: int,
    lr: float = 0.1,
    autocast: torch.dtype | None = None,
) -> tuple[AccumulatingTrainer, EventStorage]:
    learner = torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9)
    trainer = AccumulatingTrainer(model, batches, learner, parts, autocast)
    with EventStorage() as storage:
        for trainer.iter in range(len(batches)):
            trainer.run_step()
    return trainer, storage


@pytest.mark.parametrize("parts", [2, 3, 8])
def test_gradients_and_losses_equal_those_of_the_whole_batch(tiny_cfg, parts):
    """Also of parts of unequal size. Batch norm, which sees parts, is not in play here."""
    torch.manual_seed(0)
    model = build_model(tiny_cfg(*CROPS))
    model.reid.head.bn = nn.Identity()
    expected = copy.deepcopy(model)
    batches = crops(8, 1)
    _, whole = train(expected, batches, 1, lr=0.0)
    _, in_parts = train(model, batches, parts, lr=0.0)
    for (name, value), (_, wanted) in zip(
        model.named_parameters(), expected.named_parameters(), strict=True
    ):
        if wanted.grad is not None:
            largest = wanted.grad.abs().max().item()
            assert largest > 0, name
            torch.testing.assert_close(value.grad, wanted.grad, rtol=1e-3, atol=1e-4 * largest)
    losses = [s.history("total_loss").latest() for s in (whole, in_parts)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4) and losses[0] > 0


def test_mixed_precision_keeps_weights_and_direction(tiny_cfg):
    """Weights and gradients stay float32, and these point where those of float32 point."""
    torch.manual_seed(0)
    model = build_model(tiny_cfg(*CROPS))
    expected, computed_in = copy.deepcopy(model), set()
    model.backbone.register_forward_hook(
        lambda *call: computed_in.update(x.dtype for x in call[2].values())
    )
    train(expected, crops(8, 1), 1, lr=0.0)
    _, storage = train(model, crops(8, 1), 1, lr=0.0, autocast=torch.bfloat16)
    assert computed_in == {torch.bfloat16}
    assert storage.history("total_loss").latest() > 0
    pairs = [
        (value.grad.flatten(), wanted.grad.flatten())
        for value, wanted in zip(model.parameters(), expected.parameters(), strict=True)
        if wanted.grad is not None
    ]
    assert {value.dtype for value, _ in pairs} == {torch.float32}
    got, wanted = map(torch.cat, zip(*pairs, strict=True))
    assert torch.cosine_similarity(got, wanted, dim=0) > 0.95


def test_a_part_is_all_that_the_model_holds_at_once():
    seen = []

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(1))

        def forward(self, batch):
            seen.append(len(batch))
            return {"loss": self.weight.sum() * sum(batch) / len(batch)}

    trainer, storage = train(Model(), [[1.0, 2.0, 3.0, 4.0, 5.0]], 2)
    assert seen == [2, 3]
    # d loss / d weight is the mean, 3; the learning rate is 0.1.
    assert trainer.model.weight.item() == pytest.approx(-0.3)


def test_more_parts_than_images_are_refused():
    with pytest.raises(ConfigError, match="SOLVER.ACCUMULATE is 3, but a process has 2 image"):
        train(nn.Linear(1, 1), [[{}, {}]], 3)


def test_state_comes_back(tiny_cfg):
    trainer, _ = train(build_model(tiny_cfg(*CROPS)), crops(4, 1), 2)
    again, _ = train(build_model(tiny_cfg(*CROPS)), crops(4, 1), 2)
    again.load_state_dict(trainer.state_dict())
    momenta = [t.optimizer.state_dict()["state"] for t in (trainer, again)]
    for key, state in momenta[0].items():
        assert torch.equal(state["momentum_buffer"], momenta[1][key]["momentum_buffer"])
