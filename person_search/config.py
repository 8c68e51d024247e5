"""Every config key that this project adds to detectron2's.

Importing this module registers the parts and data sets that the keys name.
"""

from collections.abc import Sequence

from detectron2.config import CfgNode as CN
from detectron2.config import get_cfg

from . import data, modeling  # noqa: F401
from .config_files import find_config, load_config_file
from .errors import ConfigError


def add_person_search_config(cfg: CN) -> None:
    """Add the keys of person search to a config made by :func:`detectron2.config.get_cfg`.

    The defaults are those of STL (Liu et al.): a base of stem..res3, RPN + 7x7 box head on res3,
    and a re-ID branch of res4 and res5 on 32x16 RoI features of res3.
    """
    # ---------------------------------------------------------------------------- the cut
    # Last stage of the base that detector and re-ID branch share; later stages form the
    # identification net of the re-ID branch. "res2" | "res3" | "res4"
    cfg.MODEL.BACKBONE.SPLIT_AT = "res3"
    # Architecture that build_split_backbone cuts, a name in SPLIT_ARCHITECTURE_REGISTRY:
    # "SplitResNet" | "SplitShuffleNetV1" | "SplitShuffleNetV2" | "SplitConvNeXt". All of them read
    # MODEL.RESNETS.OUT_FEATURES (maps that the base puts out); ResNet and ShuffleNets also NORM.
    cfg.MODEL.BACKBONE.ARCHITECTURE = "SplitResNet"
    # Activation checkpointing: stages, wherever they stand in the model, whose activations are
    # computed again in the backward instead of kept. Less memory, more time, the same gradients.
    cfg.MODEL.BACKBONE.CHECKPOINT_STAGES = ()
    # Convolutions with the channels last in memory: the same results, often faster.
    cfg.MODEL.BACKBONE.CHANNELS_LAST = False
    # Instance-batch normalization (Pan et al., ECCV 2018). "a": half of the channels after the
    # first conv of every block of res2..res4 | "": plain normalization everywhere
    cfg.MODEL.RESNETS.IBN = ""
    # Factor of the channels of both ShuffleNets: .5 | 1 | 1.5 | 2
    cfg.MODEL.SHUFFLENET = CN()
    cfg.MODEL.SHUFFLENET.WIDTH = 1.0
    # Blocks of res2..res5 and channels of res2. Tiny: (3, 3, 9, 3), 96; small: (3, 3, 27, 3), 96;
    # base: (3, 3, 27, 3), 128. STOCHASTIC_DEPTH: how often the last block is left out.
    cfg.MODEL.CONVNEXT = CN()
    cfg.MODEL.CONVNEXT.DEPTHS = (3, 3, 9, 3)
    cfg.MODEL.CONVNEXT.RES2_OUT_CHANNELS = 96
    cfg.MODEL.CONVNEXT.STOCHASTIC_DEPTH = 0.1

    # ---------------------------------------------------------------------- re-ID branch
    cfg.MODEL.REID = CN()
    # Features that the pooler reads, coarse one last. SingleLevelPooler: one; MRFP: two.
    cfg.MODEL.REID.IN_FEATURES = ["res3"]
    # A name in REID_POOLER_REGISTRY: "SingleLevelPooler" | "MRFP" (STL, section 3.2) |
    # "WholeImage" (crops)
    cfg.MODEL.REID.POOLER = "SingleLevelPooler"
    # (height, width) of the RoI feature of the last map in IN_FEATURES. 32x16 at stride 8 is the
    # resolution that a 256x128 crop has there (STL, section 3.1).
    cfg.MODEL.REID.POOLER_RESOLUTION = (32, 16)
    # Samples per RoI bin and side; 0: as many as the bin has pixels. Papers are silent: 2, as in
    # torchvision's detectors.
    cfg.MODEL.REID.POOLER_SAMPLING_RATIO = 2
    # detectron2's pooler types. Papers are silent: ROIAlignV2 (half-pixel correct).
    cfg.MODEL.REID.POOLER_TYPE = "ROIAlignV2"
    # Stride of the last stage of the identification net; 1 keeps detail ("last stride" of the
    # re-ID literature; STL, section 3.1).
    cfg.MODEL.REID.LAST_STRIDE = 1
    # A name in IDENTITY_HEAD_REGISTRY: "SoftmaxHead" | "BagOfTricksHead" (also triplet and center
    # loss) | "OIMHead" | "NormAwareHead" (NAE) | "SimSiamHead" (self-supervised)
    cfg.MODEL.REID.HEAD = "SoftmaxHead"
    # Number of identities: classes of the classifier, rows of OIM's table. -1: the sum over
    # DATASETS.TRAIN, read from the data sets' metadata. 0: none (inference without the training
    # data).
    cfg.MODEL.REID.NUM_IDS = -1
    # RoIs that train the re-ID branch of SearchROIHeads (that of the other RoI heads sees every
    # sampled proposal). "gt": ground-truth boxes | "gt_jitter": those and up to NUM_JITTER sampled
    # proposals of each with IoU >= JITTER_IOU | "gt_moved": ground-truth boxes, each corner moved
    # at random by up to MOVE_CORNERS of width and height (DKD; its values are not known) | "fg":
    # every sampled foreground proposal. The paper is silent; gt_jitter, since the test meets
    # detections, not annotations.
    cfg.MODEL.REID.ROIS = "gt_jitter"
    cfg.MODEL.REID.NUM_JITTER = 2
    cfg.MODEL.REID.JITTER_IOU = 0.7
    cfg.MODEL.REID.MOVE_CORNERS = 0.1
    # Weight of the identification loss (STL, Eq. 3: 1).
    cfg.MODEL.REID.LOSS_WEIGHT = 1.0
    cfg.MODEL.REID.ID_LOSS = CN()
    # "cross_entropy" | "class_balanced" (Cui et al., CVPR 2019) | "focal" (Lin et al., ICCV 2017)
    cfg.MODEL.REID.ID_LOSS.NAME = "cross_entropy"
    # Of cross_entropy. STL's person search: 0; its re-ID pre-training: 0.1 ("Bag of Tricks")
    cfg.MODEL.REID.ID_LOSS.LABEL_SMOOTHING = 0.0
    # Of class_balanced: beta, one of .9, .99, .999, .9999 in the paper; and what the weighted sum
    # is divided by: "samples" (the authors' code) | "weights" (torch's weighted mean)
    cfg.MODEL.REID.ID_LOSS.BETA = 0.9999
    cfg.MODEL.REID.ID_LOSS.NORMALIZE = "samples"
    # Of focal.
    cfg.MODEL.REID.ID_LOSS.GAMMA = 2.0
    # Of BagOfTricksHead (STL, Eq. 1): margin of the batch-hard triplet loss, which the paper leaves
    # to "Bag of Tricks" (0.3); weights of the two losses; step of the centers.
    cfg.MODEL.REID.TRIPLET_MARGIN = 0.3
    cfg.MODEL.REID.TRIPLET_WEIGHT = 1.0
    cfg.MODEL.REID.CENTER_WEIGHT = 0.0005
    cfg.MODEL.REID.CENTER_LR = 0.5

    # Of OIMHead and NormAwareHead: size of the embedding, and how the maps of a box become vectors,
    # also for the box predictor that shares them and for TailBoxHead. "avg" | "max"
    cfg.MODEL.REID.EMBEDDING_DIM = 256
    cfg.MODEL.REID.GLOBAL_POOLING = "avg"
    # Online instance matching (Xiao et al., CVPR 2017). The table has NUM_IDS rows; the queue holds
    # the latest persons without identity (authors: 5000 for CUHK-SYSU; SeqNet: 500 for PRW). Share
    # of the old row in an update. Factor of the similarities: 30 in all PyTorch code since, 10 in
    # the original.
    cfg.MODEL.REID.OIM = CN()
    cfg.MODEL.REID.OIM.QUEUE_SIZE = 5000
    cfg.MODEL.REID.OIM.MOMENTUM = 0.5
    cfg.MODEL.REID.OIM.SCALE = 30.0

    # ------------------------------------------------------------------------- RoI heads
    # MODEL.ROI_HEADS.NAME: "SearchROIHeads" (a box head beside the re-ID branch) | "SharedROIHeads"
    # (the branch also predicts boxes: OIM) | "NormAwareROIHeads" (its norm is the score: NAE) |
    # "SeqNetROIHeads" (a box head, then NAE on its boxes) | "HybridROIHeads" (NAE, for hybrid
    # pre-training)
    # MODEL.ROI_BOX_HEAD.NAME knows besides detectron2's: "TailBoxHead" (the stages behind SPLIT_AT)
    # Of SeqNetROIHeads; those of its first stage are MODEL.ROI_BOX_HEAD.BBOX_REG_LOSS_WEIGHT and
    # MODEL.ROI_HEADS.NMS_THRESH_TEST.
    cfg.MODEL.SECOND_STAGE = CN()
    cfg.MODEL.SECOND_STAGE.BBOX_REG_LOSS_WEIGHT = 1.0
    cfg.MODEL.SECOND_STAGE.NMS_THRESH_TEST = 0.5

    # ------------------------------------- meta architectures that also train on crops
    # MODEL.META_ARCHITECTURE: "PersonSearchRCNN" | "ReIDBaseline" (crops alone) | "BINetStyle",
    # "DKDStyle" (scenes, and persons cut out of them at INPUT.REID.SIZE; a test needs scenes only)
    # | "HybridPretrainer" (MODEL.HYBRID). BINetStyle and DKDStyle are re-implementations from
    # descriptions, which do not tell these values: all of them are choices of ours.
    # Weights of the two interactions of a RoI with its person's crop: 1 - cosine of the embeddings,
    # and symmetric KL divergence of the OIM softmaxes.
    cfg.MODEL.BINET = CN()
    cfg.MODEL.BINET.FEATURE_WEIGHT = 1.0
    cfg.MODEL.BINET.PREDICTION_WEIGHT = 1.0
    # The teacher's crops are shifted at random by up to this share of their size: a random window
    # of the box enlarged to 1.2 of its size.
    cfg.MODEL.DKD = CN()
    cfg.MODEL.DKD.SHIFT_CROPS = 0.1
    # Weights of what the student learns from the teacher: identity probabilities, cosines among the
    # persons of a batch, and which of its crops shows the same person.
    cfg.MODEL.DKD.IDENTITY_WEIGHT = 1.0
    cfg.MODEL.DKD.RELATION_WEIGHT = 1.0
    cfg.MODEL.DKD.TRIPLET_WEIGHT = 1.0
    # What logits and cosines are divided by in the first and the third of them. 1: probabilities as
    # they are.
    cfg.MODEL.DKD.IDENTITY_TEMPERATURE = 1.0
    cfg.MODEL.DKD.TRIPLET_TEMPERATURE = 0.1

    # ------------------------------------------------------------------------------ data
    # What a training sample is. "frames": whole scenes | "crops": single persons (re-ID
    # pre-training) | "hybrid": both, of several data sets (hybrid pre-training)
    cfg.DATALOADER.SOURCE = "frames"
    # A name in MAPPER_REGISTRY: "PersonSearchMapper" (frames) | "CropMapper",
    # "SelfSupervisedCropMapper" (crops) | "HybridMapper" (hybrid)
    cfg.INPUT.MAPPER = "PersonSearchMapper"
    # Of frames in training: fill their ignore regions, where a data set has any, with the pixel
    # mean. Persons there have no box, and would be trained as background. A choice of ours.
    cfg.INPUT.HIDE_IGNORE_REGIONS = True
    # Of frames: share of those of each training set that is used, in (0, 1]. SEED chooses them; a
    # larger share holds the frames of a smaller one.
    cfg.DATASETS.FRACTION = 1.0
    # Of crops: batches of IMS_PER_BATCH / NUM_INSTANCE identities with NUM_INSTANCE crops each, all
    # identities equally often (STL, section 3.1). False: all crops shuffled.
    cfg.DATALOADER.CLASS_AWARE = True
    cfg.DATALOADER.NUM_INSTANCE = 4
    # Of crops: every crop is an identity of its own, also those of persons without one
    # (self-supervised learning). With NUM_INSTANCE 2 a batch holds two views of each of its crops.
    cfg.DATALOADER.INSTANCE_DISCRIMINATION = False
    cfg.INPUT.REID = CN()
    # (height, width) of a crop, also of those that BINetStyle and DKDStyle cut out of the scenes
    cfg.INPUT.REID.SIZE = (256, 128)
    # Folder that keeps the crops once they are cut out
    cfg.INPUT.REID.CROP_CACHE = "output/crops"
    # Pixels of zero padding before the random crop; 0: none
    cfg.INPUT.REID.PAD = 10
    # Random erasing: how often, and with what. "published": as the code of "Bag of Tricks", which
    # writes ImageNet's mean into the normalized image | "mean": the pixel mean
    cfg.INPUT.REID.ERASE_PROB = 0.5
    cfg.INPUT.REID.ERASE_FILL = "published"

    # --------------------------------------------------------------- hybrid pre-training
    # Tian et al., AAAI 2024. The paper leaves nearly every number to its code, which is not public:
    # what is chosen here says where it comes from.
    # Of DATALOADER.SOURCE hybrid: how many of SOLVER.IMS_PER_BATCH images are scenes, from the
    # detection and person search sets of DATASETS.TRAIN; the others are persons on canvases, from
    # its re-ID sets.
    cfg.DATALOADER.HYBRID = CN()
    cfg.DATALOADER.HYBRID.SCENES_PER_BATCH = 4
    # How the sets of one kind share its part of the batch. "size": every image equally often |
    # "equal": every set
    cfg.DATALOADER.HYBRID.DRAW = "size"
    cfg.INPUT.HYBRID = CN()
    # (height, width) that a view of a scene is fitted into, times a random scale; what is larger is
    # cut to a random window of that size. The scales are a usual range.
    cfg.INPUT.HYBRID.SCENE_SIZE = (600, 1000)
    cfg.INPUT.HYBRID.SCENE_SCALE = (0.8, 1.2)
    # How a picture of a person becomes a scene, filled with the pixel mean. "expand_resize": on a
    # canvas EXPAND_RATIO times as large (as mmdetection's Expand), resized to CANVAS_SIZE (height,
    # width) | "random_paste": at its own size, on a canvas of PASTE_SIZE
    cfg.INPUT.HYBRID.CANVAS = "expand_resize"
    cfg.INPUT.HYBRID.CANVAS_SIZE = (512, 256)
    cfg.INPUT.HYBRID.EXPAND_RATIO = (1.0, 4.0)
    cfg.INPUT.HYBRID.PASTE_SIZE = (900, 900)
    # Views of scenes: how far brightness, contrast, saturation and hue change, and how often
    # (SimSiam). Views of persons keep their colors (LUPerson), and are erased instead
    # (INPUT.REID.ERASE_PROB). Of both: how often they are gray, and blurred.
    cfg.INPUT.HYBRID.COLOR_JITTER = (0.4, 0.4, 0.4, 0.1)
    cfg.INPUT.HYBRID.JITTER_PROB = 0.8
    cfg.INPUT.HYBRID.GRAY_PROB = 0.2
    cfg.INPUT.HYBRID.BLUR_PROB = 0.5
    # Of HybridPretrainer. Weight of the loss between two views of persons without identity (eta).
    cfg.MODEL.HYBRID = CN()
    cfg.MODEL.HYBRID.SIAMESE_WEIGHT = 1.0
    # Adversarial alignment of domains, the data sets: "intra": those of one task, detection or
    # re-ID (IAM) | "inter": detection with re-ID. Any of them; (): none
    cfg.MODEL.HYBRID.ALIGN = ("intra",)
    # Weight of the losses of the domain classifiers (lambda), and within it that of the consistency
    # of image and instances. What reaches the features is REVERSAL times as much, against the
    # classifiers. (Chen et al., CVPR 2018: 1, .1, .1.) REVERSAL 0: classifiers that only watch.
    cfg.MODEL.HYBRID.ALIGN_WEIGHT = 1.0
    cfg.MODEL.HYBRID.CONSISTENCY_WEIGHT = 0.1
    cfg.MODEL.HYBRID.REVERSAL = 0.1
    # "constant" | "sigmoid": grows from 0 to REVERSAL (Ganin and Lempitsky, ICML 2015)
    cfg.MODEL.HYBRID.REVERSAL_SCHEDULE = "constant"

    # -------------------------------------------------------------------------- schedule
    # "SGD" | "Adam" | "AdamW"
    cfg.SOLVER.OPTIMIZER = "SGD"
    # A batch goes through the model in so many parts, one after the other, and makes one step: less
    # memory, the same step but for batch norm (and losses that are no mean over images).
    cfg.SOLVER.ACCUMULATE = 1
    # Of SOLVER.AMP.ENABLED: "float16" | "bfloat16"; "": float16 on a GPU, bfloat16 on a CPU
    cfg.SOLVER.AMP.DTYPE = ""
    # The same at test, where embeddings stay float32
    cfg.TEST.AMP = CN({"ENABLED": False, "DTYPE": ""})
    # Schedules in epochs, as papers write them. EPOCHS > 0 overrides MAX_ITER, STEPS,
    # WARMUP_ITERS, CHECKPOINT_PERIOD and TEST.EVAL_PERIOD, using the number of training images
    # and IMS_PER_BATCH, but for keys that the command line names; 0: detectron2's keys hold.
    cfg.SOLVER.EPOCHS = 0
    cfg.SOLVER.STEP_EPOCHS = ()
    cfg.SOLVER.WARMUP_EPOCHS = 0
    # 0: a checkpoint after the last iteration only
    cfg.SOLVER.CHECKPOINT_EPOCHS = 1
    # 0: evaluate after the last iteration only
    cfg.TEST.EVAL_EPOCHS = 0

    # ------------------------------------------------------------------------ evaluation
    # Images of equal size that go through the model together.
    cfg.TEST.IMS_PER_BATCH = 1
    cfg.TEST.SEARCH = CN()
    # Protocols to evaluate, by the names in the data set's metadata ("regular", "multi_view",
    # "gallery_100", ...). (): the data set's default one. ("all",): all of them.
    cfg.TEST.SEARCH.PROTOCOLS = ()
    # Detections below this score are not in the gallery. It moves mAP: it is printed beside it.
    cfg.TEST.SEARCH.SCORE_THRESH = 0.5
    # Also search among the ground-truth boxes (upper bound without detection errors).
    cfg.TEST.SEARCH.GT_BOXES = False
    # Multiply a gallery similarity by its detection score (class weighted similarity of NAE).
    cfg.TEST.SEARCH.SCORE_WEIGHTING = False
    # Context bipartite graph matching of SeqNet: (k1 detections, k2 context persons); (): off
    cfg.TEST.SEARCH.CBGM = ()
    # Also report with k-reciprocal re-ranking (Zhong et al., CVPR 2017): (k1, k2, lambda, number of
    # most similar detections that are re-ranked), as (20, 6, 0.3, 1000); (): off
    cfg.TEST.SEARCH.RERANK = ()
    # "corrected": every frame counts once, the query's own frame never | "reference": as the
    # public scripts count (CUHK-SYSU's doubled rows twice, its own-frame rows kept)
    cfg.TEST.SEARCH.CONVENTIONS = "corrected"
    # Save detections and embeddings as results_<data set>.npz in OUTPUT_DIR/inference.
    cfg.TEST.SEARCH.SAVE_RESULTS = True


def read_config(path: str, opts: Sequence[str] = ()) -> CN:
    """The config of a YAML file, with ``KEY VALUE`` pairs that override it.

    Args:
        path: a path, or a name such as "PRW/stl_mrfp.yaml", see :func:`find_config`.
        opts: keys and values in turn.

    Raises:
        ConfigError: the file cannot be read, or a key or value is not legal.
    """
    cfg = get_cfg()
    add_person_search_config(cfg)
    values = load_config_file(find_config(path))
    if values.get("VERSION", cfg.VERSION) != cfg.VERSION:
        raise ConfigError(f"{path}: VERSION is {values['VERSION']!r}; legal: {cfg.VERSION}")
    try:
        cfg.merge_from_other_cfg(CN(values))
        cfg.merge_from_list(list(opts))
    except Exception as error:  # yacs raises all kinds
        reason = " ".join(str(error).split())
        raise ConfigError(f"{path} {' '.join(map(str, opts))}: {reason}") from error
    return cfg
