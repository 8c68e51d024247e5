"""The checkpointer: what it takes from a file, what it refuses, and resuming."""

import logging
import pickle
from pathlib import Path

import pytest
import torch
from detectron2.modeling import build_model
from torch import nn

from person_search.engine import PersonSearchCheckpointer, TrainingSets
from person_search.errors import WeightsError


def built(cfg) -> nn.Module:
    """A model of which every number is random, so that no two models share a tensor."""
    model = build_model(cfg)
    for tensor in model.state_dict().values():
        if tensor.is_floating_point():
            tensor.uniform_()
    return model


@pytest.fixture
def model(tiny_cfg) -> nn.Module:
    return built(tiny_cfg(mrfp=True))


def saved(state: dict, path: Path) -> str:
    torch.save(state, path)
    return str(path)


def backbone_only(model: nn.Module) -> dict[str, torch.Tensor]:
    """Every stage once, as in a file of ImageNet weights with detectron2's names."""
    state = model.backbone.state_dict() | model.roi_heads.reid.net.state_dict()
    return {k: v.clone() for k, v in state.items()}


def differing(a: nn.Module, b: nn.Module) -> set[str]:
    theirs = b.state_dict()
    return {
        k
        for k, v in a.state_dict().items()
        if not k.endswith("num_batches_tracked") and not torch.equal(v, theirs[k])
    }


# What is taken -------------------------------------------------------------------------------


def test_a_checkpoint_of_ours_comes_back_whole(model, tiny_cfg, tmp_path):
    PersonSearchCheckpointer(model, str(tmp_path)).save("model_final")
    other = built(tiny_cfg(mrfp=True))
    assert len(differing(other, model)) > 150
    PersonSearchCheckpointer(other, complete=True).load(str(tmp_path / "model_final.pth"))
    assert differing(other, model) == set()
    # The neck had weights of its own, and kept them.
    neck = other.roi_heads.reid.pooler.neck.res3[0].conv1.weight
    assert not torch.equal(neck, other.backbone.res3[0].conv1.weight)


def test_prefix_of_distributed_training_is_dropped(model, tiny_cfg, tmp_path):
    state = {f"module.{k}": v for k, v in model.state_dict().items()}
    other = built(tiny_cfg(mrfp=True))
    PersonSearchCheckpointer(other, complete=True).load(saved(state, tmp_path / "ddp.pth"))
    assert differing(other, model) == set()


def test_backbone_weights_reach_every_stage_and_nothing_else(model, tiny_cfg, tmp_path, caplog):
    other, untouched = built(tiny_cfg(mrfp=True)), built(tiny_cfg(mrfp=True))
    untouched.load_state_dict(other.state_dict())
    with caplog.at_level(logging.INFO):
        PersonSearchCheckpointer(other).load(saved(backbone_only(model), tmp_path / "res.pth"))
    for name in ("backbone", "roi_heads.reid.net"):
        assert differing(other.get_submodule(name), model.get_submodule(name)) == set()
    neck = other.roi_heads.reid.pooler.neck.res3
    assert differing(neck, model.backbone.res3) == set()
    for name in ("proposal_generator", "roi_heads.box_head", "roi_heads.reid.head"):
        assert differing(other.get_submodule(name), untouched.get_submodule(name)) == set()
    text = caplog.text
    assert "weights: roi_heads.reid.pooler.neck.res3 <- res3" in text
    assert "start fresh: " in text and "proposal_generator.rpn_head" in text


def test_a_single_level_checkpoint_starts_mrfp(model, tiny_cfg, tmp_path):
    single = built(tiny_cfg())
    path = saved({"model": single.state_dict()}, tmp_path / "single.pth")
    PersonSearchCheckpointer(model).load(path)
    assert differing(model.roi_heads.reid.pooler.neck.res3, single.backbone.res3) == set()
    assert differing(model.proposal_generator, single.proposal_generator) == set()


def test_an_mrfp_checkpoint_starts_single_level(model, tiny_cfg, tmp_path):
    single = built(tiny_cfg())
    path = saved({"model": model.state_dict()}, tmp_path / "mrfp.pth")
    PersonSearchCheckpointer(single, complete=True).load(path)
    assert differing(single, model) == set()


def test_a_classifier_of_other_identities_starts_fresh(model, tiny_cfg, tmp_path, caplog):
    path = saved({"model": model.state_dict()}, tmp_path / "w.pth")
    other = built(tiny_cfg(mrfp=True, num_ids=9))
    before = other.roi_heads.reid.head.classifier.weight.clone()
    with caplog.at_level(logging.WARNING):
        PersonSearchCheckpointer(other).load(path)
    assert torch.equal(other.roi_heads.reid.head.classifier.weight, before)
    assert "of another shape, left out: roi_heads.reid.head.classifier.weight" in caplog.text
    assert torch.equal(other.roi_heads.reid.head.bn.weight, model.roi_heads.reid.head.bn.weight)


def test_a_model_without_classifier_is_complete(model, tiny_cfg, tmp_path):
    path = saved({"model": model.state_dict()}, tmp_path / "w.pth")
    without = built(tiny_cfg(mrfp=True, num_ids=0))
    PersonSearchCheckpointer(without, complete=True).load(path)
    assert torch.equal(without.backbone.res3[0].conv1.weight, model.backbone.res3[0].conv1.weight)


def test_no_path_keeps_the_random_weights_and_says_so(model, caplog):
    before = {k: v.clone() for k, v in model.state_dict().items()}
    with caplog.at_level(logging.WARNING):
        assert PersonSearchCheckpointer(model).load("") == {}
    assert "MODEL.WEIGHTS is empty" in caplog.text
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


# What is refused -----------------------------------------------------------------------------


def refused(model: nn.Module, path, says: str, complete: bool = False) -> str:
    """The message; the model must not have changed."""
    before = {k: v.clone() for k, v in model.state_dict().items()}
    with pytest.raises(WeightsError, match=says) as error:
        PersonSearchCheckpointer(model, complete=complete).load(str(path))
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    return str(error.value)


def test_a_backbone_of_another_width(model, tiny_cfg, tmp_path):
    wider = built(tiny_cfg("MODEL.RESNETS.RES2_OUT_CHANNELS", 32))
    path = saved(backbone_only(wider), tmp_path / "w.pth")
    message = refused(model, path, "of another backbone: backbone.res2.0.conv1.weight")
    assert "(32, 16, 3, 3) in the file, (16, 16, 3, 3) here" in message
    assert "RES2_OUT_CHANNELS" in message


def test_a_backbone_of_another_kind_of_block(model, tiny_cfg, tmp_path):
    bottlenecks = tiny_cfg("MODEL.RESNETS.DEPTH", 50, "MODEL.RESNETS.RES2_OUT_CHANNELS", 64)
    path = saved(backbone_only(built(bottlenecks)), tmp_path / "w.pth")
    refused(model, path, "of another backbone: .*res2.0.conv1.*MODEL.RESNETS.DEPTH")


def test_a_shallower_backbone(model, tiny_cfg, tmp_path):
    deeper = built(tiny_cfg("MODEL.RESNETS.DEPTH", 34))
    path = saved(backbone_only(model), tmp_path / "w.pth")
    refused(deeper, path, "lacks .* keys of the backbone, such as .*res2.2.*MODEL.RESNETS.DEPTH")


def test_a_deeper_backbone(model, tiny_cfg, tmp_path):
    """Its first blocks would fit by shape, as those of a ResNet-101 fit a ResNet-50."""
    deeper = backbone_only(built(tiny_cfg("MODEL.RESNETS.DEPTH", 34)))
    path = saved(deeper, tmp_path / "w.pth")
    refused(model, path, "of a deeper backbone: .*res2.2.conv1.*MODEL.RESNETS.DEPTH")


def test_stages_that_the_model_lacks_do_no_harm(tiny_cfg, tmp_path):
    whole, base = (built(tiny_cfg()).backbone for _ in range(2))
    further = {"layer3.7.conv1.weight": torch.zeros(1), "res5.0.conv1.weight": torch.zeros(1)}
    PersonSearchCheckpointer(base).load(saved(whole.state_dict() | further, tmp_path / "w.pth"))
    assert differing(base, whole) == set()


def test_ibn_weights_do_not_fit_a_plain_resnet(model, tiny_cfg, tmp_path):
    plain = built(tiny_cfg("MODEL.RESNETS.IBN", "", mrfp=True))
    path = saved(backbone_only(model), tmp_path / "w.pth")
    refused(plain, path, "res2.0.conv1.norm.weight.*IBN file does not fit a plain ResNet")


def test_a_backbone_alone_cannot_be_evaluated(model, tmp_path):
    path = saved(backbone_only(model), tmp_path / "w.pth")
    message = refused(model, path, "lacks .* keys that the model needs", complete=True)
    assert "proposal_generator" in message and "model_final.pth" in message


def test_a_checkpoint_without_neck_can_be_evaluated_by_nobody(model, tiny_cfg, tmp_path):
    """MRFP's neck would be filled from res3, but the embeddings' BN must not be fresh either."""
    state = built(tiny_cfg()).state_dict()
    state = {k: v for k, v in state.items() if ".head.bn." not in k}
    path = saved({"model": state}, tmp_path / "w.pth")
    refused(model, path, "keys that the model needs, such as roi_heads.reid.head.bn", complete=True)


def test_files_without_a_resnet(model, tmp_path):
    refused(model, saved({"fc.weight": torch.zeros(2)}, tmp_path / "a.pth"), "keys of the backbone")
    refused(model, saved({}, tmp_path / "b.pth"), "an empty dict, and no state dict")


@pytest.mark.parametrize("name", ["absent.pth", "output", "../model_final.pth"])
def test_a_missing_file(model, tmp_path, name):
    (tmp_path / "output").mkdir()
    refused(model, tmp_path / name, f"no weights file .*{name}.*MODEL.WEIGHTS")


def test_an_address_that_does_not_answer(model, tmp_path, monkeypatch):
    monkeypatch.setenv("FVCORE_CACHE", str(tmp_path))
    refused(model, "http://127.0.0.1:9/r50.pth", "cannot fetch .*r50.pth.*MODEL.WEIGHTS")


@pytest.mark.parametrize("suffix", [".pth", ".pkl"])
def test_damaged_files(model, tmp_path, suffix):
    whole = tmp_path / f"whole{suffix}"
    if suffix == ".pth":
        torch.save({"model": model.state_dict()}, whole)
    else:
        arrays = {k: v.numpy() for k, v in model.state_dict().items()}
        whole.write_bytes(pickle.dumps({"model": arrays, "__author__": "me"}))
    data = whole.read_bytes()
    for name, content in {"half": data[: len(data) // 2], "empty": b"", "text": b"<html>"}.items():
        path = tmp_path / (name + suffix)
        path.write_bytes(content)
        refused(model, path, f"{name}{suffix} is not a readable weights file")


@pytest.mark.parametrize(
    "content",
    [[1, 2], "weights", {"epoch": 3, "model": {"epoch": 3}}, {"state_dict": {}, "epoch": 3}, 5],
    ids=["list", "text", "numbers", "wrapped", "number"],
)
def test_files_that_are_no_state_dict(model, tmp_path, content):
    message = refused(model, saved(content, tmp_path / "x.pth"), "x.pth is not a readable weights")
    assert "no state dict" in message


def test_a_file_with_objects_in_it(model, tmp_path):
    path = saved({"model": model.state_dict(), "args": Path("x")}, tmp_path / "objects.pth")
    refused(model, path, "objects.pth is not a readable weights file")


def test_a_checkpointer_survives_a_refused_file(model, tiny_cfg, tmp_path):
    other = built(tiny_cfg(mrfp=True))
    checkpointer = PersonSearchCheckpointer(other)
    bad = tmp_path / "bad.pth"
    bad.write_bytes(b"")
    with pytest.raises(WeightsError):
        checkpointer.load(str(bad))
    checkpointer.load(saved({"model": model.state_dict()}, tmp_path / "good.pth"))
    assert differing(other, model) == set()


# Resuming ------------------------------------------------------------------------------------


def trained(model: nn.Module) -> torch.optim.Optimizer:
    """An optimizer with momentum of one step."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    sum(p.square().sum() for p in model.parameters() if p.requires_grad).backward()
    optimizer.step()
    return optimizer


def test_resuming_restores_model_optimizer_and_iteration(model, tiny_cfg, tmp_path):
    optimizer = trained(model)
    writer = PersonSearchCheckpointer(model, str(tmp_path), optimizer=optimizer)
    writer.save("model_0000004", iteration=4)
    writer.save("model_0000009", iteration=9)

    other = built(tiny_cfg(mrfp=True))
    fresh = torch.optim.SGD(other.parameters(), lr=0.5, momentum=0.9)
    reader = PersonSearchCheckpointer(other, str(tmp_path), optimizer=fresh)
    assert reader.resume_or_load("nowhere.pth", resume=True) == {"iteration": 9}
    assert differing(other, model) == set()
    assert fresh.param_groups[0]["lr"] == 0.1
    momenta = [
        [state["momentum_buffer"] for state in of.state_dict()["state"].values()]
        for of in (optimizer, fresh)
    ]
    assert len(momenta[0]) > 50
    assert all(torch.equal(a, b) for a, b in zip(*momenta, strict=True))


def test_without_resume_only_the_model_is_loaded(model, tiny_cfg, tmp_path):
    writer = PersonSearchCheckpointer(model, str(tmp_path), optimizer=trained(model))
    writer.save("model_final", iteration=9)
    other = built(tiny_cfg(mrfp=True))
    fresh = torch.optim.SGD(other.parameters(), lr=0.5, momentum=0.9)
    reader = PersonSearchCheckpointer(other, str(tmp_path), optimizer=fresh)
    reader.resume_or_load(str(tmp_path / "model_final.pth"), resume=False)
    assert differing(other, model) == set()
    assert fresh.param_groups[0]["lr"] == 0.5 and not fresh.state


def test_resuming_from_a_checkpoint_that_was_deleted(model, tmp_path):
    PersonSearchCheckpointer(model, str(tmp_path)).save("model_0000004", iteration=4)
    (tmp_path / "model_0000004.pth").unlink()
    with pytest.raises(WeightsError, match="model_0000004.pth"):
        PersonSearchCheckpointer(model, str(tmp_path)).resume_or_load("", resume=True)


# What a run remembers of its persons -----------------------------------------------------------


@pytest.mark.parametrize("same_data", [True, False])
def test_table_and_queue_start_anew_from_the_weights_of_another_run(
    tiny_cfg, tmp_path, caplog, same_data
):
    def heads(num_ids: int) -> nn.Module:
        return built(tiny_cfg(num_ids=num_ids, config="Street/oim.yaml"))

    model, other = heads(5), heads(5 if same_data else 9)
    path = saved({"model": model.state_dict()}, tmp_path / "w.pth")
    before = {k: v.clone() for k, v in other.state_dict().items() if ".oim." in k}
    with caplog.at_level(logging.INFO):
        PersonSearchCheckpointer(other).resume_or_load(path, resume=False)
    assert {k: torch.equal(v, other.state_dict()[k]) for k, v in before.items()} == dict.fromkeys(
        before, True
    )
    assert "start anew, since they are of one run: roi_heads.reid.head (3)" in caplog.text
    if same_data:
        assert differing(other, model) <= set(before)
    PersonSearchCheckpointer(other, complete=True).resume_or_load(path, resume=False)


def test_a_run_is_resumed_with_table_and_queue(tiny_cfg, tmp_path):
    model, other = (built(tiny_cfg(config="Street/seqnet.yaml")) for _ in range(2))
    PersonSearchCheckpointer(model, str(tmp_path)).save("model_0000004", iteration=4)
    PersonSearchCheckpointer(other, str(tmp_path)).resume_or_load("", resume=True)
    assert differing(other, model) == set()


@pytest.mark.parametrize("config", ["Base-RCNN-C3.yaml", "Street/oim.yaml"])
def test_a_run_of_other_data_is_not_resumed_but_can_be_evaluated(tiny_cfg, tmp_path, config):
    writer = PersonSearchCheckpointer(built(tiny_cfg(config=config)), str(tmp_path))
    writer.save("model_0000004", iteration=4)
    other = built(tiny_cfg(num_ids=9, config=config))
    with pytest.raises(WeightsError, match=r"cannot be resumed: .* is \(5, .*, \(9, .*DATASETS.TR"):
        PersonSearchCheckpointer(other, str(tmp_path)).resume_or_load("", resume=True)
    PersonSearchCheckpointer(other, str(tmp_path), complete=True).resume_or_load("", resume=True)


def test_a_run_of_as_many_other_persons_is_not_resumed(tiny_cfg, tmp_path):
    def checkpointer(model: nn.Module, *names: str, **others) -> PersonSearchCheckpointer:
        sets = TrainingSets(names)
        return PersonSearchCheckpointer(model, str(tmp_path), train_sets=sets, **others)

    model, other = (built(tiny_cfg(config="Street/oim.yaml")) for _ in range(2))
    checkpointer(model, "one", "two").save("model_0000004", iteration=4)
    with pytest.raises(WeightsError, match=r"DATASETS.TRAIN is \['one', 'two'\].*\['two', 'one'\]"):
        checkpointer(other, "two", "one").resume_or_load("", resume=True)
    checkpointer(other, "two", "one").resume_or_load(
        str(tmp_path / "model_0000004.pth"), resume=False
    )
    checkpointer(other, "one", "two").resume_or_load("", resume=True)
    assert differing(other, model) == set()


# From re-ID pre-training to person search ------------------------------------------------------

PRE_TRAINING = (
    *("MODEL.META_ARCHITECTURE", "ReIDBaseline", "MODEL.REID.POOLER", "WholeImage"),
    *("MODEL.REID.HEAD", "BagOfTricksHead"),
)


def test_pre_training_reaches_a_person_search_model(model, tiny_cfg, tmp_path, caplog):
    """Base, identification net, BN neck, and the neck of MRFP; not the classifier (STL, step 2)."""
    baseline = built(tiny_cfg(*PRE_TRAINING))  # as many identities: the classifier would fit
    PersonSearchCheckpointer(baseline, str(tmp_path)).save("model_final")
    before = {k: v.clone() for k, v in model.state_dict().items()}
    with caplog.at_level(logging.INFO):
        PersonSearchCheckpointer(model).load(str(tmp_path / "model_final.pth"))
    reid = model.roi_heads.reid
    assert differing(model.backbone, baseline.backbone) == set()
    assert differing(reid.net, baseline.reid.net) == set()
    assert differing(reid.pooler.neck.res3, baseline.backbone.res3) == set()
    assert differing(reid.head.bn, baseline.reid.head.bn) == set()
    taken = (
        "backbone.",
        "roi_heads.reid.net.",
        "roi_heads.reid.pooler.",
        "roi_heads.reid.head.bn.",
    )
    others = [k for k in before if not k.startswith(taken)]
    assert "roi_heads.reid.head.classifier.weight" in others
    assert all(torch.equal(model.state_dict()[k], before[k]) for k in others)
    # The neck starts as a copy: training it leaves the base alone.
    neck, base = reid.pooler.neck.res3[0].conv1.weight, model.backbone.res3[0].conv1.weight
    assert torch.equal(neck, base) and neck.data_ptr() != base.data_ptr()
    lines = caplog.text.splitlines()
    (by_name,) = [line for line in lines if "taken by name" in line]
    (fresh,) = [line for line in lines if "start fresh" in line]
    assert "roi_heads.reid.head (4)" in by_name and "roi_heads.reid.head (1)" in fresh
    assert any("roi_heads.reid.net.res4 <- reid.net.res4" in line for line in lines)


def test_pre_training_alone_is_no_person_search_model(model, tiny_cfg, tmp_path):
    path = saved({"model": built(tiny_cfg(*PRE_TRAINING)).state_dict()}, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match="lacks .* keys that the model needs, such as proposal"):
        PersonSearchCheckpointer(model, complete=True).load(path)


def test_pre_training_of_another_depth_is_refused(model, tiny_cfg, tmp_path):
    baseline = built(tiny_cfg(*PRE_TRAINING, "MODEL.RESNETS.DEPTH", 34))
    path = saved({"model": baseline.state_dict()}, tmp_path / "w.pth")
    before = {k: v.clone() for k, v in model.state_dict().items()}
    with pytest.raises(WeightsError, match="of a deeper backbone.*MODEL.RESNETS.DEPTH"):
        PersonSearchCheckpointer(model).load(path)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


def test_a_checkpoint_of_pre_training_comes_back_whole(tiny_cfg, tmp_path):
    baseline, other = built(tiny_cfg(*PRE_TRAINING)), built(tiny_cfg(*PRE_TRAINING))
    path = saved({"model": baseline.state_dict()}, tmp_path / "w.pth")
    PersonSearchCheckpointer(other, complete=True).load(path)
    assert "reid.head.center_loss.centers" in other.state_dict()
    assert differing(other, baseline) == set()


def test_pre_training_is_evaluated_without_its_classifier(tiny_cfg, tmp_path):
    baseline = built(tiny_cfg(*PRE_TRAINING))
    path = saved({"model": baseline.state_dict()}, tmp_path / "w.pth")
    without = built(tiny_cfg(*PRE_TRAINING, num_ids=0))
    PersonSearchCheckpointer(without, complete=True).load(path)
    assert differing(without.reid.net, baseline.reid.net) == set()


def test_a_test_leaves_out_the_classifier_without_a_word(model, tiny_cfg, tmp_path, caplog):
    """A test is built without identities, since its training data may be far away."""
    PersonSearchCheckpointer(model, str(tmp_path)).save("model_final")
    without = built(tiny_cfg(mrfp=True, num_ids=1))
    PersonSearchCheckpointer(without, complete=True).load(str(tmp_path / "model_final.pth"))
    for part in ("backbone", "proposal_generator", "roi_heads.reid.net", "roi_heads.reid.head.bn"):
        assert differing(without.get_submodule(part), model.get_submodule(part)) == set()
    assert not [r for r in caplog.records if r.levelno >= logging.WARNING]
