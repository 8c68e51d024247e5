"""Every config of the repository loads and builds; the STL models have the paper's size."""

from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path

import pytest
import torch
import yaml
from detectron2.config import CfgNode, get_cfg
from detectron2.modeling import build_model
from torch import nn

from person_search import add_person_search_config
from person_search.config_files import BASE_KEY, CONFIGS, config_names, load_config_file

FILES = [CONFIGS / name for name in config_names()]


def load(path: Path, *opts) -> CfgNode:
    cfg = get_cfg()
    add_person_search_config(cfg)
    cfg.merge_from_file(path)
    cfg.merge_from_list(list(opts))
    return cfg


def built(path: Path, num_ids: int = 7) -> nn.Module:
    """The model in full size, without storage and so in no time."""
    cfg = load(path, "MODEL.DEVICE", "meta", "MODEL.REID.NUM_IDS", num_ids)
    with torch.device("meta"):
        return build_model(cfg)


def millions(module: nn.Module) -> float:
    return sum(p.numel() for p in module.parameters()) / 1e6


def test_every_config_builds():
    """Those whose models are the same are built once."""
    of_model = {}
    for path in FILES:
        model = load(path).MODEL
        model.WEIGHTS = ""
        of_model.setdefault(model.dump(), path)
    assert 20 < len(of_model) < len(FILES)
    for path in of_model.values():
        model = built(path, num_ids=7)
        head = getattr(model, "roi_heads", model).reid.head
        state = head.state_dict()
        tables = [state[k] for k in ("classifier.weight", "oim.table") if k in state]
        assert all(len(table) == 7 for table in tables), path


@pytest.mark.parametrize("name", [path.name for path in sorted((CONFIGS / "PRW").iterdir())])
def test_a_method_is_one_model_on_all_data_sets(name):
    models = [load(CONFIGS / data / name).MODEL for data in ("PRW", "CUHK-SYSU", "PoseTrack21")]
    for model in models:
        model.REID.OIM.QUEUE_SIZE = 5000  # of the data set
        if name == "align_ps.yaml":  # so are the authors' weights of the losses
            model.REID.OIM.SCALE, model.REID.TOIM.TRIPLET_WEIGHT = 10.0, 1.0
    assert models[0] == models[1] == models[2]


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(CONFIGS)))
def test_a_run_writes_where_its_config_lies(path):
    name = path.relative_to(CONFIGS).with_suffix("")
    is_family = name.name.startswith("Base-")
    assert load(path).OUTPUT_DIR == ("./output" if is_family else f"output/{name}")


def leaves_of(tree: dict, above: tuple = ()) -> Iterator[tuple]:
    for key, value in tree.items():
        yield from leaves_of(value, (*above, key)) if isinstance(value, dict) else [(*above, key)]


def without(tree: dict, key: tuple) -> dict:
    tree = deepcopy(tree)
    section = tree
    for part in key[:-1]:
        section = section[part]
    del section[key[-1]]
    return tree


def test_no_key_stands_twice_in_one_chain_with_one_value(monkeypatch):
    """Each key of each file, left out, changes a config that the file is part of."""
    contents = {path: yaml.safe_load(path.read_text()) for path in CONFIGS.rglob("*.yaml")}
    part_of = {path: set() for path in contents}

    def resolved(name: str) -> dict:
        def read(text: str) -> dict:
            part_of[Path(text)].add(name)
            return deepcopy(contents[Path(text)])

        with monkeypatch.context() as patch:
            patch.setattr(Path, "read_text", lambda path, **kwargs: str(path))
            patch.setattr(yaml, "safe_load", read)
            return load_config_file(CONFIGS / name)

    whole = {name: resolved(name) for name in config_names()}
    idle = []
    for path, content in list(contents.items()):
        for key in leaves_of(content):
            if key != (BASE_KEY,):
                contents[path] = without(content, key)
                if all(resolved(name) == whole[name] for name in sorted(part_of[path])):
                    idle.append((str(path.relative_to(CONFIGS)), ".".join(key)))
        contents[path] = content
    assert idle == []


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(CONFIGS)))
def test_every_config_survives_being_written_and_read(path, tmp_path):
    cfg = load(path)
    copy = tmp_path / "config.yaml"
    copy.write_text(cfg.dump())
    again = load(copy)
    for section in ("DATASETS", "INPUT", "SOLVER", "TEST"):
        assert again[section] == cfg[section]
    for section in ("BACKBONE", "RESNETS", "REID", "ANCHOR_GENERATOR", "RPN", "ROI_HEADS"):
        assert again.MODEL[section] == cfg.MODEL[section]


def test_there_are_configs_of_every_variant_for_all_data_sets():
    variants = ("baseline", "baseline_mrfp", "stl", "stl_mrfp", "oim", "nae", "seqnet")
    variants += ("binet_style", "dkd_style", "align_ps")
    for folder in ("PRW", "CUHK-SYSU", "PoseTrack21", "Street"):
        assert {p.stem for p in (CONFIGS / folder).iterdir()} >= {*variants}


@pytest.mark.parametrize(
    "name, total", [("baseline", 52.7), ("stl", 52.7), ("baseline_mrfp", 53.9), ("stl_mrfp", 53.9)]
)
def test_parameters_of_stl(name, total):
    model = built(CONFIGS / "PRW" / f"{name}.yaml", num_ids=483)
    heads = model.roi_heads
    assert millions(model.proposal_generator) == pytest.approx(2.39, abs=0.005)
    assert millions(heads.box_head) + millions(heads.box_predictor) == pytest.approx(
        26.75, abs=0.005
    )
    assert millions(heads.reid.net.res4) == pytest.approx(7.10, abs=0.005)
    assert millions(heads.reid.net.res5) == pytest.approx(14.96, abs=0.005)
    assert millions(heads.reid.pooler) == pytest.approx(1.22 if "mrfp" in name else 0, abs=0.005)
    assert millions(heads.reid.head.classifier) == 483 * 2048 / 1e6
    without_classifier = millions(model) - millions(heads.reid.head.classifier)
    assert without_classifier == pytest.approx(total, abs=0.06)


def test_what_the_paper_fixes():
    """STL, sections 3.1 to 4.3."""
    cfg = load(CONFIGS / "PRW" / "stl_mrfp.yaml")
    assert cfg.MODEL.RESNETS.DEPTH == 50 and cfg.MODEL.RESNETS.IBN == "a"
    assert cfg.MODEL.BACKBONE.SPLIT_AT == "res3" and cfg.MODEL.REID.LAST_STRIDE == 1
    assert tuple(cfg.MODEL.REID.POOLER_RESOLUTION) == (32, 16)
    assert cfg.MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION == 7
    assert cfg.MODEL.ROI_HEADS.NUM_CLASSES == 1
    assert (cfg.INPUT.MIN_SIZE_TRAIN, cfg.INPUT.MAX_SIZE_TRAIN) == ((640,), 960)
    assert (cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST) == (640, 960)
    assert cfg.INPUT.FORMAT == "RGB"
    solver = cfg.SOLVER
    assert (solver.IMS_PER_BATCH, solver.BASE_LR, solver.EPOCHS) == (16, 0.005, 20)
    assert tuple(solver.STEP_EPOCHS) == (12,) and solver.GAMMA == 0.1
    assert solver.WEIGHT_DECAY == 1e-4
    assert cfg.TEST.SEARCH.SCORE_THRESH == 0.5 and cfg.MODEL.REID.LOSS_WEIGHT == 1.0


@pytest.mark.parametrize("data, queue", [("PRW", 500), ("CUHK-SYSU", 5000)])
@pytest.mark.parametrize("name", ["oim", "nae", "seqnet"])
def test_what_the_authors_of_nae_and_seqnet_fix(data, queue, name):
    cfg = load(CONFIGS / data / f"{name}.yaml")
    model = cfg.MODEL
    assert model.RESNETS.DEPTH == 50 and model.BACKBONE.SPLIT_AT == "res4"
    assert tuple(model.REID.POOLER_RESOLUTION) == (14, 14) and model.REID.LAST_STRIDE == 2
    assert model.REID.EMBEDDING_DIM == 256
    assert model.REID.GLOBAL_POOLING == ("avg" if name == "oim" else "max")
    oim = model.REID.OIM
    assert (oim.QUEUE_SIZE, oim.MOMENTUM, oim.SCALE) == (queue, 0.5, 30.0)
    assert (cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST) == (900, 1500)
    assert model.ROI_HEADS.BATCH_SIZE_PER_IMAGE == 128
    assert model.ROI_BOX_HEAD.SMOOTH_L1_BETA == 1.0
    solver = cfg.SOLVER
    assert (solver.IMS_PER_BATCH, solver.BASE_LR, tuple(solver.STEP_EPOCHS)) == (5, 0.003, (16,))
    assert (solver.WEIGHT_DECAY, solver.WEIGHT_DECAY_BIAS) == (5e-4, 0.0)
    seqnet_epochs = 18 if data == "PRW" else 20
    assert solver.EPOCHS == (seqnet_epochs if name == "seqnet" else 22)
    # Background: IoU below .1 in NAE, where the rest is left out; below .5 in the others.
    bounds, labels = ([0.1, 0.5], [0, -1, 1]) if name == "nae" else ([0.5], [0, 1])
    assert (model.ROI_HEADS.IOU_THRESHOLDS, model.ROI_HEADS.IOU_LABELS) == (bounds, labels)
    assert model.ROI_BOX_HEAD.BBOX_REG_LOSS_WEIGHT == (1.0 if name == "oim" else 10.0)
    assert model.SECOND_STAGE.BBOX_REG_LOSS_WEIGHT == 1.0
    assert cfg.TEST.SEARCH.SCORE_WEIGHTING == (name != "oim")


@pytest.mark.parametrize(
    "data, decay, scale, triplet, thresh",
    [("PRW", 1e-3, 15.0, 0.0, 0.15), ("CUHK-SYSU", 1e-4, 10.0, 1.0, 0.2)],
)
def test_what_the_authors_of_align_ps_fix(data, decay, scale, triplet, thresh):
    cfg = load(CONFIGS / data / "align_ps.yaml")
    reid, solver = cfg.MODEL.REID, cfg.SOLVER
    assert (reid.OIM.SCALE, reid.TOIM.QUEUE_SCALE, reid.TOIM.TRIPLET_WEIGHT) == (scale, 10, triplet)
    assert (reid.OIM.QUEUE_SIZE, reid.EMBEDDING_DIM) == (500 if data == "PRW" else 5000, 256)
    assert cfg.MODEL.RESNETS.NORM == "FrozenBN" and cfg.MODEL.BACKBONE.FREEZE_AT == 2
    assert (solver.IMS_PER_BATCH, solver.BASE_LR, solver.BIAS_LR_FACTOR) == (4, 0.001, 2.0)
    assert (solver.EPOCHS, tuple(solver.STEP_EPOCHS)) == (24, (16, 22))
    assert (solver.WEIGHT_DECAY, solver.WEIGHT_DECAY_BIAS) == (decay, 0.0)
    assert solver.CLIP_GRADIENTS.CLIP_VALUE == 35.0
    assert tuple(cfg.INPUT.MIN_SIZE_TRAIN) == (400, 600, 800, 900, 1000, 1200)
    assert (cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST) == (900, 1500)
    model = cfg.MODEL
    assert (model.ROI_HEADS.SCORE_THRESH_TEST, model.ROI_HEADS.NMS_THRESH_TEST) == (0.05, 0.5)
    assert (model.RPN.PRE_NMS_TOPK_TEST, cfg.TEST.DETECTIONS_PER_IMAGE) == (1000, 100)
    assert cfg.TEST.SEARCH.SCORE_THRESH == thresh


def test_what_the_levels_of_align_ps_are_made_of():
    """P3 of three laterals, P4 of two, P5 of one."""
    model = built(CONFIGS / "CUHK-SYSU" / "align_ps.yaml")
    assert [layer.conv.in_channels for layer in model.neck.laterals] == [512, 1024, 2048]
    assert [layer.conv.in_channels for layer in model.neck.outputs] == [768, 512, 256]
    assert {layer.conv.out_channels for layer in model.neck.outputs} == {256}


def test_the_parts_of_the_c4_models_have_the_size_of_the_papers():
    """ResNet-50: 1.22 + 7.10 million of res3 and res4 in the base, 14.96 of every res5."""
    for name, stages in {"oim": 1, "nae": 1, "seqnet": 2}.items():
        model = built(CONFIGS / "PRW" / f"{name}.yaml")
        heads = model.roi_heads
        copies = [heads.reid.net] + ([heads.first.box_head.net] if stages == 2 else [])
        assert [millions(net) for net in copies] == [pytest.approx(14.96, abs=0.005)] * stages
        assert millions(model.backbone) == pytest.approx(8.54, abs=0.01)
        assert heads.reid.head.embedding_dim == 256
        with torch.device("meta"):
            maps = heads.reid.net(torch.zeros(3, 1024, 14, 14))
            assert maps.shape == (3, 2048, 7, 7)
    parts = [tuple(part[0].weight.shape) for part in heads.reid.head.projectors]
    assert parts == [(128, 1024), (128, 2048)]


@pytest.mark.parametrize("data", ["PRW", "Street"])
def test_what_binet_style_and_dkd_style_add(data):
    """Nothing but losses; and a whole backbone with a head, which a test does not need."""
    oim, binet, stl, dkd = (
        built(CONFIGS / data / f"{name}.yaml")
        for name in ("oim", "binet_style", "baseline", "dkd_style")
    )
    assert binet.state_dict().keys() == oim.state_dict().keys()
    teacher = {k for k in dkd.state_dict() if k.startswith(dkd.training_only)}
    assert dkd.state_dict().keys() - teacher == stl.state_dict().keys()
    of_student = sum(map(millions, (dkd.backbone, dkd.roi_heads.reid)))
    assert millions(dkd.teacher) == pytest.approx(of_student)


@pytest.mark.parametrize("data, batch", [("PRW", 64), ("CUHK-SYSU", 256)])
def test_what_the_paper_fixes_of_the_pre_training(data, batch):
    """STL, sections 3.1 and 4.3; what it does not say is that of "Bag of Tricks"."""
    cfg = load(CONFIGS / "ReID-Pretrain" / f"{data}.yaml")
    search = load(CONFIGS / data / "stl_mrfp.yaml")
    for key in ("DEPTH", "IBN", "STRIDE_IN_1X1", "RES2_OUT_CHANNELS", "STEM_OUT_CHANNELS"):
        assert cfg.MODEL.RESNETS[key] == search.MODEL.RESNETS[key]
    assert cfg.MODEL.PIXEL_MEAN == search.MODEL.PIXEL_MEAN
    assert cfg.MODEL.REID.LAST_STRIDE == 1 and cfg.MODEL.REID.ID_LOSS.LABEL_SMOOTHING == 0.1
    reid = cfg.MODEL.REID
    assert reid.CENTER_WEIGHT == 5e-4
    assert tuple(cfg.INPUT.REID.SIZE) == (256, 128)
    assert (cfg.INPUT.REID.PAD, cfg.INPUT.REID.ERASE_PROB) == (10, 0.5)
    solver = cfg.SOLVER
    assert (solver.OPTIMIZER, solver.BASE_LR, solver.EPOCHS) == ("Adam", 3.5e-4, 120)
    assert solver.WEIGHT_DECAY == solver.WEIGHT_DECAY_NORM == 5e-4
    assert tuple(solver.STEP_EPOCHS) == (40, 70) and solver.GAMMA == 0.1
    assert (solver.WARMUP_EPOCHS, solver.WARMUP_FACTOR) == (10, 0.1)
    assert solver.IMS_PER_BATCH == batch
    assert cfg.DATALOADER.CLASS_AWARE and cfg.DATALOADER.NUM_INSTANCE == 4


def test_a_crop_has_the_resolution_of_the_rois():
    model = built(CONFIGS / "ReID-Pretrain" / "PRW.yaml")
    with torch.device("meta"):
        features = model.backbone(torch.zeros(2, 3, 256, 128))
        pooled = model.reid.pool_crops(features)
        assert pooled.shape == (2, 512, 32, 16)
        assert model.reid.encode(pooled)["res5"].shape == (2, 2048, 16, 8)
        assert model.eval().reid.embed_crops(features).shape == (2, 2048)


def test_mrfp_rois_have_the_shapes_of_the_paper():
    reid = built(CONFIGS / "PRW" / "stl_mrfp.yaml").roi_heads.reid
    assert reid.pooler.fine_pooler.output_size == (64, 32)
    assert reid.pooler.coarse_pooler.output_size == (32, 16)
    with torch.device("meta"):
        fused = reid.pooler.neck(torch.zeros(3, 256, 64, 32))
        assert fused.shape == (3, 512, 32, 16)
        maps = reid.net(fused)
        assert maps.shape == (3, 2048, 16, 8)
        assert reid.head.eval()({"res5": maps}).shape == (3, 2048)


@pytest.mark.parametrize("key", ["MODEL.REID.POOLR", "TEST.SEARCH.THRESH", "SOLVER.EPOCH"])
def test_unknown_keys_are_refused(key, tmp_path):
    with pytest.raises(AssertionError, match=f"Non-existent key: {key}"):
        load(FILES[0], key, 1)
    first, *middle, last = key.split(".")
    text = f"{last}: 1"
    for part in (*reversed(middle), first):
        text = f"{part}: {{{text}}}"
    path = tmp_path / "typo.yaml"
    path.write_text(f"VERSION: 2\n{text}\n")
    with pytest.raises(KeyError, match=f"Non-existent config key: {key}"):
        load(path)
