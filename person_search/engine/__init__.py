from .accumulation import AccumulatingTrainer
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
]
