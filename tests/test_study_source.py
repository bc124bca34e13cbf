"""What the source network cost, and who tells it."""

import json
from importlib.resources import files

import pytest

from thawlab.errors import UserError
from thawlab.record import Record
from thawlab.study.source import source_cost
from thawlab.study.spec import SourceCost


def backbone(name="resnet18", weights=None):
    return {"name": name, "weights": weights}


def test_nobody_tells_of_a_network_from_elsewhere():
    assert source_cost(backbone(), SourceCost()) == {
        "name": "resnet18", "seconds": None, "flops": None, "images": None, "told_by": "nobody"
    }  # fmt: skip


def test_what_the_user_says_comes_first_and_the_rest_is_filled_in():
    told = source_cost(backbone("thawlab_demo"), SourceCost(seconds=7.0))
    assert told["seconds"] == 7.0
    assert told["flops"] > 0
    assert told["told_by"] == "study.source and thawlab's demo.json"
    whole = source_cost(backbone("thawlab_demo"), SourceCost(1.0, 2.0, 3.0))
    assert (whole["flops"], whole["told_by"]) == (2.0, "study.source")


def test_a_runs_folder_tells_what_it_cost(tmp_path):
    costs = {"seconds": {"total": 12.5}, "flops": {"train": 1e12, "train_uncached": 2e12}, "images": 400}
    Record(name="run", status="finished", config={}, costs=costs).write(tmp_path)
    told = source_cost(backbone(weights=str(tmp_path)), SourceCost())
    assert (told["seconds"], told["flops"], told["images"]) == (12.5, 1e12, 400)
    assert told["told_by"] == f"the record of {tmp_path}"
    (tmp_path / "result.json").write_text("{}")
    with pytest.raises(UserError, match="record_version"):
        source_cost(backbone(weights=str(tmp_path)), SourceCost())


def test_a_file_of_weights_tells_nothing(tmp_path):
    assert source_cost(backbone("thawlab_demo", str(tmp_path / "w.safetensors")), SourceCost())["told_by"] == "nobody"


def test_the_demonstration_networks_cost_is_that_of_its_recipe():
    """Operations by hand, three times over: forward, and both gradients but that of the images."""
    forward = sum(2 * 9 * read * width * side**2 for read, width, side in ((3, 16, 32), (16, 32, 16), (32, 64, 8)))
    forward += sum(2 * read * width for read, width in ((256, 128), (128, 64), (64, 133)))
    first = 2 * 9 * 3 * 16 * 32**2  # images need no gradient
    packaged = json.loads(files("thawlab").joinpath("weights", "demo.json").read_text())
    told = source_cost(backbone("thawlab_demo"), SourceCost())
    assert [told[key] for key in ("seconds", "flops", "images")] == [
        packaged[key] for key in ("seconds", "flops", "images")
    ]
    assert packaged["flops"] / packaged["seconds"] < 1e12, "two CPU cores do less"
    assert packaged["images"] == 9 * 38_025
    assert packaged["flops"] == (3 * forward - first) * packaged["images"]
