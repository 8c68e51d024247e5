"""Packs of torch weights."""

import numpy as np
import pytest
import torch
from public_recipes import recipe
from tiny_packs import save_detector, save_embedder

from person_search import packs
from person_search.errors import ConfigError, PersonSearchError, WeightsError
from person_search.gallery.cli import main
from person_search.images import read_image

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

SAID = (
    *("detector.decode=boxes_scores", "detector.person_class=1", "detector.resize=stretch"),
    *("detector.color=RGB", "detector.std=[255, 255, 255]"),
)


def test_a_pack_of_a_fastreid_file_embeds_as_its_own_code(shared_data, tmp_path, capsys):
    state, golden = recipe("fastreid_bot_r50_ibn")
    save_detector(tmp_path / "detector.onnx")
    torch.save({"model": state}, tmp_path / "market_bot_R50-ibn.pth")
    parts = ["--detector", str(tmp_path / "detector.onnx")]
    parts += ["--embedder", str(tmp_path / "market_bot_R50-ibn.pth")]
    assert main(["models", "make", str(tmp_path / "pack"), *parts, "--set", *SAID]) == 0
    pack = packs.open_pack(capsys.readouterr().out.strip(), threads=1)
    assert pack.model.dim == 2048
    compared = 0
    for key, wanted in golden.items():
        if key.startswith("embedding.") and abs(np.linalg.norm(wanted) - 1) < 1e-3:
            (path,) = shared_data.rglob(key.removeprefix("embedding."))
            crop = read_image(str(path))
            (row,) = pack.embed(crop, [[0, 0, crop.shape[1], crop.shape[0]]])
            assert (row * wanted).sum() > 0.9999
            compared += 1
    assert compared == 4


@pytest.mark.parametrize(
    "state, error, said",
    [
        ({"reid.head.bn.weight": 1}, ConfigError, "give the config.*--embedder-config"),
        ({"conv2.0.conv2a.conv.weight": 1}, WeightsError, "OSNet.*have to be ONNX"),
    ],
)
def test_an_embedder_that_cannot_be_exported(tmp_path, state, error, said):
    from person_search.gallery.torch_parts import make_pack

    save_detector(tmp_path / "detector.onnx")
    torch.save({k: torch.zeros(v) for k, v in state.items()}, tmp_path / "e.pth")
    with pytest.raises(error, match=said):
        make_pack(str(tmp_path / "p"), str(tmp_path / "detector.onnx"), str(tmp_path / "e.pth"))
    assert not (tmp_path / "p").exists()


def test_a_detector_that_cannot_be_exported(tmp_path):
    from person_search.gallery.torch_parts import make_pack

    save_embedder(tmp_path / "embedder.onnx")
    (tmp_path / "d.pth").write_bytes(b"<html>log in</html>")
    with pytest.raises(PersonSearchError, match="a web page"):
        make_pack(str(tmp_path / "p"), str(tmp_path / "d.pth"), str(tmp_path / "embedder.onnx"))
