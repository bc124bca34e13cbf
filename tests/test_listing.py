import pytest
from photos import packed

from thawlab.data.listing import list_classes, without_wrapper
from thawlab.data.trees import tree_of
from thawlab.errors import UserError


def list_folder(path):
    return list_classes(without_wrapper(tree_of(str(path))))


@pytest.fixture
def root(tmp_path):
    """Make a folder holding these paths; nothing is opened when listing, so that the files may be empty."""

    def make(*paths):
        for path in paths:
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).write_bytes(b"")
        return tmp_path

    return make


def names(part):
    return {name: [file.name for file in files] for name, files in part.classes.items()}


def test_classes_without_splits_are_all_training_images(root):
    listing = list_folder(root("b/1.JPG", "a/deep/er/2.tif", "a/1.png", "a/10.webp"))
    assert list(listing.parts) == ["train"]
    assert names(listing.parts["train"]) == {"a": ["a/1.png", "a/10.webp", "a/deep/er/2.tif"], "b": ["b/1.JPG"]}
    assert listing.notes == ()


@pytest.mark.parametrize("validation", ["val", "valid", "validation", "Val"])
def test_split_folders_are_known_by_their_names(validation, root):
    paths = [f"{split}/{name}/1.png" for split in ("TRAIN", validation, "test") for name in "ab"]
    listing = list_folder(root(*paths))
    assert set(listing.parts) == {"train", "val", "test"}
    assert names(listing.parts["val"])["b"] == [f"{validation}/b/1.png"]


def test_a_linked_class_folder_counts_and_a_link_within_it_is_ignored(root, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "1.png").write_bytes(b"")
    (elsewhere / "circle").symlink_to(elsewhere)
    folder = root("a/1.png")
    (folder / "b").symlink_to(elsewhere)
    listing = list_folder(folder)
    assert names(listing.parts["train"])["b"] == ["b/1.png"]
    assert "circle" in listing.notes[0]


def test_what_is_ignored_is_counted_at_every_level(root):
    listing = list_folder(root("train/a/1.png", "train/b/1.png", "train/loose.png", "extra/x/1.png", "train/a/x.heic"))
    assert listing.notes == (
        "ignored 3 files and folders that are no images in a class folder, such as extra, loose.png, x.heic",
    )


def test_a_given_split_may_lack_classes(root):
    parts = list_folder(root("train/a/1.png", "train/b/1.png", "train/c/1.png", "test/b/1.png")).parts
    assert {split: list(part.classes) for split, part in parts.items()} == {"train": ["a", "b", "c"], "test": ["b"]}


@pytest.mark.parametrize(
    ("paths", "said"),
    [
        pytest.param([], "0 images and no class folder", id="nothing"),
        pytest.param(["1.png", "2.jpg", "x.txt"], "2 images and no class folder", id="images without classes"),
        pytest.param(["a/1.png"], "one class, 'a'", id="one class"),
        pytest.param(["a/1.png", "b/x.txt"], "without images: b", id="a class without images"),
        pytest.param(["test/a/1.png", "val/a/1.png"], "holds test, val, but no folder train", id="no train"),
        pytest.param(["train/a/1.png", "val/a/1.png", "valid/a/1.png"], "both val and valid", id="two validations"),
        pytest.param(
            ["train/a/1.png", "train/b/1.png", "test/a/1.png", "test/B/1.png"],
            "b only in train; B only in test",
            id="a class that nobody learnt",
        ),
        pytest.param(["train/a/1.png", "test/a/1.png"], "train holds one class, 'a'", id="one class in train"),
    ],
)
def test_refuses(paths, said, root):
    with pytest.raises(UserError, match=said):
        list_folder(root(*paths))


def test_refuses_a_root_that_is_not_there_or_is_a_file(root):
    folder = root("file")
    with pytest.raises(UserError, match="no such folder"):
        list_folder(folder / "nowhere")
    with pytest.raises(UserError, match="that is a file"):
        list_folder(folder / "file")


@pytest.mark.parametrize("ending", [".zip", ".tar.gz"])
@pytest.mark.parametrize("top", ["", "photos/", "./data/photos v1/"])
def test_archives_are_listed_as_folders_are_with_or_without_a_folder_around_everything(ending, top, tmp_path):
    files = dict.fromkeys(["a/1.png", "a/deep/2.JPG", "b/1.png", "a/.x.png", "b/notes.txt"], b"")
    path = packed(tmp_path / f"photos{ending}", {f"{top}{name}": content for name, content in files.items()})
    listing = list_folder(path)
    assert names(listing.parts["train"]) == {"a": ["a/1.png", "a/deep/2.JPG"], "b": ["b/1.png"]}
    assert listing.notes == (
        "ignored 2 files and folders that are no images in a class folder, such as .x.png, notes.txt",
    )


def test_what_macos_adds_to_a_zip_is_ignored(tmp_path):
    files = ["photos/a/1.png", "photos/b/1.png", "__MACOSX/photos/a/._1.png", "photos/.DS_Store", "__MACOSX/._photos"]
    assert names(list_folder(packed(tmp_path / "p.zip", dict.fromkeys(files, b""))).parts["train"]) == {
        "a": ["a/1.png"],
        "b": ["b/1.png"],
    }


def test_splits_within_an_archive(tmp_path):
    files = [f"photos/{split}/{name}/1.png" for split in ("train", "test") for name in "ab"]
    listing = list_folder(packed(tmp_path / "p.tar", dict.fromkeys(files, b"")))
    assert names(listing.parts["test"]) == {"a": ["test/a/1.png"], "b": ["test/b/1.png"]}


@pytest.mark.parametrize(
    ("paths", "said"),
    [
        pytest.param([], "p.zip holds 0 images and no class folder", id="nothing"),
        pytest.param(["cats/1.png"], "p.zip holds one class, 'cats'", id="one class"),
        pytest.param(["p/a/1.png", "p/b/x.txt"], "p.zip/p has class folders without images: b", id="an empty class"),
        pytest.param(["test/a/1.png", "test/b/1.png"], "no folder train", id="a split alone"),
    ],
)
def test_refuses_archives_as_folders(paths, said, tmp_path):
    with pytest.raises(UserError, match=said):
        list_folder(packed(tmp_path / "p.zip", dict.fromkeys(paths, b"")))
