"""Annotations: the published data sets, and exports of programs for labeling."""

import json
from pathlib import Path

from .target import Target


def write_exports(folder: Path) -> None:
    """A small export of each format."""
    from test_mutated_exports import write_seeds

    write_seeds(folder)


def read_export(folder: Path, path: Path) -> None:
    """As ``person-search import`` does, up to its checks."""
    from test_mutated_exports import read_export

    reading = read_export(folder, path.relative_to(folder).parts[0])
    str(reading.tally), [str(fault) for fault in reading.faults]


def write_data_sets(folder: Path) -> None:
    """Small data sets in the layouts of the published ones."""
    import looks_alike as alike

    from person_search.street import draw_street

    street = draw_street(folder / "drawn", "tiny")
    for name in ("PRW", "CUHK-SYSU"):
        (street / name).rename(folder / name)
    box = alike.eurocity_object("pedestrian", (4, 5, 10, 30), ["occluded>40"])
    rider = alike.eurocity_object("rider", (30, 5, 40, 30), children=[box])
    alike.write_eurocity(folder / "ECP", "train", {"roma/roma_00010": [box, rider]})
    rows = [alike.crowdhuman_row([-10, 5, 30, 40], [0, 5, 20, 30], extra={"ignore": 1})] * 2
    alike.write_crowdhuman(folder / "CrowdHuman", "train", {"273271,c": rows, "273278,a": []})
    rows = ["7,1,2,10,20,1,1,0.5", "8,11,2,10,20,0,1,1"]
    alike.write_mot17det(folder / "MOT17Det", {"MOT17-02": {1: rows, 2: rows}})
    lines = {
        "train_bbox.txt": {"a.jpg": [1, 2, 10, 20, 30, 2, 5, 6]},
        "ignore_part_train.txt": {"a.jpg": [40, 5, 10, 10]},
    }
    alike.write_wider(folder / "WIDER_Pedestrian", lines)
    shots = [alike.Shot(person, camera, alike.noise()) for person, camera in ((0, 1), (1, 2))]
    lists = dict.fromkeys(("train", "val", "query", "gallery"), shots)
    alike.write_msmt17(folder / "MSMT17_V1", lists)
    _write_cuhk03(folder / "cuhk03")
    _write_posetrack21(folder / "PoseTrack21")
    _write_own(folder / "own")


def _write_cuhk03(folder: Path) -> None:
    import looks_alike as alike

    names = [f"1_00{person}_{view}_0{view * 5}.png" for person in (1, 2) for view in (1, 2)]
    indices = {"train": [1, 2], "query": [3], "gallery": [4]}
    cells = {(0, person, column): alike.noise() for person in (0, 1) for column in (4, 9)}
    for boxes in ("labeled", "detected"):
        alike.write_cuhk03_release(folder / "cuhk-03.mat", cells, boxes)
        path = folder / f"cuhk03_new_protocol_config_{boxes}.mat"
        alike.write_cuhk03_protocol(path, names, [1, 1, 2, 2], indices)


def _write_posetrack21(folder: Path) -> None:
    from looks_alike import write_posetrack21

    def side(name: str, first: int):
        images = [{"file_name": f"images/{name}/a/{i:06}.jpg", "id": first + i} for i in (0, 1)]
        ignored = {"ignore_regions_x": [[1, 9, 9]], "ignore_regions_y": [[2, 2, 8]]}
        boxes = [{"image_id": first + i, "bbox": [1.5, 2, 10, 20], "person_id": 3} for i in (0, 1)]
        return [images[0] | ignored, images[1]], boxes

    val = side("val", 10)
    write_posetrack21(folder, {"train": side("train", 1), "val": val, "query": val})


def _write_own(folder: Path) -> None:
    from looks_alike import coco_box, coco_image, write_coco

    images = [coco_image(n, camera_id=n) for n in (1, 2)]
    boxes = [coco_box(1, 1, 30, query=1), coco_box(2, 2, 30), coco_box(3, 2, None, ignore=1)]
    for split in ("train", "test"):
        write_coco(folder / f"{split}.json", images, boxes)
    marker = {"format": 1, "kind": "frames", "images": ".", "protocols": ["regular", "multi_view"]}
    (folder / "dataset.json").write_text(json.dumps(marker))


def read_data_set(folder: Path, path: Path) -> None:
    """Both splits of it, and its protocols."""
    from person_search.data import readers
    from person_search.data.readers import coco_style, cuhk_sysu, posetrack21, prw, registration

    for module in (coco_style, cuhk_sysu, posetrack21, prw, registration):
        for function in vars(module).values():
            getattr(function, "cache_clear", lambda: None)()
    name = path.relative_to(folder).parts[0]
    if name == "own":
        for split in ("train", "test"):
            coco_style.load_split(folder / name, split)
        protocols = coco_style.load_protocols(folder / name, "own")
    else:
        reader = next(
            reader
            for reader in vars(readers).values()
            if isinstance(reader, registration.Reader) and name in reader.folders
        )
        splits = reader.splits if name not in ONLY_TRAIN else ("train",)
        for split in splits:
            reader.load(folder / name, split)
        protocols = reader.protocols(folder / name) if reader.protocols_of else {}
    for protocol in protocols.values():
        protocol()


ONLY_TRAIN = ("ECP", "CrowdHuman", "WIDER_Pedestrian")
"""What has no other split here."""

EXPORTS = Target(write_exports, read_export, "*/**/*.[jxt]*")
DATA_SETS = Target(write_data_sets, read_data_set, "*/**/*.[mjot][adx]*")
