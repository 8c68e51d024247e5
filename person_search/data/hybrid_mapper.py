"""Two views of a scene, or of a person on a canvas: the input of hybrid pre-training.

Both kinds of image give the same: hybrid pre-training unifies the data of pedestrian detection and
re-identification (Tian et al., AAAI 2024).
"""

import numpy as np
import torch
from detectron2.config import configurable
from detectron2.data import transforms as T
from detectron2.structures import BoxMode, Instances

from person_search.errors import ConfigError
from person_search.images import read_image

from .crop_mappers import erase_fill
from .mappers import MAPPER_REGISTRY, PersonSearchMapper, persons_of
from .transforms import ExpandResize, GaussianBlur, RandomErasing, RandomHue, RandomPaste

SCENE, CROP = "scene", "crop"
KINDS = (SCENE, CROP)
"""What an image was before: a frame of a scene, or a picture of one person."""

MIN_VISIBLE = 0.5
"""Share of a box that has to be inside a view for its person to be compared with the other view."""


def place_on_canvas(cfg) -> T.Augmentation:
    """What ``INPUT.HYBRID.CANVAS`` names."""
    keys = cfg.INPUT.HYBRID
    fill = tuple(cfg.MODEL.PIXEL_MEAN)
    if keys.CANVAS == "expand_resize":
        return ExpandResize(tuple(keys.EXPAND_RATIO), tuple(keys.CANVAS_SIZE), fill)
    if keys.CANVAS == "random_paste":
        return RandomPaste(tuple(keys.PASTE_SIZE), fill)
    raise ConfigError(f"INPUT.HYBRID.CANVAS is {keys.CANVAS!r}; legal: expand_resize, random_paste")


def scene_augmentations(cfg) -> list[T.Augmentation]:
    """Size, window and flip of a scene, then the colors of SimSiam (Chen and He, CVPR 2021)."""
    keys = cfg.INPUT.HYBRID
    brightness, contrast, saturation, hue = keys.COLOR_JITTER
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
        is_crop = record["kind"] == CROP
        augmentations = self.crop_augmentations if is_crop else self.augmentations
        views = tuple(self._view(image, record, augmentations) for _ in range(2))
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
