"""Writes what a model pools of every ground-truth box, for a training on features.

Shape shorthand in this module:
    N: number of boxes with an identity; C, h, w: the pooled feature of a box
"""

import hashlib
import json
import logging
import os
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.data import MapDataset
from detectron2.modeling import build_model
from detectron2.utils import comm
from torch import nn
from tqdm import tqdm

from person_search.data.crop_cache import open_array, reserve, stamp
from person_search.data.features import train_records
from person_search.data.frames import load_train_records
from person_search.data.loading import make_loader
from person_search.data.mappers import build_mapper
from person_search.errors import ConfigError, DatasetError, TrainingError
from person_search.files import atomic_write

from .checkpoint import PersonSearchCheckpointer

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

logger = logging.getLogger(__name__)

EMBEDDER = "reid."
"""Prefix of the state that features do not depend on."""

STEP = 100
"""Frames after which the work so far is safe."""


def with_features(cfg: CfgNode) -> CfgNode:
    """The config with ``DATALOADER.FEATURES.FILE``; writes that file if it is not there.

    Collective: the first process writes, the others wait for it and read the same file. A config of
    another ``DATALOADER.SOURCE`` is given back as it is.

    Raises:
        ConfigError: no weights, or a model that pools nothing.
        DatasetError: nobody has an identity, or the file cannot be written or is damaged.
        TrainingError: features are too large for their type.
    """
    if cfg.DATALOADER.SOURCE != "features":
        return cfg
    path = ""
    if comm.is_main_process():
        path = str(_cached(cfg))
    path = comm.all_gather(path)[0]
    cfg = cfg.clone()
    cfg.defrost()
    cfg.DATALOADER.FEATURES.FILE = path
    cfg.freeze()
    return cfg


def _cached(cfg: CfgNode) -> Path:
    if not cfg.MODEL.WEIGHTS:
        raise ConfigError(
            "MODEL.WEIGHTS is empty: DATALOADER.SOURCE features needs the checkpoint of the "
            "detector whose features they are, model_final.pth of stage 1"
        )
    boxes = train_records(cfg)
    model = build_model(cfg).eval()
    if not hasattr(model, "pool_boxes"):
        raise ConfigError(
            f"MODEL.META_ARCHITECTURE {cfg.MODEL.META_ARCHITECTURE} pools no features for "
            "DATALOADER.SOURCE features; SequentialSearch does"
        )
    PersonSearchCheckpointer(model).load(cfg.MODEL.WEIGHTS)
    path = Path(cfg.DATALOADER.FEATURES.CACHE) / f"features_{_digest(cfg, model, boxes)}.npy"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _alone(path.parent):
            if path.exists():
                logger.info("features of %d boxes are there already: %s", len(boxes), path)
            else:
                _write(cfg, model, boxes, path)
    except OSError as error:
        raise DatasetError(
            f"cannot write the feature cache {path} ({error}): free space, or choose another "
            "folder with DATALOADER.FEATURES.CACHE. What is written stays, and is not computed "
            "again"
        ) from error
    return path


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Two runs that start from one detector do not write one file: the second waits, and reads.

    Where the system or its file system has no such locks, they must not start together.
    """
    if fcntl is None:
        yield
        return
    folder_itself = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):
            fcntl.flock(folder_itself, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder_itself)


def _digest(cfg: CfgNode, model: nn.Module, boxes: list[dict]) -> str:
    """Of all that features depend on: the detector's weights, the boxes and files, the config.

    The embedder's weights play no part, so that a training that goes on from another one finds the
    features of that one.
    """
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        if not name.startswith(EMBEDDER):
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    files = [stamp(name) for name in dict.fromkeys(box["file_name"] for box in boxes)]
    keys = cfg.MODEL
    parts = (
        *(files, [(box["file_name"], box["bbox"]) for box in boxes]),
        *(keys.META_ARCHITECTURE, keys.PIXEL_MEAN, keys.PIXEL_STD, keys.SEQUENTIAL.SQUARE),
        *(str(keys.BACKBONE), str(keys.RESNETS)),
        *([keys.REID[k] for k in sorted(keys.REID) if k.startswith(("POOLER", "IN_FEATURES"))],),
        *(cfg.INPUT.FORMAT, cfg.INPUT.RESIZE, cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST),
    )
    digest.update(json.dumps(parts).encode())
    return digest.hexdigest()[:16]


def _write(cfg: CfgNode, model: nn.Module, boxes: list[dict], path: Path) -> None:
    """Write the file under another name, and give it its own once it is whole.

    What was written before an interruption is kept: beside the file stands how many frames of it
    are safely on the disk.
    """
    part, mark = path.with_suffix(".part"), path.with_suffix(".json")
    rows_of = defaultdict(list)
    for row, box in enumerate(boxes):
        rows_of[box["file_name"]].append(row)
    frames = {r["file_name"]: r for r in load_train_records(cfg.DATASETS.TRAIN)}
    names = list(rows_of)
    inputs = [
        {**frames[name], "gt_boxes": np.array([boxes[row]["bbox"] for row in rows_of[name]])}
        for name in names
    ]
    done = _safe(part, mark, len(boxes))
    if done:
        logger.info("the feature cache was interrupted; %d frames of it are kept", done)
    dataset = MapDataset(inputs, build_mapper(cfg, is_train=False))
    todo = [[index] for index in range(done, len(names))]  # one by one: padding changes features
    loader = make_loader(dataset, todo, cfg.DATALOADER.NUM_WORKERS)
    pooled = np.lib.format.open_memmap(part, "r+") if done else None
    progress = tqdm(
        loader, "pooling features", len(names), initial=done, unit="frame", disable=None
    )
    for number, batch in enumerate(progress, done + 1):
        (features,) = model.pool_boxes(batch)
        features = features.to(torch.float16).cpu()
        if not features.isfinite().all():
            raise TrainingError(
                f"{batch[0]['file_name']}: a pooled feature does not fit 16 bits: it is above "
                "65504, or not finite. The detector of MODEL.WEIGHTS has diverged: take another "
                "checkpoint"
            )
        if pooled is None:
            shape = (len(boxes), *features.shape[1:])
            pooled = np.lib.format.open_memmap(part, "w+", np.float16, shape)
            reserve(part)
        pooled[rows_of[names[number - 1]]] = features.numpy()
        if number % STEP == 0:
            pooled.flush()
            with atomic_write(mark) as temporary:
                temporary.write_text(json.dumps(number), encoding="utf-8")
    if pooled is not None:
        pooled.flush()
    os.replace(part, path)
    mark.unlink(missing_ok=True)
    logger.info("features of %d boxes: %s", len(boxes), path)


def _safe(part: Path, mark: Path, number: int) -> int:
    """Frames of an interrupted writing of ``number`` boxes that are on the disk.

    0 where there is none, or where it is damaged.
    """
    try:
        done = int(json.loads(mark.read_text(encoding="utf-8")))
        open_array(part, "feature cache", np.float16, (number, None, None, None))
    except (OSError, ValueError, TypeError, DatasetError):
        return 0
    return done
