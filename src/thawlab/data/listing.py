"""Which files of a folder or an archive are images, of which class, and for which split."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from thawlab.data.checking import ImageFile
from thawlab.data.decode import extensions
from thawlab.data.trees import ArchiveTree, Tree
from thawlab.errors import UserError, printable

SPLIT_NAMES = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
SHOWN = 5
WRAPPERS = 8  # folders around all others of an archive; more are no accident


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


def list_classes(tree: Tree, channels: int = 3) -> Listing:
    """List `{train,val,test}/class/...` or `class/...` of a folder or an archive without opening a file.

    Which files are images is told by their names (`decode.extensions` of so many channels).

    Raises UserError for an empty root, a class folder without images, fewer than two classes, and a class that is not
    in train.
    """
    folders = _split_folders(tree)
    known = extensions(channels)
    parts = {split: _list_part(tree, folder, known) for split, folder in folders.items()}
    parts = parts or {"train": _list_part(tree, "", known)}
    _check_two_classes(_joined(tree.store.place, folders.get("train", "")), parts["train"])
    _check_known_classes(tree, parts, folders)
    return Listing(parts, tuple(_notes(tree, parts, folders)))


def nested(tree: Tree) -> Iterator[Tree]:
    """Give a tree and, of an archive, what is within the one folder that everything was packed in, as often as so."""
    yield tree
    for _ in range(WRAPPERS):
        folders, _ = _visible(tree, "")
        if not isinstance(tree, ArchiveTree) or len(folders) != 1:
            return
        tree = tree.below(folders[0])
        yield tree


def without_wrapper(tree: Tree) -> Tree:
    """Enter the folders that an archive was packed in, down to those of the classes or splits.

    One folder is never the classes', so nothing else can be meant; but a folder called train is a split's.
    """
    found = tree
    for inner in nested(tree):
        folders, _ = _visible(inner, "")
        if not folders:
            break
        found = inner
        if folders[0].lower() in SPLIT_NAMES:
            break
    return found


def _split_folders(tree: Tree) -> dict[str, str]:
    """Find the folders called after splits, by the split's name; none where root holds class folders."""
    root = tree.store.place
    folders: dict[str, str] = {}
    for folder in _visible(tree, "")[0]:
        split = SPLIT_NAMES.get(folder.lower())
        if split in folders:
            raise UserError(
                f"dataset.root {root} holds both {folders[split]} and {folder}, which mean the same split. "
                "Keep one of them."
            )
        if split:
            folders[split] = folder
    if folders and "train" not in folders:
        raise UserError(
            f"dataset.root {root} holds {', '.join(folders.values())}, but no folder train. Add {root}/train, or put "
            "one folder for each class directly into the root."
        )
    return folders


def _visible(tree: Tree, path: str) -> tuple[list[str], list[str]]:
    """Give the folders in a folder that can hold classes or images, links among them, and what else lies there."""
    level = tree.level(path)
    folders = sorted([*level.folders, *level.links])
    hidden = [name for name in folders if _is_hidden(name)]
    return [name for name in folders if not _is_hidden(name)], [*hidden, *level.files]


def _is_hidden(name: str) -> bool:
    """Tell what programs keep beside images: a name with a dot, and what macOS adds to its zips."""
    return name.startswith(".") or name == "__MACOSX"


def _list_part(tree: Tree, folder: str, known: frozenset[str]) -> Part:
    classes: dict[str, tuple[ImageFile, ...]] = {}
    folders, ignored = _visible(tree, folder)
    for name in folders:
        files, others = _walk(tree, _joined(folder, name), known)
        classes[name] = tuple(files)
        ignored += others
    _check_classes(_joined(tree.store.place, folder), classes, ignored, known)
    return Part(classes, tuple(ignored))


def _joined(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder and name else folder or name


def _walk(tree: Tree, folder: str, known: frozenset[str]) -> tuple[list[ImageFile], list[str]]:
    """List the images below a class folder, however deep, and the names of everything else."""
    files, others, pending = list[ImageFile](), list[str](), [folder]
    while pending:
        here = pending.pop()
        level = tree.level(here)
        # Linked folders may lead in circles: they are not entered, and said to be passed over.
        others += [*level.links, *(name for name in level.folders if _is_hidden(name))]
        pending += [f"{here}/{name}" for name in level.folders if not _is_hidden(name)]
        for name in level.files:
            if _is_hidden(name) or Path(name).suffix.lower() not in known:
                others.append(name)
            else:
                path = f"{here}/{name}"
                # A dangling link is no file: reading it fails, and it is reported with the other unreadable files.
                files.append(tree.find(path) or ImageFile(path, 0, 0))
    return sorted(files, key=lambda file: file.name), others


def _check_classes(
    folder: str, classes: Mapping[str, tuple[ImageFile, ...]], ignored: Iterable[str], known: frozenset[str]
) -> None:
    if not classes:
        loose = sum(Path(name).suffix.lower() in known for name in ignored)
        raise UserError(
            f"{folder} holds {loose} images and no class folder. Give dataset.root a folder with one folder of "
            "images for each class."
        )
    empty = [name for name, files in classes.items() if not files]
    if empty:
        raise UserError(
            f"{printable(folder)} has class folders without images: {printable(', '.join(empty))}. Images are files "
            f"ending in {', '.join(sorted(known))}. Fill or remove these folders."
        )


def _check_two_classes(folder: str, part: Part) -> None:
    if len(part.classes) == 1:
        raise UserError(
            f"{folder} holds one class, {next(iter(part.classes))!r}, but telling images apart takes two or more. "
            "Give dataset.root a folder with one folder of images for each class."
        )


def _check_known_classes(tree: Tree, parts: Mapping[str, Part], folders: Mapping[str, str]) -> None:
    """A given split may lack classes, which it then does not measure; it cannot have some that nobody learnt."""
    trained = set(parts["train"].classes)
    for split, part in parts.items():
        if unknown := set(part.classes) - trained:
            differ = {folders["train"]: trained - set(part.classes), folders[split]: unknown}
            said = [
                f"{printable(', '.join(sorted(names)))} only in {where}" for where, names in differ.items() if names
            ]
            raise UserError(
                f"In dataset.root {tree.store.place} the class folders of the splits differ: {'; '.join(said)}. "
                "Every class needs training images, spelled alike."
            )


def _notes(tree: Tree, parts: Mapping[str, Part], folders: Mapping[str, str]) -> Iterable[str]:
    ignored = [name for part in parts.values() for name in part.ignored]
    if folders:
        visible, others = _visible(tree, "")
        ignored += [*others, *(name for name in visible if name not in folders.values())]
    if ignored:
        shown = printable(", ".join(sorted(set(ignored))[:SHOWN]))
        yield f"ignored {len(ignored)} files and folders that are no images in a class folder, such as {shown}"
