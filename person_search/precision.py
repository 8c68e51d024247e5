"""Mixed precision: what the config's keys mean."""

from contextlib import AbstractContextManager, nullcontext

import torch
from detectron2.config import CfgNode as CN

from .errors import ConfigError


def autocast_dtype(cfg, section: str) -> torch.dtype | None:
    """What the keys ``AMP`` of a section mean on ``MODEL.DEVICE``; None: no mixed precision.

    Args:
        cfg: the whole config.
        section: "SOLVER" or "TEST".
    """
    keys = cfg[section].AMP
    if not keys.ENABLED:
        return None
    name = keys.DTYPE or ("bfloat16" if cfg.MODEL.DEVICE == "cpu" else "float16")
    if name not in ("float16", "bfloat16"):
        raise ConfigError(f"{section}.AMP.DTYPE is {name!r}; legal: float16, bfloat16 or nothing")
    return getattr(torch, name)


def autocast(device: torch.device, dtype: torch.dtype | None) -> AbstractContextManager:
    """``torch.autocast``; with None nothing changes, also within another autocast."""
    return nullcontext() if dtype is None else torch.autocast(device.type, dtype)


def add_precision_config(cfg: CN) -> None:
    """Keys of mixed precision beside detectron2's ``SOLVER.AMP.ENABLED``."""
    # "float16" | "bfloat16"; "": float16 on a GPU, bfloat16 on a CPU
    cfg.SOLVER.AMP.DTYPE = ""
    # The same at test, where embeddings stay float32
    cfg.TEST.AMP = CN({"ENABLED": False, "DTYPE": ""})
