"""Weights files of strangers: every container gives its tensors, and nothing in one is run."""

import argparse
import io
import os
import pickle
import random
import tarfile
import warnings
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch

from person_search.engine.weights_file import WeightsFile, read_weights_file
from person_search.errors import WeightsError

STATE = {"conv1.weight": torch.arange(24.0).reshape(2, 3, 2, 2), "bn1.bias": torch.tensor([1.0, 2])}


def saved(content, path: Path, **how) -> Path:
    torch.save(content, path, **how)
    return path


def pickled(content, path: Path, protocol: int = 2) -> Path:
    path.write_bytes(pickle.dumps(content, protocol))
    return path


def arrays() -> dict[str, np.ndarray]:
    return {k: v.numpy() for k, v in STATE.items()}


def assert_state(file: WeightsFile) -> None:
    assert file.state.keys() == STATE.keys()
    assert all(torch.equal(file.state[k], v) for k, v in STATE.items())


# Containers ------------------------------------------------------------------------------------


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
@pytest.mark.parametrize("name", ["w.pth", "w.pkl", "w.ckpt", "w.pth.tar", "weights"])
def test_torch_files_are_known_by_their_content(tmp_path, legacy, name):
    path = saved(STATE, tmp_path / name, _use_new_zipfile_serialization=not legacy)
    file = read_weights_file(path)
    assert_state(file)
    assert file.wrapper == () and file.around == {}


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("name", ["w.pkl", "w.pth"])
def test_pickles_of_arrays(tmp_path, protocol, name):
    file = read_weights_file(
        pickled({"model": arrays(), "__author__": "me"}, tmp_path / name, protocol)
    )
    assert_state(file)
    assert file.wrapper == ("model",) and file.around == {"__author__": "me"}


@pytest.mark.parametrize("dtype", ["<f4", ">f4", "f2", "f8", "i8", "u1", "?"])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("shape", [(2, 3), (0, 4), (), (1,)])
def test_arrays_of_any_type_order_and_shape(tmp_path, dtype, order, shape):
    array = np.asarray(np.arange(int(np.prod(shape))).reshape(shape) % 2, dtype, order=order)
    file = read_weights_file(pickled({"x": array}, tmp_path / "w.pkl"))
    assert file.state["x"].shape == shape
    assert np.array_equal(file.state["x"].numpy(), array)


def test_a_pickle_of_python_2(tmp_path):
    """Byte strings everywhere, as in the files of Caffe2's model zoo."""
    # What Python 2 writes for {"blobs": {"conv1_w": numpy.float32([1, 2])}}: names and content are
    # its strings (opcode U).
    data = (
        b"\x80\x02}q\x00U\x05blobsq\x01}q\x02U\x07conv1_wq\x03cnumpy.core.multiarray\n_reconstruct\n"
        b"q\x04cnumpy\nndarray\nq\x05K\x00\x85q\x06U\x01bq\x07\x87q\x08Rq\x09(K\x01K\x02\x85q\x0a"
        b"cnumpy\ndtype\nq\x0bU\x02f4q\x0cK\x00K\x01\x87q\x0dRq\x0e(K\x03U\x01<q\x0fNNNJ\xff\xff"
        b"\xff\xffJ\xff\xff\xff\xffK\x00tq\x10b\x89U\x08\x00\x00\x80?\x00\x00\x00@q\x11tq\x12bss."
    )
    (tmp_path / "R-50.pkl").write_bytes(data)
    file = read_weights_file(tmp_path / "R-50.pkl")
    assert file.wrapper == ("blobs",)
    assert file.state["conv1_w"].tolist() == [1.0, 2.0]


def test_npz(tmp_path):
    np.savez_compressed(tmp_path / "w.npz", **arrays())
    assert_state(read_weights_file(tmp_path / "w.npz"))


def test_safetensors(tmp_path):
    pytest.importorskip("safetensors.torch").save_file(STATE, tmp_path / "w.safetensors")
    assert_state(read_weights_file(tmp_path / "w.safetensors"))


def test_old_containers_with_a_namespace_and_numpy_scalars(tmp_path):
    """As older training programs save their options and best score."""
    args = argparse.Namespace(lr=0.1, dataset="prw")
    content = {"state_dict": STATE, "args": args, "best": np.float64(0.5), "t": np.arange(3)}
    file = read_weights_file(saved(content, tmp_path / "w.pth"))
    assert_state(file)
    assert file.around["args"].dataset == "prw" and file.around["best"] == 0.5


# Wrappers --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrapper",
    [("model",), ("state_dict",), ("net",), ("model_state_dict",), ("teacher",), ("foo",)],
)
def test_wrappers(tmp_path, wrapper):
    content = {wrapper[0]: OrderedDict(STATE), "epoch": 3, "optimizer": {"state": {0: {}}}}
    file = read_weights_file(saved(content, tmp_path / "w.pth"))
    assert_state(file)
    assert file.wrapper == wrapper and file.around["epoch"] == 3


def test_a_wrapper_in_a_wrapper(tmp_path):
    file = read_weights_file(saved({"model": {"state_dict": STATE, "a": 1}}, tmp_path / "w.pth"))
    assert_state(file)
    assert file.wrapper == ("model", "state_dict") and file.around == {"a": 1}


def test_other_tensors_beside_the_model_are_no_second_model(tmp_path):
    content = {"state_dict": STATE, "center_loss": {"centers": torch.zeros(3)}}
    assert_state(read_weights_file(saved(content, tmp_path / "w.pth")))


def test_numbers_among_the_tensors_are_no_tensors(tmp_path):
    file = read_weights_file(saved({**STATE, "version": 2}, tmp_path / "w.pth"))
    assert_state(file)
    assert file.around == {"version": 2}


def test_several_models_are_not_chosen_from(tmp_path):
    path = saved({"teacher": STATE, "student": {"a": torch.zeros(1)}}, tmp_path / "w.pth")
    with pytest.raises(
        WeightsError, match="several models, below the keys teacher, student.*--below"
    ):
        read_weights_file(path)
    assert_state(read_weights_file(path, below="teacher"))
    with pytest.raises(WeightsError, match="no key 'ema'; there are teacher, student"):
        read_weights_file(path, below="ema")


@pytest.mark.parametrize(
    "content", [[1, 2], "w", 5, {}, {"model": {"epoch": 3}}, {"model": {}}, None]
)
def test_files_without_a_state_dict(tmp_path, content):
    for path in (saved(content, tmp_path / "w.pth"), pickled(content, tmp_path / "w.pkl")):
        with pytest.raises(WeightsError, match="no state dict"):
            read_weights_file(path)


# Nothing runs ----------------------------------------------------------------------------------


class Runs:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder: Path):
        self.folder = str(folder)

    def __reduce__(self):
        return os.mkdir, (self.folder,)


@pytest.mark.parametrize("suffix", [".pth", ".pkl", ".ckpt"])
@pytest.mark.parametrize("kind", ["zip", "legacy", "pickle"])
def test_an_object_in_a_file_is_named_and_never_made(tmp_path, kind, suffix):
    content = {"model": arrays() if kind == "pickle" else STATE, "x": Runs(tmp_path / "ran")}
    path = tmp_path / f"w{suffix}"
    if kind == "pickle":
        pickled(content, path)
    else:
        saved(content, path, _use_new_zipfile_serialization=kind == "zip")
    with pytest.raises(WeightsError, match=r"holds an object of \w+.mkdir.*state dict"):
        read_weights_file(path)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("content", [Path("x"), torch.nn.Linear(1, 1), random.Random], ids=type)
def test_harmless_classes_are_refused_all_the_same(tmp_path, content):
    with pytest.raises(WeightsError, match="holds an object of (pathlib|torch.nn|random)"):
        read_weights_file(saved({"model": STATE, "x": content}, tmp_path / "w.pth"))


def test_an_array_of_objects_is_refused(tmp_path):
    content = {"model": arrays(), "x": np.array([Runs(tmp_path / "ran")], object)}
    with pytest.raises(WeightsError, match="is not a readable weights file"):
        read_weights_file(pickled(content, tmp_path / "w.pkl"))
    np.savez(tmp_path / "w.npz", **content)
    with pytest.raises(WeightsError, match="is not a readable weights file"):
        read_weights_file(tmp_path / "w.npz")
    assert not (tmp_path / "ran").exists()


# What is no weights file -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "content, says",
    [
        (b"", "it is empty"),
        (b"<!DOCTYPE html><html>", "a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid", "a pointer of Git LFS"),
        (b"conv1: 3\n", "a text"),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), "of no known kind"),
        (b"\x80\x04", "cut short"),
        (b"PK\x03\x04" + bytes(50), "cut short"),
    ],
)
def test_other_files_are_told_what_they_are(tmp_path, content, says):
    (tmp_path / "w.pth").write_bytes(content)
    with pytest.raises(WeightsError, match=f"w.pth is not a readable weights file.*{says}"):
        read_weights_file(tmp_path / "w.pth")


def test_zips_of_other_things(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.pth", "w") as archive:
        archive.writestr("best/model.pth", "x")
    with pytest.raises(WeightsError, match="a zip of other things .best/model.pth"):
        read_weights_file(tmp_path / "a.pth")
    torch.jit.script(torch.nn.Linear(1, 1)).save(tmp_path / "b.pth")
    with pytest.raises(WeightsError, match="a TorchScript program"):
        read_weights_file(tmp_path / "b.pth")


def test_a_tar(tmp_path):
    with tarfile.open(tmp_path / "w.pth.tar", "w") as archive:
        archive.addfile(tarfile.TarInfo("x"), io.BytesIO())
    with pytest.raises(WeightsError, match="is not a readable weights file"):
        read_weights_file(tmp_path / "w.pth.tar")


# What would take memory --------------------------------------------------------------------------


def test_a_compressed_torch_file_is_refused(tmp_path):
    """A few kilobytes of it could become gigabytes."""
    source = saved({"x": torch.zeros(100_000)}, tmp_path / "w.pth")
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(tmp_path / "z.pth", "w", 8) as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))
    with pytest.raises(WeightsError, match="is compressed, which torch does not do"):
        read_weights_file(tmp_path / "z.pth")


def test_a_memo_that_is_too_large_is_refused(tmp_path):
    (tmp_path / "w.pkl").write_bytes(b"\x80\x02Nr\xff\xff\xff\x7f.")
    with pytest.raises(WeightsError, match="entry 2147483647 of a memo"):
        read_weights_file(tmp_path / "w.pkl")


def test_an_array_that_claims_more_than_there_is(tmp_path):
    data = pickle.dumps({"x": np.zeros(200, np.float32)}, 2)
    assert data.count(b"K\xc8") == 1
    (tmp_path / "w.pkl").write_bytes(data.replace(b"K\xc8", b"J\xff\xff\xff\x7f"))
    with pytest.raises(WeightsError, match="cannot reshape array of size 200"):
        read_weights_file(tmp_path / "w.pkl")


def test_a_tensor_that_claims_more_than_there_is(tmp_path):
    path = saved({"x": torch.zeros(1).expand(10**9)}, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match="x is not a plain tensor"):
        read_weights_file(path)


# Mutants -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["zip", "legacy", "pickle", "npz"])
def test_mutants_are_read_or_refused(tmp_path, kind):
    """Bytes changed, cut out, doubled, at random: a state dict or a WeightsError, nothing else."""
    path = tmp_path / "w"
    if kind == "pickle":
        pickled({"model": arrays(), "epoch": 3}, path)
    elif kind == "npz":
        np.savez(tmp_path / "w.npz", **arrays())
        (tmp_path / "w.npz").rename(path)
    else:
        saved({"model": STATE, "epoch": 3}, path, _use_new_zipfile_serialization=kind == "zip")
    data, random_ = path.read_bytes(), random.Random(0)
    refused = 0
    warnings.simplefilter("ignore")  # of torch, on protocols that the bytes seem to have
    for _ in range(400):
        mutant = bytearray(data)
        for _ in range(random_.choice((1, 1, 2, 8))):
            at = random_.randrange(len(mutant))
            how = random_.randrange(4)
            if how == 0:
                mutant[at] = random_.randrange(256)
            elif how == 1:
                del mutant[at : at + random_.randrange(1, 40)]
            elif how == 2:
                mutant[at:at] = mutant[at : at + random_.randrange(1, 40)]
            else:
                mutant[at] ^= 1 << random_.randrange(8)
        path.write_bytes(bytes(mutant) or b"x")
        try:
            assert read_weights_file(path).state
        except WeightsError as error:
            assert len(str(error).splitlines()) == 1
            refused += 1
    assert refused > 50


def test_what_is_no_file_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.pth")
    for path in (tmp_path, tmp_path / "absent.pth", tmp_path / "pipe.pth"):
        with pytest.raises(WeightsError, match="no weights file"):
            read_weights_file(path)
