"""Training steps, also on batches that do not fit into memory at once, and in mixed precision."""

import time
from collections import defaultdict
from contextlib import nullcontext

import torch
from detectron2.engine import SimpleTrainer
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer
from torch.utils.data import DataLoader

from person_search.errors import ConfigError
from person_search.precision import autocast


class AccumulatingTrainer(SimpleTrainer):
    """detectron2's trainer that puts a batch through the model in parts and adds up gradients.

    One part makes it detectron2's ``SimpleTrainer`` or, with mixed precision, its ``AMPTrainer``
    on any device. In addition it knows which pictures it is learning from.

    Each part weighs as its share of the batch, so the step is that of the whole batch wherever a
    loss is a mean over images. Batch norm sees the parts, a loss that is a mean over persons is
    that of each part, and triplets are searched for within one.

    Args:
        model, data_loader, optimizer: of ``SimpleTrainer``.
        parts: number of parts; no more than the images of a batch.
        dtype: what the model computes in, if not in the weights' own type; the gradients of
            float16 are scaled, those of bfloat16 need not be.
    """

    def __init__(
        self,
        model: nn.Module,
        data_loader: DataLoader,
        optimizer: Optimizer,
        parts: int = 1,
        dtype: torch.dtype | None = None,
    ):
        super().__init__(model, data_loader, optimizer)
        self.parts, self.dtype = parts, dtype
        self.pictures: list[str] = []
        self.device = next(model.parameters()).device
        scales = dtype is torch.float16
        self.grad_scaler = torch.amp.GradScaler(self.device.type, enabled=scales)

    def run_step(self) -> None:
        """One step of the optimizer; the losses that it writes are those of the whole batch.

        Raises:
            FloatingPointError: a loss is not finite. The weights are those before the step.
        """
        assert self.model.training, "the model was changed to eval mode"
        start = time.perf_counter()
        batch = next(self._data_loader_iter)
        data_time = time.perf_counter() - start
        self.pictures = [x["file_name"] for x in batch if isinstance(x, dict) and "file_name" in x]
        if len(batch) < self.parts:
            raise ConfigError(
                f"SOLVER.ACCUMULATE is {self.parts}, but a process has {len(batch)} image(s) per "
                "batch: lower it, or raise SOLVER.IMS_PER_BATCH"
            )
        bounds = [len(batch) * i // self.parts for i in range(self.parts + 1)]
        self.optimizer.zero_grad()
        losses = defaultdict(float)
        for first, last in zip(bounds, bounds[1:], strict=False):
            # Ranks exchange gradients once, with those of the last part.
            alone = isinstance(self.model, DistributedDataParallel) and last < len(batch)
            with self.model.no_sync() if alone else nullcontext():
                for name, loss in self._backward(batch[first:last], len(batch)).items():
                    losses[name] += loss
        self.after_backward()
        _refuse_infinite(losses)
        self._write_metrics(losses, data_time)
        self.grad_scaler.step(self.optimizer)
        self.grad_scaler.update()

    def _backward(self, part: list[dict], batch_size: int) -> dict[str, torch.Tensor]:
        """Add the gradients of a part; returns its share of the losses, detached."""
        with autocast(self.device, self.dtype):
            losses = self.model(part)
        losses = {name: loss * (len(part) / batch_size) for name, loss in losses.items()}
        self.grad_scaler.scale(sum(losses.values())).backward()
        return {name: loss.detach() for name, loss in losses.items()}

    def name_pictures(self, limit: int = 16) -> str:
        """The files of the latest batch, those beyond ``limit`` as a number."""
        named = ", ".join(map(str, self.pictures[:limit]))
        more = len(self.pictures) - limit
        return f"{named} and {more} more" if more > 0 else named

    def state_dict(self) -> dict:
        """See ``SimpleTrainer``; with the scale of mixed precision."""
        return {**super().state_dict(), "grad_scaler": self.grad_scaler.state_dict()}

    def load_state_dict(self, state_dict: dict) -> None:
        """See ``SimpleTrainer``."""
        super().load_state_dict(state_dict)
        if saved := state_dict.get("grad_scaler"):  # empty of a run without mixed precision
            self.grad_scaler.load_state_dict(saved)


def _refuse_infinite(losses: dict[str, torch.Tensor]) -> None:
    finite = torch.isfinite(torch.stack([loss.float() for loss in losses.values()])).tolist()
    if not all(finite):
        bad = [name for name, fine in zip(losses, finite, strict=True) if not fine]
        values = ", ".join(f"{name} is {losses[name].item()}" for name in bad)
        raise FloatingPointError(f"the training diverged: {values}")
