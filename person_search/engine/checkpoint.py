"""A checkpointer that reads any backbone file and refuses weights that do not fit."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from detectron2.checkpoint import DetectionCheckpointer
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from person_search.errors import WeightsError
from person_search.modeling.backbone.weights import fit_stage_weights
from person_search.modeling.embedders.base import IDENTITY_HEAD

from .convert import recognize, refuse_misfit
from .fitting import module_names, refuse_other_backbone, report
from .run_folder import FINAL, RunFolder
from .weights_file import read_weights_file

logger = logging.getLogger(__name__)

COUNTER = "num_batches_tracked"
"""Of batch norms; plays no part, and old files lack it."""


class PersonSearchCheckpointer(DetectionCheckpointer):
    """detectron2's checkpointer, for weights of other models and with loud failures.

    ``MODEL.WEIGHTS`` may be a checkpoint of ours or a public file that :mod:`.convert` recognizes:
    a whole model, or a backbone (a ResNet of torchvision, IBN-Net or detectron2, a ShuffleNet or
    ConvNeXt). Every stage of the model, wherever
    it stands, gets its weights; what the file has beyond that and the model knows by name is taken
    too, and so is the BN neck of a re-ID pre-training. A file that leaves a stage of the model
    without weights is refused; other parts may start fresh, and the log lists them. What a head
    remembers of the persons of one training run (its ``memory``) comes back when that run is
    resumed, and only then. A run whose tensors have other shapes is not resumed; nor is one of
    other data, if :class:`TrainingSets` are among what is saved.

    Args:
        complete: for evaluation: also refuse a file that lacks any other part needed at test.
        others: of ``DetectionCheckpointer``.

    Raises:
        WeightsError: from :meth:`load`, with the keys and what to do.
    """

    def __init__(self, model: nn.Module, save_dir: str = "", *, complete: bool = False, **others):
        super().__init__(model, save_dir, **others)
        self.complete = complete
        self.run = RunFolder(save_dir)
        self.resumed_from_final = False
        self._resuming = self._unreadable = False
        self._conventions: dict[str, Any] = {}  # of public weights that were loaded

    def save(self, name: str, **others) -> None:
        """See ``DetectionCheckpointer``; the file appears whole, or not at all.

        Raises:
            FloatingPointError: the weights are not finite. Nothing is written.
            OSError: the file cannot be written. What was there before stays.
        """
        if not self.save_dir or not self.save_to_disk:
            return
        content = {"model": self.model.state_dict()}
        content |= {key: part.state_dict() for key, part in self.checkpointables.items()}
        if bad := _not_finite(content["model"]):
            raise FloatingPointError(
                f"the training diverged: {name}.pth is not written, since its weights are not "
                f"finite ({module_names(bad)})"
            )
        if self._conventions:  # the weights that are learned from public ones keep them
            content["conventions"] = self._conventions
        self.run.write(f"{name}.pth", content | others)

    def tag_last_checkpoint(self, last_filename_basename: str) -> None:
        """See ``DetectionCheckpointer``."""
        self.run.name_latest(last_filename_basename)

    def has_checkpoint(self) -> bool:
        """Whether there is a run to be resumed, or ``last_checkpoint`` says that there was one."""
        return bool(self.save_dir) and (self.run.newest() or self.run.named()) is not None

    def get_checkpoint_file(self) -> str:
        """See ``DetectionCheckpointer``; "" if there is none."""
        return str(self.run.newest() or self.run.named() or "")

    def resume_or_load(self, path: str, *, resume: bool = True) -> dict:
        """See ``DetectionCheckpointer``; resumes from the newest checkpoint that can be read.

        Raises:
            WeightsError: there are checkpoints, and none can be read.
        """
        if not (resume and self.has_checkpoint()):
            return self.load(path, checkpointables=[])
        self._resuming = True
        try:
            return self._resume()
        finally:
            self._resuming = False

    def _resume(self) -> dict:
        broken = []
        for path in self.run.checkpoints():
            self._unreadable = False
            try:
                rest = self.load(str(path))
            except WeightsError as error:
                if not self._unreadable:
                    raise
                logger.warning("%s. Trying the checkpoint before it", error)
                broken.append(path.name)
                continue
            if broken:
                logger.warning(
                    "resumed from %s, the newest checkpoint that can be read (not: %s)",
                    path, ", ".join(broken),
                )  # fmt: skip
            self.resumed_from_final = path.name == FINAL
            return rest
        if not broken:
            self._require(self.get_checkpoint_file())
        raise WeightsError(
            f"the run in {self.save_dir} cannot be resumed: none of its checkpoints can be read "
            f"({', '.join(broken)}). Start anew, without --resume and with another OUTPUT_DIR"
        )

    def load(self, path: str, *args, **kwargs) -> dict:
        """See ``DetectionCheckpointer.load``; "" leaves the random initialization."""
        if not path:
            logger.warning("MODEL.WEIGHTS is empty: the model keeps its random weights")
        else:
            self._require(path)
        try:
            return super().load(path, *args, **kwargs)
        finally:
            self._parsed_url_during_load = None  # detectron2 keeps it after an error, and fails

    def _require(self, path: str) -> None:
        """Refuse a file that is not there or cannot be downloaded."""
        try:
            found = self.path_manager.isfile(self.path_manager.get_local_path(path.split("?")[0]))
        except (OSError, AssertionError) as error:
            raise WeightsError(
                f"cannot fetch {path} ({error}): download it by other means and set MODEL.WEIGHTS "
                "to the file, or to '' to start from random weights"
            ) from error
        if not found:
            raise WeightsError(
                f"no weights file {path}: correct MODEL.WEIGHTS, or set it to '' to start from "
                "random weights"
            )

    def _load_file(self, filename: str) -> dict:
        try:
            file = read_weights_file(filename)
            if bad := _not_finite(file.state):
                raise WeightsError(
                    f"{filename} holds weights that are not finite ({module_names(bad)}): the "
                    "training that wrote it had diverged. Take an earlier checkpoint of it"
                )
            if self._resuming and "trainer" in self.checkpointables.keys() - file.around.keys():
                raise WeightsError(
                    f"{filename} holds weights, but no state of a run: to start from it, set "
                    "MODEL.WEIGHTS, without --resume"
                )
        except WeightsError:
            self._unreadable = True
            raise
        return {**file.around, "model": recognize(file)}

    def _load_model(self, checkpoint: dict) -> None:
        file = checkpoint.pop("model")
        checkpoint.pop("conventions", None)
        model = self.model
        model = model.module if isinstance(model, DistributedDataParallel) else model
        refuse_misfit(file, model, (*_training_only(model), *_memory(model)))
        file_state, self._conventions = dict(file.state), dict(file.conventions)
        model_state = model.state_dict()
        memory = [] if self._resuming else [k for k in file_state if k.startswith(_memory(model))]
        for key in memory:
            del file_state[key]
        file_state |= _identity_head_of_another_model(model, file_state)
        fit = fit_stage_weights(model_state, file_state)
        refuse_other_backbone(fit)
        by_name = {k: v for k, v in file_state.items() if k in model_state and k not in fit.weights}
        dropped = [k for k, v in by_name.items() if v.shape != model_state[k].shape]
        weights = {k: v for k, v in by_name.items() if k not in dropped} | fit.weights
        fresh = [k for k in model_state if k not in weights and not k.endswith(COUNTER)]
        if self.complete:
            _refuse_incomplete(model, fresh)
            dropped = []  # a test does without them
        elif self._resuming and dropped:
            shapes = [tuple(state[dropped[0]].shape) for state in (by_name, model_state)]
            _refuse_another_run(dropped[0], *shapes)
        report(fit, [k for k in by_name if not k.endswith(COUNTER)], fresh, dropped)
        if memory and not self.complete:
            logger.info("weights: start anew, since they are of one run: %s", module_names(memory))
        model.load_state_dict(weights, strict=False)


class TrainingSets:
    """The data sets of a run, for its checkpoints: what it remembers means their persons.

    Tables of as many persons of other sets have the same shapes.

    Args:
        names: ``DATASETS.TRAIN``, in order.
    """

    def __init__(self, names: Iterable[str]):
        self.names = list(names)

    def state_dict(self) -> dict:
        """What :meth:`load_state_dict` compares."""
        return {"names": self.names}

    def load_state_dict(self, state: dict) -> None:
        """Refuse to go on with other data (:class:`WeightsError`)."""
        if state["names"] != self.names:
            _refuse_another_run("DATASETS.TRAIN", state["names"], self.names)


def _prefixes(model: nn.Module, attribute: str) -> tuple[str, ...]:
    """Prefixes of state keys of the model, from those that its modules list as ``attribute``."""
    return tuple(
        f"{name}.{prefix}".lstrip(".")  # the model itself has no name
        for name, module in model.named_modules()
        for prefix in getattr(module, attribute, ())
    )


def _training_only(model: nn.Module) -> tuple[str, ...]:
    """Prefixes of the state keys that a model at test can do without."""
    return _prefixes(model, "training_only")


def _memory(model: nn.Module) -> tuple[str, ...]:
    """Prefixes of the state keys that are of one training run and of no use to another."""
    return _prefixes(model, "memory")


def _identity_head_of_another_model(model: nn.Module, file_state: dict) -> dict:
    """The identity head (BN neck) of a model that holds its embedder in another place.

    This is how re-ID pre-training reaches a person search model; its classifier does not (STL,
    step 2, starts a new one).
    """

    def name_in_head(key: str) -> str:
        return key.partition(IDENTITY_HEAD)[2]

    sources = {name_in_head(key): key for key in file_state if IDENTITY_HEAD in key}
    new = tuple(prefix for prefix in _training_only(model) if IDENTITY_HEAD in prefix)
    return {
        key: file_state[sources[name_in_head(key)]]
        for key in model.state_dict()
        if IDENTITY_HEAD in key
        and name_in_head(key) in sources
        and key not in file_state
        and not key.startswith(new)
    }


def _refuse_incomplete(model: nn.Module, fresh: list[str]) -> None:
    needed = [k for k in fresh if not k.startswith(_training_only(model))]
    if needed:
        raise WeightsError(
            f"the weights file lacks {len(needed)} keys that the model needs, such as "
            f"{', '.join(needed[:3])}. Evaluate a checkpoint that was trained with this config "
            "(MODEL.WEIGHTS output/.../model_final.pth)"
        )


def _refuse_another_run(name: str, saved: Sequence, here: Sequence) -> None:
    raise WeightsError(
        f"the run cannot be resumed: {name} is {saved} in its checkpoint, {here} here. Resume with "
        "the config, and so the DATASETS.TRAIN, that it was started with; or start a new run: "
        "another OUTPUT_DIR, without --resume"
    )


def _not_finite(state: Mapping[str, torch.Tensor]) -> list[str]:
    return [k for k, v in state.items() if v.is_floating_point() and not v.isfinite().all()]
