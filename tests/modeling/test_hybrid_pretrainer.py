"""Hybrid pre-training: losses of any batch, pairs, what is aligned, and the way into NAE."""

import pytest
import torch
import torch.nn.functional as F
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.modeling import build_model
from detectron2.structures import Boxes, Instances

from person_search.engine import PersonSearchCheckpointer
from person_search.errors import ConfigError
from person_search.labels import UNLABELED
from person_search.modeling.meta_arch.hybrid.pretrainer import HybridPretrainer
from person_search.modeling.meta_arch.hybrid.views import pair, valid_pixels
from person_search.modeling.roi_heads.hybrid_heads import other_views

KINDS = {"toy_crowd": "detection", "toy_city": "detection", "toy_a": "reid", "toy_b": "reid"}
NAE_LOSSES = {"loss_rpn_cls", "loss_rpn_loc", "loss_cls", "loss_box_reg", "loss_oim"}
ALIGN = {"loss_align_scene", "loss_align_crop"}
SMALL = ("MODEL.REID.POOLER_RESOLUTION", (6, 3))


@pytest.fixture(scope="module", autouse=True)
def data_sets():
    for name, kind in KINDS.items():
        DatasetCatalog.register(name, list)
        MetadataCatalog.get(name).set(evaluator_type=kind)
    yield
    for name in KINDS:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)


@pytest.fixture
def make_cfg(tiny_cfg):
    def make(*opts, names=tuple(KINDS)):
        config = "Base-Hybrid-Small.yaml"
        return tiny_cfg(*SMALL, "DATASETS.TRAIN", names, *opts, config=config)

    return make


@pytest.fixture
def build(make_cfg):
    """``build(*opts)``, a tiny model in training, with a table as after some steps."""

    def make(*opts, **more) -> HybridPretrainer:
        torch.manual_seed(0)
        model = build_model(make_cfg(*opts, **more))
        table = model.roi_heads.reid.head.oim.table
        table.copy_(F.normalize(torch.randn(table.shape)))
        return model.train()

    return make


@pytest.fixture
def batch(scenes):
    """``batch(scene ids, crop ids)``: two views of each image, which show the same persons."""

    def make(of_scenes: list[list[int]], of_crops: list[list[int]]) -> list[dict]:
        sizes = {"scene": (96, 128), "crop": (96, 64)}
        inputs = []
        for kind, ids in (("scene", of_scenes), ("crop", of_crops)):
            views = [scenes(ids, *sizes[kind], seed=seed) for seed in range(2)]
            for view in (x for of_view in views for x in of_view):
                view["instances"].gt_index = torch.arange(len(view["instances"]))
            inputs += [
                {"kind": kind, "domain_id": k % 2, "domain": f"{kind}{k % 2}", "views": pair}
                for k, pair in enumerate(zip(*views, strict=True))
            ]
        return inputs

    return make


U = UNLABELED
BATCHES = {
    "usual": ([[U, U, U], [U]], [[0], [1], [U]]),
    "no pair": ([[0, 1], [2]], [[3], [4]]),
    "one pair": ([[0], [1]], [[U], [2]]),
    "a scene with nobody": ([[], [U]], [[0], [U]]),
    "nobody in any scene": ([[], []], [[0], [U]]),
    "crops alone": ([], [[0], [U]]),
    "scenes alone": ([[U], [U, U]], []),
}


@pytest.mark.parametrize("name", BATCHES)
def test_losses_of_any_batch(build, batch, name):
    model = build("MODEL.HYBRID.ALIGN", ("intra", "inter"))
    losses = model(batch(*BATCHES[name]))
    assert losses.keys() == NAE_LOSSES | ALIGN | {"loss_siamese", "loss_align_task"}
    assert all(loss.isfinite() for loss in losses.values())
    sum(losses.values()).backward()
    for parameter, p in model.named_parameters():
        if p.requires_grad:
            assert p.grad is not None and p.grad.isfinite().all(), parameter


@pytest.mark.parametrize("individuals, share_of_ids", [(True, 2 / 6), (False, 1 / 4)])
def test_losses_of_the_two_kinds_weigh_as_in_one_batch(
    build, batch, monkeypatch, individuals, share_of_ids
):
    """As their numbers of images; that of identities as their numbers of classified persons."""
    model = build("MODEL.HYBRID.ALIGN", (), "MODEL.HYBRID.INDIVIDUALS", individuals)
    see, parts = HybridPretrainer._run_views, []

    def noting(self, inputs):
        seen, losses = see(self, inputs)
        parts.append((len(inputs), losses))
        return seen, losses

    monkeypatch.setattr(HybridPretrainer, "_run_views", noting)
    losses = model(batch([[U, 3]], [[0], [1], [2], [U]]))
    assert [number for number, _ in parts] == [1, 4]
    for name in NAE_LOSSES:
        share = share_of_ids if name == "loss_oim" else 1 / 5
        expected = share * parts[0][1][name] + (1 - share) * parts[1][1][name]
        torch.testing.assert_close(losses[name], expected)
    losses = model(batch([[], []], [[0], [1]]))
    torch.testing.assert_close(losses["loss_oim"], parts[-1][1]["loss_oim"])


def test_persons_with_identity_and_those_hardly_visible_are_not_compared():
    one, two = Instances((9, 9)), Instances((9, 9))
    one.gt_index, two.gt_index = torch.tensor([0, 1, -1, 3, 4]), torch.tensor([4, -1, 1, 0, 3])
    one.gt_person_ids = torch.tensor([U, U, U, 7, U])
    two.gt_person_ids = torch.tensor([U, U, U, U, 7])
    rows, others = pair(one, two)
    assert list(zip(rows.tolist(), others.tolist(), strict=True)) == [(0, 3), (1, 2), (4, 0)]


def test_the_other_view_of_a_proposal():
    """Persons 5 and 7, then 7 and 8; a proposal of 6, whom no view shows; and an empty view."""

    def instances(**fields) -> Instances:
        return Instances((9, 9), **fields)

    persons = [
        instances(gt_index=torch.tensor([5, 7]), embeddings=torch.tensor([[3.0, 0], [0, 2]])),
        instances(gt_index=torch.tensor([-1]), embeddings=torch.ones(1, 2)),
        instances(gt_index=torch.tensor([7, 8]), embeddings=torch.tensor([[3.0, 4], [1, 0]])),
        instances(gt_index=torch.zeros(0, dtype=torch.int64), embeddings=torch.zeros(0, 2)),
    ]
    proposals = [
        instances(gt_index=torch.tensor([7, 5, 6, 7])),
        instances(gt_index=torch.tensor([-1])),
        instances(gt_index=torch.tensor([8, 7])),
        instances(proposal_boxes=Boxes(torch.ones(1, 4))),  # as detectron2 leaves background
    ]
    expected = [[0.6, 0.8], [0, 0], [0, 0], [0.6, 0.8], [0, 0], [0, 0], [0, 1], [0, 0]]
    torch.testing.assert_close(other_views(proposals, persons), torch.tensor(expected))


def test_a_person_without_identity_is_recognized_in_the_other_view(build, batch):
    """The loss of identities of a step, recomputed from what the head was given."""
    model = build("MODEL.HYBRID.ALIGN", ())
    oim, calls = model.roi_heads.reid.head.oim, []
    oim.register_forward_pre_hook(lambda _, args: calls.append((*args, oim.table.clone())))
    losses = model(batch([[U, 3]], []))
    ((rows, ids, positives, table),) = calls
    persons = ids >= UNLABELED
    assert {U, 3} <= set(ids.tolist()) and positives[persons].any(dim=1).all()
    expected = []
    for x, number, own in zip(rows[persons], ids[persons], positives[persons], strict=True):
        known = torch.cat([30 * table @ x, torch.zeros(len(oim.queue))])  # the queue is empty
        if number < 0:
            number, known = torch.tensor(len(known)), torch.cat([known, 30 * (own @ x)[None]])
        expected.append(F.cross_entropy(known, number))
    torch.testing.assert_close(losses["loss_oim"], torch.stack(expected).mean())
    assert not positives.requires_grad


def test_the_siamese_loss_is_the_mean_over_images_of_the_mean_over_their_persons(build, batch):
    """By hand, with the identity as predictor; an image without pairs does not count."""
    model = build("MODEL.HYBRID.SIAMESE_WEIGHT", 2.0, "MODEL.HYBRID.ALIGN", ())
    model.predictor = torch.nn.Identity()
    inputs = batch([[U, 3, U, U], [2]], [[U], [1]])
    seen = {}
    for kind in ("scene", "crop"):
        seen[kind], _ = model._run_views([x for x in inputs if x["kind"] == kind])
    scene, crop = (seen[kind].persons for kind in ("scene", "crop"))

    def cosine(one: Instances, two: Instances, row: int) -> torch.Tensor:
        return F.cosine_similarity(one.embeddings[row], two.embeddings[row], dim=0)

    of_scene = torch.stack([cosine(scene[0], scene[2], row) for row in (0, 2, 3)]).mean()
    expected = -(of_scene + cosine(crop[0], crop[2], 0)) / 2
    torch.testing.assert_close(model._siamese_loss(seen), expected)


def test_the_persons_are_embedded_as_at_any_box(build, batch):
    """What RoI heads say of a person is what the branch makes of its box, in the same batch."""
    model = build()
    model.eval()  # batch norm with fixed statistics
    inputs = batch([[U, U], []], [])
    views = [x["views"][0] for x in inputs]
    images = model.preprocess_image(views)
    features = model.backbone(images.tensor)
    proposals, _ = model.proposal_generator(images, features, None)
    model.roi_heads.training = True
    targets = [view["instances"] for view in views]
    persons, losses = model.roi_heads(images, features, proposals, targets)
    assert [len(p) for p in persons] == [2, 0]
    branch, boxes = model.roi_heads.reid, [t.gt_boxes for t in targets]
    branch.training = False
    expected = branch(features, boxes)
    torch.testing.assert_close(torch.cat([p.embeddings for p in persons]), expected)
    maps = branch.maps(features, boxes)
    torch.testing.assert_close(persons[0].maps, maps["res4"])
    torch.testing.assert_close(persons[0].vectors, maps["res5"].amax(dim=(2, 3)))
    assert persons[1].vectors.shape == (0, maps["res5"].shape[1])


def test_only_its_own_kind_reaches_an_alignment(build, batch):
    model = build()
    inputs = batch([[U], [U]], [[0], [1]])
    losses = model(inputs)
    for name, other in (("scene", "crop"), ("crop", "scene")):
        own = torch.autograd.grad(
            losses[f"loss_align_{name}"],
            list(model.alignments[name].parameters()),
            retain_graph=True,
        )
        assert all(g.abs().sum() > 0 for g in own)
        apart = torch.autograd.grad(
            losses[f"loss_align_{name}"],
            list(model.alignments[other].parameters()),
            retain_graph=True,
            allow_unused=True,
        )
        assert all(g is None for g in apart)


def test_without_reversal_the_classifiers_only_watch(build, batch):
    model = build("MODEL.HYBRID.REVERSAL", 0.0)
    losses = model(batch([[U], [U]], [[0], [1]]))
    (losses["loss_align_scene"] + losses["loss_align_crop"]).backward()
    for name, p in model.named_parameters():
        if name.startswith("alignments"):
            assert p.grad.abs().sum() > 0, name
        elif p.grad is not None:
            assert (p.grad == 0).all(), name


def test_the_schedule_ends_with_the_training(build, batch, event_storage):
    """At its start the sigmoid lets no gradient through, at its end all of it."""
    model = build("MODEL.HYBRID.REVERSAL_SCHEDULE", "sigmoid", "SOLVER.MAX_ITER", 100)
    inputs, sizes = batch([[U], [U]], []), []
    for event_storage.iter in (0, 100):
        model.zero_grad()
        model(inputs)["loss_align_scene"].backward()
        sizes.append(sum(float(p.grad.abs().sum()) for p in model.backbone.parameters()))
    assert sizes[0] == 0 and sizes[1] > 0


@pytest.mark.parametrize(
    "names, align, expected",
    [
        (("toy_crowd", "toy_a", "toy_b"), ("intra",), {"crop": 2}),
        (("toy_crowd", "toy_city", "toy_a", "toy_b"), ("inter",), {"task": 2}),
        (("toy_crowd", "toy_city"), ("intra", "inter"), {"scene": 2}),
        (("toy_crowd", "toy_a"), (), {}),
    ],
)
def test_what_is_aligned(build, names, align, expected):
    model = build("MODEL.HYBRID.ALIGN", align, names=names)
    found = {k: a.instance_head[-1].out_features for k, a in model.alignments.items()}
    assert found == expected


def test_padding_is_not_valid():
    maps = torch.zeros(3, 1, 6, 8)
    valid = valid_pixels(maps, (96, 128), [(96, 128), (50, 64), (48, 128)])
    assert valid.sum(dim=(1, 2)).tolist() == [48, 4 * 4, 3 * 8]
    assert valid[1, :4, :4].all() and valid[2, :3].all()


@pytest.mark.parametrize(
    "opts, message",
    [
        (("MODEL.ROI_HEADS.NAME", "NormAwareROIHeads"), "set MODEL.ROI_HEADS.NAME HybridROIHeads"),
        (("MODEL.HYBRID.ALIGN", ("extra",)), "legal: intra, inter"),
        (("MODEL.HYBRID.REVERSAL_SCHEDULE", "step"), "legal: constant, sigmoid"),
    ],
)
def test_illegal_keys_are_errors(make_cfg, opts, message):
    with pytest.raises(ConfigError, match=message):
        build_model(make_cfg(*opts))


def test_a_checkpoint_starts_nae_with_all_but_what_is_of_the_pre_training(
    build, tiny_cfg, tmp_path, scenes
):
    trained = build()
    with torch.no_grad():
        for p in trained.parameters():
            p.add_(torch.randn_like(p) * 0.1)
    PersonSearchCheckpointer(trained, str(tmp_path)).save("hybrid")
    torch.manual_seed(5)
    nae = build_model(tiny_cfg(*SMALL, config="Street/nae.yaml"))
    state = {k: v.clone() for k, v in nae.state_dict().items()}
    PersonSearchCheckpointer(nae).resume_or_load(str(tmp_path / "hybrid.pth"), resume=False)
    source, found = trained.state_dict(), nae.state_dict()
    for key, value in found.items():
        is_memory = ".oim." in key
        assert torch.equal(value, state[key] if is_memory else source[key]), key
    of_pre_training = {k.split(".")[0] for k in source.keys() - found.keys()}
    assert of_pre_training == {"predictor", "alignments"}
    # The same picture gives the same embedding.
    (x,) = scenes([[0]])
    x = {**x, "query_boxes": torch.tensor([[6.0, 10, 26, 70]])}
    with torch.no_grad():
        one, two = (m.eval()([x])[0]["query_embeds"] for m in (trained, nae))
    torch.testing.assert_close(one, two)


def test_a_checkpoint_of_nae_can_be_evaluated_with_the_config_of_the_pre_training(
    make_cfg, tiny_cfg, tmp_path
):
    nae = build_model(tiny_cfg(*SMALL, config="Street/nae.yaml"))
    PersonSearchCheckpointer(nae, str(tmp_path)).save("nae")
    model = build_model(make_cfg())
    path = str(tmp_path / "nae.pth")
    PersonSearchCheckpointer(model, complete=True).resume_or_load(path, resume=False)
