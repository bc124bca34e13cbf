"""A resolved config → the objects of one run, checked before any training."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from thawlab import advising
from thawlab.advice import Advice, applied
from thawlab.backbones.build import Built, build
from thawlab.backbones.heads import HeadSpec
from thawlab.backbones.spec import BackboneSpec
from thawlab.batch_finder import Found, batch_size
from thawlab.caching.pictures import changes
from thawlab.costs import count_flops
from thawlab.data.augment import AugmentSpec
from thawlab.data.images import Splits
from thawlab.data.order import check_balanced
from thawlab.data.remembering import remembering
from thawlab.data.spec import DatasetSpec
from thawlab.data.splits import load_splits
from thawlab.errors import UserError, nearest
from thawlab.losses import LossSpec
from thawlab.optimizer import OptimizerSpec
from thawlab.schedule import ScheduleSpec
from thawlab.schema import fit_of
from thawlab.store.rowstore import RowStore
from thawlab.store.spec import CacheSpec
from thawlab.strategy import Strategy, Thaw
from thawlab.trainer import AUTO, TrainerSpec

Config = Mapping[str, Any]
T = TypeVar("T")
SEEDS = 2**32  # as many as numpy takes


@dataclass(frozen=True)
class LoggerSpec:
    """What is drawn while a run goes on; see `schema.LoggerConfig`."""

    tensorboard: bool = True
    images: int = 16
    progress: str = "auto"

    def __post_init__(self) -> None:
        choices = ("auto", "bar", "lines", "off")
        if self.progress not in choices:
            raise UserError(f"logger.progress is {self.progress!r}. {nearest(self.progress, choices)}")
        if self.images < 0:
            raise UserError(f"logger.images is {self.images}. Give 0 (no pictures) or more.")


@dataclass(frozen=True)
class CheckpointSpec:
    """When a run saves what it needs to go on; see `schema.CheckpointConfig`."""

    minutes: float = 1.0
    steps: int | None = None

    def __post_init__(self) -> None:
        if self.minutes < 0:
            raise UserError(f"checkpoint.minutes is {self.minutes:g}. Give more than 0, or 0 (never by the clock).")
        if self.steps is not None and self.steps < 1:
            raise UserError(f"checkpoint.steps is {self.steps}. Give 1 or more, or leave it out.")


@dataclass(frozen=True)
class LaunchSpec:
    """How runs are started; see `schema.LaunchConfig`."""

    jobs: int | str = AUTO
    timeout_minutes: float | None = None

    def __post_init__(self) -> None:
        if self.jobs != AUTO and not (isinstance(self.jobs, int) and self.jobs >= 1):
            raise UserError(f"launch.jobs is {self.jobs!r}. Give how many runs may go on at a time, or auto.")
        if self.timeout_minutes is not None and self.timeout_minutes <= 0:
            raise UserError(f"launch.timeout_minutes is {self.timeout_minutes:g}. Give more than 0, or leave it out.")


@dataclass(frozen=True)
class Specs:
    """Each config group as its domain object."""

    backbone: BackboneSpec
    dataset: DatasetSpec
    strategy: Strategy
    head: HeadSpec
    loss: LossSpec
    optimizer: OptimizerSpec
    schedule: ScheduleSpec
    augment: AugmentSpec
    trainer: TrainerSpec
    cache: CacheSpec
    checkpoint: CheckpointSpec
    launch: LaunchSpec
    logger: LoggerSpec
    seed: int


def specs_of(config: Config) -> Specs:
    """Make the domain objects of a resolved config; each validates itself, raising UserError."""
    _check_finite(config)
    if not 0 <= config["seed"] < SEEDS:
        raise UserError(f"seed is {config['seed']}. Give 0 to {SEEDS - 1}.")
    kinds: dict[str, type] = {
        "backbone": BackboneSpec, "dataset": DatasetSpec, "head": HeadSpec, "loss": LossSpec,
        "optimizer": OptimizerSpec, "schedule": ScheduleSpec, "augment": AugmentSpec,
        "trainer": TrainerSpec, "cache": CacheSpec, "checkpoint": CheckpointSpec, "launch": LaunchSpec,
        "logger": LoggerSpec,
    }  # fmt: skip
    made = {name: _made(kind, config[name]) for name, kind in kinds.items()}
    strategy = {**config["strategy"], "thaw": _made(Thaw, config["strategy"]["thaw"])}
    return Specs(**made, strategy=_made(Strategy, strategy), seed=config["seed"])


def specs_anywhere(config: Config) -> Specs:
    """As `specs_of`, of a run that was trained already, on devices that this machine may lack."""
    trainer = {**config["trainer"], "accelerator": "cpu", "precision": "fp32", "devices": 1, "nodes": 1}
    return specs_of({**config, "trainer": trainer})


def _check_finite(values: Config, prefix: str = "") -> None:
    """Refuse NaN and infinity, which slip through every comparison with a bound."""
    for key, value in values.items():
        if isinstance(value, Mapping):
            _check_finite(value, f"{prefix}{key}.")
        elif isinstance(value, float) and not math.isfinite(value):
            raise UserError(f"{prefix}{key} is {value}, but it takes a finite number.")


def _made(kind: type[T], values: Config) -> T:
    """A frozen dataclass from plain values; lists become tuples."""
    assert is_dataclass(kind)
    known = {field.name for field in fields(kind)}
    return kind(**{key: tuple(v) if isinstance(v, list) else v for key, v in values.items() if key in known})


@dataclass(frozen=True)
class Prepared:
    """Everything that a run needs, complete before the first step."""

    config: dict[str, Any]
    specs: Specs
    splits: Splits
    built: Built
    found: Found | None = None  # what trainer.batch_size=auto came to
    advice: Advice | None = None  # what strategy=auto came to; `specs` are of what was advised


def prepare(config: Config, known: Found | None = None, advice: Advice | None = None) -> Prepared:
    """Read the data, lay the plan, build and load the network. Raises UserError for whatever does not fit.

    `trainer.batch_size=auto` is a number after this, `known` from before or found now; why it is that one stands among
    the notes on the images. `strategy=auto` is what `advice` from before says, or what is advised now.
    """
    prepared = checked(config, advice)
    if prepared.specs.trainer.batch_size != AUTO:
        return prepared
    specs, splits = prepared.specs, prepared.splits
    found = known or batch_size(applied(config, prepared.advice), len(splits.train))
    specs = replace(specs, trainer=replace(specs.trainer, batch_size=found.size))
    return replace(prepared, specs=specs, splits=replace(splits, notes=(*splits.notes, found.line)), found=found)


def checked(config: Config, advice: Advice | None = None) -> Prepared:
    """All of `prepare` but for an automatic batch size, which stays to be found."""
    specs = specs_of(config)
    auto = specs.strategy.auto
    if auto:
        advising.check_free(specs.strategy)
    _check_mixing(specs.trainer, specs.augment)
    _check_cache(specs.cache, specs.augment)
    splits = read(specs)
    if auto:
        advice = advice or advising.advised(config, splits, row_store(specs.cache))
        specs = specs_of(applied(config, advice))
    specs = replace(specs, trainer=specs.trainer.for_task(splits.task))
    _check_batch(specs.trainer, len(splits.train))
    _check_evaluation(specs.trainer, splits)
    if specs.trainer.sampling == "balanced":
        check_balanced(splits.train.labels)
    built = build(
        specs.backbone,
        specs.head,
        specs.strategy,
        len(splits.classes),
        specs.optimizer.lr,
        specs.seed,
        specs.dataset.channels,
        specs.trainer.checkpointing,
    )
    specs.augment.check_channels(len(built.preprocessing.mean))
    shape = (built.preprocessing.channels, *2 * (built.preprocessing.size,))
    trainer = specs.trainer.resolved(lambda: count_flops(built.network, shape, ()).forward)
    return Prepared(dict(config), replace(specs, trainer=trainer), splits, built, advice=advice)


def read(specs: Specs) -> Splits:
    """The images of a run; what was found of each file before is remembered."""
    with remembering(row_store(specs.cache)):
        return load_splits(specs.dataset, specs.seed)


def check_all(configs: Sequence[Config], begins: Callable[[int], None] = lambda place: None) -> None:
    """Prepare each run of a sweep and throw the result away, so that a sweep is refused before its first step.

    Runs that differ in their seed or rate alone are prepared once: the network's fit depends on neither. `begins` hears
    the place of each that is.
    """
    seen = set()
    for place, config in enumerate(configs):
        specs_of(config)
        if (fit := fit_of(config)) not in seen:
            begins(place)
            prepare(config)
            seen.add(fit)


def _check_batch(trainer: TrainerSpec, images: int) -> None:
    if isinstance(trainer.batch_size, int) and trainer.batch_size > images:
        raise UserError(
            f"trainer.batch_size is {trainer.batch_size}, but there are only {images} training images. "
            f"Give trainer.batch_size={images} or less, or more images (dataset.per_class, dataset.share)."
        )


def _check_mixing(trainer: TrainerSpec, augment: AugmentSpec) -> None:
    """Each device mixes the images of its own batch; an automatic size is not known yet."""
    if trainer.batch_size != AUTO and trainer.batch // (trainer.devices * trainer.nodes) < 2:
        for field in ("mixup", "cutmix"):
            if value := getattr(augment, field):
                raise UserError(
                    f"augment.{field} is {value}, but trainer.batch_size={trainer.batch_size} makes batches of one "
                    f"image, which has none to be mixed with. Give a larger batch_size, or augment.{field}=0."
                )


def row_store(cache: CacheSpec) -> RowStore | None:
    """Where rows are kept; None with `cache=off`."""
    return None if cache.mode == "off" else RowStore(Path(cache.folder), cache.max_bytes)


def _check_cache(cache: CacheSpec, augment: AugmentSpec) -> None:
    """Refuse what cannot be kept where it is asked for, and views that would all be the same."""
    if cache.views and not augment.changes:
        raise UserError(
            f"cache.views is {cache.views}, but augment={augment.name} changes nothing within an image, so that all "
            "views of it would be the same. Leave cache.views out, or take another augment, as augment=light."
        )
    if cache.mode == "on" and (reason := changes(augment, cache.views)) is not None:
        raise UserError(f"cache.mode is on, but {reason}. Take cache=auto, or augment=none.")


def _check_evaluation(trainer: TrainerSpec, splits: Splits) -> None:
    """A process without a single image would skip the evaluation, and the others would wait for its scores."""
    world = trainer.devices * trainer.nodes
    for name, images in (("validation", splits.val), ("test", splits.test)):
        if len(images) < world:
            raise UserError(
                f"trainer.devices x trainer.nodes is {world}, but there are only {len(images)} {name} images to share. "
                f"Give more {name} images, or take at most {len(images)} devices."
            )
