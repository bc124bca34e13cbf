import csv

import pytest
from photos import class_folders
from small_runs import carried_out

from thawlab.predict import main
from thawlab.record import read_predictions
from thawlab.use import images_below

PLAIN = ("logger=none", "logger.progress=off")


@pytest.fixture
def photos(tmp_path):
    return class_folders(tmp_path / "photos")


@pytest.mark.parametrize("given", ["run", "sweep"])
def test_it_prints_what_the_run_itself_said(tmp_path, photos, given, capsys):
    small = ["dataset=folder", f"dataset.root={photos}", "trainer.epochs=1", "trainer.batch_size=6", *PLAIN]
    left = carried_out(tmp_path / "sweep" / "run", "strategy=scratch", small=small)
    capsys.readouterr()
    place = {"run": left.folder, "sweep": left.folder.parent}[given]
    assert main([str(place), str(photos / "test")]) == 0
    rows = list(csv.DictReader(capsys.readouterr().out.splitlines()))
    assert {row["image"] for row in rows} == {str(path) for path in images_below(photos / "test")}
    said = {row["name"]: row["predicted"] for row in read_predictions(left.folder)}
    assert all(row["predicted"] == said[row["image"].removeprefix(f"{photos}/")] for row in rows)

    one = images_below(photos / "test")[0]
    assert main([str(place), str(one)]) == 0
    assert list(csv.DictReader(capsys.readouterr().out.splitlines())) == rows[:1]

    assert main([str(place), str(tmp_path / "sweep")]) == 2
    assert "no image files" in capsys.readouterr().err
