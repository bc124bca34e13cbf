"""The sources of images, by their name in `dataset.source`."""

from collections.abc import Callable

from thawlab.data.embedded import read_digits, read_made
from thawlab.data.folder import read_folder
from thawlab.data.idx import read_idx
from thawlab.data.images import Pools
from thawlab.data.shards import read_shards
from thawlab.data.spec import MADE_SOURCES, DatasetSpec
from thawlab.data.table import read_table


def _read_hub(spec: DatasetSpec) -> Pools:
    from thawlab.data.hub import read_hub

    return read_hub(spec)


def _read_torchvision(spec: DatasetSpec) -> Pools:
    from thawlab.data.torchvision_sets import read_torchvision

    return read_torchvision(spec)


_READERS: dict[str, Callable[[DatasetSpec], Pools]] = {
    "digits": read_digits,
    **dict.fromkeys(MADE_SOURCES, read_made),
    "folder": read_folder,
    "idx": read_idx,
    "table": read_table,
    "hub": _read_hub,
    "shards": read_shards,
    "torchvision": _read_torchvision,
}


def read(spec: DatasetSpec) -> Pools:
    """Read the images of `spec`, not yet split. Raises UserError for whatever stands in the way."""
    return _READERS[spec.source](spec)
