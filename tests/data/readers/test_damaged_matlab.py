"""Damaged .mat files: an error that names the file, where scipy alone would crash the process."""

from io import BytesIO

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.io import savemat

from person_search.data.readers.matlab import load_mat
from person_search.errors import DatasetError


def cells(*values) -> np.ndarray:
    found = np.empty((len(values), 1), dtype=object)
    found[:, 0] = values
    return found


def struct_of(**fields) -> np.ndarray:
    found = np.empty((1, 1), dtype=[(name, object) for name in fields])
    found[0, 0] = tuple(fields.values())
    return found


VALUES = {
    "box_new": np.array([[1, 2.5, 3, 4, 5]]),
    "pool": cells("s1.jpg", "s22.jpg"),
    "Img": cells(struct_of(imname="s1.jpg", box=struct_of(idlocate=np.ones((1, 4), np.uint8)))),
    "empty": np.zeros((1, 0)),
}


def mat(name: str, compressed: bool) -> bytes:
    buffer = BytesIO()
    savemat(buffer, {name: VALUES[name]}, do_compression=compressed)
    return buffer.getvalue()


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("name", VALUES)
def test_whole_files_are_read(tmp_path, name, compressed):
    (tmp_path / "x.mat").write_bytes(mat(name, compressed))
    found = load_mat(tmp_path / "x.mat", name)
    assert found.shape == VALUES[name].shape and found.dtype.kind == VALUES[name].dtype.kind
    if name == "box_new":
        np.testing.assert_array_equal(found, VALUES[name])


@settings(deadline=None, max_examples=400)
@given(
    st.sampled_from(sorted(VALUES)),
    st.booleans(),
    st.lists(st.tuples(st.integers(100, 700), st.integers(0, 255)), min_size=1, max_size=4),
    st.integers(0, 700),
)
def test_damage_is_an_error_or_another_value(tmp_path_factory, name, compressed, changes, cut):
    data = bytearray(mat(name, compressed))
    for at, value in changes:
        data[at % len(data)] = value
    data = data[: len(data) - cut % 8]
    path = tmp_path_factory.getbasetemp() / "damaged.mat"
    path.write_bytes(data)
    try:
        load_mat(path, name)
    except DatasetError as error:
        assert "damaged.mat" in str(error)


def test_what_is_no_matlab_file(tmp_path):
    for content in (b"", b"x" * 200, mat("pool", False)[:130]):
        (tmp_path / "x.mat").write_bytes(content)
        with pytest.raises(DatasetError, match=r"x\.mat is damaged"):
            load_mat(tmp_path / "x.mat", "pool")


def test_another_variable(tmp_path):
    (tmp_path / "x.mat").write_bytes(mat("pool", True))
    with pytest.raises(DatasetError, match=r"x\.mat holds pool, not Img"):
        load_mat(tmp_path / "x.mat", "Img")
