"""Reading source weights from a file or a run, saying what matched, and writing those of a run."""

import json
import pickle
import sys
import warnings
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from thawlab.backbones import torchvision_models
from thawlab.errors import UserError, in_words
from thawlab.files import publish
from thawlab.run_files import WEIGHTS as RUN_WEIGHTS
from thawlab.run_files import verify

_WRAPPERS = ("state_dict", "model", "model_state_dict")
_PREFIXES = ("module.", "_orig_mod.", "network.", "model.")  # DDP, torch.compile, Lightning modules
_LENGTH = 8  # bytes that say how long a safetensors file's header is


@dataclass(frozen=True)
class Match:
    """What of a source's weights went into the network."""

    matched: tuple[str, ...]
    missing: tuple[str, ...]  # wanted by the network, not in the source
    misfit: tuple[str, ...]  # in both, with another shape: "name (source shape, network shape)"
    left_out: tuple[str, ...]  # in the source, not wanted: the source's classifier, cut or fresh stages

    def lines(self) -> list[str]:
        """What a person is told."""
        said = [f"{len(self.matched)} tensors loaded from the source"]
        if self.left_out:
            said.append(f"{len(self.left_out)} left out (its classifier, cut or fresh stages): {_few(self.left_out)}")
        if self.missing or self.misfit:
            said.append(f"{len(self.missing) + len(self.misfit)} start random: {_few((*self.missing, *self.misfit))}")
        return said


def read_weights(place: str) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of a safetensors file, a torch checkpoint, or a run's folder.

    Checkpoints are read with `weights_only=True`: nothing in them is executed. Raises UserError naming the file.
    """
    path = Path(place).expanduser()
    if path.is_dir():
        path = path / RUN_WEIGHTS
    if not path.is_file():
        raise UserError(
            f"backbone.weights is {place!r}, but there is no file {path}. "
            f"Give a .safetensors file, a checkpoint, or the folder of a finished run (it holds {RUN_WEIGHTS})."
        )
    if path.name == RUN_WEIGHTS:
        verify(path.parent, RUN_WEIGHTS)
    try:
        return _read_safetensors(path) if path.suffix == ".safetensors" else (_read_checkpoint(path), {})
    except (SafetensorError, pickle.UnpicklingError, EOFError, RuntimeError, ValueError, OSError) as error:
        # torch's own words advise to load it with weights_only=False, which would run what it holds.
        unpickled = isinstance(error, pickle.UnpicklingError)
        reason = "it holds more than plain tensors, or is no checkpoint." if unpickled else f"{in_words(error)}."
        raise UserError(
            f"backbone.weights is {place!r}, but {path.name} cannot be read as weights: {reason} "
            "Give a safetensors file, or a checkpoint of plain tensors."
        ) from error


def write_weights(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write a safetensors file that is the same to the byte for the same content, on disk as `publish` says.

    The library would write the metadata in a random order (https://github.com/safetensors/safetensors/issues/584): here
    they are put before what it writes without. The format: https://github.com/safetensors/safetensors#format
    """
    bare = memoryview(save(dict(tensors)))
    end = _LENGTH + int.from_bytes(bare[:_LENGTH], "little")
    content = {"__metadata__": dict(metadata), **json.loads(bytes(bare[_LENGTH:end]))}
    header = json.dumps(content, ensure_ascii=False).encode()
    header += b" " * (-len(header) % _LENGTH)  # the tensors begin at a multiple of eight
    publish(path, lambda file: file.writelines([len(header).to_bytes(_LENGTH, "little"), header, bare[end:]]))


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    with safe_open(path, framework="pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118


def _read_checkpoint(path: Path) -> dict[str, Tensor]:
    with warnings.catch_warnings(action="ignore"):  # of old protocols and TorchScript: what matters is raised
        content: Any = torch.load(path, map_location="cpu", weights_only=True)
    for key in _WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
            break
    if not isinstance(content, Mapping) or not content or not all(isinstance(v, Tensor) for v in content.values()):
        raise ValueError("it holds no mapping of names to tensors.")
    return dict(content)


def adapted(state: Mapping[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """The source's tensors under the model's names: wrappers' prefixes removed, then the library's own conversion.

    timm's or torchvision's, where the architecture has one, renames keys of the original releases and resamples
    position embeddings to the model's input size. What fits already is left as it is.
    """
    own = model.state_dict()
    state = without_prefix(dict(state), own.keys())
    convert = _conversion(model)
    if convert is None:
        return state
    try:
        converted = convert(dict(state), model)
    except (AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError):
        return state  # of another architecture: `load` says what does not fit
    return {**converted, **{n: t for n, t in state.items() if n in own and t.shape == own[n].shape}}


def _conversion(model: nn.Module) -> Callable[[dict[str, Tensor], nn.Module], Mapping[str, Tensor]] | None:
    place = type(model).__module__
    if place.startswith("torchvision."):
        return torchvision_models.converted
    return getattr(sys.modules.get(place), "checkpoint_filter_fn", None)


def without_prefix(state: dict[str, Tensor], own: Collection[str]) -> dict[str, Tensor]:
    """Names without what DDP, Lightning and the like put before them, unless they are the model's own already."""
    while not any(name in own for name in state):
        prefix = next((p for p in _PREFIXES if any(name.startswith(p) for name in state)), None)
        if prefix is None:
            break
        state = {name.removeprefix(prefix): tensor for name, tensor in state.items()}
    return state


def load(
    model: nn.Module, state: Mapping[str, Tensor], wanted: Collection[str], allow_partial: bool, place: str
) -> Match:
    """Copy the tensors named in `wanted` from `state` into `model`.

    Raises UserError where one is missing or has another shape, unless `allow_partial`.
    """
    own = model.state_dict()
    fits = [n for n in own if n in wanted and n in state and state[n].shape == own[n].shape]
    # Files without batch counters are complete: only a momentum of None would read them.
    missing = tuple(n for n in own if n in wanted and n not in state and not is_counter(n))
    misfit = tuple(
        f"{n} ({_shape(state[n])} in the source, {_shape(own[n])} here)"
        for n in own
        if n in wanted and n in state and state[n].shape != own[n].shape
    )
    weights = [n for n in fits if not is_counter(n)]
    if ((missing or misfit) and not allow_partial) or not weights:
        asked = sum(not is_counter(name) for name in wanted)
        raise UserError(_misfit_message(place, len(weights), asked, missing, misfit, state))
    put(model, {n: state[n] for n in fits})
    return Match(tuple(fits), missing, misfit, tuple(n for n in state if n not in fits))


def is_counter(name: str) -> bool:
    """Whether a tensor counts a norm's batches, and is no weight."""
    return name.endswith("num_batches_tracked")


def put(model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Copy tensors of the model's own names into it; those that are not given stay as they are.

    With the versions of its modules' formats, which a plain mapping lacks: torchvision's MNASNet refuses a state
    without.
    """
    versioned = OrderedDict(tensors)
    versioned._metadata = model.state_dict()._metadata  # pyright: ignore[reportAttributeAccessIssue]
    unknown = model.load_state_dict(versioned, strict=False).unexpected_keys
    assert not unknown, unknown


def _misfit_message(
    place: str, fits: int, wanted: int, missing: tuple[str, ...], misfit: tuple[str, ...], state: Mapping[str, Tensor]
) -> str:
    how = f"only in part: {fits} of {wanted} tensors match" if fits else f"nowhere: none of {wanted} tensors matches"
    parts = [f"backbone.weights is {place!r}, but it fits this network {how}."]
    if missing:
        parts.append(f"Missing: {_few(missing)}.")
    if misfit:
        parts.append(f"Other shapes: {_few(misfit)}.")
    if missing:
        parts.append(f"The source has: {_few(tuple(state))}.")
    advice = "To start what does not match from random weights: backbone.allow_partial=true."
    parts += ["Is it another architecture?", advice if fits else "Give the backbone that it is of, or another file."]
    return " ".join(parts)


def _shape(tensor: Tensor) -> str:
    return "x".join(str(side) for side in tensor.shape) or "scalar"


def _few(names: tuple[str, ...], most: int = 3) -> str:
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")
