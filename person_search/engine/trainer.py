"""detectron2's trainer with this project's parts."""

import logging
import weakref
from contextlib import contextmanager

import torch
from detectron2.engine import DefaultTrainer, hooks
from detectron2.utils import comm

from person_search.data import build_test_loader, build_train_loader
from person_search.errors import PersonSearchError, TrainingError
from person_search.evaluation import build_evaluator, check_test_settings
from person_search.precision import autocast_dtype

from .accumulation import AccumulatingTrainer
from .buffers import share_buffers
from .checkpoint import PersonSearchCheckpointer, TrainingSets
from .endings import Terminated
from .feature_cache import with_features
from .hooks import ProgressBar, ReproducibleSteps
from .optimizer import build_optimizer
from .schedule import build_lr_scheduler
from .settings import check_settings

logger = logging.getLogger(__name__)


class Trainer(DefaultTrainer):
    """detectron2's trainer with this project's loaders, evaluators, optimizers and checkpoints.

        trainer = Trainer(cfg)
        trainer.resume_or_load(resume=False)
        trainer.train()

    A run that is stopped, in whatever way, goes on from its latest whole checkpoint and gives the
    weights that it would have given without the stop.

    Args:
        cfg: of the run.

    Raises:
        ConfigError: a value of the config is not legal, or has no effect here.
        DatasetError: a data set is missing or damaged.
    """

    build_train_loader = staticmethod(build_train_loader)
    build_test_loader = staticmethod(build_test_loader)
    build_evaluator = staticmethod(build_evaluator)
    build_optimizer = staticmethod(build_optimizer)
    build_lr_scheduler = staticmethod(build_lr_scheduler)

    def __init__(self, cfg):
        check_settings(cfg)
        for name in cfg.DATASETS.TEST:
            check_test_settings(cfg, name)  # a mistake there should not wait for the end
        super().__init__(with_features(cfg))

    def build_hooks(self) -> list[hooks.HookBase]:
        """See ``DefaultTrainer``. Called before the first hook needs trainer or checkpointer."""
        self._trainer = AccumulatingTrainer(
            self._trainer.model,
            self._trainer.data_loader,
            self._trainer.optimizer,
            self.cfg.SOLVER.ACCUMULATE,
            autocast_dtype(self.cfg, "SOLVER"),
        )
        self.checkpointer = PersonSearchCheckpointer(
            self._trainer.model,
            self.cfg.OUTPUT_DIR,
            trainer=weakref.proxy(self),
            train_sets=TrainingSets(self.cfg.DATASETS.TRAIN),
        )
        share_buffers(self._trainer.model)
        built = super().build_hooks()
        if self.cfg.SEED >= 0:
            built.insert(0, ReproducibleSteps(self.cfg.SEED))
        if comm.is_main_process():
            built.append(ProgressBar())
        return built

    def resume_or_load(self, resume: bool = True) -> None:
        """See ``DefaultTrainer``. What a finished run left stays when it is made longer."""
        if not resume and (older := self.checkpointer.run.newest()):
            logger.warning(
                "%s is of an earlier run, which ends here: its files are written over as this one "
                "goes on. --resume would have taken it up again",
                older,
            )
        super().resume_or_load(resume)
        if comm.is_main_process() and 0 < self.start_iter < self.max_iter:
            self.checkpointer.run.keep_final(self.iter)

    def train(self) -> dict | None:
        """Train up to ``SOLVER.MAX_ITER``; returns the metrics of the test sets, if there are any.

        Raises:
            TrainingError: the loss is not finite, memory or disk are full. The run can be resumed.
            KeyboardInterrupt: with a message that says where the run stands.
        """
        if self.start_iter >= self.max_iter and not self.checkpointer.resumed_from_final:
            self.checkpointer.save("model_final", iteration=self.iter)
        self._last_eval_results = None
        try:
            with _without_traceback():
                super().train()
        except KeyboardInterrupt as stop:
            raise type(stop)(f"stopped {self._standing()}") from None
        except Exception as error:
            if "killed by signal: Terminated" in str(error):
                # Schedulers send SIGTERM to loaders' processes, too, and theirs may be seen first.
                raise Terminated(f"stopped {self._standing()}") from None
            if remedy := _remedy(error):
                reason = str(error).partition("\n")[0].rstrip(". ")
                raise TrainingError(f"{reason}, {self._standing()}. {remedy}") from error
            raise
        return self._last_eval_results

    def after_train(self) -> None:
        """See ``DefaultTrainer``; a training that failed in its last iteration is not evaluated."""
        if self.iter < self.max_iter:
            self._hooks = [hook for hook in self._hooks if not isinstance(hook, hooks.EvalHook)]
        super().after_train()

    def _standing(self) -> str:
        """Iteration, loss, pictures, and where the run can be taken up again."""
        latest = self.storage.latest() if hasattr(self, "storage") else {}
        loss = f", loss {latest['total_loss'][0]:.4g}" if "total_loss" in latest else ""
        newest = self.checkpointer.run.newest()
        goes_on = f"--resume goes on from {newest}" if newest else "there is no checkpoint yet"
        return (
            f"in iteration {self.iter}{loss}, pictures {self._trainer.name_pictures()}: {goes_on}"
        )

    @classmethod
    def test(cls, cfg, model, evaluators=None) -> dict:
        """See ``DefaultTrainer``."""
        share_buffers(model)
        return super().test(cfg, model, evaluators)


def _remedy(error: Exception) -> str:
    """What to do about an error that is not the program's; "" for all others."""
    if isinstance(error, FloatingPointError):
        return (
            "A lower SOLVER.BASE_LR, a longer warm-up or SOLVER.CLIP_GRADIENTS keep the loss "
            "finite; look at the pictures, too"
        )
    if isinstance(error, torch.OutOfMemoryError):
        return "A larger SOLVER.ACCUMULATE or smaller INPUT sizes take less memory"
    if "DataLoader worker" in str(error) and "killed" in str(error):
        return "Mostly the system is out of memory: fewer DATALOADER.NUM_WORKERS take less"
    if isinstance(error, OSError):
        return "Free space on the disk, or correct what else the system says"
    return ""


def _expected(error: BaseException | None) -> bool:
    return isinstance(error, PersonSearchError) or bool(
        isinstance(error, Exception) and _remedy(error)
    )


@contextmanager
def _without_traceback():
    """Keep detectron2 from logging the traceback of errors that end in one line."""
    log = logging.getLogger("detectron2.engine.train_loop")

    def wanted(record: logging.LogRecord) -> bool:
        return not (record.exc_info and _expected(record.exc_info[1]))

    log.addFilter(wanted)
    try:
        yield
    finally:
        log.removeFilter(wanted)
