"""What every meta architecture that searches for persons has to do. A new one is a class of it:

    class TestMyModel(SearchModelContract):
        config = "Street/my_model.yaml"
        name = "MyModel"
        losses = BOX_LOSSES | {"loss_id"}
"""

import pytest
import torch
from detectron2.modeling import META_ARCH_REGISTRY, build_model
from torch import Tensor, nn

from person_search.engine import PersonSearchCheckpointer
from person_search.labels import UNLABELED
from person_search.modeling.meta_arch.base import SearchModel

BOX_LOSSES = {"loss_rpn_cls", "loss_rpn_loc", "loss_cls", "loss_box_reg"}

SMALL = (
    *("MODEL.REID.POOLER_RESOLUTION", (6, 3), "MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION", 4),
    *("INPUT.REID.SIZE", (64, 32)),
)
FOUND = ("MODEL.ROI_HEADS.SCORE_THRESH_TEST", 0.0)  # an untrained model is sure of nobody
NOBODY = ("MODEL.ROI_HEADS.SCORE_THRESH_TEST", 1.0)

U = UNLABELED
BATCHES = {
    "normal": [[0, 3], [1, U]],
    "half empty": [[0], []],
    "empty": [[], []],
    "nobody known": [[U], [U, U]],
    "one person": [[2]],
}
BOXES = torch.tensor([[6.0, 10, 26, 70], [40, 10, 60, 70]])


class SearchModelContract:
    """Tests of one model, at a quarter of its width and with random weights.

    Attributes:
        config: below ``configs/``.
        opts: further keys and values.
        name: of the meta architecture.
        losses: names of its losses.
    """

    config: str
    opts: tuple = ()
    name: str
    losses: set[str]

    def batch(self, scenes, ids: list[list[int]]) -> list[dict]:
        """What a training step is given, for the person ids of each image."""
        return scenes(ids)

    @pytest.fixture
    def build(self, tiny_cfg):
        """``build(*opts)`` makes the model, always with the same weights."""

        def make(*opts) -> nn.Module:
            torch.manual_seed(0)
            return build_model(tiny_cfg(*SMALL, *self.opts, *opts, config=self.config))

        return make

    # Training --------------------------------------------------------------------------------

    def test_it_is_registered_and_is_a_search_model(self, build):
        model = build()
        assert type(model) is META_ARCH_REGISTRY.get(self.name)
        assert isinstance(model, SearchModel)

    @pytest.mark.parametrize("kind", BATCHES)
    def test_a_step_on_any_batch(self, build, scenes, kind):
        self.check_step(build().train(), self.batch(scenes, BATCHES[kind]))

    def test_a_step_in_mixed_precision(self, build, scenes):
        with torch.autocast("cpu", torch.bfloat16):
            self.check_step(build().train(), self.batch(scenes, BATCHES["normal"]))

    def check_step(self, model: nn.Module, batch: list[dict]):
        """The same losses, all of them finite, and a gradient for every parameter."""
        losses = model(batch)
        assert losses.keys() == self.losses
        assert all(loss.isfinite() and loss.dim() == 0 for loss in losses.values())
        sum(losses.values()).backward()
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                assert parameter.grad is not None and parameter.grad.isfinite().all(), name

    # Test ------------------------------------------------------------------------------------

    @torch.no_grad()
    def test_detections_given_as_boxes_have_the_same_embeddings(self, build, scenes):
        model = build(*FOUND).eval()
        inputs = scenes([[0], [1], []])
        first = model(inputs)
        for x, out in zip(inputs, first, strict=True):
            assert out.keys() == {"instances"} and len(out["instances"]) > 1
            x["query_boxes"] = out["instances"].pred_boxes.tensor
            x["gt_boxes"] = x["query_boxes"].flip(0)
        for before, out in zip(first, model(inputs), strict=True):
            embeds = before["instances"].pred_embeds
            is_unit(embeds, model.embedding_dim)
            torch.testing.assert_close(out["instances"].pred_embeds, embeds, atol=1e-5, rtol=0)
            torch.testing.assert_close(out["query_embeds"], embeds, atol=1e-5, rtol=0)
            torch.testing.assert_close(out["gt_embeds"], embeds.flip(0), atol=1e-5, rtol=0)

    @torch.no_grad()
    def test_given_boxes_are_answered_where_they_are_given(self, build, scenes):
        inputs = scenes([[0], [1], [2]])
        inputs[1] |= {"query_boxes": BOXES, "gt_boxes": BOXES[:0]}
        inputs[2] |= {"gt_boxes": BOXES[:1]}
        model = build(*FOUND).eval()
        plain, both, one = model(inputs)
        assert plain.keys() == {"instances"} and one.keys() == {"instances", "gt_embeds"}
        assert len(both["query_embeds"]) == 2 and len(one["gt_embeds"]) == 1
        assert both["gt_embeds"].shape == (0, model.embedding_dim)
        # The same box in another picture shows another person.
        assert not torch.allclose(both["query_embeds"][0], one["gt_embeds"][0], atol=1e-4)

    def test_boxes_are_embedded_alone_as_with_the_detections(self, build, scenes):
        model = build(*FOUND).eval()
        inputs = scenes([[0], [1], []])
        for x, number in zip(inputs, (2, 1, 0), strict=True):
            x["query_boxes"] = BOXES[:number]
        with torch.no_grad():
            expected = [out["query_embeds"] for out in model(inputs)]
        embeds = model.embed_boxes(inputs)
        assert [len(x) for x in embeds] == [2, 1, 0]
        for x, y in zip(embeds, expected, strict=True):
            assert torch.equal(x, y)
            is_unit(x, model.embedding_dim)

    @torch.no_grad()
    def test_a_scene_without_detections(self, build, scenes):
        model = build(*NOBODY).eval()
        (out,) = model(scenes([[0]]))
        assert out["instances"].pred_embeds.shape == (0, model.embedding_dim)
        assert out["instances"].pred_boxes.tensor.shape == (0, 4)

    @torch.no_grad()
    def test_a_test_in_mixed_precision(self, build, scenes):
        """Embeddings stay float32, and nearly the same."""
        (x,) = scenes([[0]])
        x["query_boxes"] = BOXES
        full = build(*FOUND).eval().embed_boxes([x])[0]
        model = build(*FOUND, "TEST.AMP.ENABLED", True).eval()
        half, (out,) = model.embed_boxes([x])[0], model([x])
        for embeds in (half, out["query_embeds"], out["instances"].pred_embeds):
            is_unit(embeds, model.embedding_dim)
        assert not torch.equal(half, full) and (half * full).sum(dim=1).min() > 0.98

    @torch.no_grad()
    def test_a_checkpoint_comes_back_whole(self, build, scenes, tmp_path):
        """Also into a model that is never trained, which knows no identities."""
        model = build(*FOUND).eval()
        for tensor in model.state_dict().values():
            if tensor.is_floating_point():
                tensor.add_(0.01 * torch.rand_like(tensor))
        PersonSearchCheckpointer(model, str(tmp_path)).save("saved")
        expected = model(scenes([[0]]))[0]["instances"]
        for opts in ((), ("MODEL.REID.NUM_IDS", 1)):
            again = build(*FOUND, *opts).eval()
            PersonSearchCheckpointer(again, complete=True).load(str(tmp_path / "saved.pth"))
            found = again(scenes([[0]]))[0]["instances"]
            assert torch.equal(found.pred_boxes.tensor, expected.pred_boxes.tensor)
            assert torch.equal(found.pred_embeds, expected.pred_embeds)


def is_unit(embeds: Tensor, dim: int):
    """Embeddings are (n, D), float32 and of unit length."""
    assert embeds.shape[1:] == (dim,) and embeds.dtype == torch.float32
    torch.testing.assert_close(embeds.norm(dim=1), torch.ones(len(embeds)))
