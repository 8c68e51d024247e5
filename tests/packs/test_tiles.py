"""Tiles cover the picture, and boxes that a tile cuts are not taken from it."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from person_search.packs.tiles import OVERLAP, is_whole, tiles_of


def test_tiles_are_about_square_and_overlap():
    # The side is 1000 / (3 - 2 x 0.2) = 384.6.
    tiles = tiles_of(400, 1000, 3)
    assert sorted({(x1, x2) for x1, _, x2, _ in tiles}) == [(0, 385), (308, 693), (615, 1000)]
    assert sorted({(y1, y2) for _, y1, _, y2 in tiles}) == [(0, 385), (15, 400)]


@settings(max_examples=60, deadline=None)
@given(height=st.integers(1, 3000), width=st.integers(1, 3000), along=st.integers(1, 8))
def test_tiles_cover_every_pixel_and_share_a_fifth(height, width, along):
    tiles = tiles_of(height, width, along)
    for low, high, length in ((0, 2, width), (1, 3, height)):
        spans = sorted({(tile[low], tile[high]) for tile in tiles})
        assert spans[0][0] == 0 and spans[-1][1] == length
        for (_, end), (start, after) in zip(spans, spans[1:], strict=False):
            assert end - start >= OVERLAP * (after - start) - 1.5  # rounding to whole pixels
    longer = {t[2] if width >= height else t[3] for t in tiles}
    assert len(longer) <= along


def test_a_box_at_a_cut_side_is_left_to_the_neighbor():
    boxes = np.array(
        [
            [0, 10, 50, 90],  # at the side of the picture
            [320, 10, 384, 90],  # at the cut
            [300, 100, 380, 384],  # at the lower cut
            [100, 100, 200, 300],
        ],
        np.float32,
    )
    whole = is_whole(boxes, (0, 0, 385, 385), (400, 1000, 3))
    assert whole.tolist() == [True, False, False, True]
