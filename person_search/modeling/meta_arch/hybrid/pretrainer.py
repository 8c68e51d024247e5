"""Pre-training of a whole person search model on detection and re-ID data (Tian et al., AAAI 2024).

Shape shorthand in this module:
    N: number of views of images of one kind; R: number of persons; D: embedding size
"""

from collections import defaultdict

import torch
from detectron2.config import CfgNode as CN
from detectron2.config import configurable
from detectron2.modeling import META_ARCH_REGISTRY
from detectron2.utils.events import get_event_storage
from torch import Tensor, nn

from person_search.errors import ConfigError
from person_search.labels import UNLABELED
from person_search.layers.gradient_reversal import reversal_factor
from person_search.layers.siamese import predictor, simsiam_loss, spread
from person_search.layers.zero_loss import zero_loss
from person_search.structures import KINDS

from ...roi_heads.hybrid_heads import HybridROIHeads
from ..person_search_rcnn import PersonSearchRCNN
from .alignment import TASKS, DomainAlignment, alignment_inputs, build_alignments
from .views import Views, pair, valid_pixels

# The loss that is a mean over classified persons; all others of NAE are means over images.
OIM = "loss_oim"


@META_ARCH_REGISTRY.register()
class HybridPretrainer(PersonSearchRCNN):
    """NAE on two views of every image, of scenes and of persons on canvases.

    ``L = L_ps + eta L_con + lambda L_adv``: the losses of NAE on all views; those between the two
    views of persons without identity; those of the domain classifiers. Scenes and canvases are of
    different sizes and go through the model one after the other, so batch norm sees them apart,
    and its running statistics are those of both. Their losses weigh as in one batch: as their
    numbers of images, and that of identities as their numbers of persons that it classifies.
    SimSiam's predictor follows the learning rate of all else (SimSiam keeps its own constant).
    Test, and state that is needed there, are those of NAE, so a checkpoint is a ``MODEL.WEIGHTS``
    of NAE.

    Args:
        predictor: of SimSiam, (R, D) -> (R, D).
        siamese_weight: eta.
        alignments: by the kind whose data sets are aligned, or TASKS: scenes with canvases.
        reversal: how much of their gradients reaches the features.
        reversal_schedule: see :func:`.reversal_factor`.
        max_iter: at which the schedule ends.
        kwargs: of ``GeneralizedRCNN``.
    """

    source = "hybrid"  # the DATALOADER.SOURCE that it learns from
    training_only = ("predictor.", "alignments.")

    @configurable
    def __init__(
        self,
        *,
        predictor: nn.Module,
        siamese_weight: float,
        alignments: dict[str, DomainAlignment],
        reversal: float,
        reversal_schedule: str,
        max_iter: int,
        **kwargs,
    ):
        super().__init__(**kwargs)
        if not isinstance(self.roi_heads, HybridROIHeads):
            raise ConfigError(
                "HybridPretrainer compares the persons of two views: set MODEL.ROI_HEADS.NAME "
                "HybridROIHeads"
            )
        reversal_factor(reversal_schedule, 0.0)  # an unknown one should not wait for the training
        self.predictor, self.siamese_weight = predictor, siamese_weight
        self.alignments = nn.ModuleDict(alignments)
        self.reversal, self.reversal_schedule = reversal, reversal_schedule
        self.max_iter = max_iter

    @classmethod
    def from_config(cls, cfg) -> dict:
        ret = super().from_config(cfg)
        keys = cfg.MODEL.HYBRID
        return {
            **ret,
            "predictor": predictor(ret["roi_heads"].reid.head.embedding_dim),
            "siamese_weight": keys.SIAMESE_WEIGHT,
            "alignments": build_alignments(cfg, ret["roi_heads"]),
            "reversal": keys.REVERSAL,
            "reversal_schedule": _reversal_schedule(cfg),
            "max_iter": cfg.SOLVER.MAX_ITER,
        }

    def forward(self, batched_inputs: list[dict]) -> dict[str, Tensor] | list[dict]:
        """Losses in training, else as :class:`PersonSearchRCNN`.

        Args:
            batched_inputs: in training dicts with ``kind``, ``domain_id`` and two ``views``: dicts
                with ``image`` and ``instances``, which have ``gt_index`` (the same for one person
                in both views; -1: not to be compared) beside NAE's fields. All ranks have images
                of the same kinds.
        """
        if not self.training:
            return self.inference(batched_inputs)
        losses, views = defaultdict(float), {}
        num_classified = max(self._count_classified(batched_inputs), 1)
        for kind in KINDS:
            inputs = [x for x in batched_inputs if x["kind"] == kind]
            if not inputs:
                continue
            views[kind], of_kind = self._run_views(inputs)
            of_images = len(inputs) / len(batched_inputs)
            of_persons = self._count_classified(inputs) / num_classified
            for name, loss in of_kind.items():
                losses[name] += loss * (of_persons if name == OIM else of_images)
        losses["loss_siamese"] = self.siamese_weight * self._siamese_loss(views)
        return {**losses, **self._alignment_losses(views)}

    def _count_classified(self, inputs: list[dict]) -> int:
        """Persons with identity and, where these are individuals, those without, in all views."""
        number = 0
        for persons in (view["instances"] for x in inputs for view in x["views"]):
            classified = persons.gt_person_ids >= 0
            if self.roi_heads.individuals:
                classified |= (persons.gt_person_ids == UNLABELED) & (persons.gt_index >= 0)
            number += int(classified.sum())
        return number

    def _run_views(self, inputs: list[dict]) -> tuple[Views, dict[str, Tensor]]:
        """What is made of the first views of all images, then of the second; losses of NAE."""
        views = [x["views"][k] for k in range(2) for x in inputs]
        images = self.preprocess_image(views)
        targets = [view["instances"].to(self.device) for view in views]
        features = self.backbone(images.tensor)
        proposals, losses = self.proposal_generator(images, features, targets)
        persons, roi_losses = self.roi_heads(images, features, proposals, targets)
        maps = features[self.roi_heads.reid.split_at]
        domains = torch.tensor([x["domain_id"] for x in inputs] * 2, device=self.device)
        valid = valid_pixels(maps, images.tensor.shape[-2:], images.image_sizes)
        return Views(maps, valid, persons, domains), losses | roi_losses

    def _siamese_loss(self, views: dict[str, Views]) -> Tensor:
        """Between the views of persons without identity: the mean of an image's, over the images.

        The paper adds up the persons; a mean does not depend on how crowded a scene is.
        """
        first, second, shares = [], [], []
        for persons in (of_kind.persons for of_kind in views.values()):
            half = len(persons) // 2
            for one, two in zip(persons[:half], persons[half:], strict=True):
                rows, others = pair(one, two)
                if len(rows):
                    shares.append(torch.full((len(rows),), 1 / len(rows), device=self.device))
                first.append(one.embeddings[rows])
                second.append(two.embeddings[others])
        first, second = torch.cat(first), torch.cat(second)
        get_event_storage().put_scalar("hybrid/num_pairs", len(first))
        get_event_storage().put_scalar("hybrid/spread", spread(first.detach()))
        of_all = torch.cat(shares) / len(shares) if shares else None
        return simsiam_loss(first, second, self.predictor, of_all)

    def _alignment_losses(self, views: dict[str, Views]) -> dict[str, Tensor]:
        """``loss_align_<name>`` of each alignment: also without images of its kind, then 0."""
        progress = min(get_event_storage().iter / self.max_iter, 1.0)
        reversal = self.reversal * reversal_factor(self.reversal_schedule, progress)
        losses = {}
        for name, align in self.alignments.items():
            parts = [
                align(alignment_inputs(name, kind, of_kind), reversal)
                for kind, of_kind in views.items()
                if name in (kind, TASKS)
            ]
            losses[f"loss_align_{name}"] = sum(parts) / len(parts) if parts else zero_loss(align)
        return losses


def _reversal_schedule(cfg) -> str:
    schedule = cfg.MODEL.HYBRID.REVERSAL_SCHEDULE
    if schedule not in ("constant", "sigmoid"):
        raise ConfigError(
            f"MODEL.HYBRID.REVERSAL_SCHEDULE is {schedule!r}; legal: constant, sigmoid"
        )
    return schedule


def add_hybrid_config(cfg: CN) -> None:
    """Keys of HybridPretrainer.

    The paper leaves nearly every number to its code, which is not public: what is chosen here says
    where it comes from.
    """
    cfg.MODEL.HYBRID = CN()
    # In the loss of identities (L_oim) a person without one is an identity of its own, to be
    # recognized in the other view of its image ("serve as different identities"). False: such
    # persons are negatives alone, in the queue, another reading of the paper.
    cfg.MODEL.HYBRID.INDIVIDUALS = True
    # Weight of the loss between two views of persons without identity (eta)
    cfg.MODEL.HYBRID.SIAMESE_WEIGHT = 1.0
    # Adversarial alignment of domains, the data sets: "intra": those of one task, detection or
    # re-ID (IAM) | "inter": detection with re-ID. Any of them; (): none
    cfg.MODEL.HYBRID.ALIGN = ("intra",)
    # What reaches the features of the gradients of the domain classifiers, against them (Chen et
    # al., CVPR 2018: .1). 0: classifiers that only watch
    cfg.MODEL.HYBRID.REVERSAL = 0.1
    # "constant" | "sigmoid": grows from 0 to REVERSAL (Ganin and Lempitsky, ICML 2015)
    cfg.MODEL.HYBRID.REVERSAL_SCHEDULE = "constant"
