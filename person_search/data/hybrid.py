"""Scenes and persons on canvases (DATALOADER.SOURCE hybrid): records, mapper and loaders.

Both kinds of image give the same, two views: hybrid pre-training unifies the data of pedestrian
detection and re-identification (Tian et al., AAAI 2024).
"""

import logging
from collections.abc import Sequence
from itertools import groupby

import numpy as np
import torch
from detectron2.config import CfgNode as CN
from detectron2.config import configurable
from detectron2.data import DatasetFromList
from detectron2.data import transforms as T
from detectron2.structures import BoxMode, Instances
from detectron2.utils import comm
from torch.utils.data import DataLoader

from ..errors import ConfigError, DatasetError
from ..images import read_image
from ..structures import KINDS
from .catalog import kind_of, load_sets, persons_in
from .crops import erase_fill
from .frames import PersonSearchMapper, persons_of, test_loader
from .loading import SeededDataset, images_per_process, make_loader, shared_seed
from .mappers import MAPPER_REGISTRY, build_mapper
from .samplers import HybridBatches
from .transforms import (
    DoesNotFit,
    ExpandResize,
    GaussianBlur,
    RandomErasing,
    RandomHue,
    RandomPaste,
)

__all__ = ["HybridMapper", "load_hybrid_records", "test_loader", "train_loader", "train_records"]

SCENE, CROP = KINDS

logger = logging.getLogger(__name__)


# ------------------------------------------------------------------------------------- records


def load_hybrid_records(names: Sequence[str]) -> list[list[dict]]:
    """The records of every data set, with ``kind`` and ``domain_id``.

    ``domain_id`` counts the data sets of one kind: those of re-ID are crops, all others scenes.
    Identities of the sets are kept apart, see :func:`.load_sets`.

    Raises:
        DatasetError: a data set shows nobody.
    """
    kinds = [CROP if kind_of(name) == "reid" else SCENE for name in names]
    sets: list[list[dict]] = []
    for name, kind, records in zip(names, kinds, load_sets(names), strict=True):
        more = {"kind": kind, "domain_id": kinds[: len(sets)].count(kind)}
        sets.append([{**record, **more} for record in records if persons_in(record)])
        if not sets[-1]:
            raise DatasetError(f"no image of {name} shows a person: take it off DATASETS.TRAIN")
    return sets


# ------------------------------------------------------------------------------------- mapping


# How far SimSiam changes brightness, contrast, saturation and hue.
COLOR_JITTER = (0.4, 0.4, 0.4, 0.1)

MIN_VISIBLE = 0.5
"""Share of a box that has to be inside a view for its person to be compared with the other view."""


def place_on_canvas(cfg) -> T.Augmentation:
    """What ``INPUT.HYBRID.CANVAS`` names."""
    keys = cfg.INPUT.HYBRID
    fill = tuple(cfg.MODEL.PIXEL_MEAN)
    if keys.CANVAS == "expand_resize":
        try:
            return ExpandResize(tuple(keys.EXPAND_RATIO), tuple(keys.CANVAS_SIZE), fill)
        except ValueError as error:
            raise ConfigError(f"INPUT.HYBRID.EXPAND_RATIO: {error}") from error
    if keys.CANVAS == "random_paste":
        return RandomPaste(tuple(keys.PASTE_SIZE), fill)
    raise ConfigError(f"INPUT.HYBRID.CANVAS is {keys.CANVAS!r}; legal: expand_resize, random_paste")


def scene_augmentations(cfg) -> list[T.Augmentation]:
    """Size, window and flip of a scene, then the colors of SimSiam (Chen and He, CVPR 2021)."""
    keys = cfg.INPUT.HYBRID
    brightness, contrast, saturation, hue = COLOR_JITTER
    jitter = [
        T.RandomBrightness(1 - brightness, 1 + brightness),
        T.RandomContrast(1 - contrast, 1 + contrast),
        T.RandomSaturation(1 - saturation, 1 + saturation),
        RandomHue(hue),
    ]
    return [
        T.ResizeScale(*keys.SCENE_SCALE, *keys.SCENE_SIZE),
        T.FixedSizeCrop(keys.SCENE_SIZE, pad=False),
        T.RandomFlip(),
        T.RandomApply(T.AugmentationList(jitter), prob=keys.JITTER_PROB),
        _gray(cfg),
        _blur(cfg),
    ]


def crop_augmentations(cfg) -> list[T.Augmentation]:
    """Those of LUPerson's authors, without colors: all but the blur in the person's box."""
    erase = RandomErasing(cfg.INPUT.REID.ERASE_PROB, erase_fill(cfg))
    return [T.RandomFlip(), _gray(cfg), erase, place_on_canvas(cfg), _blur(cfg)]


def _gray(cfg) -> T.Augmentation:
    return T.RandomApply(T.RandomSaturation(0.0, 0.0), prob=cfg.INPUT.HYBRID.GRAY_PROB)


def _blur(cfg) -> T.Augmentation:
    return T.RandomApply(GaussianBlur((0.1, 2.0)), prob=cfg.INPUT.HYBRID.BLUR_PROB)


@MAPPER_REGISTRY.register()
class HybridMapper(PersonSearchMapper):
    """Maps a record of either kind to two views, each with its own geometry and colors.

    In training the result has ``views``: two dicts with ``image`` (3, H, W) and ``instances``, as
    of :class:`PersonSearchMapper`; moreover an instance has ``gt_index``, which is the same for one
    person in both views, and -1 where too little of the person is visible. What else the record
    says stays: ``kind``, ``domain``, ``domain_id``. A view may show nobody. At test it is a
    :class:`PersonSearchMapper`.

    Args:
        crop_augmentations: of pictures of persons, which they put on a canvas.
        is_train, augmentations, image_format: of ``PersonSearchMapper``, for scenes.
    """

    source = "hybrid"

    @configurable
    def __init__(self, is_train: bool, *, crop_augmentations: list, **kwargs):
        super().__init__(is_train, **kwargs)
        self.crop_augmentations = T.AugmentationList(crop_augmentations)

    @classmethod
    def from_config(cls, cfg, is_train: bool = True) -> dict:
        ret = super().from_config(cfg, is_train)
        if not is_train:
            return {**ret, "crop_augmentations": []}
        return {
            **ret,
            "augmentations": scene_augmentations(cfg),
            "crop_augmentations": crop_augmentations(cfg),
        }

    def __call__(self, record: dict) -> dict:
        """Map one record; the record itself stays as it is."""
        if record.get("kind") != CROP:
            return super().__call__(record)
        image = read_image(record["file_name"], self.image_format)
        person = {
            "bbox": [0, 0, image.shape[1], image.shape[0]],
            "bbox_mode": BoxMode.XYXY_ABS,
            "person_id": record["person_id"],
        }
        return self.map_image(image, {**record, "annotations": [person]})

    def map_image(self, image: np.ndarray, record: dict) -> dict:
        """See :meth:`PersonSearchMapper.map_image`."""
        if not self.is_train:
            return super().map_image(image, record)
        if record.get("kind") not in KINDS:
            raise ConfigError(
                f"HybridMapper got a record without its kind ({record['file_name']}): its records "
                "come from person_search.data.build_train_loader with DATALOADER.SOURCE hybrid, "
                "or from load_hybrid_records"
            )
        is_crop = record["kind"] == CROP
        augmentations = self.crop_augmentations if is_crop else self.augmentations
        try:
            views = tuple(self._view(image, record, augmentations) for _ in range(2))
        except DoesNotFit as error:
            raise ConfigError(
                f"{record['file_name']}: {error}: raise INPUT.HYBRID.PASTE_SIZE (height, width), "
                "or set INPUT.HYBRID.CANVAS expand_resize"
            ) from error
        return {**{k: v for k, v in record.items() if k != "annotations"}, "views": views}

    @staticmethod
    def _view(image: np.ndarray, record: dict, augmentations: T.AugmentationList) -> dict:
        aug_input = T.AugInput(image)
        transforms = augmentations(aug_input)
        image = aug_input.image
        return {
            "image": torch.as_tensor(np.ascontiguousarray(image.transpose(2, 0, 1))),
            "instances": _visible_persons(persons_of(record, transforms, image.shape[:2])),
        }


def _visible_persons(persons: Instances) -> Instances:
    """Those of whom anything is inside, with boxes that end there, and ``gt_index``."""
    areas = persons.gt_boxes.area()
    persons.gt_boxes.clip(persons.image_size)
    visible = persons.gt_boxes.area() >= MIN_VISIBLE * areas
    persons.gt_index = torch.arange(len(persons)).masked_fill(~visible, -1)
    return persons[persons.gt_boxes.nonempty()]


# ------------------------------------------------------------------------------------- loading


def train_records(cfg) -> list[dict]:
    """The records of all scenes and crops of ``DATASETS.TRAIN``."""
    if cfg.DATASETS.FRACTION != 1:
        raise ConfigError("DATASETS.FRACTION is of DATALOADER.SOURCE frames: set it to 1")
    return [record for of_set in load_hybrid_records(cfg.DATASETS.TRAIN) for record in of_set]


def train_loader(cfg, records: list[dict]) -> DataLoader:
    """Endless loader of training batches; see :class:`HybridBatches`."""
    if cfg.DATALOADER.HYBRID.DRAW not in ("size", "equal"):
        raise ConfigError(
            f"DATALOADER.HYBRID.DRAW is {cfg.DATALOADER.HYBRID.DRAW!r}; legal: size, equal"
        )
    equally = cfg.DATALOADER.HYBRID.DRAW == "equal"
    sets = _by_kind(records)
    numbers = _numbers(cfg, sets)
    _log_mixture(sets, numbers, equally)
    seed = shared_seed(cfg)
    records = [record for kind in KINDS for of_set in sets[kind] for record in of_set]
    dataset = SeededDataset(
        DatasetFromList(records, copy=False), build_mapper(cfg, is_train=True), seed
    )
    sizes = [[len(of_set) for of_set in sets[kind]] for kind in KINDS]
    batches = HybridBatches(sizes, numbers, equally, seed)
    return make_loader(dataset, batches, cfg.DATALOADER.NUM_WORKERS)


def _by_kind(records: list[dict]) -> dict[str, list[list[dict]]]:
    """Kind -> the records of each of its data sets."""
    sets: dict[str, list[list[dict]]] = {kind: [] for kind in KINDS}
    for (kind, _), of_set in groupby(records, key=lambda r: (r["kind"], r["domain_id"])):
        sets[kind].append(list(of_set))
    return sets


def _numbers(cfg, sets: dict[str, list[list[dict]]]) -> list[int]:
    """Images of each kind in the batch of one process."""
    world_size, total = comm.get_world_size(), images_per_process(cfg)
    scenes = cfg.DATALOADER.HYBRID.SCENES_PER_BATCH
    if scenes % world_size or not 0 <= scenes <= cfg.SOLVER.IMS_PER_BATCH:
        raise ConfigError(
            f"DATALOADER.HYBRID.SCENES_PER_BATCH is {scenes}: it has to be at most "
            f"SOLVER.IMS_PER_BATCH ({cfg.SOLVER.IMS_PER_BATCH}), and a multiple of the number of "
            f"processes ({world_size})"
        )
    numbers = {SCENE: scenes // world_size, CROP: total - scenes // world_size}
    for kind, number in numbers.items():
        if bool(number) != bool(sets[kind]):
            raise ConfigError(
                f"a batch has {number} images of kind {kind!r} per process, but DATASETS.TRAIN "
                f"has {len(sets[kind])} data sets of that kind (re-ID sets are crops, all others "
                "scenes): change one of them, or DATALOADER.HYBRID.SCENES_PER_BATCH"
            )
    return [numbers[kind] for kind in KINDS]


def _log_mixture(sets: dict[str, list[list[dict]]], numbers: list[int], equally: bool) -> None:
    """What a batch is drawn from; a warning where nobody has an identity."""
    if not any(_has_identities(of_set) for of_kind in sets.values() for of_set in of_kind):
        logger.warning("hybrid: no data set of DATASETS.TRAIN has identities: loss_oim will be 0")
    for kind, number in zip(KINDS, numbers, strict=True):
        for of_set in sets[kind]:
            share = 1 / len(sets[kind]) if equally else len(of_set) / sum(map(len, sets[kind]))
            logger.info(
                "hybrid: %s, %d images %s identities, of kind %s: %.1f of %d per batch and process",
                of_set[0]["domain"],
                len(of_set),
                "with" if _has_identities(of_set) else "without",
                kind,
                share * number,
                sum(numbers),
            )


def _has_identities(records: list[dict]) -> bool:
    return any(p["person_id"] >= 0 for record in records for p in persons_in(record))


def add_hybrid_data_config(cfg: CN) -> None:
    """Keys of frames and crops of several data sets, for hybrid pre-training."""
    cfg.DATALOADER.HYBRID = CN()
    # How many of SOLVER.IMS_PER_BATCH images are scenes, from the detection and person search sets
    # of DATASETS.TRAIN; the others are persons on canvases, from its re-ID sets.
    cfg.DATALOADER.HYBRID.SCENES_PER_BATCH = 4
    # How the sets of one kind share its part of the batch. "size": every image equally often |
    # "equal": every set
    cfg.DATALOADER.HYBRID.DRAW = "size"
    cfg.INPUT.HYBRID = CN()
    # (height, width) that a view of a scene is fitted into, times a random scale; what is larger is
    # cut to a random window of that size. The scales are a usual range.
    cfg.INPUT.HYBRID.SCENE_SIZE = (600, 1000)
    cfg.INPUT.HYBRID.SCENE_SCALE = (0.8, 1.2)
    # How a picture of a person becomes a scene, filled with the pixel mean. "expand_resize": on a
    # canvas EXPAND_RATIO times as large (as mmdetection's Expand), resized to CANVAS_SIZE (height,
    # width) | "random_paste": at its own size, on a canvas of PASTE_SIZE
    cfg.INPUT.HYBRID.CANVAS = "expand_resize"
    cfg.INPUT.HYBRID.CANVAS_SIZE = (512, 256)
    cfg.INPUT.HYBRID.EXPAND_RATIO = (1.0, 4.0)
    cfg.INPUT.HYBRID.PASTE_SIZE = (900, 900)
    # How often the colors of a view of a scene change (SimSiam). Views of persons keep theirs
    # (LUPerson), and are erased instead (INPUT.REID.ERASE_PROB).
    cfg.INPUT.HYBRID.JITTER_PROB = 0.8
    # How often any view is gray, and blurred
    cfg.INPUT.HYBRID.GRAY_PROB = 0.2
    cfg.INPUT.HYBRID.BLUR_PROB = 0.5
