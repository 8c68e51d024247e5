"""Global pooling."""

from torch import Tensor, nn

from person_search.errors import ConfigError


class GlobalPool(nn.Module):
    """The average or the maximum of each channel.

    Args:
        kind: "avg" or "max".
    """

    def __init__(self, kind: str):
        super().__init__()
        if kind not in ("avg", "max"):
            raise ConfigError(f"MODEL.REID.GLOBAL_POOLING is {kind!r}; legal: avg, max")
        self.kind = kind

    def forward(self, x: Tensor) -> Tensor:
        """(R, C, h, w) maps to (R, C) vectors; R may be 0."""
        return x.mean(dim=(2, 3)) if self.kind == "avg" else x.amax(dim=(2, 3))
