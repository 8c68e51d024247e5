"""The evaluator's loop for what is asked by pictures and boxes: a pack, or any other searcher."""

import time

import numpy as np
from detectron2.data import DatasetCatalog
from tqdm import tqdm

from ..data.catalog import query_boxes_of
from ..images import read_image
from ..structures import Searcher
from .search_evaluator import FrameRecord, SearchEvaluator

BATCH = 8
"""Frames that the searcher is given at once."""


def run_searcher(searcher: Searcher, evaluator: SearchEvaluator, progress: bool = False) -> float:
    """Give an evaluator what a searcher finds in its test set, as detectron2's loop does of models.

    Args:
        searcher: finds persons, and embeds the boxes of queries, and the annotated ones where the
            evaluator wants those.
        evaluator: remembers what was found.
        progress: show a bar.

    Returns:
        Seconds that finding and embedding took, without reading pictures.
    """
    frames = DatasetCatalog.get(evaluator.dataset_name)
    queries, seconds = query_boxes_of(list(evaluator.protocols.values())), 0.0
    with tqdm(total=len(frames), unit=" frames", disable=not progress) as bar:
        for start in range(0, len(frames), BATCH):
            indices = range(start, min(start + BATCH, len(frames)))
            pictures = [read_image(frames[index]["file_name"]) for index in indices]
            began = time.perf_counter()
            found = searcher.detect(pictures)
            seconds += time.perf_counter() - began
            for index, picture, persons in zip(indices, pictures, found, strict=True):
                given = {}
                if index in queries:
                    given["query_embeds"] = searcher.embed(picture, np.asarray(queries[index]))
                if evaluator.options.gt_boxes:
                    boxes = [person["bbox"] for person in frames[index]["annotations"]]
                    given["gt_embeds"] = searcher.embed(picture, np.reshape(boxes, (-1, 4)))
                dets = np.column_stack([persons.boxes, persons.scores])
                evaluator.records.append(FrameRecord(index, dets, persons.embeds, **given))
            bar.update(len(pictures))
    return seconds
