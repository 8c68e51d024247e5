"""Frames of scenes (DATALOADER.SOURCE frames): their records, their mapper, their loaders."""

import logging
from collections.abc import Sequence

import numpy as np
import torch
from detectron2.config import CfgNode as CN
from detectron2.config import configurable
from detectron2.data import DatasetCatalog, DatasetFromList, MapDataset, detection_utils
from detectron2.data import transforms as T
from detectron2.structures import Boxes, BoxMode, Instances
from torch.utils.data import DataLoader

from ..errors import ConfigError, DatasetError, ImageError
from ..images import read_image
from ..structures import GIVEN_BOXES
from .catalog import kind_of, load_sets, query_boxes_of, select_protocols
from .loading import SeededDataset, images_per_process, make_loader, shared_seed
from .mappers import MAPPER_REGISTRY, build_mapper
from .regions import hide_regions
from .samplers import InferenceBatches, TrainingBatches, size_groups
from .transforms import FloatResizeShortestEdge

logger = logging.getLogger(__name__)


# ------------------------------------------------------------------------------------- records


def load_train_records(names: Sequence[str], fraction: float = 1.0, seed: int = 0) -> list[dict]:
    """The frames of one or several training sets that show at least one person each.

    The identities of several sets are kept apart, see :func:`.load_sets`.

    Args:
        names: of the data sets.
        fraction: share of the records of each set, see :func:`choose_fraction`.
        seed: chooses them.

    Raises:
        ConfigError: a set holds crops, not frames; or the fraction is not legal.
        DatasetError: there is no frame with a person.
    """
    for name in names:
        if kind_of(name) == "reid":
            raise ConfigError(
                f"DATASETS.TRAIN: {name} holds pictures of single persons, not frames: they take "
                "DATALOADER.SOURCE crops"
            )
    records = []
    for of_set in load_sets(names):
        records += choose_fraction([r for r in of_set if r["annotations"]], fraction, seed)
    if not records:
        raise DatasetError(f"no frame with a person in DATASETS.TRAIN {tuple(names)}")
    return records


def choose_fraction(records: list[dict], fraction: float, seed: int) -> list[dict]:
    """A share of the records, in their order; that of a larger fraction holds it.

    Raises:
        ConfigError: the fraction is not in (0, 1].
    """
    if not 0 < fraction <= 1:
        raise ConfigError(f"DATASETS.FRACTION is {fraction}; legal: above 0, up to 1")
    order = np.random.default_rng(seed).permutation(len(records))
    return [records[i] for i in sorted(order[: round(fraction * len(records))])]


# ------------------------------------------------------------------------------------- mapping


def _augmentations(cfg, is_train: bool) -> list:
    """detectron2's; its resizing, the first of them, as ``INPUT.RESIZE`` says."""
    resize, *others = detection_utils.build_augmentation(cfg, is_train)
    if cfg.INPUT.RESIZE == "torchvision":
        resize = FloatResizeShortestEdge(
            resize.short_edge_length, resize.max_size, resize.sample_style
        )
    elif cfg.INPUT.RESIZE != "pillow":
        raise ConfigError(f"INPUT.RESIZE is {cfg.INPUT.RESIZE!r}; legal: pillow, torchvision")
    return [resize, *others]


@MAPPER_REGISTRY.register()
class PersonSearchMapper:
    """Reads a frame, resizes and flips it, and takes boxes and person ids along.

    In training the result has ``instances`` with ``gt_boxes`` (clipped to the image),
    ``gt_classes`` (0) and ``gt_person_ids``; what the record's ``ignore_regions`` cover is filled,
    so that nobody there counts as background. At test it has, where the record does,
    ``query_boxes`` and ``gt_boxes``: (n, 4) float32 xyxy in pixels of the network input.

    Args:
        is_train: which of the two.
        augmentations: detectron2's, applied in order.
        image_format: "RGB" or "BGR".
        region_fill: color of ignore regions in training; None: they are shown.
    """

    source = "frames"

    @configurable
    def __init__(
        self,
        is_train: bool,
        *,
        augmentations: list,
        image_format: str,
        region_fill: tuple[float, ...] | None = None,
    ):
        self.is_train = is_train
        self.augmentations = T.AugmentationList(augmentations)
        self.image_format = image_format
        self.region_fill = region_fill

    @classmethod
    def from_config(cls, cfg, is_train: bool = True) -> dict:
        return {
            "is_train": is_train,
            "augmentations": _augmentations(cfg, is_train),
            "image_format": cfg.INPUT.FORMAT,
            "region_fill": tuple(cfg.MODEL.PIXEL_MEAN) if cfg.INPUT.HIDE_IGNORE_REGIONS else None,
        }

    def __call__(self, record: dict) -> dict:
        """Map one record; the record itself stays as it is."""
        image = read_image(record["file_name"], self.image_format)
        if image.shape[:2] != (record["height"], record["width"]):
            raise ImageError(
                f"{record['file_name']} is {image.shape[1]}x{image.shape[0]}, but its data set "
                f"says {record['width']}x{record['height']}: the file was replaced after the data "
                "set was read, or its annotations belong to another picture"
            )
        return self.map_image(self._hide_regions(image, record), record)

    def _hide_regions(self, image: np.ndarray, record: dict) -> np.ndarray:
        if not self.is_train or self.region_fill is None or not record.get("ignore_regions"):
            return image
        boxes = _boxes_of(_annotated(record))
        return hide_regions(image, record["ignore_regions"], boxes, self.region_fill)

    def map_image(self, image: np.ndarray, record: dict) -> dict:
        """As a call, for a picture that was read already: (H, W, 3) uint8 in ``image_format``."""
        aug_input = T.AugInput(image)
        transforms = self.augmentations(aug_input)
        image = aug_input.image
        result = {k: v for k, v in record.items() if k not in ("annotations", *GIVEN_BOXES)}
        result["image"] = torch.as_tensor(np.ascontiguousarray(image.transpose(2, 0, 1)))
        if self.is_train:
            result["instances"] = self._instances(record, transforms, image.shape[:2])
            return result
        for key in GIVEN_BOXES:
            if key in record:
                boxes = np.asarray(record[key], dtype=np.float64).reshape(-1, 4)
                boxes = transforms.apply_box(boxes) if len(boxes) else boxes
                result[key] = torch.as_tensor(boxes, dtype=torch.float32)
        return result

    @staticmethod
    def _instances(record: dict, transforms, image_size: tuple[int, int]) -> Instances:
        instances = persons_of(record, transforms, image_size)
        instances.gt_boxes.clip(image_size)
        return instances[instances.gt_boxes.nonempty()]


def persons_of(record: dict, transforms, image_size: tuple[int, int]) -> Instances:
    """All persons of a record, with boxes that may leave the transformed image."""
    annotations = _annotated(record)
    boxes = _boxes_of(annotations)
    boxes = transforms.apply_box(boxes) if len(boxes) else boxes
    instances = Instances(image_size)
    instances.gt_boxes = Boxes(torch.as_tensor(boxes, dtype=torch.float32))
    instances.gt_classes = torch.zeros(len(boxes), dtype=torch.int64)
    instances.gt_person_ids = torch.tensor(_person_ids(record, annotations), dtype=torch.int64)
    return instances


def _person_ids(record: dict, annotations: list[dict]) -> list[int]:
    try:
        return [a["person_id"] for a in annotations]
    except KeyError:
        raise DatasetError(
            f"a person of {record['file_name']} has no person_id: give every annotation one, from "
            "0 on, and -1 to persons without identity"
        ) from None


def _annotated(record: dict) -> list[dict]:
    """The record's annotations without crowd regions."""
    return [a for a in record["annotations"] if not a.get("iscrowd", 0)]


def _boxes_of(annotations: list[dict]) -> np.ndarray:
    """(n, 4) float64 xyxy in pixels of the frame."""
    boxes = [BoxMode.convert(a["bbox"], a["bbox_mode"], BoxMode.XYXY_ABS) for a in annotations]
    return np.asarray(boxes, dtype=np.float64).reshape(-1, 4)


# ------------------------------------------------------------------------------------- loading


def train_records(cfg) -> list[dict]:
    """The records of ``DATASETS.TRAIN``."""
    return load_train_records(cfg.DATASETS.TRAIN, cfg.DATASETS.FRACTION, max(cfg.SEED, 0))


def train_loader(cfg, records: list[dict]) -> DataLoader:
    """Endless loader of training batches (lists of dicts); see :class:`TrainingBatches`."""
    batch_size = images_per_process(cfg)
    groups = size_groups([(r["height"], r["width"]) for r in records], batch_size)
    logger.info(
        "%d training frames in %d size groups, %d per batch and process",
        len(records),
        len(set(groups)),
        batch_size,
    )
    seed = shared_seed(cfg)
    records = DatasetFromList(records, copy=False)
    dataset = SeededDataset(records, build_mapper(cfg, is_train=True), seed)
    batches = TrainingBatches(groups, batch_size, seed)
    return make_loader(dataset, batches, cfg.DATALOADER.NUM_WORKERS)


def test_loader(cfg, name: str) -> DataLoader:
    """Loader of every frame of a test set once.

    A frame that holds queries also carries ``query_boxes``, and with ``TEST.SEARCH.GT_BOXES``
    every frame its ``gt_boxes``: the model embeds them in the same pass. ``frame_index`` is the
    frame's place in the data set.
    """
    records = DatasetCatalog.get(name)
    if not records:
        raise DatasetError(f"the test set {name} holds no frame")
    queries = query_boxes_of(list(select_protocols(cfg, name).values()))
    inputs = []
    for index, record in enumerate(records):
        given = {"query_boxes": queries[index]} if index in queries else {}
        if cfg.TEST.SEARCH.GT_BOXES:
            given["gt_boxes"] = np.array([a["bbox"] for a in record["annotations"]])
        inputs.append({**record, **given, "frame_index": index})
    batches = InferenceBatches([(r["height"], r["width"]) for r in records], cfg.TEST.IMS_PER_BATCH)
    dataset = MapDataset(DatasetFromList(inputs, copy=False), build_mapper(cfg, is_train=False))
    return make_loader(dataset, batches, cfg.DATALOADER.NUM_WORKERS)


def add_frames_config(cfg: CN) -> None:
    """Keys of frames."""
    # How a frame is resized. "pillow": 8 bits, antialiased, sides rounded, as detectron2 does |
    # "torchvision": float, bilinear without antialiasing, sides rounded down, as torchvision's
    # detectors and what is made of them do
    cfg.INPUT.RESIZE = "pillow"
    # In training: fill the ignore regions, where a data set has any, with the pixel mean. Persons
    # there have no box, and would be trained as background. A choice of ours.
    cfg.INPUT.HIDE_IGNORE_REGIONS = True
    # Share of the frames of each training set that is used, in (0, 1]. SEED chooses them; a larger
    # share holds the frames of a smaller one.
    cfg.DATASETS.FRACTION = 1.0
