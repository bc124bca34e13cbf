"""A split's images as what frozen stages are applied to: which pictures there are, and what tells them apart."""

import hashlib
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from torch import Tensor

from thawlab.data.augment import AugmentSpec
from thawlab.data.order import Key


@dataclass(frozen=True)
class Pictures:
    """Each image once, or, augmented, in `views` fixed views through which the epochs walk.

    Of these views, `shown` are the ones that are meant here, in rising order; None: all.

    `digests` are of the images' content; `load` gives normalised images float32 (n, channels, height, width) for
    (epoch, index) keys; `changing` says why the pictures are others in each epoch, `told` what they depend on besides
    their digests.
    """

    digests: Sequence[bytes]
    load: Callable[[Sequence[Key]], Tensor]
    views: int = 0
    changing: str | None = None
    told: Mapping[str, str] = field(default_factory=dict)
    shown: tuple[int, ...] | None = None

    def __len__(self) -> int:
        return len(self.digests) * len(self._shown)

    def of(self, epochs: range) -> "Pictures":
        """Those alone that these epochs show."""
        return replace(self, shown=tuple(sorted({e % self.views for e in epochs}))) if self.views else self

    @cached_property
    def _shown(self) -> tuple[int, ...]:
        return tuple(range(max(1, self.views))) if self.shown is None else self.shown

    @cached_property
    def _nth(self) -> dict[int, int]:
        return {view: nth for nth, view in enumerate(self._shown)}

    @cached_property
    def items(self) -> list[bytes]:
        """What tells each picture from any other: 32 bytes, in the order of their places.

        What augmentation draws follows from the image's place in the split, so that this is part of a view's.
        """
        if not self.views:
            return list(self.digests)
        return [
            hashlib.sha256(digest + struct.pack("<qq", index, view)).digest()
            for index, digest in enumerate(self.digests)
            for view in self._shown
        ]

    def place(self, key: Key) -> int:
        """Where the picture stands that an epoch shows of an image. Raises KeyError for a view that is not meant."""
        epoch, index = key
        return index * len(self._shown) + self._nth[epoch % self.views] if self.views else index

    def at(self, places: Sequence[int]) -> Tensor:
        """The pictures at these places."""
        views = len(self._shown)
        return self.load([(self._shown[place % views], place // views) for place in places])


def changes(augment: AugmentSpec, views: int) -> str | None:
    """Why what the frozen stages see of a training image differs from epoch to epoch; None where it does not."""
    if augment.mixes:
        return "mixup and cutmix mix images, and what frozen stages give for a mixture is no mixture of what they give"
    if augment.changes and not views:
        return "training images are augmented anew in each epoch (cache.views=4 would keep four views of each)"
    return None
