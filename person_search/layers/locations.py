"""Locations of a feature map: each cell stands for one point of the picture, its middle.

Shape shorthand in this module:
    n: number of boxes, xyxy in pixels; (height, width): size of the map, in cells
"""

import math

import torch
from torch import Tensor


def center_cells(boxes: Tensor, stride: int) -> Tensor:
    """(n, 2) int64 columns and rows of the cells that the centers of (n, 4) boxes lie in.

    With stride 8 the box (0, 0, 20, 10), whose center is (10, 5), gets column 1 and row 0. The
    cells of boxes outside of the picture lie outside of the map.
    """
    middle = (boxes[:, :2] + boxes[:, 2:]) / 2
    return (middle / stride).floor().long()


def cell_points(size: tuple[int, int], stride: int, device: torch.device) -> Tensor:
    """(height * width, 2) x and y of the cells, row by row: 4, 12, 20, ... with stride 8."""
    rows, columns = (torch.arange(n, device=device) for n in size)
    cells = torch.stack(torch.meshgrid(columns, rows, indexing="xy"), dim=2)
    return (cells.reshape(-1, 2) + 0.5) * stride


def assign_locations(
    boxes: Tensor, size: tuple[int, int], stride: int, radius: float = 1.5
) -> Tensor:
    """Which box each cell belongs to, as FCOS assigns them on a single level (Tian et al., 2019).

    A cell belongs to a box if its point lies inside, and closer than ``radius * stride`` to the
    box's center in x and in y ("center sampling"). Of several boxes it belongs to the smallest, of
    equally large ones to the first. Boxes that lie between all points have no cell.

    For example with stride 8 and three cells in a row, at x 4, 12 and 20 and y 4, the boxes
    (0, 0, 24, 8) and (8, 0, 16, 8), both with the center (12, 4), have the cells 0 and 2, and 1:
    the result is (0, 1, 0).

    Args:
        boxes: (n, 4); n may be 0.
        size, stride: of the map.
        radius: in cells.

    Returns:
        (height * width,) int64 indices of boxes, -1 where there is none.
    """
    height, width = size
    reach = math.ceil(radius - 0.5)  # no cell further off is near enough
    steps = torch.arange(-reach, reach + 1, device=boxes.device)
    cells = center_cells(boxes, stride)[:, None] + torch.cartesian_prod(steps, steps)  # (n, k, 2)
    points = (cells + 0.5) * stride
    low, high = boxes[:, None, :2], boxes[:, None, 2:]
    near = (points - (low + high) / 2).abs() < radius * stride
    inside = (points > low) & (points < high)
    on_map = (cells >= 0) & (cells < cells.new_tensor([width, height]))
    belongs = (near & inside & on_map).all(dim=2)

    by_area = (boxes[:, 2:] - boxes[:, :2]).prod(dim=1).argsort(stable=True)
    rank = by_area.argsort()[:, None].expand_as(belongs)
    index = cells[..., 1] * width + cells[..., 0]
    smallest = rank.new_full((height * width,), len(boxes))
    smallest.scatter_reduce_(0, index[belongs], rank[belongs], "amin")
    return torch.cat([by_area, by_area.new_tensor([-1])])[smallest]


def centerness(points: Tensor, boxes: Tensor) -> Tensor:
    """(n,) how central points (n, 2) lie in boxes (n, 4): 1 in the middle, 0 at the border.

    FCOS, Eq. 3: the root of left/right times top/bottom, the shorter by the longer way each. The
    point (4, 5) of the box (0, 0, 20, 10) has the ways 4 and 16, 5 and 5: sqrt(1/4 * 1) = .5.
    """
    before, behind = points - boxes[:, :2], boxes[:, 2:] - points
    shares = torch.minimum(before, behind) / torch.maximum(before, behind)
    return shares.clamp(min=0).prod(dim=1).sqrt()
