"""A tiny untrained model as files, as a user has one, and pictures to index."""

import logging
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from detectron2.modeling import build_model
from street_runs import CONFIG, OPTS

from person_search import read_config
from person_search.gallery import PersonSearcher
from person_search.structures import Searcher


@pytest.fixture(scope="module", autouse=True)
def _loggers():
    """As they were before: the command silences them."""
    loggers = [logging.getLogger(name) for name in ("person_search", "torch")]
    levels = [logger.level for logger in loggers]
    yield
    for logger, level in zip(loggers, levels, strict=True):
        logger.setLevel(level)


@pytest.fixture(scope="session", autouse=True)
def _own_folders(tmp_path_factory):
    """What users named, and their packs, are kept in folders of the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CONFIG_HOME", str(tmp_path_factory.mktemp("config")))
        patch.setenv("PERSON_SEARCH_PACKS", str(tmp_path_factory.mktemp("packs")))
        yield


@pytest.fixture(scope="session")
def tiny(tmp_path_factory) -> SimpleNamespace:
    """``config``, ``weights`` and ``opts`` of a model that takes everything for a person."""
    opts = [*OPTS, "TEST.SEARCH.SCORE_THRESH", "0.0", "TEST.DETECTIONS_PER_IMAGE", "3"]
    cfg = read_config(CONFIG, [*opts, "MODEL.REID.NUM_IDS", 1])
    torch.manual_seed(0)
    weights = tmp_path_factory.mktemp("model") / "model.pth"
    torch.save({"model": build_model(cfg).state_dict()}, weights)
    return SimpleNamespace(config=str(CONFIG), weights=str(weights), opts=opts)


@pytest.fixture(scope="session")
def person_searcher(tiny) -> PersonSearcher:
    """That model, loaded, as users have it."""
    return PersonSearcher.from_config(tiny.config, tiny.weights, tiny.opts, device="cpu")


@pytest.fixture(scope="session")
def searcher(person_searcher) -> Searcher:
    """That model, as the rooms of the gallery ask it."""
    return person_searcher.searcher


@pytest.fixture(scope="session")
def street_frames(street_root) -> list[str]:
    """The pictures of Street tiny."""
    return sorted(map(str, (street_root / "street/tiny/PRW/frames").glob("*.jpg")))


@pytest.fixture
def folder(tmp_path) -> Path:
    """An empty folder for pictures, called "yard"."""
    folder = tmp_path / "yard"
    folder.mkdir()
    return folder
