"""A run that is cut short and started again ends as if nothing had happened."""

import pytest
from small_runs import Left, carried_out, config_of, from_weights, same_bits

from thawlab import checkpoints
from thawlab.record import Record
from thawlab.run import run
from thawlab.saving import Saving

SMALL = (
    "dataset=digits",
    "dataset.per_class=4",
    "trainer.epochs=3",
    "trainer.batch_size=10",
    "logger=none",
    "logger.progress=off",
    "checkpoint.steps=1",
    "backbone=timm",
    "backbone.size=32",
)
SAVED = 4 * 3 - 1  # times: after each optimizer step but the last


class Killed(BaseException):
    """What ends a run without a word, as SIGKILL does."""


@pytest.fixture
def kill_after(monkeypatch):
    """Let runs die right after their n-th save from now on; None: let them live."""
    save, count = Saving._save, {"left": None}

    def saving(self, trainer, module):
        save(self, trainer, module)
        if count["left"] is not None:
            count["left"] -= 1
            if count["left"] == 0:
                raise Killed

    def after(n):
        count["left"] = n

    monkeypatch.setattr(Saving, "_save", saving)
    return after


def what_came_out(left):
    """Everything that must not depend on whether a run was cut short."""
    record = left.record
    costs = {name: record.costs[name] for name in ("images", "parameters")}
    parts = (record.metrics, record.plan, record.data, record.per_class, record.confusion, record.best_epoch)
    return [*parts, record.audit, costs, record.config, left.curves, left.predictions]


def assert_the_same(left, reference):
    assert left.record.status == "finished", left.record.reason
    assert same_bits(left.weights, reference.weights)
    assert what_came_out(left) == what_came_out(reference)


CASES = {
    "freeze": ("resnet", ["strategy=freeze", "cache=off"]),
    "freeze, cached": ("resnet", ["strategy=freeze", "cache=on"]),
    "gradual": ("resnet", ["strategy=gradual", "strategy.thaw.epochs=1", "cache=off"]),
    "gradual, cached, ema": ("resnet", ["strategy=gradual", "cache=on", "trainer.ema_decay=0.9"]),
    "plateau thaw and plateau schedule": (
        "resnet",
        ["strategy=gradual", "strategy.thaw.when=plateau", "strategy.thaw.patience=1", "schedule=plateau",
         "schedule.patience=0", "cache=off"],
    ),
    "one_cycle, mixup, dropout": (
        "vit", ["strategy=full", "schedule=one_cycle", "augment=mixup", "head.dropout=0.5", "trainer.clip_norm=0.5"]
    ),
    "augmented, accumulated, balanced": (
        "convnext",
        ["strategy=partial", "augment=light", "trainer.accumulate=2", "trainer.batch_size=20", "trainer.epochs=4",
         "trainer.sampling=balanced", "optimizer=sgd"],
    ),
    "early stopping, adapting norms": (
        "resnet", ["strategy=partial", "strategy.norm=adapt", "trainer.early_stopping=1", "trainer.epochs=8"]
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_a_run_that_is_cut_short_ends_as_if_it_had_not_been(case, tmp_path, kill_after):
    net, words = CASES[case]
    words = [*from_weights(tmp_path, net), *words, f"cache.folder={tmp_path / 'cache'}"]
    reference = carried_out(tmp_path / "reference", *words, small=SMALL)
    assert not checkpoints.exist(reference.folder)
    for n in (1, 3, 4, 6):
        folder = tmp_path / str(n)
        kill_after(n)
        with pytest.raises(Killed):
            carried_out(folder, *words, small=SMALL)
        assert Record.read(folder).status == "running"
        kill_after(None)
        left = carried_out(folder, *words, small=SMALL)
        assert left.record.costs["resumed"], "it began anew"
        assert_the_same(left, reference)


def test_a_run_that_is_cut_short_at_every_save_still_ends(tmp_path, kill_after):
    words = [*from_weights(tmp_path, "demo"), "strategy=gradual", "cache=off", "trainer.ema_decay=0.8"]
    reference = carried_out(tmp_path / "reference", *words, small=SMALL)
    record, deaths = None, 0
    while record is None:
        kill_after(1)
        try:
            record = run(config_of(*words, small=SMALL), tmp_path / "run")
        except Killed:
            deaths += 1
    assert deaths == SAVED
    left = Left(record, tmp_path / "run")
    assert_the_same(left, reference)
    steps = [position["step"] for position in record.costs["resumed"]]
    assert steps == list(range(1, SAVED + 1))
