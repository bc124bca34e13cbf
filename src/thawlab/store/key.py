"""What the rows of an entry depend on besides the image."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass

FORMAT = "1"  # of the files: another one makes other entries, so that none is ever misread


@dataclass(frozen=True)
class Key:
    """An entry's name: any part changed is another entry.

    >>> Key({"kind": "boundary", "dtype": "float32"}).digest == Key({"dtype": "float32", "kind": "boundary"}).digest
    True
    """

    parts: Mapping[str, str]

    @property
    def digest(self) -> str:
        """sha256 in hex over the sorted parts."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    @property
    def text(self) -> str:
        """The parts as JSON: the content of key.json."""
        return json.dumps({"format": FORMAT, "parts": dict(self.parts)}, sort_keys=True, indent=1) + "\n"
