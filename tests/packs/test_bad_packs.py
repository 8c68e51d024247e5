"""What is wrong with a pack is said in one line that names the file or key, before it runs."""

import pickle
import shutil

import numpy as np
import onnx
import pytest
import yaml
from onnx import TensorProto, helper
from tiny_packs import one_step, save, two_step, two_step_content, write_yaml

from person_search import packs
from person_search.errors import PackError
from person_search.packs.files import external_data


@pytest.fixture
def folder(tmp_path):
    return two_step(tmp_path / "pack")


def failure(folder, **options) -> str:
    """The one line with which opening a pack fails."""
    with pytest.raises(PackError) as error:
        packs.open_pack(folder, **options)
    assert "\n" not in str(error.value)
    return str(error.value)


def change(folder, **parts) -> None:
    """Change keys of pack.yaml: ``change(folder, detector={"size": 3}, kind="other")``."""
    content = yaml.safe_load((folder / "pack.yaml").read_text())
    for key, value in parts.items():
        if isinstance(value, dict):
            content[key] = (content.get(key) or {}) | value
        else:
            content[key] = value
    (folder / "pack.yaml").write_text(yaml.safe_dump(content))


def test_no_pack(tmp_path):
    assert "no pack nowhere" in failure("nowhere")
    assert "holds no pack.yaml" in failure(tmp_path)


def test_a_file_that_is_missing_cut_short_or_another(folder):
    path = folder / "embedder.onnx"
    content = path.read_bytes()
    path.write_bytes(content[:-7])
    assert "embedder.onnx" in failure(folder) and "cut short" in failure(folder)
    path.write_bytes(content + b"x")
    assert "another file" in failure(folder)
    path.unlink()
    assert "embedder.onnx is missing" in failure(folder)


@pytest.mark.parametrize(
    "parts, said",
    [
        ({"format": 2}, "format: must be a whole number from 1 to 1, not 2"),
        ({"kind": "three-step"}, "kind: must be one of two-step, one-step"),
        ({"score_thresh": "high"}, "score_thresh: must be a number"),
        ({"surprise": 1}, "surprise: no such key"),
        ({"detector": {"size": [32]}}, "detector.size: must be a list of 2 values"),
        ({"detector": {"size": [32, 0]}}, "detector.size: must be a whole number from 1"),
        ({"detector": {"decode": "yolo99"}}, "detector.decode: must be one of yolox, ssd"),
        (
            {"detector": {"person_class": -1}},
            "detector.person_class: must be a whole number from 0",
        ),
        ({"detector": {"person_class": 2}}, "has 2 classes, so none of index 2"),
        ({"detector": {"std": [0, 1, 1]}}, "detector.std: must lie from"),
        ({"detector": {"size": [64, 64]}}, "takes 1x3x32x32, but detector.size says 64x64"),
        ({"detector": {"resize": "none"}}, "detector.size: goes with every detector.resize but"),
        ({"detector": {"resize": "none", "size": None}}, "detector.size: must be a list of 2"),
        ({"embedder": {"resize": "cubic"}}, "embedder.resize: must be one of linear, area, bic"),
        ({"detector": {"decode": "ssd"}}, "does not fit detector.decode ssd"),
        ({"detector": {"decode": "yolox"}}, "does not fit detector.decode yolox"),
        ({"detector": {"model": "../detector.onnx"}}, "detector.model: must be the name of a file"),
        ({"detector": {"model": "other.onnx"}}, "other.onnx is not among the files"),
        ({"embedder": {"dim": 4}}, "gives (1, 3) for 1 crops, but embedder.dim says 4"),
        ({"embedder": {"color": "CMYK"}}, "embedder.color: must be one of BGR, RGB"),
        ({"files": {"detector.onnx": {"sha256": "12"}}}, "files.detector.onnx.sha256: must be a"),
        ({"files": {"detector.onnx": {"sha256": []}}}, "files.detector.onnx.sha256 is missing"),
        ({"files": {"a/b": {"sha256": "0" * 64}}}, "not a path"),
        ({"network": {}}, "network.detect: is missing"),
        ({"embedder": None}, "embedder: must be a mapping"),
    ],
)
def test_a_wrong_key(folder, parts, said):
    change(folder, **parts)
    message = failure(folder)
    assert said in message and str(folder) in message


@pytest.mark.parametrize("text", ["[1, 2", "- a\n- b", "", "a: !!python/object:os.system {}"])
def test_a_text_that_is_no_mapping(folder, text):
    (folder / "pack.yaml").write_text(text)
    assert str(folder / "pack.yaml") in failure(folder)


def test_a_missing_key_and_a_missing_section(folder):
    content = two_step_content()
    del content["license"]
    write_yaml(folder, content)
    assert "license: is missing" in failure(folder)
    content = two_step_content()
    del content["embedder"]
    write_yaml(folder, content)
    assert "embedder: a two-step pack needs such a section" in failure(folder)


def test_a_pickle_in_disguise_is_never_opened(folder):
    class Loud:
        def __reduce__(self):
            return pytest.fail, ("it was unpickled",)

    path = folder / "embedder.onnx"
    for content in (pickle.dumps(Loud(), protocol=4), b"PK\x03\x04 a torch checkpoint"):
        path.write_bytes(content)
        write_yaml(folder, two_step_content())
        assert "embedder.onnx (embedder.model) is a PyTorch file" in failure(folder)


def test_a_network_whose_names_are_no_text(folder):
    """The runtime takes it, and fails when it is asked for its inputs."""
    path = folder / "embedder.onnx"
    path.write_bytes(path.read_bytes().replace(b"batch", b"b\xffbad"))
    write_yaml(folder, two_step_content())
    assert "cannot load" in failure(folder) and "embedder.onnx" in failure(folder)


def test_what_is_no_network(folder):
    (folder / "embedder.onnx").write_bytes(b"\x08\x08 no network at all")
    write_yaml(folder, two_step_content())
    assert "cannot load" in failure(folder) and "embedder.onnx" in failure(folder)
    (folder / "embedder.onnx").write_bytes(b"<?xml version='1.0'?><net/>")
    write_yaml(folder, two_step_content())
    assert "is not what the end of its name says" in failure(folder)
    content = two_step_content()
    content["embedder"]["model"] = "embedder.bin"
    (folder / "embedder.onnx").rename(folder / "embedder.bin")
    write_yaml(folder, content)
    assert "a network is a file .onnx, or .xml" in failure(folder)


@pytest.mark.parametrize("location", ["../weights.bin", "/etc/hostname", "weights.bin", "w" * 300])
def test_weights_outside_of_the_pack(folder, location):
    factor = helper.make_tensor("more", TensorProto.FLOAT, [64], np.zeros(64))
    factor.ClearField("float_data")
    factor.data_location = TensorProto.EXTERNAL
    factor.external_data.add(key="location", value=location)
    model = onnx.load(folder / "embedder.onnx")
    model.graph.initializer.append(factor)
    (folder / "embedder.onnx").write_bytes(model.SerializeToString())
    assert external_data(folder / "embedder.onnx") == {location}
    write_yaml(folder, two_step_content())
    message = failure(folder)
    assert repr(location) in message and "not among the files" in message
    if location == "weights.bin":  # where it lies inside and is hashed, it is taken
        np.zeros(64, np.float32).tofile(folder / location)
        write_yaml(folder, two_step_content())
        packs.open_pack(folder)


def test_values_that_are_no_numbers_name_the_remedy(tmp_path):
    folder = two_step(tmp_path / "pack", factor=float("nan"))
    assert "INFERENCE_PRECISION f32" in failure(folder) and "embedder.onnx" in failure(folder)


def test_an_operator_that_the_runtime_lacks(folder):
    nodes = [helper.make_node("NoSuchOperator", ["x"], ["y"])]
    save(folder / "embedder.onnx", nodes, {"x": ["n", 3, 8, 4]}, {"y": ["n", 3]})
    write_yaml(folder, two_step_content())
    message = failure(folder)
    assert "needs an operator" in message and "NoSuchOperator" in message and "update" in message


def test_a_network_of_other_inputs(folder, tmp_path):
    save(
        folder / "embedder.onnx",
        [helper.make_node("Add", ["a", "b"], ["y"])],
        {"a": [3], "b": [3]},
        {"y": [3]},
    )
    write_yaml(folder, two_step_content())
    assert "takes 3 and 3, but embedder.size says 8x4" in failure(folder)
    other = one_step(tmp_path / "one")
    shutil.copy(folder / "embedder.onnx", other / "embed.onnx")
    write_yaml(other, yaml.safe_load((other / "pack.yaml").read_text()))
    assert "embed.onnx" in failure(other)


def test_a_one_step_pack_of_another_embedding_size_or_with_tiles(tmp_path):
    folder = one_step(tmp_path / "pack")
    assert "tiles are for two-step packs" in failure(folder, tiles=2)
    change(folder, network={"dim": 5})
    assert "network.dim says 5" in failure(folder)


def test_a_provider_that_is_not_there(folder):
    assert "no provider 'tpu'; there are cpu" in failure(folder, providers=["tpu"])
    runtime = pytest.importorskip("onnxruntime")
    if "CUDAExecutionProvider" not in runtime.get_available_providers():
        assert "no provider 'cuda'" in failure(folder, providers=["cuda"])


def test_a_threshold_that_is_none(folder):
    assert "from 0 to 1" in failure(folder, score_thresh=1.5)
