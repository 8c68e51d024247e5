"""The embedder: unit embeddings, one image or many, and losses of batches without anybody."""

import pytest
import torch
import torch.nn.functional as F
from detectron2.layers import ShapeSpec
from detectron2.modeling import build_backbone
from detectron2.modeling.poolers import ROIPooler
from detectron2.structures import Boxes, ImageList
from torch import nn

from person_search.modeling.backbone.split import build_split_architecture
from person_search.modeling.embedders.base import Embedder
from person_search.modeling.embedders.roi import SingleLevelPooler
from person_search.modeling.identity.softmax import SoftmaxHead

BOXES = [[20.0, 10.0, 60.0, 80.0], [5.0, 5.0, 30.0, 90.0]]


class Model(nn.Module):
    """Base and embedder, with statistics of batch norm that are not those of a new model."""

    def __init__(self, cfg):
        super().__init__()
        torch.manual_seed(0)
        self.base = build_backbone(cfg)
        self.embedder = Embedder(cfg, self.base.output_shape())
        for module in self.modules():
            if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
                module.running_mean.normal_(std=0.1)
                module.running_var.uniform_(0.5, 1.5)

    def embed(self, pictures: list[torch.Tensor], boxes: list[list]) -> torch.Tensor:
        images = ImageList.from_tensors(pictures, self.base.size_divisibility).tensor
        return self.embedder.embed(
            self.base(images), [Boxes(torch.tensor(b).reshape(-1, 4)) for b in boxes]
        )


@pytest.fixture(params=[False, True], ids=["single", "mrfp"])
def model(request, tiny_cfg) -> Model:
    return Model(tiny_cfg(mrfp=request.param)).eval()


def pictures(*widths: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(3, 96, width, generator=generator) for width in widths]


def test_embeddings_are_unit_vectors_in_float32(model):
    embeds = model.embed(pictures(128, 128), [BOXES, BOXES[:1]])
    assert embeds.shape == (3, 128) and embeds.dtype == torch.float32
    torch.testing.assert_close(embeds.norm(dim=1), torch.ones(3))
    assert torch.pdist(embeds).min() > 1e-3  # not all alike


def test_embeddings_are_float32_under_autocast(model):
    with torch.autocast("cpu", dtype=torch.bfloat16), torch.no_grad():
        half = model.embed(pictures(128), [BOXES])
    with torch.no_grad():
        full = model.embed(pictures(128), [BOXES])
    assert half.dtype == torch.float32
    assert F.cosine_similarity(half, full).min() > 0.99


def test_embed_is_the_normalized_head_of_encode_of_pool(model):
    features, boxes = model.base(torch.stack(pictures(128))), [Boxes(torch.tensor(BOXES))]
    embedder = model.embedder
    maps = {"res3": embedder.pooler(features, boxes)}
    maps["res4"] = embedder.net.res4(maps["res3"])
    maps["res5"] = embedder.net.res5(maps["res4"])
    # res4 halves 16x8, res5 keeps it: last stride 1
    shapes = {name: tuple(x.shape[1:]) for name, x in maps.items()}
    assert shapes == {"res3": (32, 16, 8), "res4": (64, 8, 4), "res5": (128, 8, 4)}
    for name, found in embedder.maps(features, boxes).items():
        torch.testing.assert_close(found, maps[name])
    expected = F.normalize(embedder.head(maps))
    torch.testing.assert_close(embedder.embed(features, boxes), expected)


@torch.no_grad()
def test_features_that_were_pooled_before_need_no_image(model):
    """What sequential training caches: ``encode`` alone gives the same rows."""
    features, boxes = model.base(torch.stack(pictures(128))), [Boxes(torch.tensor(BOXES))]
    cached = model.embedder.pool(features, boxes).clone()
    rows = model.embedder.head(model.embedder.encode(cached))
    assert torch.equal(F.normalize(rows), model.embedder.embed(features, boxes))


@torch.no_grad()
def test_without_boxes_there_are_no_embeddings(model):
    assert model.embed(pictures(128), [[]]).shape == (0, 128)
    some = model.embed(pictures(128, 128), [[], BOXES])
    torch.testing.assert_close(some, model.embed(pictures(128, 128)[1:], [BOXES]))


@torch.no_grad()
def test_an_image_alone_and_in_a_batch_of_equal_sizes_agree(model):
    batch = pictures(128, 128, 128)
    together = model.embed(batch, [BOXES] * 3)
    alone = torch.cat([model.embed([picture], [BOXES]) for picture in batch])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize("ibn, changes", [("", False), ("a", True)])
def test_padding_reaches_a_far_box_through_instance_norm_alone(tiny_cfg, ibn, changes):
    """Why batches hold one size only: instance norm sees the padding of the whole scene.

    The receptive field of the base ends 50 pixels around a box; the padding is 150 away.
    """
    model = Model(tiny_cfg("MODEL.RESNETS.IBN", ibn)).eval()
    batch = pictures(256, 320)
    alone = model.embed(batch[:1], [BOXES])
    padded = model.embed(batch, [BOXES, []])
    difference = (alone - padded).abs().max()
    assert (difference > 1e-3) == changes
    assert changes or difference < 1e-5


def losses(model: Model, features: dict, boxes: list[Boxes], ids: list) -> dict:
    maps = model.embedder.maps(features, boxes)
    return model.embedder.head.losses(maps, model.embedder.head(maps), torch.cat(ids))


def test_a_loss_trains_every_part(model):
    model.train()
    features = model.base(torch.stack(pictures(128, 128)))
    ids = [torch.tensor([0, 1]), torch.tensor([2, 1])]
    losses(model, features, [Boxes(torch.tensor(BOXES))] * 2, ids)["loss_id"].backward()
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, name
    assert model.base.stem.conv1.weight.grad.abs().sum() > 0
    assert model.embedder.net.res4[0].conv1.weight.grad.abs().sum() > 0


def test_losses_of_nobody_touch_every_parameter_and_no_statistics(model):
    model.train()
    features = model.base(torch.stack(pictures(128, 128)))
    before = {k: v.clone() for k, v in model.embedder.state_dict().items()}
    nobody, nothing = Boxes(torch.zeros(0, 4)), torch.zeros(0, dtype=torch.int64)
    found = losses(model, features, [nobody] * 2, [nothing] * 2)
    assert {k: v.item() for k, v in found.items()} == {"loss_id": 0.0}
    found["loss_id"].backward()
    for name, parameter in model.embedder.named_parameters():
        if parameter.requires_grad:
            assert torch.equal(parameter.grad, torch.zeros_like(parameter)), name
    assert all(torch.equal(v, before[k]) for k, v in model.embedder.state_dict().items())


def test_one_roi_in_the_whole_batch_trains(model):
    model.train()
    features = model.base(torch.stack(pictures(128, 128)))
    boxes = [Boxes(torch.tensor(BOXES[:1])), Boxes(torch.zeros(0, 4))]
    ids = [torch.tensor([3]), torch.zeros(0, dtype=torch.int64)]
    loss = losses(model, features, boxes, ids)["loss_id"]
    loss.backward()
    assert torch.isfinite(loss) and loss > 0
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.requires_grad)


@pytest.mark.parametrize("last_stride, size", [(1, (8, 4)), (2, (4, 2))])
def test_last_stride(tiny_cfg, last_stride, size):
    cfg = tiny_cfg("MODEL.REID.LAST_STRIDE", last_stride)
    with torch.device("meta"):
        embedder = Embedder(cfg, {"res3": ShapeSpec(channels=32, stride=8)})
        assert embedder.net(torch.zeros(1, 32, 16, 8)).shape == (1, 128, *size)


def test_an_embedder_needs_no_config(tiny_cfg):
    tail = build_split_architecture(tiny_cfg()).make_tail("res3", last_stride=1)
    embedder = Embedder(
        split_at="res3",
        pooler=SingleLevelPooler(
            in_feature="res3", pooler=ROIPooler((16, 8), (1 / 8,), 2, "ROIAlignV2"), channels=32
        ),
        net=tail,
        head=SoftmaxHead(in_channels={"res5": 128}, num_ids=5),
    ).eval()
    boxes = [Boxes(torch.tensor([[8.0, 8.0, 40.0, 72.0]]))]
    assert embedder.embed({"res3": torch.randn(1, 32, 12, 16)}, boxes).shape == (1, 128)
