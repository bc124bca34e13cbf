"""Rows of tensors on disk, one for each image, found again by the image's content."""

from thawlab.store.faults import StoreError as StoreError
from thawlab.store.faults import TooLarge as TooLarge
from thawlab.store.key import Key as Key
from thawlab.store.layout import Layout as Layout
from thawlab.store.layout import TensorLayout as TensorLayout
from thawlab.store.rows import Rows as Rows
from thawlab.store.rowstore import Compute as Compute
from thawlab.store.rowstore import RowStore as RowStore
