"""Config files and words made to run code before a run begins: none does, and each is named."""

import logging.config
import os
import pickle
from pathlib import Path

import hostile
import pytest
import yaml
from hydra.utils import instantiate

from thawlab import compose


@pytest.fixture(autouse=True)
def _handlers():
    """Hydra adds some to print what it is asked to show."""
    before = list(logging.getLogger().handlers)
    yield
    logging.getLogger().handlers[:] = before


SMALL = "backbone=demo dataset.per_class=2 trainer.epochs=1 trainer.batch_size=4 logger=none logger.progress=off"
MAKES = {"name": "marker"}  # what os.makedirs is called with
TARGET = {"_target_": "os.makedirs", **MAKES}
FACTORY = {"()": "os.makedirs", **MAKES}
WRITES = {"class": "logging.FileHandler", "filename": "marker"}


def root(**handlers):
    return {"handlers": handlers, "root": {"level": "INFO", "handlers": list(handlers)}}


# Contents of a config file for each way in; what it must be refused for.
FILES = {
    "a callback": ({"hydra": {"callbacks": {"x": TARGET}}}, "hydra.callbacks.x._target_"),
    "a callback deep in another": (
        {"hydra": {"callbacks": {"x": {"_target_": "hydra.experimental.callbacks.LogJobReturnCallback", "a": TARGET}}}},
        "hydra.callbacks.x.a._target_",
    ),
    "through a trusted module": (
        {"hydra": {"callbacks": {"x": {"_target_": "hydra.experimental.callbacks.Path.mkdir", "self": "marker"}}}},
        "hydra.callbacks.x._target_",
    ),
    "a partial": ({"hydra": {"callbacks": {"x": {**TARGET, "_partial_": True}}}}, "hydra.callbacks.x._target_"),
    "in a list": ({"hydra": {"callbacks": {"x": {"y": [TARGET]}}}}, "hydra.callbacks.x.y.0._target_"),
    "callbacks out of a text": (
        {"hydra": {"callbacks": {"x": "${oc.decode:'{_target_: os.makedirs, name: marker}'}"}}},
        "hydra.callbacks.x",
    ),
    "a name out of a variable": (
        {"hydra": {"callbacks": {"x": {**TARGET, "_target_": "${oc.env:CALLED}"}}}},
        "hydra.callbacks.x._target_",
    ),
    "the launcher": ({"hydra": {"launcher": {"_target_": "evil.build"}}}, "hydra.launcher._target_"),
    "the sweeper": ({"hydra": {"sweeper": {"_target_": "evil.build"}}}, "hydra.sweeper._target_"),
    "what is swept": (
        {"hydra": {"sweeper": {"params": {"backbone.function": "evil.py:build"}}}},
        "hydra.sweeper.params",
    ),
    "a sweep unasked": ({"hydra": {"mode": "MULTIRUN"}}, "hydra.mode"),
    "a handler's factory": ({"hydra": {"job_logging": root(x=FACTORY)}}, "hydra.job_logging.handlers.x.()"),
    "a handler's class": (
        {"hydra": {"job_logging": root(x={"class": "os.makedirs", **MAKES})}},
        "hydra.job_logging.handlers.x.class",
    ),
    "a formatter": (
        {"hydra": {"job_logging": {"formatters": {"x": FACTORY}}}},
        "hydra.job_logging.formatters.x.()",
    ),
    "a filter": ({"hydra": {"job_logging": {"filters": {"x": FACTORY}}}}, "hydra.job_logging.filters.x.()"),
    "Hydra's own logging": ({"hydra": {"hydra_logging": root(x=FACTORY)}}, "hydra.hydra_logging.handlers.x.()"),
    "an imported module": (
        {"hydra": {"job_logging": root(x={"class": "logging.StreamHandler", "stream": "ext://evil.build"})}},
        "hydra.job_logging.handlers.x.stream",
    ),
    "a log file elsewhere": ({"hydra": {"job_logging": root(x=WRITES)}}, "hydra.job_logging.handlers.x.filename"),
    "a log file above": (
        {"hydra": {"job_logging": root(x={**WRITES, "filename": "${hydra.runtime.output_dir}/../../../marker"})}},
        "hydra.job_logging.handlers.x.filename",
    ),
    "a handler's attributes": (
        {"hydra": {"job_logging": root(x={"class": "logging.NullHandler", ".": {"baseFilename": "marker"}})}},
        "hydra.job_logging.handlers.x",
    ),
    "variables of other programs": ({"hydra": {"job": {"env_set": {"LD_PRELOAD": "evil.so"}}}}, "hydra.job.env_set"),
    "another place for configs": ({"hydra": {"output_subdir": "../../marker"}}, "hydra.output_subdir"),
    "a function": ({"backbone": {"function": "evil.py:build"}}, "backbone.function"),
    "a function of a module": ({"backbone": {"function": "evil:build"}}, "backbone.function"),
    "an optimizer's options": ({"optimizer": {"options": TARGET}}, "optimizer.options._target_"),
    "a thaw schedule": ({"strategy": {"rates": {"_target_": 1}}}, "strategy.rates._target_"),
}


@pytest.fixture
def conf(tmp_path, monkeypatch):
    """A folder of config files of somebody's; beside it a module and variables that make a marker."""
    monkeypatch.delenv("THAWLAB_TRUST", raising=False)
    monkeypatch.setenv("CALLED", "os.makedirs")
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "evil.py").write_text("import os, torch\nos.mkdir('marker')\nbuild = torch.nn.Identity\n")

    def write(content, name="experiment/evil.yaml"):
        path = tmp_path / "theirs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        text = content if isinstance(content, str) else yaml.safe_dump(content)
        path.write_text(text if "@package" in text else f"# @package _global_\n{text}")
        return f"hydra.searchpath=[file://{tmp_path / 'theirs'}]"

    return write


def refused(command, words, said):
    ended = command(words)
    assert ended.status == 2, ended
    assert said in ended.err, ended.err
    assert not Path("marker").exists()
    assert not Path("outputs").exists()


@pytest.mark.parametrize("multirun", ["", "-m "], ids=["run", "sweep"])
@pytest.mark.parametrize(("content", "said"), FILES.values(), ids=FILES)
def test_a_config_file_runs_nothing(content, said, multirun, conf, command):
    search = conf(content)
    refused(command, f"{multirun}{SMALL} {search} experiment=evil", said)


GROUPS = {
    "hydra/callbacks": ("# @package hydra.callbacks\nx: {_target_: os.makedirs, name: marker}", "hydra.callbacks.x"),
    "hydra/launcher": ("# @package hydra.launcher\n_target_: os.makedirs\nname: marker", "launch.jobs"),
    "hydra/sweeper": ("# @package hydra.sweeper\n_target_: os.makedirs\nname: marker", "launch.jobs"),
    "hydra/job_logging": (
        "# @package hydra.job_logging\nversion: 1\nroot: {handlers: [x]}\n"
        "handlers: {x: {(): os.makedirs, name: marker}}",
        "hydra.job_logging.handlers.x.()",
    ),
    "hydra/launcher, with words of a shell": (
        "# @package hydra.launcher\n_target_: hydra_plugins.hydra_submitit_launcher.submitit_launcher.LocalLauncher\n"
        "setup: [mkdir marker]",
        "launch.jobs",
    ),
    "hydra/env": ("# @package hydra.job\nenv_set: {PYTHONSTARTUP: evil.py}", "hydra.job.env_set"),
}


@pytest.mark.parametrize("group", GROUPS)
def test_a_chosen_file_of_hydras_own_groups_runs_nothing(group, conf, command):
    content, said = GROUPS[group]
    group = group.partition(",")[0]
    search = conf(content, f"{group}/evil.yaml")
    refused(command, f"-m {SMALL} {search} {group}=evil", said)


@pytest.mark.parametrize("content", [
    pytest.param("seed: !!python/object/apply:os.mkdir [marker]", id="apply"),
    pytest.param("seed: !!python/object/new:os.mkdir [marker]", id="new"),
    pytest.param("seed: !!python/name:evil.build", id="a name"),
    pytest.param("seed: !!python/module:evil", id="a module"),
])  # fmt: skip
def test_yaml_makes_no_objects(content, conf, command):
    refused(command, f"{SMALL} {conf(content)} experiment=evil", "evil.yaml")


WORDS = {
    "a typed target": "+hydra.callbacks.x._target_=os.makedirs +hydra.callbacks.x.name=marker",
    "a typed callback": "+hydra.callbacks.x={_target_:os.makedirs,name:marker}",
    "a typed launcher": "hydra.launcher._target_=os.makedirs +hydra.launcher.name=marker",
    "a function out of a variable": "backbone=function backbone.name=x backbone.function='${oc.env:FUNCTION}'",
}


@pytest.mark.parametrize("words", WORDS.values(), ids=WORDS)
def test_words_call_only_what_is_trusted(words, conf, command, monkeypatch):
    monkeypatch.setenv("FUNCTION", "evil.py:build")
    refused(
        command,
        f"{SMALL.replace('backbone=demo ', '')} {words}",
        "launch.jobs" if "launcher" in words else "THAWLAB_TRUST",
    )


def test_a_file_that_only_the_sweeps_own_config_reads_runs_nothing(conf, command):
    """What stands in place of a swept group is composed for no job, but for the sweep itself."""
    conf("# @package _global_\nhydra: {callbacks: {x: {_target_: os.makedirs, name: marker}}}", "strategy/freeze.yaml")
    theirs = Path("theirs").absolute()
    for path in (compose.config_folder()).rglob("*.yaml"):
        place = theirs / path.relative_to(compose.config_folder())
        place.parent.mkdir(parents=True, exist_ok=True)
        if not place.exists():
            place.write_text(path.read_text())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compose, "config_folder", lambda: theirs)
        refused(command, f"-m {SMALL} strategy=full,scratch", "hydra.callbacks.x._target_")


def test_showing_a_hostile_config_runs_nothing(conf, command):
    everything = {
        "hydra": {"callbacks": {"x": TARGET}, "sweeper": {"_target_": "evil.build"}, "job_logging": root(x=FACTORY)}
    }
    search = conf(everything)
    for flags in ("--cfg all", "--cfg job", "--cfg all --resolve", "--info config", "--info plugins", "--help"):
        command(f"{search} experiment=evil {flags}")
        assert not Path("marker").exists(), flags


@pytest.mark.parametrize("show", ["", "--cfg job ", "--help ", "--info all ", "--version "])
@pytest.mark.parametrize("flag", ["--experimental-rerun", "--experimental-r"])
def test_hydras_rerun_of_a_pickle_is_no_flag_of_ours(show, flag, conf, command, tmp_path):
    (tmp_path / "config.pickle").write_bytes(pickle.dumps(hostile.payload(tmp_path / "marker")))
    refused(command, f"{show}{flag}=config.pickle", flag)


def test_resolvers_give_values_and_call_nothing(conf, command):
    told = command(f"{SMALL} {conf({'sweep': '${oc.env:CALLED}'})} experiment=evil audit=only")
    assert told.status == 0
    refused(command, f"{SMALL} {conf({'sweep': '${eval:1}'})} experiment=evil", "eval")


def test_what_is_trusted_goes_through(conf, command, monkeypatch):
    search = conf({"backbone": {"function": "evil.py:build", "name": "mine"}})
    monkeypatch.setenv("THAWLAB_TRUST", "numpy, evil.py")
    assert "THAWLAB_TRUST" not in command(f"{SMALL} {search} experiment=evil").err
    assert Path("marker").is_dir()
    assert (
        "THAWLAB_TRUST" not in command(f"{SMALL} backbone=function backbone.function=evil.py:build backbone.name=x").err
    )


def test_each_way_in_would_fire(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    instantiate(TARGET)
    os.rmdir("marker")
    logging.config.dictConfig({"version": 1, "disable_existing_loggers": False, "filters": {"x": FACTORY}})
    os.rmdir("marker")
    yaml.unsafe_load("seed: !!python/object/apply:os.mkdir [marker]")
    assert Path("marker").is_dir()
