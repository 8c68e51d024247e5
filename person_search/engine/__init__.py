from .accumulation import AccumulatingTrainer
from .buffers import share_buffers
from .checkpoint import PersonSearchCheckpointer, TrainingSets
from .convert import adopt_conventions
from .endings import one_line_endings
from .hooks import ProgressBar, ReproducibleSteps
from .optimizer import build_optimizer
from .run import evaluate, import_parts, set_up
from .schedule import resolve_epochs
from .trainer import Trainer

__all__ = [
    "AccumulatingTrainer",
    "PersonSearchCheckpointer",
    "ProgressBar",
    "ReproducibleSteps",
    "Trainer",
    "TrainingSets",
    "adopt_conventions",
    "build_optimizer",
    "evaluate",
    "import_parts",
    "one_line_endings",
    "resolve_epochs",
    "set_up",
    "share_buffers",
]
