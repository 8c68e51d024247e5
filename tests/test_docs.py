"""The code of the documentation is run as it stands."""

import re
from pathlib import Path

import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog, build_detection_train_loader
from detectron2.engine import DefaultTrainer
from detectron2.layers import ShapeSpec

from person_search.data import HybridMapper
from person_search.errors import ConfigError, DatasetError
from person_search.modeling.embedders.base import REID_POOLER_REGISTRY, build_pooler

REPOSITORY = Path(__file__).resolve().parents[1]


def code_of(page: str) -> str:
    text = (REPOSITORY / "docs" / page).read_text(encoding="utf-8")
    return "\n".join(re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL))


def test_parts_in_a_project_of_ones_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {}
    try:
        exec(compile(code_of("own_project.md"), "docs/own_project.md", "exec"), names)
    finally:
        DatasetCatalog.remove("my_persons")
        MetadataCatalog.remove("my_persons")
        REID_POOLER_REGISTRY._obj_map.pop("MyPooler", None)
    assert names["persons"].pred_embeds.shape[1] == 256
    assert names["pooled"].shape == (1, 128, 32, 16)
    assert names["loss"].isfinite() and names["maps"].grad.abs().sum() > 0
    assert names["crop"].image.shape == (512, 256, 3)


@pytest.fixture
def own_project(tmp_path, monkeypatch):
    """The names that the page's first data set and model define, before training."""
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(code_of("own_project.md").split("trainer = Trainer(cfg)")[0], names)
    yield names
    for name in ("my_persons", "other"):
        if name in DatasetCatalog:
            DatasetCatalog.remove(name)
            MetadataCatalog.remove(name)


def register(names: dict, change=None, **metadata) -> None:
    """Make "other" the training set: the page's records, changed."""

    def records():
        made = names["my_persons"]()
        if change:
            change(made)
        return made

    DatasetCatalog.register("other", records)
    MetadataCatalog.get("other").set(thing_classes=["person"], **metadata)
    names["cfg"].DATASETS.TRAIN = ("other",)


def test_metadata_without_the_number_of_identities(own_project):
    register(own_project)
    with pytest.raises(ConfigError, match="metadata of the data set other lacks num_person_ids"):
        own_project["Trainer"](own_project["cfg"])


def test_a_person_without_id(own_project):
    register(own_project, lambda made: made[0]["annotations"][1].pop("person_id"), num_person_ids=3)
    with pytest.raises(DatasetError, match="0.png has no person_id: give every annotation one"):
        own_project["Trainer"](own_project["cfg"]).train()


def test_the_stock_mapper(own_project):
    with pytest.raises(ConfigError, match="make the inputs with person_search.data.PersonSearchM"):
        DefaultTrainer(own_project["cfg"]).train()


def test_the_stock_loader_with_the_hybrid_mapper(own_project):
    cfg = own_project["cfg"]
    loader = build_detection_train_loader(cfg, mapper=HybridMapper(cfg, True))
    with pytest.raises(ConfigError, match="person_search.data.build_train_loader"):
        next(iter(loader))


def test_mrfp_on_the_levels_of_an_fpn(own_project):
    cfg = own_project["cfg"]
    cfg.MODEL.REID.POOLER, cfg.MODEL.REID.IN_FEATURES = "MRFP", ["p2", "p3"]
    levels = {"p2": ShapeSpec(channels=256, stride=4), "p3": ShapeSpec(channels=256, stride=8)}
    with pytest.raises(ConfigError, match="does not fit the levels of an FPN"):
        build_pooler(cfg, levels)


def test_one_iteration_is_a_schedule(own_project):
    cfg = own_project["cfg"]
    cfg.SOLVER.MAX_ITER = 1
    own_project["Trainer"](cfg).train()
    assert Path("output", "model_final.pth").is_file()
