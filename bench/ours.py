"""thawlab, the public way: a config composed of overrides, and a run of it."""

import csv
import json
from pathlib import Path

from bench.request import BATCH, DECAY, RATE, Outcome, Request
from thawlab import compose
from thawlab.run import run
from thawlab.schema import register

# What the others do: one rate throughout, and no record but the result's.
LIKE_THE_OTHERS = [
    "schedule=constant", f"optimizer.lr={RATE}", f"optimizer.weight_decay={DECAY}", "strategy.layer_decay=1",
    "strategy.source_rate=1", "backbone.crop=1", "backbone.interpolation=bilinear", "logger=none",
]  # fmt: skip
HEADS = {"linear": ["head=linear"], "mlp": ["head=mlp", "head.hidden=[64]"]}


def overrides(request: Request) -> list[str]:
    """What one would type after `python train.py`."""
    return [
        "dataset=folder", f"dataset.root={request.images}", "backbone=timm", f"backbone.name={request.network}",
        f"backbone.size={request.size}", f"backbone.weights={request.weights}", f"strategy={request.task}",
        *([] if request.defaults else LIKE_THE_OTHERS), *HEADS[request.head],
        *(["trainer=gpu"] if request.device == "cuda" else []), f"trainer.precision={request.precision}",
        f"trainer.epochs={request.epochs}", f"trainer.batch_size={BATCH}", f"seed={request.seed}",
        f"cache={request.cache}", f"cache.folder={request.cache_folder}", "logger.progress=off",
    ]  # fmt: skip


def work(request: Request) -> Outcome:
    register()
    compose.register_resolvers()
    (job,) = compose.jobs(overrides(request), multirun=False)
    folder = Path(request.folder) / job.name
    record = run(job.config, folder)
    if record.status != "finished":
        raise RuntimeError(f"{job.name} {record.status}: {record.reason}")
    costs = json.loads((folder / "result.json").read_text())["costs"]
    per_epoch = -(-record.data["train"] // BATCH)
    return Outcome(
        accuracy=_last_accuracy(folder),
        steps=per_epoch * (costs["images"] // record.data["train"]),
        trained=costs["parameters"]["trained"],
        phases=costs["seconds"],
        notes={"cache": costs.get("cache")},
    )


def _last_accuracy(folder: Path) -> float:
    """Of the last epoch, as the others tell theirs: the best of several would be chosen on the very images."""
    with (folder / "curves.csv").open(newline="") as file:
        return float(list(csv.DictReader(file))[-1]["val/accuracy"])
