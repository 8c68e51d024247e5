"""Networks that need no torch: ONNX files on onnxruntime, OpenVINO and ONNX files on openvino."""

from abc import ABC, abstractmethod
from pathlib import Path

import numpy as np

from person_search.errors import PackError
from person_search.files import optional_module

from .files import weights_of

PROVIDERS = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
}
"""What a user says -> what onnxruntime calls it."""

Shape = tuple[int | None, ...]


class Network(ABC):
    """One network file, ready to run.

    Attributes:
        path: of the file.
        input_shapes, output_shapes: with None where a size is free.
        labels: of SSD, those that its rows can have; None where the file does not tell.
    """

    path: Path
    labels: range | None = None
    input_shapes: list[Shape]
    output_shapes: list[Shape]

    def __call__(self, *inputs: np.ndarray) -> list[np.ndarray]:
        """The outputs, in the order of the file.

        Raises:
            PackError: the network fails, or gives values that are no numbers.
        """
        try:
            outputs = self._run(inputs)
        except PackError:
            raise
        except Exception as error:  # each runtime has its own
            raise PackError(f"{self.path} fails while it runs: {_first_line(error)}") from error
        for output in outputs:
            if output.dtype.kind == "f" and not np.isfinite(output).all():
                raise PackError(
                    f"{self.path} gives values that are no numbers (NaN or infinite): run it in "
                    "full precision (openvino: INFERENCE_PRECISION f32; a float16 file: take the "
                    "float32 one), or with another provider"
                )
        return outputs

    @abstractmethod
    def _run(self, inputs: tuple[np.ndarray, ...]) -> list[np.ndarray]:
        """The outputs."""


def open_network(
    path: Path, providers: tuple[str, ...] = (), threads: int | None = None
) -> Network:
    """Open a network file.

    Args:
        path: ``.onnx``, or ``.xml`` with its ``.bin``.
        providers: where to run, the first that can: "cpu" | "cuda" | "tensorrt" | "openvino".
            Nothing: on the CPU.
        threads: of the CPU; None: as the runtime likes.

    Raises:
        PackError: no such provider, a package is missing, or the runtime cannot load the file.
    """
    for name in providers:
        if name not in PROVIDERS:
            raise PackError(f"no provider {name!r}; there are {', '.join(PROVIDERS)}")
    if path.suffix == ".xml" or tuple(providers) == ("openvino",):
        return _OpenVinoNetwork(path, threads)
    return _OnnxNetwork(path, providers, threads)


class _OnnxNetwork(Network):
    def __init__(self, path: Path, providers: tuple[str, ...], threads: int | None):
        runtime = optional_module("onnxruntime", "packs", PackError)
        there = runtime.get_available_providers()
        missing = [name for name in providers if PROVIDERS[name] not in there]
        if missing:
            known = [name for name, long in PROVIDERS.items() if long in there]
            raise PackError(
                f"this onnxruntime has no provider {missing[0]!r}, but {', '.join(known)}: for "
                "cuda and tensorrt install onnxruntime-gpu in its place"
            )
        options = runtime.SessionOptions()
        options.intra_op_num_threads = threads or 0
        options.log_severity_level = 4  # errors come as exceptions, and are not logged as well
        wanted = [PROVIDERS[name] for name in providers or ("cpu",)]
        self.path = path
        try:
            self._session = runtime.InferenceSession(str(path), options, providers=wanted)
            self._names = [value.name for value in self._session.get_inputs()]
            self.input_shapes = [_shape(value.shape) for value in self._session.get_inputs()]
            self.output_shapes = [_shape(value.shape) for value in self._session.get_outputs()]
        except Exception as error:  # a dozen types; of names, those that are not UTF-8
            raise _cannot_load(path, "onnxruntime", runtime.__version__, error) from error

    def _run(self, inputs: tuple[np.ndarray, ...]) -> list[np.ndarray]:
        return self._session.run(None, dict(zip(self._names, inputs, strict=True)))


class _OpenVinoNetwork(Network):
    def __init__(self, path: Path, threads: int | None):
        openvino = optional_module("openvino", "openvino", PackError)
        # In bfloat16, which it takes by itself on some CPUs, networks gave NaN.
        config: dict[str, str | int] = {"INFERENCE_PRECISION_HINT": "f32"}
        config["PERFORMANCE_HINT"] = "LATENCY"
        if threads:
            config["INFERENCE_NUM_THREADS"] = threads
        self.path = path
        core = openvino.Core()
        try:
            if path.suffix == ".xml":
                model = core.read_model(str(path), str(weights_of(path)))
            else:
                model = core.read_model(str(path))
            self.labels = _ssd_labels(model)
            self._compiled = core.compile_model(model, "CPU", config)
            self.input_shapes = [_ov_shape(port) for port in self._compiled.inputs]
            self.output_shapes = [_ov_shape(port) for port in self._compiled.outputs]
        except Exception as error:
            raise _cannot_load(path, "openvino", openvino.__version__, error) from error

    def _run(self, inputs: tuple[np.ndarray, ...]) -> list[np.ndarray]:
        outputs = self._compiled(list(inputs))
        return [np.array(outputs[index]) for index in range(len(self.output_shapes))]


def _ssd_labels(model) -> range | None:
    """All classes but the background, from the last layer of SSD.

    It is given 4 numbers a place and C scores a place: 48512 and 24256 are 12128 places, 2 classes.
    """
    for layer in model.get_ops():
        if layer.get_type_name() != "DetectionOutput":
            continue
        background = layer.get_attributes()["background_label_id"]
        shapes = [_ov_shape(port) for port in layer.inputs()]
        scores, numbers = shapes[1][-1], shapes[2][-1]
        if background == 0 and scores and numbers:
            return range(1, 4 * scores // numbers)
    return None


def _shape(shape: list) -> Shape:
    """Free sizes are names, or missing."""
    return tuple(size if isinstance(size, int) else None for size in shape)


def _ov_shape(port) -> Shape:
    shape = port.get_partial_shape()
    if shape.rank.is_dynamic:
        return ()
    return tuple(None if size.is_dynamic else size.get_length() for size in shape)


_LACKS = (
    "no op registered",
    "not a registered function/op",
    "could not find an implementation",
    "not implemented",
    "opset",
    "unsupported",
)
"""How runtimes say that they do not know an operator, or its version."""


def _cannot_load(path: Path, runtime: str, version: str, error: Exception) -> PackError:
    text = str(error).lower()
    reason = _first_line(error)
    if any(words in text for words in _LACKS):
        return PackError(
            f"{path} needs an operator that {runtime} {version} lacks: update {runtime}, or export "
            f"the network for an older opset ({reason})"
        )
    return PackError(
        f"{runtime} {version} cannot load {path}: get the file again, or export it anew ({reason})"
    )


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = lines[-1] if lines and lines[0].startswith("Exception from") else " ".join(lines[:1])
    return text[:300] or type(error).__name__
