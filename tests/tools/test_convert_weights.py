"""tools/convert_weights.py: a public file as a checkpoint with our names and its conventions."""

import sys
from pathlib import Path

import pytest
import torch
import torchvision

from person_search.engine.weights_file import read_weights_file

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))
import convert_weights  # noqa: E402  (found through the line above)

SMALL = (
    *("MODEL.RESNETS.DEPTH", "18", "MODEL.RESNETS.IBN", ""),
    *("MODEL.RESNETS.RES2_OUT_CHANNELS", "64"),
)


@pytest.fixture
def run(monkeypatch):
    def call(*words) -> None:
        monkeypatch.setattr(sys, "argv", ["convert_weights.py", *map(str, words)])
        convert_weights.main()

    return call


def resnet18() -> dict[str, torch.Tensor]:
    """Under torchvision's names."""
    return torchvision.models.resnet18().state_dict()


def test_a_public_file_gets_our_names_and_keeps_its_conventions(tmp_path, run, capsys):
    state = resnet18()
    torch.save({"state_dict": {f"module.{k}": v for k, v in state.items()}}, tmp_path / "r18.pth")
    run(tmp_path / "r18.pth", "--config-file", "PRW/baseline.yaml", tmp_path / "out.pth", *SMALL)
    file = read_weights_file(tmp_path / "out.pth")
    assert torch.equal(file.state["backbone.res4.1.conv2.norm.bias"], state["layer3.1.bn2.bias"])
    assert file.around["conventions"]["INPUT.FORMAT"] == "RGB"
    out = capsys.readouterr().out
    assert "is a trunk below" in out and "INPUT.FORMAT RGB" in out


@pytest.mark.parametrize(
    "state, message",
    [({"a": torch.zeros(1)}, "is no public file"), (resnet18(), "of another backbone|lacks")],
)
def test_what_does_not_fit_ends_in_one_line(tmp_path, run, state, message):
    torch.save(state, tmp_path / "w.pth")
    with pytest.raises(SystemExit, match=message):
        run(tmp_path / "w.pth", "--config-file", "PRW/seqnet.yaml", tmp_path / "out.pth")
    assert not (tmp_path / "out.pth").exists()
