import pytest
import torch
from detectron2.config import get_cfg

from person_search.engine.lr_scheduler import LinearCosineParamScheduler, build_lr_scheduler


@pytest.mark.parametrize(
    "where, factor",
    # (1 - t) * (1 + cos(pi t)) / 2 + .001, by hand
    [(0, 1.001), (1 / 3, 0.5 + 0.001), (0.5, 0.251), (2 / 3, 1 / 12 + 0.001), (1, 0.001)],
)
def test_linear_cosine_decay_as_tensorflow_defines_it(where, factor):
    assert LinearCosineParamScheduler()(where) == pytest.approx(factor)


def test_a_whole_period_returns():
    # alpha lifts the line, beta the whole: t = 1: (.2 + 0) * 1 + .1
    assert LinearCosineParamScheduler(1.0, 0.2, 0.1)(1.0) == pytest.approx(0.3)


def rates(name: str, **solver) -> list[float]:
    cfg = get_cfg()
    cfg.SOLVER.LR_SCHEDULER_NAME = name
    for key, value in solver.items():
        cfg.SOLVER[key] = value
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=2.0)
    scheduler = build_lr_scheduler(cfg, optimizer)
    found = []
    for _ in range(cfg.SOLVER.MAX_ITER):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return found


def test_it_is_warmed_up():
    found = rates("WarmupLinearCosineLR", MAX_ITER=100, WARMUP_ITERS=10, WARMUP_FACTOR=0.1)
    assert found[0] == pytest.approx(2 * 0.1 * 1.001)
    assert found[50] == pytest.approx(2 * 0.251)
    assert found.index(max(found)) == 10
    assert all(a > b for a, b in zip(found[10:], found[11:], strict=False))


def test_detectron2s_schedules_stay_its_own():
    found = rates("WarmupMultiStepLR", MAX_ITER=4, STEPS=(2,), WARMUP_ITERS=0)
    assert found == pytest.approx([2, 2, 0.2, 0.2])
