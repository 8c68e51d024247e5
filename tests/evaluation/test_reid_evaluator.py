"""The evaluator of crops: perfect embeddings, which true matches are left out, two processes."""

import json
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
from detectron2.data import MetadataCatalog
from detectron2.utils import comm
from street_runs import registered

from person_search.data.crops import load_test_crops
from person_search.errors import ConfigError, ResultsError
from person_search.evaluation import build_evaluator
from person_search.evaluation.reid_evaluator import ReIDEvaluator

TEST = "street_tiny_test"
ALL_RIGHT = {"mAP": 100.0, "top1": 100.0, "top5": 100.0, "top10": 100.0}


@pytest.fixture(scope="module", autouse=True)
def street(street_root):
    with registered(street_root):
        yield street_root


def crop(name: str, person: int, camera: int = -1) -> dict:
    return {"file_name": name, "bbox": None, "person_id": person, "camera_id": camera}


def show(evaluator: ReIDEvaluator, embeds, indices=None) -> None:
    """Gives the evaluator the embeddings of the crops, in batches of three."""
    indices = list(range(len(embeds))) if indices is None else list(indices)
    for i in range(0, len(indices), 3):
        part = indices[i : i + 3]
        evaluator.process(
            [{"crop_index": k} for k in part],
            [{"embeds": torch.as_tensor(embeds[k], dtype=torch.float32)} for k in part],
        )


def one_hot(crops: list[dict]) -> np.ndarray:
    ids = [c["person_id"] for c in crops]
    return np.eye(max(ids) + 1)[ids]


def test_perfect_embeddings_of_street(tmp_path, tiny_cfg):
    cfg = tiny_cfg("DATALOADER.SOURCE", "crops", "OUTPUT_DIR", str(tmp_path))
    evaluator = build_evaluator(cfg, TEST)
    assert isinstance(evaluator, ReIDEvaluator)
    evaluator.reset()
    queries, gallery = load_test_crops(TEST)
    show(evaluator, one_hot(queries + gallery))
    found = evaluator.evaluate()
    assert found["reid"] == ALL_RIGHT
    has_cameras = all(c["camera_id"] >= 0 for c in queries + gallery)
    assert found.keys() == {"reid"} | ({"reid_cross_camera"} if has_cameras else set())
    report = json.loads((tmp_path / "inference" / f"reid_{TEST}.json").read_text())
    assert report["reid"]["protocol"]["n_queries"] == len(queries)
    assert {k: report["reid"][k] for k in ALL_RIGHT} == ALL_RIGHT


# ------------------------------------------------------------------------------------ the rules

# Similarity to the query falls from row to row.
QUERIES = [crop("a.jpg", 0, 1)]
GALLERY = [
    crop("a.jpg", 0, 1),  # the query itself
    crop("b.jpg", 1, 1),
    crop("c.jpg", 0, 1),  # true, in the camera of the query
    crop("d.jpg", 2, 2),
    crop("e.jpg", 0, 2),  # true, in another one
]
EMBEDS = np.array([[1.0]] + [[1 - 0.1 * k] for k in range(5)])


def test_rules_by_hand():
    """Own picture: of b c d e, c and e are right: (1/2 + 2/4) / 2. Own camera: of b d e, e: 1/3."""
    evaluator = ReIDEvaluator("toy", QUERIES, GALLERY)
    show(evaluator, EMBEDS)
    found = evaluator.evaluate()
    assert found["reid"]["mAP"] == pytest.approx(50)
    assert found["reid_cross_camera"]["mAP"] == pytest.approx(100 / 3)
    for task in found.values():
        assert (task["top1"], task["top5"], task["top10"]) == (0, 100, 100)


def test_without_cameras_there_is_no_camera_rule():
    def unknown(crops):
        return [{**c, "camera_id": -1} for c in crops]

    evaluator = ReIDEvaluator("toy", unknown(QUERIES), unknown(GALLERY))
    show(evaluator, EMBEDS)
    found = evaluator.evaluate()
    assert found.keys() == {"reid"} and found["reid"]["mAP"] == pytest.approx(50)


def test_somebody_else_in_the_picture_of_the_query_is_ranked():
    gallery = [crop("a.jpg", 1), crop("b.jpg", 0)]
    evaluator = ReIDEvaluator("toy", [crop("a.jpg", 0)], gallery)
    show(evaluator, [[1.0], [0.9], [0.8]])
    assert evaluator.evaluate()["reid"]["mAP"] == pytest.approx(50)


def test_the_order_of_batches_plays_no_part():
    results = []
    for indices in (range(6), [5, 2, 0, 4, 1, 3]):
        evaluator = ReIDEvaluator("toy", QUERIES, GALLERY)
        show(evaluator, EMBEDS, indices)
        results.append(evaluator.evaluate())
    assert results[0] == results[1]


def test_missing_crops_are_an_error():
    evaluator = ReIDEvaluator("toy", QUERIES, GALLERY)
    show(evaluator, EMBEDS, [0, 1, 2, 4])
    with pytest.raises(ResultsError, match="toy has 6 crops, but the model was run on 4"):
        evaluator.evaluate()


def test_reset_forgets():
    evaluator = ReIDEvaluator("toy", QUERIES, GALLERY)
    show(evaluator, EMBEDS)
    evaluator.reset()
    with pytest.raises(ResultsError, match="run on 0"):
        evaluator.evaluate()


def test_an_unknown_source_is_an_error(tiny_cfg):
    assert MetadataCatalog.get(TEST).evaluator_type == "person_search"
    with pytest.raises(ConfigError, match="SOURCE is 'tracks'.*person_search with crops"):
        build_evaluator(tiny_cfg("DATALOADER.SOURCE", "tracks"), TEST)


# ------------------------------------------------------------------------------------ two processes


def noisy() -> tuple[list[dict], list[dict], np.ndarray]:
    rng = np.random.default_rng(0)
    crops = [crop(f"{k % 17}.jpg", int(rng.integers(6)), k % 3) for k in range(40)]
    embeds = one_hot(crops) + rng.normal(size=(40, max(c["person_id"] for c in crops) + 1))
    return crops[:10], crops[10:], embeds


def work_on_a_rank(rank: int, meeting: Path, folder: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", f"file://{meeting}", timedelta(seconds=60), world_size=2, rank=rank
    )
    comm.create_local_process_group(2)
    queries, gallery, embeds = noisy()
    evaluator = ReIDEvaluator("toy", queries, gallery, str(folder / "report"))
    show(evaluator, embeds, range(rank, 40, 2))
    (folder / f"rank{rank}.json").write_text(json.dumps(evaluator.evaluate()))
    dist.barrier()  # a rank that leaves early can take the other one with it
    dist.destroy_process_group()


def test_two_processes_give_what_one_gives(tmp_path):
    queries, gallery, embeds = noisy()
    evaluator = ReIDEvaluator("toy", queries, gallery)
    show(evaluator, embeds)
    found = evaluator.evaluate()
    assert 20 < found["reid"]["mAP"] < 95
    torch.multiprocessing.spawn(work_on_a_rank, (tmp_path / "meeting", tmp_path), nprocs=2)
    assert json.loads((tmp_path / "rank0.json").read_text()) == found
    assert json.loads((tmp_path / "rank1.json").read_text()) == {}
    assert [p.name for p in (tmp_path / "report").iterdir()] == ["reid_toy.json"]
