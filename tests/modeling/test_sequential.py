"""RetinaNet and replicas of its stages: either learns alone, and boxes are embedded as ever."""

import pytest
import torch
from search_model_contract import SearchModelContract

from person_search.engine import PersonSearchCheckpointer

RETINANET = (
    *("MODEL.META_ARCHITECTURE", "SequentialSearch"),
    *("MODEL.BACKBONE.NAME", "build_split_fpn_backbone", "MODEL.FPN.OUT_CHANNELS", 16),
    *("MODEL.RETINANET.NUM_CLASSES", 1, "MODEL.RETINANET.SCORE_THRESH_TEST", 0.0),
    *("MODEL.RETINANET.NUM_CONVS", 1, "TEST.DETECTIONS_PER_IMAGE", 8),
    *("MODEL.ANCHOR_GENERATOR.SIZES", [[16], [32], [64], [96], [128]]),
)


class TestDetector(SearchModelContract):
    config = "Base-RCNN-C3.yaml"
    opts = RETINANET
    name = "SequentialSearch"
    losses = {"loss_cls", "loss_box_reg"}

    def test_a_scene_without_detections(self, build, scenes):
        model = build("MODEL.RETINANET.SCORE_THRESH_TEST", 1.0).eval()
        with torch.no_grad():
            (out,) = model(scenes([[0]]))
        assert out["instances"].pred_embeds.shape == (0, model.embedding_dim)


    def test_it_detects_as_the_stock_retinanet(self, build, scenes):
        """The same losses and detections with the same weights; the embedder takes no part."""
        ours, stock = build(), build("MODEL.META_ARCHITECTURE", "RetinaNet")
        shared = {k: v for k, v in ours.state_dict().items() if not k.startswith("reid.")}
        stock.load_state_dict(shared)
        inputs = scenes([[0, 3], []])
        losses = [model.train()(inputs) for model in (ours, stock)]
        assert losses[0].keys() == losses[1].keys()
        assert all(torch.equal(losses[0][name], losses[1][name]) for name in losses[0])
        assert not any(p.requires_grad for p in ours.reid.parameters())
        with torch.no_grad():
            found, expected = (m.eval()(scenes([[1]]))[0]["instances"] for m in (ours, stock))
        assert torch.equal(found.pred_boxes.tensor, expected.pred_boxes.tensor)
        assert torch.equal(found.scores, expected.scores)

    def test_replicas_start_as_copies_of_the_detectors_stages(self, build, tmp_path):
        """From a file of the detector alone, such as tools/select_weights.py writes."""
        model = build()
        state = {k: v.clone().uniform_() if v.is_floating_point() else v
                 for k, v in model.state_dict().items() if not k.startswith("reid.")}  # fmt: skip
        torch.save({"model": state}, tmp_path / "detector.pth")
        PersonSearchCheckpointer(model).load(str(tmp_path / "detector.pth"))
        for stage in ("res4", "res5"):
            ours = model.backbone.base.get_submodule(stage).state_dict()
            for key, value in model.reid.net.get_submodule(stage).state_dict().items():
                assert torch.equal(value, ours[key]) and value.data_ptr() != ours[key].data_ptr()


class TestEmbedder(SearchModelContract):
    config = "Base-RCNN-C3.yaml"
    opts = (*RETINANET, "MODEL.SEQUENTIAL.LEARNS", "embedder")
    name = "SequentialSearch"
    losses = {"loss_id"}

    test_a_scene_without_detections = TestDetector.test_a_scene_without_detections

    @pytest.mark.parametrize("split_at", ["res2", "res3", "res4"])
    def test_the_detector_stays_as_it_is_to_the_last_bit(self, build, scenes, split_at):
        at = ("MODEL.BACKBONE.SPLIT_AT", split_at, "MODEL.REID.IN_FEATURES", [split_at])
        model = build(*at).train()
        before = {k: v.clone() for k, v in model.state_dict().items()}
        optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
        for _ in range(2):
            optimizer.zero_grad()
            sum(model(scenes([[0, 3], [1, -1]])).values()).backward()
            optimizer.step()
        changed = {k for k, v in model.state_dict().items() if not torch.equal(v, before[k])}
        assert changed and all(k.startswith("reid.") for k in changed)
        assert [*dict(model.reid.net.named_children())] == ["res3", "res4", "res5"][
            ["res2", "res3", "res4"].index(split_at) :
        ]
