"""AlignPS: which location is a person's embedding, and pictures of any kind."""

import pytest
import torch
import torch.nn.functional as F
from detectron2.modeling import build_model
from detectron2.structures import Boxes, Instances

from person_search.errors import ConfigError
from person_search.modeling.meta_arch.align_ps import AlignPS

FOUND = ("MODEL.ROI_HEADS.SCORE_THRESH_TEST", 0.0)


@pytest.fixture
def build(tiny_cfg):
    def make(*opts) -> AlignPS:
        torch.manual_seed(0)
        opts = ("MODEL.REID.EMBEDDING_DIM", 64, *opts)
        return build_model(tiny_cfg(*FOUND, *opts, config="Street/align_ps.yaml"))

    return make


def p3_of(model: AlignPS, inputs: list[dict]) -> torch.Tensor:
    return model._levels(model.preprocess_image(inputs))[0]


@torch.no_grad()
def test_a_box_has_the_feature_of_its_center(build, scenes):
    model = build().eval()
    inputs = scenes([[0], [1]])
    # Centers (16, 40), which begins the cell in column 2 and row 5, and (60, 31.9).
    inputs[1]["query_boxes"] = torch.tensor([[6.0, 10, 26, 70], [50, 4, 70, 59.8]])
    p3 = F.normalize(p3_of(model, inputs))
    (embeds,) = model.embed_boxes([inputs[1]])
    expected = F.normalize(p3_of(model, [inputs[1]]))[0]
    torch.testing.assert_close(embeds, torch.stack([expected[:, 5, 2], expected[:, 3, 7]]))
    torch.testing.assert_close(expected, p3[1], atol=1e-5, rtol=0)


@torch.no_grad()
def test_a_box_is_embedded_without_detecting(build, scenes, monkeypatch):
    model = build().eval()
    monkeypatch.setattr(model.detector, "forward", None)
    (x,) = scenes([[0]])
    assert model.embed_boxes([x | {"query_boxes": x["instances"].gt_boxes.tensor}])[0].any()


@torch.no_grad()
def test_a_test_makes_the_finest_map_alone(build, scenes):
    model = build()
    images = model.preprocess_image(scenes([[0]], height=88, width=120))  # padded: 96 x 128
    sizes = [tuple(x.shape[-2:]) for x in model.train()._levels(images)]
    assert sizes == [(12, 16), (6, 8), (3, 4), (2, 2), (1, 1)]
    assert [tuple(x.shape[-2:]) for x in model.eval()._levels(images)] == [(12, 16)]


@torch.no_grad()
def test_the_map_is_centered_on_each_picture_alone(build, scenes):
    """Also where a larger picture of the batch makes for padding."""
    model = build().eval()
    (small,), (large,) = scenes([[0]], height=60, width=50), scenes([[1]])
    p3 = p3_of(model, [small, large])
    assert p3.shape[-2:] == (12, 16)
    assert p3[0, :, :8, :7].mean(dim=(1, 2)).abs().max() < 1e-5  # 60 / 8 and 50 / 8, rounded up
    assert p3[1].mean(dim=(1, 2)).abs().max() < 1e-5


class TestPublishedRule:
    """The embeddings of detections, for queries, too."""

    @pytest.fixture
    def model(self, build) -> AlignPS:
        return build("MODEL.ALIGN_PS.EMBED_AT", "detection").eval()

    @torch.no_grad()
    def test_a_detection_has_the_feature_of_the_location_that_found_it(self, model, scenes):
        (x,) = scenes([[0]])
        found = model([x])[0]["instances"]
        rows = F.normalize(p3_of(model, [x])[0].flatten(1).T)
        assert len(found) > 1
        torch.testing.assert_close(found.pred_embeds, rows[found.cells])

    @torch.no_grad()
    def test_a_query_is_the_detection_that_overlaps_it_most(self, model, scenes, monkeypatch):
        found = Instances((96, 128), cells=torch.tensor([0, 3]), scores=torch.ones(2))
        found.pred_boxes = Boxes(torch.tensor([[0.0, 0, 20, 60], [40, 0, 60, 60]]))
        monkeypatch.setattr(model.detector, "forward", lambda p3, sizes: [found])
        (x,) = scenes([[0]])
        x["query_boxes"] = torch.tensor([[38.0, 0, 58, 60], [5, 0, 30, 60], [90, 0, 99, 60]])
        (embeds,) = model.embed_boxes([x])
        rows = F.normalize(p3_of(model, [x])[0].flatten(1).T)
        torch.testing.assert_close(embeds[:2], rows[[3, 0]])
        assert not embeds[2].any()  # nobody was found there
        found_again = model([x | {"height": 48, "width": 64}])[0]  # a frame of half the size
        assert torch.equal(found_again["query_embeds"], embeds)


# Odd pictures --------------------------------------------------------------------------------


def step(model: AlignPS, inputs: list[dict]) -> dict[str, torch.Tensor]:
    losses = model.train()(inputs)
    sum(losses.values()).backward()
    assert all(loss.isfinite() for loss in losses.values())
    assert all(p.grad.isfinite().all() for p in model.parameters())
    return losses


@pytest.mark.parametrize("divisibility", [0, 32])
def test_a_picture_smaller_than_the_coarsest_stride(build, scenes, divisibility):
    """The maps of strides 64 and 128 have one cell; batch norm of one value needs two pictures."""
    model = build("MODEL.BACKBONE.SIZE_DIVISIBILITY", divisibility)
    inputs = scenes([[0], [1]], height=21, width=13)
    for x in inputs:
        x["instances"].gt_boxes.tensor.copy_(torch.tensor([[1.0, 1, 11, 20]]))
        x["query_boxes"] = x["instances"].gt_boxes.tensor
    step(model, inputs)
    with torch.no_grad():
        for out in model.eval()(inputs):
            assert out["query_embeds"].norm(dim=1).item() == pytest.approx(1)
            assert (out["instances"].pred_boxes.tensor <= torch.tensor([13, 21, 13, 21])).all()


def test_a_hundred_persons_in_one_place(build, scenes):
    """All have one center; only the smallest is learned."""
    (x,) = scenes([list(range(5)) * 20])
    sizes = 20.0 + torch.arange(100)[:, None]
    x["instances"].gt_boxes = Boxes(torch.cat([64 - sizes, 48 - sizes, 64 + sizes, 48 + sizes], 1))
    model = build()
    step(model, [x])
    # The center lies where four cells meet: each is .5 cells away, the next ones 1.5.
    assigned = model.detector.assign(torch.zeros(1, 1, 12, 16), [x["instances"].gt_boxes.tensor])
    assert assigned.unique(return_counts=True)[0].tolist() == [-1, 0]
    assert model.reid.head.oim.table.any(dim=1).tolist() == [True] + [False] * 4


def test_six_hundred_persons_in_one_picture(build, scenes):
    (x,) = scenes([[k % 5 for k in range(600)]], height=160, width=192)
    corners = torch.stack([torch.arange(600) % 30 * 6.0, torch.arange(600) // 30 * 7.0], dim=1)
    x["instances"].gt_boxes = Boxes(torch.cat([corners, corners + 12], dim=1))
    model = build("TEST.DETECTIONS_PER_IMAGE", 1000, "MODEL.ROI_HEADS.NMS_THRESH_TEST", 1.0)
    step(model, [x])
    x["query_boxes"] = x["instances"].gt_boxes.tensor
    with torch.no_grad():
        (out,) = model.eval()([x])
    assert out["query_embeds"].shape == (600, 64)
    assert len(out["instances"]) <= 20 * 24  # a location finds one person


@torch.no_grad()
def test_a_box_outside_of_the_picture_has_the_cell_next_to_it(build, scenes):
    model = build().eval()
    (x,) = scenes([[0]])
    x["query_boxes"] = torch.tensor([[-90.0, -90, -60, -60], [500, 40, 540, 48]])
    rows = F.normalize(p3_of(model, [x]))[0]
    (embeds,) = model.embed_boxes([x])
    torch.testing.assert_close(embeds, torch.stack([rows[:, 0, 0], rows[:, 5, 15]]))


# Configs -------------------------------------------------------------------------------------


def test_persons_without_ids_are_refused(build, scenes):
    (x,) = scenes([[0]])
    x["instances"].remove("gt_person_ids")
    with pytest.raises(ConfigError, match="AlignPS got persons without gt_person_ids"):
        build().train()([x])


@pytest.mark.parametrize(
    "opts, message",
    [
        (("MODEL.ALIGN_PS.EMBED_AT", "middle"), "EMBED_AT is 'middle'; legal: center, detection"),
        (("MODEL.REID.EMBEDDING_DIM", 100), "EMBEDDING_DIM is 100: AlignPS needs a multiple of 64"),
        (("MODEL.RESNETS.OUT_FEATURES", ["res4", "res5"]), r"reads \['res3'\].*OUT_FEATURES to"),
    ],
)
def test_configs_that_cannot_be(build, opts, message):
    with pytest.raises(ConfigError, match=message):
        build(*opts)
