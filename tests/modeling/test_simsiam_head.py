"""The self-supervised head: which crops it compares, what of it a person search model takes."""

import pytest
import torch
from detectron2.modeling import build_model
from detectron2.utils.events import EventStorage

from person_search.errors import ConfigError
from person_search.layers.siamese import simsiam_loss

SELF_SUPERVISED = (
    *("MODEL.META_ARCHITECTURE", "ReIDBaseline", "MODEL.REID.POOLER", "WholeImage"),
    *("MODEL.REID.HEAD", "SimSiamHead"),
)


@pytest.fixture
def model(tiny_cfg):
    torch.manual_seed(0)
    return build_model(tiny_cfg(*SELF_SUPERVISED))


def views(ids: list[int]) -> list[dict]:
    generator = torch.Generator().manual_seed(0)
    return [
        {"image": torch.randint(256, (3, 64, 32), generator=generator).float(), "person_id": i}
        for i in ids
    ]


def test_compares_the_two_views_of_each_crop(model):
    """In whatever order they come; each view goes through projector and predictor on its own."""
    inputs = views([7, 3, 5, 3, 7, 5])
    with EventStorage():
        found = model(inputs)
    assert found.keys() == {"loss_simsiam"}
    images = torch.stack([x["image"] for x in inputs])
    features = model.backbone((images - model.pixel_mean) / model.pixel_std)
    pooled = model.reid.net(features["res3"]).mean(dim=(2, 3))
    head = model.reid.head
    first, second = (head.projector(pooled[rows]) for rows in ([1, 2, 0], [3, 5, 4]))
    expected = simsiam_loss(first, second, head.predictor)
    torch.testing.assert_close(found["loss_simsiam"], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("ids", [[1, 2, 3, 4], [1, 1, 1, 1], [1, 1, 2]])
def test_other_batches_are_refused_with_the_keys_to_set(model, ids):
    with EventStorage(), pytest.raises(ConfigError, match="INSTANCE_DISCRIMINATION True"):
        model(views(ids))


def test_embeddings_are_the_pooled_features(model):
    with torch.no_grad():
        (found,) = model.eval()(views([0]))
    assert found["embeds"].norm().item() == pytest.approx(1, abs=1e-5)
    assert set(model.reid.head.training_only) == {"projector.", "predictor."}
