"""The count that every reader of a user's files ends with."""

from person_search.tally import Tally


def test_a_line_for_each_reason():
    tally = Tally()
    tally.take("pictures", 12)
    tally.leave("pictures", "suffix .heic", "IMG_5.heic")
    tally.leave("pictures", "suffix .heic", "IMG_6.heic")
    tally.leave("pictures", "unreadable", "x.jpg")
    tally.take("films")
    tally.leave("boxes", "category car", number=3)
    assert str(tally).splitlines() == [
        "            taken  left out  why",
        "pictures       12         2  suffix .heic (IMG_5.heic)",
        "                          1  unreadable (x.jpg)",
        "films           1         0",
        "boxes           0         3  category car",
    ]
    assert (tally.taken("pictures"), tally.left_out("pictures"), tally.left_out()) == (12, 3, 6)


def test_sums():
    one, other = Tally(), Tally()
    one.take("boxes", 2)
    other.take("boxes")
    other.leave("boxes", "empty", "a.json, annotation 3")
    one.add(other)
    one.add(other)
    assert one.taken("boxes") == 4 and one.left_out("boxes") == 2
    assert str(one).endswith("2  empty (a.json, annotation 3)")


def test_nothing_counted_is_a_heading():
    assert str(Tally()) == "    taken  left out  why"
