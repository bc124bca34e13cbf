"""What a study set out to do, and what it chose: study.json in the sweep's folder. Reports read it."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from thawlab.files import read_json, write_json
from thawlab.json_shapes import check, current, defect

STUDY = "study.json"
VERSION = 2  # its own, not the records'. There never was a version 1, which files without a seal pass for
FOUR_CASES, DEPTH_PROFILE = KINDS = "four_cases", "depth_profile"
CASES = ("similar", "different")
LABELS = ("small", "between", "large")
_AGAIN = "Delete it, and give the study's command again: finished runs stay."
_NUMBER = (int, float, None)
_SHAPES: dict[str, Any] = {
    "kind": str,
    "command": [str],
    "source": {"name": str, "seconds": _NUMBER, "flops": _NUMBER, "images": _NUMBER, "told_by": str},
    "targets": {str: str},
    "sizes": [
        {"per_class": (int, None), "share": (float, None), "label": str, "epochs": int, "batch_size": (int, str)}
    ],
    "strategies": [{"name": str, "words": [str], "control": (str, None), "kept": (int, None), "stage": (str, None)}],
    "rates": [float],
    "search_seeds": [int],
    "seeds": [int],
    "chosen": [
        {"target": str, "per_class": (int, None), "share": (float, None), "strategies": [str], "searched": str}
        | {"rate": (float, None), "scores": [[float]], "failed": [float]}
    ],
}


@dataclass(frozen=True)
class StudyRecord:
    """A study as its folder tells it; docs/record.md explains every field."""

    kind: str
    command: Sequence[str]
    source: Mapping[str, Any]
    targets: Mapping[str, str]  # dataset.name -> similar or different
    sizes: Sequence[Mapping[str, Any]]  # from the smallest to the largest
    strategies: Sequence[Mapping[str, Any]]
    rates: Sequence[float]  # tried for each strategy, with the same epochs
    search_seeds: Sequence[int]
    seeds: Sequence[int]
    chosen: Sequence[Mapping[str, Any]] = field(default_factory=tuple)  # empty until the search is done

    def write(self, folder: Path | str) -> None:
        """Write study.json, whole or not at all."""
        write_json(Path(folder) / STUDY, {**asdict(self), "record_version": VERSION}, sealed=True)

    @classmethod
    def read(cls, folder: Path | str) -> "StudyRecord | None":
        """What the study in a sweep's folder is; None where the sweep was none. UserError for a file with a defect."""
        path = Path(folder) / STUDY
        if not path.exists():
            return None
        names = [one.name for one in fields(cls)]
        content = current(path, read_json(path, _AGAIN), [*names, "record_version"], VERSION)
        for name in names:
            check(path, name, content[name], _SHAPES[name])
        _check_choices(path, content)
        return cls(**{name: content[name] for name in names})

    def added_to(self, earlier: "StudyRecord | None") -> "StudyRecord":
        """This launch's study and what was launched into the same folder before: what both have is as it is now.

        ValueError for studies that are not of one kind, or whose sizes cannot be put in an order.
        """
        if earlier is None:
            return self
        if earlier.kind != self.kind:
            raise ValueError(f"it holds a study of kind {earlier.kind}, and this one is of kind {self.kind}")
        return replace(
            self,
            source=self.source if _tells(self.source) else earlier.source,
            targets={**earlier.targets, **self.targets},
            sizes=_united_sizes(earlier.sizes, self.sizes),
            strategies=_united(earlier.strategies, self.strategies, "name"),
            rates=sorted({*earlier.rates, *self.rates}),
            search_seeds=list(dict.fromkeys([*earlier.search_seeds, *self.search_seeds])),
            seeds=list(dict.fromkeys([*earlier.seeds, *self.seeds])),
            chosen=_united(earlier.chosen, self.chosen, "target", "per_class", "share", "searched"),
        )

    def case_of(self, config: Mapping[str, Any]) -> str | None:
        """Whether a run's target is similar or different to the source; None where it is no target of this study."""
        return self.targets.get(config["dataset"]["name"])

    def size_of(self, config: Mapping[str, Any]) -> str | None:
        """Whether a run trains on a small or a large set, or on one between; None where the size is none of these."""
        asked = config["dataset"]["per_class"], config["dataset"]["share"]
        return next((size["label"] for size in self.sizes if (size["per_class"], size["share"]) == asked), None)

    def choice_of(self, config: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """What was chosen for a run's strategy on its target and size; None before the search, or outside of it."""
        dataset, strategy = config["dataset"], config["strategy"]["name"]
        asked = dataset["name"], dataset["per_class"], dataset["share"]
        return next(
            (
                one
                for one in self.chosen
                if (one["target"], one["per_class"], one["share"]) == asked and strategy in one["strategies"]
            ),
            None,
        )


def _tells(source: Mapping[str, Any]) -> bool:
    return any(source[key] is not None for key in ("seconds", "flops", "images"))


def _united(
    before: Sequence[Mapping[str, Any]], now: Sequence[Mapping[str, Any]], *keys: str
) -> list[Mapping[str, Any]]:
    """The rows of both, in the order of their coming; of two with the same keys the later."""
    return list({tuple(row[key] for key in keys): row for row in (*before, *now)}.values())


def _united_sizes(before: Sequence[Mapping[str, Any]], now: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """From the smallest to the largest, labelled anew. ValueError where shares and numbers stand beside each other."""
    rows = _united(before, now, "per_class", "share")
    kinds = {"share" if row["per_class"] is None else "per_class" for row in rows}
    if len(kinds) > 1:
        raise ValueError("its sizes are shares, and these are images per class, or the other way round")
    (kind,) = kinds
    ordered = sorted(rows, key=lambda row: row[kind])
    labels = ["small", *["between"] * (len(ordered) - 2), "large"][: len(ordered)]
    return [{**row, "label": label} for row, label in zip(ordered, labels, strict=True)]


def _check_choices(path: Path, content: Mapping[str, Any]) -> None:
    values = [("kind", content["kind"], KINDS)]
    values += [(f"targets.{name}", case, CASES) for name, case in content["targets"].items()]
    values += [(f"sizes[{i}].label", size["label"], LABELS) for i, size in enumerate(content["sizes"])]
    for name, value, choices in values:
        if value not in choices:
            raise defect(path, f"{name} is {value!r}, not one of: {', '.join(choices)}")
