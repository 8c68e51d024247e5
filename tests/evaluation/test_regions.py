"""Which boxes a region to ignore covers."""

import numpy as np
import pytest

from person_search.evaluation.regions import mostly_inside

LEFT = [0, 0, 99, 0, 99, 199, 0, 199]
"""The rectangle of 100 columns and 200 rows at the origin."""

TRIANGLE = [0, 0, 200, 0, 0, 200]


@pytest.mark.parametrize(
    "regions, expected",
    [
        ([LEFT], [True, True, False, False]),
        ([TRIANGLE], [True, False, True, False]),  # left of x + y = 200
        ([LEFT, LEFT], [True, True, False, False]),  # nothing is covered twice
        ([LEFT, [150, 0, 299, 0, 299, 199, 150, 199]], [True, True, True, True]),
        ([[5, 5, 80, 80]], [False] * 4),  # no area
        ([], [False] * 4),
    ],
)
def test_half_of_a_box_has_to_be_covered(regions, expected):
    boxes = [
        [10, 10, 60, 110],
        [60, 120, 130, 190],  # 40 of its 70 columns are left of 100
        [80, 0, 180, 40],  # 20 of 100, and 30 from 150 on
        [200, 0, 250, 100],
    ]
    found = mostly_inside(np.array(boxes, dtype=np.float32), regions)
    assert found.dtype == bool and found.tolist() == expected


def test_no_box_is_inside():
    assert mostly_inside(np.zeros((0, 4), np.float32), [LEFT]).shape == (0,)
