from .checkpoint import PersonSearchCheckpointer
from .hooks import ProgressBar, ReproducibleSteps
from .schedule import resolve_epochs

__all__ = ["PersonSearchCheckpointer", "ProgressBar", "ReproducibleSteps", "resolve_epochs"]
