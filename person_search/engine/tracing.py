"""Networks as ONNX graphs, traced so that sizes stay free.

A graph is traced with one input, and runs for pictures of any size and any number of boxes.
"""

import io
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from unittest.mock import patch

import torch
from torch import Tensor, nn

from person_search.errors import PackError
from person_search.files import optional_module

OPSET = 17
"""RoIAlign between pixel centers needs 16."""


def trace(
    module: nn.Module,
    inputs: Mapping[str, Tensor],
    shapes: Mapping[str, Sequence[int | str]],
) -> bytes:
    """The ONNX file of a module.

    Args:
        module: is made to evaluate.
        inputs: its arguments in order, by the names that they get.
        shapes: of inputs, and then of outputs in order: by name, a size or, where it is free, a
            word for it.

    Raises:
        PackError: the package onnx is missing.
    """
    optional_module("onnx", "export", PackError)
    file = io.BytesIO()
    module.eval()  # the exporter brings back the mode that it finds
    with warnings.catch_warnings(), torch.no_grad(), _one_picture(module):
        warnings.simplefilter("ignore")  # of all that a trace cannot follow; the tests look
        torch.onnx.export(
            module,
            tuple(inputs.values()),
            file,
            input_names=list(inputs),
            output_names=[name for name in shapes if name not in inputs],
            dynamic_axes={
                name: {axis: size for axis, size in enumerate(shape) if isinstance(size, str)}
                for name, shape in shapes.items()
            },
            opset_version=OPSET,
            dynamo=False,
        )
    return file.getvalue()


def noise(*shape: int) -> Tensor:
    """Something to trace with."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


@contextmanager
def _one_picture(network: nn.Module) -> Iterator[None]:
    """While tracing, rows of "all pictures" are those of the one picture, however many they are.

    Otherwise the numbers of boxes that the trace saw would become constants of the graph.
    """
    split = Tensor.split
    embedders = [m for m in network.modules() if hasattr(m, "nobody") and hasattr(m, "encode")]

    def split_one(tensor: Tensor, sizes, dim: int = 0):
        is_one = isinstance(sizes, list | tuple) and len(sizes) == 1
        return (tensor,) if is_one else split(tensor, sizes, dim)

    with patch.object(Tensor, "split", split_one):
        for embedder in embedders:  # whatever the trace sees, persons may come
            embedder.maps = lambda f, boxes, e=embedder: e.encode(e.pool(f, boxes))
        try:
            yield
        finally:
            for embedder in embedders:
                del embedder.maps
