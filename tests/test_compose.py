import json
from itertools import product

import pytest
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser

from thawlab import compose
from thawlab.errors import UserError
from thawlab.record import is_finished
from thawlab.schema import register

register()
compose.register_resolvers()


def words_of(jobs):
    return [list(job.overrides) for job in jobs]


@pytest.mark.parametrize(
    "words",
    [
        ["strategy=freeze,full", "seed=0,1,2"],
        ["seed=range(0,3)", "optimizer.lr=choice(0.1,0.01)"],
        ["head=mlp", "head.hidden=[8],[8,4]", "seed=3"],
        ["seed=0", "seed=1,2"],
        ["dataset.name='a b','c,d'"],
        ["+strategy.rates.fc1=0.1,0.2"],
        ["strategy=glob(f*)"],
        [],
    ],
    ids=" ".join,
)
def test_the_jobs_are_those_that_hydra_runs(words):
    found = words_of(compose.jobs(words, multirun=True))
    parser = OverridesParser.create()
    overrides = parser.parse_overrides(["strategy=freeze,fresh_top,full" if "glob" in w else w for w in words])
    (expected,) = BasicSweeper.split_arguments(overrides, None)
    assert found == expected


def test_a_tilde_is_the_users_home_as_in_a_shell(monkeypatch):
    monkeypatch.setenv("HOME", "/home/ada")
    (job,) = compose.jobs(["dataset=folder", "dataset.root=~/photos"], multirun=False)
    assert job.config["dataset"]["root"] == "/home/ada/photos"


def test_the_jobs_are_the_product_in_the_order_written():
    jobs = compose.jobs(["strategy=freeze,full", "seed=0,1"], multirun=True)
    assert [(j.config["strategy"]["name"], j.config["seed"]) for j in jobs] == list(product(("freeze", "full"), (0, 1)))
    assert len({job.name for job in jobs}) == 4


def test_the_configs_are_plain_data():
    (job,) = compose.jobs(["strategy=gradual", "strategy.thaw={when: schedule, schedule: {fc1: 2, fc2: 1}}"], False)
    assert json.loads(json.dumps(job.config)) == job.config
    assert job.config["strategy"]["thaw"]["schedule"] == {"fc1": 2, "fc2": 1}


@pytest.mark.parametrize("word", ["strategy.rates.fc1=0.5", "+strategy.rates.fc1=0.5", "strategy.rates={fc1: 0.5}"])
def test_a_stage_has_a_rate_of_its_own_however_it_is_written(word):
    assert compose.jobs([word], False)[0].config["strategy"]["rates"] == {"fc1": 0.5}


def test_a_sweep_is_named_after_its_command_unless_it_has_a_name():
    (named,) = compose.jobs(["seed=1", "sweep=mine"], True)
    assert named.config["sweep"] == "mine"
    one, other = (compose.jobs(words, True)[0] for words in (["seed=1", "head=mlp"], ["head=mlp", "seed=1"]))
    assert one.config["sweep"] == other.config["sweep"]
    assert compose.jobs(["seed=1"], False)[0].config["sweep"] is None


@pytest.mark.parametrize(
    ("sweep", "folder"), [(None, "runs"), ("", "runs"), ("a b", "a-b"), ("../../etc", "etc"), ("///", "runs")]
)
def test_a_sweep_stays_below_outputs(sweep, folder):
    assert compose.sweep_folder(sweep) == folder


@pytest.mark.parametrize(
    ("content", "finished"),
    [(None, False), ("garbage", False), ('{"record_version": 99}', False), ("", False)],
    ids=["none", "garbage", "another version", "empty"],
)
def test_a_folder_without_a_sound_record_is_not_finished(content, finished, tmp_path):
    if content is not None:
        (tmp_path / "result.json").write_text(content)
    assert is_finished(tmp_path) is finished


def test_words_and_flags_are_told_apart():
    arguments = ["-m", "seed=1,2", "--multirun", "strategy=full"]
    assert compose.overrides_of(arguments) == ["seed=1,2", "strategy=full"]
    assert compose.is_multirun(arguments)
    assert not compose.is_multirun(["seed=1"])


@pytest.mark.parametrize(
    "words",
    [["--config-dir", "mine"], ["--config-dir=mine"], ["-cd", "mine"], ["-cn", "other"], ["-cp", "conf"], ["--multi"]],
    ids=" ".join,
)
def test_flags_that_would_change_what_is_composed_are_refused(words):
    with pytest.raises(UserError, match=rf"^'{words[0]}' is no flag .*hydra\.searchpath=\["):
        compose.jobs(["strategy=full", *words], False)


def test_a_folder_of_ones_own_config_files_is_searched(tmp_path):
    (tmp_path / "strategy").mkdir()
    (tmp_path / "strategy" / "mine.yaml").write_text("name: mine\ntrain: 2\n")
    (job,) = compose.jobs([f"hydra.searchpath=[file://{tmp_path}]", "strategy=mine"], False)
    assert (job.config["strategy"]["name"], job.config["strategy"]["train"]) == ("mine", 2)


def test_a_failed_composition_leaves_hydra_ready_for_the_next():
    with pytest.raises(UserError):
        compose.jobs(["strategy=frezee"], False)
    assert compose.jobs(["strategy=freeze"], False)
