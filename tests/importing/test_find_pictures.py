"""Which picture a name in the annotations means: by evidence, else both are shown."""

import pytest
from looks_alike import GREY, save

from person_search.importing import Place, Reading
from person_search.importing.pictures import Pictures, picture_folders, walk


def find(folder, *names, images=None):
    reading = Reading()
    pictures = Pictures(picture_folders(folder, images))
    found = [pictures.find(name, Place("x", name), reading) for name in names]
    shown = [path and path.removeprefix(f"{folder}/") for path in found]
    return shown, [f.message.replace(str(folder), "") for f in reading.faults]


@pytest.mark.parametrize(
    "on_disk, written",
    [
        ("a/1.png", "a/1.png"),
        ("a/1.png", "a\\1.png"),
        ("a/1.png", "C:\\export\\a\\1.png"),
        ("a/1 2.png", "a/1%202.png"),
        ("a/1.png", "1.png"),  # in a folder that the annotations do not name
        ("a/1.png", "/home/somebody/a/1.png"),  # of another machine
        ("1.png", "images/train/1.png"),  # below another folder
        ("images/default/1.png", "1.png"),
        ("a/1.PNG", "a/1.png"),
        ("a/1.png", "a/1"),
        ("a/1.png", "/data/local-files/?d=a/1.png"),
        ("1.png", "/data/upload/3/1f2e3d4c-1.png"),
        ("1f2e3d4c-1.png", "/data/upload/3/1f2e3d4c-1.png"),
        ("images/1.png", "../../label-studio/data/media/upload/3/1f2e3d4c-1.png"),
        ("a/1.png", "file:///srv/a/1.png"),
        ("a%20b.png", "a%20b.png"),
    ],
)
def test_one_picture_is_meant(tmp_path, on_disk, written):
    save(tmp_path / on_disk, GREY)
    assert find(tmp_path, written) == ([on_disk], [])


def test_two_pictures_may_be_meant(tmp_path):
    for camera in ("cam1", "cam2"):
        save(tmp_path / camera / "1.png", GREY)
    (found,), (message,) = find(tmp_path, "1.png")
    assert found is None
    assert message == "the picture 1.png may be /cam1/1.png or /cam2/1.png: say --images"


def test_another_camera_is_not_meant(tmp_path):
    save(tmp_path / "cam2" / "1.png", GREY)
    (found,), (message,) = find(tmp_path, "cam1/1.png")
    assert found is None and "there is /cam2/1.png, another one?" in message


def test_two_names_of_one_picture(tmp_path):
    """Folders that are missing are left out alike for all names: here they tell pictures apart."""
    save(tmp_path / "1.png", GREY)
    found, (message,) = find(tmp_path, "cam1/1.png", "cam2/1.png")
    assert found == ["1.png", None] and "the picture cam2/1.png is not in" in message


def test_a_picture_that_is_missing(tmp_path):
    save(tmp_path / "other.png", GREY)
    (found,), (message,) = find(tmp_path, "1.png")
    assert found is None and "is missing" in message and "called like /other.png" in message


def test_folders_beside_the_annotations(tmp_path):
    save(tmp_path / "images" / "1.png", GREY)
    (tmp_path / "annotations").mkdir()
    (found,), _ = find(tmp_path / "annotations", "1.png")
    assert found == str(tmp_path / "images" / "1.png")
    (found,), _ = find(tmp_path / "annotations", "1.png", images="../pictures")
    assert found is None


def test_pictures_that_no_annotation_names_are_counted(tmp_path):
    for name in ("1.png", "2.png", "3.png"):
        save(tmp_path / name, GREY)
    reading, pictures = Reading(), Pictures([tmp_path])
    pictures.find("1.png", Place("x"), reading)
    pictures.count_unnamed(reading)
    assert f"2  not in the annotations ({tmp_path / '2.png'})" in str(reading.tally)


def test_links_are_followed_but_not_in_circles(tmp_path):
    save(tmp_path / "a" / "1.png", GREY)
    (tmp_path / "b").symlink_to("a")
    (tmp_path / "a" / "up").symlink_to("..")
    found = [path.removeprefix(f"{tmp_path}/") for path in walk(tmp_path)]
    assert found == ["a/1.png", "b/1.png"]


@pytest.mark.parametrize("name", [None, 3, ["a.png"], {}])
def test_a_name_that_is_no_text(tmp_path, name):
    reading = Reading()
    assert Pictures([tmp_path]).find(name, Place("x", "image 1"), reading) is None
    assert [f.message for f in reading.faults] == [f"the name of the picture is {name!r}, no text"]
