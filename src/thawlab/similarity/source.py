"""The source network as it was: with its weights, and with its own classifier where these have one."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from thawlab.backbones.loading import load_source
from thawlab.backbones.reading import read_source
from thawlab.backbones.sizes import built_for
from thawlab.backbones.source import published_weights
from thawlab.backbones.spec import BackboneSpec
from thawlab.backbones.weights import adapted, put, without_prefix
from thawlab.data.preprocessing import Preprocessing
from thawlab.stages import Stage, classifier_names

TWIN_SEED = 0  # of the random weights: the same for every seed of a run, so that their features are computed once


@dataclass(frozen=True)
class Source:
    """A source network in evaluation mode; `classifies`: its classifier is the source's own, not a random one."""

    network: nn.Module
    stages: tuple[Stage, ...]
    preprocessing: Preprocessing
    classifies: bool
    spec: BackboneSpec  # of a size that is known

    def twin(self) -> nn.Module:
        """The same architecture with random weights, in evaluation mode."""
        return built_for(self.spec, TWIN_SEED, self.preprocessing.channels).eval()


def source_network(spec: BackboneSpec, seed: int, channels: int) -> Source:
    """Build and load it as a run does; what `backbone.allow_partial` lets start random is drawn from `seed`.

    Raises UserError for whatever does not fit together.
    """
    parts = read_source(spec, seed, channels)
    spec, state, model, stages = parts.spec, parts.state, parts.model, parts.stages
    source, preprocessing = parts.images, parts.preprocessing
    given = published_weights(spec) if state is None else state
    load_source(spec, given, model, stages[:-1], source, preprocessing)
    classifies = (state is not None or _published_classifier(model)) and _load_classifier(model, stages[-1], given)
    return Source(model.eval(), stages, preprocessing, classifies, spec)


def _published_classifier(model: nn.Module) -> bool:
    """Whether timm's weights have the classifier: where they have none, it gives a random one with them."""
    told = (getattr(model, "pretrained_cfg", None) or {}).get("num_classes")
    return told is None or told == getattr(model, "num_classes", told)


def _load_classifier(model: nn.Module, head: Stage, given: Mapping[str, Tensor]) -> bool:
    """Load the classifier, of as many classes as the weights have; whether they have one that fits."""
    own = {name for name in model.state_dict() if head.owns(name)}
    state = adapted(without_prefix(dict(given), model.state_dict()), model)
    if not own or not own <= state.keys():
        return False
    for place in classifier_names(model):
        layer = model.get_submodule(place)
        if isinstance(layer, nn.Linear) and layer.out_features != len(state[f"{place}.weight"]):
            parent, _, name = place.rpartition(".")
            with torch.random.fork_rng(devices=[]):
                other = nn.Linear(layer.in_features, len(state[f"{place}.weight"]), layer.bias is not None)
            setattr(model.get_submodule(parent), name, other)
    shapes = {name: tensor.shape for name, tensor in model.state_dict().items()}
    if any(state[name].shape != shapes[name] for name in own):
        return False
    put(model, {name: state[name] for name in own})
    return True
