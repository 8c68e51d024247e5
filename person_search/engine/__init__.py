from .accumulation import AccumulatingTrainer
from .checkpoint import PersonSearchCheckpointer
from .hooks import ProgressBar, ReproducibleSteps
from .optimizer import build_optimizer
from .schedule import resolve_epochs

__all__ = [
    "AccumulatingTrainer",
    "PersonSearchCheckpointer",
    "ProgressBar",
    "ReproducibleSteps",
    "build_optimizer",
    "resolve_epochs",
]
