"""tools/select_weights.py: the backbone of a pre-training starts a model, the rest starts fresh."""

import sys
from pathlib import Path

import pytest
import torch
from detectron2.modeling import build_model

from person_search.engine import PersonSearchCheckpointer

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))
import select_weights  # noqa: E402  (found through the line above)


@pytest.fixture
def run(monkeypatch):
    def call(*words) -> None:
        monkeypatch.setattr(sys, "argv", ["select_weights.py", *map(str, words)])
        select_weights.main()

    return call


def test_the_backbone_alone_starts_a_model(tiny_cfg, tmp_path, run):
    cfg = tiny_cfg(config="Street/nae.yaml")
    torch.manual_seed(0)
    source = build_model(cfg)
    PersonSearchCheckpointer(source, str(tmp_path)).save("whole")
    run(tmp_path / "whole.pth", tmp_path / "backbone.pth")
    torch.manual_seed(1)
    model = build_model(cfg)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    PersonSearchCheckpointer(model).load(str(tmp_path / "backbone.pth"))
    state = source.state_dict()
    for key, value in model.state_dict().items():
        taken = key.startswith(("backbone.", "roi_heads.reid.net."))
        assert torch.equal(value, state[key] if taken else before[key]), key
    assert not torch.equal(
        before["backbone.res2.0.conv1.weight"], state["backbone.res2.0.conv1.weight"]
    )


def test_the_parts_that_are_asked_for(tmp_path, run):
    state = {"a.x": torch.ones(1), "b.x": torch.zeros(2), "b.y": torch.zeros(3)}
    torch.save(state, tmp_path / "plain.pth")
    run(tmp_path / "plain.pth", tmp_path / "part.pth", "--keep", "b.")
    assert torch.load(tmp_path / "part.pth")["model"].keys() == {"b.x", "b.y"}


@pytest.mark.parametrize("words, message", [(("--keep", "c."), "there are a.x"), ((), "a.x")])
def test_nothing_to_keep_is_an_error_with_what_there_is(tmp_path, run, words, message):
    torch.save({"a.x": torch.ones(1)}, tmp_path / "plain.pth")
    with pytest.raises(SystemExit, match=message):
        run(tmp_path / "plain.pth", tmp_path / "part.pth", *words)
    assert [p.name for p in tmp_path.iterdir()] == ["plain.pth"]


def test_a_damaged_file_is_an_error(tmp_path, run):
    (tmp_path / "bad.pth").write_bytes(b"nothing")
    with pytest.raises(SystemExit, match="cannot make .* of .*bad.pth"):
        run(tmp_path / "bad.pth", tmp_path / "part.pth")
