"""What a source hands over before it is split."""

from dataclasses import dataclass

from thawlab.data.images import ImagePool
from thawlab.data.spec import DEFAULT_TEST_SHARE


@dataclass(frozen=True)
class Pools:
    """The images of a source. `val` and `test` are None where they are still to be drawn from `train`.

    `test_share` is how much of `train` to draw for testing.
    """

    classes: tuple[str, ...]
    train: ImagePool
    val: ImagePool | None = None
    test: ImagePool | None = None
    test_share: float = DEFAULT_TEST_SHARE
    notes: tuple[str, ...] = ()
