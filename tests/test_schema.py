import ast
import inspect
from dataclasses import fields, is_dataclass

import pytest
from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf

from thawlab import explain, prepare, schema
from thawlab.study.spec import StudySpec


def test_every_key_is_explained():
    source = inspect.getsource(schema).splitlines()
    for node in ast.walk(ast.parse("\n".join(source))):
        if isinstance(node, ast.ClassDef):
            assert ast.get_docstring(node), node.name
            for line in (inner for inner in node.body if isinstance(inner, ast.AnnAssign)):
                name, text = ast.unparse(line.target), source[line.lineno - 1]
                own_group = "Config = field" in text
                assert "  # " in text or own_group, f"{node.name}.{name} has no comment"


def test_every_key_reaches_its_domain_object():
    kinds = {
        "backbone": prepare.BackboneSpec, "dataset": prepare.DatasetSpec, "strategy": prepare.Strategy,
        "head": prepare.HeadSpec, "loss": prepare.LossSpec, "optimizer": prepare.OptimizerSpec,
        "schedule": prepare.ScheduleSpec, "augment": prepare.AugmentSpec,
        "trainer": prepare.TrainerSpec, "cache": prepare.CacheSpec, "checkpoint": prepare.CheckpointSpec,
        "launch": prepare.LaunchSpec, "logger": prepare.LoggerSpec, "study": StudySpec,
    }  # fmt: skip
    assert set(kinds) == set(schema.GROUPS)
    for group, kind in kinds.items():
        assert is_dataclass(kind)
        assert {f.name for f in fields(schema.GROUPS[group])} == {f.name for f in fields(kind)}, group


def test_the_keys_that_hold_stage_names_take_new_ones():
    schema.register()
    node = ConfigStore.instance().load("schema.yaml").node
    OmegaConf.set_struct(node, True)
    node.strategy.rates.layer4 = 0.5
    node.strategy.thaw.schedule.layer4 = 3
    with pytest.raises(AttributeError):
        node.strategy.rate = 0.5


@pytest.mark.parametrize(
    ("key", "known"),
    [
        ("seed", True),
        ("trainer.epochs", True),
        ("strategy.thaw.when", True),
        ("strategy.rates.layer4", True),
        ("experiment", True),
        ("trainer.epoch", False),
        ("epochs", False),
        ("strategy.thaw.layer4", False),
    ],
)
def test_keys_are_known_by_their_dotted_names(key, known):
    assert explain.exists(key) is known
