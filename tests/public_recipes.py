"""Public weights that anybody can make again: golden outputs of public code, on recipe weights.

A recipe gives every tensor of a released file by its name and shape; the golden file holds what the
public code computed from them. Both stand beside the repository, and are no part of it.
"""

import json
import re
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

FOLDER = Path(__file__).resolve().parents[2] / "shared" / "golden_models"


def _tensor(name: str, shape: list[int], dtype: str, seed: int, rules: list) -> np.ndarray:
    if not dtype.startswith("float"):
        return np.zeros(shape, dtype)
    draw = np.random.Generator(np.random.PCG64(zlib.crc32(name.encode()) + seed))
    leaf = name.rsplit(".", 1)[-1]
    if leaf == "running_var":
        x = 0.6 + 0.8 * draw.random(shape)
    elif leaf in ("running_mean", "bias"):
        x = 0.1 * draw.standard_normal(shape)
    elif len(shape) < 2:
        x = 0.7 + 0.6 * draw.random(shape)
    else:
        rows = draw.standard_normal(shape).reshape(shape[0], -1)
        rows -= rows.mean(axis=1, keepdims=True)
        x = rows.reshape(shape) * np.sqrt(2 / rows.shape[1])
    for pattern, scale, shift in rules:
        if re.search(pattern, name):
            shift = np.asarray(shift, np.float64)
            x = x * scale + shift.reshape(shift.shape + (1,) * (x.ndim - 1) if shift.ndim else ())
    return np.asarray(x, dtype)


def recipe(name: str) -> tuple[dict[str, Tensor], dict[str, np.ndarray]]:
    """The state dict of a public file, and golden outputs of the public code."""
    if not (FOLDER / f"{name}.npz").exists():
        pytest.skip(f"needs the golden outputs beside the repository ({FOLDER} is missing)")
    spec = json.loads((FOLDER / f"{name}.json").read_text())
    state = {}
    for key, (shape, dtype) in spec["tensors"].items():
        source = key
        for pattern, other in spec.get("aliases", ()):
            source = re.sub(pattern, other, source)
        array = _tensor(source, shape, dtype, spec["seed"], spec["rules"])
        state[key] = torch.from_numpy(np.asarray(array))
    for key, values in spec["checks"].items():
        assert state[key].flatten()[: len(values)].tolist() == pytest.approx(values)
    with np.load(FOLDER / f"{name}.npz") as arrays:
        return state, dict(arrays)


def assert_probe(golden: dict[str, np.ndarray], name: str, map_: Tensor, tolerance: float) -> None:
    """A tensor has the shape and, at 64 places, the values that the public code saw."""
    shape = [n for n in golden[f"{name}.shape"] if n > 1]
    assert [n for n in map_.shape if n > 1] == shape
    values = map_.flatten()[torch.from_numpy(golden[f"{name}.index"])]
    np.testing.assert_allclose(values.numpy(), golden[f"{name}.values"], rtol=0, atol=tolerance)
