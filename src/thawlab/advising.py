"""`strategy=auto`: source and target measured on a run's training images, and the advice that follows."""

import json
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from thawlab.advice import Advice, advise
from thawlab.data.images import Splits
from thawlab.errors import UserError
from thawlab.processes import launched_here
from thawlab.store.rowstore import RowStore
from thawlab.strategy import Strategy

Config = Mapping[str, Any]
_CHOSEN_BY_USER = ("name", "norm", "auto")
_handed: dict[str, Advice] = {}  # found by another process of this command
_found: dict[str, Advice] = {}


def known() -> dict[str, Advice]:
    """Everything advised in this process so far, to hand on to another."""
    return {**_handed, **_found}


def remember(advised: Mapping[str, Advice]) -> None:
    """Take over what another process was advised."""
    _handed.update(advised)


def check_free(strategy: Strategy) -> None:
    """Refuse, with `strategy=auto`, settings that it chooses itself: they would do nothing."""
    default = Strategy("auto")
    for field in fields(Strategy):
        value = getattr(strategy, field.name)
        if field.name not in _CHOSEN_BY_USER and value != getattr(default, field.name):
            shown = {**vars(value)} if field.name == "thaw" else value
            raise UserError(
                f"strategy.{field.name} is {shown}, but strategy=auto chooses it. Leave it out, or choose yourself, as "
                "strategy=partial."
            )


def check_single(splits: Splits) -> None:
    """Refuse images that the measures do not know."""
    if splits.task == "multilabel":
        raise UserError(
            "dataset.task is multilabel, but source and target are measured on images of one class each. Choose a "
            "strategy by name, as strategy=freeze, and compare: -m strategy=freeze,partial,full."
        )


def advised(config: Config, splits: Splits, store: RowStore | None) -> Advice:
    """Measure on the training images of a run, and advise. The same images and weights bring the same advice.

    Raises UserError for images of several labels, for weights that nobody has, and where a launcher started several
    processes: each would measure, and all must do the same.
    """
    check_single(splits)
    key = _key(config, splits)
    if key in _handed:
        return _handed[key]
    trainer = config["trainer"]
    if trainer["devices"] * trainer["nodes"] > 1 and not launched_here(trainer):
        raise UserError(
            "strategy is auto, but a launcher started several processes of this run, which would each measure. Ask "
            "scripts/advise.py with the same settings before, and give the strategy that it names."
        )
    from thawlab.similarity.gathering import measure

    similarity = measure(config, splits, store)
    given = config["optimizer"]
    rate = None if given["name"] == "adamw" else float(given["lr"])  # others' are not known: they keep their own
    _found[key] = advise(similarity, [one.stage for one in similarity.stages], len(splits.train), rate=rate)
    return _found[key]


def _key(config: Config, splits: Splits) -> str:
    """What decides an advice within one command."""
    rate = [config["optimizer"]["name"], config["optimizer"]["lr"]]
    images = [splits.fingerprint, config["dataset"]["channels"]]
    return json.dumps([config["backbone"], images, config["seed"], rate], sort_keys=True)
