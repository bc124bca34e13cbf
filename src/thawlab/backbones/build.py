"""A strategy's network: the source's architecture, cut, loaded and headed as the plan says."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from thawlab.backbones.heads import HeadSpec, build_head
from thawlab.backbones.source import BackboneSpec, build_pretrained, build_random, preprocessing_of, size_told
from thawlab.backbones.weights import Match, adapted, load, read_weights
from thawlab.data.preprocessing import Preprocessing
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
    # Read for random starts too: the file says which size, mean and deviation make the runs comparable.
    state, metadata = read_weights(spec.weights) if spec.weights is not None else (None, {})
    spec = replace(spec, size=spec.size or size_told(metadata))
    model = build_random(spec, seed)
    stages = split_into_stages(model, spec.stages)
    first_plan = lay(strategy, stages, lr)
    match = _load_source(spec, state, model, stages, first_plan)
    unloaded = _unloaded(model, stages, match)
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
            _check_size(network, preprocessing.size)
    top = _head_stage(network, names)
    plan = _lay(strategy, [*body, *stages[kept:-1], top], lr, unloaded)
    return Built(network, (*body, top), plan, preprocessing, match)


def _load_source(
    spec: BackboneSpec,
    state: Mapping[str, Tensor] | None,
    model: nn.Module,
    stages: tuple[Stage, ...],
    plan: Plan,
) -> Match | None:
    """Load the stages that start from the source: from `state`, what backbone.weights holds, else from timm."""
    sources = [stage for stage, row in zip(stages, plan.rows, strict=True) if row.weights == "source"]
    if not sources:
        return None
    if state is not None:
        state = adapted(state, model)
    elif spec.function is not None:
        raise UserError(
            f"backbone.function is {spec.function!r} and this strategy starts from pretrained weights, but "
            "backbone.weights is not set. Give a file, or train from random weights: strategy=scratch."
        )
    else:
        state = build_pretrained(spec).state_dict()
    wanted = {name for name in model.state_dict() if any(stage.owns(name) for stage in sources)}
    return load(model, state, wanted, spec.allow_partial, spec.weights or spec.name)


def _unloaded(model: nn.Module, stages: Sequence[Stage], match: Match | None) -> frozenset[str]:
    """Names of the stages that were to come from the source, but of which it had nothing: they start random."""
    if match is None:
        return frozenset()
    loaded = set(match.matched)
    owned = {stage.name: {n for n in model.state_dict() if stage.owns(n)} for stage in stages}
    return frozenset(name for name, tensors in owned.items() if tensors and not tensors & loaded)


def _lay(strategy: Strategy, stages: Sequence[Stage], lr: float, unloaded: frozenset[str]) -> Plan:
    """Lay the strategy; stages in `unloaded` are random, so that source_rate is not for them."""
    plan, at_full_rate = lay(strategy, stages, lr), lay(replace(strategy, source_rate=1.0), stages, lr)
    rows = (
        replace(full, weights="random") if row.stage in unloaded and row.weights == "source" else row
        for row, full in zip(plan.rows, at_full_rate.rows, strict=True)
    )
    return replace(plan, rows=tuple(rows))


def _check_size(network: nn.Module, size: int) -> None:
    """Run the network once: some shrink a small image to nothing, or take one size only."""
    was_training = network.training
    network.eval()
    try:
        with torch.no_grad():
            network(torch.zeros(1, 3, size, size))
    except Exception as error:  # networks raise many kinds
        raise UserError(
            f"backbone.size is {size}, but {type(network).__name__} does not run on images of {size} pixels "
            f"({type(error).__name__}: {' '.join(str(error).split())[:200]}). Give the size that it was made for, "
            "or a larger one."
        ) from error
    network.train(was_training)


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
    if head.dropout:
        raise UserError(
            f"head.dropout is {head.dropout}, but the classifier of {type(network).__name__} is no linear layer, and "
            "what takes its place has no dropout. Give head.dropout=0 for this backbone."
        )
    network.reset_classifier(classes)  # pyright: ignore[reportCallIssue]


def _head_stage(network: nn.Module, places: tuple[str, ...]) -> Stage:
    names = tuple(n for n, _ in network.named_parameters() if any(n.startswith(f"{place}.") for place in places))
    return Stage(HEAD, names, places, sum(network.get_parameter(n).numel() for n in names))
