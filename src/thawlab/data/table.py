"""Images and their labels from a table of paths, labels and, if it likes, splits."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from thawlab.data.columns import Table, find_column, of_usual_names, open_table, refuse_rows
from thawlab.data.encoded import Entry, pools_of
from thawlab.data.images import Pools
from thawlab.data.listing import SPLIT_NAMES
from thawlab.data.paths import find_files
from thawlab.data.spec import DatasetSpec
from thawlab.errors import UserError

IMAGE_COLUMNS = {
    "path", "paths", "file", "filename", "file_name", "filepath", "file_path", "image", "images", "image_path",
    "image_file", "img", "img_path",
}  # fmt: skip
LABEL_COLUMNS = {"label", "labels", "class", "classes", "class_name", "category", "categories", "target", "tags"}
SPLIT_COLUMNS = {"split"}
SPLITS = {**SPLIT_NAMES, "training": "train", "dev": "val", "testing": "test"}
MARKS = {"0": False, "1": True, "false": False, "true": True}
SEPARATORS = ";,|/\t"  # what may stand between labels
WHOLE = re.compile(r"-?\d{1,18}(\.0*)?")  # 3.0: how numbers are often written where one is missing


def read_table(spec: DatasetSpec) -> Pools:
    """Read a table's images, from the folder or archive that `root` names or from the table's own folder.

    What is not given is drawn; `pools_of` says how. The order of the rows means nothing. Raises UserError for columns
    that are not clear and for rows that name no image, no label, an unknown split, or an image a second time.
    """
    table = open_table(Path(spec.table or "").expanduser())
    image = find_column(table, "image_column", spec.image_column, IMAGE_COLUMNS)
    parts = _parts(table, spec.split_column)
    marks = _columns_of_marks(table, spec)
    label = ", ".join(marks) or find_column(table, "label_column", spec.label_column, LABEL_COLUMNS)
    labels = _marked(table, marks) if marks else _labels(table, label, spec)
    hint = "" if marks else _other_separator(spec, labels)
    classes = _classes(table, label, parts, labels, hint)
    tree, files = find_files(spec, table, _texts(table, image), image)
    places = {name: place for place, name in enumerate(classes)}
    entries = [
        Entry(part, tuple(sorted(found)) if spec.task == "multilabel" else found[0], file)
        for part, found, file in zip(parts, [[places[one] for one in row] for row in labels], files, strict=True)
    ]
    # As from class folders: then the same images are split alike, wherever they are read from.
    entries.sort(key=lambda entry: (entry.label if isinstance(entry.label, int) else 0, entry.file.name))
    return pools_of(spec, tree.store, classes, entries, () if marks else _notes(label, spec, labels, hint))


def _texts(table: Table, column: str) -> list[str]:
    """Give a column's cells as text. Raises UserError for values that are none, such as lists."""
    cells = table.cells(column)
    odd = [(row, cell) for row, cell in enumerate(cells) if not isinstance(cell, str | int | float | None)]
    refuse_rows(table, odd, f"column {column!r} holds what is neither text nor a number", "Name another column.")
    return [_text(cell) for cell in cells]


def _text(cell: Any) -> str:
    if cell is None or cell != cell:  # NaN
        return ""
    return str(int(cell)) if isinstance(cell, float) and cell.is_integer() else str(cell).strip()


def _parts(table: Table, given: str | None) -> list[str]:
    """Give each row's split; "train" where the table has no column of splits."""
    if given is None and not of_usual_names(table, SPLIT_COLUMNS):
        return ["train"] * len(table)
    column = find_column(table, "split_column", given, SPLIT_COLUMNS)
    words = _texts(table, column)
    unknown = [(row, word) for row, word in enumerate(words) if word.lower() not in SPLITS]
    refuse_rows(table, unknown, f"column {column!r} holds unknown splits", f"Known are {', '.join(SPLITS)}.")
    parts = [SPLITS[word.lower()] for word in words]
    if "train" not in parts:
        raise UserError(
            f"{table.path}: column {column!r} has no row of train, only {', '.join(sorted(set(words)))}. "
            "Add rows to train on."
        )
    return parts


def _labels(table: Table, column: str, spec: DatasetSpec) -> list[list[str]]:
    """Give each row's labels: one, or of a multilabel task any number, none twice."""
    if spec.task == "multilabel":
        cells = table.cells(column)
        lists = any(isinstance(cell, list) for cell in cells)
        texts = cells if lists else _texts(table, column)
        split = [_pieces(cell, spec.separator) for cell in texts]
        return [[_plain_number(one) for one in row] for row in split]
    if any(isinstance(cell, list) for cell in table.cells(column)):
        raise UserError(
            f"{table.path}: column {column!r} holds lists of labels. Give dataset.task=multilabel, or a column of one "
            "label each."
        )
    texts = _texts(table, column)
    empty = [(row, text) for row, text in enumerate(texts) if not text]
    refuse_rows(table, empty, f"column {column!r} holds no label", "Fill it in, or take the row out.")
    return [[_plain_number(text)] for text in texts]


def _columns_of_marks(table: Table, spec: DatasetSpec) -> list[str]:
    """Give the columns that `label_column` lists with commas, one for each label of a multilabel task, if it does."""
    given = spec.label_column or ""
    if spec.task != "multilabel" or "," not in given or given in table.names:
        return []
    return [find_column(table, "label_column", name.strip(), ()) for name in given.split(",")]


def _marked(table: Table, columns: Sequence[str]) -> list[list[str]]:
    """Give each row's labels from columns of zeros and ones, called after the labels."""
    marks = {column: [_plain_number(text).lower() for text in _texts(table, column)] for column in columns}
    for column, texts in marks.items():
        odd = [(row, text) for row, text in enumerate(texts) if text not in MARKS]
        refuse_rows(table, odd, f"column {column!r} holds other marks than 0 and 1", "Give each row one of them.")
        if not any(MARKS[text] for text in texts):
            raise UserError(f"{table.path}: no row has 1 in column {column!r}. Take it out of dataset.label_column.")
    return [[column for column, texts in marks.items() if MARKS[texts[row]]] for row in range(len(table))]


def _pieces(cell: Any, separator: str) -> list[str]:
    pieces = [_text(one) for one in cell or ()] if not isinstance(cell, str) else cell.split(separator)
    return sorted({piece.strip() for piece in pieces} - {""})


def _plain_number(text: str) -> str:
    return text.split(".")[0] if WHOLE.fullmatch(text) else text


def _classes(
    table: Table, column: str, parts: Sequence[str], labels: Sequence[Sequence[str]], hint: str
) -> tuple[str, ...]:
    """Give the labels of the training images: by number if all are whole numbers, else by their spelling."""
    known = {one for part, row in zip(parts, labels, strict=True) if part == "train" for one in row}
    strange = [(row, one) for row, found in enumerate(labels) for one in found if one not in known]
    refuse_rows(
        table, strange, f"column {column!r} holds labels that no training image has",
        f"{hint or 'Every label needs training images, spelled alike'}.",
    )  # fmt: skip
    numbers = all(WHOLE.fullmatch(name) for name in known)
    return tuple(sorted(known, key=lambda name: (int(name) if numbers else 0, name)))


def _notes(column: str, spec: DatasetSpec, labels: Sequence[Sequence[str]], hint: str) -> tuple[str, ...]:
    """Say so where a separator divides nothing: it may be another than the table's."""
    if spec.task != "multilabel" or any(len(row) > 1 for row in labels):
        return ()
    fact = f"no image has two labels: no cell of column {column!r} holds {spec.separator!r} (dataset.separator)"
    return (f"{fact}. {hint}" if hint else fact,)


def _other_separator(spec: DatasetSpec, labels: Sequence[Sequence[str]]) -> str:
    """What to give where no image has two labels, but labels hold what commonly stands between some; else ""."""
    if spec.task != "multilabel" or any(len(row) > 1 for row in labels):
        return ""
    held = [mark for mark in SEPARATORS if any(mark in one for row in labels for one in row)]
    if not held:
        return ""
    likeliest = max(held, key=lambda mark: sum(mark in one for row in labels for one in row))
    # Hydra's grammar takes several of them only within quotes, and a shell would take those.
    return f"Labels hold {likeliest!r}: if it stands between several, give 'dataset.separator=\"{likeliest}\"'"
