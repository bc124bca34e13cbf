import copy
from dataclasses import replace

import numpy as np
import pytest

from thawlab import compose, prepare
from thawlab.data.images import ArrayImages
from thawlab.errors import UserError
from thawlab.schema import register

register()
compose.register_resolvers()
CONFIG = compose.jobs(["strategy=scratch", "head=mlp"], multirun=False)[0].config


def changed(group, **values):
    config = copy.deepcopy(CONFIG)
    config[group] |= values
    return config


def test_each_group_becomes_its_own_frozen_object():
    specs = prepare.specs_of(CONFIG)
    assert specs.head.hidden == (256,)
    assert specs.strategy.thaw.when == "start"
    with pytest.raises(AttributeError):
        specs.trainer.epochs = 3


def test_the_config_is_left_as_it_was():
    before = copy.deepcopy(CONFIG)
    prepare.specs_of(CONFIG)
    assert before == CONFIG


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize(("group", "key"), [("optimizer", "weight_decay"), ("schedule", "floor"), ("strategy", "keep")])
def test_no_setting_is_infinite_or_no_number(group, key, value):
    with pytest.raises(UserError, match=rf"{group}.{key} is .*finite"):
        prepare.specs_of(changed(group, **{key: value}))


def test_what_is_prepared_is_complete_and_fits():
    prepared = prepare.prepare(CONFIG)
    assert len(prepared.splits.train) == 50
    assert prepared.built.stages[-1].name == "head"
    assert prepared.config == CONFIG


@pytest.mark.parametrize("field", ["mixup", "cutmix"])
@pytest.mark.parametrize("sizes", [{"batch_size": 1}, {"batch_size": 4, "accumulate": 4}])
def test_there_is_no_mixing_of_one_image(field, sizes):
    config = changed("trainer", **sizes)
    config["augment"][field] = 0.2
    with pytest.raises(
        UserError, match=rf"augment\.{field} is 0\.2, but trainer\.batch_size={sizes['batch_size']} makes"
    ):
        prepare.prepare(config)
    config["trainer"]["batch_size"] *= 2
    assert prepare.prepare(config)


@pytest.mark.parametrize(("size", "refused"), [(50, False), (51, True)])
def test_a_batch_fits_into_the_training_set(size, refused):
    if not refused:
        assert prepare.prepare(changed("trainer", batch_size=size))
        return
    with pytest.raises(UserError, match=r"trainer.batch_size is 51, but there are only 50 .* trainer.batch_size=50"):
        prepare.prepare(changed("trainer", batch_size=size))


def test_runs_that_differ_in_seed_or_rate_alone_are_prepared_once(monkeypatch):
    prepared = []
    monkeypatch.setattr(prepare, "prepare", prepared.append)
    other = changed("optimizer", weight_decay=0.1)
    prepare.check_all([CONFIG, CONFIG | {"seed": 1}, changed("optimizer", lr=0.1), other, CONFIG | {"seed": 2}])
    assert prepared == [CONFIG, other]


def test_refuses_to_balance_images_of_several_labels(monkeypatch):
    config = changed("trainer", sampling="balanced")
    splits = prepare.load_splits(prepare.specs_of(config).dataset, 0)
    train = splits.train
    several = replace(splits, train=ArrayImages(train.pixels, np.eye(10, dtype=np.uint8)[train.labels], train.names))
    monkeypatch.setattr(prepare, "load_splits", lambda *_: several)
    with pytest.raises(UserError, match=r"trainer.sampling is balanced, but an image .* several labels"):
        prepare.prepare(config)
