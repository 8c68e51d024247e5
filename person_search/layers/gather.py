"""Rows of all ranks, for tables that every rank keeps a copy of."""

import torch
import torch.distributed as dist
from detectron2.utils import comm
from torch import Tensor


@torch.no_grad()
def gather_rows(*tensors: Tensor) -> tuple[Tensor, ...]:
    """Concatenate the rows of all ranks, in the order of the ranks.

    Collective: every rank has to call it. What it gives is the same on every rank; gradients do
    not pass.

    Args:
        tensors: (R, ...) each, with the same R; ranks may have different R, also 0.
    """
    if comm.get_world_size() == 1:
        return tensors
    own = torch.tensor([len(tensors[0])], device=tensors[0].device)
    numbers = [torch.empty_like(own) for _ in range(comm.get_world_size())]
    dist.all_gather(numbers, own)
    numbers = torch.cat(numbers).tolist()
    return tuple(_gather_padded(tensor, numbers) for tensor in tensors)


def _gather_padded(tensor: Tensor, numbers: list[int]) -> Tensor:
    """Gathering needs equal shapes: rows are padded to the largest number, and cut again.

    With 2 rows here and 3 on another rank, both send 3, of which 2 and 3 are kept.
    """
    padded = tensor.new_zeros(max(numbers), *tensor.shape[1:])
    padded[: len(tensor)] = tensor
    parts = [torch.empty_like(padded) for _ in numbers]
    dist.all_gather(parts, padded)
    return torch.cat([part[:n] for part, n in zip(parts, numbers, strict=True)])
