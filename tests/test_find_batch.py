import pytest
from small_runs import SMALL, from_weights

from thawlab import batch_finder
from thawlab.batch_finder import Found
from thawlab.batch_search import Attempt
from thawlab.find_batch import main


@pytest.fixture
def asked(monkeypatch):
    """Nothing is tried; gives what was asked for."""
    questions = []

    def pretended(config, images, limits, tell):
        questions.append((config["trainer"]["batch_size"], images, limits.share, limits.most, limits.available))
        tell(Attempt(4, 4, 2**30))
        return Found(32, "planted")

    monkeypatch.setattr(batch_finder, "find", pretended)
    return questions


def test_the_command_says_what_to_type(tmp_path, monkeypatch, capsys, asked):
    monkeypatch.chdir(tmp_path)
    words = [*SMALL, *from_weights(tmp_path, "demo"), "strategy=freeze"]
    assert main([*words, "--memory=2", "--memory-share=0.5", "--max", "64"]) == 0
    assert asked == [("auto", 40, 0.5, 64, 2 * 2**30)]
    out = capsys.readouterr().out
    assert "  tried 4 images: 1.00 GiB\n" in out
    assert "batch size 32: planted" in out
    assert "  trainer.batch_size=32\n" in out


@pytest.mark.parametrize(
    ("words", "says"),
    [
        pytest.param(["-m", "strategy=freeze,full"], "-m makes a run of each value", id="a sweep"),
        pytest.param(["dataset=digitz"], "Did you mean 'digits'", id="a typo"),
        pytest.param(["--memory-share=1.5"], "--memory-share is 1.5", id="share"),
    ],
)
def test_what_cannot_work_ends_with_one_message(tmp_path, monkeypatch, capsys, asked, words, says):
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    assert says in capsys.readouterr().err
    assert not asked
