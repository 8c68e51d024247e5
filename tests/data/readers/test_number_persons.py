import numpy as np

from person_search.data.readers.records import number_persons


def test_persons_are_numbered_in_the_order_of_their_raw_ids():
    found, raw = number_persons([np.array([7, -2, 3]), np.zeros(0, np.int64), np.array([7])])
    assert [ids.tolist() for ids in found] == [[1, -1, 0], [], [1]]
    assert raw == (3, 7)


def test_large_ids_that_a_float_would_merge_stay_two_persons():
    found, raw = number_persons([np.array([2**53, 2**53 + 1])])
    assert found[0].tolist() == [0, 1] and raw == (2**53, 2**53 + 1)
