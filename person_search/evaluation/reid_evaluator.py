"""detectron2's evaluator of re-identification on crops.

Shape shorthand in this module:
    Q: query crops; G: gallery crops; D: embedding size
"""

import json
import logging
import os
from dataclasses import replace

import numpy as np
from detectron2.config import configurable
from detectron2.evaluation import DatasetEvaluator
from detectron2.utils import comm

from ..data.crops import load_test_crops
from ..errors import ResultsError
from .reid import ReIDMetrics, evaluate_reid
from .report import write_text

logger = logging.getLogger(__name__)


class ReIDEvaluator(DatasetEvaluator):
    """mAP and CMC of crops, with and without the camera rule.

    With the rule, true matches from the query's own camera are left out (Market-1501's protocol);
    it needs cameras. Without it only those from the query's own picture are.

    Args:
        title: name of the test set.
        queries, gallery: crop records, in the order in which ``crop_index`` counts them.
        output_dir: where ``reid_<title>.json`` goes; None writes none.
    """

    @configurable
    def __init__(
        self, title: str, queries: list[dict], gallery: list[dict], output_dir: str | None = None
    ):
        self.title, self.queries, self.gallery = title, queries, gallery
        self.output_dir = output_dir
        self.embeds: dict[int, np.ndarray] = {}

    @classmethod
    def from_config(cls, cfg, dataset_name: str, output_dir: str | None = None) -> dict:
        queries, gallery = load_test_crops(dataset_name)
        return {
            "title": dataset_name,
            "queries": queries,
            "gallery": gallery,
            "output_dir": output_dir,
        }

    def reset(self) -> None:
        """Forget all crops."""
        self.embeds = {}

    def process(self, inputs: list[dict], outputs: list[dict]) -> None:
        """Keep the embedding of each crop."""
        for x, out in zip(inputs, outputs, strict=True):
            self.embeds[x["crop_index"]] = out["embeds"].float().cpu().numpy()

    def evaluate(self) -> dict:
        """Metrics in percent on rank 0, {} elsewhere. Collective: every rank has to call it."""
        comm.synchronize()  # gathering has a time limit of its own
        gathered = comm.gather(self.embeds)
        if not comm.is_main_process():
            return {}
        embeds = {k: v for of_rank in gathered for k, v in of_rank.items()}
        number = len(self.queries) + len(self.gallery)
        if len(embeds) != number:
            raise ResultsError(
                f"{self.title} has {number} crops, but the model was run on {len(embeds)} of them"
            )
        found = np.stack([embeds[i] for i in range(number)])
        frames = _frames(self.queries + self.gallery)
        metrics = {"reid": self._rank(found, frames, "picture")}
        cameras = np.array([c["camera_id"] for c in self.queries + self.gallery])
        if (cameras >= 0).all():
            metrics["reid_cross_camera"] = self._rank(found, cameras, "camera")
        for task, m in metrics.items():
            logger.info("%s on %s: %s; %s", task, self.title, _percent(m), m.protocol)
        if self.output_dir:
            os.makedirs(self.output_dir, exist_ok=True)
            report = {t: {**_percent(m), "protocol": m.protocol} for t, m in metrics.items()}
            path = os.path.join(self.output_dir, f"reid_{self.title}.json")
            write_text(path, lambda file: json.dump(report, file, indent=2))
        return {task: _percent(m) for task, m in metrics.items()}

    def _rank(self, embeds: np.ndarray, origin: np.ndarray, word: str) -> ReIDMetrics:
        """Rank with true matches of the query's own ``origin`` left out."""
        q = len(self.queries)
        ids = np.array([c["person_id"] for c in self.queries + self.gallery])
        metrics = evaluate_reid(embeds[:q], ids[:q], embeds[q:], ids[q:], origin[:q], origin[q:])
        protocol = {**metrics.protocol, "camera_rule": f"no true match of the query's own {word}"}
        return replace(metrics, protocol=protocol)


def _frames(crops: list[dict]) -> np.ndarray:
    """A number for each distinct file."""
    numbers: dict[str, int] = {}
    return np.array([numbers.setdefault(c["file_name"], len(numbers)) for c in crops])


def _percent(metrics: ReIDMetrics) -> dict[str, float]:
    cmc = {f"top{k}": 100 * float(metrics.cmc[k - 1]) for k in (1, 5, 10)}
    return {"mAP": 100 * metrics.mAP, **cmc}
