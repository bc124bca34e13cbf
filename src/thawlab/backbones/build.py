"""A strategy's network: the source's architecture, cut, loaded and headed as the plan says."""

from dataclasses import dataclass

import torch
from torch import nn

from thawlab.backbones.heads import HeadSpec, build_head
from thawlab.backbones.source import BackboneSpec, build_pretrained, build_random, preprocessing_of
from thawlab.backbones.weights import Match, adapted, load, read_weights
from thawlab.data.transforms import Preprocessing
from thawlab.errors import UserError
from thawlab.stages import HEAD, Stage, classifier_names, split_into_stages
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


def build(spec: BackboneSpec, head: HeadSpec, strategy: Strategy, classes: int, lr: float, seed: int) -> Built:
    """Build the network of a strategy for `classes` target classes; random parts are drawn from `seed`.

    Raises UserError for whatever does not fit together, before any training.
    """
    model = build_random(spec, seed)
    stages = split_into_stages(model, spec.stages)
    first_plan = lay(strategy, stages, lr)
    match, metadata = _load_source(spec, model, stages, first_plan)
    preprocessing = preprocessing_of(model, spec, metadata)
    kept = len(first_plan.kept) - 1
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if kept < len(stages) - 1:
            network, body, width = truncate(model, stages, kept, preprocessing.size)
            network.head, names = build_head(head, width, classes), ("head",)
        else:
            network, body = model, stages[:-1]
            names = _replace_classifier(network, head, classes)
    top = _head_stage(network, names)
    plan = lay(strategy, [*body, *stages[kept:-1], top], lr)
    return Built(network, (*body, top), plan, preprocessing, match)


def _load_source(
    spec: BackboneSpec, model: nn.Module, stages: tuple[Stage, ...], plan: Plan
) -> tuple[Match | None, dict[str, str]]:
    sources = [stage for stage, row in zip(stages, plan.rows, strict=True) if row.weights == "source"]
    if spec.weights is not None:
        # Read for random starts too: the file says which mean and deviation make the runs comparable.
        state, metadata = read_weights(spec.weights)
        state = adapted(state, model)
    elif not sources:
        return None, {}
    elif spec.function is not None:
        raise UserError(
            f"backbone.function is {spec.function!r} and this strategy starts from pretrained weights, but "
            "backbone.weights is not set. Give a file, or train from random weights: strategy=scratch."
        )
    else:
        state, metadata = build_pretrained(spec).state_dict(), {}
    if not sources:
        return None, metadata
    wanted = {name for name in model.state_dict() if any(stage.owns(name) for stage in sources)}
    return load(model, state, wanted, spec.allow_partial, spec.weights or spec.name), metadata


def _replace_classifier(network: nn.Module, head: HeadSpec, classes: int) -> tuple[str, ...]:
    """Put the new head in the classifier's place, or one in each place of a two-headed model; returns the places."""
    places = classifier_names(network)
    for name in places:
        old = network.get_submodule(name)
        if not isinstance(old, nn.Linear):
            _reset_classifier(network, head, classes)
            return places
        parent, _, attribute = name.rpartition(".")
        setattr(network.get_submodule(parent), attribute, build_head(head, old.in_features, classes))
    if hasattr(network, "num_classes"):
        network.num_classes = classes  # pyright: ignore[reportArgumentType]
    return places


def _reset_classifier(network: nn.Module, head: HeadSpec, classes: int) -> None:
    if head.kind != "linear" or not hasattr(network, "reset_classifier"):
        raise UserError(
            f"head.kind is {head.kind!r}, but the classifier of {type(network).__name__} is no linear layer. "
            "Take head=linear for this backbone."
        )
    network.reset_classifier(classes)  # pyright: ignore[reportCallIssue]


def _head_stage(network: nn.Module, places: tuple[str, ...]) -> Stage:
    names = tuple(n for n, _ in network.named_parameters() if any(n.startswith(f"{place}.") for place in places))
    return Stage(HEAD, names, places, sum(network.get_parameter(n).numel() for n in names))
