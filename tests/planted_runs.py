"""Runs that a test says the end of: nothing is trained, but each leaves a record, as a run would."""

from collections.abc import Callable
from dataclasses import dataclass, field

from thawlab.data.splits import load_splits
from thawlab.prepare import specs_of
from thawlab.record import Record


@dataclass
class Planted:
    """Stands in the place of `thawlab.run.run`."""

    ends: (
        Callable  # (strategy, rate, seed) -> (validation accuracy, test accuracy), None for a failure, or an exception
    )
    done: list = field(default_factory=list)  # (strategy, rate, seed, target, size) of each, in order

    def run(self, config, folder):
        strategy, rate, seed = config["strategy"]["name"], config["optimizer"]["lr"], config["seed"]
        end = self.ends(strategy, rate, seed)
        if isinstance(end, BaseException):
            raise end
        self.done.append((strategy, rate, seed))
        record = Record(name=folder.name, status="diverged", reason="planted", config=dict(config))
        if end is not None:
            record = _finished(folder, config, *end)
        record.write(folder)
        return record


def _finished(folder, config, val, test):
    specs = specs_of(config)
    metrics = {"val/accuracy": {"value": val, "n": 100}, "test/accuracy": {"value": test, "n": 100}}
    costs = {"seconds": {"total": 1.0}, "parameters": {"trained_share": 1.0}, "flops": {"train": 1e9}, "images": 10}
    data = {"fingerprint": load_splits(specs.dataset, specs.seed).fingerprint, "source_digest": None}
    return Record(
        name=folder.name, status="finished", config=dict(config), metrics=metrics, costs=costs, data=data,
        best_epoch=0, ended="2026-01-01T00:00:00+00:00",
    )  # fmt: skip
