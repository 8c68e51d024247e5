"""Both kinds of packs, with networks whose results are known."""

import numpy as np
import pytest
from tiny_packs import one_step, two_step

from person_search import packs
from person_search.errors import PackError

RED, BLUE = (0, 0, 255), (255, 0, 0)


def picture(height: int = 64, width: int = 64) -> np.ndarray:
    """Red at the upper left quarter, a little red at the lower right, blue elsewhere; BGR."""
    image = np.zeros((height, width, 3), np.uint8)
    image[:] = BLUE
    image[: height // 2, : width // 2] = RED
    image[height // 2 :, width // 2 :] = (0, 0, 178)  # 178 / 255 = 0.7
    return image


def test_a_two_step_pack_finds_and_embeds(tmp_path):
    searcher = packs.open_pack(two_step(tmp_path / "pack"))
    nobody = np.zeros((64, 64, 3), np.uint8)
    large, none, small = searcher.detect([picture(64, 128), nobody, picture(32, 32)])
    np.testing.assert_allclose(large.boxes, [[0, 0, 64, 32], [64, 32, 128, 64]])
    np.testing.assert_allclose(large.scores, [1, 178 / 255], atol=1e-6)
    np.testing.assert_allclose(large.embeds, [[0, 0, 1]] * 2, atol=1e-6)  # both are red
    assert len(none) == 0 and none.boxes.shape == (0, 4) and none.embeds.shape == (0, 3)
    np.testing.assert_allclose(small.boxes[0], [0, 0, 16, 16])
    for part in (large.boxes, large.scores, large.embeds):
        assert part.dtype == np.float32


def test_given_boxes_are_embedded_as_detected_ones_are(tmp_path):
    searcher = packs.open_pack(two_step(tmp_path / "pack"))
    image = np.random.default_rng(0).integers(0, 256, (50, 70, 3), np.uint8)
    image[:25, :35, 2] = 255
    (found,) = searcher.detect([image])
    assert len(found) >= 1
    np.testing.assert_array_equal(searcher.embed(image, found.boxes), found.embeds)
    assert searcher.embed(image, np.zeros((0, 4))).shape == (0, 3)
    (blue,) = searcher.embed(picture(), [[40, 2, 60, 30]])
    np.testing.assert_allclose(blue, [1, 0, 0], atol=1e-6)


@pytest.mark.parametrize("batch", [1, 3, "batch"])
def test_any_number_of_crops_goes_through_any_batch(tmp_path, batch):
    searcher = packs.open_pack(two_step(tmp_path / "pack", batch=batch))
    image = np.random.default_rng(1).integers(0, 256, (40, 40, 3), np.uint8)
    boxes = np.array([[i, i, i + 12, i + 9] for i in range(7)], float)
    expected = [image[i : i + 9, i : i + 12] for i in range(7)]
    rows = searcher.embed(image, boxes)
    assert rows.shape == (7, 3)
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, rtol=1e-5)
    for row, crop in zip(rows, expected, strict=True):
        assert row @ (crop.mean((0, 1)) / np.linalg.norm(crop.mean((0, 1)))) > 0.99


def test_tiles_find_what_is_small_in_the_whole(tmp_path):
    folder = two_step(tmp_path / "pack")
    image = np.zeros((600, 600, 3), np.uint8)
    # With 2 tiles the side is 600 / 1.8 = 334; a quarter of the first one is 167 pixels.
    image[:167, :167] = RED
    (whole,) = packs.open_pack(folder).detect([image])
    (tiled,) = packs.open_pack(folder, tiles=2).detect([image])
    assert len(whole) == 0  # 167 x 167 of a quarter of 300 x 300: 0.31
    np.testing.assert_allclose(tiled.boxes, [[0, 0, 167, 167]])
    with pytest.raises(PackError, match="from 1 to 32"):
        packs.open_pack(folder, tiles=0)


def test_a_one_step_pack_finds_and_embeds(tmp_path):
    searcher = packs.open_pack(one_step(tmp_path / "pack"))
    (found,) = searcher.detect([picture(80, 100)])
    np.testing.assert_allclose(found.boxes, [[50, 0, 100, 80], [0, 0, 50, 80]])  # best score first
    np.testing.assert_allclose(found.scores, [0.9, 0.6])
    np.testing.assert_allclose(np.linalg.norm(found.embeds, axis=1), 1, rtol=1e-6)
    rows = searcher.embed(picture(80, 100), [[6, 8, 100, 80], [20, 0, 40, 40]])
    expected = np.array([[3, 4, 50], [10, 0, 20]])  # the picture shrinks to 40x50
    np.testing.assert_allclose(
        rows, expected / np.linalg.norm(expected, axis=1, keepdims=True), rtol=1e-6
    )
    assert searcher.embed(picture(), np.zeros((0, 4))).shape == (0, 3)


def test_boxes_of_a_padded_input_are_those_of_the_picture(tmp_path):
    searcher = packs.open_pack(one_step(tmp_path / "pack", divisible=32))
    (found,) = searcher.detect([picture(80, 100)])
    np.testing.assert_allclose(found.boxes[0], [50, 0, 100, 80])


def test_a_gallery_remembers_what_decides_an_embedding(tmp_path):
    folder = two_step(tmp_path / "pack")
    model = packs.open_pack(folder).model
    assert (model.kind, model.dim, model.score_thresh) == ("pack", 3, 0.5)
    assert model.weights == str(folder) and "decode: boxes_scores" in model.config
    tiled = packs.open_pack(folder, tiles=3, score_thresh=0.7).model
    assert (tiled.config_hash, tiled.weights_hash) == (model.config_hash, model.weights_hash)
    assert tiled.score_thresh == 0.7
    text = (folder / "pack.yaml").read_text()
    (folder / "pack.yaml").write_text(text.replace("Apache-2.0", "MIT"))
    assert packs.open_pack(folder).model.config_hash == model.config_hash
    (folder / "pack.yaml").write_text(text.replace("color: RGB", "color: BGR"))
    assert packs.open_pack(folder).model.config_hash != model.config_hash
    other = packs.open_pack(two_step(tmp_path / "other", factor=2.0)).model
    assert other.weights_hash != model.weights_hash
