"""The contract of identity heads: from maps of persons to rows, and the losses that train them.

Shape shorthand in this module:
    R: number of RoIs, crops or locations; C, h, w: their maps; D: embedding size
"""

from abc import ABC, abstractmethod

from detectron2.config import CfgNode as CN
from detectron2.structures import Instances
from detectron2.utils.registry import Registry
from torch import Tensor, nn

from person_search.errors import ConfigError
from person_search.registry import count_identities, look_up

IDENTITY_HEAD_REGISTRY = Registry("IDENTITY_HEAD")
IDENTITY_HEAD_REGISTRY.__doc__ = """
Identity heads: subclasses of :class:`IdentityHead`, called with ``(cfg, in_channels)``.
"""


class IdentityHead(nn.Module, ABC):
    """Makes rows of maps, and learns from person ids. It never sees boxes.

    It is given a dict ``maps``: stage name -> (R, C, h, w). The first entry, named by the split
    point, is what was pooled; the others are what each stage of the identification net made of it,
    "res5" the last one.

    Attributes:
        in_channels: stage name -> C.
        embedding_dim: D.
        uses_unlabeled: whether persons without identity take part in its losses.
        training_only: prefixes of its state that a model at test can do without.
        memory: prefixes of its state that remember the persons of one training run. It comes back
            when that run is resumed, and never through ``MODEL.WEIGHTS``.
    """

    in_channels: dict[str, int]
    embedding_dim: int
    uses_unlabeled: bool = False
    training_only: tuple[str, ...] = ()
    memory: tuple[str, ...] = ()

    @abstractmethod
    def forward(self, maps: dict[str, Tensor]) -> Tensor:
        """(R, D) rows, not of unit length. R may be 0 or 1."""

    @abstractmethod
    def losses(
        self, maps: dict[str, Tensor], rows: Tensor, person_ids: Tensor
    ) -> dict[str, Tensor]:
        """Losses by name, the same names at every call, each with a gradient to its parameters.

        Args:
            maps: see the class.
            rows: (R, D), what :meth:`forward` made of the maps.
            person_ids: (R,) int64: ids >= 0, UNLABELED or BACKGROUND. All of them may be without
                an identity.
        """


def count_train_ids(cfg) -> int:
    """Number of identities that a classifier has to tell apart.

    ``MODEL.REID.NUM_IDS`` if it is not -1, else the sum of the metadata's ``num_person_ids`` over
    ``DATASETS.TRAIN``, whose data sets are read for it if they have not been yet.

    Raises:
        ConfigError: the metadata of a set lacks ``num_person_ids``.
    """
    if cfg.MODEL.REID.NUM_IDS >= 0:
        return cfg.MODEL.REID.NUM_IDS
    return sum(count_identities(name) for name in cfg.DATASETS.TRAIN)


def pooling_kind(cfg) -> str:
    """``MODEL.REID.GLOBAL_POOLING``: what :class:`.GlobalPool` is built with."""
    kind = cfg.MODEL.REID.GLOBAL_POOLING
    if kind not in ("avg", "max"):
        raise ConfigError(f"MODEL.REID.GLOBAL_POOLING is {kind!r}; legal: avg, max")
    return kind


def require_known_ids(person_ids: Tensor, num_ids: int) -> None:
    """Raises ConfigError where an id is too large for a head of ``num_ids`` identities."""
    if len(person_ids) > 0 and person_ids.max() >= num_ids:
        raise ConfigError(
            f"person id {person_ids.max()} does not fit an identity head of {num_ids} identities: "
            "set MODEL.REID.NUM_IDS to -1, which counts those of DATASETS.TRAIN, or to more than "
            "the largest id"
        )


def require_person_ids(targets: list[Instances], part: str) -> None:
    """Raises ConfigError where annotated persons lack the field ``gt_person_ids``.

    Args:
        targets: of each image.
        part: what needs it.
    """
    if any(len(x) > 0 and not x.has("gt_person_ids") for x in targets):
        raise ConfigError(
            f"{part} got persons without gt_person_ids: make the inputs with "
            "person_search.data.PersonSearchMapper(cfg, True), since detectron2's own mapper "
            "leaves out the person_id of an annotation"
        )


def build_identity_head(cfg, in_channels: dict[str, int]) -> IdentityHead:
    """The head that ``MODEL.REID.HEAD`` names."""
    head = look_up(IDENTITY_HEAD_REGISTRY, cfg.MODEL.REID.HEAD, "MODEL.REID.HEAD")
    return head(cfg, in_channels)


def add_identity_config(cfg: CN) -> None:
    """Keys of every identity head; ``MODEL.REID`` is there already."""
    # A name in IDENTITY_HEAD_REGISTRY: "SoftmaxHead" | "BagOfTricksHead" (also triplet and center
    # loss) | "OIMHead" | "NormAwareHead" (NAE) | "TOIMHead" (AlignPS) | "TripletHead" |
    # "SimSiamHead" (self-supervised)
    cfg.MODEL.REID.HEAD = "SoftmaxHead"
    # Number of identities: classes of the classifier, rows of OIM's table. -1: the sum over
    # DATASETS.TRAIN, read from the data sets' metadata. 0: none (a test without the training data).
    cfg.MODEL.REID.NUM_IDS = -1
    # Weight of the identification loss (STL, Eq. 3: 1).
    cfg.MODEL.REID.LOSS_WEIGHT = 1.0
    # Size of the embedding of OIMHead, NormAwareHead, TOIMHead and TripletHead. GLOBAL_POOLING, of
    # the first two: how the maps of a box become vectors, also for the box predictor that shares
    # them and for TailBoxHead. "avg" | "max"
    cfg.MODEL.REID.EMBEDDING_DIM = 256
    cfg.MODEL.REID.GLOBAL_POOLING = "avg"
