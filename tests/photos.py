"""Pictures for tests, and the files that they come in."""

import io
import tarfile
import zipfile

import numpy as np
import torch
from PIL import Image


def photo(height, width, seed=0):
    """Smooth colour, edges and grain: what resizing has to cope with in a photograph."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    waves = [np.sin(x / a + c) * np.cos(y / b) for a, b, c in ((31, 47, 0), (17, 90, 1), (60, 12, 2))]
    pixels = 127 + 90 * np.stack(waves, -1) + rng.normal(0, 8, (height, width, 3))
    pixels[height // 3 : height // 2, width // 4 : width // 2] = (250, 20, 60)
    return torch.tensor(pixels.clip(0, 255).astype(np.uint8)).permute(2, 0, 1)


def png(number):
    """The bytes of a small file, other for each number."""
    content = io.BytesIO()
    Image.fromarray(np.random.default_rng(number).integers(0, 255, (12, 15, 3), np.uint8)).save(content, "png")
    return content.getvalue()


def named_pngs(count=10, classes=("cats", "dogs")):
    """{class/00.png: bytes, ...}, so many of each class."""
    return {f"{name}/{i:02d}.png": png(100 * label + i) for label, name in enumerate(classes) for i in range(count)}


def packed(path, files, top=""):
    """Write files into an archive of the kind that its name says, below a folder `top/`; give its path."""
    if path.suffix.lower() == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in files.items():
                archive.writestr(top + name, content)
    else:
        kind = {".gz": "gz", ".tgz": "gz", ".bz2": "bz2", ".xz": "xz"}.get(path.suffix.lower(), "")
        with tarfile.open(path, f"w:{kind}") as archive:
            for name, content in files.items():
                member = tarfile.TarInfo(top + name)
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    return path


def laid_out(folder, files):
    """Write files below a folder; give it."""
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def class_folders(root):
    """Write train/, val/ and test/ below `root`, each with a folder of 8, 4 and 7 images of three classes."""
    draw = np.random.default_rng(0)
    for part, count in (("train", 8), ("val", 4), ("test", 7)):
        for i, name in enumerate(("cat", "dog", "emu")):
            (root / part / name).mkdir(parents=True)
            for k in range(count):
                pixels = draw.integers(80 * i, 80 * i + 90, (20, 30, 3), np.uint8)
                Image.fromarray(pixels).save(root / part / name / f"{k}.png")
    return root
