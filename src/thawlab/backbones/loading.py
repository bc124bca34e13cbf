"""The source's weights into the stages that start from them, fitted to the size and channels of the images."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from thawlab.backbones.channels import adapted_input
from thawlab.backbones.resizing import Changes, size_line, state_shapes
from thawlab.backbones.source import SourceImages, published_weights
from thawlab.backbones.spec import BackboneSpec
from thawlab.backbones.weights import Match, adapted, load, without_prefix
from thawlab.data.preprocessing import Preprocessing
from thawlab.errors import UserError
from thawlab.stages import Stage


@dataclass(frozen=True)
class Loaded:
    """What came from the source, and what was done to make it fit, a line each; match is None where nothing did."""

    match: Match | None
    notes: tuple[str, ...] = ()


def load_source(
    spec: BackboneSpec,
    state: Mapping[str, Tensor] | None,
    model: nn.Module,
    stages: Sequence[Stage],
    source: SourceImages,
    preprocessing: Preprocessing,
) -> Loaded:
    """Load `stages` from `state`, what backbone.weights holds, else from the library's published weights."""
    if not stages:
        return Loaded(None)
    own = model.state_dict()
    given = without_prefix(dict(state if state is not None else published_weights(spec)), own)
    channels = preprocessing.channels
    fitted, first = adapted_input(adapted(given, model), model, source.channels, channels)
    wanted = {name for name in own if any(stage.owns(name) for stage in stages)}
    try:
        match = load(model, fitted, wanted, spec.allow_partial, spec.weights or spec.name)
    except UserError as error:
        if source.architecture not in (None, spec.name):
            raise UserError(f"{error} The file says what it is of: {source.architecture}.") from error
        if source.size in (None, preprocessing.size):
            raise
        raise UserError(
            f"{error} The source saw images of {source.size} pixels, and backbone.size is {preprocessing.size}: of "
            f"some networks the weights cannot be resampled. Then give backbone.size={source.size}."
        ) from error
    changed = {
        name: (tuple(given[name].shape), tuple(own[name].shape))
        for name in match.matched
        if name in given and name not in first and given[name].shape != own[name].shape
    }
    sizes = _size_notes(spec, source, preprocessing, own, changed)
    return Loaded(match, (*sizes, *_channel_notes(first, source, channels)))


def _size_notes(
    spec: BackboneSpec, source: SourceImages, preprocessing: Preprocessing, own: Mapping[str, Tensor], changed: Changes
) -> tuple[str, ...]:
    size, saw = preprocessing.size, source.size
    if spec.weights is None or source.size_told or saw is None:
        return (size_line(spec, size, saw, preprocessing.channels, changed),) if saw != size or changed else ()
    # The file does not say what it saw: its position embeddings may.
    there = state_shapes(spec, saw, preprocessing.channels)
    by_size = [name for name, tensor in own.items() if there.get(name) != tuple(tensor.shape)]
    if changed:
        as_usual = all(there.get(name) == before for name, (before, _) in changed.items())
        return (size_line(spec, size, saw if as_usual else None, preprocessing.channels, changed),)
    if by_size or saw == size:
        return ()
    return (f"{size_line(spec, size, saw, preprocessing.channels, changed)} (its file does not say: {saw} is usual)",)


def _channel_notes(first: Sequence[str], source: SourceImages, channels: int) -> tuple[str, ...]:
    if not first:
        return ()
    what = "1 channel" if channels == 1 else f"{channels} channels"
    how = "summed" if channels == 1 else f"repeated in turn and scaled by {source.channels}/{channels}"
    return (f"{what}, the source's weights read {source.channels}: {', '.join(first)} {how}",)
