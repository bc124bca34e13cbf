"""A strategy's network: the source's architecture, cut, loaded and headed as the plan says."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import nn

from thawlab.backbones.checkpointing import checkpoint_activations
from thawlab.backbones.heads import HeadSpec, build_head
from thawlab.backbones.loading import load_source
from thawlab.backbones.reading import read_source
from thawlab.backbones.source import SourceImages
from thawlab.backbones.spec import BackboneSpec
from thawlab.backbones.weights import Match, is_counter
from thawlab.data.preprocessing import Preprocessing
from thawlab.errors import UserError
from thawlab.stages import HEAD, Stage, classifier_names
from thawlab.strategy import Plan, Strategy, lay
from thawlab.tracing import truncate


@dataclass(frozen=True)
class Built:
    """A network ready to train, and what is known of it."""

    network: nn.Module
    stages: tuple[Stage, ...]  # those the network has, the head last
    plan: Plan
    preprocessing: Preprocessing
    match: Match | None  # None: nothing was loaded
    notes: tuple[str, ...] = ()  # what another size or number of channels than the source's does, a line each


def build(
    spec: BackboneSpec,
    head: HeadSpec,
    strategy: Strategy,
    classes: int,
    lr: float,
    seed: int,
    channels: int = 3,
    checkpointing: bool = False,
) -> Built:
    """Build the network of a strategy for `classes` target classes; random parts are drawn from `seed`.

    Raises UserError for whatever does not fit together, before any training.
    """
    parts = read_source(spec, seed, channels)
    spec, state, model, stages = parts.spec, parts.state, parts.model, parts.stages
    source, preprocessing = parts.images, parts.preprocessing
    first_plan = lay(strategy, stages, lr)
    from_source = [stage for stage, row in zip(stages, first_plan.rows, strict=True) if row.weights == "source"]
    loaded = load_source(spec, state, model, from_source, source, preprocessing)
    origins = _origins(model, stages, loaded.match)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network, body, names = _headed(model, stages, len(first_plan.kept) - 1, head, classes, preprocessing)
    top = _head_stage(network, names)
    plan = _lay(strategy, [*body, *stages[len(body) : -1], top], lr, origins)
    if checkpointing:
        checkpoint_activations(network, body)
    notes = (*loaded.notes, *_statistics(spec, source, preprocessing))
    return Built(network, (*body, top), plan, preprocessing, loaded.match, notes)


def _headed(
    model: nn.Module, stages: tuple[Stage, ...], kept: int, head: HeadSpec, classes: int, images: Preprocessing
) -> tuple[nn.Module, tuple[Stage, ...], tuple[str, ...]]:
    """The network with its new head, the stages below that, and the head's places.

    The head takes the classifier's place; a cut network, and an encoder that has no classifier, gets it on its pooled
    features.
    """
    if kept == len(stages) - 1 and classifier_names(model):
        return model, stages[:-1], _replace_classifier(model, head, classes)
    network, body, width = truncate(model, stages, kept, images.size, images.channels)
    network.head = build_head(head, width, classes)
    return network, body, ("head",)


def _origins(model: nn.Module, stages: Sequence[Stage], match: Match | None) -> dict[str, str]:
    """Of the stages that were to come from the source and are not whole, where they do: `random` or `partly`.

    Batch counters are no weights: a stage of which the source has no more starts random.
    """
    if match is None:
        return {}
    loaded = set(match.matched)
    found = {}
    for stage in stages:
        weights = {name for name in model.state_dict() if stage.owns(name) and not is_counter(name)}
        if weights - loaded:
            found[stage.name] = "partly" if weights & loaded else "random"
    return found


def _lay(strategy: Strategy, stages: Sequence[Stage], lr: float, origins: Mapping[str, str]) -> Plan:
    """Lay the strategy; where a stage starts random after all, source_rate is not for it."""
    plan, at_full_rate = lay(strategy, stages, lr), lay(replace(strategy, source_rate=1.0), stages, lr)
    rows = []
    for row, full in zip(plan.rows, at_full_rate.rows, strict=True):
        origin = origins.get(row.stage, row.weights) if row.weights == "source" else row.weights
        rows.append(replace(full if origin == "random" else row, weights=origin))
    return replace(plan, rows=tuple(rows))


def _replace_classifier(network: nn.Module, head: HeadSpec, classes: int) -> tuple[str, ...]:
    """Put the new head in the classifier's place, or one in each place of a two-headed model; returns the places."""
    places = classifier_names(network)
    if all(isinstance(network.get_submodule(name), nn.Linear) for name in places):
        _put_over(network, places, head, classes)
    elif hasattr(network, "reset_classifier"):
        network.reset_classifier(classes)  # pyright: ignore[reportCallIssue]
        _put_over_new(network, places, head, classes)
    else:
        _check_as_it_is(network, head)
        _widen_convolutions(network, places, classes)
    if hasattr(network, "num_classes"):
        network.num_classes = classes  # pyright: ignore[reportArgumentType]
    return places


def _put_over(network: nn.Module, layers: Sequence[str], head: HeadSpec, classes: int) -> None:
    for name in layers:
        old = network.get_submodule(name)
        assert isinstance(old, nn.Linear)
        _put(network, name, build_head(head, old.in_features, classes))


def _put(network: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, attribute = name.rpartition(".")
    setattr(network.get_submodule(parent), attribute, module)


def _put_over_new(network: nn.Module, places: Sequence[str], head: HeadSpec, classes: int) -> None:
    """The head over what the model has just made itself: encoders have an identity until then, others more layers.

    Of more layers (LeViT's norm before its linear one, CrossViT's linear one for each branch) the others stay.
    """
    for place in places:
        inside = [
            f"{place}.{name}".rstrip(".")
            for name, module in network.get_submodule(place).named_modules()
            if isinstance(module, nn.Linear) and module.out_features == classes
        ]
        if not inside:
            _check_as_it_is(network, head)
        _put_over(network, inside, head, classes)


def _check_as_it_is(network: nn.Module, head: HeadSpec) -> None:
    """Raise UserError for a head that cannot be put over a classifier without a linear layer."""
    if head.kind != "linear":
        raise UserError(
            f"head.kind is {head.kind!r}, but the classifier of {type(network).__name__} is no linear layer. "
            "Take head=linear for this backbone."
        )
    if head.dropout:
        raise UserError(
            f"head.dropout is {head.dropout}, but the classifier of {type(network).__name__} is no linear layer, and "
            "what takes its place has no dropout. Give head.dropout=0 for this backbone."
        )


def _widen_convolutions(network: nn.Module, places: Sequence[str], classes: int) -> None:
    """A convolution for `classes` in place of each that classifies; UserError for anything else."""
    for name in places:
        old = network.get_submodule(name)
        if not isinstance(old, nn.Conv2d):
            raise UserError(
                f"The classifier of {type(network).__name__} ({name}) is a {type(old).__name__}. "
                "Make it a linear layer or a convolution, or give the network a reset_classifier(classes)."
            )
        new = nn.Conv2d(old.in_channels, classes, old.kernel_size, old.stride, old.padding, bias=old.bias is not None)  # pyright: ignore[reportArgumentType]
        _put(network, name, new)


def _statistics(spec: BackboneSpec, source: SourceImages, preprocessing: Preprocessing) -> tuple[str, ...]:
    """Say where the mean and deviation of another number of channels than the source's come from."""
    channels = preprocessing.channels
    if channels == source.channels or (spec.mean and spec.std):
        return ()
    how = f"the mean of the source's {source.channels}" if channels == 1 else f"the source's {source.channels} in turn"
    return (f"mean {_listed(preprocessing.mean)}, deviation {_listed(preprocessing.std)}: {how}",)


def _listed(values: Sequence[float]) -> str:
    return " ".join(f"{value:.3f}" for value in values)


def _head_stage(network: nn.Module, places: tuple[str, ...]) -> Stage:
    names = tuple(n for n, _ in network.named_parameters() if any(n.startswith(f"{place}.") for place in places))
    return Stage(HEAD, names, places, sum(network.get_parameter(n).numel() for n in names))
