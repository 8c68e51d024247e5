"""From a data set's record of a frame to the input of a model."""

import numpy as np
import torch
from detectron2.config import configurable
from detectron2.data import detection_utils
from detectron2.data import transforms as T
from detectron2.structures import Boxes, BoxMode, Instances
from detectron2.utils.registry import Registry

from person_search.errors import ConfigError, ImageError
from person_search.images import read_image
from person_search.registry import look_up

from .regions import hide_regions

MAPPER_REGISTRY = Registry("MAPPER")
MAPPER_REGISTRY.__doc__ = """
Dataset mappers, chosen by ``INPUT.MAPPER``. The registered class is called with
``(cfg, is_train)``; its instances map a record to a model input. Its attribute ``source`` is the
``DATALOADER.SOURCE`` whose records it maps.
"""

GIVEN_BOXES = ("query_boxes", "gt_boxes")
"""Fields of a test record with boxes that the model is asked to embed, in pixels of the frame."""


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
            "augmentations": detection_utils.build_augmentation(cfg, is_train),
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
    instances.gt_person_ids = torch.tensor([a["person_id"] for a in annotations], dtype=torch.int64)
    return instances


def _annotated(record: dict) -> list[dict]:
    """Of a frame: the persons."""
    return [a for a in record["annotations"] if not a.get("iscrowd", 0)]


def _boxes_of(annotations: list[dict]) -> np.ndarray:
    """(n, 4) float64 xyxy in pixels of the frame."""
    boxes = [BoxMode.convert(a["bbox"], a["bbox_mode"], BoxMode.XYXY_ABS) for a in annotations]
    return np.asarray(boxes, dtype=np.float64).reshape(-1, 4)


def build_mapper(cfg, is_train: bool):
    """The mapper that ``INPUT.MAPPER`` names."""
    mapper = look_up(MAPPER_REGISTRY, cfg.INPUT.MAPPER, "INPUT.MAPPER")
    if getattr(mapper, "source", cfg.DATALOADER.SOURCE) != cfg.DATALOADER.SOURCE:
        raise ConfigError(
            f"INPUT.MAPPER {cfg.INPUT.MAPPER} maps {mapper.source}, but DATALOADER.SOURCE is "
            f"{cfg.DATALOADER.SOURCE!r}"
        )
    return mapper(cfg, is_train)
