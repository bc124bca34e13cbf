"""An environment of their own for libraries whose needs are not ours; the project itself never imports them."""

import shutil
import subprocess
import sys
from pathlib import Path

NEEDS = ("fastai>=2.8", "finetuning-scheduler>=2.9", "timm>=1.0.31", "torchvision", "safetensors")


def python_of(folder: Path) -> Path | None:
    """That environment's Python; None: it was never made."""
    python = folder / "bin" / "python"
    return python if (folder / "complete").is_file() and python.is_file() else None


def make(folder: Path) -> Path | None:
    """Install the peers with uv or pip; None, with a line that says why, where that fails."""
    if (python := python_of(folder)) is not None:
        return python
    python = folder / "bin" / "python"
    here, its = [sys.executable, "-m"], [str(python), "-m"]
    commands = [[*here, "venv", "--clear", str(folder)], [*its, "pip", "install", *NEEDS]]
    if uv := shutil.which("uv"):
        install = [uv, "pip", "install", "--python", str(python), *NEEDS]
        commands = [[uv, "venv", "--clear", "--python", sys.executable, str(folder)], install]
    for command in commands:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            print(f"fastai and finetuning-scheduler are not run: {' '.join(command)} failed\n{done.stderr[-1000:]}")
            return None
    (folder / "complete").touch()
    return python_of(folder)
