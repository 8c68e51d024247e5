"""Schedules in epochs: the recipe of STL, worked out by hand; and the shortest ones."""

import pytest
import torch
from detectron2.config import get_cfg

from person_search import add_person_search_config
from person_search.engine import resolve_epochs
from person_search.engine.schedule import build_lr_scheduler
from person_search.errors import ConfigError

PRW_TRAINING_IMAGES = 5704  # 356.5 batches of 16


@pytest.fixture
def stl():
    """Section 4.3: batches of 16, 20 epochs, x 0.1 after 12; our base config warms up for one."""
    cfg = get_cfg()
    add_person_search_config(cfg)
    cfg.SOLVER.IMS_PER_BATCH = 16
    cfg.SOLVER.EPOCHS, cfg.SOLVER.STEP_EPOCHS, cfg.SOLVER.WARMUP_EPOCHS = 20, (12,), 1
    cfg.TEST.EVAL_EPOCHS = 5
    return cfg


def test_the_recipe_of_stl_on_prw(stl):
    resolve_epochs(stl, PRW_TRAINING_IMAGES)
    assert stl.SOLVER.MAX_ITER == 7130  # 20 x 356.5
    assert stl.SOLVER.STEPS == (4278,)  # 12 x 356.5
    assert stl.SOLVER.WARMUP_ITERS == 356  # 356.5, rounded half to even
    assert stl.SOLVER.CHECKPOINT_PERIOD == 356
    assert stl.TEST.EVAL_PERIOD == 1782  # 1782.5


def test_each_result_is_rounded_and_not_the_epoch(stl):
    """Ten images in batches of four: an epoch has 2.5 iterations."""
    stl.SOLVER.IMS_PER_BATCH = 4
    stl.SOLVER.EPOCHS, stl.SOLVER.STEP_EPOCHS = 7, (3, 5)
    resolve_epochs(stl, 10)
    assert stl.SOLVER.MAX_ITER == 18  # 17.5
    assert stl.SOLVER.STEPS == (8, 12)  # 7.5, 12.5


def test_a_step_within_an_epoch(stl):
    stl.merge_from_list(["SOLVER.EPOCHS", 2, "SOLVER.STEP_EPOCHS", (0.5, 1.3)])
    resolve_epochs(stl, 160)
    assert (stl.SOLVER.MAX_ITER, stl.SOLVER.STEPS) == (20, (5, 13))


def test_an_evaluation_at_the_end_only(stl):
    stl.TEST.EVAL_EPOCHS = 0
    resolve_epochs(stl, PRW_TRAINING_IMAGES)
    assert stl.TEST.EVAL_PERIOD == 0


def test_keys_of_the_command_line_win(stl):
    stl.SOLVER.MAX_ITER, stl.TEST.EVAL_PERIOD = 6000, 77
    resolve_epochs(stl, PRW_TRAINING_IMAGES, keep=["SOLVER.MAX_ITER", "TEST.EVAL_PERIOD"])
    assert stl.SOLVER.MAX_ITER == 6000
    assert stl.TEST.EVAL_PERIOD == 77
    assert stl.SOLVER.STEPS == (4278,)
    assert stl.SOLVER.WARMUP_ITERS == 356


def test_a_run_cut_short_keeps_no_step_behind_its_end(stl):
    stl.SOLVER.MAX_ITER = 20
    resolve_epochs(stl, PRW_TRAINING_IMAGES, keep=["SOLVER.MAX_ITER"])
    assert stl.SOLVER.MAX_ITER == 20
    assert stl.SOLVER.STEPS == ()


@pytest.mark.parametrize("late", [20, 25, 0, -1])
def test_a_step_outside_of_the_run_is_an_error(stl, late):
    stl.SOLVER.STEP_EPOCHS = (12, late)
    with pytest.raises(ConfigError, match=rf"SOLVER.STEP_EPOCHS \[{late}\].*SOLVER.EPOCHS 20"):
        resolve_epochs(stl, PRW_TRAINING_IMAGES)


def test_less_than_one_iteration_is_an_error(stl):
    stl.SOLVER.EPOCHS, stl.SOLVER.STEP_EPOCHS = 1, ()
    with pytest.raises(ConfigError, match="1 epochs of 5 images.*SOLVER.IMS_PER_BATCH 16"):
        resolve_epochs(stl, 5)


def test_without_epochs_everything_stays(stl):
    stl.SOLVER.EPOCHS = 0
    before = stl.dump()
    resolve_epochs(stl, PRW_TRAINING_IMAGES)
    assert stl.dump() == before


@pytest.mark.parametrize("name", ["WarmupMultiStepLR", "WarmupCosineLR"])
@pytest.mark.parametrize("max_iter", [1, 2])
@pytest.mark.parametrize("steps", [(), (1,), (1, 30000), (30000,)])
@pytest.mark.parametrize("warmup", [0, 1, 1000])
def test_the_shortest_runs_have_a_schedule(stl, name, max_iter, steps, warmup):
    stl.SOLVER.LR_SCHEDULER_NAME, stl.SOLVER.MAX_ITER = name, max_iter
    stl.SOLVER.STEPS, stl.SOLVER.WARMUP_ITERS = steps, warmup
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    scheduler = build_lr_scheduler(stl, optimizer)
    for _ in range(max_iter):
        assert 0 < optimizer.param_groups[0]["lr"] <= 0.1
        optimizer.step()
        scheduler.step()


@pytest.mark.parametrize("steps", [(7, 3), (3, 3), (0, 3)])
def test_steps_that_do_not_ascend_are_refused(stl, steps):
    stl.SOLVER.MAX_ITER, stl.SOLVER.STEPS = 10, steps
    with pytest.raises(ConfigError, match="steps ascend"):
        build_lr_scheduler(stl, torch.optim.SGD([torch.zeros(1)], lr=0.1))
