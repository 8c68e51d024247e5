"""Packs whose networks are made by hand, so that every result is known.

The detector finds persons where red pixels are: its boxes are the four quarters of its input, their
scores the mean red. The embedder's rows are the mean colors of the crop, in the order BGR.
"""

from pathlib import Path

import numpy as np
import onnx
import yaml
from onnx import TensorProto, helper, numpy_helper

from person_search.packs.files import file_hash

QUARTERS = np.array([[0, 0, 16, 16], [16, 0, 32, 16], [0, 16, 16, 32], [16, 16, 32, 32]])


def save(path: Path, nodes: list, inputs: dict, outputs: dict, constants: dict | None = None):
    """Write an ONNX file; inputs and outputs are names and shapes of float arrays."""
    values = [
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
            for name, shape in of.items()
        ]
        for of in (inputs, outputs)
    ]
    arrays = [numpy_helper.from_array(value, name) for name, value in (constants or {}).items()]
    graph = helper.make_graph(nodes, "tiny", *values, arrays)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, path)


def save_detector(path: Path) -> None:
    """(1, 3, 32, 32) RGB in 0..1 -> boxes (1, 4, 4), scores (1, 4, 2): of green, of red."""
    nodes = [
        helper.make_node("AveragePool", ["x"], ["mean"], kernel_shape=[16, 16], strides=[16, 16]),
        helper.make_node("Reshape", ["mean", "shape"], ["colors"]),
        helper.make_node("Transpose", ["colors"], ["rows"], perm=[0, 2, 1]),
        helper.make_node("Gather", ["rows", "green_red"], ["scores"], axis=2),
        helper.make_node("Identity", ["quarters"], ["boxes"]),
    ]
    constants = {
        "shape": np.array([1, 3, 4]),
        "green_red": np.array([1, 0]),
        "quarters": QUARTERS[None].astype(np.float32),
    }
    outputs = {"boxes": [1, 4, 4], "scores": [1, 4, 2]}
    save(path, nodes, {"x": [1, 3, 32, 32]}, outputs, constants)


def save_embedder(path: Path, batch: int | str = "batch", factor: float = 1.0) -> None:
    """(batch, 3, 8, 4) -> (batch, 3), the mean of each color times ``factor``."""
    nodes = [
        helper.make_node("ReduceMean", ["x"], ["mean"], axes=[2, 3], keepdims=0),
        helper.make_node("Mul", ["mean", "factor"], ["y"]),
    ]
    constants = {"factor": np.array(factor, np.float32)}
    save(path, nodes, {"x": [batch, 3, 8, 4]}, {"y": [batch, 3]}, constants)


def write_yaml(folder: Path, content: dict) -> Path:
    """Hash the files that are there, and write ``pack.yaml``."""
    content["files"] = {
        path.name: {"sha256": file_hash(path)}
        for path in sorted(folder.iterdir())
        if path.name != "pack.yaml"
    }
    (folder / "pack.yaml").write_text(yaml.safe_dump(content))
    return folder


def two_step_content() -> dict:
    """What ``pack.yaml`` says of the networks above."""
    return {
        "format": 1,
        "name": "tiny",
        "kind": "two-step",
        "license": "Apache-2.0",
        "trained_on": "nothing",
        "score_thresh": 0.5,
        "detector": {
            "model": "detector.onnx",
            "size": [32, 32],
            "decode": "boxes_scores",
            "person_class": 1,
            "resize": "stretch",
            "color": "RGB",
            "std": [255, 255, 255],
        },
        "embedder": {"model": "embedder.onnx", "size": [8, 4], "dim": 3},
    }


def two_step(folder: Path, **embedder) -> Path:
    """A two-step pack in a new folder."""
    folder.mkdir(parents=True)
    save_detector(folder / "detector.onnx")
    save_embedder(folder / "embedder.onnx", **embedder)
    return write_yaml(folder, two_step_content())


def one_step(folder: Path, **keys) -> Path:
    """A one-step pack: two persons side by side; the embedding of a given box is its corner."""
    folder.mkdir(parents=True)
    halves = np.array([[0, 0, 0.5, 1], [0.5, 0, 1, 1], [0, 0, 1, 1]], np.float32)
    nodes = [
        helper.make_node("Gather", ["size", "width_height"], ["twice"]),
        helper.make_node("Mul", ["halves", "twice"], ["boxes"]),
        helper.make_node("Identity", ["constant_scores"], ["scores"]),
        helper.make_node("ReduceMean", ["image"], ["mean"], axes=[1, 2], keepdims=0),
        helper.make_node("Mul", ["mean", "factors"], ["embeds"]),
    ]
    constants = {
        "width_height": np.array([1, 0, 1, 0]),
        "halves": halves,
        "constant_scores": np.array([0.6, 0.9, 0.3], np.float32),
        "factors": np.array([[1], [2], [3]], np.float32),
    }
    image = {"image": [3, "height", "width"]}
    outputs = {"boxes": [3, 4], "scores": [3], "embeds": [3, 3]}
    save(folder / "detect.onnx", nodes, image | {"size": [2]}, outputs, constants)
    nodes = [helper.make_node("Slice", ["boxes", "start", "end", "axis"], ["embeds"])]
    constants = {"start": np.array([0]), "end": np.array([3]), "axis": np.array([1])}
    inputs = image | {"boxes": ["n", 4]}
    save(folder / "embed.onnx", nodes, inputs, {"embeds": ["n", 3]}, constants)
    content = {key: two_step_content()[key] for key in ("format", "license", "trained_on")}
    network = {"detect": "detect.onnx", "embed": "embed.onnx", "dim": 3}
    network |= {"min_size": 40, "max_size": 100, **keys}
    content |= {"name": "one", "kind": "one-step", "score_thresh": 0.5, "network": network}
    return write_yaml(folder, content)
