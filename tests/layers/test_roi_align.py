"""RoIAlign in mixed precision."""

import pytest
import torch
from detectron2.layers import ROIAlign

from person_search.layers.roi_align import FloatROIAlign

KEYS = (6, 3), 1 / 16, 2, True
BOXES = torch.tensor([[0, 1283.0, 301, 1317, 397], [1, 1201, 99, 1243, 203]])


def maps() -> torch.Tensor:
    return torch.randn(2, 4, 50, 90, generator=torch.Generator().manual_seed(0))


def test_in_float32_it_is_detectron2s():
    assert FloatROIAlign(*KEYS)(maps(), BOXES).equal(ROIAlign(*KEYS)(maps(), BOXES))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_far_from_the_origin_boxes_stay_where_they_are(dtype):
    """What is pooled of a map in low precision is that of the same map in float32."""
    low = maps().to(dtype).requires_grad_()
    with torch.autocast("cpu", dtype):
        found = FloatROIAlign(*KEYS)(low, BOXES)
    assert found.dtype == dtype
    exact = ROIAlign(*KEYS)(low.detach().float(), BOXES)
    assert found.equal(exact.to(dtype))
    found.float().sum().backward()
    assert low.grad.dtype == dtype and low.grad.abs().sum() > 0


def test_more_rows_than_bfloat16_can_count():
    """Row 257 would become row 256."""
    pictures = torch.arange(300.0).reshape(300, 1, 1, 1).expand(-1, 1, 4, 4).bfloat16()
    boxes = torch.tensor([[257.0, 0, 0, 64, 64], [299, 0, 0, 64, 64]])
    found = FloatROIAlign((1, 1), 1 / 16, 2, True)(pictures, boxes)
    assert found.flatten().tolist() == pictures[[257, 299], 0, 0, 0].tolist()
