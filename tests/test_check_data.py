import csv
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hostile_images import CORPUS, REFUSED
from PIL import Image
from planted import FLIPPED, altered, clean, digits, put, saved, scene

from thawlab import check_data
from thawlab.check_data import main
from thawlab.data.splits import load_splits

SCRIPT = Path(__file__).parents[1] / "scripts" / "check_data.py"
pytestmark = pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")


@pytest.fixture
def check(tmp_path, monkeypatch, capsys):
    """Check a folder; give the exit status, the findings as dictionaries, and what was printed."""
    monkeypatch.chdir(tmp_path)

    def check(*words, labels="off"):
        status = main(["dataset=folder", *words, f"--labels={labels}", "--out=found"])
        out, err = capsys.readouterr()
        assert "Traceback" not in out + err
        with open("found/findings.csv", encoding="utf-8", errors="surrogateescape", newline="") as file:
            return status, list(csv.DictReader(file)), out

    return check


@pytest.fixture
def root(tmp_path):
    return clean(tmp_path / "photos")


def width(path):
    with Image.open(path) as image:
        return image.width


def of(kind, found):
    return [row for row in found if row["kind"] == kind]


def test_nothing_is_found_where_nothing_is_wrong(check, root):
    status, found, out = check(f"dataset.root={root}")
    assert (status, found) == (0, [])
    assert "Nothing grave was found." in out
    assert "train: 12 (dogs) to 12 (cats) images of a class" in out
    assert not list(Path("found").glob("*.png"))


def test_copies_across_splits_and_classes_are_told_apart(check, root):
    train = (root / "train" / "cats" / "03.png").read_bytes()
    put(root, "test/cats/leak.png", train)
    put(root, "train/dogs/conflict.png", (root / "train" / "cats" / "05.png").read_bytes())
    put(root, "train/dogs/twice.png", (root / "train" / "dogs" / "06.png").read_bytes())
    put(root, "val/cats/again.bmp", saved(scene(7), "BMP"))  # the pixels of train/cats/07.png
    status, found, out = check(f"dataset.root={root}")
    assert status == 1
    assert {row["kind"] for row in found} == {"leak", "conflict", "duplicate"}
    (conflict,) = of("conflict", found)
    names = {("train/cats/05.png", "cats"), ("train/dogs/conflict.png", "dogs")}
    assert {(conflict["name"], conflict["label"]), (conflict["other_name"], conflict["other_label"])} == names
    to_test, to_val = of("leak", found)
    assert (to_test["split"], to_test["name"]) == ("train", "train/cats/03.png"), "training into test images first"
    assert (to_test["other_split"], to_test["other_name"]) == ("test", "test/cats/leak.png")
    assert (to_val["other_name"], to_val["detail"]) == ("val/cats/again.bmp", "other files, the same pixels")
    (twice,) = of("duplicate", found)
    assert {twice["name"], twice["other_name"]} == {"train/dogs/06.png", "train/dogs/twice.png"}
    assert "! 2 pairs are the same picture in two splits" in out


def test_near_copies_are_found_however_they_were_made_and_nothing_else_is(check, root):
    planted = set()
    for number in range(4):
        for how, content in altered(number).items():
            name = f"test/cats/{number} {how}.jpg"
            put(root, name, content)
            planted.add((f"train/cats/{number:02}.png", name))
    status, found, out = check(f"dataset.root={root}")
    assert status == 1
    near = {(row["name"], row["other_name"]) for row in of("near leak", found)}
    assert near == planted, "recall 1, precision 1"
    # The copies of one picture are alike among themselves, and nothing else is.
    among = of("near duplicate", found)
    assert all(row["name"][:11] == row["other_name"][:11] for row in among)
    assert len(among) == 4 * 15
    assert width("found/pairs.png") > 500
    assert "pairs look the same and lie in two splits" in out


def test_labels_that_were_exchanged_are_found_among_digits(check, tmp_path):
    wrong = digits(tmp_path / "digits")
    assert len(wrong) == FLIPPED
    _, found, _ = check(f"dataset.root={tmp_path / 'digits'}", labels="pixels")
    suspected = {row["name"] for row in of("label", found)}
    assert len(suspected & wrong) >= FLIPPED - 1, "recall"
    assert len(suspected - wrong) <= 2, "precision, among 360 images"
    assert all(row["other_label"] != row["label"] for row in of("label", found))
    assert width("found/labels.png") > 200


def test_labels_are_not_doubted_by_what_cannot_tell_the_classes(check, root):
    _, found, out = check(f"dataset.root={root}", labels="pixels")
    assert not of("label", found)
    assert "labels are not judged: by small pictures" in out


def test_a_backbone_judges_labels_where_its_weights_are_here(check, tmp_path):
    wrong = digits(tmp_path / "digits")
    _, found, out = check(f"dataset.root={tmp_path / 'digits'}", labels="backbone")
    assert {row["name"] for row in of("label", found)} >= wrong
    assert "the frozen features of thawlab_demo" in out


def test_without_the_backbones_weights_small_pictures_serve_and_nothing_is_fetched(check, root, monkeypatch):
    monkeypatch.setattr("thawlab.offline.urlopen", lambda *_, **__: pytest.fail("asked the network"))
    monkeypatch.setenv("HF_HUB_CACHE", str(root.parent / "empty"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(root.parent / "empty"))
    _, _, out = check(f"dataset.root={root}", "backbone=resnet18", labels="auto")
    assert "small pictures, for the backbone cannot be had here" in out


def test_every_hostile_file_is_named_and_costs_nothing_else(check, root):
    for one in CORPUS:
        if one.case != "a file without permission":  # root may read it
            one.lay(root / "train" / "cats")
    status, found, out = check(f"dataset.root={root}")
    assert status == 1
    refused = {f"train/cats/{one.name}" for one in CORPUS if one.outcome == REFUSED and one.name != "locked.png"}
    assert {row["name"] for row in of("unreadable", found)} == refused
    assert {Path(row["name"]).name for row in of("several pictures", found)} == {"moving.gif", "moving.webp"}
    assert {Path(row["name"]).name: row["detail"] for row in of("extension", found)} == {"named.jpg": "is PNG"}
    assert {Path(row["name"]).name for row in of("long", found)} == {"strip.png"}
    small = {Path(row["name"]).name for row in of("small", found)}
    assert {"dot.png", "strip.png"} <= small
    assert "inks.jpg" not in small
    assert all(line.isprintable() for line in out.splitlines())
    # Eight times the same picture, stored as EXIF's orientations have it.
    same = {row[side] for row in of("same pixels", found) for side in ("name", "other_name")}
    assert {f"train/cats/exif{k}.png" for k in range(1, 9)} <= same


def test_grey_among_colour_and_small_classes_are_told(check, root):
    put(root, "train/dogs/grey.png", saved(scene(900).convert("L")))
    for i in range(2):
        put(root, f"train/emus/{i}.png", saved(scene(1000 + i)))
    _, found, out = check(f"dataset.root={root}")
    assert [row["name"] for row in of("grey", found)] == ["train/dogs/grey.png"]
    assert {(row["split"], row["label"], row["detail"]) for row in of("few", found)} == {
        ("train", "emus", "emus: 2 images"),
        ("val", "emus", "emus: 0 images"),
        ("test", "emus", "emus: 0 images"),
    }
    assert "train: 2 (emus) to 13 (dogs) images of a class, 6.5 to 1" in out


@pytest.mark.parametrize("words", [["dataset=digits"], ["dataset=shapes", "dataset.images=300"]])
def test_images_without_files_are_checked_as_well(words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main([*words, "--labels=off"]) == 0
    out = capsys.readouterr().out
    assert "Nothing grave was found." in out
    assert not list(tmp_path.iterdir()), "nothing is written unless --out says where"


def test_all_images_are_checked_however_few_a_run_would_train_on(check, root):
    _, _, out = check(f"dataset.root={root}", "dataset.per_class=2")
    assert "72 images of 2 classes" in out


@pytest.mark.parametrize(
    ("words", "says"),
    [
        pytest.param(["-m", "strategy=freeze,full"], "-m makes a run of each value", id="a sweep"),
        pytest.param(["dataset=foldr"], "folder", id="a typo"),
        pytest.param(["dataset=folder", "dataset.root=nowhere"], "there is no such folder", id="no folder"),
    ],
)
def test_what_cannot_be_checked_ends_with_one_message(tmp_path, monkeypatch, capsys, words, says):
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    out, err = capsys.readouterr()
    assert says in err
    assert "Traceback" not in out + err
    assert not list(tmp_path.iterdir())


def test_an_interruption_ends_it_at_once(root, monkeypatch):
    def interrupted(splits, extractor):
        raise KeyboardInterrupt

    monkeypatch.setattr(check_data, "_scanned", interrupted)
    with pytest.raises(KeyboardInterrupt):
        main(["dataset=folder", f"dataset.root={root}", "--labels=off"])


def test_a_scan_that_is_given_up_decodes_no_more(root, monkeypatch):
    from thawlab.checkup import facts
    from thawlab.data.spec import DatasetSpec

    splits = load_splits(DatasetSpec("mine", "folder", str(root)), 0)
    looked = []
    really = facts._look
    monkeypatch.setattr(facts, "_look", lambda *one: looked.append(1) or really(*one))
    scan = facts.scan(splits)
    next(scan)
    scan.close()
    assert len(looked) <= 4 * 8 + 1 < 72


def test_facts_are_of_the_image(root):
    from thawlab.checkup.facts import scan
    from thawlab.data.spec import DatasetSpec

    splits = load_splits(DatasetSpec("mine", "folder", str(root)), 0)
    seen = [facts for facts, _ in scan(splits)]
    assert [one.part for one in seen] == ["train"] * 24 + ["val"] * 24 + ["test"] * 24
    assert [one.name for one in seen[:24]] == list(splits.train.names)
    blocks = np.asarray(scene(0), float).reshape(120, 16, 10, 3).mean(axis=2)  # 16 fields of 10 pixels across
    first = next(one for one in seen if one.name == "train/cats/00.png")
    assert (first.height, first.width, first.labels, first.grey) == (120, 160, ("cats",), False)
    columns = first.thumbnail.reshape(3, 16, 16).mean(axis=1).T
    assert np.abs(columns - blocks.mean(axis=0)).max() < 1


def test_the_script_explains_itself():
    done = subprocess.run([sys.executable, SCRIPT, "--help"], capture_output=True, text=True, check=True)
    assert "--labels" in done.stdout
