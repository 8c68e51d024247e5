"""What detectron2's trainer lacks: steps that repeat exactly, and a progress bar."""

import numpy as np
import torch
from detectron2.engine import HookBase
from detectron2.utils import comm
from tqdm import tqdm


class ReproducibleSteps(HookBase):
    """Make step n the same in every run, so that a stopped and resumed run equals a whole one.

    The loader starts at batch n, and the random numbers of the model (sampling of anchors, RoIs)
    come from a seed made of (SEED, rank, n). Nothing has to be stored but the iteration.

    Args:
        seed: ``SEED`` of the config, >= 0.
    """

    def __init__(self, seed: int):
        self.seed = seed

    def before_train(self) -> None:
        self.trainer._trainer.data_loader.batch_sampler.start = self.trainer.start_iter

    def before_step(self) -> None:
        numbers = (self.seed, comm.get_rank(), self.trainer.iter)
        torch.manual_seed(int(np.random.SeedSequence(numbers).generate_state(1)[0]))


class ProgressBar(HookBase):
    """A bar with rate, time left and loss; silent where the output is no terminal."""

    def before_train(self) -> None:
        first, last = self.trainer.start_iter, self.trainer.max_iter
        self.bar = tqdm(desc="train", total=last, initial=first, unit="it", disable=None)

    def after_step(self) -> None:
        self.bar.update()
        if self.trainer.iter % 20 == 0:
            latest = self.trainer.storage.latest().get("total_loss")
            if latest is not None:
                self.bar.set_postfix(loss=f"{latest[0]:.3f}")

    def after_train(self) -> None:
        self.bar.close()
