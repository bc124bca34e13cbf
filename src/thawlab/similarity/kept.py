"""What a source network gives for a set of images, kept on disk as one row: a second measure reads it."""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import timm
import torch
import torchvision
from numpy.typing import NDArray
from torch import Tensor, nn

from thawlab.caching.code import code_of, code_of_function
from thawlab.caching.inside import buffers, told, values
from thawlab.data import pixels
from thawlab.data.framing import Framing
from thawlab.similarity.source import Source
from thawlab.store.faults import StoreError, tell
from thawlab.store.key import Key
from thawlab.store.layout import TensorLayout
from thawlab.store.rowstore import RowStore

FORMAT = "1"  # raised when the same inputs would give another row: taps, pooling, norm distance
LAYOUT = (TensorLayout(None, "float32"), TensorLayout(None, "uint8"))  # the numbers, and what they are as JSON
Features = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Gathered:
    """Of n images: each tapped stage's features (n, width) and norm distance, input to last before the head.

    `logits` (n, source classes) are the source classifier's, `pixels` (n, d) small pictures, `twin` (n, width) the last
    stage's features in the network with random weights; None where there is no such thing.
    """

    features: dict[str, Features]
    distances: dict[str, float | None]
    logits: Features | None
    pixels: Features
    twin: Features | None
    notes: tuple[str, ...] = ()

    def row(self) -> tuple[Tensor, Tensor]:
        """All numbers side by side, float32 (n, widths), and what they are, uint8 (bytes)."""
        others = {"logits": self.logits, "pixels": self.pixels, "twin": self.twin}
        parts = [*self.features.values(), *(part for part in others.values() if part is not None)]
        content = {
            "stages": [[name, part.shape[1], self.distances[name]] for name, part in self.features.items()],
            "others": [[name, part.shape[1]] for name, part in others.items() if part is not None],
            "notes": self.notes,
        }
        text = json.dumps(content).encode()
        return torch.from_numpy(np.concatenate(parts, axis=1)), torch.tensor(list(text), dtype=torch.uint8)

    @classmethod
    def of(cls, numbers: Tensor, text: Tensor) -> "Gathered":
        """What `row` gave."""
        content: dict[str, Any] = json.loads(bytes(text.tolist()))
        widths = [width for _, width, *_ in (*content["stages"], *content["others"])]
        parts = iter(np.split(numbers.numpy(), np.cumsum(widths)[:-1], axis=1))
        features = {name: next(parts) for name, _, _ in content["stages"]}
        others = {name: next(parts) for name, _ in content["others"]}
        distances = {name: distance for name, _, distance in content["stages"]}
        return cls(
            features, distances, others.get("logits"), others["pixels"], others.get("twin"), tuple(content["notes"])
        )


def key_of(source: Source, twin: nn.Module | None, images: int, device: str) -> Key:
    """What the row depends on besides the images: the network's tensors, structure and code, and its pixels."""
    modules = dict(source.network.named_modules())
    spec, preprocessing = source.spec, source.preprocessing
    words = {path: f"{type(module).__qualname__} {module.extra_repr()}" for path, module in modules.items()}
    return Key(
        {
            "kind": "similarity",
            "format": FORMAT,
            "backbone": spec.name,
            "weights": _over(source.network),
            "twin": "" if twin is None else _over(twin),
            "classifies": str(source.classifies),
            "stages": repr(source.stages),
            "attributes": told({**words, **values(modules)}),
            "code": f"{code_of(modules.values())} {code_of_function(spec.function)}",
            "pixels": f"{preprocessing!r}, {pixels.key_of(Framing(preprocessing)).text}",
            "versions": f"torch {torch.__version__}, torchvision {torchvision.__version__}, timm {timm.__version__}",
            "images": str(images),
            "device": device,
        }
    )


def _over(network: nn.Module) -> str:
    tensors = {name: told(parameter.data) for name, parameter in network.named_parameters()}
    tensors |= buffers(dict(network.named_modules()))
    return hashlib.sha256("".join(f"{name!r} {text}\n" for name, text in sorted(tensors.items())).encode()).hexdigest()


def read_or_gather(
    store: RowStore | None, key: Callable[[], Key], digests: Sequence[bytes], gather: Callable[[], Gathered]
) -> Gathered:
    """What is kept of images with these digests, in their order, else what is gathered, and kept from then on.

    Without a store, or without digests, nothing is kept; nor, after a line that says why, where it cannot be.
    """
    if store is None or not digests:
        return gather()
    made: list[Gathered] = []

    def compute(_places: list[int]) -> Iterator[tuple[list[Tensor], ...]]:
        made.append(gather())
        yield tuple([tensor] for tensor in made[0].row())

    try:
        rows = store.open(key(), [hashlib.sha256(b"".join(digests)).digest()], LAYOUT, compute, 4096.0 * len(digests))
        numbers, text = cast("tuple[list[Tensor], list[Tensor]]", rows.gather(torch.zeros(1, dtype=torch.int64)))
        return Gathered.of(numbers[0], text[0])
    except StoreError as error:
        tell(f"  cache: what the source network gives is not kept, so that a second measure computes it again: {error}")
        return made[0] if made else gather()
