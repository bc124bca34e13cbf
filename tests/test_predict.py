import csv

import pytest
from photos import class_folders
from small_runs import carried_out

from thawlab.predict import main
from thawlab.run_files import read_predictions
from thawlab.use import images_below

PLAIN = ("logger=none", "logger.progress=off")


@pytest.fixture
def photos(tmp_path):
    return class_folders(tmp_path / "photos")


def carried_out_on(photos, folder):
    small = ["dataset=folder", f"dataset.root={photos}", "trainer.epochs=1", "trainer.batch_size=6", *PLAIN]
    return carried_out(folder, "strategy=scratch", small=small)


@pytest.mark.parametrize("given", ["run", "sweep"])
def test_it_prints_what_the_run_itself_said(tmp_path, photos, given, capsys):
    left = carried_out_on(photos, tmp_path / "sweep" / "run")
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

    (tmp_path / "empty").mkdir()
    assert main([str(place), str(tmp_path / "empty")]) == 2
    assert "no image files" in capsys.readouterr().err
    assert main([str(place), str(tmp_path / "fotos")]) == 2
    assert f"{tmp_path / 'fotos'} does not exist" in capsys.readouterr().err


def test_a_corrupt_image_is_told_and_costs_no_other(tmp_path, photos, capsys):
    run = carried_out_on(photos, tmp_path / "run").folder
    good = images_below(photos / "test")
    broken = photos / "test" / "0.jpg"
    broken.write_bytes(b"no picture")
    capsys.readouterr()
    assert main([str(run), str(photos / "test")]) == 0
    out, err = capsys.readouterr()
    assert [row["image"] for row in csv.DictReader(out.splitlines())] == [str(path) for path in good]
    assert err == (
        f"Left out: {broken} is not an image of a known format\n"
        f"1 of {len(good) + 1} files cannot be read as images, and were left out.\n"
    )

    assert main([str(run), str(broken)]) == 2
    assert capsys.readouterr().out == ""
