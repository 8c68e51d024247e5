"""detectron2's evaluator of person search: gathers what a model found, and ranks it.

Shape shorthand in this module:
    F: frames of the test set; n: boxes of one frame; D: embedding size
"""

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from detectron2.config import configurable
from detectron2.data import DatasetCatalog
from detectron2.evaluation import DatasetEvaluator
from detectron2.utils import comm

from ..data.catalog import query_boxes_of, select_protocols
from ..errors import ConfigError, ResultsError
from ..protocols import SearchProtocol
from .adaptation import adapt_results
from .detection import evaluate_detection
from .galleries import Conventions, resolve_galleries
from .metrics import CBGM, evaluate_search
from .regions import mostly_inside
from .report import Report, Search
from .reranking import KReciprocal
from .results import SearchResults, dataset_arrays
from .segments import iou_of_pairs, lengths_to_offsets

logger = logging.getLogger(__name__)

CONTEXT_IOU = 0.4
"""Detections that overlap the query box more are the query itself, not its context."""

WEAKEST_SCORE = 0.01
"""The precision-recall curve of detection goes down to this score (SeqNet's, NAE's)."""


@dataclass(frozen=True)
class SearchOptions:
    """How to evaluate; the keys of ``TEST.SEARCH``.

    Attributes:
        score_thresh: detections below are not searched.
        gt_boxes: also search the ground-truth boxes.
        score_weighting: multiply similarities by detection scores.
        cbgm: also report with context matching; None: not.
        rerank: also report with k-reciprocal re-ranking; None: not.
        adapt: also report with embeddings adapted to the gallery, without labels.
        conventions: how oddities of published galleries are counted.
        save_results: keep detections and embeddings in a file.
    """

    score_thresh: float = 0.5
    gt_boxes: bool = False
    score_weighting: bool = False
    cbgm: CBGM | None = None
    rerank: KReciprocal | None = None
    adapt: bool = False
    conventions: Conventions = Conventions.CORRECTED
    save_results: bool = True

    @classmethod
    def from_config(cls, cfg) -> "SearchOptions":
        keys = cfg.TEST.SEARCH
        try:
            conventions = Conventions[keys.CONVENTIONS.upper()]
        except KeyError:
            raise ConfigError(
                f"TEST.SEARCH.CONVENTIONS is {keys.CONVENTIONS!r}; legal: corrected, reference"
            ) from None
        if len(keys.CBGM) not in (0, 2):
            raise ConfigError(f"TEST.SEARCH.CBGM is {keys.CBGM}; legal: (k1, k2), or () for off")
        if len(keys.RERANK) not in (0, 4) or not all(v > 0 for v in keys.RERANK):
            raise ConfigError(
                f"TEST.SEARCH.RERANK is {keys.RERANK}; legal: (k1, k2, lambda, number of "
                "detections), or () for off"
            )
        return cls(
            score_thresh=keys.SCORE_THRESH,
            gt_boxes=keys.GT_BOXES,
            score_weighting=keys.SCORE_WEIGHTING,
            cbgm=CBGM(*keys.CBGM) if keys.CBGM else None,
            rerank=KReciprocal(*keys.RERANK) if keys.RERANK else None,
            adapt=keys.ADAPT,
            conventions=conventions,
            save_results=keys.SAVE_RESULTS,
        )


@dataclass(frozen=True, eq=False)
class FrameRecord:
    """What a model gave for one frame; boxes in pixels of the frame.

    Attributes:
        frame_index: place of the frame in the data set.
        dets: (n, 5) xyxy and score.
        embeds: (n, D).
        query_embeds, gt_embeds: of the boxes that came with the frame, in their order.
    """

    frame_index: int
    dets: np.ndarray
    embeds: np.ndarray
    query_embeds: np.ndarray | None = None
    gt_embeds: np.ndarray | None = None


class SearchEvaluator(DatasetEvaluator):
    """mAP, top-k, detection AP and recall of a test set, for one or several protocols.

    Every rank collects what its frames gave; rank 0 gathers, evaluates, prints one table that
    names the protocols, and writes ``search_<data set>.json``, one CSV per protocol with the
    outcome of every query, and (for the first protocol) the detections and embeddings themselves.

    Args:
        dataset_name: a registered test set.
        protocols: by name, the first one gives the metrics called "search".
        options: how to evaluate.
        output_dir: where the files go; None writes none.
    """

    @configurable
    def __init__(
        self,
        dataset_name: str,
        protocols: Mapping[str, SearchProtocol],
        options: SearchOptions | None = None,
        output_dir: str | None = None,
    ):
        self.dataset_name, self.protocols = dataset_name, dict(protocols)
        self.options = options or SearchOptions()
        self.output_dir = output_dir
        self.records: list[FrameRecord] = []

    @classmethod
    def from_config(cls, cfg, dataset_name: str, output_dir: str | None = None) -> dict:
        return {
            "dataset_name": dataset_name,
            "protocols": select_protocols(cfg, dataset_name),
            "options": SearchOptions.from_config(cfg),
            "output_dir": output_dir,
        }

    def reset(self) -> None:
        """Forget all frames."""
        self.records = []

    def process(self, inputs: list[dict], outputs: list[dict]) -> None:
        """Keep boxes, scores and embeddings of each frame.

        Args:
            inputs: of :func:`person_search.data.build_test_loader`, with ``frame_index``.
            outputs: of :class:`PersonSearchRCNN`.
        """
        for x, out in zip(inputs, outputs, strict=True):
            found = out["instances"].to("cpu")
            dets = np.column_stack([found.pred_boxes.tensor, found.scores])
            given = {
                key: out[key].float().cpu().numpy()
                for key in ("query_embeds", "gt_embeds")
                if key in out
            }
            self.records.append(
                FrameRecord(
                    frame_index=x["frame_index"],
                    dets=dets.astype(np.float32),
                    embeds=found.pred_embeds.float().numpy(),
                    **given,
                )
            )

    def results(self) -> dict[str, SearchResults]:
        """What was found, by protocol, on rank 0; {} elsewhere. Collective: all ranks call it.

        Raises:
            ResultsError: frames are missing.
        """
        comm.synchronize()  # gathering has a time limit of its own
        gathered = comm.gather(self.records)
        if not comm.is_main_process():
            return {}
        frames = DatasetCatalog.get(self.dataset_name)
        by_frame = {r.frame_index: r for of_rank in gathered for r in of_rank}
        if len(by_frame) != len(frames):
            raise ResultsError(
                f"{self.dataset_name} has {len(frames)} frames, but the model was run on "
                f"{len(by_frame)} of them"
            )
        records = [by_frame[i] for i in range(len(frames))]
        found = self._found(frames, records)
        return {
            name: self._results(protocol, frames, records, found)
            for name, protocol in self.protocols.items()
        }

    def evaluate(self) -> dict:
        """Metrics in percent on rank 0, {} elsewhere. Collective: every rank has to call it.

        Raises:
            ResultsError: frames are missing.
        """
        results = self.results()
        if not results:
            return {}
        first = next(iter(results.values()))
        report = Report(
            title=self.dataset_name,
            searches=self._search(results),
            detection=self._detect(first),
            detection_protocol=(
                "IoU >= 0.5, all persons. "
                f"recall: score >= {self.options.score_thresh:g}. "
                f"AP: score >= {WEAKEST_SCORE:g}, pairs of mutual best overlap, times recall. "
                "AP_coco: COCO's"
                + ("" if first.det_ignored is None else ". Without false ones in ignore regions")
            ),
        )
        logger.info("\n%s", report.table())
        if self.output_dir:
            os.makedirs(self.output_dir, exist_ok=True)
            report.write(self.output_dir)
            if self.options.save_results:
                path = os.path.join(self.output_dir, f"results_{self.dataset_name}.npz")
                first.save(path)
                logger.info("detections and embeddings: %s", path)
        return report.percent()

    def _found(self, frames: list[dict], records: list[FrameRecord]) -> dict[str, np.ndarray]:
        """What all protocols share of :class:`SearchResults`; made once, since it is big."""
        found = {
            "det_offsets": lengths_to_offsets([len(r.dets) for r in records]),
            "dets": np.concatenate([r.dets for r in records]),
            "det_embs": np.concatenate([r.embeds for r in records]),
        }
        if any(frame.get("ignore_regions") for frame in frames):
            found["det_ignored"] = np.concatenate(
                [
                    mostly_inside(record.dets[:, :4], frame.get("ignore_regions", []))
                    for frame, record in zip(frames, records, strict=True)
                ]
            )
        if self.options.gt_boxes:
            found["gt_embs"] = np.concatenate([r.gt_embeds for r in records])
        return found

    def _results(
        self, protocol: SearchProtocol, frames: list[dict], records: list[FrameRecord], found: dict
    ) -> SearchResults:
        query_embeds: dict[tuple[int, tuple], np.ndarray] = {}
        for frame, boxes in query_boxes_of(list(self.protocols.values())).items():
            embeds = records[frame].query_embeds
            if embeds is None:
                raise ResultsError(
                    f"{self.dataset_name}: the model gave no query_embeds for "
                    f"{frames[frame]['file_name']}, which holds queries"
                )
            query_embeds |= {(frame, tuple(b)): e for b, e in zip(boxes, embeds, strict=True)}
        queries = zip(protocol.query_frames.tolist(), map(tuple, protocol.query_boxes), strict=True)
        results = SearchResults(
            **dataset_arrays(frames, protocol),
            **found,
            query_embs=np.stack([query_embeds[q] for q in queries]),
        )
        return replace(results, **query_context(results)) if self.options.cbgm else results

    def _search(self, results: dict[str, SearchResults]) -> dict[str, Search]:
        """By task: "search" and its variants, then "search_<protocol>" of the others."""
        searches: dict[str, Search] = {}
        for name, found in results.items():
            task = f"search_{name}" if searches else "search"
            galleries = resolve_galleries(found, conventions=self.options.conventions)
            of_kind = {"": found}
            if self.options.adapt:
                of_kind["_adapted"] = adapt_results(found, self.options.score_thresh)
            for kind, results_of_kind in of_kind.items():
                for variant, kwargs in self._variants().items():
                    metrics = evaluate_search(results_of_kind, galleries, **kwargs)
                    searches[task + variant + kind] = Search(results_of_kind, metrics)
        return searches

    def _variants(self) -> dict[str, dict]:
        """What is appended to the task -> how to search."""
        options = self.options
        weighting = {
            "det_thresh": options.score_thresh,
            "score_weighting": options.score_weighting,
        }
        variants: dict[str, dict] = {"": weighting}
        if options.gt_boxes:
            variants["_gt"] = {"use_gt_boxes": True}
        if options.cbgm:
            variants["_cbgm"] = {**weighting, "cbgm": options.cbgm}
        if options.rerank:
            variants["_rerank"] = {**weighting, "rerank": options.rerank}
        return variants

    def _detect(self, results: SearchResults) -> dict[str, float]:
        searched = evaluate_detection(results, det_thresh=self.options.score_thresh)
        every = evaluate_detection(results, det_thresh=WEAKEST_SCORE)
        return {"recall": searched.recall, "AP": every.ap, "AP_coco": every.coco_ap}


def query_context(results: SearchResults) -> dict[str, Any]:
    """The ``qctx_*`` arrays: each query, then the other detections of its frame by falling score.

    Detections that overlap the query box with IoU > :data:`CONTEXT_IOU` are the query.
    """
    dets, embeds = [], []
    for frame, box, embed in zip(
        results.query_frame_index, results.query_boxes, results.query_embs, strict=True
    ):
        rows = np.arange(*results.det_offsets[frame : frame + 2])
        overlap = iou_of_pairs(np.broadcast_to(box, (len(rows), 4)), results.dets[rows, :4])
        others = rows[overlap <= CONTEXT_IOU]
        others = others[np.argsort(-results.dets[others, 4], kind="stable")]
        dets.append(np.vstack([[*box, 1.0], results.dets[others]]).astype(np.float32))
        embeds.append(np.vstack([embed, results.det_embs[others]]).astype(np.float32))
    return {
        "qctx_offsets": lengths_to_offsets(np.array([len(d) for d in dets])),
        "qctx_dets": np.concatenate(dets),
        "qctx_embs": np.concatenate(embeds),
    }
