"""The re-ID half on its own: what it embeds and learns, and the head of "Bag of Tricks"."""

import pytest
import torch
import torch.nn.functional as F
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.modeling import build_model
from torch import nn

from person_search.errors import ConfigError
from person_search.layers.id_losses import (
    ClassBalancedCrossEntropy,
    CrossEntropy,
    FocalCrossEntropy,
    class_balanced_weights,
)
from person_search.layers.metric_losses import batch_hard_triplet
from person_search.modeling.identity.base import build_identity_head
from person_search.modeling.identity.softmax import BagOfTricksHead

BASELINE = (
    *("MODEL.META_ARCHITECTURE", "ReIDBaseline", "MODEL.REID.POOLER", "WholeImage"),
    *("MODEL.REID.HEAD", "BagOfTricksHead", "MODEL.REID.ID_LOSS.LABEL_SMOOTHING", 0.1),
)
LOSSES = {"loss_id", "loss_triplet", "loss_center"}


def crops(ids: list[int], seed: int = 0) -> list[dict]:
    generator = torch.Generator().manual_seed(seed)
    return [
        {"image": torch.randint(256, (3, 64, 32), generator=generator).float(), "person_id": i}
        for i in ids
    ]


@pytest.fixture
def model(tiny_cfg) -> nn.Module:
    torch.manual_seed(0)
    return build_model(tiny_cfg(*BASELINE))


# --------------------------------------------------------------------------------------- the model


@torch.no_grad()
def test_embeddings_are_unit_vectors_of_each_crop_alone(model):
    inputs = crops([0, 1, 2])
    found = model.eval()(inputs)
    assert [set(out) for out in found] == [{"embeds"}] * 3
    embeds = torch.stack([out["embeds"] for out in found])
    assert embeds.shape == (3, 128)
    torch.testing.assert_close(embeds.norm(dim=1), torch.ones(3))
    assert (embeds @ embeds.T - torch.eye(3)).abs().max() > 1e-3
    for x, embed in zip(inputs, embeds, strict=True):
        torch.testing.assert_close(model([x])[0]["embeds"], embed, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_a_crop_goes_through_the_whole_backbone(model):
    """Stride 16 in the end: the last stage keeps its resolution."""
    model.eval()
    (x,) = crops([0])
    images = (x["image"][None] - model.pixel_mean) / model.pixel_std
    features = model.backbone(images)
    maps = model.reid.encode(model.reid.pool_crops(features))["res5"]
    assert features["res3"].shape == (1, 32, 8, 4) and maps.shape == (1, 128, 4, 2)
    expected = F.normalize(model.reid.head.bn(maps.mean(dim=(2, 3))))
    torch.testing.assert_close(model([x])[0]["embeds"], expected[0])


def test_training_reaches_every_parameter(model):
    losses = model.train()(crops([0, 0, 3, 3]))
    assert losses.keys() == LOSSES
    sum(losses.values()).backward()
    trained = {k: p.grad for k, p in model.named_parameters() if p.requires_grad}
    assert all(grad is not None and grad.isfinite().all() for grad in trained.values())
    assert sum(grad.abs().sum() > 0 for grad in trained.values()) > 0.9 * len(trained)


def test_a_few_steps_tell_six_crops_apart(model):
    model.train()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    inputs = crops([0, 0, 1, 1, 2, 2])
    history = []
    for _ in range(12):
        loss = sum(model(inputs).values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        history.append(loss.item())
    assert history[-1] < 0.7 * history[0]


# ---------------------------------------------------------------------------------------- the head


@pytest.fixture
def head() -> BagOfTricksHead:
    torch.manual_seed(0)
    return BagOfTricksHead(
        in_channels={"res5": 6},
        num_ids=4,
        triplet_margin=0.5,
        triplet_weight=2.0,
        center_weight=0.25,
        id_loss=CrossEntropy(0.1),
        loss_weight=3.0,
    ).train()


MAPS = {"res5": torch.randn(5, 6, 2, 3, generator=torch.Generator().manual_seed(1))}
IDS = torch.tensor([0, 2, -1, 2, 0])


def test_triplet_and_center_see_the_feature_before_the_neck(head):
    head.bn.weight.data.uniform_(2, 3)
    pooled = MAPS["res5"].mean(dim=(2, 3))
    labeled = IDS >= 0
    centers = head.center_loss.centers.clone()
    losses = head.losses(MAPS, head(MAPS), IDS)
    triplet = batch_hard_triplet(pooled[labeled], IDS[labeled], 0.5)
    center = (pooled[labeled] - centers[IDS[labeled]]).square().sum(dim=1).mean()
    assert losses["loss_triplet"].item() == pytest.approx(2 * triplet.item(), rel=1e-5)
    assert losses["loss_center"].item() == pytest.approx(0.25 * center.item(), rel=1e-5)
    neck = F.batch_norm(pooled, None, None, head.bn.weight, training=True)[labeled]
    smoothed = F.cross_entropy(head.classifier(neck), IDS[labeled], label_smoothing=0.1)
    assert losses["loss_id"].item() == pytest.approx(3 * smoothed.item(), rel=1e-5)


def test_the_weight_of_the_center_loss_is_not_that_of_the_centers(head):
    other = BagOfTricksHead(in_channels={"res5": 6}, num_ids=4, center_weight=1e-6).train()
    other.center_loss.centers.copy_(head.center_loss.centers)
    before = head.center_loss.centers.clone()
    for each in (head, other):
        each.losses(MAPS, each(MAPS), IDS)
    assert torch.equal(head.center_loss.centers, other.center_loss.centers)
    moved = (head.center_loss.centers != before).any(dim=1)
    assert moved.tolist() == [True, False, True, False]


@pytest.mark.parametrize("ids", [[], [-1, -2, -1]])
def test_nobody_labeled_gives_the_same_losses_as_zeros(head, ids):
    maps = torch.randn(len(ids), 6, 1, 1, requires_grad=True)
    centers = head.center_loss.centers.clone()
    seen = {"res5": maps}
    losses = head.losses(seen, head(seen), torch.tensor(ids, dtype=torch.int64))
    assert losses.keys() == LOSSES and not any(loss.item() for loss in losses.values())
    sum(losses.values()).backward()
    assert torch.equal(maps.grad, torch.zeros_like(maps))
    assert torch.equal(head.center_loss.centers, centers)


def test_what_a_model_at_test_can_do_without(head):
    training_only = [k for k in head.state_dict() if k.startswith(head.training_only)]
    assert training_only == ["classifier.weight", "center_loss.centers"]


def test_every_key_of_the_config_arrives(tiny_cfg):
    opts = "MODEL.REID.CENTER_WEIGHT", 0.3
    head = build_identity_head(
        tiny_cfg(*BASELINE, *opts, "MODEL.REID.LOSS_WEIGHT", 0.5), {"res5": 6}
    )
    assert (head.triplet_margin, head.triplet_weight, head.center_loss.lr) == (0.3, 1.0, 0.5)
    assert head.center_weight == 0.3
    assert head.loss_weight == 0.5 and head.id_loss.label_smoothing == 0.1


# ------------------------------------------------------------------------------ identification loss


@pytest.fixture
def counted():
    """Two data sets with 3 and 2 identities; some persons have none."""
    sets = {"counted_a": ([0, 0, 2, -1, 0], 3), "counted_b": ([1, -1, 1], 2)}
    for name, (ids, number) in sets.items():
        frames = [{"annotations": [{"person_id": i}]} for i in ids]
        DatasetCatalog.register(name, lambda frames=frames: frames)
        MetadataCatalog.get(name).num_person_ids = number
    yield tuple(sets)
    for name in sets:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)


@pytest.mark.parametrize("head", ["SoftmaxHead", "BagOfTricksHead"])
def test_class_balanced_counts_labeled_boxes_of_all_sets(tiny_cfg, counted, head):
    cfg = tiny_cfg(
        *("MODEL.REID.HEAD", head, "DATASETS.TRAIN", counted),
        *("MODEL.REID.ID_LOSS.NAME", "class_balanced", "MODEL.REID.ID_LOSS.BETA", 0.9),
        *("MODEL.REID.ID_LOSS.NORMALIZE", "weights"),
        num_ids=-1,
    )
    loss = build_identity_head(cfg, {"res5": 6}).id_loss
    assert isinstance(loss, ClassBalancedCrossEntropy) and loss.normalize == "weights"
    expected = class_balanced_weights(torch.tensor([3, 0, 1, 0, 2]), 0.9)
    assert torch.equal(loss.weights, expected)


def test_focal_and_plain_by_name(tiny_cfg):
    names = {"cross_entropy": CrossEntropy, "focal": FocalCrossEntropy}
    for name, kind in names.items():
        opts = "MODEL.REID.ID_LOSS.NAME", name, "MODEL.REID.ID_LOSS.GAMMA", 3.0
        loss = build_identity_head(tiny_cfg(*opts), {"res5": 6}).id_loss
        assert type(loss) is kind
    assert loss.gamma == 3.0


def test_an_unknown_loss_is_an_error(tiny_cfg):
    with pytest.raises(ConfigError, match="ID_LOSS.NAME is 'ce'; legal: cross_entropy, class_bal"):
        build_identity_head(tiny_cfg("MODEL.REID.ID_LOSS.NAME", "ce"), {"res5": 6})


@pytest.mark.parametrize("num_ids", [0, 1, 7])
def test_a_test_of_class_balanced_needs_no_training_data(tiny_cfg, num_ids):
    """It embeds whatever NUM_IDS says; only training asks how often an identity is there."""
    opts = ("MODEL.REID.ID_LOSS.NAME", "class_balanced", "DATASETS.TRAIN", ("far_away",))
    head = build_identity_head(tiny_cfg(*opts, num_ids=num_ids), {"res5": 6})
    maps = {"res5": torch.randn(2, 6, 1, 1)}
    assert head.eval()(maps).shape == (2, 6)
    if num_ids:
        with pytest.raises(ConfigError, match="class_balanced weighs .* with .*NUM_IDS -1"):
            head.losses(maps, head(maps), torch.tensor([0, 0]))


def test_class_balanced_counts_crops(tiny_cfg):
    name = "counted_crops"
    DatasetCatalog.register(name, lambda: [{"person_id": i} for i in (1, 0, 1)])
    MetadataCatalog.get(name).num_person_ids = 2
    opts = ("MODEL.REID.ID_LOSS.NAME", "class_balanced", "DATASETS.TRAIN", (name,))
    try:
        loss = build_identity_head(tiny_cfg(*opts, num_ids=-1), {"res5": 6}).id_loss
    finally:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)
    assert torch.equal(loss.weights, class_balanced_weights(torch.tensor([1, 2]), 0.9999))


@pytest.mark.parametrize("key, value", [("NORMALIZE", "mean"), ("BETA", 1.0), ("BETA", -0.1)])
def test_illegal_values_of_class_balanced_are_errors(tiny_cfg, counted, key, value):
    cfg = tiny_cfg(
        *("MODEL.REID.ID_LOSS.NAME", "class_balanced", "DATASETS.TRAIN", counted),
        *(f"MODEL.REID.ID_LOSS.{key}", value),
    )
    with pytest.raises(ConfigError, match=f"{key} is .*legal: 0 <= BETA < 1, and samples or"):
        build_identity_head(cfg, {"res5": 6})
