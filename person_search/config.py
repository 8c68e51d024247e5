"""Every config key that this project adds to detectron2's."""

from detectron2.config import CfgNode as CN


def add_person_search_config(cfg: CN) -> None:
    """Add the keys of person search to a config made by :func:`detectron2.config.get_cfg`.

    The defaults are those of STL (Liu et al.): a base of stem..res3, RPN + 7x7 box head on res3,
    and a re-ID branch of res4 and res5 on 32x16 RoI features of res3.
    """
    # ---------------------------------------------------------------------------- the cut
    # Last stage of the base that detector and re-ID branch share; later stages form the
    # identification net of the re-ID branch. "res2" | "res3" | "res4"
    cfg.MODEL.BACKBONE.SPLIT_AT = "res3"
    # Architecture that build_split_backbone cuts: a name in SPLIT_ARCHITECTURE_REGISTRY.
    cfg.MODEL.BACKBONE.ARCHITECTURE = "SplitResNet"
    # Instance-batch normalisation (Pan et al., ECCV 2018). "a": half of the channels after the
    # first conv of every block of res2..res4 | "": plain normalisation everywhere
    cfg.MODEL.RESNETS.IBN = ""

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
    # A name in REID_HEAD_REGISTRY: "SoftmaxHead" | "BagOfTricksHead" (also triplet and center loss)
    cfg.MODEL.REID.HEAD = "SoftmaxHead"
    # Number of identities of the classifier. -1: the sum over DATASETS.TRAIN, read from the data
    # sets' metadata. 0: no classifier (inference without the training data).
    cfg.MODEL.REID.NUM_IDS = -1
    # RoIs that train the re-ID branch. "gt": ground-truth boxes | "gt_jitter": those and up to
    # NUM_JITTER sampled proposals of each with IoU >= JITTER_IOU | "fg": every sampled foreground
    # proposal. The paper is silent; gt_jitter, since the test meets detections, not annotations.
    cfg.MODEL.REID.ROIS = "gt_jitter"
    cfg.MODEL.REID.NUM_JITTER = 2
    cfg.MODEL.REID.JITTER_IOU = 0.7
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

    # ------------------------------------------------------------------------------ data
    # What a training sample is. "frames": whole scenes | "crops": single persons (re-ID
    # pre-training)
    cfg.DATALOADER.SOURCE = "frames"
    # A name in MAPPER_REGISTRY: "PersonSearchMapper" (frames) | "CropMapper" (crops)
    cfg.INPUT.MAPPER = "PersonSearchMapper"
    # Of crops: batches of IMS_PER_BATCH / NUM_INSTANCE identities with NUM_INSTANCE crops each, all
    # identities equally often (STL, section 3.1). False: all crops shuffled.
    cfg.DATALOADER.CLASS_AWARE = True
    cfg.DATALOADER.NUM_INSTANCE = 4
    cfg.INPUT.REID = CN()
    # (height, width) of a crop
    cfg.INPUT.REID.SIZE = (256, 128)
    # Folder that keeps the crops once they are cut out
    cfg.INPUT.REID.CROP_CACHE = "output/crops"
    # Pixels of zero padding before the random crop; 0: none
    cfg.INPUT.REID.PAD = 10
    # Random erasing: how often, and with what. "published": as the code of "Bag of Tricks", which
    # writes ImageNet's mean into the normalised image | "mean": the pixel mean
    cfg.INPUT.REID.ERASE_PROB = 0.5
    cfg.INPUT.REID.ERASE_FILL = "published"

    # -------------------------------------------------------------------------- schedule
    # "SGD" | "Adam"
    cfg.SOLVER.OPTIMIZER = "SGD"
    # Schedules in epochs, as papers write them. EPOCHS > 0 overrides MAX_ITER, STEPS,
    # WARMUP_ITERS, CHECKPOINT_PERIOD and TEST.EVAL_PERIOD, using the number of training images
    # and IMS_PER_BATCH; 0: detectron2's keys hold as they are.
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
    # "corrected": every frame counts once, the query's own frame never | "reference": as the
    # public scripts count (CUHK-SYSU's doubled rows twice, its own-frame rows kept)
    cfg.TEST.SEARCH.CONVENTIONS = "corrected"
    # Save detections and embeddings as results_<data set>.npz in OUTPUT_DIR/inference.
    cfg.TEST.SEARCH.SAVE_RESULTS = True
