"""The typed config groups, registered with Hydra so that a typo fails before any work is done.

Plain dataclasses (a frozen one in Hydra's ConfigStore raises `ReadonlyConfigError`); `run` turns each
into a frozen, self-validating domain object. Imports no torch: `--help` answers at once.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Optional, Union

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, OmegaConf

# ruff: noqa: UP007, UP045 - OmegaConf 2.3 reads Optional and Union only in this form.


@dataclass
class BackboneConfig:
    """The pretrained network."""

    name: str = MISSING  # a name that the library knows, or a label for `function`
    library: str = "timm"  # timm, torchvision
    function: Optional[str] = None  # "file.py:function" or "package.module:function" that builds any nn.Module
    weights: Optional[str] = None  # safetensors, checkpoint or a run's folder; null: the library's own pretrained ones
    allow_partial: bool = False  # accept weights that fit only in part
    stages: str = "coarse"  # coarse: as many as people speak of; fine: single blocks
    parts: dict[str, list[str]] = field(default_factory=dict)  # stage -> its modules, where no rule tells the stages
    mean: Optional[list[float]] = None  # null: as the backbone's own data config or the weights' file says
    std: Optional[list[float]] = None  # as mean, of the standard deviation
    size: Optional[int] = None  # pixels, height = width
    interpolation: Optional[str] = None  # bilinear, bicubic, ...; null: as the backbone was trained
    crop: Optional[float] = None  # share of the resized image that the centre crop keeps


@dataclass
class DatasetConfig:
    """The target images."""

    name: str = MISSING  # label in run names and tables
    source: str = MISSING  # digits, characters, characters_near, shapes, folder, idx, table, shards, torchvision, hub
    root: Optional[str] = None  # where the files are: a folder, or a zip or tar of class folders
    id: Optional[str] = None  # torchvision: the data set's class, as CIFAR10; hub: owner/name, or a local folder
    subset: Optional[str] = None  # hub: the data set's configuration; torchvision: its `split`, as EMNIST's letters
    table: Optional[str] = None  # a .csv or .parquet file of paths, labels and, if it likes, splits
    image_column: Optional[str] = None  # table, hub, shards: where the image is; null: found by content or name
    label_column: Optional[str] = None  # table, hub, shards: where the label is; null: found by name; "a,b": marks
    split_column: Optional[str] = None  # table: train, val or test; null: a column called split, if there is one
    task: str = "multiclass"  # multiclass: one class each; multilabel: any number (table, shards, torchvision, hub)
    separator: str = "|"  # table, multilabel: what stands between the labels of an image
    channels: int = 3  # 1 grey, 3 RGB, 4 RGBA, more: bands of a TIFF or .npy file
    images: Optional[int] = None  # how many to make, all splits together (made tasks only)
    per_class: Optional[int] = None  # train on so many images per class
    share: Optional[float] = None  # train on this share of the training images
    val_share: float = 0.15  # share of the training images held out for validation where no val is given
    test_share: float = 0.2  # share of all images held out for testing where no test is given
    split_seed: int = 0  # draws validation and test; never changes with `seed`
    bad_images: str = "error"  # error: refuse unreadable files; quarantine: leave them out, and list them


@dataclass
class ThawConfig:
    """When the trained stages start to train."""

    when: str = "start"  # start, every, after, schedule, plateau
    epochs: int = 1  # every: one stage each so many epochs; after: everything below the head at this epoch
    schedule: dict[str, int] = field(default_factory=dict)  # stage -> first epoch
    patience: int = 2  # plateau: epochs without improvement before the next stage


@dataclass
class StrategyConfig:
    """How much of the network to keep, freeze and train."""

    name: str = MISSING  # label in run names and tables
    weights: str = "pretrained"  # where kept stages start: pretrained or random
    keep: Union[int, float, str] = 1.0  # how much of the backbone, from the input: share, count or stage name
    fresh: int = 0  # how many kept stages nearest the head start from random weights
    train: Union[int, float, str] = 1.0  # how much of the kept backbone trains, from the head down; 0: the head alone
    thaw: ThawConfig = field(default_factory=ThawConfig)
    layer_decay: float = 1.0  # each stage's rate is this multiple of the rate of the stage above it
    source_rate: float = 1.0  # further multiple for stages that go on from the source's weights; new ones need more
    rates: dict[str, float] = field(default_factory=dict)  # stage -> rate, in place of layer_decay and source_rate
    norm: str = "source"  # frozen norms: source (keep statistics) or adapt
    auto: bool = False  # measure source and images, and choose all of the above but norm, and optimizer.lr


@dataclass
class HeadConfig:
    """What is trained new on top."""

    kind: str = "linear"  # linear, mlp, cosine
    hidden: list[int] = field(default_factory=list)  # mlp: widths of the hidden layers
    dropout: float = 0.0  # share of the features dropped in training
    scale: float = 16.0  # cosine: logits are scale * cos(feature, class weight)


@dataclass
class OptimizerConfig:
    """How the weights are stepped."""

    name: str = "adamw"  # adamw, sgd, rmsprop, lion, or any other that timm knows
    lr: float = 1e-3  # the head's peak rate; the plan derives every other stage's from it
    weight_decay: float = 0.01  # on weight matrices and kernels; never on norms and biases
    momentum: float = 0.9  # of those optimizers that have one
    options: dict[str, Any] = field(default_factory=dict)  # further arguments of the optimizer, as {betas: [0.9, 0.99]}


@dataclass
class ScheduleConfig:
    """How each rate moves from step to step."""

    name: str = "cosine"  # constant, cosine, warmup_cosine, one_cycle, slanted_triangular, plateau
    warmup: float = 0.1  # share of the steps spent rising (warmup_cosine, one_cycle, slanted_triangular)
    floor: float = 0.0  # lowest rate as a share of the peak
    factor: float = 0.1  # plateau: multiply the rates by this
    patience: int = 3  # plateau: epochs without improvement before that


@dataclass
class LossConfig:
    """What training makes small."""

    name: str = "standard"  # standard: cross-entropy, or binary for several labels; focal; binary
    label_smoothing: float = 0.0  # share of each label spread over all classes
    gamma: float = 2.0  # focal: how much easy images count for less
    class_weights: str = "none"  # none; balanced: a class counts by the inverse of its number of training images


@dataclass
class AugmentConfig:
    """What changes in a training image from epoch to epoch."""

    name: str = "none"  # label in tables
    scale: float = 1.0  # smallest share of the image's area that a random crop shows; 1: no random crop
    flip: float = 0.0  # probability of a horizontal flip
    rotate: float = 0.0  # degrees, each way
    shift: float = 0.0  # share of the side, each way
    jitter: float = 0.0  # strength of brightness, contrast and saturation changes
    randaugment: int = 0  # operations drawn for each image (RandAugment); 0: none
    magnitude: int = 9  # strength of those operations, 0 to 30
    erase: float = 0.0  # probability that a rectangle is erased
    mixup: float = 0.0  # alpha of the Beta distribution by which two images are blended; 0: none
    cutmix: float = 0.0  # alpha of the one by which a part of another image is pasted in; 0: none
    tta: int = 0  # test-time augmentation: so many augmented views of a test image are averaged with the plain one


@dataclass
class TrainerConfig:
    """How long, on what, how exactly."""

    accelerator: str = "cpu"  # cpu, gpu
    devices: int = 1  # processes on each machine, one device each
    nodes: int = 1  # machines
    precision: str = "auto"  # auto: bf16 where the device computes in it and it pays; fp32, bf16, fp16 (GPU)
    channels_last: bool = True  # memory layout: faster for convolutions
    epochs: int = 30  # passes over the training images
    batch_size: Union[int, str] = 16  # images per step, all devices and accumulated batches; auto: as memory allows
    accumulate: int = 1  # batches per optimizer step
    clip_norm: Optional[float] = None  # gradient norm
    sampling: str = "plain"  # plain: every image once an epoch; balanced: every class equally often
    ema_decay: Optional[float] = None  # test a moving average of the weights, which keeps so much of itself each step
    checkpointing: bool = False  # compute activations again in the backward pass: less memory, more seconds
    early_stopping: Optional[int] = None  # epochs without a better validation metric before the run ends
    monitor: Optional[str] = None  # validation score that says what epoch was best; null: as the task asks
    workers: int = 0  # data loading processes
    threads: Optional[int] = None  # CPU threads of torch; null: all cores
    deterministic: bool = True  # the same command gives the same weights, bit for bit, on the same machine


@dataclass
class CacheConfig:
    """What is computed once and kept on disk: what frozen stages give for an image, and decoded images."""

    mode: str = "auto"  # auto: where it saves more than it costs; on: wherever it can be; off
    folder: str = "outputs/.cache"  # shared by all runs; python scripts/cache.py lists, verifies and prunes it
    max_gb: float = 20.0  # the folder never grows past this; what was used longest ago goes first
    dtype: str = "float32"  # of what frozen stages give: float32, or in half the space bfloat16 or float16
    views: int = 0  # keep so many augmented views of each training image, and walk through them by epoch; 0: none


@dataclass
class CheckpointConfig:
    """What a run saves on its way, to go on from after a kill."""

    minutes: float = 1.0  # save at the next optimizer step after so long; 0: never by the clock
    steps: Optional[int] = None  # save after so many optimizer steps as well


@dataclass
class LaunchConfig:
    """How the runs of a sweep are started."""

    jobs: Union[int, str] = "auto"  # runs at a time; auto: one for each GPU, or on a CPU one
    timeout_minutes: Optional[float] = None  # a run that takes longer is saved and ended, its status `timeout`


@dataclass
class LoggerConfig:
    """What is drawn while a run goes on."""

    tensorboard: bool = True  # write curves and pictures for TensorBoard
    images: int = 16  # example predictions shown; 0: no images
    progress: str = "auto"  # auto: a bar in a terminal, lines elsewhere; bar, lines, off


@dataclass
class SourceCostConfig:
    """What it cost to train the source network."""

    seconds: Optional[float] = None  # wall time; null: as the demonstration network or a run's folder tells
    flops: Optional[float] = None  # floating-point operations; null as above
    images: Optional[float] = None  # images seen in training, repeats counted; null as above


@dataclass
class StudyConfig:
    """Many runs by one command, that answer one question together."""

    kind: str = "none"  # none: one run; four_cases; depth_profile
    similar: list[str] = field(default_factory=list)  # targets near the source: [dataset=NAME,...]; dataset= begins one
    different: list[str] = field(default_factory=list)  # targets far from it, in the same way
    sizes: list[Union[int, float]] = field(default_factory=list)  # per class, or as shares; first small, last large
    epochs: list[int] = field(default_factory=list)  # trainer.epochs at the first and the last size; []: trainer.epochs
    batch_sizes: list[int] = field(default_factory=list)  # trainer.batch_size in the same way
    strategies: list[str] = field(default_factory=list)  # to compare, if need be with words: "partial strategy.train=1"
    rates: list[float] = field(default_factory=list)  # values of optimizer.lr that are tried for each strategy
    search_seeds: list[int] = field(default_factory=list)  # that they are tried with, judged on validation images
    seeds: list[int] = field(default_factory=list)  # that the chosen rate is run with
    source: SourceCostConfig = field(default_factory=SourceCostConfig)


@dataclass
class Config:
    """One run."""

    backbone: BackboneConfig = field(default_factory=BackboneConfig)
    dataset: DatasetConfig = field(default_factory=DatasetConfig)
    strategy: StrategyConfig = field(default_factory=StrategyConfig)
    head: HeadConfig = field(default_factory=HeadConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    cache: CacheConfig = field(default_factory=CacheConfig)
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
    launch: LaunchConfig = field(default_factory=LaunchConfig)
    logger: LoggerConfig = field(default_factory=LoggerConfig)
    study: StudyConfig = field(default_factory=StudyConfig)
    seed: int = 0  # head weights, order, augmentation, and which images `per_class` and `share` pick
    sweep: Optional[str] = None  # folder of a sweep under outputs/; null: named after the command
    audit: str = "on"  # on: print and check; only: print the table and stop
    rerun: bool = False  # run again although a finished record is there


GROUPS: dict[str, type] = {
    "backbone": BackboneConfig,
    "dataset": DatasetConfig,
    "strategy": StrategyConfig,
    "head": HeadConfig,
    "loss": LossConfig,
    "optimizer": OptimizerConfig,
    "schedule": ScheduleConfig,
    "augment": AugmentConfig,
    "trainer": TrainerConfig,
    "cache": CacheConfig,
    "checkpoint": CheckpointConfig,
    "launch": LaunchConfig,
    "logger": LoggerConfig,
    "study": StudyConfig,
}


def fit_of(config: Mapping[str, Any]) -> str:
    """What decides whether a run can work, for runs to be compared by: all of its settings but seed and rate."""
    return repr({group: config[group] for group in GROUPS} | {"optimizer": {**config["optimizer"], "lr": None}})


# Mappings whose keys are the user's to name: stages, and an optimizer's arguments.
OPEN_ENTRIES = ("strategy.rates", "strategy.thaw.schedule", "backbone.parts", "optimizer.options")


def register() -> None:
    """Make the typed schema known to Hydra under the name `schema`."""
    schema = OmegaConf.structured(Config)
    # Hydra closes every config to new keys; in these users write new ones.
    for entries in OPEN_ENTRIES:
        OmegaConf.set_struct(OmegaConf.select(schema, entries), False)
    ConfigStore.instance().store(name="schema", node=schema)
