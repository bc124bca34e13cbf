"""Whatever a user gets wrong: one message that names it, before any training, exit status 2, no traceback."""

import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from thawlab import compose
from thawlab.errors import UserError, nearest

RESNET = "backbone=resnet18 backbone.size=32"  # no weights of it are at hand
FOLDER = "strategy=scratch dataset=folder"


def draw(path, number):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(number).integers(0, 255, (9, 9, 3), np.uint8)).save(path)


def photos(root, counts):
    for label, (name, count) in enumerate(counts.items()):
        for i in range(count):
            draw(root / name / f"{i}.png", 100 * label + i)


@pytest.fixture
def refused(command, tmp_path, monkeypatch):
    """Run a command that must be refused; returns its message."""
    monkeypatch.setattr("thawlab.run.train", lambda *_: pytest.fail("it was trained"))

    def run(line):
        ended = command(line)
        assert ended.status == 2, ended
        assert ended.err.strip(), "it says why"
        assert not list(tmp_path.rglob("*.csv"))
        if line.startswith("-m") or "-m " in line:
            assert not (tmp_path / "outputs").exists(), "a refused sweep leaves nothing behind"
        return ended.err

    return run


@pytest.mark.parametrize(
    ("line", "said"),
    [
        pytest.param("strategy=frezee", ["strategy is 'frezee'", "'freeze'", "partial"], id="strategy"),
        pytest.param("dataset=digit", ["dataset is 'digit'", "'digits'", "folder"], id="dataset"),
        pytest.param(
            "backbone=resnet19", ["backbone is 'resnet19'", "'resnet18'", "backbone=timm backbone.name="], id="backbone"
        ),
        pytest.param(
            "backbone=timm backbone.name=resnet19", ["backbone.name is 'resnet19'", "resnet18"], id="timm name"
        ),
        pytest.param("strategy.trian=1", ["strategy.trian", "'train'"], id="field"),
        pytest.param("startegy=full", ["startegy", "strategy"], id="group"),
        pytest.param("dataset.percls=3", ["dataset.percls", "'per_class'"], id="field of another group"),
        pytest.param("epochs=3", ["epochs", "trainer.epochs"], id="field without its group"),
        pytest.param(
            "strategy=scratch strategy.train=conv",
            ["strategy.train is 'conv'", "'conv3'", "fc2"],
            id="stage",
        ),
        pytest.param("strategy=scratch strategy.rates.cnv1=0.1", ["strategy.rates", "'cnv1'", "'conv1'"], id="rate"),
        pytest.param("experiment=demo_sauce", ["experiment is 'demo_sauce'", "demo_source"], id="experiment"),
        pytest.param("hydra/launcher=nothing", ["hydra/launcher=nothing", "launch.jobs=2"], id="launcher"),
        pytest.param("audit=onyl", ["audit is 'onyl'", "'only'"], id="audit"),
    ],
)
def test_an_unknown_name_is_refused_with_the_nearest_ones(line, said, refused):
    message = refused(line)
    assert all(part in message for part in said), message


@pytest.mark.parametrize(
    ("line", "said"),
    [
        pytest.param("-m strategy=scratch,frezee", "'freeze'", id="strategy"),
        pytest.param("-m dataset=digits,digit strategy=scratch", "'digits'", id="dataset"),
        pytest.param("-m backbone=demo,dmo strategy=scratch", "'demo'", id="backbone"),
        pytest.param("-m strategy.kep=2,3", "'keep'", id="field"),
        pytest.param("-m strategy=scratch strategy.train=conv2,convv3", "'conv3'", id="stage"),
        pytest.param("-m strategy=scratch trainer.epochs=1,many", "trainer.epochs is many", id="type"),
        pytest.param("-m strategy=scratch optimizer.lr=0.1,-1", "optimizer.lr is -1", id="range"),
        pytest.param("-m strategy=scratch dataset.per_class=5,5000", "per_class is 5000", id="too many images"),
        pytest.param("-m strategy=[freeze,full],full", "no name of a strategy", id="a list for a group"),
        pytest.param("-m seed=interval(0,2)", "seed=range", id="an interval"),
        pytest.param("-m seed=0,", "is no setting: a value is missing at its end", id="a comma too many"),
        pytest.param("-m hydra.sweep.dir=elsewhere seed=0,1", "sweep=NAME", id="another folder"),
    ],
)
def test_a_sweep_is_refused_as_a_whole_for_its_second_value(line, said, refused):
    assert said in refused(line)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        pytest.param("strategy.keep=9", ["strategy.keep is 9", "1 to 5", "fc2"], id="keep too much"),
        pytest.param("strategy.keep=0", ["strategy.keep is 0", "1 to 5"], id="keep nothing"),
        pytest.param("strategy.keep=1.5", ["strategy.keep is 1.5", "share above 0"], id="keep more than all"),
        pytest.param("strategy.train=7", ["strategy.train is 7", "0 (the head alone) to 5"], id="train too much"),
        pytest.param("strategy.train=-0.5", ["strategy.train is -0.5"], id="train less than nothing"),
        pytest.param("strategy.keep=2 strategy.train=fc1", ["'fc1'", "does not keep", "conv1"], id="train what is cut"),
        pytest.param("strategy.fresh=6", ["strategy.fresh is 6", "5 stages"], id="fresh too much"),
        pytest.param("trainer.epochs=0", ["trainer.epochs is 0", "1 or more"], id="epochs"),
        pytest.param("seed=-1", ["seed is -1", "0 to 4294967295"], id="seed below"),
        pytest.param("seed=99999999999999999999", ["seed is 9999", "0 to 4294967295"], id="seed above"),
        pytest.param("optimizer.lr=nan", ["optimizer.lr is nan", "finite"], id="not a number"),
        pytest.param("optimizer.weight_decay=inf", ["optimizer.weight_decay is inf", "finite"], id="infinite"),
        pytest.param(
            "trainer.batch_size=500", ["trainer.batch_size is 500", "50 training images", "=50"], id="batch size"
        ),
        pytest.param("logger.images=-1", ["logger.images is -1", "0"], id="pictures"),
        pytest.param("logger.progress=br", ["logger.progress is 'br'", "'bar'"], id="progress"),
    ],
)
def test_a_value_out_of_range_is_refused_with_the_range(line, said, refused):
    message = refused(f"strategy=scratch {line}")
    assert all(part in message for part in said), message


@pytest.mark.parametrize(
    ("line", "said"),
    [
        pytest.param("seed=abc", "seed is abc, but it takes a whole number", id="a word for a number"),
        pytest.param("trainer.epochs=1.5", "trainer.epochs is 1.5, but it takes a whole number", id="a fraction"),
        pytest.param("seed=", "seed is empty", id="nothing"),
        pytest.param("optimizer.lr=null", "optimizer.lr is null, but it takes a number", id="null"),
        pytest.param("rerun=maybe", "rerun is maybe, but it takes true or false", id="neither true nor false"),
        pytest.param("head.hidden=3", "head.hidden is 3, but it takes a list", id="a number for a list"),
        pytest.param("head.hidden=[a]", "head.hidden is [a], but it takes a list of numbers", id="words in a list"),
        pytest.param("strategy.train=true", "strategy.train is True, but it takes a share", id="true for a depth"),
        pytest.param("strategy.rates.fc1=x", "strategy.rates.fc1 is x, but it takes a number", id="a stage's rate"),
        pytest.param("backbone.parts={x:a}", "a list of modules, such as [conv1, layer1]", id="a word for modules"),
        pytest.param("study.sizes=[5,abc]", "study.sizes is [5,abc], but it takes a list", id="a word in sizes"),
        pytest.param("study.sizes=[true]", "study.sizes is [True], but it takes a list of images", id="true in sizes"),
        pytest.param("'study.sizes={a: 1}'", "study.sizes is {a:1}, but it takes a list", id="a mapping for a list"),
        pytest.param("backbone.parts.x=a", "backbone.parts.x is a, but it takes a list of modules", id="of one stage"),
        pytest.param("backbone.parts=a", "backbone.parts is a, but it takes stage names with lists", id="no stages"),
        pytest.param("optimizer.options=3", "is 3, but it takes names of arguments with values", id="no arguments"),
        pytest.param("strategy.thaw={whn:start}", "strategy.thaw.whn", id="a key inside braces"),
        pytest.param("strategy=", "no name of a strategy", id="an empty choice"),
        pytest.param("strategy=3", "no name of a strategy", id="a number for a choice"),
        pytest.param("strategy=[freeze,full]", "-m strategy=", id="a list for a choice"),
        pytest.param("dataset=folder", "dataset.root=FOLDER", id="no folder given"),
        pytest.param("backbone=timm", "backbone.name=", id="no name given"),
        pytest.param("backbone=function", "is not set", id="no function given"),
        pytest.param("dataset.root=${nowhere}", "nowhere", id="an interpolation of nothing"),
        pytest.param("dataset=digits dataset.root=photos", "has no use for it", id="a setting that would do nothing"),
        pytest.param("dataset.root=photos", "give dataset=folder", id="a folder of no data set"),
        pytest.param("dataset.share=0.1", "Give one of them", id="two settings of one thing"),
        pytest.param(
            "experiment=demo_source dataset=digits dataset.images=9", "has no use", id="against an experiment"
        ),
        pytest.param("strategy=freeze,full", "add -m", id="-m forgotten"),
        pytest.param("+new=1", "new is set, but there is no such key", id="a new key"),
        pytest.param("+strategy.new=1", "strategy.new is set, but there is no such key", id="a new key in a group"),
        pytest.param("~seed", "seed=VALUE", id="a key taken away"),
        pytest.param("~strategy", "strategy=VALUE", id="a group taken away"),
        pytest.param("strategy@here=full", "is no setting", id="a package"),
        pytest.param("hydra.nothing=1", "hydra.nothing", id="a key that Hydra lacks"),
        pytest.param("hydra.mode=MULTIRUN", "-m", id="a sweep without saying so"),
        pytest.param("=3", "is no setting", id="no key"),
        pytest.param("seed", "is no setting", id="no value"),
        pytest.param("{", "is no setting", id="garbage"),
    ],
)
def test_what_makes_no_config_is_refused(line, said, refused):
    assert said in refused(line)


def several(root):
    photos(root, {"cats": 6, "dogs": 6})


def differing(root):
    photos(root / "train", {"cats": 5, "dogs": 5})
    photos(root / "test", {"cats": 5, "fish": 5})


def spoilt(root):
    several(root)
    whole = (root / "cats" / "0.png").read_bytes()
    (root / "cats" / "half.png").write_bytes(whole[: len(whole) // 2])
    (root / "cats" / "zero.png").write_bytes(b"")
    (root / "dogs" / "page.jpg").write_text("<html></html>")
    (root / "dogs" / "corrupt.png").write_bytes(whole[:40] + bytes(60) + whole[100:])


@pytest.mark.parametrize(
    ("make", "said"),
    [
        pytest.param(lambda root: None, ["mine", "no such folder"], id="missing"),
        pytest.param(lambda root: root.mkdir(), ["mine", "no class folder"], id="empty"),
        pytest.param(lambda root: photos(root, {"cats": 9}), ["mine", "one class, 'cats'"], id="one class"),
        pytest.param(lambda root: photos(root, {"a": 9, "b": 2}), ["'b' has 2", "needs 3"], id="too few of a class"),
        pytest.param(differing, ["dogs only in train", "fish only in test"], id="test classes differ"),
        pytest.param(
            spoilt,
            ["4 of 16", "half.png", "zero.png", "page.jpg", "corrupt.png", "dataset.bad_images=quarantine"],
            id="unreadable",
        ),
    ],
)
def test_images_that_cannot_be_learnt_from_are_refused(make, said, refused, tmp_path):
    make(tmp_path / "mine")
    message = refused(f"{FOLDER} dataset.root=mine trainer.batch_size=2")
    assert all(part in message for part in said), message


def test_unreadable_images_are_left_out_by_name_in_quarantine(command, tmp_path):
    spoilt(tmp_path / "mine")
    ended = command(
        f"{FOLDER} dataset.root=mine dataset.bad_images=quarantine trainer.batch_size=2 trainer.epochs=1 logger=none"
    )
    assert ended.status == 0, ended
    assert all(name in ended.out for name in ("left out 4", "half.png", "zero.png", "page.jpg", "corrupt.png"))


@pytest.fixture
def weights(tmp_path):
    (tmp_path / "garbage.safetensors").write_bytes(b"x" * 100)
    (tmp_path / "garbage.pth").write_bytes(b"x" * 100)
    save_file({"w": torch.zeros(3)}, tmp_path / "other.safetensors")
    (tmp_path / "run").mkdir()


@pytest.mark.parametrize(
    ("place", "said"),
    [
        pytest.param("missing.safetensors", "there is no file missing.safetensors", id="missing"),
        pytest.param("run", "model.safetensors", id="a run without weights"),
        pytest.param("garbage.safetensors", "cannot be read as weights", id="garbage safetensors"),
        pytest.param("garbage.pth", "cannot be read as weights", id="garbage checkpoint"),
        pytest.param("other.safetensors", "fits this network nowhere: none of ", id="another network's"),
    ],
)
@pytest.mark.usefixtures("weights")
def test_weights_that_do_not_fit_are_refused(place, said, refused):
    message = refused(f"{RESNET} strategy=full backbone.weights={place}")
    assert f"backbone.weights is '{place}'" in message
    assert said in message


def test_pretrained_weights_out_of_reach_are_refused_with_what_to_do(refused, monkeypatch, tmp_path):
    from huggingface_hub import constants
    from huggingface_hub.utils import _http

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(_http.time, "sleep", lambda seconds: None)
    message = refused("backbone=resnet18 strategy=full")
    assert "backbone.name is 'resnet18'" in message
    assert "backbone.weights=" in message
    assert "strategy=scratch" in message


def test_nowhere_to_write_is_refused(refused, tmp_path):
    (tmp_path / "outputs").write_text("a file")
    assert "outputs" in refused("strategy=scratch")


def test_an_error_in_a_config_file_names_the_file(refused, monkeypatch, tmp_path):
    shutil.copytree(compose.config_folder(), tmp_path / "conf")
    (tmp_path / "conf" / "strategy" / "mine.yaml").write_text("name: mine\ntrian: 3\n")
    (tmp_path / "conf" / "strategy" / "broken.yaml").write_text("name: [\n")
    monkeypatch.setattr(compose, "config_folder", lambda: tmp_path / "conf")
    assert "trian" in refused("strategy=mine")
    assert "broken.yaml" in refused("strategy=broken")


def test_nearest_names_every_choice():
    assert nearest("frezee", ["full", "freeze"]) == "Did you mean 'freeze'? Valid: freeze, full."
    assert nearest("xyz", ["full", "freeze"]) == "Valid: freeze, full."
    assert issubclass(UserError, ValueError)
