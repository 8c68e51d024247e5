"""Reading the weights file of a stranger: tensors come out of it, and nothing of it is run.

A file is known by its content, never by its name: torch's zip and its older container, a pickle of
arrays (detectron2's and Caffe2's model zoos), ``.npz`` and ``.safetensors``.
"""

import argparse
import json
import os
import pickletools
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from person_search.errors import WeightsError
from person_search.files import atomic_write, optional_module, read_npz

from .pickled_arrays import NUMPY, PickledArray, PickledDtype, load_pickle

MODEL_KEYS = (
    *("model", "state_dict", "model_state_dict", "model_state", "module", "net", "network"),
    *("student", "teacher", "ema", "model_ema", "ema_model", "state_dict_ema", "blobs", "params"),
)
"""Names under which training programs save a model, beside its optimizer and the like."""

MOST_WRAPPERS = 3
LEGACY_TORCH = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
"""How torch's container of before 2020 begins: a pickle of its magic number."""


@dataclass(frozen=True)
class WeightsFile:
    """What was in a file.

    Attributes:
        state: name -> tensor, on the CPU, of the model.
        wrapper: the keys that the state stood below, outermost first; () for a bare state dict.
        around: what else the file holds, by its name: optimizer, epoch, config and the like.
    """

    state: dict[str, Tensor]
    wrapper: tuple[str, ...]
    around: dict[str, Any]


def read_weights_file(path: str | os.PathLike, below: str | None = None) -> WeightsFile:
    """Read tensors from a file that anybody may have made.

    Args:
        path: a local file.
        below: the key that the wanted model stands below, where a file holds several.

    Raises:
        WeightsError: the file is damaged, is no weights file, holds objects of other classes than
            tensors, arrays and plain values (its class is named), or holds several models.
    """
    name = os.fspath(path)
    if not os.path.isfile(name):  # neither a folder nor a pipe, which would be waited for
        raise WeightsError(f"no weights file {name}: correct the path")
    try:
        return _unwrap(name, _load(name), below)
    except WeightsError:
        raise
    except Exception as error:  # torch, pickle, numpy and zip raise all kinds
        raise WeightsError(_unreadable(name, error)) from error


def write_weights_file(
    path: str | os.PathLike, state: Mapping[str, Tensor], conventions: Mapping[str, Any]
) -> None:
    """Write weights that ``MODEL.WEIGHTS`` can name.

    Args:
        path: of the file; its folder has to be there.
        state: our key -> tensor.
        conventions: config keys that belong to the weights, see :mod:`.convert`.

    Raises:
        OSError: it cannot be written.
    """
    content: dict[str, Any] = {"model": {k: v.clone() for k, v in state.items()}}  # views are large
    if conventions:
        content["conventions"] = dict(conventions)
    with atomic_write(path) as temporary:
        torch.save(content, temporary)


def _unreadable(name: str, error: Exception) -> str:
    text = str(error)
    if forbidden := re.search(r"(?:GLOBAL|Unsupported class) ([\w.]+\w)", text):
        return (
            f"{name} is not a readable weights file: it holds an object of {forbidden.group(1)}. "
            "Nothing but tensors, arrays and plain values is read from a file, since anything else "
            "could run code. Save its state dict: torch.save(model.state_dict(), ...)"
        )
    # torch puts advice that is not ours to give before the reason.
    reason = " ".join(text.split("WeightsUnpickler error:")[-1].splitlines()[:1]).strip()[:200]
    return (
        f"{name} is not a readable weights file ({type(error).__name__}: {reason or 'no reason'}): "
        "it is damaged, cut short or of another kind; download or copy it again"
    )


def _load(name: str) -> Any:
    with open(name, "rb") as file:
        head = file.read(512)
    if not head:
        raise WeightsError(f"{name} is not a readable weights file: it is empty; download it again")
    if head.startswith(b"PK"):
        return _load_zip(name)
    if head.startswith(LEGACY_TORCH):
        return _load_torch(name)
    if _is_safetensors(name, head):
        return optional_module("safetensors.torch", "safetensors", WeightsError).load_file(name)
    if head[0] == 0x80 or _is_old_pickle(name):
        return load_pickle(name)
    raise WeightsError(f"{name} is not a readable weights file: it is {_what(head)}")


def _is_old_pickle(name: str) -> bool:
    """Pickles of protocol 0 and 1 have no mark: every opcode has to be read."""
    try:
        with open(name, "rb") as file:
            return all(True for _ in pickletools.genops(file))
    except Exception:  # pickletools raises all kinds
        return False


def _what(head: bytes) -> str:
    text = head.lstrip().lower()
    if text.startswith((b"<!doctype", b"<html", b"<?xml")):
        return "a web page, which is what a download gives that needs a log-in or a confirmation"
    if text.startswith(b"version https://git-lfs"):
        return "a pointer of Git LFS; fetch the file itself with git lfs pull"
    if b"\0" not in head and all(c in b"\t\n\r\x1b" or c >= 32 for c in head):
        return "a text"
    return "of no known kind (.pth, .pkl, .npz and .safetensors are), or damaged"


# ------------------------------------------------------------------------------------------- torch


def _load_zip(name: str) -> Any:
    with zipfile.ZipFile(name) as archive:
        members = archive.infolist()
    names = [m.filename for m in members]
    if names and all(n.endswith(".npy") for n in names):
        return dict(read_npz(name))
    if any("/code/" in n or n.endswith("constants.pkl") for n in names):
        raise WeightsError(
            f"{name} is a TorchScript program, not a weights file: save its state_dict() instead"
        )
    if not any(n.endswith("/data.pkl") for n in names):
        raise WeightsError(
            f"{name} is not a readable weights file: it is a zip of other things "
            f"({', '.join(names[:3]) or 'nothing'}); unpack it, and give the weights in it"
        )
    # torch does not compress; a file that does could be small and unpack to any size.
    packed = [m.filename for m in members if m.compress_type != zipfile.ZIP_STORED]
    if packed:
        raise WeightsError(
            f"{name} is not a readable weights file: {packed[0]} in it is compressed, which torch "
            "does not do"
        )
    return _load_torch(name)


def _load_torch(name: str) -> Any:
    known = [(made, ".".join(path)) for path, made in NUMPY.items()]
    with torch.serialization.safe_globals([argparse.Namespace, PickledArray, PickledDtype, *known]):
        return torch.load(name, map_location="cpu", weights_only=True)


def _is_safetensors(name: str, head: bytes) -> bool:
    """A length of eight bytes, and a JSON object of that length."""
    length = int.from_bytes(head[:8], "little")
    return head[8:9] == b"{" and 2 <= length <= os.path.getsize(name) - 8


# -------------------------------------------------------------------------------- the model in it


_TENSORS = (Tensor, np.ndarray, PickledArray)


def _is_state(value: Any) -> bool:
    """A mapping of names to tensors; some programs add a few numbers to it."""
    return (
        isinstance(value, Mapping)
        and all(isinstance(key, str) for key in value)
        and any(isinstance(v, _TENSORS) for v in value.values())
    )


def _unwrap(name: str, loaded: Any, below: str | None) -> WeightsFile:
    wrapper: list[str] = []
    around: dict[str, Any] = {}
    if below is not None:
        if not isinstance(loaded, Mapping) or below not in loaded:
            there = list(loaded)[:20] if isinstance(loaded, Mapping) else type(loaded).__name__
            raise WeightsError(f"{name} has no key {below!r}; there are {_listed(there)}")
        around = {k: v for k, v in loaded.items() if k != below}
        loaded, wrapper = loaded[below], [below]
    while len(wrapper) <= MOST_WRAPPERS and (key := _model_key(name, loaded)) is not None:
        around |= {k: v for k, v in loaded.items() if k != key}
        wrapper.append(key)
        loaded = loaded[key]
    if not _is_state(loaded):
        raise WeightsError(_no_state(name, loaded))
    state = {}
    for key, value in loaded.items():
        if isinstance(value, _TENSORS):
            state[key] = _sound(name, key, value)
        else:
            around[key] = value
    return WeightsFile(state, tuple(wrapper), around)


def _model_key(name: str, loaded: Any) -> str | None:
    """The entry of a file that is its model; None if that is the file's whole content."""
    if not isinstance(loaded, Mapping):
        return None
    inner = [k for k, v in loaded.items() if isinstance(k, str) and _holds_state(v)]
    found = [k for k in inner if k in MODEL_KEYS]
    if not found and not _is_state(loaded):
        found = inner
    if not found:
        return None
    if len(found) > 1:
        raise WeightsError(
            f"{name} holds several models, below the keys {_listed(found)}: write the one that is "
            f"wanted with tools/select_weights.py {name} OUT.pth --below {found[0]} --keep ''"
        )
    return found[0]


def _holds_state(value: Any, depth: int = 0) -> bool:
    if _is_state(value):
        return True
    inner = value.items() if isinstance(value, Mapping) and depth < MOST_WRAPPERS else ()
    return any(k in MODEL_KEYS and _holds_state(v, depth + 1) for k, v in inner)


def _no_state(name: str, loaded: Any) -> str:
    what = f"a {type(loaded).__name__}"
    if isinstance(loaded, Mapping):
        what = f"a dict of {_listed(map(str, loaded))}" if loaded else "an empty dict"
    return (
        f"{name} is not a readable weights file: it holds {what}, and no state dict (names and "
        "tensors), neither bare nor below a key such as state_dict or model"
    )


def _listed(names: Any) -> str:
    names = [names] if isinstance(names, str) else list(names)
    return ", ".join(json.dumps(n)[1:-1] for n in map(str, names[:8])) + ", ..." * (len(names) > 8)


def _sound(name: str, key: str, value: Tensor | np.ndarray | PickledArray) -> Tensor:
    """The tensor, if it is a plain one that does not claim more than the file holds."""
    value = value.array if isinstance(value, PickledArray) else value
    if isinstance(value, np.ndarray):
        if value.dtype.kind not in "?biufc":
            raise WeightsError(
                f"{name} is not a readable weights file: {key} is no array of numbers"
            )
        value = torch.from_numpy(np.array(value, value.dtype.newbyteorder("="), order="C"))
    plain = value.layout is torch.strided and not value.is_quantized and not value.is_meta
    if not plain or value.numel() * value.element_size() > value.untyped_storage().nbytes():
        raise WeightsError(
            f"{name} is not a readable weights file: {key} is not a plain tensor ({value.layout}, "
            f"{tuple(value.shape)})"
        )
    return value
