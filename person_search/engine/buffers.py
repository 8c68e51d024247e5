"""Buffers of a model on several ranks."""

import torch.distributed as dist
from detectron2.utils import comm
from torch import nn


def share_buffers(model: nn.Module) -> None:
    """Give every rank the buffers of rank 0. Collective.

    detectron2 leaves them as each rank made them: centers that were drawn at random, and running
    statistics of batch norm. Ranks that share a test set would then embed queries and gallery
    differently from each other, and from the checkpoint, which is that of rank 0.
    """
    if comm.get_world_size() > 1:
        for buffer in model.buffers():
            dist.broadcast(buffer, 0)
