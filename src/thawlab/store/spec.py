"""What may be kept on disk, and where."""

from dataclasses import dataclass

from thawlab.errors import UserError, nearest

MODES = ("auto", "on", "off")
DTYPES = ("float32", "bfloat16", "float16")


@dataclass(frozen=True)
class CacheSpec:
    """Self-validating; see `schema.CacheConfig`."""

    mode: str = "auto"
    folder: str = "outputs/.cache"
    max_gb: float = 20.0
    dtype: str = "float32"
    views: int = 0

    def __post_init__(self) -> None:
        for key, value, choices in (("mode", self.mode, MODES), ("dtype", self.dtype, DTYPES)):
            if value not in choices:
                raise UserError(f"cache.{key} is {value!r}. {nearest(value, choices)}")
        if not self.folder.strip():
            raise UserError("cache.folder is empty. Give a folder, or cache=off.")
        if self.max_gb <= 0:
            raise UserError(f"cache.max_gb is {self.max_gb}, but it is a size. Give more than 0, or cache=off.")
        if self.views < 0:
            raise UserError(f"cache.views is {self.views}. Give 0 (none), or how many views of each image to keep.")

    @property
    def max_bytes(self) -> int:
        """The folder's limit; 1 GB is 10^9 bytes."""
        return int(self.max_gb * 1e9)
