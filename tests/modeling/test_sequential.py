"""RetinaNet and replicas of its stages: either learns alone, and boxes are embedded as ever."""

import pytest
import torch
from search_model_contract import SearchModelContract

from person_search.engine import PersonSearchCheckpointer
from person_search.errors import ConfigError

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
        assert not any(p.requires_grad for p in ours.reid.head.parameters())
        with torch.no_grad():
            found, expected = (m.eval()(scenes([[1]]))[0]["instances"] for m in (ours, stock))
        assert torch.equal(found.pred_boxes.tensor, expected.pred_boxes.tensor)
        assert torch.equal(found.scores, expected.scores)

    def test_frozen_layers_stay_frozen(self, build):
        model = build("MODEL.BACKBONE.FREEZE_AT", 2)
        frozen = [model.backbone.base.stem, model.backbone.base.res2]
        assert not any(p.requires_grad for part in frozen for p in part.parameters())
        assert all(p.requires_grad for p in model.backbone.base.res3.parameters())

    def test_boxes_of_a_letterbox_are_in_pixels_of_the_frame(self, build, scenes):
        """The square reaches further to the right and below; boxes stay where they are."""
        model = build("MODEL.SEQUENTIAL.SQUARE", 256).eval()
        inputs = scenes([[0]], height=128, width=256)
        assert model.preprocess_image(inputs).tensor.shape == (1, 3, 256, 256)
        inputs[0] |= {"height": 64, "width": 128}  # the frame is half as large as the input
        with torch.no_grad():
            found = model(inputs)[0]["instances"]
        assert found.image_size == (64, 128) and len(found) > 1
        assert (found.pred_boxes.tensor <= torch.tensor([128.0, 64, 128, 64])).all()

    def test_a_picture_that_the_square_would_cut_off_is_refused(self, build, scenes):
        with pytest.raises(ConfigError, match="128x96.*SQUARE 64: set INPUT.MAX_SIZE_TRAIN"):
            build("MODEL.SEQUENTIAL.SQUARE", 64).eval()(scenes([[0]]))

    def test_an_illegal_cut_is_refused(self, build):
        with pytest.raises(ConfigError, match="SPLIT_AT is 'res5'; legal: res2, res3, res4"):
            build("MODEL.BACKBONE.SPLIT_AT", "res5")


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

    @pytest.mark.parametrize("split_at", ["res2", "res3", "res4"])
    def test_replicas_start_as_copies_of_the_detectors_stages(self, build, tmp_path, split_at):
        """From a checkpoint of the detector with another cut, or the same one."""
        detector = build("MODEL.SEQUENTIAL.LEARNS", "detector")
        for value in detector.state_dict().values():
            if value.is_floating_point():
                value.uniform_()
        PersonSearchCheckpointer(detector, str(tmp_path)).save("detector")
        at = ("MODEL.BACKBONE.SPLIT_AT", split_at, "MODEL.REID.IN_FEATURES", [split_at])
        model = build(*at)
        PersonSearchCheckpointer(model).load(str(tmp_path / "detector.pth"))
        wanted = detector.backbone.base
        for stage, replica in model.reid.net.named_children():
            for key, value in replica.state_dict().items():
                assert torch.equal(value, wanted.get_submodule(stage).state_dict()[key])
                own = model.backbone.base.get_submodule(stage).state_dict()[key]
                assert value.data_ptr() != own.data_ptr()
