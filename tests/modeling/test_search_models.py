"""Every model of this project that searches for persons keeps the contract."""

import pytest
import torch
from detectron2.data import MetadataCatalog
from search_model_contract import BOX_LOSSES, SearchModelContract


class TestSTL(SearchModelContract):
    config = "Street/baseline.yaml"
    name = "PersonSearchRCNN"
    losses = BOX_LOSSES | {"loss_id"}


class TestSTLWithMRFP(TestSTL):
    config = "Street/stl_mrfp.yaml"


class TestSTLWithFocalLoss(TestSTL):
    config = "Base-RCNN-C3.yaml"
    opts = ("MODEL.REID.ROIS", "fg", "MODEL.REID.ID_LOSS.NAME", "focal")


class TestOIM(SearchModelContract):
    config = "Street/oim.yaml"
    name = "PersonSearchRCNN"
    losses = BOX_LOSSES | {"loss_oim"}


class TestNAE(TestOIM):
    config = "Street/nae.yaml"


class TestSeqNet(SearchModelContract):
    config = "Street/seqnet.yaml"
    name = "PersonSearchRCNN"
    losses = BOX_LOSSES | {"loss_oim", "loss_cls_first", "loss_box_reg_first"}


class TestAlignPS(SearchModelContract):
    config = "Street/align_ps.yaml"
    name = "AlignPS"
    losses = {"loss_cls", "loss_box_reg", "loss_centerness", "loss_oim", "loss_triplet"}


class TestBINetStyle(SearchModelContract):
    config = "Street/binet_style.yaml"
    name = "BINetStyle"
    losses = BOX_LOSSES | {
        *("loss_oim", "loss_oim_crops"),
        *("loss_feature_interaction", "loss_prediction_interaction"),
    }


class TestDKDStyle(SearchModelContract):
    config = "Street/dkd_style.yaml"
    name = "DKDStyle"
    losses = BOX_LOSSES | {
        *("loss_id", "loss_id_teacher"),
        *("loss_distill_identity", "loss_distill_relation", "loss_distill_triplet"),
    }


class TestHybridPretrainer(SearchModelContract):
    config = "Base-Hybrid-Small.yaml"
    opts = ("DATASETS.TRAIN", ("toy_city", "toy_town"))
    name = "HybridPretrainer"
    losses = BOX_LOSSES | {"loss_oim", "loss_siamese", "loss_align_scene"}

    @pytest.fixture(autouse=True)
    def data_sets(self):
        for name in ("toy_city", "toy_town"):
            MetadataCatalog.get(name).set(evaluator_type="detection")
        yield
        for name in ("toy_city", "toy_town"):
            MetadataCatalog.remove(name)

    def batch(self, scenes, ids):
        """Two views of each image, of two data sets in turns."""
        views = scenes(ids, seed=0), scenes(ids, seed=1)
        for view in (*views[0], *views[1]):
            view["instances"].gt_index = torch.arange(len(view["instances"]))
        return [
            {"kind": "scene", "domain_id": k % 2, "views": pair}
            for k, pair in enumerate(zip(*views, strict=True))
        ]
