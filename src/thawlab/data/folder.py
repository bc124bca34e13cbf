"""Images in folders: one folder for each class, with or without a folder for each split above them."""

from pathlib import Path

from thawlab.data.encoded import Entry, pools_of
from thawlab.data.images import Pools
from thawlab.data.listing import list_folder
from thawlab.data.spec import DatasetSpec
from thawlab.data.stores import FolderStore


def read_folder(spec: DatasetSpec) -> Pools:
    """Read `root/{train,val,test}/class/...` as given, or `root/class/...` to be split by us.

    What is not given is drawn; `pools_of` says how. Raises UserError for whatever `list_folder` refuses.
    """
    root = Path(spec.root or "").expanduser()
    listing = list_folder(root)
    classes = tuple(sorted(listing.parts["train"].classes))
    entries = [
        Entry(part, label, file)
        for part, held in listing.parts.items()
        for label, name in enumerate(classes)
        for file in held.classes[name]
    ]
    return pools_of(spec, FolderStore(root), classes, entries, listing.notes)
