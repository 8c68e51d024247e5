from .accumulation import AccumulatingTrainer
from .buffers import share_buffers
from .checkpoint import PersonSearchCheckpointer, TrainingSets
from .hooks import ProgressBar, ReproducibleSteps
from .optimizer import build_optimizer
from .schedule import resolve_epochs

__all__ = [
    "AccumulatingTrainer",
    "PersonSearchCheckpointer",
    "ProgressBar",
    "ReproducibleSteps",
    "TrainingSets",
    "build_optimizer",
    "resolve_epochs",
    "share_buffers",
]
