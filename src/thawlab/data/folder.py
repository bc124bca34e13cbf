"""Images in folders, or in an archive of them: a folder for each class, below a folder for each split or not."""

from thawlab.data.encoded import Entry, pools_of
from thawlab.data.images import Pools
from thawlab.data.listing import list_classes, without_wrapper
from thawlab.data.spec import DatasetSpec
from thawlab.data.trees import tree_of


def read_folder(spec: DatasetSpec) -> Pools:
    """Read `root/{train,val,test}/class/...` as given, or `root/class/...` to be split by us.

    What is not given is drawn; `pools_of` says how. Raises UserError for whatever `list_classes` refuses.
    """
    tree = without_wrapper(tree_of(spec.root or ""))
    listing = list_classes(tree, spec.channels)
    classes = tuple(sorted(listing.parts["train"].classes))
    entries = [
        Entry(part, label, file)
        for part, held in listing.parts.items()
        for label, name in enumerate(classes)
        for file in held.classes.get(name, ())
    ]
    return pools_of(spec, tree.store, classes, entries, listing.notes)
