"""Pictures inside one big file, across processes and threads, and in the cache of crops."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from detectron2.data.detection_utils import read_image as stock_read_image
from detectron2.utils.file_io import PathManager
from looks_alike import noise, save, write_cuhk03_release, write_luperson_lmdb
from torch.utils.data import DataLoader

from person_search.data.containers import file_of, is_member
from person_search.data.crop_cache import CropCache, cut_out
from person_search.errors import DatasetError, ImageError
from person_search.images import read_image

pytest.importorskip("lmdb", reason="needs lmdb: pip install -e '.[datasets]'")
pytest.importorskip("h5py", reason="needs h5py: pip install -e '.[datasets]'")


@pytest.fixture
def members(tmp_path) -> list[str]:
    """Six pictures, noise(0) to noise(5): half of them in an LMDB, half in a MATLAB file."""
    encoded = {}
    for number in range(3):
        save(tmp_path / "one.png", noise(number))
        encoded[str(number)] = (tmp_path / "one.png").read_bytes()
    folder = write_luperson_lmdb(tmp_path / "LUP!", encoded)  # "!" also in the path
    release = tmp_path / "cuhk-03.mat"
    write_cuhk03_release(release, {(1, k, 9): noise(3 + k) for k in range(3)})
    return [f"lmdb://{folder / 'lmdb'}!{k}" for k in range(3)] + [
        f"mat73://{release}!labeled/1/{k}/9" for k in range(3)
    ]


def read_all(members: list[str]) -> bool:
    found = [read_image(name, "RGB") for name in members]
    return all(np.array_equal(image, noise(k)) for k, image in enumerate(found))


def test_stock_detectron2_reads_them(members):
    for number, name in enumerate(members):
        assert np.array_equal(stock_read_image(name, "RGB"), noise(number))
    with pytest.raises(ValueError, match="only be opened with mode 'rb'"):
        PathManager.open(members[0], "w")


class Pictures:
    def __init__(self, members: list[str]):
        self.members = members

    def __len__(self) -> int:
        return len(self.members)

    def __getitem__(self, index: int) -> bool:
        return np.array_equal(read_image(self.members[index], "RGB"), noise(index))


def test_workers_read_what_their_parent_has_read(members):
    assert read_all(members)
    loader = DataLoader(Pictures(members), batch_size=2, num_workers=2)
    found = [bool(x) for batch in loader for x in batch]
    assert found == [True] * 6
    assert read_all(members)  # and the parent can go on


def test_threads_share_a_container(members):
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(read_image, members * 20, ["RGB"] * 120))
    assert all(np.array_equal(image, noise(k % 6)) for k, image in enumerate(found))


def test_in_the_cache_of_crops(members, tmp_path):
    crops = [{"file_name": name, "bbox": None} for name in members]
    first = CropCache(crops, tmp_path / "crops", (16, 8))
    for number, found in enumerate(first.pixels):
        assert np.array_equal(found, cut_out(noise(number), None, (16, 8)))
    # A container that changed has other pictures.
    path = Path(file_of(members[0]))
    assert path.name == "data.mdb"
    os.utime(path, ns=(0, 0))
    CropCache(crops, tmp_path / "crops", (16, 8))
    assert len(list((tmp_path / "crops").iterdir())) == 2


def test_what_is_a_member(members):
    assert all(map(is_member, members)) and not is_member("/data/a!b.jpg")
    assert {file_of(name).rpartition("/")[2] for name in members} == {"data.mdb", "cuhk-03.mat"}
    assert file_of("/data/a!b.jpg") == "/data/a!b.jpg"


def test_a_container_that_is_none(tmp_path):
    with pytest.raises(DatasetError, match="nowhere is no LMDB"):
        read_image(f"lmdb://{tmp_path}/nowhere!0")
    with pytest.raises(DatasetError, match="nowhere.mat is no MATLAB 7.3 file"):
        read_image(f"mat73://{tmp_path}/nowhere.mat!labeled/0/0/0")


@pytest.mark.parametrize("kept", [0, 100, 4096, 8000, 0.5, -1], ids=str)
def test_a_truncated_lmdb_is_refused_before_it_is_mapped(tmp_path, kept):
    """Reading what is missing would kill the process (SIGBUS)."""
    folder = (
        write_luperson_lmdb(tmp_path / "LUP", {str(k): bytes(5000) for k in range(20)}) / "lmdb"
    )
    content = (folder / "data.mdb").read_bytes()
    used = int.from_bytes(content[16 + 120 :][:8], "little"), len(content)  # last page, size
    end = (used[0] + 1) * 4096
    length = int(end * kept) if isinstance(kept, float) else kept if kept >= 0 else end - 1
    (folder / "data.mdb").write_bytes(content[:length])
    with pytest.raises(DatasetError, match="data.mdb (has .* bytes of the|is no LMDB).*copy it"):
        read_image(f"lmdb://{folder}!0")


def test_an_lmdb_with_room_at_its_end_is_read(tmp_path):
    save(tmp_path / "one.png", noise(0))
    values = {"0": (tmp_path / "one.png").read_bytes()}
    folder = write_luperson_lmdb(tmp_path / "LUP", values) / "lmdb"
    with open(folder / "data.mdb", "ab") as file:
        file.write(bytes(2**16))
    assert np.array_equal(read_image(f"lmdb://{folder}!0", "RGB"), noise(0))
    for key in ("1", "", "x" * 9999):
        with pytest.raises(ImageError, match="under that key|cannot be read"):
            read_image(f"lmdb://{folder}!{key}")


def test_a_truncated_matlab_file(tmp_path):
    path = tmp_path / "cuhk-03.mat"
    write_cuhk03_release(path, {(1, k, 9): noise(3 + k) for k in range(3)})
    content = path.read_bytes()
    for kept in (0, 10, 600, len(content) // 2, len(content) - 1):
        path = tmp_path / f"{kept}.mat"
        path.write_bytes(content[:kept])
        with pytest.raises(DatasetError, match=f"{kept}.mat"):
            read_image(f"mat73://{path}!labeled/1/0/9")


def test_a_matlab_picture_that_is_too_large(tmp_path):
    import h5py

    path = tmp_path / "bomb.mat"
    with h5py.File(path, "w") as file:
        options = {"dtype": np.uint8, "chunks": (3, 64, 64)}  # takes no space: nothing is written
        huge = file.create_dataset("huge", (3, 40_000, 40_000), **options)
        matrix = file.create_dataset("matrix", (1, 1), h5py.ref_dtype)
        matrix[0, 0] = huge.ref
        labeled = file.create_dataset("labeled", (1, 1), h5py.ref_dtype)
        labeled[0, 0] = matrix.ref
    with pytest.raises(ImageError, match="is too large: its shape is"):
        read_image(f"mat73://{path}!labeled/0/0/0")
