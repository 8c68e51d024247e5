"""Locations of a map: which cell a box has, which cells have a box, and how central they lie."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from person_search.layers.locations import (
    assign_locations,
    cell_points,
    center_cells,
    centerness,
)


def test_cells_by_hand():
    boxes = torch.tensor([[0.0, 0, 20, 10], [8, 8, 8, 8], [-30, 0, 0, 10], [0, 0, 31.98, 79.98]])
    # The centers are (10, 5), (8, 8), (-15, 5) and (15.99, 39.99).
    assert center_cells(boxes, stride=8).tolist() == [[1, 0], [1, 1], [-2, 0], [1, 4]]
    assert center_cells(boxes[:0], stride=8).shape == (0, 2)


def test_points_by_hand():
    points = cell_points((2, 3), 8, torch.device("cpu"))
    assert points.tolist() == [[4, 4], [12, 4], [20, 4], [4, 12], [12, 12], [20, 12]]


def assigned(boxes: list[list[float]], size: tuple[int, int], **others) -> list[list[int]]:
    boxes = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    return assign_locations(boxes, size, stride=8, **others).reshape(size).tolist()


def test_only_the_middle_of_a_large_box_counts():
    """The center (40, 40) is 12 from the points 28 and 52: not closer than 1.5 * 8."""
    rows = assigned([[0, 0, 80, 80]], (10, 10))
    assert rows[4] == rows[5] == [-1, -1, -1, -1, 0, 0, -1, -1, -1, -1]
    assert sum(cell == 0 for row in rows for cell in row) == 4
    # With the center (44, 44), which is a point, three cells are near enough on each side.
    rows = assigned([[0, 0, 88, 88]], (11, 11))
    assert [k for k, row in enumerate(rows) if 0 in row] == [4, 5, 6]


def test_a_location_has_to_lie_inside_of_its_box():
    # Of the points 4, 12 and 20 in x only 12 lies between 5 and 19; in y, 4 and 12 in (0, 16).
    assert assigned([[5, 0, 19, 16]], (3, 3)) == [[-1, 0, -1], [-1, 0, -1], [-1, -1, -1]]
    # No point lies between 5 and 11.
    assert assigned([[5, 0, 11, 16]], (1, 3)) == [[-1, -1, -1]]


def test_boxes_that_share_a_center():
    assert assigned([[0, 0, 24, 8], [8, 0, 16, 8]], (1, 3)) == [[0, 1, 0]]
    assert assigned([[8, 0, 16, 8], [0, 0, 24, 8]], (1, 3)) == [[1, 0, 1]]
    # Equally large ones, also the same twice: the first.
    assert assigned([[0, 0, 24, 8], [0, 0, 24, 8]], (1, 3)) == [[0, 0, 0]]


def test_boxes_at_the_border_and_outside_of_the_picture():
    assert assigned([[-20, -20, 20, 20], [100, 100, 120, 120]], (2, 2)) == [[0, -1], [-1, -1]]
    assert assigned([], (1, 2)) == [[-1, -1]]


def as_written(boxes, size, stride, radius):
    """The rule, for each location and box in turn."""
    owners = []
    for x, y in cell_points(size, stride, torch.device("cpu")).tolist():
        best = (float("inf"), -1)
        for k, (x0, y0, x1, y1) in enumerate(boxes.tolist()):
            off = max(abs(x - (x0 + x1) / 2), abs(y - (y0 + y1) / 2))
            if off < radius * stride and x0 < x < x1 and y0 < y < y1:
                best = min(best, ((x1 - x0) * (y1 - y0), k))
        owners.append(best[1])
    return owners


BOX = st.tuples(*[st.integers(-8, 60)] * 2, *[st.integers(1, 60)] * 2)


@settings(max_examples=40, deadline=None)
@given(boxes=st.lists(BOX, max_size=8), radius=st.sampled_from([0.5, 1.0, 1.5, 2.5]))
def test_as_the_rule_is_written(boxes, radius):
    corners = [[x, y, x + w, y + h] for x, y, w, h in boxes]
    boxes = torch.tensor(corners, dtype=torch.float32).reshape(-1, 4)
    found = assign_locations(boxes, (5, 6), 8, radius).tolist()
    assert found == as_written(boxes, (5, 6), 8, radius)


def test_the_cell_of_a_center_is_assigned_to_its_box():
    """What a query is embedded by is a location that learned the person."""
    generator = torch.Generator().manual_seed(0)
    low = torch.rand(30, 2, generator=generator) * 60
    for box in torch.cat([low, low + 16 + torch.rand(30, 2, generator=generator) * 30], dim=1):
        column, row = center_cells(box[None], 8)[0].tolist()
        assert assign_locations(box[None], (15, 15), 8)[row * 15 + column] == 0


def test_centerness_by_hand():
    boxes = torch.tensor([[0.0, 0, 20, 10]]).expand(4, 4)
    points = torch.tensor([[10.0, 5], [4, 5], [4, 1], [0, 5]])
    # 1; sqrt(4 / 16 * 1); sqrt(4 / 16 * 1 / 9); 0
    assert centerness(points, boxes).tolist() == pytest.approx([1, 0.5, 1 / 6, 0])
