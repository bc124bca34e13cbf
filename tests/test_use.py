"""A run's network put to use gives what the run itself said of the same images."""

from dataclasses import replace

import numpy as np
import pytest
from photos import class_folders
from PIL import Image
from small_runs import SMALL, carried_out, from_weights

from thawlab import predict
from thawlab.errors import UserError
from thawlab.record import Record
from thawlab.run_files import read_predictions
from thawlab.use import Model, best, images_below, leaders, load

PLAIN = ("logger=none", "logger.progress=off")


@pytest.fixture
def photos(tmp_path):
    return class_folders(tmp_path / "photos")


@pytest.mark.parametrize(
    ("net", "words"),
    [
        pytest.param("demo", ["strategy=full"], id="whole network"),
        pytest.param("resnet", ["strategy=truncate"], id="cut network"),
        pytest.param("vit", ["strategy=freeze", "head=mlp", "head.hidden=[8]"], id="head of several layers"),
        pytest.param("convnext", ["strategy=fresh_top"], id="last stage anew"),
    ],
)
def test_it_predicts_as_the_run_did(tmp_path, photos, net, words):
    weights = tmp_path / "source"
    weights.mkdir()
    small = ["dataset=folder", f"dataset.root={photos}", "trainer.epochs=2", "trainer.batch_size=6", *PLAIN]
    left = carried_out(
        tmp_path / "run", *words, *from_weights(weights, net), small=[*small, "backbone=timm", "backbone.size=32"]
    )
    assert left.record.status == "finished", left.record.reason
    said = {row["name"]: row for row in read_predictions(left.folder)}
    for path in [*weights.iterdir(), *photos.glob("train/*/*")]:
        path.unlink()  # neither is needed any more
    # Nor a device that this machine may lack.
    trainer = {**left.record.config["trainer"], "accelerator": "gpu", "devices": 64, "precision": "fp16"}
    replace(left.record, config={**left.record.config, "trainer": trainer}).write(left.folder)

    model = load(left.folder)
    predicted = model.predict(photos / name for name in said)
    assert len(predicted) == 21
    for prediction, row in zip(predicted, said.values(), strict=True):
        assert prediction.labels == (row["predicted"],)
        assert max(prediction.probabilities) == pytest.approx(float(row["confidence"]), abs=1e-5)
        assert sum(prediction.probabilities) == pytest.approx(1)


@pytest.fixture
def sweep(tmp_path):
    for name, val, test in (("a", 0.7, 0.9), ("b", 0.8, 0.6), ("c", None, 0.5)):
        metrics = {"val/accuracy": {"value": val, "n": 9}, "test/accuracy": {"value": test, "n": 9}}
        Record(name, "finished", {}, metrics=metrics).write(tmp_path / "sweep" / name)
    Record("d", "failed", {}, reason="it broke").write(tmp_path / "sweep" / "d")
    return tmp_path / "sweep"


def test_the_best_run_is_chosen_on_validation_images(sweep):
    assert best(sweep) == sweep / "b"


def test_of_runs_with_equal_scores_the_lowest_validation_loss_decides_and_the_others_are_told(sweep, capsys):
    for name, loss in (("a", 0.3), ("b", 0.5), ("c", None), ("e", 0.4)):
        val = 0.7 if name == "a" else 0.8
        metrics = {"val/accuracy": {"value": val, "n": 9}, "val/loss": {"value": loss, "n": 9}}
        Record(name, "finished", {}, metrics=metrics).write(sweep / name)
    assert leaders(sweep) == [sweep / "e", sweep / "b", sweep / "c"]
    assert best(sweep) == sweep / "e"
    predict.main([str(sweep), str(sweep)])
    assert f"With {sweep / 'e'}, the best of its sweep on validation images (2 more have its score; its loss" in (
        capsys.readouterr().err
    )


def test_runs_on_different_images_have_no_best(sweep):
    for name, tested in (("a", "one"), ("b", "two")):
        replace(Record.read(sweep / name), data={"test_fingerprint": tested}).write(sweep / name)
    with pytest.raises(UserError, match=r"on 3 different sets of images.*Give a run's folder"):
        best(sweep)


def test_what_cannot_be_used_is_said(sweep, tmp_path):
    with pytest.raises(UserError, match="d is failed"):
        load(sweep / "d")
    for name in "abc":
        (sweep / name / "result.json").unlink()
    with pytest.raises(UserError, match="no finished run"):
        load(sweep)
    with pytest.raises(UserError, match="no folder"):
        load(tmp_path / "nowhere")


def test_a_file_that_is_no_image_is_named(tmp_path):
    model = Model(None, None, ("a", "b"))
    (tmp_path / "broken.png").write_bytes(b"no picture")
    with pytest.raises(UserError, match=r"broken\.png is not an image"):
        model.predict([tmp_path / "broken.png"])
    with pytest.raises(UserError, match=r"gone\.png cannot be read"):
        model.predict([tmp_path / "gone.png"])
    told = []
    assert model.predict([tmp_path / "gone.png", tmp_path / "broken.png"], lambda *said: told.append(said)) == []
    assert [path.name for path, _ in told] == ["gone.png", "broken.png"]


def test_images_are_found_in_all_folders_below(photos):
    (photos / "notes.txt").touch()
    found = images_below(photos)
    assert len(found) == 57
    assert found == sorted(found)


def test_several_labels_each_are_all_that_are_likely(tmp_path):
    class Fixed:
        def __call__(self, images):
            return images.new_tensor([[2.0, -1.0, 0.5]]).repeat(len(images), 1)

    Image.new("RGB", (9, 9)).save(tmp_path / "x.png")
    preprocessing = load(carried_out(tmp_path / "run", "strategy=scratch", small=SMALL_DEMO).folder).preprocessing
    (said,) = Model(Fixed(), preprocessing, ("a", "b", "c"), multilabel=True).predict([tmp_path / "x.png"])
    assert said.labels == ("a", "c")
    assert said.probabilities == pytest.approx([1 / (1 + np.exp(-x)) for x in (2.0, -1.0, 0.5)])


SMALL_DEMO = [word for word in SMALL if not word.startswith("backbone")]
