"""What models are made of: weights, configs, packs; and what they leave: results."""

import pickle
import shutil
from pathlib import Path

import numpy as np

from .target import Target

CONFIGS = Path(__file__).resolve().parents[2] / "configs"


def write_weights(folder: Path) -> None:
    """Small checkpoints of PyTorch, new and old, and one of detectron2's zoo."""
    import torch

    model = {"a.weight": torch.ones(3, 2), "b": torch.zeros(2, dtype=torch.int64)}
    content = {"model": model, "iteration": 1, "optimizer": {"lr": 0.1}}
    torch.save(content, folder / "new.pth")
    torch.save(content, folder / "old.pth", _use_new_zipfile_serialization=False)
    zoo = {"model": {"a": np.ones((3, 2), np.float32)}, "__author__": "someone"}
    (folder / "zoo.pkl").write_bytes(pickle.dumps(zoo))


def read_weights(folder: Path, path: Path) -> None:
    """As every program does."""
    from person_search.engine.weights_file import read_weights_file

    read_weights_file(str(path))


def write_configs(folder: Path) -> None:
    """The project's own."""
    shutil.copytree(CONFIGS, folder, dirs_exist_ok=True)


def read_config(folder: Path, path: Path) -> None:
    """With all that it is based on."""
    from person_search.config import read_config

    read_config(str(path))


def write_packs(folder: Path) -> None:
    """A pack of each kind."""
    from tiny_packs import one_step, two_step

    two_step(folder / "two")
    one_step(folder / "one")


def read_pack(folder: Path, path: Path) -> None:
    """Opens it and asks its model. A changed network gets the right hash: else none is opened."""
    import yaml
    from tiny_packs import write_yaml

    from person_search.packs import open_pack

    if path.suffix == ".onnx":
        write_yaml(path.parent, yaml.safe_load((path.parent / "pack.yaml").read_text()))
    searcher = open_pack(path.parent, threads=1)
    picture = np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8)
    searcher.detect([picture])
    searcher.embed(picture, np.array([[1.0, 2, 20, 40]]))


def write_results(folder: Path) -> None:
    """Results with lists and with a rule."""
    from search_scenes import random_results

    for lists in (True, False):
        results = random_results(np.random.default_rng(4), lists=lists)
        results.save(folder / f"{lists}.npz")


def read_results(folder: Path, path: Path) -> None:
    """And evaluates them."""
    from person_search.evaluation import SearchResults, evaluate_detection, evaluate_search

    results = SearchResults.load(path)
    evaluate_search(results)
    evaluate_detection(results)


WEIGHTS = Target(write_weights, read_weights)
CONFIG_FILES = Target(write_configs, read_config, "[B_][ap][sl][el]*.yaml")
PACKS = Target(write_packs, read_pack, "*/*.*")
RESULTS = Target(write_results, read_results)
