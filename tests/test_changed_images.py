"""What becomes of a run whose images change while it goes on."""

import pytest
from photos import laid_out, named_pngs, packed, png
from small_runs import config_of, from_weights

from thawlab import run as run_module
from thawlab.record import Record

QUICK = ("trainer.batch_size=4", "logger=none", "logger.progress=off", "trainer.epochs=1", "dataset=folder")


def written_over(path):
    path.write_bytes(png(777))  # another picture, as sound as the first


def deleted(path):
    path.unlink()


def of_the_same_pixels(path):
    """Bytes that decode to the same are another file all the same: the record names the first."""
    from PIL import Image

    image = Image.open(path).copy()
    image.save(path, compress_level=0)


@pytest.fixture
def run_meanwhile(tmp_path, monkeypatch):
    """Carry out a run, during which `change` happens to each training image once all are split; give its record."""

    def run(change, *words):
        root = laid_out(tmp_path / "photos", named_pngs())
        trains = run_module.train

        def train(prepared, folder):
            for name in prepared.splits.train.names:
                change(root / name)
            return trains(prepared, folder)

        monkeypatch.setattr(run_module, "train", train)
        given = [*from_weights(tmp_path, "demo"), f"cache.folder={tmp_path / 'none yet'}", *words]
        config = config_of(*given, f"dataset.root={root}", "strategy=full", small=QUICK)
        record = run_module.run(config, tmp_path / "run")
        assert Record.read(tmp_path / "run") == record
        return record

    return run


@pytest.mark.parametrize(
    ("change", "said"),
    [
        pytest.param(written_over, "has other content than when the run began. It was readable", id="written over"),
        pytest.param(deleted, "cannot be read any more: No such file or directory. It was readable", id="deleted"),
        pytest.param(of_the_same_pixels, "has other content", id="saved again with the same pixels"),
    ],
)
@pytest.mark.parametrize("words", [["cache=off"], ["cache=auto"]], ids=["cache off", "cache auto"])
def test_an_image_that_changes_during_a_run_ends_it(change, said, words, run_meanwhile, tmp_path):
    record = run_meanwhile(change, *words)
    assert record.status == "failed"
    assert record.reason.startswith(f"{tmp_path}/photos/")
    assert said in record.reason
    assert record.reason.endswith("leave the files alone while a run reads them, and start it again.")


@pytest.mark.slow
def test_a_worker_process_tells_it_in_the_same_words(run_meanwhile, tmp_path):
    record = run_meanwhile(written_over, "cache=off", "trainer.workers=2")
    assert record.status == "failed"
    assert record.reason.startswith(f"{tmp_path}/photos/")
    assert len(record.reason.splitlines()) == 1


def test_pixels_that_were_kept_of_the_first_content_serve_the_run(run_meanwhile, tmp_path):
    folder = f"cache.folder={tmp_path / 'cache'}"
    assert run_meanwhile(lambda path: None, "cache=on", folder).status == "finished"
    record = run_meanwhile(written_over, "cache=on", folder, "seed=1")
    assert (record.status, record.reason) == ("finished", None)


def test_the_images_of_an_archive_are_held_to_what_they_were(tmp_path, monkeypatch):
    root = packed(tmp_path / "photos.tar", named_pngs())
    trains = run_module.train

    def train(prepared, folder):
        content = bytearray(root.read_bytes())
        for start in range(0, len(content) - 8, 512):
            if content[start : start + 4] == b"\x89PNG":
                content[start + 60] ^= 1
        with root.open("r+b") as file:  # in place, as a failing disk would
            file.write(content)
        return trains(prepared, folder)

    monkeypatch.setattr(run_module, "train", train)
    weights = from_weights(tmp_path, "demo")
    config = config_of(*weights, f"dataset.root={root}", "strategy=full", "cache=off", small=QUICK)
    record = run_module.run(config, tmp_path / "run")
    assert record.status == "failed"
    assert "has other content than when the run began" in record.reason
