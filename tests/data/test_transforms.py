"""Augmentations of crops: their random numbers within bounds, pixels exact, and their order."""

import numpy as np
import pytest
from detectron2.data import transforms as T
from hypothesis import given, settings
from hypothesis import strategies as st

from person_search.data.build import seeded
from person_search.data.crop_loaders import CropMapper
from person_search.data.transforms import EraseTransform, PadAndCrop, RandomErasing

SIZES = st.tuples(st.integers(8, 96), st.integers(8, 96))
SEEDS = st.integers(0, 2**31)
FILL = (1.5, -2.0, 300.0)


def numbered(height: int, width: int) -> np.ndarray:
    """An image of which every pixel is another one, none of them 0."""
    pixels = np.arange(1, height * width + 1, dtype=np.float32).reshape(height, width, 1)
    return np.concatenate([pixels, pixels, pixels], axis=2)


@settings(max_examples=60, deadline=None)
@given(size=SIZES, padding=st.integers(1, 12), seed=SEEDS)
def test_pad_and_crop_shifts_and_fills_with_zeros(size, padding, seed):
    image = numbered(*size)
    with seeded(seed):
        found = PadAndCrop(padding).get_transform(image).apply_image(image)
    assert found.shape == image.shape
    padded = np.pad(image, ((padding, padding), (padding, padding), (0, 0)))
    windows = (
        padded[y : y + size[0], x : x + size[1]]
        for y in range(2 * padding + 1)
        for x in range(2 * padding + 1)
    )
    assert any(np.array_equal(found, window) for window in windows)


def test_every_shift_of_pad_and_crop_occurs_equally_often():
    image = numbered(3, 3)
    with seeded(0):
        counts: dict[bytes, int] = {}
        for _ in range(2500):
            shifted = PadAndCrop(2).get_transform(image).apply_image(image)
            counts[shifted.tobytes()] = counts.get(shifted.tobytes(), 0) + 1
    assert len(counts) == 25  # -2..2 in both directions
    assert 60 < min(counts.values()) and max(counts.values()) < 140


def test_boxes_move_with_the_picture():
    image = np.zeros((20, 10, 3), np.float32)
    image[5:15, 3:7] = 1
    with seeded(3):
        transform = PadAndCrop(2).get_transform(image)
    (x1, y1, x2, y2) = transform.apply_box(np.array([[3.0, 5, 7, 15]]))[0].astype(int)
    assert (x2 - x1, y2 - y1) == (4, 10)
    moved = transform.apply_image(image)
    assert moved[y1:y2, x1:x2].all() and moved.sum() == image.sum()


def erased_rectangle(transform: EraseTransform, image: np.ndarray) -> tuple[int, int]:
    """(h, w) of what was filled, asserted to be one rectangle with everything else as it was."""
    before = image.copy()
    found = transform.apply_image(image)
    assert np.array_equal(image, before)  # the input stays
    changed = (found != image).any(axis=2)
    rows, columns = np.flatnonzero(changed.any(axis=1)), np.flatnonzero(changed.any(axis=0))
    if not len(rows):
        return 0, 0
    inside = found[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    assert (inside == np.array(FILL, np.float32)).all()
    assert changed.sum() == len(rows) * len(columns) == inside.shape[0] * inside.shape[1]
    return inside.shape[:2]


@settings(max_examples=150, deadline=None)
@given(size=SIZES, seed=SEEDS)
def test_an_erased_rectangle_has_the_published_area_and_aspect(size, seed):
    image = numbered(*size) + 1000
    with seeded(seed):
        transform = RandomErasing(1.0, FILL).get_transform(image)
    assert isinstance(transform, EraseTransform)
    h, w = erased_rectangle(transform, image)
    assert (h, w) == (transform.height, transform.width)
    # Sides are rounded: the drawn ones lie within half a pixel of them.
    assert (h + 0.5) * (w + 0.5) >= 0.02 * size[0] * size[1]
    assert max(h - 0.5, 0) * max(w - 0.5, 0) <= 0.4 * size[0] * size[1]
    assert (h + 0.5) / max(w - 0.5, 1e-9) >= 0.3
    assert max(h - 0.5, 0) / (w + 0.5) <= 1 / 0.3
    assert h < size[0] and w < size[1]


@settings(max_examples=20, deadline=None)
@given(size=SIZES, seed=SEEDS)
def test_erasing_leaves_boxes(size, seed):
    boxes = np.array([[1.0, 2, 5, 7]])
    with seeded(seed):
        transform = RandomErasing(1.0, FILL).get_transform(numbered(*size))
    assert np.array_equal(transform.apply_box(boxes), boxes)
    assert np.array_equal(transform.inverse().apply_box(boxes), boxes)


def test_what_is_erased_on_average():
    """Half of the images; area U(.02, .4) has mean .21 - less, since tall ones do not fit."""
    image = np.zeros((256, 128, 3), np.float32)
    with seeded(1):
        transforms = [RandomErasing(0.5, FILL).get_transform(image) for _ in range(4000)]
    erased = [t for t in transforms if isinstance(t, EraseTransform)]
    assert len(erased) / 4000 == pytest.approx(0.5, abs=0.03)
    shares = np.array([t.height * t.width for t in erased]) / (256 * 128)
    assert shares.min() == pytest.approx(0.02, abs=0.005) and 0.38 < shares.max() < 0.405
    assert 0.18 < shares.mean() < 0.215
    # The rectangle may touch all four sides.
    assert min(t.x for t in erased) == min(t.y for t in erased) == 0
    assert max(t.x + t.width for t in erased) == 128
    assert max(t.y + t.height for t in erased) >= 255


def test_never_and_always():
    image = numbered(32, 16)
    with seeded(0):
        never = {type(RandomErasing(0.0, FILL).get_transform(image)) for _ in range(100)}
        always = {type(RandomErasing(1.0, FILL).get_transform(image)) for _ in range(100)}
    assert never == {T.NoOpTransform} and always == {EraseTransform}


# ----------------------------------------------------------------------------------- the mapper


def test_order_is_flip_then_pad_and_crop_then_erase(tiny_cfg):
    mapper = CropMapper(tiny_cfg(), True)
    kinds = [type(a) for a in mapper.augmentations.augs]
    assert kinds == [T.RandomFlip, PadAndCrop, RandomErasing]
    _, pad, erase = mapper.augmentations.augs
    assert pad.padding == 10 and erase.prob == 0.5


def test_parts_can_be_left_out(tiny_cfg):
    mapper = CropMapper(tiny_cfg("INPUT.REID.PAD", 0, "INPUT.REID.ERASE_PROB", 0.0), True)
    assert [type(a) for a in mapper.augmentations.augs] == [T.RandomFlip]


@pytest.mark.parametrize(
    "kind, normalised", [("published", (0.485, 0.456, 0.406)), ("mean", (0.0, 0.0, 0.0))]
)
def test_fill_as_the_network_sees_it(tiny_cfg, kind, normalised):
    """The published code writes ImageNet's mean (of 0..1) into the normalised image."""
    cfg = tiny_cfg("INPUT.REID.ERASE_FILL", kind)
    fill = np.array(CropMapper(cfg, True).augmentations.augs[-1].fill)
    seen = (fill - cfg.MODEL.PIXEL_MEAN) / cfg.MODEL.PIXEL_STD
    np.testing.assert_allclose(seen, normalised, atol=1e-9)


def test_a_crop_at_test_is_its_pixels(tiny_cfg):
    pixels = np.random.default_rng(0).integers(0, 256, (16, 8, 3), dtype=np.uint8)
    record = {"pixels": pixels, "person_id": 4, "crop_index": 7}
    found = CropMapper(tiny_cfg(), False)(record)
    assert found.keys() == {"image", "person_id", "crop_index"}
    assert np.array_equal(found["image"].numpy(), pixels.transpose(2, 0, 1))


def test_a_crop_in_training_keeps_size_and_the_record_its_pixels(tiny_cfg):
    pixels = np.full((32, 16, 3), 200, np.uint8)
    pixels.flags.writeable = False  # as the cache gives them
    with seeded(5):
        images = [CropMapper(tiny_cfg(), True)({"pixels": pixels})["image"] for _ in range(20)]
    assert {tuple(image.shape) for image in images} == {(3, 32, 16)}
    assert len({image.numpy().tobytes() for image in images}) > 10
    values = set(np.unique(np.stack(images)))
    assert {0.0, 200.0} < values and len(values) <= 5  # padding, picture, three channels of fill
