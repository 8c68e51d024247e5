from .accumulation import AccumulatingTrainer, autocast_dtype
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
    "autocast_dtype",
    "build_optimizer",
    "resolve_epochs",
]
