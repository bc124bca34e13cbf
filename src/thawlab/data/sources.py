"""The sources of images, by their name in `dataset.source`."""

from collections.abc import Callable

from thawlab.data.embedded import read_digits, read_made
from thawlab.data.folder import read_folder
from thawlab.data.idx import read_idx
from thawlab.data.images import Pools
from thawlab.data.spec import MADE_SOURCES, DatasetSpec
from thawlab.data.table import read_table

_READERS: dict[str, Callable[[DatasetSpec], Pools]] = {
    "digits": read_digits,
    **dict.fromkeys(MADE_SOURCES, read_made),
    "folder": read_folder,
    "idx": read_idx,
    "table": read_table,
}


def read(spec: DatasetSpec) -> Pools:
    """Read the images of `spec`, not yet split. Raises UserError for whatever stands in the way."""
    return _READERS[spec.source](spec)
