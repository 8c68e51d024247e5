"""An exported model finds the same persons as the model itself, in pictures of any size."""

import numpy as np
import pytest
import torch
from detectron2.modeling import build_model

from person_search import packs
from person_search.data import build_mapper
from person_search.engine.convert import seqnet
from person_search.engine.export import WEIGHTS, export_pack
from person_search.errors import ConfigError, PackError
from person_search.gallery.detectron2_searcher import Detectron2Searcher
from person_search.images import read_image
from person_search.structures import GalleryModel

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

OPTS = (
    *("INPUT.MIN_SIZE_TEST", 96),
    *("INPUT.MAX_SIZE_TEST", 150),
    *("MODEL.ROI_HEADS.SCORE_THRESH_TEST", 0.0),  # an untrained model is sure of nobody
)


def searchers(cfg, folder):
    """The model with random weights, and its pack."""
    torch.manual_seed(0)
    network, mapper = build_model(cfg).eval(), build_mapper(cfg, is_train=False)
    with torch.no_grad():  # untrained statistics would make all embeddings alike
        for name, buffer in network.named_buffers():
            if name.endswith("running_var"):
                buffer.uniform_(0.5, 2)
    spec = export_pack(network, mapper, folder, score_thresh=0.0, trained_on="nothing")
    assert not network.training
    model = GalleryModel("", "", "", "", spec.dim, 0.0)
    return Detectron2Searcher(network, mapper, model), packs.open_pack(folder, threads=1)


def require_alike(one, other, picture) -> int:
    """Same boxes to 0.1 pixels, cosines of embeddings of at least .9999; the number of persons."""
    (expected,), (found,) = one.detect([picture]), other.detect([picture])
    assert len(found) == len(expected)
    np.testing.assert_allclose(found.boxes, expected.boxes, atol=0.1)
    np.testing.assert_allclose(found.scores, expected.scores, atol=1e-4)
    assert ((found.embeds * expected.embeds).sum(axis=1) > 0.9999).all()
    boxes = np.array([[3, 5, 30, 60], [10.5, 2, 47, 39.5], [0, 0, 20, 40]])
    for number in (0, 1, 3):
        rows = other.embed(picture, boxes[:number])
        assert rows.shape == (number, other.model.dim)
        assert ((rows * one.embed(picture, boxes[:number])).sum(axis=1) > 0.9999).all()
    return len(found)


RELEASED = [part for pair in seqnet.CONVENTIONS.items() for part in pair]
RELEASED[RELEASED.index("MODEL.ANCHOR_GENERATOR.SIZES") + 1] = [[16, 32, 64]]
RELEASED[RELEASED.index("MODEL.REID.POOLER_RESOLUTION") + 1] = (6, 6)
RELEASED[RELEASED.index("MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION") + 1] = 6


@pytest.mark.parametrize(
    "config, mrfp, opts",
    [
        ("Base-RCNN-C3.yaml", True, ()),
        ("Base-RCNN-C3.yaml", False, ()),
        ("PRW/nae.yaml", False, ()),
        ("PRW/seqnet.yaml", False, ()),
        ("PRW/seqnet.yaml", False, RELEASED),
    ],
)
def test_a_pack_finds_what_the_model_finds(tiny_cfg, tmp_path, config, mrfp, opts):
    cfg = tiny_cfg(*OPTS, *opts, config=config, mrfp=mrfp)
    model, pack = searchers(cfg, tmp_path / "pack")
    generator = np.random.default_rng(0)
    sizes = ((70, 110), (200, 90), (64, 64))
    pictures = [generator.integers(0, 256, (*size, 3), np.uint8) for size in sizes]
    assert sum(require_alike(model, pack, picture) for picture in pictures) > 20


def test_a_pack_finds_what_the_model_finds_in_real_pictures(tiny_cfg, tmp_path, shared_data):
    model, pack = searchers(tiny_cfg(*OPTS, mrfp=True), tmp_path / "pack")
    frames = sorted((shared_data / "PRW-v16.04.20" / "frames").glob("*.jpg"))[::500]
    for frame in frames:
        assert require_alike(model, pack, read_image(str(frame))) > 0


def test_a_pack_finds_nobody_where_nobody_is(tiny_cfg, tmp_path):
    sure = ("MODEL.ROI_HEADS.SCORE_THRESH_TEST", 0.9999)
    model, pack = searchers(tiny_cfg(*OPTS, *sure), tmp_path / "pack")
    assert require_alike(model, pack, np.zeros((80, 120, 3), np.uint8)) == 0


def test_the_graphs_share_their_weights(tiny_cfg, tmp_path):
    searchers(tiny_cfg(*OPTS, mrfp=True), tmp_path / "pack")
    sizes = {path.name: path.stat().st_size for path in (tmp_path / "pack").iterdir()}
    assert set(sizes) == {"detect.onnx", "embed.onnx", WEIGHTS, "pack.yaml"}
    state = build_model(tiny_cfg(*OPTS, mrfp=True)).state_dict()
    assert sizes[WEIGHTS] < 1.05 * sum(4 * tensor.numel() for tensor in state.values())
    with open(tmp_path / "pack" / WEIGHTS, "r+b") as file:
        file.write(b"\1\2\3\4")
    with pytest.raises(PackError, match=f"{WEIGHTS}.*damaged"):
        packs.open_pack(tmp_path / "pack")


def test_what_cannot_be_exported_says_why(tiny_cfg, tmp_path):
    cfg = tiny_cfg(*OPTS)
    mapper = build_mapper(cfg, is_train=False)
    with pytest.raises(ConfigError, match="Linear cannot be exported: a pack needs RoI heads"):
        export_pack(
            torch.nn.Linear(1, 1), mapper, tmp_path / "pack", score_thresh=0.5, trained_on=""
        )
    mapper.augmentations.augs.clear()
    with pytest.raises(ConfigError, match="resizes pictures by their shorter side"):
        export_pack(
            build_model(cfg), mapper, tmp_path / "pack", score_thresh=0.5, trained_on="nothing"
        )
    assert not (tmp_path / "pack").exists()
