"""Augmentations of crops: their random numbers within bounds, pixels exact, and their order."""

import numpy as np
import pytest
import torch
from detectron2.data import transforms as T
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.models.detection.transform import GeneralizedRCNNTransform

from person_search.data import build_mapper
from person_search.data.crops import CropMapper
from person_search.data.loading import seeded
from person_search.data.transforms import (
    DoesNotFit,
    EraseTransform,
    ExpandResize,
    FloatResizeShortestEdge,
    GaussianBlur,
    PadAndCrop,
    RandomErasing,
    RandomHue,
    RandomPaste,
    RandomResizedCrop,
)
from person_search.errors import ConfigError

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
    "kind, normalized", [("published", (0.485, 0.456, 0.406)), ("mean", (0.0, 0.0, 0.0))]
)
def test_fill_as_the_network_sees_it(tiny_cfg, kind, normalized):
    """The published code writes ImageNet's mean (of 0..1) into the normalized image."""
    cfg = tiny_cfg("INPUT.REID.ERASE_FILL", kind)
    fill = np.array(CropMapper(cfg, True).augmentations.augs[-1].fill)
    seen = (fill - cfg.MODEL.PIXEL_MEAN) / cfg.MODEL.PIXEL_STD
    np.testing.assert_allclose(seen, normalized, atol=1e-9)


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


@settings(max_examples=60, deadline=None)
@given(size=SIZES, seed=SEEDS, area=st.floats(0.05, 1.0))
def test_resized_crop_keeps_size_area_and_boxes(size, seed, area):
    """A crop of a share of the area, at full size: a box of the window fills the image."""
    image = numbered(*size)
    with seeded(seed):
        transform = RandomResizedCrop((area, area)).get_transform(image)
    crop = transform.transforms[0]
    assert 0 <= crop.x0 and crop.x0 + crop.w <= size[1]
    assert 0 <= crop.y0 and crop.y0 + crop.h <= size[0]
    assert transform.apply_image(image).shape == image.shape
    if crop.h < size[0] and crop.w < size[1]:  # not cut at the border
        assert crop.h * crop.w == pytest.approx(area * size[0] * size[1], abs=size[0] + size[1])
        stretch = (crop.h / crop.w) / (size[0] / size[1])
        slack = 1 + 0.6 / crop.h + 0.6 / crop.w  # sides are rounded
        assert 3 / 4 / slack**2 <= stretch <= 4 / 3 * slack**2
    window = np.array([[crop.x0, crop.y0, crop.x0 + crop.w, crop.y0 + crop.h]], dtype=float)
    np.testing.assert_allclose(transform.apply_box(window)[0], [0, 0, size[1], size[0]], atol=1e-6)


def test_whole_image_is_the_largest_crop():
    image = numbered(12, 6)
    with seeded(1):
        crops = [RandomResizedCrop((1.0, 1.0)).get_transform(image).transforms[0] for _ in range(9)]
    assert all(c.h == 12 or c.w == 6 for c in crops)


def test_blur_keeps_the_mean_and_the_boxes():
    image = np.zeros((41, 41, 3), np.float32)
    image[20, 20] = 100
    with seeded(0):
        transform = GaussianBlur((2.0, 2.0)).get_transform(image)
    blurred = transform.apply_image(image)
    assert blurred.sum() == pytest.approx(300, rel=1e-4)
    # A Gaussian of standard deviation 2: 100 / (2 pi 4) at its top.
    assert blurred[20, 20, 0] == pytest.approx(100 / (8 * np.pi), rel=0.02)
    box = np.array([[1.0, 2, 3, 4]])
    np.testing.assert_array_equal(transform.apply_box(box), box)


def whole(image: np.ndarray) -> np.ndarray:
    return np.array([[0.0, 0.0, image.shape[1], image.shape[0]]])


def inside(image: np.ndarray, box: np.ndarray) -> np.ndarray:
    assert np.allclose(box, box.round(), atol=1e-9)
    x1, y1, x2, y2 = box.round().astype(int).tolist()
    return image[y1:y2, x1:x2]


def is_all_but(image: np.ndarray, box: np.ndarray, fill) -> bool:
    rest = np.ones(image.shape[:2], bool)
    inside(rest, box)[:] = False
    return bool((image[rest] == np.asarray(fill, image.dtype)).all())


@settings(max_examples=60, deadline=None)
@given(size=SIZES, room=st.tuples(st.integers(0, 40), st.integers(0, 40)), seed=SEEDS)
def test_a_pasted_person_is_found_in_its_box_and_nowhere_else(size, room, seed):
    image = numbered(*size)
    canvas = size[0] + room[0], size[1] + room[1]
    with seeded(seed):
        transform = RandomPaste(canvas, FILL).get_transform(image)
    found, (box,) = transform.apply_image(image), transform.apply_box(whole(image))
    assert found.shape == (*canvas, 3)
    assert np.array_equal(inside(found, box), image)
    assert is_all_but(found, box, FILL)


@settings(max_examples=60, deadline=None)
@given(size=SIZES, part=st.tuples(*[st.floats(0, 1)] * 4), seed=SEEDS)
def test_any_box_of_a_pasted_picture_moves_by_whole_pixels(size, part, seed):
    image = numbered(*size)
    box = np.array([[part[0] * size[1], part[1] * size[0], size[1], size[0]]])
    with seeded(seed):
        transform = RandomPaste((120, 130), FILL).get_transform(image)
    shift = transform.apply_box(box) - box
    assert np.allclose(shift, [[transform.x, transform.y] * 2])


@settings(max_examples=60, deadline=None)
@given(size=SIZES, seed=SEEDS)
def test_at_ratio_and_scale_1_expand_resize_leaves_a_picture_as_it_is(size, seed):
    image = numbered(*size)
    with seeded(seed):
        transform = ExpandResize((1.0, 1.0), size, FILL).get_transform(image)
    assert np.array_equal(transform.apply_image(image), image)
    assert np.array_equal(transform.apply_box(whole(image)), whole(image))


@settings(max_examples=80, deadline=None)
@given(size=SIZES, canvas=SIZES, least=st.floats(1, 3), more=st.floats(0, 2), seed=SEEDS)
def test_an_expanded_person_fills_its_box_of_the_drawn_share(size, canvas, least, more, seed):
    image = np.full((*size, 3), 9, np.float32)
    with seeded(seed):
        transform = ExpandResize((least, least + more), canvas, FILL).get_transform(image)
    found, (box,) = transform.apply_image(image), transform.apply_box(whole(image))
    assert found.shape == (*canvas, 3)
    assert np.allclose(inside(found, box), 9)
    assert is_all_but(found, box, FILL)
    sides = np.array([box[3] - box[1], box[2] - box[0]])
    # The larger of the two shares of the canvas is 1 / ratio, to the half pixel of rounding.
    k = int(np.argmax(np.array(size) / canvas))
    assert canvas[k] / (least + more) - 0.51 <= sides[k] <= max(canvas[k] / least + 0.51, 1)
    scale = sides[k] / size[k]
    assert abs(sides[1 - k] - size[1 - k] * scale) <= 1 + size[1 - k] / size[k]  # shape is kept


def test_an_expanded_person_of_the_shape_of_the_canvas_has_its_share_of_the_area():
    image = np.zeros((64, 32, 3), np.uint8)
    (box,) = ExpandResize((4, 4), (512, 256), FILL).get_transform(image).apply_box(whole(image))
    assert np.prod(box[2:] - box[:2]) / (512 * 256) == 1 / 4**2


def test_every_place_of_the_canvas_occurs_equally_often():
    image = numbered(4, 3)
    counts: dict[tuple[int, int], int] = {}
    with seeded(0):
        for _ in range(1600):
            transform = RandomPaste((5, 6), FILL).get_transform(image)
            at = transform.x, transform.y
            counts[at] = counts.get(at, 0) + 1
    assert len(counts) == 2 * 4
    assert 140 < min(counts.values()) and max(counts.values()) < 260


@pytest.mark.parametrize("canvas", [(63, 100), (100, 31)])
def test_a_picture_larger_than_the_canvas_is_an_error(canvas):
    with pytest.raises(DoesNotFit, match="a picture of 32x64 does not fit on a canvas of"):
        RandomPaste(canvas, FILL).get_transform(numbered(64, 32))


@pytest.mark.parametrize("ratio", [(0.9, 2.0), (3.0, 2.0)])
def test_a_canvas_smaller_than_its_picture_is_an_error(ratio):
    with pytest.raises(ValueError, match="cannot be smaller than the picture"):
        ExpandResize(ratio, (64, 32), FILL)


def test_hue_turns_colors_and_leaves_grays():
    image = np.array([[[200, 40, 40], [90, 90, 90]]], np.uint8)
    with seeded(1):
        found = RandomHue(0.5).get_transform(image).apply_image(image)
    assert not np.array_equal(found[0, 0], image[0, 0])
    assert found[0, 0].max() == 200 and found[0, 0].min() == 40  # value and saturation stay
    assert np.array_equal(found[0, 1], image[0, 1])
    assert np.array_equal(RandomHue(0.0).get_transform(image).apply_image(image), image)


# Resizing as torchvision -----------------------------------------------------------------------


@pytest.mark.parametrize("size, resized", [((1080, 1920), (843, 1500)), ((576, 720), (900, 1125))])
def test_float_resizing_is_torchvisions(size, resized):
    """Sides are rounded down (detectron2 makes 844 of 1080), pixels stay float."""
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    theirs = GeneralizedRCNNTransform(900, 1500, [0.0] * 3, [1.0] * 3)
    boxes = torch.tensor([[10.0, 20.0, 200.0, 300.0]])
    pixels = torch.from_numpy(image).permute(2, 0, 1).float()
    wanted, target = theirs.resize(pixels, {"boxes": boxes.clone()})
    transform = FloatResizeShortestEdge([900], 1500, "choice").get_transform(image)
    mine = transform.apply_image(image)
    assert mine.shape[:2] == resized == tuple(wanted.shape[-2:])
    np.testing.assert_allclose(mine, wanted.permute(1, 2, 0), atol=1e-3)
    np.testing.assert_allclose(transform.apply_box(boxes.numpy()), target["boxes"], rtol=1e-6)


def test_the_key_chooses_how_frames_are_resized(tiny_cfg):
    assert type(build_mapper(tiny_cfg(), False).augmentations.augs[0]) is T.ResizeShortestEdge
    cfg = tiny_cfg("INPUT.RESIZE", "torchvision")
    assert type(build_mapper(cfg, False).augmentations.augs[0]) is FloatResizeShortestEdge
    with pytest.raises(ConfigError, match="INPUT.RESIZE is 'cubic'; legal: pillow, torchvision"):
        build_mapper(tiny_cfg("INPUT.RESIZE", "cubic"), False)
