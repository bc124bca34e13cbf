"""A backbone's specification → its network with random weights, and what the source's weights say of it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from torch import Tensor, nn

from thawlab.backbones.sizes import built_for, check_runs
from thawlab.backbones.source import SourceImages, parts_of, preprocessing_of, size_told, source_images
from thawlab.backbones.spec import BackboneSpec
from thawlab.backbones.weights import read_weights
from thawlab.data.preprocessing import Preprocessing
from thawlab.stages import Stage, split_into_stages


@dataclass(frozen=True)
class SourceParts:
    """A source's network before its weights are loaded, and what these say."""

    spec: BackboneSpec  # of a size that is known
    state: Mapping[str, Tensor] | None  # of backbone.weights; None: there is no such file
    model: nn.Module  # random weights
    images: SourceImages
    preprocessing: Preprocessing
    stages: tuple[Stage, ...]


def read_source(spec: BackboneSpec, seed: int, channels: int) -> SourceParts:
    """Read the weights and build the network that they are for, its random weights drawn from `seed`.

    Raises UserError for whatever does not fit together.
    """
    # Read for random starts too: the file says which size, mean and deviation make the runs comparable.
    state, metadata = read_weights(spec.weights) if spec.weights is not None else (None, {})
    spec = replace(spec, size=spec.size or size_told(metadata))
    model = built_for(spec, seed, channels)
    source = source_images(spec, model, metadata)
    preprocessing = preprocessing_of(spec, source, channels)
    check_runs(model, spec, preprocessing.size, channels)
    stages = split_into_stages(model, spec.stages, parts_of(spec, model), preprocessing.size, channels)
    return SourceParts(spec, state, model, source, preprocessing, stages)
