"""BINet-style and DKD-style: which crop belongs to which RoI, who learns what, tests without."""

import copy

import pytest
import torch
import torch.nn.functional as F
from detectron2.modeling import build_model
from detectron2.structures import Boxes
from torch import nn

from person_search.data import build_mapper
from person_search.data.readers import PRW
from person_search.engine import PersonSearchCheckpointer
from person_search.errors import ConfigError, WeightsError
from person_search.labels import UNLABELED
from person_search.layers.crops import cut_crops
from person_search.layers.interaction import feature_interaction, prediction_interaction
from person_search.layers.oim import OIMLoss
from person_search.modeling.meta_arch.binet_style import BINetStyle

SMALL = (
    *("MODEL.REID.POOLER_RESOLUTION", (6, 3), "MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION", 4),
    *("INPUT.REID.SIZE", (64, 32)),
)
FOUND = ("MODEL.ROI_HEADS.SCORE_THRESH_TEST", 0.0)  # an untrained model is sure of nobody
BOXES = {"loss_rpn_cls", "loss_rpn_loc", "loss_cls", "loss_box_reg"}
BINET = BOXES | {"loss_oim", "loss_oim_crops"}
BINET |= {"loss_feature_interaction", "loss_prediction_interaction"}
DKD = BOXES | {"loss_id", "loss_id_teacher"}
DKD |= {"loss_distill_identity", "loss_distill_relation", "loss_distill_triplet"}
LOSSES = {"binet_style": BINET, "dkd_style": DKD}
C4_SOFTMAX = ("MODEL.META_ARCHITECTURE", "DKDStyle", "MODEL.REID.HEAD", "SoftmaxHead")
MRFP = (
    *("MODEL.RESNETS.OUT_FEATURES", ["res2", "res3"], "MODEL.REID.POOLER", "MRFP"),
    *("MODEL.REID.IN_FEATURES", ["res2", "res3"]),
)
NAE = ("MODEL.ROI_HEADS.NAME", "NormAwareROIHeads", "MODEL.REID.HEAD", "NormAwareHead")
SEQNET = ("MODEL.ROI_HEADS.NAME", "SeqNetROIHeads", "MODEL.REID.HEAD", "NormAwareHead")


@pytest.fixture
def build(tiny_cfg):
    """``build("dkd_style", *opts)``, a tiny model."""

    def make(name: str, *opts) -> nn.Module:
        torch.manual_seed(0)
        return build_model(tiny_cfg(*SMALL, *opts, config=f"Street/{name}.yaml"))

    return make


@pytest.fixture(params=["binet_style", "dkd_style"])
def name(request) -> str:
    return request.param


def trained_table(model: nn.Module) -> nn.Module:
    """As after some steps: an empty table gives no gradient."""
    table = model.roi_heads.reid.head.oim.table
    table.copy_(F.normalize(torch.randn(table.shape)))
    return model.train()


# Losses of any batch -------------------------------------------------------------------------

NORMAL = [[0, 3], [1, UNLABELED]]


@pytest.mark.parametrize("ids", [NORMAL, [[], []], [[UNLABELED], [UNLABELED] * 2]])
def test_who_has_losses_of_crops(build, scenes, name, ids):
    model = build(name).train()
    if name == "binet_style":
        trained_table(model)
    losses = model(scenes(ids))
    labeled = any(i >= 0 for of_image in ids for i in of_image)
    assert (losses["loss_oim_crops" if name == "binet_style" else "loss_id_teacher"] > 0) == labeled
    if name == "binet_style":  # an unlabeled person, too, has a crop to agree with
        assert (losses["loss_feature_interaction"] > 0) == any(ids)


@pytest.mark.parametrize(
    "config, opts, meta",
    [
        ("nae", NAE, "BINetStyle"),
        ("seqnet", SEQNET, "BINetStyle"),
        ("stl_mrfp", ("MODEL.REID.HEAD", "OIMHead"), "BINetStyle"),
        ("oim", ("MODEL.REID.HEAD", "SoftmaxHead"), "DKDStyle"),
        ("stl_mrfp", (), "DKDStyle"),
        (
            "oim",
            ("MODEL.ROI_HEADS.NAME", "SearchROIHeads", "MODEL.REID.HEAD", "SoftmaxHead"),
            "DKDStyle",
        ),
    ],
    ids=["NAE", "SeqNet", "OIM-C3-MRFP", "C4-shared", "STL-MRFP", "C4"],
)
def test_they_combine_with_other_models(build, scenes, config, opts, meta):
    model = build(config, *opts, "MODEL.META_ARCHITECTURE", meta).train()
    losses = model(scenes(NORMAL))
    assert losses.keys() >= LOSSES["binet_style" if meta == "BINetStyle" else "dkd_style"]
    sum(losses.values()).backward()
    for key, parameter in model.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None and parameter.grad.isfinite().all(), key


@pytest.mark.parametrize(
    "name, head, other",
    [("binet_style", "OIMHead", "SoftmaxHead"), ("dkd_style", "SoftmaxHead", "OIMHead")],
)
def test_heads_that_do_not_fit_are_refused_with_what_does(build, name, head, other):
    says = f"needs MODEL.ROI_HEADS.NAME with an embedder and MODEL.REID.HEAD {head},.* not "
    with pytest.raises(ConfigError, match=f"{says}.* and {other}"):
        build(name, "MODEL.REID.HEAD", other)
    with pytest.raises(ConfigError, match=f"{says}StandardROIHeads and"):
        build(name, "MODEL.ROI_HEADS.NAME", "StandardROIHeads")


def test_mixed_precision_gives_the_same_losses(build, scenes, name):
    def losses(enabled: bool) -> dict[str, torch.Tensor]:
        model = build(name).train()
        torch.manual_seed(2)
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            return model(scenes(NORMAL))

    full, mixed = losses(False), losses(True)
    for key in LOSSES[name] - BOXES:
        assert mixed[key].dtype == torch.float32
        assert mixed[key].item() == pytest.approx(full[key].item(), rel=0.2, abs=0.05), key


# Crops and RoIs ------------------------------------------------------------------------------


@pytest.mark.parametrize("rois", ["gt_jitter", "gt_moved", "fg"])
def test_a_roi_knows_the_crop_of_its_person(build, scenes, name, rois):
    """Among others, with an image without anybody and, in DKD, persons who are not cut out."""
    model = build(name, "MODEL.REID.ROIS", rois).train()
    seen, heads_forward = {}, model.roi_heads.forward

    def forward(*args):
        seen["rois"], losses = heads_forward(*args)
        return seen["rois"], losses

    def crop_losses(images, boxes, ids, embeddings, crops):
        seen.update(images=images, boxes=boxes, ids=ids, embeddings=embeddings, crops=crops)
        return {}

    model.roi_heads.forward, model.crop_losses = forward, crop_losses
    inputs = scenes([[0, UNLABELED, 3], [], [UNLABELED], [1, 2]])
    model(inputs)
    unlabeled = [UNLABELED] if name == "binet_style" else []
    first = [[6, 10, 26, 70], [36, 10, 56, 70], [66, 10, 86, 70]]
    assert seen["ids"].tolist() == [0, *unlabeled, 3, *unlabeled, 1, 2]
    assert seen["boxes"][0].tolist() == (first if unlabeled else first[::2])
    assert [len(b) for b in seen["boxes"]] == [3, 0, 1, 2] if unlabeled else [2, 0, 0, 2]
    assert set(seen["crops"].tolist()) == set(range(len(seen["ids"])))
    # The rows of the RoIs that are on one of these persons, in the order of the RoIs.
    lowest = UNLABELED if unlabeled else 0
    on_person = [x for x in seen["rois"] if x.has("gt_boxes")]
    keep = [x.gt_person_ids >= lowest for x in on_person]
    expected = torch.cat([x.embeddings[k] for x, k in zip(on_person, keep, strict=True)])
    persons = torch.cat([x.gt_boxes.tensor[k] for x, k in zip(on_person, keep, strict=True)])
    ids = torch.cat([x.gt_person_ids[k] for x, k in zip(on_person, keep, strict=True)])
    assert torch.equal(seen["embeddings"], expected)
    assert torch.equal(torch.cat(seen["boxes"])[seen["crops"]], persons)
    assert torch.equal(seen["ids"][seen["crops"]], ids)
    assert "gt_crop" not in inputs[0]["instances"].get_fields()  # the input stays as it is


# BINet-style ---------------------------------------------------------------------------------


def test_scenes_are_learned_as_without_crops(build, scenes):
    """The same losses, and the running statistics of batch norms that a test will use."""
    oim, binet = build("oim", *SMALL), build("binet_style")
    assert oim.state_dict().keys() == binet.state_dict().keys()  # nothing to load for a test
    binet.load_state_dict(oim.state_dict())
    inputs, found = scenes(NORMAL), {}
    for model in (oim.train(), binet.train()):
        torch.manual_seed(1)
        found[model] = model(inputs)
    for key, loss in found[oim].items():
        assert torch.equal(loss, found[binet][key]), key
    states = oim.state_dict(), binet.state_dict()
    statistics = [k for k in states[0] if "running" in k or "num_batches" in k]
    assert len(statistics) > 50
    assert all(torch.equal(states[0][k], states[1][k]) for k in statistics)
    with torch.no_grad():
        (a,), (b,) = (m.eval()(scenes([[0]])) for m in (oim, binet))
    assert torch.equal(a["instances"].pred_embeds, b["instances"].pred_embeds)


def test_the_interaction_losses_of_a_step(build, scenes):
    """Recomputed from what the head was given: RoIs first, which the table learns first."""
    model = trained_table(build("binet_style", "MODEL.BINET.FEATURE_WEIGHT", 0.5))
    oim, calls, crops = model.roi_heads.reid.head.oim, [], []
    replay = copy.deepcopy(oim)
    oim.register_forward_hook(lambda _, args, loss: calls.append((*args[:2], loss)))
    crop_losses = model.crop_losses
    model.crop_losses = lambda *args: crops.append(args[-1]) or crop_losses(*args)
    losses = model(scenes(NORMAL))
    (rois, roi_ids, first), (of_crops, crop_ids, second) = calls
    assert crop_ids.tolist() == [0, 3, 1, UNLABELED]
    torch.testing.assert_close(replay(rois, roi_ids), first)
    torch.testing.assert_close(replay(of_crops, crop_ids), second)
    assert all(torch.equal(v, oim.state_dict()[k]) for k, v in replay.state_dict().items())
    torch.testing.assert_close(losses["loss_oim_crops"], second)
    pair = rois[roi_ids >= UNLABELED], of_crops[crops[0]]
    expected = 0.5 * feature_interaction(*pair)
    torch.testing.assert_close(losses["loss_feature_interaction"], expected)
    rows = torch.cat([replay.table, replay.queue])
    expected = prediction_interaction(*(30 * x @ rows.T for x in pair))
    torch.testing.assert_close(losses["loss_prediction_interaction"], expected)


def test_a_crop_goes_through_the_whole_model(build, scenes):
    """As a scene that is nothing but that person; and its loss reaches every stage."""
    model = trained_table(build("binet_style"))
    crops = torch.randn(3, 3, 64, 32)
    embeddings, losses = model._rows_and_losses(crops, torch.tensor([0, 1, 2]))
    whole = [Boxes(torch.tensor([[0.0, 0.0, 32.0, 64.0]]))] * 3
    expected = model.roi_heads.reid(model.backbone(crops), whole)
    torch.testing.assert_close(embeddings, expected)
    losses["loss_oim"].backward()
    for part in (model.backbone.stem, model.backbone.res4, model.roi_heads.reid.net.res5):
        assert all(p.grad.abs().sum() > 0 for p in part.parameters())


def test_logits_of_the_table():
    oim = OIMLoss(num_ids=2, queue_size=1, dim=2, scale=10.0)
    oim.table.copy_(torch.tensor([[1.0, 0.0], [0.6, 0.8]]))
    torch.testing.assert_close(oim.logits(torch.tensor([[0.0, 1.0]])), torch.tensor([[0.0, 8, 0]]))


# DKD-style -----------------------------------------------------------------------------------


def test_the_teacher_learns_from_its_own_loss_alone_and_the_student_never_teaches(build, scenes):
    model = build("dkd_style").train()
    losses = model(scenes([[0, 1], [2, 3]]))
    teacher = [p for p in model.teacher.parameters() if p.requires_grad]
    student = [p for p in model.roi_heads.reid.parameters() if p.requires_grad]
    student.append(model.backbone.stem.conv1.weight)

    def reached(loss, parameters) -> set[bool]:
        grads = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
        return {grad is not None and grad.abs().sum().item() > 0 for grad in grads}

    assert reached(losses["loss_id_teacher"], teacher) == {True}
    assert reached(losses["loss_id_teacher"], student) == {False}
    for key in ("loss_distill_identity", "loss_distill_relation", "loss_distill_triplet"):
        assert reached(losses[key], teacher) == {False}, key
        assert reached(losses[key], student[-1:]) == {True}, key
    classifier = [model.roi_heads.reid.head.classifier.weight]
    assert reached(losses["loss_distill_identity"], classifier) == {True}


def test_weights_and_temperatures_of_the_distillation(build, scenes):
    def losses(*opts, **weights: float) -> dict[str, float]:
        model = build("dkd_style", *opts).train()
        for name, weight in weights.items():
            setattr(model, name, weight)
        for reid in (model.teacher.reid, model.roi_heads.reid):
            reid.head.classifier.weight.data.mul_(300)  # else nobody is likelier than others
        return {k: v.item() for k, v in model(scenes([[0, 1], [2, 3]])).items()}

    plain = losses()
    keys = {"identity": 0.5, "relation": 2.0, "triplet": 0.25}
    weighted = losses(**{f"{name}_weight": weight for name, weight in keys.items()})
    for key, weight in keys.items():
        found = weighted[f"loss_distill_{key}"]
        assert found == pytest.approx(weight * plain[f"loss_distill_{key}"], rel=1e-4)
    softened = losses("MODEL.DKD.IDENTITY_TEMPERATURE", 4.0, "MODEL.DKD.TRIPLET_TEMPERATURE", 1.0)
    for key, changes in {"identity": True, "relation": False, "triplet": True}.items():
        ratio = softened[f"loss_distill_{key}"] / plain[f"loss_distill_{key}"]
        assert (abs(ratio - 1) > 0.01) == changes, key


def test_the_teacher_sees_shifted_crops(build, scenes):
    """Without a shift the boxes themselves; with one, other windows of their size."""
    seen, inputs = [], scenes([[0, 1], [2]])
    for shift in (0.0, 0.1):
        model = build("dkd_style", "MODEL.DKD.SHIFT_CROPS", shift).train()
        model.teacher.backbone.register_forward_pre_hook(lambda _, crops: seen.append(crops[0]))
        model(inputs)
    images = model.preprocess_image(inputs).tensor
    exact = cut_crops(images, [x["instances"].gt_boxes.tensor for x in inputs], (64, 32))
    assert exact.shape == (3, 3, 64, 32) == seen[1].shape
    assert torch.equal(seen[0], exact) and not torch.allclose(seen[1], exact)


@torch.no_grad()
def test_a_test_does_not_need_the_teacher(build, tiny_cfg, scenes, tmp_path):
    model = build("dkd_style", *FOUND).eval()
    assert {k.split(".")[0] for k in model.state_dict()} >= {"teacher"}
    path = tmp_path / "without.pth"
    without = {k: v for k, v in model.state_dict().items() if not k.startswith("teacher.")}
    torch.save({"model": without}, path)
    (expected,) = model(scenes([[0]]))
    plain = build("baseline", *SMALL, *FOUND)
    for other in (build("dkd_style", *FOUND), plain):
        nn.init.zeros_(other.backbone.stem.conv1.weight)
        PersonSearchCheckpointer(other, complete=True).load(str(path))
        (found,) = other.eval()(scenes([[0]]))
        assert torch.equal(found["instances"].pred_embeds, expected["instances"].pred_embeds)
    del without["roi_heads.reid.head.bn.weight"]
    torch.save({"model": without}, path)
    with pytest.raises(WeightsError, match="needs, such as roi_heads.reid.head.bn.weight"):
        PersonSearchCheckpointer(plain, complete=True).load(str(path))


def test_pre_training_starts_student_and_teacher(build, tmp_path):
    """Base, identification net and BN neck of both; the classifier of neither."""
    opts = ("MODEL.META_ARCHITECTURE", "ReIDBaseline", "MODEL.REID.POOLER", "WholeImage")
    start = build("baseline", *opts)
    for tensor in start.state_dict().values():
        if tensor.is_floating_point():
            tensor.uniform_()
    torch.save({"model": start.state_dict()}, tmp_path / "w.pth")
    model = build("dkd_style")
    PersonSearchCheckpointer(model).load(str(tmp_path / "w.pth"))
    reid = model.roi_heads.reid
    for backbone, net, head in (
        (model.backbone, reid.net, reid.head),
        (model.teacher.backbone, model.teacher.reid.net, model.teacher.reid.head),
    ):
        for part, given in (
            (backbone, start.backbone),
            (net, start.reid.net),
            (head.bn, start.reid.head.bn),
        ):
            wanted = given.state_dict()
            assert all(
                torch.equal(v, wanted[k])
                for k, v in part.state_dict().items()
                if "num_batches" not in k
            )
        assert not torch.equal(head.classifier.weight, start.reid.head.classifier.weight)
    storage = {p.data_ptr() for p in model.teacher.parameters()}
    assert not storage & {p.data_ptr() for p in (*model.backbone.parameters(), *reid.parameters())}


# A few steps ---------------------------------------------------------------------------------


def test_two_drawn_frames_are_learned(build, tiny_cfg, street_root, name):
    frames = PRW.load(street_root / "street" / "tiny" / "PRW", "train").records[:2]
    opts = ("INPUT.MIN_SIZE_TRAIN", (160,), "INPUT.RANDOM_FLIP", "none")
    mapper = build_mapper(tiny_cfg(*opts), is_train=True)
    batch = [mapper(frame) for frame in frames]
    model = build(name, "MODEL.REID.NUM_IDS", 8).train()
    assert isinstance(model, BINetStyle) == (name == "binet_style")
    optimizer = torch.optim.Adam(model.parameters(), lr=0.003)
    history = []
    for _ in range(12):
        losses = model(batch)
        optimizer.zero_grad()
        sum(losses.values()).backward()
        optimizer.step()
        history.append({k: v.item() for k, v in losses.items()})
    # What is to agree with whom: at first all embeddings are alike, and few predictions differ.
    later = {"loss_distill_identity", "loss_distill_relation", "loss_prediction_interaction"}
    for key in LOSSES[name] - BOXES - later:
        late = sum(h[key] for h in history[-3:]) / 3
        assert late < 0.8 * max(h[key] for h in history[:4]), key
