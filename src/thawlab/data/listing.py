"""Which files of a folder are images, of which class, and for which split."""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from thawlab.data.checking import ImageFile
from thawlab.data.decode import EXTENSIONS
from thawlab.errors import UserError

SPLIT_NAMES = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
SHOWN = 5


@dataclass(frozen=True)
class Part:
    """The images of one split, or of all: class name → files, sorted; `ignored` names what is no image file."""

    classes: Mapping[str, tuple[ImageFile, ...]]
    ignored: tuple[str, ...] = ()


@dataclass(frozen=True)
class Listing:
    """What a folder holds: one part called "train", and "val" and "test" where they are given as folders."""

    parts: Mapping[str, Part]
    notes: tuple[str, ...] = field(default=())


def list_folder(root: Path) -> Listing:
    """List `root/{train,val,test}/class/...` or `root/class/...` without opening a file.

    Raises UserError for a missing or empty root, a class folder without images, fewer than two classes, and splits
    whose classes differ.
    """
    if not root.is_dir():
        fact = "that is a file" if root.exists() else "there is no such folder"
        raise UserError(f"dataset.root is {str(root)!r}, but {fact}. Give the folder that holds the images.")
    folders = _split_folders(root)
    parts = {split: _list_part(root, folder) for split, folder in folders.items()} or {"train": _list_part(root, root)}
    _check_same_classes(root, parts, folders)
    return Listing(parts, tuple(_notes(root, parts, folders)))


def _split_folders(root: Path) -> dict[str, Path]:
    """Find the folders called after splits, by the split's name; none where root holds class folders."""
    folders: dict[str, Path] = {}
    for folder in _folders(root):
        split = SPLIT_NAMES.get(folder.name.lower())
        if split in folders:
            raise UserError(
                f"dataset.root {root} holds both {folders[split].name} and {folder.name}, which mean the same split. "
                "Keep one of them."
            )
        if split:
            folders[split] = folder
    if folders and "train" not in folders:
        found = ", ".join(folder.name for folder in folders.values())
        raise UserError(
            f"dataset.root {root} holds {found}, but no folder train. Add {root / 'train'}, or put one folder for "
            "each class directly into the root."
        )
    return folders


def _folders(path: Path) -> list[Path]:
    return sorted(child for child in path.iterdir() if child.is_dir() and not child.name.startswith("."))


def _list_part(root: Path, folder: Path) -> Part:
    classes: dict[str, tuple[ImageFile, ...]] = {}
    ignored = [child.name for child in folder.iterdir() if not child.is_dir() or child.name.startswith(".")]
    for child in _folders(folder):
        files, others = _walk(root, child)
        classes[child.name] = tuple(files)
        ignored += others
    _check_classes(folder, classes, ignored)
    return Part(classes, tuple(ignored))


def _walk(root: Path, folder: Path) -> tuple[list[ImageFile], list[str]]:
    """List the images below a class folder, however deep, and the names of everything else."""
    files: list[ImageFile] = []
    others: list[str] = []
    for path, subfolders, names in os.walk(folder):
        here = Path(path)
        # os.walk does not enter linked folders, which may lead in circles: say so instead of passing them over.
        others += [name for name in subfolders if name.startswith(".") or (here / name).is_symlink()]
        subfolders[:] = [name for name in subfolders if not name.startswith(".")]
        for name in names:
            if name.startswith(".") or Path(name).suffix.lower() not in EXTENSIONS:
                others.append(name)
            else:
                files.append(_describe(root, here / name))
    return sorted(files, key=lambda file: file.name), others


def _describe(root: Path, path: Path) -> ImageFile:
    name = path.relative_to(root).as_posix()
    try:
        found = path.stat()
    except OSError:
        # A dangling link: reading it fails, and it is reported with the other unreadable files.
        return ImageFile(name, 0, 0)
    return ImageFile(name, found.st_size, found.st_mtime_ns)


def _check_classes(folder: Path, classes: Mapping[str, tuple[ImageFile, ...]], ignored: Iterable[str]) -> None:
    known = f"Images are files ending in {', '.join(sorted(EXTENSIONS))}."
    if not classes:
        loose = sum(Path(name).suffix.lower() in EXTENSIONS for name in ignored)
        raise UserError(
            f"{folder} holds {loose} images and no class folder. Give dataset.root a folder with one folder of "
            "images for each class."
        )
    empty = [name for name, files in classes.items() if not files]
    if empty:
        raise UserError(
            f"{folder} has class folders without images: {', '.join(empty)}. {known} Fill or remove these folders."
        )
    if len(classes) == 1:
        raise UserError(
            f"{folder} holds one class, {next(iter(classes))!r}, but telling images apart takes two or more. "
            "Give dataset.root a folder with one folder of images for each class."
        )


def _check_same_classes(root: Path, parts: Mapping[str, Part], folders: Mapping[str, Path]) -> None:
    for split, part in parts.items():
        differ = {
            "only in train": set(parts["train"].classes) - set(part.classes),
            f"only in {folders[split].name if folders else split}": set(part.classes) - set(parts["train"].classes),
        }
        said = [f"{', '.join(sorted(names))} {where}" for where, names in differ.items() if names]
        if said:
            raise UserError(
                f"In dataset.root {root} the class folders of the splits differ: {'; '.join(said)}. "
                "Every split needs the same classes, spelled alike."
            )


def _notes(root: Path, parts: Mapping[str, Part], folders: Mapping[str, Path]) -> Iterable[str]:
    ignored = [name for part in parts.values() for name in part.ignored]
    if folders:
        ignored += [child.name for child in root.iterdir() if child not in folders.values()]
    if ignored:
        shown = ", ".join(sorted(set(ignored))[:SHOWN])
        yield f"ignored {len(ignored)} files and folders that are no images in a class folder, such as {shown}"
