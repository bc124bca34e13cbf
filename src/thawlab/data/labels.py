"""Labels as a data set writes them (numbers, names, several of them) → classes and places in them."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from thawlab.errors import UserError

# A number, or a name; of a multilabel task a tuple of them.
Label = int | str | tuple[int | str, ...]
SHOWN = 5


@dataclass(frozen=True)
class Labelled:
    """The classes that occur, in order, and for each part the place of each image's label in them."""

    classes: tuple[str, ...]
    places: Mapping[str, tuple[int | tuple[int, ...], ...]]
    notes: tuple[str, ...] = ()


def labelled(place: str, labels: Mapping[str, Sequence[Label]], names: Sequence[str] | None = None) -> Labelled:
    """Give every label its place among the classes that occur in any part.

    With `names`, a number is a place in them and a text one of them; their order is kept. Without, numbers are
    ordered by value and texts alphabetically. `place` is what a message calls the data set. Raises UserError for a
    label that `names` does not know.
    """
    occurring = {atom for part in labels.values() for label in part for atom in _atoms(label)}
    if names is None:
        ordered = sorted(occurring, key=lambda atom: (isinstance(atom, str), atom))
        known, number_of = unique([str(atom) for atom in ordered]), {atom: n for n, atom in enumerate(ordered)}
    else:
        known, number_of = unique(names), {atom: _number(place, atom, names) for atom in occurring}
    used = {number: i for i, number in enumerate(sorted(set(number_of.values())))}
    place_of = {atom: used[number] for atom, number in number_of.items()}
    unused = [name for number, name in enumerate(known) if number not in used]
    note = f"{len(unused)} classes are named that no image shows, and left out: {', '.join(unused[:SHOWN])}"
    return Labelled(
        tuple(known[number] for number in used),
        {part: tuple(_place(label, place_of) for label in held) for part, held in labels.items()},
        (note,) * bool(unused),
    )


def unique(names: Sequence[str]) -> tuple[str, ...]:
    """Tell classes of the same name apart by their number: ImageNet has two cranes, a bird and a machine."""
    counts = Counter(names)
    return tuple(name if counts[name] == 1 else f"{name} ({number})" for number, name in enumerate(names))


def is_missing(label: Any) -> bool:
    """Whether a value stands for "no label": None, or the -1 that published test splits carry."""
    return label is None or (isinstance(label, int) and label == -1)


def without_unlabelled(
    place: str, labels: Mapping[str, Sequence[Any]], remedy: str
) -> tuple[dict[str, Sequence[Any]], tuple[str, ...]]:
    """Leave out splits other than train of which no image is labelled, as many test splits are published; say so.

    Raises UserError where labels are missing among others: nobody could tell what was meant.
    """
    kept, notes = {}, []
    for part, values in labels.items():
        missing = [row for row, value in enumerate(values) if is_missing(value)]
        if part != "train" and len(missing) == len(values):
            notes.append(f"the {part} images have no labels and are left out")
        elif missing:
            raise UserError(
                f"{len(missing)} of the {len(values)} {part} images of {place} have no label (the first is number "
                f"{missing[0]}). {remedy}"
            )
        else:
            kept[part] = values
    return kept, tuple(notes)


def _atoms(label: Label) -> Iterable[int | str]:
    return label if isinstance(label, tuple) else (label,)


def _place(label: Label, place_of: Mapping[int | str, int]) -> int | tuple[int, ...]:
    return tuple(place_of[atom] for atom in label) if isinstance(label, tuple) else place_of[label]


def _number(place: str, atom: int | str, names: Sequence[str]) -> int:
    if isinstance(atom, str) and atom in names:
        return names.index(atom)
    if isinstance(atom, int) and 0 <= atom < len(names):
        return atom
    fact = f"which is none of the {len(names)} classes named" if isinstance(atom, str) else f"but names {len(names)}"
    raise UserError(
        f"{place} has the label {atom!r}, {fact}: {', '.join(names[:SHOWN])}{', ...' if len(names) > SHOWN else ''}. "
        "Mend the label or the list of classes."
    )
