import json
import subprocess
import sys
from pathlib import Path

import pytest
from photos import class_folders
from planted_similarity import DEMO, EARLY_BEST, planted
from small_runs import config_of, from_weights

from thawlab.advice import Advice, advise
from thawlab.advise import main
from thawlab.prepare import specs_of
from thawlab.similarity import gathering

SCRIPT = Path(__file__).parents[1] / "scripts" / "advise.py"


@pytest.fixture
def demo(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return ["backbone=timm", "backbone.size=32", *from_weights(tmp_path, "demo")]


def commands_in(out):
    return [line.strip() for line in out.splitlines() if " strategy=" in line]


def test_a_folder_alone_is_enough(demo, tmp_path, capsys):
    class_folders(tmp_path / "photos")
    words = [*demo, "dataset.root=photos", "optimizer.lr=0.5"]
    assert main([*words, "--json=said.json"]) == 0
    out = capsys.readouterr().out
    advice = Advice.from_plain(json.loads(Path("said.json").read_text()))
    shown = {row.split()[0]: row.split()[1:] for row in out.splitlines() if row.strip().startswith(DEMO)}
    for one in advice.similarity.stages:
        assert shown[one.stage][0] == str(one.width)
        assert shown[one.stage][1] == f"{100 * one.linear_probe:.1f}"
        assert shown[one.stage][3] == f"{one.log_evidence:.3f}"
    assert advice.reason in " ".join(out.split())
    assert f"{advice.title[1:]}" in out
    assert "its source was small pictures of characters; for photographs take, say, backbone=resnet18" in out
    first = commands_in(out)[0]
    assert first == f"thawlab dataset=folder {' '.join([*demo, 'dataset.root=photos'])} {advice.words}"
    specs = specs_of(config_of(*first.split()[1:], small=()))
    assert specs.strategy == advice.strategy
    assert specs.dataset.source == "folder"
    assert not (tmp_path / "outputs" / "runs").exists(), "nothing is trained"


def test_each_way_that_was_close_has_its_command(demo, capsys, monkeypatch):
    similarity = planted(EARLY_BEST, random_probe=None, leep=None, notes=("measured on a sample",))
    monkeypatch.setattr(gathering, "measure", lambda *_: similarity)
    assert main([*demo, "strategy=auto", "dataset.per_class=5"]) == 0
    out = capsys.readouterr().out
    advice = advise(similarity, DEMO, 50)
    shown = commands_in(out)
    assert len(shown) == 1 + len(advice.close)
    for line, words in zip(shown, [advice.words, *(one.words for one in advice.close)], strict=True):
        assert line.endswith(words)
    assert "measured on a sample" in out
    assert "random" not in out.split("Case")[0]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        pytest.param(["dataset.root=nowhere"], "nowhere", id="no folder"),
        pytest.param(["strategy=full"], "strategy=full chooses a strategy, but this command says which", id="chosen"),
        pytest.param(["strategy.train=0"], "strategy.train is 0, but strategy=auto chooses it", id="half chosen"),
        pytest.param(["-m", "seed=0,1"], "-m makes a run of each value", id="a sweep"),
        pytest.param(["experiment=four_cases"], "study.kind is four_cases, which is many runs", id="a study"),
        pytest.param(["--json=nowhere/a.json"], "--json is nowhere/a.json", id="no place for the file"),
        pytest.param(["backbone=resnet81"], "Did you mean 'resnet18'", id="a typo"),
        pytest.param(["backbone.weights=gone.safetensors"], "gone.safetensors", id="no weights"),
    ],
)
def test_what_cannot_work_ends_with_one_message(tmp_path, monkeypatch, capsys, words, says):
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    out, err = capsys.readouterr()
    assert says in err
    assert "Traceback" not in out + err
    assert out == ""


def test_the_script_explains_itself():
    done = subprocess.run([sys.executable, SCRIPT, "--help"], capture_output=True, text=True, check=True)
    assert "--json" in done.stdout
