"""Train a prepared run, test its best weights, and gather what the record wants."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers import TensorBoardLogger

from thawlab.audit import Audit, Digests, check, digests
from thawlab.averaging import Averaging
from thawlab.backbones.weights import put, write_weights
from thawlab.caching.shortcut import recorded
from thawlab.callbacks import Best, Curves, Timing, progress, told
from thawlab.costs import PHASES, count_flops, peak_memory, reset_peak_memory
from thawlab.data.datamodule import ImageData
from thawlab.data.mixing import Mixing
from thawlab.data.pixels import PixelStore
from thawlab.evaluation import named
from thawlab.events import log_results
from thawlab.freezing import optimized
from thawlab.losses import Loss
from thawlab.module import TransferModule
from thawlab.naming import deciding
from thawlab.plateaus import Plateaus
from thawlab.prepare import Prepared, row_store
from thawlab.saving import Disk, Journey, Saving
from thawlab.scores import SCORES
from thawlab.shortcuts import shortcut_of, spared
from thawlab.strategy import Plan
from thawlab.tracing import Truncated
from thawlab.trainer import build_trainer


@dataclass(frozen=True)
class Trained:
    """What a training left, in the record's terms; see docs/record.md."""

    prepared: Prepared
    module: TransferModule
    audit: Audit
    metrics: dict[str, dict[str, float]]
    per_class: dict[str, dict[str, float]]
    confusion: list[list[int]]
    best_epoch: int
    costs: dict[str, Any]
    curves: list[dict[str, float | int]]
    predictions: list[dict[str, Any]]

    def save_weights(self, path: Path) -> None:
        """Write the best weights as safetensors, named as in the source architecture, with what their use needs."""
        network = self.module.network
        prefix = "body." if isinstance(network, Truncated) else ""
        state = {name.removeprefix(prefix): t.contiguous().clone() for name, t in network.state_dict().items()}
        write_weights(path, state, _metadata(self.prepared))


def _metadata(prepared: Prepared) -> dict[str, str]:
    pre, classes = prepared.built.preprocessing, prepared.splits.classes
    return {
        "arch": prepared.specs.backbone.name,
        "mean": ", ".join(str(x) for x in pre.mean),
        "std": ", ".join(str(x) for x in pre.std),
        "channels": str(pre.channels),
        "size": str(pre.size),
        "interpolation": pre.interpolation,
        "crop": str(pre.crop),
        "num_classes": str(len(classes)),
        "classes": json.dumps(classes),
        "source": f"thawlab, {prepared.specs.dataset.name}, {prepared.specs.strategy.name}",
    }


def train(prepared: Prepared, journey: Journey) -> Trained:
    """Fit, from where the journey goes on, audit the last weights, test the best ones once.

    Raises OtherRun where the journey's checkpoint is of another run.
    """
    specs, built, folder = prepared.specs, prepared.built, journey.folder
    pl.seed_everything(specs.seed, workers=True, verbose=False)
    rows = row_store(specs.cache)
    module, data = module_of(prepared), data_of(prepared, PixelStore(rows) if rows is not None else None)
    before = digests(built.network)
    journey.begin(
        _about(prepared) | {"versions": journey.versions}, {f"network.{name}": told for name, told in before.items()}
    )
    curves, timing, best = Curves(), Timing(), Best(specs.trainer.monitored, specs.trainer.monitor_mode)
    logger = _logger(folder, journey) if specs.logger.tensorboard else None
    averaging = Averaging(specs.trainer.ema_decay) if specs.trainer.ema_decay is not None else None
    watching = [Saving(journey), timing, curves, best, *progress(specs.logger.progress)]
    callbacks = [*([averaging] if averaging else []), *watching]
    trainer = build_trainer(specs.trainer, folder, callbacks, logger, [Disk(journey)])
    if rows is not None:
        shortcut = shortcut_of(prepared, rows, module, data, trainer, partial(_at_work, timing, journey, trainer))
        if trainer.is_global_zero:
            shortcut.said = told
    device = trainer.strategy.root_device
    fresh = reset_peak_memory(device)
    journey.skip_what_is_done(trainer)
    with journey.stops.deferred():
        trainer.fit(module, datamodule=data, ckpt_path="newest" if journey.start is not None else None)
    memory = peak_memory(device) if fresh else None
    audit = _audit(before, module, averaging)
    # Of several processes the first one's: buffers that each keeps for itself may differ.
    put(module, best.tensors if trainer.world_size == 1 else trainer.strategy.broadcast(best.tensors))
    trainer.test(module, datamodule=data, verbose=False)
    counts = {"val": len(prepared.splits.val), "test": len(prepared.splits.test)}
    trained = Trained(
        prepared=prepared,
        module=module,
        audit=audit,
        metrics=_metrics(trainer, curves, best.epoch, SCORES[prepared.splits.task], counts),
        per_class=module.test.of_classes(prepared.splits.classes),
        confusion=module.test.confusion(),
        best_epoch=best.epoch,
        costs=_costs(prepared, module, timing, memory, data.pixels.notes if data.pixels is not None else [])
        | {"resumed": journey.resumed},
        curves=curves.rows,
        predictions=_predictions(module, prepared),
    )
    if logger is not None:
        log_results(logger, trained)
    return trained


def _logger(folder: Path, journey: Journey) -> TensorBoardLogger:
    """Always of the same version. A run that goes on takes back what was drawn after its checkpoint."""
    return TensorBoardLogger(folder, name="", version="", default_hp_metric=False, purge_step=journey.purge_step)


@contextmanager
def _at_work(timing: Timing, journey: Journey, trainer: pl.Trainer) -> Iterator[None]:
    """Computing what is kept on disk: timed, and to be broken off at once where no step would be lost by it."""
    saved = trainer.global_step == journey.saved
    with timing.watch("cache"), journey.stops.at_once() if saved else nullcontext():
        yield


def _about(prepared: Prepared) -> dict[str, Any]:
    """Of what run a checkpoint is, and what was found out before its first step."""
    splits, trainer = prepared.splits, prepared.specs.trainer
    kept = {key: value for key, value in deciding(prepared.config).items() if key != "trainer"}
    settled = ("workers", "accumulate", "precision")  # not asked for, or not to the last: what they came to is below
    asked = {key: value for key, value in prepared.config["trainer"].items() if key not in settled}
    return {
        "config": {**kept, "trainer": asked},
        "classes": list(splits.classes),
        "fingerprint": splits.fingerprint,
        **{name: len(getattr(splits, name)) for name in ("train", "val", "test")},
        "accumulate": trainer.accumulate,
        "found": asdict(prepared.found) if prepared.found is not None else None,
        "precision": trainer.precision,
        "advice": prepared.advice.to_plain() if prepared.advice is not None else {},
    }


def _audit(before: Digests, module: TransferModule, averaging: Averaging | None) -> Audit:
    """Hold the last weights against the plan and, where they were averaged, both those and the average."""
    network, stages, norm = module.network, module.stages, module.plan.norm
    held = optimized(network, stages, module.trainer.optimizers[0].param_groups)
    last = check(before, digests(network), stages, module.stages_trained, norm, held)
    if averaging is None:
        return last
    with averaging.trained(network):
        trained = check(before, digests(network), stages, module.stages_trained, norm, held)
    lines = (*trained.checks, *(f"moving average: {line}" for line in last.checks))
    return Audit(trained.passed and last.passed, lines)


@contextmanager
def cpu_threads(count: int | None) -> Iterator[None]:
    """Let torch use so many threads inside; null: as many as before. The runs of a sweep share one process."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def module_of(prepared: Prepared) -> TransferModule:
    """The prepared network under its plan, as Lightning trains it."""
    specs, built, splits = prepared.specs, prepared.built, prepared.splits
    classes = len(splits.classes)
    if specs.trainer.channels_last:
        _lay_channels_last(built.network)
    return TransferModule(
        built.network,
        built.stages,
        built.plan,
        specs.optimizer,
        specs.schedule,
        classes=classes,
        task=splits.task,
        loss=Loss(specs.loss, splits.task, classes, splits.train.labels),
        channels_last=specs.trainer.channels_last,
        plateaus=Plateaus(specs.strategy.thaw.patience, specs.trainer.monitor_mode == "max"),
        monitor=specs.trainer.monitored,
        mixing=Mixing(specs.augment, classes, specs.seed) if specs.augment.mixes else None,
        seed=specs.seed,
    )


def _lay_channels_last(network: torch.nn.Module) -> None:
    """As `network.to(memory_format=...)`, which fails on tensors of five dimensions (masks in a cut Swin)."""
    for tensor in (*network.parameters(), *network.buffers()):
        if tensor.ndim == 4:
            tensor.data = tensor.data.contiguous(memory_format=torch.channels_last)


def data_of(prepared: Prepared, pixels: PixelStore | None = None) -> ImageData:
    """The prepared images, in the batches of this run; with `pixels`, decoded once and for all."""
    specs = prepared.specs
    return ImageData(
        prepared.splits,
        prepared.built.preprocessing,
        specs.augment,
        batch_size=specs.trainer.batch,
        seed=specs.seed,
        workers=specs.trainer.workers,
        accumulate=specs.trainer.accumulate,
        sampling=specs.trainer.sampling,
        views=specs.cache.views,
        pixels=pixels,
    )


def _metrics(
    trainer: pl.Trainer, curves: Curves, best_epoch: int, scores: Sequence[str], counts: Mapping[str, int]
) -> dict[str, dict[str, float]]:
    row = next(row for row in curves.rows if row["epoch"] == best_epoch)
    values = {f"val/{name}": float(row[f"val/{name}"]) for name in scores}
    values |= {f"test/{name}": float(trainer.callback_metrics[f"test/{name}"]) for name in scores}
    return {name: {"value": value, "n": counts[name.partition("/")[0]]} for name, value in values.items()}


def _predictions(module: TransferModule, prepared: Prepared) -> list[dict[str, Any]]:
    """A row per test image in the test set's order, from what all ranks saw."""
    classes, test = prepared.splits.classes, prepared.splits.test
    return [
        {
            "name": test.names[place],
            "label": named(test.labels[place], classes),
            "predicted": predicted,
            "confidence": confidence,
        }
        for place, predicted, confidence in module.predictions.rows(classes)
    ]


def _costs(
    prepared: Prepared, module: TransferModule, timing: Timing, memory: int | None, notes: Sequence[str]
) -> dict[str, Any]:
    plan, built = prepared.built.plan, prepared.built
    choices = module.shortcut.choices if module.shortcut is not None else []
    trained = sum(stage.size for stage in built.stages if stage.name in module.stages_trained)
    total = sum(stage.size for stage in built.stages)
    return {
        "seconds": {phase: timing.watch.seconds.get(phase, 0.0) for phase in PHASES},
        "flops": _flops(prepared, module, plan, timing.images_by_epoch),
        "cache": recorded(choices),
        "cache_notes": list(notes),
        "images": sum(timing.images_by_epoch),
        "peak_memory_bytes": memory,
        "parameters": {"total": total, "trained": trained, "trained_share": trained / total},
    }


def _flops(prepared: Prepared, module: TransferModule, plan: Plan, images: list[int]) -> dict[str, float]:
    """Forward FLOPs per image, and those of the whole training: each epoch at what trained in it."""
    images_shape = (prepared.built.preprocessing.channels, *2 * (prepared.built.preprocessing.size,))
    known: dict[frozenset[str], tuple[int, int]] = {}
    total = 0
    for epoch, count in enumerate(images):
        training = plan.training(epoch, module.plateaus.epochs)
        if training not in known:
            names = {name for stage in module.stages if stage.name in training for name in stage.parameters}
            counted = count_flops(module.network, images_shape, names)
            known[training] = (counted.forward, counted.backward)
        total += count * sum(known[training])
    done = total - spared(module.shortcut.choices if module.shortcut is not None else [], images)
    return {"forward_per_image": next(iter(known.values()))[0], "train": done, "train_uncached": total}
