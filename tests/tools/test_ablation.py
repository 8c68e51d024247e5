"""tools/ablation.py: what it runs, that nothing is run twice, and the table it writes."""

import json
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from person_search import read_config
from person_search.errors import ConfigError

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))

import ablation  # noqa: E402  (found through the line above)
from ablations.tables import TABLES, load_table  # noqa: E402


class Trainings:
    """Stands for train_net.py: notes each command and writes metrics that depend on the seed."""

    def __init__(self):
        self.commands: list[list[str]] = []
        self.fails = 0

    def __call__(self, command, **kwargs):
        if command[0] == "git":
            said = "abc1234\n" if "rev-parse" in command else ""
            return subprocess.CompletedProcess(command, 0, stdout=said)
        self.commands.append(command)
        if "SEED" not in command:  # tools/select_weights.py
            return subprocess.CompletedProcess(command, 0)
        if self.fails:
            self.fails -= 1
            kwargs["stdout"].write("no frame file found\n")
            return subprocess.CompletedProcess(command, 1)
        seed = float(command[command.index("SEED") + 1])
        folder = Path(command[command.index("OUTPUT_DIR") + 1])
        metrics = {"search/mAP": 40 + seed, "search/top1": 60 + 2 * seed, "reid/mAP": 1.0}
        (folder / "metrics.json").write_text(json.dumps(metrics) + "\n")
        return subprocess.CompletedProcess(command, 0)

    def of(self, word: str) -> list[list[str]]:
        return [c for c in self.commands if c[3] == f"configs/{word}.yaml"]


@pytest.fixture
def trainings(monkeypatch) -> Trainings:
    trainings = Trainings()
    monkeypatch.setattr(ablation.subprocess, "run", trainings)
    return trainings


def run(tmp_path: Path, *words: str, table: str = "stl-2") -> tuple[int, str]:
    args = ablation.parse([table, "--output", str(tmp_path), *words])
    failed = ablation.run_table(load_table(table), args)
    return failed, (tmp_path / "Street" / f"{table}.md").read_text()


@pytest.mark.parametrize(
    "name, data",
    [
        (name, data)
        for name in TABLES
        for data in ("Street", "PRW", "PRW-Small", "CUHK-SYSU")
        if not (name.startswith("hybrid") and data == "PRW-Small")  # a GPU's work
    ],
)
def test_every_table_names_configs_that_exist(name, data):
    table = load_table(name)
    assert all((ROOT / "configs" / f"{c}.yaml").is_file() for c in table.configs(data))
    assert {row.start for row in table.rows} <= {"", ablation.IMAGENET, *table.starts}
    assert len({row.name for row in table.rows}) == len(table.rows)


@pytest.mark.parametrize("data", ["Street", "PRW"])
@pytest.mark.parametrize("name", TABLES)
def test_every_row_can_begin(name, data):
    """Its keys fit the config, which no run should find out after hours; random weights learn."""
    table = load_table(name)
    for row in (*table.rows, *table.starts.values()):
        config = ROOT / "configs" / f"{row.config.format(data=data)}.yaml"
        cfg = read_config(config, row.opts)
        weights = row.start or (cfg.MODEL.WEIGHTS if row.is_pretraining else "")
        assert weights or cfg.MODEL.BACKBONE.FREEZE_AT == 0, row.name


def test_a_table_of_two_seeds(trainings, tmp_path):
    failed, text = run(tmp_path, "--seeds", "2")
    assert failed == 0
    # Mean and standard deviation of 41 and 42, and of 62 and 64.
    row = next(line for line in text.splitlines() if line.startswith("| STL + MRFP "))
    assert row == "| STL + MRFP | 41.5 ± 0.7 | 63.0 ± 1.4 |  |  | 2 | 61.6 / 90.5 |"
    assert "| ImageNet |  |  |  |  | needs --imagenet FILE | 50.6 / 86.6 |" in text
    assert "python tools/ablation.py stl-2" in text and "commit abc1234." in text


def test_pre_training_is_done_once_per_seed_and_handed_on(trainings, tmp_path):
    run(tmp_path, "--seeds", "2", "SOLVER.EPOCHS", "5", "--pretraining", "SOLVER.EPOCHS", "9")
    assert len(trainings.of("ReID-Pretrain/Street")) == 2
    for command in trainings.of("Street/stl_mrfp"):
        weights = Path(command[command.index("MODEL.WEIGHTS") + 1])
        seed = command[command.index("SEED") + 1]
        assert weights.parts[-2:] == (f"seed_{seed}", "model_final.pth")
        assert weights.parent.parent.parent.name == "ReID-Pretrain"
        assert command[command.index("SOLVER.EPOCHS") + 1] == "5"
    for command in trainings.of("ReID-Pretrain/Street"):
        assert command[command.index("SOLVER.EPOCHS") + 1] == "9"


def test_a_pre_training_starts_from_its_configs_weights_or_from_imagenet(trainings, tmp_path):
    run(tmp_path / "a", "--seeds", "1")
    run(tmp_path / "b", "--seeds", "1", "--imagenet", "r50.pth")
    without, with_file = trainings.of("ReID-Pretrain/Street")
    assert "MODEL.WEIGHTS" not in without
    assert with_file[with_file.index("MODEL.WEIGHTS") + 1] == "r50.pth"
    weights = [c[c.index("MODEL.WEIGHTS") + 1] for c in trainings.of("Street/baseline")]
    assert weights == ["", "", "r50.pth"]


def test_the_same_command_again_runs_nothing_and_another_table_shares(trainings, tmp_path):
    run(tmp_path, "--seeds", "1")
    number = len(trainings.commands)
    run(tmp_path, "--seeds", "1")
    assert len(trainings.commands) == number
    run(tmp_path, "--seeds", "1", table="poster")
    new = {c[3] for c in trainings.commands[number:]}
    assert "configs/SelfSupervised-Pretrain/Street.yaml" in new
    assert "configs/Street/stl_mrfp.yaml" not in new


def test_other_settings_are_refused_before_anything_is_lost(trainings, tmp_path):
    run(tmp_path, "--seeds", "1")
    number = len(trainings.commands)
    table = (tmp_path / "Street" / "stl-2.md").read_text()
    with pytest.raises(ConfigError, match="another --output"):
        run(tmp_path, "--seeds", "1", "SOLVER.EPOCHS", "5")
    assert len(trainings.commands) == number
    assert (tmp_path / "Street" / "stl-2.md").read_text() == table


def test_a_failed_run_costs_its_row_alone_and_is_repeated(trainings, tmp_path, capsys):
    trainings.fails = 1
    failed, text = run(tmp_path, "--seeds", "1")
    assert failed == 1
    assert "no frame file found" in capsys.readouterr().err
    assert "| random |  |  |  |  | not yet run |" in text and "| STL | 41.0 |" in text
    failed, text = run(tmp_path, "--seeds", "1")
    assert failed == 0 and "| random | 41.0 |" in text


def test_what_starts_from_a_failed_run_is_left_out(trainings, tmp_path):
    trainings.fails = 1
    failed, text = run(tmp_path, "--seeds", "1", table="hybrid-4")
    assert failed == 1 and len(trainings.of("Hybrid-Pretrain/Street")) == 2
    assert "| random_paste |  |  |  |  | not yet run |" in text
    assert "| expand_resize | 41.0 |" in text


def test_a_row_that_can_begin_does_not_wait_for_a_pre_training(trainings, tmp_path):
    """Three of six rows need the pre-training, which here ends once the other three have begun."""
    begun, in_time, may_end = [], [], threading.Event()

    def slow(command, **kwargs):
        if command[0] != "git":
            begun.append(command[3])
            if command[3].startswith("configs/Hybrid"):
                in_time.append(may_end.wait(20))
            elif begun.count("configs/Street/nae.yaml") == 3:
                may_end.set()
        return trainings(command, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ablation.subprocess, "run", slow)
        failed, _ = run(tmp_path, "--seeds", "1", "--jobs", "2", table="hybrid-fractions")
    assert failed == 0 and len(begun) == 7
    assert in_time == [True]


def test_jobs_have_gpus_of_their_own(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5,7")
    key = "CUDA_VISIBLE_DEVICES"
    assert [ablation.gpus_of_slot(k, 1)[key] for k in range(4)] == ["4", "5", "7", "4"]
    assert [ablation.gpus_of_slot(k, 2)[key] for k in range(2)] == ["4,5", "7,4"]
    assert ablation.gpus_of_slot(0, 4) == {}
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    monkeypatch.setattr(ablation.torch.cuda, "device_count", lambda: 0)
    assert ablation.gpus_of_slot(0, 1) == {}


def test_runs_on_several_gpus_meet_at_a_port_of_their_own(trainings, tmp_path):
    run(tmp_path, "--seeds", "1", "--num-gpus", "2")
    assert all(c[c.index("--dist-url") + 1] == "auto" for c in trainings.commands)


def test_a_row_may_start_from_the_backbone_alone(trainings, tmp_path):
    failed, _ = run(tmp_path, "--seeds", "1", table="hybrid-parts")
    assert failed == 0
    given = [c[c.index("MODEL.WEIGHTS") + 1] for c in trainings.of("Street/nae")]
    start = tmp_path / "Hybrid-Pretrain/Street+random/seed_1"
    assert given == ["", str(start / "backbone.pth"), str(start / "model_final.pth")]
    (selected,) = [c[1:] for c in trainings.commands if "select_weights" in c[1]]
    assert selected == ["tools/select_weights.py", *given[:0:-1]]


def test_rows_of_a_pre_training_get_its_options(trainings, tmp_path):
    words = ("--seeds", "1", "SOLVER.EPOCHS", "5", "--pretraining", "SOLVER.EPOCHS", "9")
    run(tmp_path, *words, table="stl-6")
    epochs = {c[c.index("SOLVER.EPOCHS") + 1] for c in trainings.commands}
    assert epochs == {"9"} and len(trainings.commands) == 3


def test_keys_without_values_are_refused(capsys):
    with pytest.raises(SystemExit):
        ablation.parse(["stl-2", "SOLVER.EPOCHS"])
    assert "pairs" in capsys.readouterr().err
