"""Every file in conf/ composes, says what it is for, and does what it says."""

import re

import pytest
import timm
import yaml

from thawlab import compose
from thawlab.data.spec import MADE_SOURCES
from thawlab.prepare import specs_of
from thawlab.schema import GROUPS, register
from thawlab.stages import split_into_stages
from thawlab.strategy import lay

register()
compose.register_resolvers()
CONF = compose.config_folder()
FILES = sorted(CONF.rglob("*.yaml"))
NEEDED = {  # what a choice leaves to the user
    "backbone=timm": ["backbone.name=regnety_004"],
    "backbone=torchvision": ["backbone.name=resnet18"],
    "backbone=function": ["backbone.name=mine", "backbone.function=nets.py:build"],
    "dataset=folder": ["dataset.root=photos"],
    "dataset=hub": ["dataset.id=owner/photos"],
    "dataset=idx": ["dataset.root=photos"],
    "dataset=shards": ["dataset.root=photos"],
    "dataset=torchvision": ["dataset.id=CIFAR10"],
    "dataset=table": ["dataset.table=labels.csv"],
    "trainer=gpu": ["trainer.accelerator=cpu"],
    "trainer=ddp": ["trainer.accelerator=cpu"],
}
CHOICES = [f"{path.parent.name}={path.stem}" for path in FILES if path.parent != CONF]


def config(*words):
    needed = [word for choice in words for word in NEEDED.get(choice, [])]
    (job,) = compose.jobs([*words, *needed], multirun=False)
    return job.config


@pytest.mark.parametrize("choice", CHOICES)
def test_each_choice_goes_with_the_defaults_of_all_other_groups(choice):
    composed = config(choice)
    assert specs_of(composed).seed == 0
    group, _, name = choice.partition("=")
    own = yaml.safe_load((CONF / group / f"{name}.yaml").read_text())
    given = {key: value for key, value in own.items() if value != "???" and not isinstance(value, dict)}
    if group in GROUPS and choice not in NEEDED:
        assert given.items() <= composed[group].items()


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_each_file_opens_with_what_it_is_for(path):
    lines = [line for line in path.read_text().splitlines() if "@package" not in line]
    comment = [line for line in lines if line.startswith("#")]
    assert lines[: len(comment)] == comment
    assert len(comment[0]) > 10
    if path.parent.name in ("strategy", "backbone", "dataset"):
        assert any("python train.py" in line for line in comment), "its launch command"


COMMANDS = [
    pytest.param(command.split("        ")[0].split(), id=f"{path.parent.name}/{path.stem}: {command.strip()}")
    for path in FILES
    for command in re.findall(r"python train\.py (.*)", path.read_text())
    if "--" not in command and "..." not in command
]


@pytest.mark.parametrize("words", COMMANDS)
def test_each_command_in_a_file_composes(words):
    needed = [word for choice, more in NEEDED.items() if choice in words for word in more]
    missing = [word for word in needed if word.split("=")[0] not in " ".join(words)]
    assert compose.jobs([*words, *missing], multirun="-m" in words)


STAGES = {name: split_into_stages(timm.create_model(name)) for name in ("thawlab_demo", "resnet18")}
S, F, R, N, C = "source", "fresh", "random", "new", "cut"


@pytest.mark.parametrize("network", STAGES)
@pytest.mark.parametrize(
    ("strategy", "weights", "starts"),
    [
        pytest.param("freeze", [S] * 5 + [N], [None] * 5 + [0], id="freeze: the head alone"),
        pytest.param("partial", [S] * 5 + [N], [None] * 2 + [0] * 4, id="partial: the upper half"),
        pytest.param("full", [S] * 5 + [N], [0] * 6, id="full: everything"),
        pytest.param("scratch", [R] * 5 + [N], [0] * 6, id="scratch: everything, from random weights"),
        pytest.param("truncate", [S] * 3 + [C] * 2 + [N], [None] * 5 + [0], id="truncate: the early half, frozen"),
        pytest.param("fresh_top", [S] * 4 + [F, N], [None] * 4 + [0, 0], id="fresh_top: the last stage anew"),
        pytest.param("gradual", [S] * 5 + [N], [10, 8, 6, 4, 2, 0], id="gradual: one stage every two epochs"),
        pytest.param("lp_ft", [S] * 5 + [N], [5] * 5 + [0], id="lp_ft: the head, then everything"),
    ],
)
def test_each_preset_does_what_its_comment_says(strategy, weights, starts, network):
    specs = specs_of(config(f"strategy={strategy}"))
    plan = lay(specs.strategy, STAGES[network], lr=0.01)
    assert [row.weights for row in plan.rows] == weights
    assert [row.first_epoch for row in plan.rows] == starts
    rates = [row.rate for row in plan.kept if row.trains]
    assert rates == sorted(rates), "never faster further down"
    assert rates[-1] == 0.01


def test_every_preset_has_its_plan_tested():
    advised = {"auto"}  # its plan follows from what is measured: tests/test_advising.py
    tested = {"freeze", "partial", "full", "scratch", "truncate", "fresh_top", "gradual", "lp_ft"}
    assert {path.stem for path in (CONF / "strategy").glob("*.yaml")} == tested | advised


def test_the_default_is_embedded_data():
    assert config()["dataset"]["source"] == "digits"
    assert config()["dataset"]["source"] not in MADE_SOURCES
