"""Augmentations of the re-ID literature, as detectron2 augmentations."""

import cv2
import numpy as np
from detectron2.data import transforms as T
from fvcore.transforms.transform import CropTransform, NoOpTransform, PadTransform, Transform
from PIL import Image
from torchvision.transforms.functional import adjust_hue


class FloatResizeTransform(T.ResizeTransform):
    """Resizes in float: bilinear, without antialiasing, and without rounding to 8 bits."""

    def apply_image(self, image: np.ndarray, interp: int | None = None) -> np.ndarray:
        return super().apply_image(image.astype(np.float32), interp)  # float goes through torch


class FloatResizeShortestEdge(T.ResizeShortestEdge):
    """Resizes as torchvision's detectors do: in float, and with sides that are rounded down.

    A frame of 1920x1080 with edges of 900 and at most 1500 becomes 1500x843 (detectron2: 844).
    """

    def get_transform(self, image: np.ndarray) -> Transform:
        height, width = image.shape[:2]
        if self.is_range:
            edge = np.random.randint(self.short_edge_length[0], self.short_edge_length[1] + 1)
        else:
            edge = np.random.choice(self.short_edge_length)
        if edge == 0:
            return NoOpTransform()
        scale = min(edge / min(height, width), self.max_size / max(height, width))
        return FloatResizeTransform(height, width, int(height * scale), int(width * scale))


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


class RandomResizedCrop(T.Augmentation):
    """A random part of the image, brought back to the image's size.

    Args:
        area: smallest and largest share of the image's area. The part's height / width is that of
            the image times log-uniform (3/4, 4/3).
    """

    def __init__(self, area: tuple[float, float]):
        super().__init__()
        self._init(locals())

    def get_transform(self, image: np.ndarray) -> Transform:
        height, width = image.shape[:2]
        scale = np.sqrt(np.random.uniform(*self.area))
        stretch = np.exp(np.random.uniform(np.log(3 / 4), np.log(4 / 3)) / 2)
        h = min(max(round(height * scale * stretch), 1), height)
        w = min(max(round(width * scale / stretch), 1), width)
        y = np.random.randint(0, height - h + 1)
        x = np.random.randint(0, width - w + 1)
        return T.TransformList([CropTransform(x, y, w, h), T.ResizeTransform(h, w, height, width)])


class GaussianBlur(T.Augmentation):
    """Blurs with a standard deviation drawn from a range, in pixels; boxes stay.

    Args:
        sigma: smallest and largest standard deviation.
    """

    def __init__(self, sigma: tuple[float, float]):
        super().__init__()
        self._init(locals())

    def get_transform(self, image: np.ndarray) -> Transform:
        sigma = np.random.uniform(*self.sigma)
        return T.ColorTransform(lambda pixels: cv2.GaussianBlur(pixels, (0, 0), sigma))


class RandomHue(T.Augmentation):
    """Turns the hues of all colors by the same angle, as ``ColorJitter`` of torchvision.

    Args:
        most: largest angle in either direction, in full turns, up to 0.5.
    """

    def __init__(self, most: float):
        super().__init__()
        self._init(locals())

    def get_transform(self, image: np.ndarray) -> Transform:
        turn = np.random.uniform(-self.most, self.most)
        return T.ColorTransform(lambda pixels: np.asarray(adjust_hue(_as_picture(pixels), turn)))


def _as_picture(pixels: np.ndarray) -> Image.Image:
    return Image.fromarray(np.ascontiguousarray(pixels))


class PlaceTransform(Transform):
    """Puts the image on a larger canvas; boxes go along.

    Args:
        x, y: where its top left corner goes, in pixels of the canvas.
        height, width: of the canvas.
        fill: the rest of the canvas, one value per channel.
    """

    def __init__(self, x: int, y: int, height: int, width: int, fill: tuple[float, ...]):
        super().__init__()
        self._set_attributes(locals())

    def apply_image(self, image: np.ndarray) -> np.ndarray:
        canvas = np.empty((self.height, self.width, *image.shape[2:]), image.dtype)
        canvas[:] = np.asarray(self.fill).astype(image.dtype)
        canvas[self.y : self.y + image.shape[0], self.x : self.x + image.shape[1]] = image
        return canvas

    def apply_coords(self, coords: np.ndarray) -> np.ndarray:
        return coords + [self.x, self.y]


def _place_anywhere(
    size: tuple[int, int], canvas: tuple[int, int], fill: tuple[float, ...]
) -> PlaceTransform:
    """At a random place of the canvas, within it; both sizes are (height, width)."""
    y, x = (np.random.randint(0, room + 1) for room in np.subtract(canvas, size))
    return PlaceTransform(x, y, *canvas, fill)


class ExpandResize(T.Augmentation):
    """A picture of a person as a scene: on a random larger canvas, resized to a fixed size.

    "expand_resize" of hybrid pre-training (Tian et al., AAAI 2024), which leaves the numbers to its
    code. The canvas is a random multiple of the picture in height or width, and in both if the two
    sizes are of one shape; the person keeps its shape. The picture is resized before it is put
    down, which gives the same scene, and a box that is exact to the pixel.

    Args:
        ratio: smallest and largest multiple, at least 1; drawn uniformly.
        size: (height, width) of the scene.
        fill: of the canvas, one value per channel.

    Raises:
        ValueError: the canvas would be smaller than the picture, or the range is empty.
    """

    def __init__(self, ratio: tuple[float, float], size: tuple[int, int], fill: tuple[float, ...]):
        super().__init__()
        if not 1 <= ratio[0] <= ratio[1]:
            raise ValueError(
                f"a canvas of {ratio[0]} to {ratio[1]} times the picture: it cannot be smaller "
                "than the picture, and the range cannot be empty"
            )
        self._init(locals())

    def get_transform(self, image: np.ndarray) -> Transform:
        height, width = image.shape[:2]
        ratio = np.random.uniform(*self.ratio)
        scale = min(self.size[0] / height, self.size[1] / width) / ratio
        small = max(round(height * scale), 1), max(round(width * scale), 1)
        return T.TransformList(
            [
                T.ResizeTransform(height, width, *small),
                _place_anywhere(small, self.size, self.fill),
            ]
        )


class DoesNotFit(ValueError):
    """A picture is larger than the canvas that it is to be put on."""


class RandomPaste(T.Augmentation):
    """A picture of a person as a scene: at its own size, at a random place of a fixed canvas.

    "random_paste", which hybrid pre-training was compared with (Tian et al., AAAI 2024). A picture
    larger than the canvas raises :class:`DoesNotFit`.

    Args:
        size: (height, width) of the canvas.
        fill: of the canvas, one value per channel.
    """

    def __init__(self, size: tuple[int, int], fill: tuple[float, ...]):
        super().__init__()
        self._init(locals())

    def get_transform(self, image: np.ndarray) -> Transform:
        height, width = image.shape[:2]
        if height > self.size[0] or width > self.size[1]:
            raise DoesNotFit(
                f"a picture of {width}x{height} does not fit on a canvas of "
                f"{self.size[1]}x{self.size[0]}"
            )
        return _place_anywhere((height, width), self.size, self.fill)
