"""Sweeps whose answer is known, written as runs would have written them: records, curves, predictions, checksums.

`known` has the answers of `KNOWN`; `many` has as many runs as one likes, for clocks and for the page.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import numpy as np

from thawlab.record import PlannedRun, Record, add_to_manifest
from thawlab.run_files import checksums, write_curves, write_predictions
from thawlab.schema import Config
from thawlab.study_record import StudyRecord

SOURCE = "thawlab_demo"
STAGES = ("conv1", "conv2", "conv3", "fc1", "fc2", "head")
SHARES = (0.007, 0.071, 0.284, 0.502, 0.126, 0.01)
CLASSES = tuple("0123456789")
EPOCHS = 4
FORWARD = 1_000_000  # FLOPs of an image's forward pass
STRATEGIES: dict[str, dict[str, Any]] = {
    "freeze": {"train": 0},
    "truncate": {"train": 0, "keep": 0.5},
    "partial": {"train": 0.5},
    "full": {},
    "gradual": {"thaw": {"when": "every", "epochs": 2, "schedule": {}, "patience": 2}},
    "scratch": {"weights": "random"},
}
# The answer of `known`: what a report of it must say.
KNOWN = SimpleNamespace(
    similar="digits",
    different="shapes",
    sizes=(100, 400, 1600),
    seeds=(0, 1, 2, 3, 4),
    points=0.03,  # full is better than scratch by these, on `similar` at 400 images, in every seed
    crossing=800.0,  # truncate crosses scratch on `similar` here: half-way between 400 and 1600 on a logarithmic axis
    rate=0.01,  # chosen for full on `similar` at 400 images; 0.1 was searched, better on test and worse on validation
    failed="truncate-s4-digits-1600",  # on the curve that crosses: over other seeds it would cross elsewhere
    missing="truncate-s3-digits-1600",
)


@dataclass(frozen=True)
class Planted:
    """What tells one run from another; scores are shares of test and of validation images."""

    strategy: str = "full"
    score: float = 0.8
    seed: int = 0
    size: int = 100
    target: str = "digits"
    source: str = SOURCE
    rate: float = 0.01
    val: float | None = None  # None: as on test images
    images: int = 500  # of the test split
    name: str | None = None
    task: str = "multiclass"

    @property
    def folder(self) -> str:
        """The run's name."""
        rate = "" if self.rate == 0.01 else f"-lr{self.rate:g}"
        return self.name or f"{self.strategy}-s{self.seed}-{self.target}-{self.size}{rate}"


def config_of(run: Planted, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The whole config, as a run resolves it; `settings` are dotted keys."""
    config = asdict(Config())
    config["backbone"]["name"], config["dataset"]["name"] = run.source, run.target
    config["dataset"] |= {"source": "folder", "per_class": run.size // len(CLASSES), "task": run.task}
    kind = next((known for known in STRATEGIES if run.strategy == known), "full")
    config["strategy"] |= {"name": run.strategy, **STRATEGIES[kind]}
    config["optimizer"]["lr"], config["trainer"]["epochs"], config["seed"] = run.rate, EPOCHS, run.seed
    for key, value in settings.items():
        *groups, last = key.split(".")
        inner = config
        for group in groups:
            inner = inner[group]
        inner[last] = value
    return config


def plan_of(strategy: str, rate: float) -> list[dict[str, Any]]:
    """A plan that looks like the strategy's."""
    first = {
        "freeze": (None,) * 5 + (0,),
        "truncate": (None,) * 5 + (0,),
        "partial": (None, None, None, 0, 0, 0),
        "gradual": (10, 8, 6, 4, 2, 0),
    }.get(strategy, (0,) * 6)
    cut = ("fc1", "fc2") if strategy == "truncate" else ()
    source = "random" if strategy == "scratch" else "source"
    return [
        {"stage": stage, "kept": stage not in cut, "weights": _weights(stage, cut, source), "first_epoch": epoch}
        | {"turn": 0, "rate": rate, "parameters": int(65498 * share), "share": share}
        | {"norm": "source" if epoch is None and stage not in cut else "-"}
        for stage, share, epoch in zip(STAGES, SHARES, first, strict=True)
    ]


def _weights(stage: str, cut: Sequence[str], source: str) -> str:
    return "new" if stage == "head" else "cut" if stage in cut else source


def predictions_of(run: Planted) -> list[dict[str, Any]]:
    """Exactly round(score * images) right: the images that are hard are hard for all, the rest of it is the run's own.

    Classes in turn; who is wrong says the next class, and the harder an image, the surer.
    """
    hard = np.random.default_rng(len(run.target)).random(run.images)
    own = np.random.default_rng([run.seed, run.size, *run.strategy.encode()]).random(run.images)
    order = np.argsort(hard + 0.3 * own)
    right = np.zeros(run.images, bool)
    right[order[: round(run.score * run.images)]] = True
    confidence = np.where(right, 0.95 - 0.3 * hard, 0.3 + 0.5 * own)
    return [
        {
            "name": f"{run.target}/{i:04d}",
            "label": CLASSES[i % 10],
            "predicted": CLASSES[(i + (not right[i])) % 10],
            "confidence": float(confidence[i]),
        }
        for i in range(run.images)
    ]


def curves_of(run: Planted, metric: str = "accuracy") -> list[dict[str, float | None]]:
    """Four epochs that end, and are best, at the validation score: at 0.4, 0.7, 0.9 and all of it."""
    val = run.score if run.val is None else run.val
    return [
        {
            "epoch": i,
            "step": 10 * (i + 1),
            "train/loss": 2 - 0.3 * i,
            "val/loss": 2 - 0.2 * i,
            f"val/{metric}": share * val,
        }
        | {f"rate/{stage}": run.rate for stage in STAGES}
        | {f"trains/{stage}": float(run.strategy != "freeze" or stage == "head") for stage in STAGES}
        for i, share in enumerate((0.4, 0.7, 0.9, 1.0))
    ]


def costs_of(run: Planted) -> dict[str, Any]:
    """FLOPs are images x FORWARD x 3, a third of it where only the head trains; seconds go with them."""
    images = EPOCHS * run.size
    flops = images * FORWARD * (1 if run.strategy in ("freeze", "truncate") else 3)
    return {
        "seconds": {"total": flops / 1e9, "train": flops / 2e9},
        "flops": {"forward_per_image": FORWARD, "train": flops, "train_uncached": flops},
        "images": images,
        "peak_memory_bytes": 10**9,
        "parameters": {"total": 65498, "trained": 650, "trained_share": 0.01 if run.strategy == "freeze" else 1.0},
    }


def plant(sweep: Path, run: Planted, status: str = "finished", reason: str | None = None, **settings: Any) -> Record:
    """Write a run's folder; of one that did not finish, the record alone. `settings`: dotted keys of the config."""
    folder, done = sweep / run.folder, status == "finished"
    folder.mkdir(parents=True, exist_ok=True)
    metric = "accuracy" if run.task == "multiclass" else "mean_average_precision"
    rows = predictions_of(run) if done else []
    if done:
        write_predictions(folder, rows)
        write_curves(folder, curves_of(run, metric))
    record = Record(
        run.folder,
        status,
        config_of(run, settings),
        reason,
        plan=plan_of(run.strategy, run.rate),
        data={"classes": list(CLASSES), "task": run.task, "train": run.size, "val": 195, "test": run.images}
        | {"fingerprint": f"{run.target}-{run.size}-{run.seed}", "test_fingerprint": f"test-of-{run.target}"},
        metrics=_metrics(run, metric) if done else {},
        confusion=_confusion(rows),
        best_epoch=EPOCHS - 1 if done else None,
        costs=costs_of(run) if done else {},
        versions={"thawlab": "0.1.0", "torch": "2.10.0", "python": "3.11.7", "device": "cpu, 1 threads"},
        started="2026-11-28T14:00:00+00:00",
        ended="2026-11-28T14:00:09+00:00",
        files=checksums(folder, "none"),
    )
    record.write(folder)
    return record


def _metrics(run: Planted, metric: str) -> dict[str, dict[str, Any]]:
    score = round(run.score * run.images) / run.images if run.task == "multiclass" else run.score
    val = run.score if run.val is None else run.val
    found = {f"test/{metric}": {"value": score, "n": run.images}, f"val/{metric}": {"value": val, "n": 195}}
    return found | {"test/loss": {"value": 1 - score, "n": run.images}}


def _confusion(rows: Sequence[Mapping[str, Any]]) -> list[list[int]]:
    counts = np.zeros((10, 10), int)
    for row in rows:
        counts[CLASSES.index(row["label"]), CLASSES.index(row["predicted"])] += 1
    return counts.tolist() if rows else []


# Means over the seeds. On `similar`, truncate is ahead of scratch by 0.04 at 400 and behind by 0.04 at 1600.
_SCORES = {
    ("digits", 100): {"freeze": 0.80, "truncate": 0.70, "full": 0.74, "scratch": 0.60},
    ("digits", 400): {"freeze": 0.82, "truncate": 0.84, "full": 0.83, "scratch": 0.80},
    ("digits", 1600): {"freeze": 0.84, "truncate": 0.86, "full": 0.94, "scratch": 0.90},
    ("shapes", 100): {"freeze": 0.50, "truncate": 0.60, "full": 0.56, "scratch": 0.54},
    ("shapes", 400): {"freeze": 0.55, "truncate": 0.66, "full": 0.72, "scratch": 0.72},
    ("shapes", 1600): {"freeze": 0.58, "truncate": 0.70, "full": 0.86, "scratch": 0.90},
}
_SEED_EFFECT = (-0.01, -0.004, 0.0, 0.006, 0.008)  # the same for all strategies: seeds are paired
# And a strategy's own, which cancel over all seeds and over the seeds that truncate has everywhere, 0 to 2.
_OWN_EFFECT = {"truncate": (0.004, -0.002, -0.002, 0.01, -0.01), "freeze": (-0.002, 0.002, 0.0, 0.004, -0.004)}


@patch("os.fsync", lambda handle: None)  # planted files need not outlive the machine
def known(folder: Path) -> Path:
    """Plant the sweep with the answers of `KNOWN`: two targets, three sizes, four strategies, five seeds."""
    planned = []
    for (target, size), scores in _SCORES.items():
        for strategy, score in scores.items():
            for seed in KNOWN.seeds:
                effect = _SEED_EFFECT[seed] + _OWN_EFFECT.get(strategy, (0.0,) * 5)[seed]
                run = Planted(strategy, score + effect, seed, size, target)
                planned.append(run.folder)
                if run.folder == KNOWN.failed:
                    plant(folder, run, "failed", "RuntimeError: it broke")
                elif run.folder != KNOWN.missing:
                    plant(folder, run)
    for rate, val in ((0.001, 0.70), (0.1, 0.75)):
        run = Planted("full", 0.95, 0, 400, KNOWN.similar, rate=rate, val=val)
        planned.append(run.folder)
        plant(folder, run)
    add_to_manifest(folder, ["train.py", "experiment=four_cases"], [PlannedRun(name, ()) for name in planned])
    study(folder)
    return folder


def study(folder: Path, small: int = 100, large: int = 1600, **more: Any) -> None:
    """The study's own file: which target is similar, which sizes are small and large, what the source network cost."""
    sizes = [
        {"per_class": size // len(CLASSES), "share": None, "label": label, "epochs": EPOCHS, "batch_size": 16}
        for size, label in ((small, "small"), (large, "large"))
    ]
    content: dict[str, Any] = {
        "kind": "four_cases",
        "command": ["train.py", "experiment=four_cases"],
        "source": {"name": SOURCE, "seconds": 600.0, "flops": 6e10, "images": 20000, "told_by": "its record"},
        "targets": {KNOWN.similar: "similar", KNOWN.different: "different"},
        "sizes": sizes,
        "strategies": [],
        "rates": [0.001, 0.01, 0.1],
        "search_seeds": [0],
        "seeds": list(KNOWN.seeds),
    }
    StudyRecord(**{**content, **more}).write(folder)


@patch("os.fsync", lambda handle: None)
def many(folder: Path, runs: int = 1000, images: int = 500) -> Path:
    """Plant so many runs: six strategies, five seeds, two targets, and as many sizes as it takes."""
    draw = np.random.default_rng(0)
    planned = []
    for i in range(runs):
        strategy, seed = tuple(STRATEGIES)[i % 6], i // 6 % 5
        target, step = ("digits", "shapes")[i // 30 % 2], i // 60
        score = min(0.97, 0.5 + 0.02 * step + 0.01 * (i % 6) + draw.normal(0, 0.01))
        run = Planted(strategy, score, seed, 100 + 50 * step, target, images=images)
        planned.append(run.folder)
        plant(folder, run)
    add_to_manifest(folder, ["train.py", "-m", "strategy=..."], [PlannedRun(name, ()) for name in planned])
    study(folder, large=100 + 50 * ((runs - 1) // 60))
    return folder
