"""Released layouts with recipe weights: equal to what the public code computed from them."""

import numpy as np
import pytest
import torch
from detectron2.modeling import build_model
from PIL import Image
from public_recipes import assert_probe, recipe
from torch import nn
from torchvision.ops import box_iou

from person_search import packs, read_config
from person_search.data.mappers import build_mapper
from person_search.engine import PersonSearchCheckpointer, adopt_conventions
from person_search.engine.export import export_pack
from person_search.images import read_image


def opened(config: str, content: dict, path, *opts: str, complete: bool = True):
    """Config and model of a public file, as the programs open them."""
    torch.save(content, path)
    cfg = read_config(config, ["MODEL.DEVICE", "cpu", "MODEL.REID.NUM_IDS", "1", *opts])
    adopt_conventions(cfg, str(path))
    model = build_model(cfg).eval()
    PersonSearchCheckpointer(model, complete=complete).load(str(path))
    return cfg, model


@torch.no_grad()
def test_seqnet_finds_and_embeds_what_the_public_code_does(shared_data, tmp_path):
    """Boxes, scores and embeddings of detections, and embeddings of queries, on a PRW frame."""
    state, golden = recipe("seqnet")
    content = {"model": state, "optimizer": {}, "lr_scheduler": {}, "epoch": 17}
    cfg, model = opened("PRW/seqnet.yaml", content, tmp_path / "epoch_17.pth")
    frame = read_image(str(shared_data / "PRW-v16.04.20" / "frames" / str(golden["frame"])), "RGB")
    record = {"height": 576, "width": 720, "query_boxes": golden["query.boxes"]}
    inputs = build_mapper(cfg, is_train=False).map_image(frame, record)
    assert_probe(golden, "input", model.preprocess_image([inputs]).tensor, 1e-5)

    (output,) = model([inputs])
    found = output["instances"]
    # All of a threshold of .05 are compared; those above .5 are the released model's own.
    for name, threshold in (("final_at_score_0.05", 0.05), ("final", 0.5)):
        mine = found[found.scores > threshold]
        boxes, scores, embeddings = (
            torch.from_numpy(golden[f"{name}.{x}"]) for x in ("boxes", "scores", "embeddings")
        )
        assert len(mine) == len(boxes) > 10
        iou, row = box_iou(mine.pred_boxes.tensor, boxes).max(dim=1)
        assert iou.min() > 0.99 and len(row.unique()) == len(row)
        close = {"rtol": 0, "atol": 1e-3}  # another order of additions moves them by 5e-4
        torch.testing.assert_close(mine.scores, scores[row], **close)
        # There the score is the length of an embedding (class weighted similarity).
        weighted = mine.pred_embeds * mine.scores[:, None]
        torch.testing.assert_close(weighted, embeddings[row], **close)
    queries = output["query_embeds"].numpy()
    np.testing.assert_allclose(queries, golden["query.embeddings"], rtol=0, atol=1e-4)


@pytest.mark.slow
def test_a_pack_of_seqnet_finds_and_embeds_what_the_public_code_does(shared_data, tmp_path):
    """Resized in float, padded, anchors of whole pixels, and embeddings of first-stage boxes."""
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    state, golden = recipe("seqnet")
    cfg, model = opened("PRW/seqnet.yaml", {"model": state}, tmp_path / "epoch_17.pth")
    mapper = build_mapper(cfg, is_train=False)
    export_pack(model, mapper, tmp_path / "pack", score_thresh=0.5, trained_on="nothing")
    pack = packs.open_pack(tmp_path / "pack", threads=1)
    frame = read_image(str(shared_data / "PRW-v16.04.20" / "frames" / str(golden["frame"])))

    (found,) = pack.detect([frame])
    boxes, scores, embeddings = (golden[f"final.{x}"] for x in ("boxes", "scores", "embeddings"))
    assert len(found) == len(boxes) > 10
    # Where proposals of random weights all but tie, another one wins, and moves a box by a pixel.
    iou, row = box_iou(torch.from_numpy(found.boxes), torch.from_numpy(boxes)).max(dim=1)
    assert iou.min() > 0.97 and len(row.unique()) == len(row)
    assert np.median(np.abs(found.boxes - boxes[row]).max(axis=1)) < 0.1
    np.testing.assert_allclose(found.scores, scores[row], atol=5e-3)
    lengths = np.linalg.norm(embeddings, axis=1, keepdims=True)
    assert (found.embeds * (embeddings / lengths)[row]).sum(axis=1).min() > 0.9995
    queries = pack.embed(frame, golden["query.boxes"])
    assert (queries * golden["query.embeddings"]).sum(axis=1).min() > 0.9999


@torch.no_grad()
def test_fastreid_gives_the_embeddings_of_its_own_code(shared_data, tmp_path):
    """Trunk with IBN and a stem that rounds up, BN neck: four crops of 256x128."""
    state, golden = recipe("fastreid_bot_r50_ibn")
    _, model = opened("ReID-Pretrain/PRW.yaml", {"model": state}, tmp_path / "bot.pth")
    compared = 0
    for key in golden:
        wanted = torch.from_numpy(golden[key])
        # Those of unit length are embeddings as a gallery has them.
        if not key.startswith("embedding.") or abs(wanted.norm() - 1) > 1e-3:
            continue
        (path,) = shared_data.rglob(key.removeprefix("embedding."))
        crop = Image.open(path).convert("RGB").resize((128, 256), Image.BICUBIC)
        image = torch.from_numpy(np.array(crop)).permute(2, 0, 1)
        (output,) = model([{"image": image}])
        torch.testing.assert_close(output["embeds"], wanted, rtol=0, atol=1e-5)
        compared += 1
    assert compared == 4


@torch.no_grad()
def test_shufflenet_of_mmcls_gives_its_maps(shared_data, tmp_path):
    """Its depthwise convolutions come before the shuffle, and ours behind it."""
    state, golden = recipe("shufflenet_v1_mmcls")
    keys = {f"backbone.{k}": v for k, v in state.items()}
    opts = ("MODEL.BACKBONE.ARCHITECTURE", "SplitShuffleNetV1")
    content = {"state_dict": keys, "meta": {}, "optimizer": {}}
    _, model = opened("PRW/nae.yaml", content, tmp_path / "s.pth", *opts, complete=False)
    frame = read_image(str(shared_data / "PRW-v16.04.20" / "frames" / str(golden["frame"])), "RGB")
    pixels = torch.from_numpy(frame.copy()).permute(2, 0, 1)[None].float() / 255
    x = nn.functional.interpolate(pixels, (288, 360), mode="nearest")[0]
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    x = (x - mean[:, None, None]) / std[:, None, None]
    assert_probe(golden, "input", x, 1e-5)
    maps = {"res2": model.backbone.stem(x[None])}
    maps["res3"] = model.backbone.res3(model.backbone.res2(maps["res2"]))
    maps["res4"] = model.backbone.res4(maps["res3"])
    maps["res5"] = model.roi_heads.reid.net.res5(maps["res4"])
    for name, stage in (("maxpool", "res2"), ("out0", "res3"), ("out1", "res4"), ("out2", "res5")):
        assert_probe(golden, name, maps[stage], 1e-4)
