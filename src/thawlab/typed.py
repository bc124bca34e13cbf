"""How commands are told, so that they can be typed as they stand."""

import shutil
import sys
from pathlib import Path


def typed(program: str) -> str:
    """How one types a program of this environment: where that is not on the path, by its place in this folder."""
    place, found = Path(sys.executable).with_name(program), shutil.which(program)
    if (found is not None and Path(found) == place) or not place.is_file() or not place.is_relative_to(Path.cwd()):
        return program
    return str(place.relative_to(Path.cwd()))
