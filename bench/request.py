"""One piece of work that a contender does in a process of its own, and what it says of it. No torch."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

BATCH, RATE, DECAY = 32, 1e-3, 0.01


@dataclass(frozen=True)
class Request:
    """What is to be done; the same for every contender but for `contender` and `way`."""

    contender: str  # a module of this package
    task: str  # freeze, partial (at half depth), full
    network: str
    size: int
    epochs: int
    images: str = ""  # folder with train/, val/ and test/, a folder per class in each
    weights: str = ""  # safetensors
    seed: int = 0
    way: str = ""  # by_hand: "" reads every image in every epoch, "cached" computes what is frozen once
    precision: str = "fp32"
    defaults: bool = False  # at the contender's own defaults: rates, schedule, logging
    head: str = "linear"
    device: str = "cpu"
    cache: str = "auto"
    folder: str = ""  # an empty folder to work in
    cache_folder: str = ""
    classes: int = 8
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)

    def write(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self)))

    @classmethod
    def read(cls, path: Path) -> "Request":
        return cls(**json.loads(path.read_text()))


@dataclass(frozen=True)
class Outcome:
    """What a contender says itself; everything else is measured from outside."""

    accuracy: float  # of the last epoch, on the validation images
    steps: int
    trained: int  # numbers in the parameters that the optimizer steps
    phases: dict[str, float] = field(default_factory=dict)  # seconds inside: build, data, train, validate
    notes: dict[str, Any] = field(default_factory=dict)
