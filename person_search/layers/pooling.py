"""Global pooling."""

from torch import Tensor, nn


class GlobalPool(nn.Module):
    """The average or the maximum of each channel.

    Args:
        kind: "avg" or "max".

    Raises:
        ValueError: another kind.
    """

    def __init__(self, kind: str):
        super().__init__()
        if kind not in ("avg", "max"):
            raise ValueError(f"kind is {kind!r}; legal: avg, max")
        self.kind = kind

    def forward(self, x: Tensor) -> Tensor:
        """(R, C, h, w) maps to (R, C) vectors; R may be 0."""
        return x.mean(dim=(2, 3)) if self.kind == "avg" else x.amax(dim=(2, 3))
