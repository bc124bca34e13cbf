"""A run's source network and training images → how near they are. No other image is looked at."""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from types import EllipsisType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import softmax
from torch import Tensor, nn
from torch.nn import functional

from thawlab.boundary import captured
from thawlab.costs import count_flops
from thawlab.data.images import ImageSet, Splits
from thawlab.data.preprocessing import Preprocessing
from thawlab.data.remembering import remembering
from thawlab.data.splits import load_splits
from thawlab.errors import UserError
from thawlab.prepare import row_store, specs_of
from thawlab.similarity import scores
from thawlab.similarity.kept import Features, Gathered, key_of, read_or_gather
from thawlab.similarity.measured import Similarity, StageSimilarity
from thawlab.similarity.source import Source, source_network
from thawlab.similarity.taps import LOGITS, Tap, stage_distance, taps_of, values_written, watching
from thawlab.store.rowstore import RowStore

MOST = 2000  # images that are measured
# Of a network that is dear to run fewer, so that two cores are done in under a minute; never fewer than LEAST.
PASS_FLOPS, LEAST = 1.5e12, 500
# What writing a value costs: depthwise convolutions and norms wait for memory, and take the time of so many operations.
VALUE_FLOPS = 250
AT_ONCE = 32  # images in a batch
PICTURE = 16  # pixels each way of what features must beat
# A network of random weights costs as much as the source: not where both passes would take minutes on two cores.
TWIN_FLOPS = 3e12
SAMPLE = 4  # a stream of random numbers of its own, beside those of `data.splits`


def measure(
    config: Mapping[str, Any],
    splits: Splits | None = None,
    store: RowStore | EllipsisType | None = ...,
    most: int = MOST,
) -> Similarity:
    """Measure a resolved config's backbone, with its source weights, on the training images of its dataset.

    `splits`: where they are read already. `store`: where what the network gives is kept; by default as `cache` says,
    None: nowhere. Of more than `most` training images, or more than the network sees for `PASS_FLOPS` (`LEAST` at
    least), a stratified sample is measured, drawn from the config's seed. The same config gives the same numbers, bit
    for bit on one CPU. Raises UserError where the network cannot be built, or the images are of several labels each.
    """
    specs = specs_of(config)
    rows = row_store(specs.cache) if isinstance(store, EllipsisType) else store
    if splits is None:
        with remembering(rows):
            splits = load_splits(specs.dataset, specs.seed)
    if splits.task != "multiclass":
        raise UserError(
            f"dataset.task is {splits.task}, but similarity is measured between classes of which each image has one. "
            "Choose a strategy yourself, as strategy=partial."
        )
    started = time.perf_counter()
    labels = splits.train.labels
    source = source_network(specs.backbone, specs.seed, specs.dataset.channels)
    effort = _effort(source)
    places = sample(labels, min(most, max(LEAST, int(PASS_FLOPS / effort))), specs.seed)
    device = torch.device("cuda" if specs.trainer.accelerator == "gpu" else "cpu")
    twin = source.twin() if effort * len(places) <= TWIN_FLOPS else None
    found = read_or_gather(
        rows,
        lambda: key_of(source, twin, len(places), device.type),
        [splits.digests["train"][place] for place in places] if "train" in splits.digests else [],
        lambda: gather(source, twin, splits.train, places, device),
    )
    drawn = (f"measured on {len(places)} of {len(labels)} training images, drawn in the shares of their classes",)
    notes = (*found.notes, *(drawn if len(places) < len(labels) else ()))
    return _scored(found, labels[places], specs.seed, notes, started)


def sample(labels: NDArray[np.integer], most: int, seed: int) -> NDArray[np.int64]:
    """Places of `most` images, sorted, in the shares of their classes: all where there are no more.

    Of each class at least one: of more classes than `most` one image each.
    """
    if len(labels) <= most:
        return np.arange(len(labels))
    classes, counts = np.unique(labels, return_counts=True)
    exact = counts * most / len(labels)
    quotas = np.maximum(np.floor(exact).astype(np.int64), 1)
    by_remainder = np.argsort(quotas - exact, kind="stable")
    quotas[by_remainder[: max(most - int(quotas.sum()), 0)]] += 1
    while quotas.sum() > max(most, len(classes)):  # what small classes have in excess, others lack
        quotas[np.where(quotas > 1, quotas - exact, -np.inf).argmax()] -= 1
    drawn = [
        np.random.default_rng([seed, SAMPLE, int(label)]).permutation(np.flatnonzero(labels == label))[:quota]
        for label, quota in zip(classes, quotas, strict=True)
    ]
    return np.sort(np.concatenate(drawn))


def _effort(source: Source) -> float:
    """Of one image's forward pass: its FLOPs, and `VALUE_FLOPS` for each value that a module with parameters writes."""
    shape = (source.preprocessing.channels, *2 * (source.preprocessing.size,))
    return count_flops(source.network, shape, ()).forward + VALUE_FLOPS * values_written(source.network, shape)


def gather(
    source: Source, twin: nn.Module | None, images: ImageSet, places: NDArray[np.int64], device: torch.device
) -> Gathered:
    """Every image once through the network, and through its twin."""
    taps, notes = taps_of(source)
    network = _ready(source.network, device)
    last = [tap for tap in taps if tap.stage == source.stages[-2].name] if twin is not None else []
    beside = _ready(twin, device) if twin is not None else network
    answers, pictures, random = [], [], []
    behind: list[list[Tensor]] = [[] for _ in taps]
    with torch.inference_mode(), watching(network) as moments:
        for fitted in _batches(images, places, source.preprocessing):
            seen = source.preprocessing.normalise(fitted).to(device).contiguous(memory_format=torch.channels_last)
            given, logits = _run(network, seen, taps)
            for part, features in zip(behind, given, strict=True):
                part.append(features)
            answers.append(logits)
            random += [_run(beside, seen, [tap])[0][0] for tap in last]
            pictures.append(functional.adaptive_avg_pool2d(fitted / 255, min(PICTURE, fitted.shape[-1])).flatten(1))
    stages = {stage.name: stage for stage in source.stages}
    if twin is None:
        notes = (*notes, "the same network with random weights is not measured: it would cost as much again")
    return Gathered(
        {tap.stage: _joined(part) for tap, part in zip(taps, behind, strict=True)},
        {tap.stage: stage_distance(network, stages[tap.stage], moments) for tap in taps},
        _joined(answers) if source.classifies else None,
        _joined(pictures),
        _joined(random) if random else None,
        notes,
    )


def _ready(network: nn.Module, device: torch.device) -> nn.Module:
    return network.eval().to(device).to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]


def _batches(images: ImageSet, places: NDArray[np.int64], preprocessing: Preprocessing) -> Iterator[Tensor]:
    """The images at these places as evaluation sees them: uint8 (n, channels, size, size)."""
    for start in range(0, len(places), AT_ONCE):
        yield torch.stack([preprocessing.fit(images.load(int(i))) for i in places[start : start + AT_ONCE]])


def _run(network: nn.Module, images: Tensor, taps: Sequence[Tap]) -> tuple[list[Tensor], Tensor]:
    """Each tap's features (n, width), and the logits (n, classes)."""
    captures = tuple(dict.fromkeys([*(capture for tap in taps for capture in tap.captures), LOGITS]))
    found = dict(zip(captures, captured(network, captures, images), strict=True))
    return [tap.pooled(found).cpu() for tap in taps], found[LOGITS].float().flatten(1).cpu()


def _joined(parts: Sequence[Tensor]) -> Features:
    return torch.cat(list(parts)).numpy()


def _scored(
    found: Gathered, labels: NDArray[np.integer], seed: int, notes: tuple[str, ...], started: float
) -> Similarity:
    counts = np.unique(labels, return_counts=True)[1]
    stages = tuple(
        StageSimilarity(
            stage=name,
            width=features.shape[1],
            log_evidence=_of(scores.log_evidence, features, labels),
            h_score=_of(scores.h_score, features, labels),
            nearest_neighbour=_of(scores.nearest_neighbour, features, labels),
            linear_probe=_of(partial(scores.linear_probe, seed=seed), features, labels),
            norm_distance=found.distances[name],
        )
        for name, features in found.features.items()
    )
    return Similarity(
        images=len(labels),
        classes=len(counts),
        per_class_min=int(counts.min()),
        per_class_mean=float(counts.mean()),
        chance=float(counts.max() / len(labels)),
        stages=stages,
        leep=None if found.logits is None else scores.leep(softmax(found.logits.astype(np.float64), axis=1), labels),
        pixels_probe=scores.linear_probe(found.pixels, labels, seed),
        random_probe=None if found.twin is None else _of(partial(scores.linear_probe, seed=seed), found.twin, labels),
        seconds=time.perf_counter() - started,
        notes=notes,
    )


def _of(score: Callable[[Features, NDArray[np.integer]], float], features: Features, labels: Any) -> float:
    """NaN for features that are no numbers, as those of a network whose weights went astray."""
    return score(features, labels) if np.isfinite(features).all() else math.nan
