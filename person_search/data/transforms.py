"""Augmentations of the re-ID literature, as detectron2 augmentations."""

import numpy as np
from detectron2.data import transforms as T
from fvcore.transforms.transform import CropTransform, NoOpTransform, PadTransform, Transform


class PadAndCrop(T.Augmentation):
    """Pads with zeros on all sides, then crops a random window of the old size.

    Args:
        padding: pixels on each side.
    """

    def __init__(self, padding: int = 10):
        super().__init__()
        self._init(locals())

    def get_transform(self, image: np.ndarray) -> Transform:
        height, width = image.shape[:2]
        p = self.padding
        y, x = np.random.randint(0, 2 * p + 1, size=2)
        return T.TransformList(
            [PadTransform(p, p, p, p, width, height), CropTransform(x, y, width, height)]
        )


class EraseTransform(Transform):
    """Fills a rectangle of the image; boxes stay.

    Args:
        x, y, width, height: the rectangle in pixels.
        fill: one value per channel.
    """

    def __init__(self, x: int, y: int, width: int, height: int, fill: tuple[float, ...]):
        super().__init__()
        self._set_attributes(locals())

    def apply_image(self, image: np.ndarray) -> np.ndarray:
        image = image.copy()
        image[self.y : self.y + self.height, self.x : self.x + self.width] = self.fill
        return image

    def apply_coords(self, coords: np.ndarray) -> np.ndarray:
        return coords

    def inverse(self) -> Transform:
        return NoOpTransform()


class RandomErasing(T.Augmentation):
    """Erases a random rectangle (Zhong et al., AAAI 2020).

    Area share U(0.02, 0.4), aspect ratio height / width U(0.3, 1 / 0.3), sides rounded; a rectangle
    that does not fit is drawn again, up to 100 times.

    Args:
        prob: how often an image is erased.
        fill: one value per channel, in the scale of the image.
    """

    def __init__(self, prob: float, fill: tuple[float, ...]):
        super().__init__()
        self._init(locals())

    def get_transform(self, image: np.ndarray) -> Transform:
        if np.random.random() >= self.prob:
            return NoOpTransform()
        height, width = image.shape[:2]
        for _ in range(100):
            area = np.random.uniform(0.02, 0.4) * height * width
            aspect = np.random.uniform(0.3, 1 / 0.3)
            h, w = round(np.sqrt(area * aspect)), round(np.sqrt(area / aspect))
            if h < height and w < width:
                y = np.random.randint(0, height - h + 1)
                x = np.random.randint(0, width - w + 1)
                return EraseTransform(x, y, w, h, self.fill)
        return NoOpTransform()
